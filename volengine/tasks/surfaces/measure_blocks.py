"""Kernels of ``surfaces measure``, and the memory that they need.

``boxes`` finds the boxes around surfaces, ``border`` distances from borders, which need a surface as a whole, ``rows``
all else for some vertices. They read surfaces and volumes themselves, because none of it lies on blocks of a volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from volengine.core.block import Block, Result, Table, merge_tables
from volengine.core.digest import exact_text
from volengine.ops.surfaces.proximity import box_around
from volengine.tasks.common.division import COLUMN, MISSING, NOTES, PIECE, units_of, whole_units_of
from volengine.tasks.common.set_read import GEODESIC_BYTES, READ_BYTES, SetRead, errors_name
from volengine.tasks.surfaces.measure_rows import CACHE_BYTES, Boxes, measuring


def boxes_of_surfaces(block: Block, path: dict[str, Any], rows: int) -> Result:
    """Kernel: the boxes around some surfaces of a set.

    Parameters
    ----------
    path
        :class:`~volengine.tasks.surfaces.sets.SetRead` as JSON.
    rows
        Vertices of a unit.

    Returns
    -------
    Result
        A row for each: ``number`` and ``box`` (2, 3), angstrom.
    """
    found = SetRead.from_json(path)
    surfaces = found.open()
    pieces = whole_units_of(found.counts, rows)[block.number]
    boxes = [box_around(surfaces.read(piece.number)) for piece in pieces]
    return Result(table={"number": np.array([p.number for p in pieces]), "box": np.array(boxes).reshape(-1, 2, 3)})


def boxes_of_surfaces_bytes(vertices: int) -> int:
    """Bytes that :func:`boxes_of_surfaces` needs for surfaces of so many vertices."""
    return READ_BYTES * vertices + 2**26


def border_of_surfaces(block: Block, given: dict[str, Any], rows: int) -> Result:
    """Kernel: the distance of each vertex of some surfaces from the borders of these.

    Parameters
    ----------
    given
        Of :meth:`~volengine.tasks.surfaces.measure_given.Given.described`.
    rows
        Vertices of a unit.

    Returns
    -------
    Result
        ``border_nm`` of all vertices, surface after surface; ``piece.count``, and ``notes`` for each surface.
    """
    work = measuring(exact_text(given))
    with errors_name(given):
        found = [work.border(piece.number) for piece in whole_units_of(work.set.counts, rows)[block.number]]
    table = {
        "border_nm": np.concatenate([column for column, _ in found]),
        PIECE: np.array([len(column) for column, _ in found]),
        NOTES: np.array([note for _, note in found], str),
    }
    return Result(table=table, counts={"surfaces": len(found)})


def border_of_surfaces_bytes(vertices: int, open_: int) -> int:
    """Bytes that :func:`border_of_surfaces` needs for a surface of so many vertices, and an open one of ``open_``."""
    return READ_BYTES * vertices + GEODESIC_BYTES * open_ + 2**26


def measure_rows(block: Block, given: dict[str, Any], rows: int) -> Result:
    """Kernel: all measures of some vertices but the distance from borders.

    Parameters
    ----------
    given, rows
        As of :func:`border_of_surfaces`.

    Returns
    -------
    Result
        ``row`` (numbers of vertices) and the columns, piece after piece; ``piece.count`` and ``piece.missing``.
    """
    work = measuring(exact_text(given))
    boxes = boxes_in(block)
    tables: list[Table] = []
    missing: list[int] = []
    for piece in units_of(work.set.counts, rows)[block.number]:
        with errors_name(given):
            row, columns, without = work.columns(piece, boxes)
        tables.append({"row": row, **{COLUMN + name: column for name, column in columns.items()}})
        missing.append(without)
    counts = np.array([len(table["row"]) for table in tables])
    table = {**merge_tables(tables), PIECE: counts, MISSING: np.array(missing)}
    return Result(table=table, counts={"vertices": int(counts.sum())})


def measure_rows_bytes(vertices: int, rows: int, values: int, volumes: int) -> int:
    """Bytes that :func:`measure_rows` needs.

    Parameters
    ----------
    vertices
        Of the largest surface.
    rows
        Of a unit.
    values
        Of a profile, 0 if none are read. Those of the vertices around are read, too.
    volumes
        Number of volumes that are read.
    """
    return READ_BYTES * vertices + rows * (3000 + 40 * values) + volumes * CACHE_BYTES + 2**27


def boxes_in(block: Block) -> Boxes:
    """The boxes around surfaces that earlier stages have found, for each set by its name."""
    found: dict[str, dict[int, Any]] = {}
    for name, tables in block.tables.items():
        mine: Sequence[Table] = list(tables.values())
        found[name] = {
            int(number): box for table in mine for number, box in zip(table["number"], table["box"], strict=True)
        }
    return found
