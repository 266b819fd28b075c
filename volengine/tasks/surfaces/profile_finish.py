"""The last call of a plan of ``surfaces profile``: the set with its profiles, and the pictures."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from volengine.core.atomic import replacing
from volengine.core.errors import DamagedError
from volengine.core.surface import Surface
from volengine.engine.ledger import PlanFolder
from volengine.engine.plan import Made, Plan
from volengine.io.surfaces import FACTS, file_of, write_surfaces
from volengine.ops.surfaces.points import normals_of
from volengine.ops.surfaces.profile_sampling import steps
from volengine.tasks.common.division import MISSING, NOTES, units_of, whole_units_of
from volengine.tasks.common.ended import check_given, note
from volengine.tasks.common.set_read import SetRead, facts_of
from volengine.tasks.surfaces.measure_finish import joined, pieces_of
from volengine.tasks.surfaces.picking_recipes import SurfacesProfileRecipe
from volengine.tasks.surfaces.profile_read import column_name


def write_profiles(
    plan: Plan,
    tables: Any,
    out: str,
    given: dict[str, Any],
    rows: int,
    facts: dict[str, Any],
    made: str,
    pictures: str | None,
    notes: list[str],
    folder: str,
) -> Made:
    """Write the set of surfaces with their profiles; the engine calls this when all stages are done.

    Parameters
    ----------
    plan
        The plan; not used.
    tables
        ``tables(name)`` returns the tables of a stage, by block number.
    out
        The set.
    given, rows
        As the stages have them.
    facts
        Fields of :class:`~volengine.io.surfaces.SurfaceFacts`.
    made, pictures
        The folder in which pictures were made, and that to which they are copied.
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
    recipe, mine = SurfacesProfileRecipe.from_json(given["recipe"]), SetRead.from_json(given["set"])
    distance_nm = steps(recipe.from_nm, recipe.to_nm, recipe.step_nm)
    surfaces = mine.open()
    read = pieces_of(tables("surfaces-profile") if mine.counts else {}, units_of(mine.counts, rows), MISSING)
    missing, total = 0, 0

    def with_profiles() -> Iterator[tuple[Surface, Mapping[str, Any]]]:
        nonlocal missing, total
        for row in surfaces.rows:
            surface = surfaces.read(row["number"])
            found, outside = joined(surface, read)
            values = found["profile"]
            missing, total = missing + outside, total + values.size
            columns = {column_name(d): values[:, k] for k, d in enumerate(distance_nm)}
            done = replace(surface, normals=normals_of(surface), columns={**surface.columns, **columns})
            yield done, {k: v for k, v in row.items() if k not in ("number", "file")}

    files: list[str] = []
    told = list(notes)
    if pictures is not None and mine.counts:
        units = whole_units_of(mine.counts, rows)
        files = _copied([piece.number for unit in units for piece in unit], len(units), Path(made), Path(pictures))
        told += [str(one) for table in tables("surfaces-pictures").values() for one in table[NOTES]]
    write_surfaces(out, with_profiles(), facts_of(facts))
    share = missing / max(1, total)
    empty = _empty(mine.path, len(surfaces), share)
    note(folder, told, files, empty, outside=share)
    said = f"{out}: profiles; {share:.1%} of the values lie outside of the tomogram (NaN)"
    products = [str(Path(out) / name) for name in (FACTS, *(file_of(row["number"]) for row in surfaces.rows))]
    return Made((*products, *files), (said, *files, *told))


def _empty(path: str, surfaces: int, outside: float) -> str:
    if not surfaces:
        return f"{path} has no surfaces."
    return f"all profiles of the surfaces of {path} lie outside of the tomogram." if outside == 1 else ""


def _copied(numbers: list[int], units: int, made: Path, pictures: Path) -> list[str]:
    """Copy the pictures of all surfaces out of the scratch folder; returns the files.

    Raises
    ------
    DamagedError
        One is not there; the engine has its unit run again then.
    """
    names = [f"{number:04d}{ending}" for number in numbers for ending in (".png", ".npy")]
    if not all((made / name).is_file() for name in names):
        folder, stage = PlanFolder(made.parents[1]), "surfaces-pictures"
        keys = tuple(folder.table_key(number) for number in range(units))
        message = f"The set of pictures in {made} is not kept after a run, and nothing else is missing."
        raise DamagedError(message, str(folder.path), folder.tables_of(stage), keys)
    pictures.mkdir(parents=True, exist_ok=True)
    for name in names:
        with (made / name).open("rb") as source, replacing(pictures / name) as file:
            shutil.copyfileobj(source, file)
    return [str(pictures / name) for name in names]
