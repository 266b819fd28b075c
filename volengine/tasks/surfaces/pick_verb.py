"""surfaces pick: particles on surfaces, as maxima of a score that keep a distance along the surface.

>>> made = pick_on_surfaces("vesicles.surfaces", "receptors.star", {"tomogram": "TS_01.mrc"})        # doctest: +SKIP
>>> len(made.picks)                                                                                  # doctest: +SKIP
83
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from volengine.core.paths import PathLike
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Call, Plan
from volengine.engine.stage import Stage, TableInput, kernel_bytes
from volengine.io.stores import located
from volengine.io.surfaces import ENDING
from volengine.tasks.common import division
from volengine.tasks.common.division import line_of
from volengine.tasks.common.jobs import Request
from volengine.tasks.common.layout import has_plan, join_url
from volengine.tasks.common.set_read import SetRead, most_open
from volengine.tasks.surfaces.given import BesideGiven, TableVerb, refuse_table, table_place
from volengine.tasks.surfaces.picked import picked
from volengine.tasks.surfaces.picking_recipes import SurfacesPickRecipe
from volengine.tasks.surfaces.sets import name_of_set
from volengine.tasks.surfaces.writing import Picked, check_out_set, grid_of, tables_of_picks

Given = BesideGiven[SurfacesPickRecipe]

TORCH_BYTES = 350_000_000
"""Memory that torch leaves in a process."""

_BLOCKS = "volengine.tasks.surfaces.pick_blocks"
_WRITE = "volengine.tasks.surfaces.picked_finish:write_picked"


def request(
    source: str, out: str, recipe: SurfacesPickRecipe, options: RunOptions
) -> Request[Given, SurfacesPickRecipe, str]:
    """Open one set; its product is ``out``, or a table of the same name in the folder ``out``.

    Surfaces with their scores are the set that the recipe names, or of several sources a set in it for each.
    """
    name, place = name_of_set(source), table_place(PICK, source, out, recipe.to)
    overwrite, run_dir = recipe.overwrite or options.overwrite, PICK.run_dir(out, options)
    given = BesideGiven.of(source, recipe, options.identity)
    refuse_table(run_dir, name, place, overwrite, recipe.to, source, given.recipe.tomogram, recipe.template)
    refuse_table(run_dir, name, place, overwrite, recipe.to, recipe.model)
    scored = recipe.scored
    if scored is not None:
        scored = scored if PICK.is_product(out) else join_url(scored, name + ENDING)
        ours = has_plan(run_dir, name)
        check_out_set(scored, overwrite or ours, source, given.recipe.tomogram)
    return Request(name, given, given.recipe.with_(scored=scored), place)


def plan_pick_on_surfaces(
    source: Given, recipe: SurfacesPickRecipe, out: str, folder: PlanFolder, options: RunOptions
) -> Plan:
    """Plan the stages that score vertices and find particles, and the call that writes them as the table ``out``.

    Parameters
    ----------
    source
        The surfaces and their tomogram.
    recipe
        Score, distance and threshold.
    out
        The table.
    folder
        Folder of the plan; not used, because the stages need no scratch.
    options
        How to run.

    Raises
    ------
    InputError
        Nothing states the voxel size.
    """
    size, facts = grid_of(source.path, source.surfaces, source.volume)
    given = source.described()
    mine = SetRead.from_json(given["set"])
    params = {
        "out": located(out),
        "given": given,
        "rows": division.ROWS,
        "size": list(size),
        "facts": asdict(facts) | {"history": []},
        "feature": recipe.feature,
        "to": recipe.to,
        "scored": None if recipe.scored is None else located(recipe.scored),
        "notes": list(source.notes),
        "folder": str(folder.path),
    }
    places = tables_of_picks(located(out), recipe.to, facts.tomogram)
    if recipe.scored is not None:
        places.append(located(recipe.scored))
    call = Call(_WRITE, params, writes=tuple(places))
    open_ = most_open(source.surfaces, mine.counts) if recipe.edge_exclusion_nm else 0
    stages = _stages(mine, given, recipe, open_) if mine.counts else ()
    return Plan(name_of_set(source.path), stages, recipe={"surfaces pick": given["recipe"]}, finish=(call,))


def _stages(mine: SetRead, given: dict[str, Any], recipe: SurfacesPickRecipe, open_: int) -> tuple[Stage, ...]:
    rows, together = division.ROWS, sum(vertices for _, vertices in mine.counts)
    whole, parts = (len(f(mine.counts, rows)) for f in (division.whole_units_of, division.units_of))
    network = recipe.model is not None
    sums = {"sums": TableInput("surfaces-spread", "all")} if network else {}
    scores = {"scores": TableInput("surfaces-score", "all")}
    least = {"least": TableInput("surfaces-least", "all")}

    def stage(name: str, function: str, units: int, tables: dict[str, TableInput], **facts: int) -> Stage:
        kernel = f"{_BLOCKS}:{function}"
        return Stage(
            name,
            kernel,
            line_of(units),
            params={"given": given, "rows": rows},
            tables=tables,
            emits=True,
            kernel_bytes=kernel_bytes(kernel, **facts),
            fixed_bytes=TORCH_BYTES if network else 0,
        )

    made = [stage("surfaces-spread", "spread_around", whole, {}, vertices=mine.most)] if network else []
    return (
        *made,
        stage("surfaces-score", "score_rows", parts, sums, vertices=mine.most),
        stage("surfaces-least", "least_of_scores", 1, sums | scores, vertices=together),
        stage(
            "surfaces-find", "find_particles", whole, scores | least, vertices=mine.most, together=together, open_=open_
        ),
    )


PICK = TableVerb("surfaces pick", request, plan_pick_on_surfaces, run_name="surfaces-pick.run")


def pick_on_surfaces(
    source: PathLike,
    out: PathLike,
    recipe: SurfacesPickRecipe | Mapping[str, Any] | None = None,
    options: RunOptions | None = None,
) -> Picked:
    """Find particles on surfaces.

    Parameters
    ----------
    source
        A set of surfaces, or a file of a mesh.
    out
        The table of picks, in the format that its ending or ``to`` names.
    recipe, options
        Score, distance and threshold; and how to run.

    Returns
    -------
    Picked
        The file and its picks, with their scores as weights, normals, Euler angles, the number of the surface, and
        whether the angle about the normal is known (``in_plane_known``); where it is not, rot is 0.

    Raises
    ------
    MissingError, FormatError
        A file does not exist or is damaged.
    InputError
        Something exists at ``out`` that an earlier call with the same run folder has not made; the tomogram is another
        one; the score cannot be computed.
    """
    return picked(PICK, source, out, SurfacesPickRecipe.of(recipe), options)
