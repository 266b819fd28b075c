"""Reading Amira spatial graphs (``.am``): filaments as lines of points in order.

>>> graph = read_spatial_graph("microtubules.am")       # doctest: +SKIP
>>> graph.lines[0][:2], graph.angstrom                  # doctest: +SKIP
(array([[120., 30., 14.], [121., 30., 18.]]), 10.0)

An edge joins two vertices and has points along it, the first and the last of them at the vertices. The coordinates are
physical ones in the frame of the tomogram's bounding box, whose corners are centres of voxels: the index of a point is
``(position - origin) / voxel size``. Blocks are found by their sizes and not by the text ``@N``, which voxels may
contain; a block that is compressed with HxZip is one stream of zlib.
"""

from __future__ import annotations

import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import FormatError, InputError
from volengine.core.paths import PathLike
from volengine.io.amira.header import AmiraField, AmiraHeader, read_header
from volengine.io.amira.zipped import MOST

ZIP = "HxZip"
NEEDED = ("VertexCoordinates", "EdgeConnectivity", "NumEdgePoints", "EdgePointCoordinates")


@dataclass(frozen=True, eq=False)
class SpatialGraph:
    """The points of a spatial graph.

    Parameters
    ----------
    vertices
        (n, 3) float64, z, y, x, in the file's unit.
    edges
        (m, 2) int64: the vertices at both ends of each edge.
    lines
        For each edge its points in order, (k, 3) float64, z, y, x, in the file's unit.
    unit, angstrom
        Unit of length as written (empty if there is none), and angstrom per unit, ``None`` if it is not known.
    columns
        Further numbers of each edge (``EDGE``) and of each point (``POINT``), by their names, in the file's order.
    """

    vertices: NDArray[np.float64]
    edges: NDArray[np.int64]
    lines: tuple[NDArray[np.float64], ...]
    unit: str
    angstrom: float | None
    columns: dict[str, dict[str, NDArray[Any]]]


def read_spatial_graph(path: PathLike) -> SpatialGraph:
    """Read a spatial graph.

    Memory: about twice the size of the file, and of its data if these are compressed (HxZip).

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        It is damaged or cut off, compressed in another way than HxZip, or holds no spatial graph.
    InputError
        It has a transformation.
    """
    text = os.fspath(path)
    header = read_header(text)
    names = {f.name for f in header.fields}
    if any(name not in names for name in NEEDED) or any(n not in header.sizes for n in ("VERTEX", "EDGE", "POINT")):
        raise FormatError(
            f"{text}: holds no spatial graph ({', '.join(NEEDED)}), but {', '.join(sorted(names)) or 'nothing'}."
        )
    if header.turned:
        raise InputError(f"{text}: has a transformation; apply it in Amira (Apply Transform) and save it again.")
    counts = {name: sizes[0] for name, sizes in header.sizes.items() if sizes}
    blocks = (_text_blocks if header.order == "ASCII" else _binary_blocks)(header, counts)
    vertices = _coordinates(header, blocks, "VertexCoordinates")
    edges = _indices(header, blocks, "EdgeConnectivity", 2)
    along = _indices(header, blocks, "NumEdgePoints", 1)[:, 0]
    points = _coordinates(header, blocks, "EdgePointCoordinates")
    if (len(along) and (along.min() < 0 or along.max() > len(points))) or along.sum() != len(points):
        raise FormatError(f"{text}: its edges have {along.sum()} points, but there are {len(points)}; it is damaged.")
    if len(edges) and (edges.min() < 0 or edges.max() >= len(vertices)):
        raise FormatError(f"{text}: its edges name vertex {edges.max()}, but there are {len(vertices)}; it is damaged.")
    if not (np.isfinite(vertices).all() and np.isfinite(points).all()):
        raise FormatError(f"{text}: holds coordinates that are not finite; it is damaged.")
    columns: dict[str, dict[str, NDArray[Any]]] = {"EDGE": {}, "POINT": {}}
    for field in header.fields:
        if field.owner in columns and field.name not in NEEDED and field.components == 1 and field.block in blocks:
            columns[field.owner][field.name] = blocks[field.block][:, 0]
    lines = tuple(np.ascontiguousarray(p) for p in np.split(points, np.cumsum(along)[:-1])) if len(along) else ()
    return SpatialGraph(np.ascontiguousarray(vertices), edges, lines, header.unit, header.angstrom, columns)


def _coordinates(header: AmiraHeader, blocks: dict[int, NDArray[Any]], name: str) -> NDArray[np.float64]:
    """A field of coordinates x, y, z, as z, y, x."""
    with np.errstate(invalid="ignore"):  # a signalling NaN, of a damaged file, makes NumPy warn when it is converted
        return _rows(header, blocks, name, 3).astype(np.float64)[:, ::-1]


def _indices(header: AmiraHeader, blocks: dict[int, NDArray[Any]], name: str, components: int) -> NDArray[np.int64]:
    """A field of whole numbers, of whatever type."""
    rows = _rows(header, blocks, name, components)
    if rows.dtype.kind == "f":
        _check_whole(header, name, rows)
    return rows.astype(np.int64)


def _check_whole(header: AmiraHeader, name: str, values: NDArray[Any]) -> None:
    with np.errstate(invalid="ignore"):  # infinity has no remainder
        whole = (np.abs(values) < 2**53) & (values % 1 == 0)
    if not whole.all():
        raise FormatError(f"{header.path}: {name} holds numbers that are not whole.")


