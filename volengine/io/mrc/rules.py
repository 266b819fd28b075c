"""Rules for the ambiguous fields of MRC headers: byte order, voxel size, origin, signed bytes.

Many programs write the standard (MRC2014: Cheng et al., J. Struct. Biol. 192, 146, 2015; CCP4's map format) with small
differences. Each function takes numbers of the header, in the order z, y, x, and returns its decision, the rule that it
applied, and warnings for the user. The functions open no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from mrcfile.dtypes import HEADER_DTYPE

from volengine.core.boxes import Index3, index3
from volengine.core.errors import FormatError
from volengine.core.volume import Vector3

ByteOrder = Literal["<", ">"]

HEADER_BYTES = 1024
VOXEL_RANGE = (0.1, 1000.0)
"""Smallest and largest plausible voxel size, angstrom."""
MAX_LENGTH_VOX = 2**20
MAX_ORIGIN = 1e8

IMOD_STAMP = 1146047817
IMOD_SIGNED_BYTES = 1
IMOD_STANDARD_ORIGIN = 4
IMOD_PACKED_BYTES = 16

MODES: dict[int, str] = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2", 101: "u1"}
_KNOWN_MODES = frozenset(MODES) | {3, 4, 16}
_ISOTROPIC = 0.01
_MAGIC = {
    b"II*\0": "a TIFF file", b"MM\0*": "a TIFF file", b"II+\0": "a TIFF file", b"MM\0+": "a TIFF file",
    b"\x89HDF": "an HDF5 file", b"PK\x03\x04": "a zip archive", b"\x89PNG": "a PNG picture",
    b"\x28\xb5\x2f\xfd": "zstd-compressed", b"\xfd7zX": "xz-compressed",
}  # fmt: skip


@dataclass(frozen=True)
class Decision:
    """A value, the rule by which it was decided, and warnings for the user."""

    value: Any
    rule: str
    warnings: tuple[str, ...] = ()


def fields(raw: bytes, order: ByteOrder) -> Any:
    """Return the 1024 header bytes as a numpy record, with the field names of ``mrcfile``."""
    return np.frombuffer(raw, HEADER_DTYPE.newbyteorder(order), 1)[0]


def triple(record: Any, names: Sequence[str]) -> tuple[Any, Any, Any]:
    """Return three fields of a record as Python numbers."""
    a, b, c = (record[name].item() for name in names)
    return a, b, c


def looks_like(head: bytes) -> str:
    """Name the format of a file that is no MRC file, for a message; empty if it is unknown."""
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            return what
    sample = head[:512]
    if sample and all(32 <= b < 127 or b in b"\t\r\n" for b in sample):
        return "a text file"
    return ""


def decide_byte_order(raw: bytes, file_bytes: int | None, path: str) -> Decision:
    """Decide the byte order (``"<"`` or ``">"``): the one for which sizes, mode and axis order are plausible.

    The machine stamp (bytes 212, 213: 0x44 0x44 or 0x44 0x41 little-endian, 0x11 0x11 big-endian) decides only if both
    orders are equally plausible. A stamp that is missing or contradicts the numbers gives a warning.

    Parameters
    ----------
    raw
        The first 1024 bytes.
    file_bytes
        Size of the file, bytes; ``None`` if it is compressed.
    path
        The file, for the message.

    Raises
    ------
    FormatError
        Neither order is plausible, so this is no MRC file.
    """
    stamp = bytes(raw[212:214])
    said: ByteOrder | None = "<" if stamp[:1] == b"\x44" else ">" if stamp[:1] == b"\x11" else None
    order: ByteOrder
    orders: tuple[ByteOrder, ByteOrder] = (">", "<") if said == ">" else ("<", ">")
    scores = [_plausible(fields(raw, o), file_bytes) for o in orders]
    order = orders[scores.index(max(scores))]
    sized, axes_known, mode_known, _ = max(scores)
    if not sized or not (axes_known or mode_known or raw[208:211] == b"MAP"):
        raise _not_mrc(raw, file_bytes, path)
    warnings = []
    if raw[208:212] != b"MAP ":
        warnings.append(f"the MAP stamp is {bytes(raw[208:212])!r} instead of b'MAP '")
    if stamp not in (b"\x44\x44", b"\x44\x41", b"\x11\x11"):
        shown = " ".join(f"{b:#04x}" for b in raw[212:216])
        warnings.append(f"the machine stamp {shown} is odd; {_order_name(order)} judged from sizes and mode")
    elif order != said:
        warnings.append(f"the machine stamp contradicts sizes and mode; read as {_order_name(order)}")
    rule = "machine stamp" if order == said else "sizes and mode"
    return Decision(order, rule, tuple(warnings))


def _order_name(order: ByteOrder) -> str:
    return "little-endian" if order == "<" else "big-endian"


def _plausible(record: Any, file_bytes: int | None) -> tuple[int, int, int, int]:
    """Sort key: sizes in range, axis order, mode, and whether the file can hold that many voxels."""
    sizes = triple(record, ("nx", "ny", "nz"))
    if not all(1 <= n <= MAX_LENGTH_VOX for n in sizes):
        return 0, 0, 0, 0
    axes = triple(record, ("mapc", "mapr", "maps"))
    mode = int(record["mode"])
    fits = 1
    if file_bytes is not None and mode in MODES:
        bits = 4 if mode == 101 else 8 * np.dtype(MODES[mode]).itemsize
        fits = int(sizes[0] * sizes[1] * sizes[2] * bits // 8 <= file_bytes)
    return 1, int(sorted(axes) == [1, 2, 3]), int(mode in _KNOWN_MODES), fits


def _not_mrc(raw: bytes, file_bytes: int | None, path: str) -> FormatError:
    little = triple(fields(raw, "<"), ("nz", "ny", "nx"))
    big = triple(fields(raw, ">"), ("nz", "ny", "nx"))
    what = looks_like(raw)
    hint = f" It looks like {what}." if what else ""
    size = "compressed" if file_bytes is None else f"{file_bytes} bytes"
    return FormatError(
        f"{path}: not an MRC file ({size}): its sizes z, y, x would be {little} (little-endian) or {big} "
        f"(big-endian).{hint} Give an MRC file, or a TIFF stack with a .tif name."
    )


def decide_axes(record: Any, path: str) -> Decision:
    """Decide mapc, mapr, maps: the axes (1 = x, 2 = y, 3 = z) of columns, rows and sections.

    Raises
    ------
    FormatError
        They are neither a permutation of 1, 2, 3 nor all 0.
    """
    axes = triple(record, ("mapc", "mapr", "maps"))
    if sorted(axes) == [1, 2, 3]:
        return Decision(axes, "header")
    if axes == (0, 0, 0):
        return Decision((1, 2, 3), "default", ("the axis order is missing; columns are x, rows y, sections z",))
    raise FormatError(
        f"{path}: the axis order mapc, mapr, maps is {axes}; it must be 1, 2, 3 in some order. "
        "Correct the header (for example with mrcfile or alterheader)."
    )


def decide_voxel_size(size: Index3, grid: Index3, cell: Vector3) -> Decision:
    """Decide the voxel size in angstrom (z, y, x); ``None`` with the reason as the rule if none is plausible.

    By the standard it is cell / grid (mx, my, mz). If this is not plausible or anisotropic, and the grid differs from
    the volume's size, then cell / size is used if it is isotropic. This happens where a volume is marked as a stack of
    images (mz = 1) and has the cell of all of them. Otherwise the first plausible of the two is used although it is
    anisotropic, with a warning. Sizes outside of :data:`VOXEL_RANGE` are never used.

    Parameters
    ----------
    size, grid
        Size of the volume and (mz, my, mx), voxels.
    cell
        Cell lengths, angstrom, z, y, x.
    """
    by_grid, by_size = _quotient(cell, grid), _quotient(cell, size)
    differs = f"the grid mz, my, mx {grid} differs from the size {size}"
    if _isotropic(by_grid):
        return _sized(by_grid, "cell / grid", ())
    if grid != size and _isotropic(by_size):
        shown = "no voxel size" if by_grid is None else f"{_show(by_grid)} angstrom"
        why = f"{differs} and would give {shown}; cell / size gives {_show(by_size)} angstrom and is taken"
        return _sized(by_size, "cell / size", (why,))
    if _believable(by_grid):
        return _sized(by_grid, "cell / grid", (f"the voxels are not cubes: {_show(by_grid)} angstrom",))
    if grid != size and _believable(by_size):
        why = f"{differs}; cell / size gives {_show(by_size)} angstrom and is taken"
        return _sized(by_size, "cell / size", (why,))
    low, high = VOXEL_RANGE
    would = "no voxel size" if by_grid is None else f"{_show(by_grid)} angstrom"
    reason = f"the cell {_show(cell)} angstrom over the grid {grid} gives {would} (believed: {low:g} to {high:g})"
    return Decision(None, reason)


def _sized(value: Any, rule: str, warnings: tuple[str, ...]) -> Decision:
    if all(v == 1.0 for v in value):
        warnings += ("the voxel size is exactly 1 angstrom, which often means that nobody set it",)
    return Decision(value, rule, warnings)


def _quotient(cell: Vector3, count: Index3) -> Vector3 | None:
    if any(n <= 0 for n in count) or not all(np.isfinite(cell)):
        return None
    z, y, x = (shortest(c, n) for c, n in zip(cell, count, strict=True))
    return z, y, x


def shortest(length: float, count: int) -> float:
    """Return the shortest decimal number whose product with ``count`` is ``length`` in float32.

    Headers store cells as float32. Without this, 48 voxels of 7.84 angstrom would be read as 7.84000015 angstrom.

    >>> shortest(float(np.float32(48 * 7.84)), 48)
    7.84
    """
    exact = length / count
    for digits in range(1, 10):
        value = float(f"{exact:.{digits}g}")
        if np.float32(value * count) == np.float32(length):
            return value
    return exact


def _believable(value: Vector3 | None) -> bool:
    low, high = VOXEL_RANGE
    return value is not None and all(low <= v <= high for v in value)


def _isotropic(value: Vector3 | None) -> bool:
    return value is not None and _believable(value) and max(value) / min(value) - 1 < _ISOTROPIC


def _show(values: Vector3 | None) -> str:
    return "(" + ", ".join(f"{v:g}" for v in values or ()) + ")"


def decide_origin(origin: Vector3, nstart: Index3, *, stamped: bool, imod_flags: int | None) -> Decision:
    """Decide the position of voxel (0, 0, 0): ORIGIN in angstrom, or ``None`` if it is nstart * voxel size.

    A non-zero ORIGIN has precedence over nstart (as in ChimeraX); it is the position of the centre of the first voxel.
    IMOD's own convention has the opposite sign (alterheader: "the coordinates of the origin relative to the first
    voxel"), so the sign is changed for a header with IMOD's stamp but without its flag 4. Headers without MAP stamp are
    older than the ORIGIN field.

    Parameters
    ----------
    origin
        The ORIGIN field, z, y, x.
    nstart
        nzstart, nystart, nxstart.
    stamped
        Whether the header has the MAP stamp.
    imod_flags
        IMOD's flag word, or ``None`` without IMOD's stamp.
    """
    warnings: list[str] = []
    has_origin = any(v != 0 for v in origin)
    if has_origin and not stamped:
        warnings.append("the header has no MAP stamp and so no ORIGIN field; its bytes there are ignored")
        has_origin = False
    elif has_origin and not all(np.isfinite(v) and abs(v) < MAX_ORIGIN for v in origin):
        warnings.append(f"ORIGIN {_show(origin)} makes no sense and is ignored")
        has_origin = False
    if has_origin:
        if any(nstart):
            warnings.append(f"ORIGIN {_show(origin)} and nstart {nstart} are both set; ORIGIN is used")
        values: tuple[float, ...] = tuple(float(str(np.float32(v))) for v in origin)
        if imod_flags is not None and not imod_flags & IMOD_STANDARD_ORIGIN:
            warnings.append("ORIGIN has IMOD's sign (no flag 4) and is turned round")
            return Decision(tuple(0.0 - v for v in values), "-ORIGIN (IMOD's sign)", tuple(warnings))
        return Decision(tuple(0.0 + v for v in values), "ORIGIN", tuple(warnings))
    if any(nstart):
        if all(abs(n) <= MAX_LENGTH_VOX for n in nstart):
            return Decision(None, "nstart * voxel size", tuple(warnings))
        warnings.append(f"nstart {nstart} makes no sense and is ignored")
    return Decision((0.0, 0.0, 0.0), "zero", tuple(warnings))


def decide_signed(low: float, high: float, imod_flags: int | None) -> Decision:
    """Decide whether the bytes of mode 0 are signed.

    By MRC2014 they are signed. With IMOD's stamp they are signed if flag 1 is set. If the header's minimum and maximum
    are whole numbers that only the other kind of byte can hold, they have precedence: a minimum of -128 to -1 means
    signed, a maximum of 128 to 255 means unsigned.

    Parameters
    ----------
    low, high
        Minimum and maximum of the header.
    imod_flags
        IMOD's flag word, or ``None`` without IMOD's stamp.
    """
    flagged = imod_flags is not None
    signed = bool(imod_flags & IMOD_SIGNED_BYTES) if imod_flags is not None else True
    rule = "IMOD's stamp" if flagged else "MRC2014"
    if float(low).is_integer() and float(high).is_integer():
        if not signed and -128 <= low < 0 and low <= high <= 127:
            return Decision(True, "minimum below 0", (f"bytes read as signed: the header's minimum is {low:g}",))
        if signed and 0 <= low <= high and 127 < high <= 255:
            why = f"bytes read as unsigned: the header's maximum is {high:g}"
            return Decision(False, "maximum above 127", (why,))
    return Decision(signed, rule)


def to_zyx(values: Sequence[int], axes: Sequence[int]) -> Index3:
    """Reorder numbers for columns, rows and sections to z, y, x, given mapc, mapr, maps."""
    out = [0, 0, 0]
    for value, axis in zip(values, axes, strict=True):
        out[3 - axis] = int(value)
    return index3(out)
