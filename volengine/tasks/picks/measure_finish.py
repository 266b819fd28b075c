"""The last call of a plan of ``picks measure``: the columns of one tomogram, kept in the run folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.atomic import replacing
from volengine.core.block import Table
from volengine.core.conditions import JOIN
from volengine.core.errors import FormatError
from volengine.core.text import counted
from volengine.core.volume import Volume
from volengine.engine.plan import Made, Plan
from volengine.io.identity import check_unchanged
from volengine.tasks.common.division import NOTES
from volengine.tasks.common.ended import note
from volengine.tasks.common.readings import reading_line
from volengine.tasks.common.set_read import SetRead
from volengine.tasks.picks.around import Columns, neighbours

NOWHERE = "none"
"""What the column ``inside`` says of picks that no compartment holds."""

ROW = "row"

COMPARTMENTS = ("surfaces", "labels", "probability")
"""Kinds of things that picks can be inside of; they come first."""

_FLOAT, _WHOLE, _TRUTH = (np.zeros(0, kind) for kind in (np.float64, np.int64, np.bool_))
_BESIDE = {"distance_nm": _FLOAT, "depth_nm": _FLOAT, "side": _WHOLE, "inside": _TRUTH}
EMPTY: dict[str, Table] = {
    "surfaces": {ROW: _WHOLE, "distance_nm": _FLOAT, "side": _WHOLE, "surface": _WHOLE, "inside": _TRUTH},
    "labels": {ROW: _WHOLE, **_BESIDE, "label": _WHOLE},
    "probability": {ROW: _WHOLE, **_BESIDE, "value": _FLOAT},
    "value": {ROW: _WHOLE, "value": _FLOAT},
    "lamella": {ROW: _WHOLE}
    | {f"lamella.{name}": _FLOAT for name in ("depth_nm", "low_nm", "high_nm", "thickness_nm")},
}
"""The columns of each kind where there are no picks."""


def keep_measured(
    plan: Plan,
    tables: Any,
    out: str,
    places: dict[str, str],
    things: list[dict[str, Any]],
    kinds: list[list[str]],
    neighbours_nm: float | None,
    neighbour: int,
    tomogram: str,
    notes: list[str],
    how: str,
    folder: str,
) -> Made:
    """Put the columns of the picks of one tomogram together; the engine calls this when all stages are done.

    Parameters
    ----------
    plan
        The plan; not used.
    tables
        ``tables(name)`` returns the tables of a stage, by block number.
    out
        The file (``.npz``).
    places
        The file of the picks' places.
    things
        Kind, name and stage of each thing around the picks, what was read, and the stage that has decided whether it
        is a mask.
    kinds
        Kind and name of each thing; ``things`` is empty where there are no picks, so that nothing was read.
    neighbours_nm, neighbour
        As in the recipe.
    tomogram
        Name of the tomogram.
    notes
        Sentences that are known already.
    how
        How inputs are recognised.
    folder
        Folder of the plan.

    Raises
    ------
    ChangedError
        What was read has changed since the run was planned.
    """
    read = list[str]()
    for thing in things:
        if thing["set"] is not None:
            SetRead.from_json(thing["set"]).check(how)
        if thing["volume"] is not None:
            volume = Volume.from_json(thing["volume"])
            check_unchanged(volume)
            read += reading_line(thing["name"], volume, tables, thing["decision"])
    with Path(places["path"]).open("rb") as file:
        place = np.load(file, allow_pickle=False)
    told, columns = [*notes, *(f"{line}." for line in read)], Columns()
    for number, (kind, name) in enumerate(kinds):
        if kind not in COMPARTMENTS and "inside" not in columns:
            columns |= _inside(columns, len(place))
        found = list(tables(things[number]["stage"]).values()) if things else [EMPTY[kind]]
        made = joined([{k: v for k, v in one.items() if k != NOTES} for one in found], len(place))
        told += [str(text) for one in found for text in one.get(NOTES, ()) if str(text)]
        columns |= made if kind == "lamella" else {f"{name}.{key}": column for key, column in made.items()}
    if "inside" not in columns:
        columns |= _inside(columns, len(place))
    if neighbours_nm is not None:
        columns |= neighbours(place, neighbours_nm, neighbour)
    with replacing(out, parents=True) as file:
        np.savez_compressed(file, allow_pickle=False, **columns)
    empty = "" if len(place) else "its table has no picks."
    note(folder, told, empty=empty)
    return Made((out,), (f"{counted(len(place), 'pick')} measured", *told))


def joined(tables: Iterable[Table], count: int) -> Columns:
    """The columns of all picks from the tables of their parts.

    Raises
    ------
    FormatError
        The parts do not have each pick once.
    """
    found: dict[str, NDArray[Any]] = {}
    seen = np.zeros(count, np.int64)
    for table in tables:
        rows = table[ROW]
        seen[rows] += 1
        for name, column in table.items():
            if name != ROW:
                found.setdefault(name, np.zeros(count, column.dtype))[rows] = column
    if (seen != 1).any():
        raise FormatError("Not every pick was measured once; remove the run folder and run again.")
    return found


def _inside(columns: Mapping[str, NDArray[Any]], count: int) -> Columns:
    """The column ``inside``: the names of what each pick is inside of, joined; none if nothing has an inside."""
    names = [name.removesuffix(".inside") for name in columns if name.endswith(".inside")]
    if not columns:
        return {}
    found = [JOIN.join(name for name in names if columns[f"{name}.inside"][row]) for row in range(count)]
    return {"inside": np.array([text or NOWHERE for text in found], str)}
