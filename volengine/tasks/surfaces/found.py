"""What was found on surfaces, and its form in the tables of units."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Table

Floats = NDArray[np.float64]

FOUND = "found.npz"
"""File of a plan's folder with the table of all surfaces."""

OF = "surface.number"
MANY = "surface.count"
"""Columns of a table: the surfaces, and how many were found on each."""


@dataclass(frozen=True)
class Found:
    """What was found on one surface: its number, places (angstrom), normals, and more columns.

    ``known`` is whether the angle about the normal was measured; default: of none.
    """

    number: int
    place: Floats
    normal: Floats
    rot_deg: Floats
    score: Floats | None = None
    known: NDArray[np.bool_] | None = None


def table_of(found: Sequence[Found]) -> Table:
    """A table of what was found on some surfaces, which all have the same columns."""
    table: dict[str, NDArray[Any]] = {
        OF: np.array([one.number for one in found], np.int64),
        MANY: np.array([len(one.place) for one in found], np.int64),
    }
    for field in fields(Found):
        columns = [getattr(one, field.name) for one in found]
        if field.name != "number" and found and columns[0] is not None:
            table[field.name] = np.concatenate(columns)
    return table


def found_in(tables: Iterable[Mapping[str, NDArray[Any]]]) -> list[Found]:
    """What :func:`table_of` has made tables of, in their order."""
    found = []
    for table in tables:
        stop = 0
        names = [field.name for field in fields(Found) if field.name in table]
        for number, many in zip(table[OF].tolist(), table[MANY].tolist(), strict=True):
            start, stop = stop, stop + many
            found.append(Found(number, **{name: table[name][start:stop] for name in names}))
    return found
