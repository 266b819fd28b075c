"""surfaces sample: points on surfaces at a spacing, with their normals, as seeds for averaging.

>>> made = sample_surfaces("vesicles.surfaces", "seeds.star", {"spacing_nm": 5})                     # doctest: +SKIP
>>> len(made.picks), made.counts                                                                     # doctest: +SKIP
(1320, {1: 700, 2: 620})
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from volengine.core.paths import PathLike
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Call, Plan
from volengine.engine.stage import Stage, kernel_bytes
from volengine.io.stores import located
from volengine.tasks.common import division
from volengine.tasks.common.division import line_of
from volengine.tasks.common.jobs import Request
from volengine.tasks.common.set_read import SetRead, most_open
from volengine.tasks.surfaces.given import BesideGiven, TableVerb, refuse_table, table_place
from volengine.tasks.surfaces.picked import picked
from volengine.tasks.surfaces.picking_recipes import SurfacesSampleRecipe
from volengine.tasks.surfaces.sets import name_of_set
from volengine.tasks.surfaces.writing import Picked, grid_of, tables_of_picks

Given = BesideGiven[SurfacesSampleRecipe]

GEODESIC_ROWS = 500
"""Vertices of a unit, about, with distances along surfaces, which take longer: nearly each surface is a unit."""

_POINTS = "volengine.tasks.surfaces.sample_blocks:sample_points"
_WRITE = "volengine.tasks.surfaces.picked_finish:write_sampled"


def request(
    source: str, out: str, recipe: SurfacesSampleRecipe, options: RunOptions
) -> Request[Given, SurfacesSampleRecipe, str]:
    """Open one set; its product is ``out``, or a table of the same name in the folder ``out``."""
    name, place = name_of_set(source), table_place(SAMPLE, source, out, recipe.to)
    overwrite = recipe.overwrite or options.overwrite
    refuse_table(SAMPLE.run_dir(out, options), name, place, overwrite, recipe.to, source, recipe.tomogram)
    given = BesideGiven.of(source, recipe, options.identity)
    return Request(name, given, given.recipe, place)


def plan_sample(source: Given, recipe: SurfacesSampleRecipe, out: str, folder: PlanFolder, options: RunOptions) -> Plan:
    """Plan the stage that puts points on surfaces, and the call that writes them as the table ``out``.

    Parameters
    ----------
    source
        The surfaces and their tomogram.
    recipe
        Spacing, offset and the rest.
    out
        The table.
    folder
        Folder of the plan; not used, because the stage needs no scratch.
    options
        How to run.

    Raises
    ------
    InputError
        Nothing states the voxel size.
    """
    size, facts = grid_of(source.path, source.surfaces, source.volume)
    given = source.described()
    mine, stages = SetRead.from_json(given["set"]), []
    if mine.counts:
        rows = division.ROWS if recipe.distance == "space" else GEODESIC_ROWS
        units = division.whole_units_of(mine.counts, rows)
        open_ = most_open(source.surfaces, mine.counts) if recipe.edge_exclusion_nm else 0
        stages.append(
            Stage(
                "surfaces-sample",
                _POINTS,
                line_of(len(units)),
                params={"given": given, "rows": rows},
                emits=True,
                kernel_bytes=kernel_bytes(_POINTS, vertices=mine.most, open_=open_),
            )
        )
    params = {
        "out": located(out),
        "given": given,
        "size": list(size),
        "facts": asdict(facts) | {"history": []},
        "feature": recipe.feature if recipe.feature is not None else facts.feature,
        "to": recipe.to,
        "notes": list(source.notes),
        "folder": str(folder.path),
    }
    call = Call(_WRITE, params, writes=tuple(tables_of_picks(located(out), recipe.to, facts.tomogram)))
    return Plan(name_of_set(source.path), tuple(stages), recipe={"surfaces sample": given["recipe"]}, finish=(call,))


SAMPLE = TableVerb("surfaces sample", request, plan_sample, run_name="surfaces-sample.run")


def sample_surfaces(
    source: PathLike,
    out: PathLike,
    recipe: SurfacesSampleRecipe | Mapping[str, Any] | None = None,
    options: RunOptions | None = None,
) -> Picked:
    """Put points on the faces of surfaces, as dense as a smallest distance allows (Poisson disc), and write them.

    Parameters
    ----------
    source
        A set of surfaces, or a file of a mesh.
    out
        The table of picks, in the format that its ending or ``to`` names.
    recipe, options
        Spacing, offset and the rest, and how to run.

    Returns
    -------
    Picked
        The file and its picks: normals (interpolated), Euler angles, and the number of the surface (``surface``). The
        smallest distance holds within each surface; ``picks filter --spacing-nm`` makes it hold between surfaces.

    Raises
    ------
    MissingError, FormatError
        The surfaces do not exist, or are damaged.
    InputError
        Something exists at ``out`` that an earlier call with the same run folder has not made, or nothing states the
        voxel size.
    """
    return picked(SAMPLE, source, out, SurfacesSampleRecipe.of(recipe), options)
