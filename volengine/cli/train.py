"""volengine train"""

from __future__ import annotations

from typing import Any

import click

from volengine.cli.options import from_options, recipe_options
from volengine.tasks.train import TrainRecipe, train
from volengine.tasks.yaml_recipes import read_yaml


@click.command("train")
@click.argument("recipe_file", required=False)
@click.option("--out", required=True, help="The model file to write (.safetensors).")
@click.option("--volume", "volumes", multiple=True, help="A tomogram; repeat for several. Instead of RECIPE_FILE.")
@click.option("--labels", multiple=True, help="Its label volume (0, 1, 2 = ignore); one per --volume.")
@click.option("--points", multiple=True, help="Or its picks file; one per --volume.")
@click.option("--radius-nm", type=float, help="With --points: radius of the ball around each.")
@recipe_options(TrainRecipe, leave_out=("samples", "arguments"))
def command(recipe_file: str | None, out: str, **values: Any) -> None:
    """Train a network on volumes with labels (or points), and write the best state to OUT.

    RECIPE_FILE is a YAML file with the recipe; options override it. Called again, a stopped training goes on.
    """
    given = read_yaml(recipe_file) if recipe_file else {}
    volumes, labels, points = values.pop("volumes"), values.pop("labels"), values.pop("points")
    radius = values.pop("radius_nm")
    if volumes:
        truth = labels or points
        if len(truth) != len(volumes):
            raise click.UsageError(f"{len(volumes)} --volume, but {len(truth)} --labels or --points.")
        key = "labels" if labels else "points"
        extra = {} if labels else {"radius_nm": [radius] if radius else []}
        given["samples"] = [{"volume": v, key: [t], **extra} for v, t in zip(volumes, truth, strict=True)]
    elif not given:
        raise click.UsageError("Give a RECIPE_FILE, or --volume with --labels or --points.")
    options = {k: v for k, v in values.items() if v is not None}
    recipe = from_options(TrainRecipe, {**given, **options})
    history = train(recipe, out)
    best = min(
        history, key=lambda r: r["validation_loss"] if r["validation_loss"] == r["validation_loss"] else r["loss"]
    )
    click.echo(
        f"{out}: best epoch {best['epoch']:.0f} of {len(history)}, loss {best['loss']:.4f}, "
        f"validation loss {best['validation_loss']:.4f}, Dice {best['validation_dice']:.3f}"
    )
