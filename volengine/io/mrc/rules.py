"""What an MRC header leaves open, decided: byte order, voxel size, origin, signed bytes.

The standard (MRC2014: Cheng et al., J. Struct. Biol. 192, 146, 2015; CCP4's map format) is written by many
programs with small differences. Each function takes bare header numbers, in the order z, y, x, and returns its
decision together with the rule it used and warnings for the user. They open no file.
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
"""Voxel sizes outside of this range, in angstrom, are not believed."""
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
    """A value, the rule that gave it, and what the user should know."""

    value: Any
    rule: str
    warnings: tuple[str, ...] = ()


def fields(raw: bytes, order: ByteOrder) -> Any:
    """The 1024 header bytes as a numpy record (mrcfile's field names)."""
    return np.frombuffer(raw, HEADER_DTYPE.newbyteorder(order), 1)[0]


def triple(record: Any, names: Sequence[str]) -> tuple[Any, Any, Any]:
    """Three fields as Python numbers."""
    a, b, c = (record[name].item() for name in names)
    return a, b, c


def looks_like(head: bytes) -> str:
    """What a file that is no MRC file seems to be, as words for a message; empty if unknown."""
    for magic, what in _MAGIC.items():
        if head.startswith(magic):
            return what
    sample = head[:512]
    if sample and all(32 <= b < 127 or b in b"\t\r\n" for b in sample):
        return "a text file"
    return ""


def decide_byte_order(raw: bytes, file_bytes: int | None, path: str) -> Decision:
    """The byte order (``"<"`` or ``">"``) whose sizes, mode and axis order make sense.

    The machine stamp (bytes 212, 213: 0x44 0x44 or 0x44 0x41 little, 0x11 0x11 big) counts only when both orders
    make sense; a stamp that is missing or contradicts the numbers is a warning.

    Raises
    ------
    FormatError
        Neither order makes sense: this is no MRC file.
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
    """mapc, mapr, maps: which of x (1), y (2), z (3) the columns, rows and sections are."""
    axes = triple(record, ("mapc", "mapr", "maps"))
    if sorted(axes) == [1, 2, 3]:
        return Decision(axes, "header")
    if axes == (0, 0, 0):
        return Decision((1, 2, 3), "default", ("the axis order is missing; columns are x, rows y, sections z",))
    raise FormatError(
        f"{path}: the axis order mapc, mapr, maps is {axes}; it must be 1, 2, 3 in some order. "
        "Mend the header (for example with mrcfile or alterheader)."
    )


def decide_voxel_size(size: Index3, grid: Index3, cell: Vector3) -> Decision:
    """The voxel size in angstrom (z, y, x), or ``None`` with the reason as the rule.

    The standard says cell / grid (mx, my, mz). Where that is impossible or anisotropic and the grid differs from
    the volume's size (the mz = 1 trap: a volume that is marked as a stack of images, with the cell of all of
    them), cell / size is taken if it is isotropic. Nothing outside of :data:`VOXEL_RANGE` is believed.
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
    """The shortest decimal number that gives a float32 ``length`` back when multiplied by ``count``.

    Headers keep cells as float32: 48 voxels of 7.84 angstrom come back as 7.84000015 without this.
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
    """Where voxel (0, 0, 0) is: an angstrom vector by ``ORIGIN``, or ``None`` where nstart * voxel size counts.

    A non-zero ORIGIN wins over nstart (as in ChimeraX); it is the position of the centre of the first voxel.
    IMOD's own convention has the opposite sign (alterheader: "the coordinates of the origin relative to the
    first voxel"): a header with IMOD's stamp and without its flag 4 is turned round. A header without MAP stamp
    predates the ORIGIN field.
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
    """Whether the bytes of mode 0 are signed.

    MRC2014 says signed. IMOD's stamp says it by flag 1 (without it: unsigned). Where the header's own minimum and
    maximum are whole numbers that only the other kind of byte can hold, they win: -128 to -1 for the minimum is
    signed, 128 to 255 for the maximum is unsigned.
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
    """Numbers for columns, rows, sections as z, y, x, given mapc, mapr, maps."""
    out = [0, 0, 0]
    for value, axis in zip(values, axes, strict=True):
        out[3 - axis] = int(value)
    return index3(out)
