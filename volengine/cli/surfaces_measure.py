"""volengine surfaces measure"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from volengine.cli.command import Command
from volengine.cli.messages import say, verbose
from volengine.cli.options import NO_NETWORK, from_options, recipe_options, source_and_out
from volengine.cli.surfaces_run import run_on_sets
from volengine.engine.options import RunOptions
from volengine.io.surfaces import ENDING, FACTS, open_surfaces
from volengine.tasks.surfaces.measure import MEASURE
from volengine.tasks.surfaces.measure_finish import line_of_row
from volengine.tasks.surfaces.measure_recipe import SurfacesMeasureRecipe

SECTIONS = {
    "What is measured": ("measures", "radius_nm", "max_thickness_nm", "others", "picks", "labels"),
    "Leaflets in the density": (
        *("tomogram", "reach_nm", "step_nm", "average_nm", "contrast", "min_bilayer_nm", "max_bilayer_nm"),
    ),
    "Surface Morphometrics": ("morphometrics", "morphometrics_unit", "max_transfer_nm", "csv"),
}


@click.command(
    "measure",
    cls=Command,
    examples=(
        "volengine surfaces measure TS_01.surfaces --out measured.surfaces --radius-nm 12",
        "volengine surfaces measure OMM.surfaces --out OMM_far.surfaces --others IMM.surfaces,ER.surfaces",
        "volengine surfaces measure OMM.surfaces --out OMM_thick.surfaces --tomogram TS_01.mrc --csv out",
        "volengine surfaces measure sets --out measured --tomogram tomograms --workers 4",
    ),
    sections=SECTIONS,
)
@source_and_out("The set (*.surfaces) to write, with what was measured as columns; of several: a folder.", several=True)
@recipe_options(SurfacesMeasureRecipe, leave_out=("overwrite",))
@recipe_options(RunOptions, leave_out=NO_NETWORK)
def measure(source: tuple[str, ...], out: str, **values: Any) -> None:
    """Curvature, thickness and distances at each vertex of surfaces; means and medians in their table.

    SOURCE are sets of surfaces, mesh files, folders or globs. Of volumes, sets and tables that a folder or glob
    names, those of each tomogram are taken, by their names.
    """
    options = from_options(RunOptions, values)
    recipe = from_options(SurfacesMeasureRecipe, values)
    names, _ = run_on_sets(MEASURE, source, out, recipe, options)
    for name in names if verbose() and not options.dry_run else ():
        place = Path(out if MEASURE.is_product(out) else f"{out}/{name}{ENDING}")
        for row in open_surfaces(place).rows if (place / FACTS).is_file() else ():
            say(f"  {line_of_row(row)}")
