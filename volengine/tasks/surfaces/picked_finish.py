"""The last call of plans of ``surfaces sample`` and ``surfaces pick``: the table of picks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.atomic import replacing
from volengine.engine.plan import Made, Plan
from volengine.io.surfaces import SurfaceFacts
from volengine.tasks.surfaces.ended import check_given, note
from volengine.tasks.surfaces.found import FOUND, Found, found_in, table_of
from volengine.tasks.surfaces.set_read import SetRead, facts_of
from volengine.tasks.surfaces.writing import write_found


def write_sampled(
    plan: Plan,
    tables: Any,
    out: str,
    given: dict[str, Any],
    size: list[float],
    facts: dict[str, Any],
    feature: str,
    to: str | None,
    notes: list[str],
    folder: str,
) -> Made:
    """Write points on surfaces as a table; the engine calls this when all stages are done.

    Parameters
    ----------
    plan
        The plan; its name is that of the set.
    tables
        ``tables(name)`` returns the tables of a stage, by block number.
    out, to
        The file, and its format if the ending does not say it.
    given
        The inputs, as the stages have them.
    size, facts, feature
        Voxel size of the tomogram, its name, origin and shape, and the name of the picks.
    notes
        Sentences that are known already.
    folder
        Folder of the plan.

    Raises
    ------
    ChangedError
        What was read has changed since the run was planned.
    """
    check_given(given)
    parts = found_in(tables("surfaces-sample").values()) if SetRead.from_json(given["set"]).counts else []
    placed = (out, size, facts, feature, to)
    recipe = given["recipe"]
    why = "edge_exclusion_nm leaves nothing of them" if recipe["edge_exclusion_nm"] else "they have no area"
    return write_table(placed, parts, given, notes, folder, why)


def write_table(
    placed: tuple[str, Sequence[float], dict[str, Any], str, str | None],
    parts: Sequence[Found],
    given: dict[str, Any],
    notes: Sequence[str],
    folder: str,
    why: str,
) -> Made:
    """Write what was found on surfaces.

    Parameters
    ----------
    placed
        The file, voxel size, facts, feature and format.
    parts
        What was found on each surface.
    given, notes, folder
        As of :func:`write_sampled`.
    why
        Why nothing was found on surfaces, if so.
    """
    out, size, facts, feature, to = placed
    about: SurfaceFacts = replace(facts_of(facts), history=[])
    z, y, x = size
    picks, counts, more = write_found(out, parts, (z, y, x), about, feature, to)
    told = [*notes, *more]
    empty = "" if len(picks) else _empty(given, parts, why)
    with replacing(Path(folder) / FOUND) as file:
        np.savez_compressed(file, allow_pickle=False, **table_of(parts))
    note(folder, told, empty=empty, feature=feature)
    said = [f"{out}: {len(picks)} picks on {len(counts)} surfaces", *told]
    return Made((out,), tuple(said if not empty else [*said, f"no picks: {empty}"]))


def _empty(given: dict[str, Any], parts: Sequence[Found], why: str) -> str:
    where = given["set"]["path"]
    if not parts:
        return f"{where} has no surfaces."
    found = int(np.sum([len(one.place) for one in parts]))
    if found:
        return f"all {found} points on the surfaces of {where} lie outside of the tomogram."
    return f"nothing was found on the {len(parts)} surfaces of {where}: {why}."
