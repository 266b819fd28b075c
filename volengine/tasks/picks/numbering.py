"""Numbers of things (contours, filaments, labels) when tables of one tomogram are joined.

The same number in two files means two things: label 3 of one segmentation is not label 3 of another one, and contour 1
of each model is a line of its own. So where a file has numbers that are there already, all its numbers are raised above
those; the order and the grouping within each file are kept. Numbers of classes and objects are kept, because they mean
the same in both files, unless the files give them different names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.flat import LIMIT
from volengine.core.picks import EXTRA, Picks

CLASSES = {"object": "object_name", "class": "class_name"}
"""Extra columns whose numbers mean a kind of thing, and those that name it; without one the feature does."""

THINGS = (
    "label",
    *(
        EXTRA + name
        for name in (
            "filament", "contour", "edge", "instance", "subtomo_num", "filamentid", "rlnHelicalTubeID",
            "rlnTomoParticleId",
        )
    ),
)  # fmt: skip
"""Columns whose equal numbers mean one thing of the tomogram: picks of one line, or one particle."""

UNIQUE = (EXTRA + "rlnTomoParticleName",)
"""Columns of texts by which a program knows a particle, and which it makes if they are missing."""

Named = tuple[str, Picks]
"""A file and its picks."""


def renumbered(group: Sequence[Named], notes: list[str]) -> list[Picks]:
    """Return the tables of one tomogram with numbers that mean one thing each.

    Parameters
    ----------
    group
        Files with their picks of the tomogram.
    notes
        Sentences about what was changed are added.

    Raises
    ------
    InputError
        A number would be too large for an integer.

    Examples
    --------
    >>> one, two = (Picks([[1, 2, 3]], (10, 10, 10), label=[7]) for _ in range(2))
    >>> [picks.label.tolist() for picks in renumbered([("a.csv", one), ("b.csv", two)], [])]
    [[7], [14]]
    """
    tables = [picks for _, picks in group]
    for number, (path, _) in enumerate(group[1:], 1):
        before = tables[:number]
        raised: list[str] = []
        for column, names in CLASSES.items():
            if _other_names(before, tables[number], column, names):
                tables[number] = _raised(
                    tables[number], EXTRA + column, _highest(before, EXTRA + column), path, number + 1
                )
                raised.append(column)
        for column in THINGS:
            if _shared(before, tables[number], column):
                tables[number] = _raised(tables[number], column, _highest(before, column), path, number + 1)
                raised.append(column.removeprefix(EXTRA))
        if raised:
            notes.append(
                f"{path}: numbers of {', '.join(raised)} were raised, because a file before has the same for others."
            )
    for column in UNIQUE:
        if any(_shared(tables[:i], one, column) for i, one in enumerate(tables)):
            tables = [_without(one, column) for one in tables]
            notes.append(f"Dropped, because two files use the same: {column.removeprefix(EXTRA)}.")
    return tables


def with_names(tables: Sequence[Picks]) -> list[Picks]:
    """Return the tables with the names of their objects, where these are the features and the features differ."""
    column = CLASSES["object"]
    if len({one.feature for one in tables}) < 2 or any("object" not in one.extra for one in tables):
        return list(tables)
    return [
        one if column in one.extra else one.with_(extra={**one.extra, column: np.full(len(one), one.feature)})
        for one in tables
    ]


def with_features(tables: Sequence[Picks]) -> list[Picks]:
    """Return the tables with the feature of each pick as a column, if there are several.

    A table that was joined from several features has this column already; its picks keep theirs.
    """
    column = "feature"
    if len({one.feature for one in tables}) < 2 and not any(column in one.extra for one in tables):
        return list(tables)
    return [
        one if column in one.extra else one.with_(extra={**one.extra, column: np.full(len(one), one.feature)})
        for one in tables
    ]


def _keys(picks: Picks, column: str) -> set[Any]:
    """What a column says of each pick; contours are numbered anew in each object."""
    values = picks.columns.get(column)
    if values is None or values.dtype.kind not in "ifU":
        return set()
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    elif column == EXTRA + "contour" and EXTRA + "object" in picks.columns:
        return set(zip(picks.columns[EXTRA + "object"].tolist(), values.tolist(), strict=True))
    return set(values.tolist()) - {0, ""}  # which mean: none


def _shared(before: Sequence[Picks], picks: Picks, column: str) -> bool:
    mine = _keys(picks, column)
    return any(mine & _keys(one, column) for one in before)


def _other_names(before: Sequence[Picks], picks: Picks, column: str, names: str) -> bool:
    """Whether a number has another name in a table before."""
    mine = _names(picks, column, names)
    return any(theirs.get(key, name) != name for one in before for theirs in [_names(one, column, names)]
               for key, name in mine.items())  # fmt: skip


def _names(picks: Picks, column: str, names: str) -> dict[Any, str]:
    values = picks.extra.get(column)
    if values is None or values.dtype.kind not in "if":
        return {}
    texts = picks.extra.get(names)
    called = [picks.feature] * len(picks) if texts is None else texts.tolist()
    return dict(zip(values.tolist(), called, strict=True))


def _highest(tables: Sequence[Picks], column: str) -> int:
    values = [one.columns[column] for one in tables if column in one.columns]
    numbers = [v[np.isfinite(v)] if v.dtype.kind == "f" else v for v in values if v.dtype.kind in "if"]
    return max((int(v.max()) for v in numbers if len(v)), default=0)


def _raised(picks: Picks, column: str, by: int, path: str, part: int) -> Picks:
    """The picks with all numbers of a column raised, but for 0, which is no thing; texts get the number of the file."""
    values: NDArray[Any] = picks.columns[column]
    if values.dtype.kind == "U":
        return Picks.from_table({**picks.columns, column: np.char.add(values, f"_{part}")}, picks.facts())
    if _highest([picks], column) + by >= LIMIT:
        raise InputError(f"{path}: numbers of {column.removeprefix(EXTRA)} are too large to be raised by {by}.")
    changed = np.where(values == 0, values, values + by)
    return Picks.from_table({**picks.columns, column: changed}, picks.facts())


def _without(picks: Picks, column: str) -> Picks:
    return Picks.from_table({k: v for k, v in picks.columns.items() if k != column}, picks.facts())
