"""MRC headers: read and interpreted once, and kept complete.

>>> header = read_header("TS_01.mrc")            # doctest: +SKIP
>>> header.shape, header.dtype, header.voxel_size, header.voxel_size_rule   # doctest: +SKIP
((464, 928, 928), 'int8', (13.48, 13.48, 13.48), 'cell / grid')

A :class:`MrcHeader` states what the voxels are (shape, type, byte order, place in the file), where they are (voxel
size, origin), by which rule each of these was decided, and what looked wrong (``warnings``). It also keeps the header's
own bytes, so that they can be stored beside a converted volume and written back. The rules are in
:mod:`volengine.io.mrc.rules`.

Files that are compressed with gzip or bzip2 (recognised by their content) are read through the decompressor, header
only.
"""

from __future__ import annotations

import base64
import bz2
import gzip
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import IO, Any, Literal, cast

import numpy as np

from volengine.core.boxes import Index3, index3
from volengine.core.errors import FormatError
from volengine.core.paths import PathLike
from volengine.core.volume import Vector3
from volengine.io.files import first_bytes
from volengine.io.mrc import rules
from volengine.io.rawfile import RawLayout
from volengine.io.stores import opened_file

Compression = Literal["", "gzip", "bz2"]

EXT_TYPES = ("CCP4", "MRCO", "SERI", "AGAR", "FEI1", "FEI2", "HDF5")
PIECE = 2**20
"""Bytes of an extended header that are read at once."""

DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, OSError, ValueError)
"""Errors that the decompressors raise on a damaged stream."""


