"""The text at the beginning of an Amira file: what is in it, and where.

>>> header = read_header("TS_01.am")            # doctest: +SKIP
>>> header.sizes, header.bounds, header.unit    # doctest: +SKIP
({'Lattice': (64, 200, 200)}, (0.0, 1990.0, 0.0, 1990.0, 0.0, 630.0), 'nm')

The header defines named sizes (``define Lattice 200 200 64``, x first), parameters, and fields of data (``Lattice {
byte Data } @1``); the blocks of data follow, each behind a line ``@1``. Written after Amira's reference guide and
files; the readers of TARDIS and Bio-Formats were compared.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from volengine.core.errors import FormatError
from volengine.io.files import first_bytes

MAX_HEADER = 2**22
"""Largest size of a header, bytes."""

TYPES = {
    "byte": "u1", "sbyte": "i1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "int32": "i4", "long": "i8",
    "float": "f4", "double": "f8", "float32": "f4",
}  # fmt: skip
"""numpy type for each type of a field; Amira's ``byte`` is unsigned."""

ANGSTROM = {
    "a": 1.0, "å": 1.0, "angstrom": 1.0, "pm": 0.01, "nm": 10.0, "um": 1e4, "µm": 1e4, "μm": 1e4, "micron": 1e4,
    "mm": 1e7, "cm": 1e8, "m": 1e10,
}  # fmt: skip

_MAGIC = re.compile(r"#\s*(?:AmiraMesh|Avizo)\s+(?:3D\s+)?(BINARY-LITTLE-ENDIAN|BINARY|ASCII)\b", re.IGNORECASE)
_DEFINE = re.compile(r"^\s*(?:define|n(?=\w+\s+\d))\s*(\w+)\s+((?:\d{1,12}\s*){1,4})$", re.MULTILINE)
_FIELD = re.compile(
    r"^\s*(\w+)\s*\{\s*(\w+)(?:\[(\d{1,6})\])?\s+(\w+)\s*\}\s*(?:=\s*)?(?:\w+\s*\(\s*)?@(\d{1,6})\)?"
    r"\s*(?:\(\s*(\w+)\s*,\s*(\d{1,18})\s*\))?",
    re.MULTILINE,
)
_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_BOUNDS = re.compile(rf"\bBoundingBox\s+((?:{_NUMBER}(?:[\s,]+|$)){{6}})")
_TURN = re.compile(rf"\bTransformationMatrix\s+((?:{_NUMBER}(?:[\s,]+|$)){{16}})")
_COORDINATES = re.compile(r'\bCoordType\s+"?(\w+)"?')
_UNIT = re.compile(r'\bCoordinates\s+"([^"]{0,20})"')


@dataclass(frozen=True)
class AmiraField:
    """A field of data: what it belongs to, its type, its name, and the number of its block.

    Parameters
    ----------
    owner
        ``Lattice``, ``VERTEX``, ``EDGE``, ``POINT`` ...
    dtype
        numpy type without byte order; empty if it is unknown.
    components
        Numbers for each element.
    name
        ``Data``, ``Labels``, ``VertexCoordinates`` ...
    block
        The N of ``@N``.
    coding, coded_bytes
        ``HxByteRLE`` or ``HxZip`` and the size of the block; empty and 0 if it is not compressed.
    """

    owner: str
    dtype: str
    components: int
    name: str
    block: int
    coding: str
    coded_bytes: int


@dataclass(frozen=True)
class AmiraHeader:
    """The header of an Amira file.

    Parameters
    ----------
    path
        The file.
    order
        Byte order of the blocks, or ``ASCII``.
    sizes
        Numbers behind ``define``, in the file's order (x, y, z).
    fields
        The fields of data.
    bounds
        ``BoundingBox`` x0 x1 y0 y1 z0 z1: centres of the first and the last voxel, in the file's unit.
    unit
        Unit of lengths as written; empty if there is none.
    coordinates
        ``uniform`` and others.
    turned
        Whether there is a transformation that changes anything.
    start
        First byte of the first block, behind its line ``@N``.
    text
        The header.
    """

    path: str
    order: Literal["<", ">", "ASCII"]
    sizes: dict[str, tuple[int, ...]]
    fields: tuple[AmiraField, ...]
    bounds: tuple[float, ...] | None
    unit: str
    coordinates: str
    turned: bool
    start: int
    text: str

    @property
    def angstrom(self) -> float | None:
        """Angstrom per unit of length; ``None`` if the file states none that is known."""
        return ANGSTROM.get(self.unit.strip().lower())


def read_header(path: str) -> AmiraHeader:
    """Read the header of an Amira file.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        It is no Amira file, or its header has no end within 4 MiB.
    """
    raw, size = first_bytes(path, MAX_HEADER, "an Amira file")
    first = raw[:200].decode("latin-1").splitlines()[0]
    magic = _MAGIC.match(first)
    if magic is None:
        kind = " It is a surface." if "HyperSurface" in first else ""
        raise FormatError(f"{path}: is no Amira file with a lattice or a graph: it begins with {first[:40]!r}.{kind}")
    end = re.search(rb"^@(\d{1,6})[ \t]*\r?\n", raw, re.MULTILINE)
    if end is None:
        raise FormatError(
            f"{path}: its header has no end: no line '@1' in the first {len(raw)} of {size} bytes. It is truncated, or "
            "has no data."
        )
    text = _decoded(raw[: end.start()])
    plain = re.sub(r"#[^\n]*", "", text)
    fields = tuple(
        AmiraField(
            owner, TYPES.get(kind.lower(), ""), int(count or 1), name, int(block), coding or "", int(length or 0)
        )
        for owner, kind, count, name, block, coding, length in _FIELD.findall(plain)
    )
    bounds, turn = _BOUNDS.search(plain), _TURN.search(plain)
    order: Literal["<", ">", "ASCII"] = (
        "ASCII" if magic[1].upper() == "ASCII" else "<" if "LITTLE" in magic[1].upper() else ">"
    )
    unit, coordinates = _UNIT.search(plain), _COORDINATES.search(plain)
    return AmiraHeader(
        path=path,
        order=order,
        sizes={name: tuple(int(n) for n in numbers.split()) for name, numbers in _DEFINE.findall(plain)},
        fields=fields,
        bounds=None if bounds is None else tuple(float(v) for v in re.findall(_NUMBER, bounds[1])),
        unit="" if unit is None else unit[1],
        coordinates="uniform" if coordinates is None else coordinates[1].lower(),
        turned=turn is not None and _turns([float(v) for v in re.findall(_NUMBER, turn[1])]),
        start=end.end(),
        text=text,
    )


def _decoded(raw: bytes) -> str:
    """Return the text of a header: newer versions write UTF-8, older ones the code page of Western languages."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _turns(matrix: list[float]) -> bool:
    unity = [1.0 if i % 5 == 0 else 0.0 for i in range(16)]
    return any(abs(a - b) > 1e-6 for a, b in zip(matrix, unity, strict=False))
