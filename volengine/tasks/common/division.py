"""How the vertices of sets of surfaces are divided between units: small surfaces together, large ones in parts.

The division depends on nothing but the numbers of vertices, so workers, restarts and blocks do not change it; and what
is computed of a vertex does not depend on the division.

>>> units_of([(1, 10), (2, 20), (3, 900)], 100)[:2]
((Piece(number=1, part=0, parts=1), Piece(number=2, part=0, parts=1)), (Piece(number=3, part=0, parts=16),))
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from volengine.core.tiling import Tiling

Ints = NDArray[np.int64]

PIECE, MISSING, NOTES = "piece.count", "piece.missing", "notes"
"""Columns of tables beside those of the vertices: vertices of each piece, those without values; sentences."""

COLUMN = "column."
"""Before the names of measured columns in tables, where users' own names are among them."""

ROWS = 20_000
"""Vertices of a unit, about."""


class Piece(NamedTuple):
    """One part of the vertices of a surface, counted from 0."""

    number: int
    part: int
    parts: int


Units = tuple[tuple[Piece, ...], ...]
Counts = Sequence[tuple[int, int]]
"""Number of each surface, and of its vertices, about."""


def units_of(counts: Counts, rows: int) -> Units:
    """Divide surfaces into units of about ``rows`` vertices; a surface of more is divided into 2, 4, 8 ... parts.

    Parameters
    ----------
    counts
        Number and vertices of each surface; the latter say how the work is divided, and need not be right.
    rows
        Vertices of a unit.

    Returns
    -------
    The pieces of each unit, in the order of the surfaces.
    """
    return _divided(tuple((int(n), int(v)) for n, v in counts), rows, whole=False)


def whole_units_of(counts: Counts, rows: int) -> Units:
    """As :func:`units_of`, but no surface is divided: a large one is a unit of its own."""
    return _divided(tuple((int(n), int(v)) for n, v in counts), rows, whole=True)


@lru_cache(maxsize=16)
def _divided(counts: tuple[tuple[int, int], ...], rows: int, whole: bool) -> Units:
    units: list[tuple[Piece, ...]] = []
    open_: list[Piece] = []
    held = 0
    for number, vertices in counts:
        parts = 1
        while not whole and vertices > rows * parts:
            parts *= 2
        if open_ and (parts > 1 or held + vertices > rows):
            units.append(tuple(open_))
            open_, held = [], 0
        if parts > 1:
            units += [(Piece(number, part, parts),) for part in range(parts)]
        else:
            open_.append(Piece(number, 0, 1))
            held += vertices
    if open_:
        units.append(tuple(open_))
    return tuple(units)


def near_rows(vertices: NDArray[np.float64], piece: Piece) -> Ints:
    """Numbers of the vertices of a piece, ascending: halves of halves along the longest axis, so they lie together.

    All pieces of a surface have each vertex once.
    """
    rows, part, parts = np.arange(len(vertices)), piece.part, piece.parts
    while parts > 1:
        at = vertices[rows]
        axis = int(np.argmax(np.ptp(at, axis=0))) if len(rows) else 0
        order = np.argsort(at[:, axis], kind="stable")
        half, parts = len(rows) // 2, parts // 2
        chosen = order[:half] if part < parts else order[half:]
        rows, part = np.sort(rows[chosen]), part % parts
    return rows


def run_rows(count: int, piece: Piece, step: int = 1) -> slice:
    """The vertices of a piece as one run of them, which begins at a multiple of ``step``."""
    steps = -(-count // step)
    first, last = (steps * k // piece.parts * step for k in (piece.part, piece.part + 1))
    return slice(min(first, count), min(last, count))


def line_of(units: int) -> Tiling:
    """The tiling of a stage with so many units, which are no blocks of a volume."""
    return Tiling((units, 1, 1), (1, 1, 1))