@dataclass(frozen=True)
class MrcHeader:
    """The interpreted header of an MRC file. Triples are z, y, x unless stated otherwise.

    Each ``..._rule`` names the rule by which a value was decided.

    Parameters
    ----------
    path
        The file.
    mode, dtype
        MRC mode, and the numpy dtype as which its voxels are read (mode 101 as ``uint8``).
    byte_order, byte_order_rule
        ``"<"`` (little-endian) or ``">"`` (big-endian).
    shape, file_shape
        Shape of the volume (z, y, x), and as stored (sections, rows, columns).
    map_order
        mapc, mapr, maps: the axes (1 = x, 2 = y, 3 = z) of columns, rows and sections.
    voxel_size, voxel_size_rule
        Angstrom; ``None`` if it cannot be determined, with the reason as the rule.
    origin, origin_rule
        Position of the centre of the first voxel, angstrom; ``None`` if it depends on an unknown voxel size.
    nstart, grid
        nxstart, nystart, nzstart and mx, my, mz, in the order z, y, x.
    cell, cell_angles
        Cell lengths in angstrom; alpha, beta, gamma in degrees.
    space_group, version
        ``ispg`` and ``nversion``.
    signed, signed_rule
        Whether the bytes of mode 0 are signed; ``None`` for other modes.
    minimum, maximum, mean, rms
        Values of the header, which are not checked; ``None`` if a value is not finite.
    labels
        The text labels.
    ext_type, ext_header
        ``exttyp`` (``"legacy"`` if it is unknown, empty without an extended header), and the extended header's bytes.
    offset
        First byte of the voxels in the (uncompressed) file.
    file_bytes
        Size of the file, bytes; of the compressed file if it is compressed.
    compression
        ``""``, ``"gzip"`` or ``"bz2"``.
    raw
        The first 1024 bytes of the file.
    warnings
        Sentences about what looked wrong, and how it was interpreted.
    """

    path: str
    mode: int
    dtype: str
    byte_order: rules.ByteOrder
    byte_order_rule: str
    shape: Index3
    file_shape: Index3
    map_order: Index3
    voxel_size: Vector3 | None
    voxel_size_rule: str
    origin: Vector3 | None
    origin_rule: str
    nstart: Index3
    grid: Index3
    cell: Vector3
    cell_angles: Vector3
    space_group: int
    version: int
    signed: bool | None
    signed_rule: str
    minimum: float | None
    maximum: float | None
    mean: float | None
    rms: float | None
    labels: tuple[str, ...]
    ext_type: str
    ext_header: bytes
    offset: int
    file_bytes: int
    compression: Compression
    raw: bytes
    warnings: tuple[str, ...]

    @property
    def volumes(self) -> int:
        """Number of volumes that lie on each other in the file; 1 unless it is a stack of whole volumes."""
        depth = self.grid[0]
        whole = is_stack(self.space_group, depth, self.file_shape[0]) and self.file_shape[0] % depth == 0
        return self.file_shape[0] // depth if whole else 1

    @property
    def axes(self) -> Index3:
        """Index in (z, y, x) of the axes of sections, rows and columns."""
        c, r, s = self.map_order
        return 3 - s, 3 - r, 3 - c

    @property
    def layout(self) -> RawLayout:
        """Place and type of the voxels in the (uncompressed) file."""
        return RawLayout(self.offset, self.file_shape, self.byte_order + rules.MODES[self.mode], self.mode == 101)

    def origin_for(self, voxel_size: Vector3) -> Vector3:
        """Return the origin in angstrom for a voxel size that may not be the header's.

        The origin keeps its place among the voxels, as in the other formats: who corrects the voxel size corrects the
        unit of all lengths in the file. A header without a usable voxel size keeps its origin in angstrom.
        """
        if self.origin_rule != "nstart * voxel size" and self.origin is not None:
            if self.voxel_size is None or self.voxel_size == voxel_size:
                return self.origin
            z, y, x = (o * new / old for o, new, old in zip(self.origin, voxel_size, self.voxel_size, strict=True))
            return z, y, x
        z, y, x = (float(n * v) for n, v in zip(self.nstart, voxel_size, strict=True))
        return z, y, x

    def to_json(self) -> dict[str, Any]:
        """Return the header as JSON values; its bytes are base64 in ``raw_base64`` and ``ext_header_base64``."""
        data = asdict(self)
        data["raw_base64"] = base64.b64encode(data.pop("raw")).decode()
        data["ext_header_base64"] = base64.b64encode(data.pop("ext_header")).decode()
        data["cell"] = [v if np.isfinite(v) else None for v in self.cell]
        data["cell_angles"] = [v if np.isfinite(v) else None for v in self.cell_angles]
        return {k: list(v) if isinstance(v, tuple) else v for k, v in data.items()}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> MrcHeader:
        """Make a header from the values of :meth:`to_json`."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        for key in ("cell", "cell_angles"):
            values[key] = tuple(float("nan") if v is None else v for v in values[key])
        values["raw"] = base64.b64decode(values.pop("raw_base64"))
        values["ext_header"] = base64.b64decode(values.pop("ext_header_base64"))
        return cls(**values)


def read_header(path: PathLike, *, volumes: bool = False) -> MrcHeader:
    """Read and interpret the header of an MRC file, which may be compressed with gzip or bzip2.

    Parameters
    ----------
    path
        The file, or its URL. The format is recognised by its content, not by its name.
    volumes
        Take a stack of volumes, too (:attr:`MrcHeader.volumes`); its shape is that of all of them on each other.

    Returns
    -------
    MrcHeader

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        It is empty, truncated, no MRC file, a stack of volumes, or of a mode that volengine does not read.
    """
    name = os.fspath(path)
    compression, file_bytes = sniff(name)
    with opened_file(name) as file, open_stream(file, compression) as stream:
        try:
            raw = stream.read(rules.HEADER_BYTES)
            header = _judge(name, raw, compression, file_bytes, stream, volumes)
        except FormatError:
            raise
        except DAMAGED as error:
            raise FormatError(
                f"{name}: the {compression or 'file'} stream ends or breaks within the header ({error}); "
                f"the file has {file_bytes} bytes. Copy or download it again."
            ) from error
    return header


def sniff(path: PathLike) -> tuple[Compression, int]:
    """Return how a file is compressed, judged by its first bytes, and its size in bytes."""
    head, file_bytes = first_bytes(os.fspath(path), 3, "an MRC file")
    return "gzip" if head[:2] == b"\x1f\x8b" else "bz2" if head == b"BZh" else "", file_bytes


@contextmanager
def open_stream(file: IO[bytes], compression: Compression) -> Iterator[IO[bytes]]:
    """Yield a stream of the decompressed content of an open file."""
    if compression == "gzip":
        with gzip.open(file, "rb") as stream:
            yield cast("IO[bytes]", stream)
    elif compression == "bz2":
        with bz2.open(file, "rb") as stream:
            yield cast("IO[bytes]", stream)
    else:
        yield file


def _judge(
    path: str, raw: bytes, compression: Compression, file_bytes: int, stream: IO[bytes], volumes: bool
) -> MrcHeader:
    """Interpret the first 1024 bytes and the extended header."""
    if len(raw) < rules.HEADER_BYTES:
        what = rules.looks_like(raw)
        raise FormatError(
            f"{path}: too short for an MRC file: {len(raw)} bytes, the header alone has {rules.HEADER_BYTES}."
            + (f" It looks like {what}." if what else " Copy or download it again.")
        )
    order = rules.decide_byte_order(raw, None if compression else file_bytes, path)
    record = rules.fields(raw, order.value)
    mode = int(record["mode"])
    flags = _imod_flags(raw, order.value)
    _refuse_modes(path, mode, flags)
    axes = rules.decide_axes(record, path)
    file_shape = index3(rules.triple(record, ("nz", "ny", "nx")))
    shape = rules.to_zyx(file_shape[::-1], axes.value)
    if not volumes:
        _refuse_stacks(path, record, file_shape)
    offset, ext_type, ext_header = _extended(path, record, stream)
    place = _place(record, shape, axes.value, stamped=raw[208:211] == b"MAP", flags=flags)
    signed = rules.Decision(None, "")
    if mode == 0:
        signed = rules.decide_signed(float(record["dmin"]), float(record["dmax"]), flags)
    dtype = np.dtype("u1" if signed.value is False else rules.MODES[mode])
    layout = RawLayout(offset, file_shape, order.value + rules.MODES[mode], mode == 101)
    length = () if compression else _check_length(path, layout, file_bytes, dtype)
    return MrcHeader(
        path=path,
        mode=mode,
        dtype=dtype.name,
        byte_order=order.value,
        byte_order_rule=order.rule,
        shape=shape,
        file_shape=file_shape,
        map_order=axes.value,
        space_group=int(record["ispg"]),
        version=int(record["nversion"]),
        signed=signed.value,
        signed_rule=signed.rule,
        labels=_labels(record),
        ext_type=ext_type,
        ext_header=ext_header,
        offset=offset,
        file_bytes=file_bytes,
        compression=compression,
        raw=raw,
        warnings=order.warnings + axes.warnings + place.pop("warnings") + signed.warnings + length,
        minimum=_finite(record["dmin"]),
        maximum=_finite(record["dmax"]),
        mean=_finite(record["dmean"]),
        rms=_finite(record["rms"]),
        **place,
    )


def _place(record: Any, shape: Index3, axes: Index3, *, stamped: bool, flags: int | None) -> dict[str, Any]:
    """Return voxel size and origin, and the header fields from which they are decided."""
    grid = index3(rules.triple(record, ("mz", "my", "mx")))
    cell: Vector3 = rules.triple(record["cella"], ("z", "y", "x"))
    angles: Vector3 = rules.triple(record["cellb"], ("alpha", "beta", "gamma"))
    nstart = rules.to_zyx(rules.triple(record, ("nxstart", "nystart", "nzstart")), axes)
    voxel = rules.decide_voxel_size(shape, grid, cell)
    origin = rules.decide_origin(
        rules.triple(record["origin"], ("z", "y", "x")), nstart, stamped=stamped, imod_flags=flags
    )
    where = origin.value
    if where is None and voxel.value is not None:
        where = tuple(float(n * v) for n, v in zip(nstart, voxel.value, strict=True))
    skewed: tuple[str, ...] = ()
    if any(a != 0 and abs(a - 90) > 0.01 for a in angles):  # NaN compares false and is let through as unset
        skewed = (f"the cell angles {angles} are not 90 degrees; the voxels are taken as rectangular",)
    return {
        "voxel_size": voxel.value,
        "voxel_size_rule": voxel.rule,
        "origin": where,
        "origin_rule": origin.rule,
        "nstart": nstart,
        "grid": grid,
        "cell": cell,
        "cell_angles": angles,
        "warnings": voxel.warnings + origin.warnings + skewed,
    }


def _imod_flags(raw: bytes, order: rules.ByteOrder) -> int | None:
    """Return IMOD's flag word, or ``None`` if the header lacks IMOD's stamp."""
    stamp, flags = np.frombuffer(raw, order + "i4", 2, 152)
    return int(flags) if stamp == rules.IMOD_STAMP else None


def _refuse_modes(path: str, mode: int, imod_flags: int | None) -> None:
    known = "0, 1, 2, 6, 12 and 101"
    if mode in (3, 4):
        raise FormatError(
            f"{path}: holds complex numbers (mode {mode}), the Fourier transform of a volume; volengine reads "
            f"volumes of modes {known}. Transform it back first."
        )
    if mode == 16:
        raise FormatError(f"{path}: holds RGB colours (mode 16); volengine reads modes {known}.")
    if mode not in rules.MODES:
        raise FormatError(f"{path}: its mode {mode} is unknown; volengine reads modes {known}.")
    if mode == 0 and imod_flags is not None and imod_flags & rules.IMOD_PACKED_BYTES:
        raise FormatError(
            f"{path}: its bytes hold two 4-bit values each (mode 0 with IMOD's flag 16); volengine reads 4-bit "
            "values as mode 101. Convert it with IMOD's newstack."
        )


def is_stack(space_group: int, depth: int, sections: int) -> bool:
    """Whether a file is a stack of volumes of ``depth`` sections each (MRC2014: space groups 401 to 630)."""
    return 401 <= space_group <= 630 and depth > 0 and sections != depth


def _refuse_stacks(path: str, record: Any, file_shape: Index3) -> None:
    """Refuse stacks of volumes: by MRC2014, space groups 401 to 630 with volumes of mz sections each."""
    depth, group = int(record["mz"]), int(record["ispg"])
    if is_stack(group, depth, file_shape[0]):
        raise FormatError(
            f"{path}: is a stack of {file_shape[0] / depth:g} volumes of {depth} sections each (space group "
            f"{group}); volengine reads one volume per file. Split it."
        )


def _extended(path: str, record: Any, stream: IO[bytes]) -> tuple[int, str, bytes]:
    """Return the first byte of the voxels, and type and bytes of the extended header."""
    count = int(record["nsymbt"])
    if count < 0:
        raise FormatError(f"{path}: its extended header would have {count} bytes (nsymbt); the header is damaged.")
    content = _read(stream, count)
    if len(content) < count:
        raise FormatError(
            f"{path}: truncated within the extended header: {len(content)} of {count} bytes are there. "
            "Copy or download it again."
        )
    kind = record["exttyp"].decode("latin-1").strip(" \0")
    return rules.HEADER_BYTES + count, (kind if kind in EXT_TYPES else "legacy") if count else "", content


def _read(stream: IO[bytes], count: int) -> bytes:
    """Read so many bytes, or fewer if the stream ends; memory follows what is there, not what is announced."""
    pieces, left = [], count
    while left and (piece := stream.read(min(left, PIECE))):
        pieces.append(piece)
        left -= len(piece)
    return b"".join(pieces)


def _check_length(path: str, layout: RawLayout, file_bytes: int, dtype: np.dtype[Any]) -> tuple[str, ...]:
    """Return a warning if the file is too long; raise :class:`FormatError` if it is too short."""
    need = layout.offset + layout.nbytes
    size = " x ".join(map(str, layout.shape))
    says = f"the header promises {size} voxels of {'4 bits' if layout.packed else dtype.name}"
    if file_bytes > need:
        return (f"{says}, {need} bytes in all; the {file_bytes - need} bytes behind them are ignored",)
    if file_bytes == need:
        return ()
    if file_bytes <= layout.offset:
        raise FormatError(
            f"{path}: has a header ({layout.offset} bytes) and no voxels: {says}, {layout.nbytes} bytes more. "
            "Copy or download it again."
        )
    raise FormatError(
        f"{path}: truncated: {says}, {need} bytes in all; the file has {file_bytes}. Copy or download it again."
    )


def _labels(record: Any) -> tuple[str, ...]:
    texts = [bytes(t).decode("latin-1").strip(" \0") for t in record["label"]]
    return tuple(t for t in texts if t)


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