def _rows(header: AmiraHeader, blocks: dict[int, NDArray[Any]], name: str, components: int) -> NDArray[Any]:
    field = next(f for f in header.fields if f.name == name)
    if field.components != components:
        raise FormatError(f"{header.path}: {name} has {field.components} numbers for each element, not {components}.")
    return blocks[field.block]


def _sized(header: AmiraHeader, counts: dict[str, int]) -> list[tuple[AmiraField, int]]:
    """The fields in the order of their blocks, with the number of elements."""
    found = []
    size = Path(header.path).stat().st_size
    for field in sorted(header.fields, key=lambda f: f.block):
        if field.coding and (field.coding != ZIP or header.order == "ASCII"):
            raise FormatError(f"{header.path}: {field.name} is compressed ({field.coding}); save it uncompressed.")
        if not field.dtype or field.owner not in counts:
            raise FormatError(f"{header.path}: {field.name} is of a type or size that is not known.")
        count = counts[field.owner]
        bytes_ = count * field.components * np.dtype(field.dtype).itemsize
        if field.coding and (bytes_ > MOST * field.coded_bytes + MOST or field.coded_bytes > size):
            raise FormatError(
                f"{header.path}: {field.coded_bytes} bytes (HxZip) in a file of {size} cannot make the {bytes_} bytes "
                f"of {count} {field.name}; it is damaged."
            )
        if not field.coding and count * field.components > size:
            raise FormatError(f"{header.path}: announces {count} of {field.name}, in {size} bytes; it is truncated.")
        found.append((field, count))
    if len({f.block for f, _ in found}) != len(found):
        raise FormatError(f"{header.path}: two fields name one block of data; it is damaged.")
    return found


def _binary_blocks(header: AmiraHeader, counts: dict[str, int]) -> dict[int, NDArray[Any]]:
    blocks: dict[int, NDArray[Any]] = {}
    data = Path(header.path).read_bytes()
    at = header.start
    for number, (field, count) in enumerate(_sized(header, counts)):
        if number:
            line = re.compile(rb"\s*@%d[ \t]*\r?\n" % field.block).match(data, at)
            if line is None:
                raise FormatError(f"{header.path}: no block @{field.block} ({field.name}) at byte {at}; it is damaged.")
            at = line.end()
        dtype = np.dtype(field.dtype).newbyteorder("<" if header.order == "<" else ">")
        size = count * field.components * dtype.itemsize
        stored = field.coded_bytes if field.coding else size
        if at + stored > len(data):
            raise FormatError(f"{header.path}: truncated: {field.name} ends at byte {at + stored} of {len(data)}.")
        raw = _inflated(header, field, data[at : at + stored], size) if field.coding else data[at : at + size]
        blocks[field.block] = np.frombuffer(raw, dtype, count * field.components).reshape(count, field.components)
        at += stored
    return blocks


def _inflated(header: AmiraHeader, field: AmiraField, coded: bytes, size: int) -> bytes:
    """The bytes of a block that is one stream of zlib, as long as they were announced."""
    inflate = zlib.decompressobj()
    try:
        raw = inflate.decompress(coded, size + 1)  # never more than one byte too many
    except zlib.error as error:
        raise FormatError(f"{header.path}: {field.name} (HxZip) is damaged: {error}.") from None
    if len(raw) == size and not inflate.eof:
        inflate.decompress(inflate.unconsumed_tail, 1)
    if len(raw) != size or not inflate.eof:
        raise FormatError(
            f"{header.path}: the stream of {field.name} (HxZip) makes {'more' if len(raw) > size else len(raw)} of "
            f"{size} bytes; it is damaged or cut off."
        )
    return raw


def _text_blocks(header: AmiraHeader, counts: dict[str, int]) -> dict[int, NDArray[Any]]:
    data = Path(header.path).read_bytes()
    marks = [
        (header.start, None),
        *((m.end(), m) for m in re.compile(rb"^@(\d{1,6})[ \t]*\r?\n", re.MULTILINE).finditer(data, header.start)),
    ]
    fields = _sized(header, counts)
    if len(marks) != len(fields):
        raise FormatError(f"{header.path}: has {len(marks)} blocks of data, {len(fields)} were announced.")
    blocks: dict[int, NDArray[Any]] = {}
    for place, (field, count) in enumerate(fields):
        begin, mark = marks[place]
        follower = marks[place + 1][1] if place + 1 < len(marks) else None
        end = len(data) if follower is None else follower.start()
        if mark is not None and int(mark[1]) != field.block:
            raise FormatError(f"{header.path}: block @{int(mark[1])} where @{field.block} was expected.")
        words = data[begin:end].split()
        if len(words) != count * field.components:
            raise FormatError(
                f"{header.path}: {field.name} has {len(words)} numbers, {count * field.components} were announced."
            )
        try:
            values = np.array([float(word) for word in words], np.float64)
            values[np.isinf(values)] = np.nan  # neither is a coordinate, and NaN is no whole number
        except ValueError:
            raise FormatError(f"{header.path}: {field.name} holds words that are no numbers.") from None
        if np.dtype(field.dtype).kind in "iu":
            _check_whole(header, field.name, values)
        blocks[field.block] = values.reshape(count, field.components)
    return blocks
