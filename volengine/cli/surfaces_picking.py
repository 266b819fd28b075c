"""volengine surfaces sample, profile, pick, train: what is done with a tomogram on surfaces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from volengine.cli.command import Command, Group
from volengine.cli.messages import say, verbose
from volengine.cli.options import from_options, recipe_options, source_and_out
from volengine.io.picks.formats import FORMATS
from volengine.tasks.surfaces.picking_recipes import (
    SurfacesPickRecipe,
    SurfacesProfileRecipe,
    SurfacesSampleRecipe,
    SurfacesTrainRecipe,
)

if TYPE_CHECKING:
    from volengine.tasks.surfaces.writing import Picked

TO = {"to": [name for name, one in FORMATS.items() if one.writes]}
TABLE = "The table of picks to write: .star and the other formats of volengine picks."


@click.command(
    "sample",
    cls=Command,
    examples=("volengine surfaces sample TS_1.surfaces --out seeds.star --spacing-nm 5 --edge-exclusion-nm 10",),
)
@source_and_out(TABLE)
@recipe_options(SurfacesSampleRecipe, formats=TO)
def sample(source: str, out: str, **values: Any) -> None:
    """Points on surfaces at a spacing, with normals, as seeds for averaging.

    No two points of a surface are nearer than the spacing, and no further one fits.
    """
    from volengine.tasks.surfaces.sample import sample_surfaces

    _say(sample_surfaces(source, out, from_options(SurfacesSampleRecipe, values)))


@click.command(
    "profile",
    cls=Command,
    examples=("volengine surfaces profile a.surfaces --tomogram a.mrc --out profiles.surfaces --picture png",),
)
@source_and_out("The set of surfaces (*.surfaces) to write: the same with their profiles as columns.")
@recipe_options(SurfacesProfileRecipe)
def profile(source: str, out: str, **values: Any) -> None:
    """Densities of a tomogram along the normals of surfaces, and unrolled into pictures (membranograms)."""
    from volengine.tasks.surfaces.profile import profile_surfaces

    made = profile_surfaces(source, out, from_options(SurfacesProfileRecipe, values))
    say(f"{made.out}: profiles; {made.outside:.1%} of the values lie outside of the tomogram (NaN)")
    for line in (*made.pictures, *made.notes):
        say(f"  {line}")


@click.command(
    "pick",
    cls=Command,
    examples=(
        "volengine surfaces pick a.surfaces --tomogram a.mrc --out a.star --from-nm 2 --to-nm 8",
        "volengine surfaces pick a.surfaces --tomogram a.mrc --out a.star --template receptor.mrc",
        "volengine surfaces pick a.surfaces --tomogram a.mrc --out a.star --model receptor.safetensors",
    ),
)
@source_and_out(TABLE)
@recipe_options(SurfacesPickRecipe, formats=TO)
def pick(source: str, out: str, **values: Any) -> None:
    """Particles on surfaces: local maxima of a score that keep a distance along the surface."""
    from volengine.tasks.surfaces.pick_verb import pick_on_surfaces

    _say(pick_on_surfaces(source, out, from_options(SurfacesPickRecipe, values)))


@click.command(
    "train",
    cls=Command,
    examples=("volengine surfaces train a.surfaces --tomograms a.mrc --picks a.star --out m.safetensors",),
)
@source_and_out("The model file to write.", several=True)
@recipe_options(SurfacesTrainRecipe)
def train(source: tuple[str, ...], out: str, **values: Any) -> None:
    """Train a network that finds particles on surfaces, for surfaces pick --model."""
    from volengine.tasks.surfaces.train import train_on_surfaces

    made = train_on_surfaces(source, out, from_options(SurfacesTrainRecipe, values), say=say)
    for note in made.notes:
        say(f"  {note}")
    say(f"{made.file}: {made.text}")


def _say(made: Picked) -> None:
    """Print what was picked: the total, and with ``-v`` the number on each surface."""
    say(f"{made.file}: {len(made.picks)} picks on {len(made.counts)} surfaces")
    if verbose():
        for number, count in made.counts.items():
            say(f"  surface {number}: {count}")
    for note in made.notes:
        say(f"  {note}")


def add_to(group: Group) -> None:
    """Add the commands to the group ``surfaces``."""
    for command in (sample, profile, pick, train):
        group.add_command(command)
