"""volengine surfaces sample, profile, pick, train: what is done with a tomogram on surfaces."""

from __future__ import annotations

from typing import Any

import click
import numpy as np

from volengine.cli.command import Command, Group
from volengine.cli.messages import say, verbose
from volengine.cli.options import NO_NETWORK, from_options, recipe_options, source_and_out
from volengine.cli.surfaces_run import run_on_sets
from volengine.engine.options import RunOptions
from volengine.io.picks.formats import FORMATS
from volengine.tasks.common.layout import plan_folder
from volengine.tasks.surfaces.found import FOUND, MANY, OF
from volengine.tasks.surfaces.picking_recipes import (
    SurfacesPickRecipe,
    SurfacesProfileRecipe,
    SurfacesSampleRecipe,
    SurfacesTrainRecipe,
)

TO = {"to": [name for name, one in FORMATS.items() if one.writes]}
TABLE = "The table of picks to write, in a format of volengine picks; of several sets: a folder."
OVERWRITE = ("overwrite",)
"""Field of recipes that is an option of runs."""


@click.command(
    "sample",
    cls=Command,
    examples=("volengine surfaces sample TS_1.surfaces --out seeds.star --spacing-nm 5 --edge-exclusion-nm 10",),
)
@source_and_out(TABLE, several=True)
@recipe_options(SurfacesSampleRecipe, formats=TO, leave_out=OVERWRITE)
@recipe_options(RunOptions, leave_out=NO_NETWORK)
def sample(source: tuple[str, ...], out: str, **values: Any) -> None:
    """Points on surfaces at a spacing, with normals, as seeds for averaging.

    No two points of a surface are nearer than the spacing, and no further one fits.
    """
    from volengine.tasks.surfaces.sample import SAMPLE

    options = from_options(RunOptions, values)
    _say_counts(*run_on_sets(SAMPLE, source, out, from_options(SurfacesSampleRecipe, values), options))


@click.command(
    "profile",
    cls=Command,
    examples=("volengine surfaces profile a.surfaces --tomogram a.mrc --out profiles.surfaces --picture png",),
)
@source_and_out("The set (*.surfaces) to write, with the profiles as columns; of several: a folder.", several=True)
@recipe_options(SurfacesProfileRecipe, leave_out=OVERWRITE)
@recipe_options(RunOptions, leave_out=NO_NETWORK)
def profile(source: tuple[str, ...], out: str, **values: Any) -> None:
    """Densities of a tomogram along the normals of surfaces, and unrolled into pictures (membranograms)."""
    from volengine.tasks.surfaces.profile import PROFILE

    options = from_options(RunOptions, values)
    run_on_sets(PROFILE, source, out, from_options(SurfacesProfileRecipe, values), options)


@click.command(
    "pick",
    cls=Command,
    examples=(
        "volengine surfaces pick a.surfaces --tomogram a.mrc --out a.star --from-nm 2 --to-nm 8",
        "volengine surfaces pick a.surfaces --tomogram a.mrc --out a.star --template receptor.mrc",
        "volengine surfaces pick a.surfaces --tomogram a.mrc --out a.star --model receptor.safetensors",
        "volengine surfaces pick sets --tomogram tomograms --out picks --workers 4",
    ),
)
@source_and_out(TABLE, several=True)
@recipe_options(SurfacesPickRecipe, formats=TO, leave_out=OVERWRITE)
@recipe_options(RunOptions, leave_out=NO_NETWORK)
def pick(source: tuple[str, ...], out: str, **values: Any) -> None:
    """Particles on surfaces: local maxima of a score that keep a distance along the surface."""
    from volengine.tasks.surfaces.pick_verb import PICK

    options = from_options(RunOptions, values)
    _say_counts(*run_on_sets(PICK, source, out, from_options(SurfacesPickRecipe, values), options))


@click.command(
    "train",
    cls=Command,
    examples=("volengine surfaces train a.surfaces --tomograms a.mrc --picks a.star --out m.safetensors",),
)
@source_and_out("The model file to write.", several=True)
@recipe_options(SurfacesTrainRecipe)
def train(source: tuple[str, ...], out: str, **values: Any) -> None:
    """Train a network that finds particles on surfaces, for surfaces pick --model.

    Called again, a stopped training goes on after its last epoch.
    """
    from volengine.tasks.surfaces.train import train_on_surfaces

    told: list[str] = []

    def tell(line: str) -> None:
        told.append(line)
        say(line)

    made = train_on_surfaces(source, out, from_options(SurfacesTrainRecipe, values), say=tell)
    for note in made.notes:
        if note not in told:
            say(f"  {note}")
    say(f"{made.file}: {made.text}")


def _say_counts(names: list[str], run_dir: str) -> None:
    """With ``-v``: the number of picks on each surface."""
    for name in names if verbose() else ():
        file = plan_folder(run_dir, name).path / FOUND
        if file.is_file():
            with np.load(file, allow_pickle=False) as table:
                for number, count in zip(table[OF].tolist(), table[MANY].tolist(), strict=True):
                    say(f"  {name}, surface {number}: {count}")


def add_to(group: Group) -> None:
    """Add the commands to the group ``surfaces``."""
    for command in (sample, profile, pick, train):
        group.add_command(command)
