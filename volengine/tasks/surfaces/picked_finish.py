"""The last call of plans of ``surfaces sample`` and ``surfaces pick``: the table of picks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.atomic import replacing
from volengine.core.surface import Surface
from volengine.core.text import counted
from volengine.engine.plan import Made, Plan
from volengine.io.surfaces import SurfaceFacts, files_of_set, open_surfaces, write_surfaces
from volengine.tasks.common.division import NOTES, units_of
from volengine.tasks.common.ended import check_given, note
from volengine.tasks.common.lying import Grid
from volengine.tasks.common.set_read import SetRead, facts_of
from volengine.tasks.surfaces.found import FOUND, Found, found_in, table_of
from volengine.tasks.surfaces.measure_finish import pieces_of
from volengine.tasks.surfaces.pick import prepared
from volengine.tasks.surfaces.picking_recipes import SurfacesPickRecipe
from volengine.tasks.surfaces.writing import tables_of_picks, write_found

SCORE = "score"
"""Column of the score in the surfaces that are written."""


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


def write_picked(
    plan: Plan,
    tables: Any,
    out: str,
    given: dict[str, Any],
    rows: int,
    size: list[float],
    facts: dict[str, Any],
    feature: str | None,
    to: str | None,
    scored: str | None,
    notes: list[str],
    folder: str,
) -> Made:
    """Write particles on surfaces as a table; the engine calls this when all stages are done.

    Parameters
    ----------
    plan, tables, out, given, size, facts, to, notes, folder
        As of :func:`write_sampled`.
    rows
        Vertices of a unit, as the stages have it.
    feature
        Name of the picks; ``None``: that of the network, else that of the surfaces.
    scored
        The set of surfaces with their scores to write.

    Raises
    ------
    ChangedError
        What was read has changed since the run was planned.
    """
    check_given(given)
    mine = SetRead.from_json(given["set"])
    parts: list[Found] = []
    told, name, why = list(notes), feature or "", ""
    if mine.counts:
        (least,) = tables("surfaces-least").values()
        parts = found_in(tables("surfaces-find").values())
        told += [str(one) for one in least[NOTES]]
        name = name or str(least["feature"][0])
        best, enough = float(least["highest"][0]), float(least["least"][0])
        why = f"the highest score is {best:.4g}, and those from {enough:.4g} on count (--min-score)"
        if best != best:
            why = "no vertex has a score, so they may lie outside of the tomogram"
        elif best >= enough:
            why = "edge_exclusion_nm leaves nothing of them" if given["recipe"]["edge_exclusion_nm"] else "no maximum"
    if scored is not None:
        _write_scored(scored, mine, given, rows, tables)
    named = feature if feature is not None else name or str(facts["feature"])
    return write_table((out, size, facts, named, to), parts, given, told, folder, why, scored)


def _write_scored(out: str, mine: SetRead, given: dict[str, Any], rows: int, tables: Any) -> None:
    """Write the surfaces with short edges and their scores."""
    recipe, surfaces = SurfacesPickRecipe.from_json(given["recipe"]), mine.open()
    read = pieces_of(tables("surfaces-score") if mine.counts else {}, units_of(mine.counts, rows), None)

    def made() -> Iterator[tuple[Surface, Mapping[str, Any]]]:
        for row in surfaces.rows:
            scores, last = [], False
            while not last:
                piece, columns, _ = next(read)
                scores.append(columns[SCORE])
                last = piece.part == piece.parts - 1
            surface = prepared(surfaces.read(row["number"]), recipe).with_columns(**{SCORE: np.concatenate(scores)})
            yield surface, {k: v for k, v in row.items() if k not in ("number", "file")}

    step = {"verb": "surfaces pick", "recipe": given["recipe"]}
    write_surfaces(out, made(), replace(surfaces.facts, history=[*surfaces.facts.history, step]))


def write_table(
    placed: tuple[str, Sequence[float], dict[str, Any], str, str | None],
    parts: Sequence[Found],
    given: dict[str, Any],
    notes: Sequence[str],
    folder: str,
    why: str,
    scored: str | None = None,
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
    scored
        The set with scores that was written, too.
    """
    out, size, facts, feature, to = placed
    about: SurfaceFacts = replace(facts_of(facts), history=[])
    z, y, x = size
    grid = Grid.from_json(given["grid"]) if given["grid"] else None
    picks, counts, more = write_found(out, parts, (z, y, x), about, feature, to, grid)
    told = [*notes, *more]
    empty = "" if len(picks) else _empty(given, parts, why)
    with replacing(Path(folder) / FOUND) as file:
        np.savez_compressed(file, allow_pickle=False, **table_of(parts))
    note(folder, told, empty=empty, feature=feature)
    said = [f"{out}: {counted(len(picks), 'pick')} on {counted(len(counts), 'surface')}", *told]
    more_files = () if scored is None else files_of_set(scored, open_surfaces(scored).rows)
    tables = [file for file in tables_of_picks(out, to, about.tomogram) if Path(file).is_file()]
    return Made((*tables, *more_files), tuple(said if not empty else [*said, f"no picks: {empty}"]))


def _empty(given: dict[str, Any], parts: Sequence[Found], why: str) -> str:
    where = given["set"]["path"]
    if not parts:
        return f"{where} has no surfaces."
    found = int(np.sum([len(one.place) for one in parts]))
    if found:
        every = "the only point" if found == 1 else f"all {found} points"
        return f"{every} on the surfaces of {where} {'lies' if found == 1 else 'lie'} outside of the tomogram."
    return f"nothing was found on {counted(len(parts), 'surface')} of {where}: {why}."
