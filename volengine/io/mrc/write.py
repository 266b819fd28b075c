"""Writing MRC files, slab by slab, without loss.

>>> slabs = (source.read(box) for box in Tiling(shape, (32, *shape[1:])))          # doctest: +SKIP
>>> write_mrc("TS_01_core.mrc", slabs, shape, "uint8", voxel_size, origin)         # doctest: +SKIP

The file is written under a temporary name in the same folder and renamed when it is complete, so every existing file is
complete. The mode is chosen such that it can hold every value (:func:`choose_mode`). A value that would change raises
an error; nothing is rounded. Minimum, maximum, mean and standard deviation are computed while writing.

The header is MRC2014 (little-endian, columns x, rows y, sections z, origin in ORIGIN) with IMOD's stamp and its flags
"signed bytes" and "origin as in the standard", which IMOD needs to read bytes and origin correctly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE
from numpy.typing import DTypeLike, NDArray

from volengine.core.atomic import replacing
from volengine.core.boxes import Index3, index3
from volengine.core.errors import InputError
from volengine.core.paths import PathLike
from volengine.io.mrc import rules
from volengine.io.mrc.header import EXT_TYPES, MrcHeader
from volengine.ops.sums import sum_of_squares

VERSION = 20141
MAX_LABELS, LABEL_BYTES = 10, 80
_PLAIN = {"int8": 0, "bool": 0, "int16": 1, "float32": 2, "float64": 2, "uint16": 6, "float16": 12}
_WRITTEN = {0: "<i1", 1: "<i2", 2: "<f4", 6: "<u2", 12: "<f2"}


@dataclass(frozen=True)
class ExtHeader:
    """An extended header.

    Parameters
    ----------
    kind
        Its type: ``"FEI1"``, ``"SERI"`` ...
    content
        Its bytes, little-endian.

    Raises
    ------
    InputError
        The type is unknown.
    """

    kind: str
    content: bytes

    def __post_init__(self) -> None:
        if self.kind not in EXT_TYPES:
            raise InputError(
                f"The extended header's type {self.kind!r} is not one of {', '.join(EXT_TYPES)}; readers refuse others."
            )

    @classmethod
    def of(cls, header: MrcHeader) -> ExtHeader | None:
        """Return the extended header of a file; ``None`` if its type is unknown or the file is big-endian."""
        if header.ext_type not in EXT_TYPES or header.byte_order != "<":
            return None
        return cls(header.ext_type, header.ext_header)


def choose_mode(dtype: DTypeLike, value_range: tuple[float, float] | None = None) -> int:
    """Choose the smallest MRC mode that can hold every value.

    Parameters
    ----------
    dtype
        Dtype of the values: bool, integers, float16, float32, float64.
    value_range
        Smallest and largest value, for integers without a mode of their own. If it is not given, uint8 is written as
        mode 6 (twice the bytes, because mode 0 is signed and ends at 127), and wider integers are refused.

    Returns
    -------
    int
        0 (int8), 1 (int16), 2 (float32), 6 (uint16) or 12 (float16). float64 gives 2; :func:`write_mrc` refuses values
        that float32 cannot hold.

    Raises
    ------
    InputError
        No mode can hold the values.

    >>> choose_mode("uint8"), choose_mode("uint8", (0, 100)), choose_mode("float32")
    (6, 0, 2)
    """
    kind = np.dtype(dtype)
    if kind.name in _PLAIN:
        return _PLAIN[kind.name]
    if kind.kind not in "iu":
        raise InputError(f"MRC has no mode for {kind.name}; convert to float32 or to an integer type first.")
    if value_range is None:
        if kind == np.uint8:
            return 6
        raise InputError(
            f"MRC has no mode for {kind.name}; give value_range (smallest and largest value) so that a smaller "
            "type can be chosen."
        )
    low, high = value_range
    for mode in (0, 1, 6):
        holds = np.iinfo(_WRITTEN[mode])
        if holds.min <= low and high <= holds.max:
            return mode
    raise InputError(
        f"No MRC mode holds integers from {low:.0f} to {high:.0f}: modes 0, 1 and 6 end at 127, 32767 and 65535. "
        "Renumber the labels, or keep them as OME-Zarr."
    )


def write_mrc(
    path: PathLike,
    slabs: Iterable[NDArray[Any]],
    shape: Sequence[int],
    dtype: DTypeLike,
    voxel_size: Sequence[float],
    origin: Sequence[float] = (0.0, 0.0, 0.0),
    *,
    labels: Sequence[str] = (),
    mode: int | None = None,
    ext_header: ExtHeader | None = None,
    value_range: tuple[float, float] | None = None,
) -> Path:
    """Write a volume as an MRC file, from slabs along z.

    Parameters
    ----------
    path
        The file. An existing one is replaced when the new one is complete.
    slabs
        Arrays of shape (any number of sections, y, x), in the order of z, whose values fit into the mode.
    shape
        Shape of the whole volume, z, y, x.
    dtype
        Dtype of the values, from which the mode is chosen.
    voxel_size, origin
        Voxel size, and position of the centre of the first voxel; angstrom, z, y, x; stored as float32.
    labels
        Up to ten lines of text of 80 ASCII characters; longer ones are cut off.
    mode
        MRC mode: 0, 1, 2, 6 or 12. Default: :func:`choose_mode`.
    ext_header
        Extended header, written unchanged.
    value_range
        Smallest and largest value, see :func:`choose_mode`.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        The mode cannot hold a value exactly, the slabs do not add up to ``shape``, or a size, voxel size, origin or
        label is refused. Then no new file is left behind, and an existing file is unchanged.
    """
    final, whole = Path(path), index3(shape)
    chosen = choose_mode(dtype, value_range) if mode is None else mode
    if chosen not in _WRITTEN:
        raise InputError(f"{final}: mode {chosen} is not written; use one of {', '.join(map(str, _WRITTEN))}.")
    _check_request(final, whole, voxel_size, origin, labels)
    head = _header(whole, chosen, voxel_size, origin, labels, ext_header)
    statistics = Statistics()
    with replacing(final) as file:
        file.write(head.tobytes())
        if ext_header is not None:
            file.write(ext_header.content)
        sections = 0
        for slab in slabs:
            sections += _check_slab(slab, sections, whole, final)
            stored = exactly(slab, _WRITTEN[chosen], f"{final}: mode {chosen}")
            statistics.add(stored)
            file.write(stored.data)
        if sections != whole[0]:
            raise InputError(f"{final}: {sections} sections were given, the shape {whole} needs {whole[0]}.")
        statistics.into(head)
        file.seek(0)
        file.write(head.tobytes())
    return final


def exactly(values: NDArray[Any], dtype: DTypeLike, where: str) -> NDArray[Any]:
    """Convert values to another dtype, C-contiguous, without changing any of them (NaN stays NaN).

    Raises
    ------
    InputError
        A value would change; the message begins with ``where``.
    """
    wanted = np.dtype(dtype)
    if values.dtype == wanted:
        return np.ascontiguousarray(values)
    with np.errstate(invalid="ignore", over="ignore"):  # changed values are found below, with a better message
        stored = np.ascontiguousarray(values.astype(wanted))
    if not np.can_cast(values.dtype, wanted, "safe"):
        with np.errstate(invalid="ignore"):
            changed = (stored != values) | (stored.astype(values.dtype) != values)
        changed &= ~((stored != stored) & (values != values))
        if changed.any():
            example = values[changed][0]
            raise InputError(
                f"{where} cannot hold the value {example.item()!r} exactly as {wanted.name}. Give another mode, or "
                "convert the values first."
            )
    return stored


class Statistics:
    """Minimum, maximum, mean and standard deviation of slabs that are added one after the other.

    Moments are merged pairwise (Chan, Golub and LeVeque, 1979) in float64. If a value is NaN or infinite, they are
    marked as not determined, as MRC2014 prescribes: maximum below minimum, mean below both, negative rms.
    """

    def __init__(self) -> None:
        self.count = 0
        self.minimum, self.maximum = np.inf, -np.inf
        self.mean = self.squares = 0.0
        self.finite = True

    def add(self, slab: NDArray[Any]) -> None:
        """Add the values of a slab (z, y, x)."""
        for section in slab:
            values = section.astype(np.float64)
            low, high = float(values.min()), float(values.max())
            if not (self.finite and np.isfinite(low) and np.isfinite(high)):
                self.finite = False
                return
            mean = float(values.mean())
            values -= mean
            squares = sum_of_squares(values)
            both = self.count + values.size
            step = mean - self.mean
            self.squares += squares + step * step * self.count * values.size / both
            self.mean += step * values.size / both
            self.count = both
            self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)

    @property
    def rms(self) -> float:
        """Standard deviation of the values about their mean (the ``rms`` of MRC2014)."""
        return float(np.sqrt(self.squares / max(1, self.count)))

    def into(self, head: NDArray[Any]) -> None:
        """Write the statistics into a header."""
        known = self.finite and self.count > 0
        values = (self.minimum, self.maximum, self.mean, self.rms) if known else (0.0, -1.0, -2.0, -1.0)
        for name, value in zip(("dmin", "dmax", "dmean", "rms"), values, strict=True):
            head[name] = value


def _check_slab(slab: NDArray[Any], sections: int, shape: Index3, where: Path) -> int:
    if slab.ndim != 3 or slab.shape[1:] != shape[1:]:
        raise InputError(f"{where}: a slab of shape {slab.shape} does not fit into the volume {shape}.")
    if sections + len(slab) > shape[0]:
        raise InputError(f"{where}: more than {shape[0]} sections were given for the volume {shape}.")
    return len(slab)


def _check_request(
    where: Path, shape: Index3, voxel_size: Sequence[float], origin: Sequence[float], labels: Sequence[str]
) -> None:
    if not all(1 <= n <= rules.MAX_LENGTH_VOX for n in shape):
        raise InputError(f"{where}: an MRC file of shape {shape} cannot be written.")
    if len(voxel_size) != 3 or not all(np.isfinite(v) and v > 0 for v in voxel_size):
        raise InputError(f"{where}: the voxel size must be positive, not {tuple(voxel_size)} angstrom.")
    if len(origin) != 3 or not all(np.isfinite(v) for v in origin):
        raise InputError(f"{where}: the origin must be three finite numbers, not {tuple(origin)}.")
    if len(labels) > MAX_LABELS:
        raise InputError(f"{where}: {len(labels)} labels were given; MRC has room for {MAX_LABELS}.")


def _header(
    shape: Index3,
    mode: int,
    voxel_size: Sequence[float],
    origin: Sequence[float],
    labels: Sequence[str],
    ext_header: ExtHeader | None,
) -> NDArray[Any]:
    """Make a complete header without the statistics, as an array without dimensions."""
    head = np.zeros((), HEADER_DTYPE.newbyteorder("<"))
    for axis, n, size, start in zip("zyx", shape, voxel_size, origin, strict=True):
        head["n" + axis] = head["m" + axis] = n
        head["cella"][axis] = n * size
        head["origin"][axis] = start
    for name, value in {"mapc": 1, "mapr": 2, "maps": 3, "ispg": 1, "mode": mode, "nversion": VERSION}.items():
        head[name] = value
    for name in ("alpha", "beta", "gamma"):
        head["cellb"][name] = 90.0
    if ext_header is not None and ext_header.content:
        head["nsymbt"], head["exttyp"] = len(ext_header.content), ext_header.kind.encode()
    head["map"], head["machst"] = b"MAP ", (0x44, 0x44, 0, 0)
    texts = [t for t in (clean_label(t) for t in labels) if t]
    head["nlabl"] = len(texts)
    head["label"][: len(texts)] = texts
    flags = rules.IMOD_SIGNED_BYTES | rules.IMOD_STANDARD_ORIGIN
    # mrcfile's type has one opaque field (bytes 112 to 195) where IMOD's stamp and flags lie (152 to 159).
    extra = bytearray(head["extra2"].nbytes)
    extra[40:48] = np.array([rules.IMOD_STAMP, flags], "<i4").tobytes()
    head["extra2"] = bytes(extra)
    return head


def clean_label(text: str) -> bytes:
    """Convert a text to a header label: one line of printable ASCII, at most 80 characters; others become ``?``."""
    line = " ".join(text.split())
    return "".join(c if 32 <= ord(c) < 127 else "?" for c in line)[:LABEL_BYTES].rstrip().encode("ascii")
