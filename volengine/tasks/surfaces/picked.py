"""What Python gets of a finished plan of ``surfaces sample`` or ``surfaces pick``."""

from __future__ import annotations

from typing import Any

import numpy as np

from volengine.core.paths import PathLike, path_text
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.tasks.common.ended import noted
from volengine.tasks.common.jobs import Verb, run_one
from volengine.tasks.common.layout import plan_folder
from volengine.tasks.common.lying import Grid
from volengine.tasks.common.set_read import facts_of
from volengine.tasks.surfaces.found import FOUND, found_in
from volengine.tasks.surfaces.picking_recipes import SurfacesPickRecipe, SurfacesSampleRecipe
from volengine.tasks.surfaces.writing import Picked, write_found


def picked(
    verb: Verb[Any, Any, Any, Any],
    source: PathLike,
    out: PathLike,
    recipe: SurfacesSampleRecipe | SurfacesPickRecipe,
    options: RunOptions | None,
) -> Picked:
    """Run a verb that finds something on surfaces; return its table, read again, with what was said of it.

    Parameters
    ----------
    verb
        The verb.
    source, out
        What the user has named.
    recipe, options
        What is done, and how it is run.
    """
    options = options or RunOptions()
    options = options.with_(overwrite=options.overwrite or recipe.overwrite)
    out = path_text(out)
    plan = run_one(verb, path_text(source), out, recipe, options)
    return _read_again(verb, plan, out, options)


def _read_again(verb: Verb[Any, Any, Any, Any], plan: Plan, out: str, options: RunOptions) -> Picked:
    written = plan.finish[0].params
    folder = plan_folder(verb.run_dir(out, options), plan.name)
    file = out if verb.is_product(out) else written["out"]
    told = noted(folder)
    with np.load(folder.path / FOUND, allow_pickle=False) as table:
        parts = found_in([dict(table)])
    z, y, x = written["size"]
    grid = Grid.from_json(lies) if (lies := written["given"]["grid"]) else None
    feature = told.get("feature", written["facts"]["feature"])
    picks, counts, _ = write_found(None, parts, (z, y, x), facts_of(written["facts"]), feature, None, grid)
    empty = [f"No picks: {told['empty']}"] if told["empty"] else []
    return Picked(file, picks, counts, (*told["notes"], *empty))
