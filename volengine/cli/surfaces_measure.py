"""volengine surfaces measure"""

from __future__ import annotations

from typing import Any

import click

from volengine.cli.command import Command
from volengine.cli.messages import say, verbose
from volengine.cli.options import from_options, recipe_options, source_and_out
from volengine.tasks.surfaces.measure_recipe import SurfacesMeasureRecipe

SHOWN = ("mean_curvature_per_nm", "thickness_nm", "bilayer_nm", "nearest_surface_nm", "pick_nm", "border_nm")
"""Columns whose medians are printed."""

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
    ),
    sections=SECTIONS,
)
@source_and_out("The set of surfaces (*.surfaces) to write: the same with what was measured as columns.")
@recipe_options(SurfacesMeasureRecipe)
def measure(source: str, out: str, **values: Any) -> None:
    """Curvature, thickness and distances at each vertex of surfaces; means and medians in their table."""
    from volengine.tasks.surfaces.measure import measure_surfaces

    made = measure_surfaces(source, out, from_options(SurfacesMeasureRecipe, values))
    say(f"{made.out}: {len(made.rows)} surfaces measured")
    for row in made.rows if verbose() or len(made.rows) == 1 else ():
        say(f"  surface {row['number']}: {row['area_nm2']:.5g} nm2" + "".join(_medians(row)))
    for note in made.notes:
        say(f"  {note}")
    if made.files:
        say(f"  {len(made.files)} tables for Surface Morphometrics, for example {made.files[0]}")


def _medians(row: dict[str, Any]) -> list[str]:
    return [f", {name} {row[f'{name}_median']:.4g}" for name in SHOWN if f"{name}_median" in row]
