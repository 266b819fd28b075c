"""volengine train"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from volengine.cli.command import Command
from volengine.cli.messages import quiet, say
from volengine.cli.options import FieldType, recipe_options, texts_option
from volengine.core.atomic import write_atomic
from volengine.core.yaml_recipes import read_yaml
from volengine.io.names import suffix_of
from volengine.nets.checkpoint import load_facts
from volengine.nets.registry import check_known
from volengine.tasks.common.halves import other_half
from volengine.tasks.common.inputs import expand
from volengine.tasks.train.folds import lines, train_folds
from volengine.tasks.train.pairing import paired
from volengine.tasks.train.proposal import kept_proposal, propose_training
from volengine.tasks.train.recipe import TrainRecipe
from volengine.tasks.train.verb import train

NETWORK = ("network", "patch", "context", "overlap", "normalisation", "any_voxel_size", "target_normalisation", "start")
TRAINING = (
    *("epochs", "steps", "batch", "loss", "adversarial", "optimiser", "learning_rate", "schedule", "weight_decay"),
    *(
        "momentum",
        "clip",
        "average",
        "precision",
        "positive_share",
        "augment",
        "noise",
        "contrast",
        "brightness",
        "seed",
    ),
    "tensorboard",
)
VALIDATION = ("validation", "validation_share", "folds", "fold", "patience")


@click.command(
    "train",
    cls=Command,
    examples=(
        "volengine train --volume a.mrc --points a.star --radius-nm 12 --features core --out m.safetensors",
        "volengine train recipe.yaml --out model.safetensors --epochs 40",
        "volengine train --volume TS_1_even.mrc --pair even,odd --out clean.safetensors",
        "volengine train recipe.yaml --plan --out filled.yaml",
        "volengine train recipe.yaml --auto --folds 5 --out model.safetensors",
    ),
    sections={"Network": NETWORK, "Training": TRAINING, "Validation": VALIDATION},
)
@click.argument("recipe_file", required=False)
@click.option(
    "--out",
    help="The model file to write (.safetensors). With --plan the recipe file (.yaml), default: it is printed. "
    "[required without --plan]",
)
@click.option(
    "--plan", is_flag=True, help="Write a recipe whose open fields are proposed from the data, and train nothing."
)
@click.option("--auto", is_flag=True, help="Train with the open fields of the recipe as --plan proposes them.")
@texts_option(
    "--volume", "volumes", "A tomogram, or a training set (.scnt); repeat for several, or a folder or a glob."
)
@texts_option("--labels", "labels", "Its label volume (0, 1, 2 = ignore); one per --volume, or a folder or a glob.")
@texts_option("--points", "points", "Or its picks file; one per --volume, a folder, a glob, or one table for all.")
@texts_option("--target", "targets", "Or its target (with --loss l2 or l1); one per --volume.")
@click.option(
    "--pair",
    type=FieldType(tuple[str, str], "pair"),
    help="Half sets: each --volume is the first half of a tomogram, and a text in its name says where the other one is "
    "(even,odd: TS_1_even.mrc and TS_1_odd.mrc, or even/TS_1.mrc and odd/TS_1.mrc). Each half is trained to become the "
    "other one.",
)
@click.option("--radius-nm", type=FieldType(float, "radius_nm"), help="With --points: radius of the ball around each.")
@recipe_options(TrainRecipe, leave_out=("samples", "arguments", "losses", "augmentation"))
def command(recipe_file: str | None, out: str | None, plan: bool, auto: bool, **values: Any) -> None:
    """Train a network on volumes with labels (or points, or targets), and write the best state to OUT.

    RECIPE_FILE is a YAML file with the recipe; options override it. Called again, a stopped training goes on.
    With --folds K there are K trainings, and K models OUT_fold1 ... OUT_foldK.
    """
    given = read_yaml(recipe_file) if recipe_file else {}
    network = values["network"] or given.get("network")
    if isinstance(network, str):
        check_known(network)  # before files are looked for and tables are read
    volumes, radius = values.pop("volumes"), values.pop("radius_nm")
    truth = {key: values.pop(key) for key in ("labels", "points", "targets")}
    if radius is not None and not truth["points"]:
        raise click.UsageError("--radius-nm is the radius of balls around --points, and there are no --points.")
    pair = values.pop("pair")
    if pair is not None and (not volumes or any(truth.values())):
        raise click.UsageError("--pair is for half sets: give each first half with --volume, and no truth.")
    volumes, truth = paired(volumes, truth)
    if pair is not None:
        given = {"loss": "l2", "features": ["denoised"], "augment": "flips", **given, "samples": _halves(volumes, pair)}
    elif volumes:
        given["samples"] = _samples(volumes, truth, radius)
    elif any(truth.values()):
        raise click.UsageError("--labels, --points and --target belong to a --volume, and there is none.")
    elif not given:
        raise click.UsageError("Give a RECIPE_FILE, or --volume with --labels, --points or --target.")
    options = {k: v for k, v in values.items() if v is not None}
    named = {**_plain_names(given), **options}
    recipe = TrainRecipe.from_json(named, recipe_file or "")
    if plan:
        _plan(named, out)
        return
    if out is None:
        raise click.UsageError("Give --out, the model file to write (.safetensors).")
    alone = "RANK" not in os.environ
    if not alone and (auto or (recipe.folds and not recipe.fold)):
        raise click.UsageError(
            "Under torchrun give a recipe that is made already (--plan), and one of the folds at a time (--fold)."
        )
    if auto:
        recipe = _filled(named, out)
    if recipe.folds:
        rows = train_folds(recipe, out, progress=not quiet())
        _leave()
        if not int(os.environ.get("RANK", "0")):
            for line in lines(rows, out, recipe.folds):
                say(line)
        return
    history = train(recipe, out, progress=not quiet())
    _leave()
    if int(os.environ.get("RANK", "0")):  # under torchrun only the first process prints
        return
    chosen = load_facts(out).history[-1]
    kept = history[chosen["epoch"] - 1]
    dice = "" if recipe.regression else f", Dice {kept['validation_dice']:.3f}"
    say(
        f"{out}: epoch {kept['epoch']:.0f} of {len(history)} ({chosen['chosen_by']}), loss {kept['loss']:.4f}, "
        f"validation loss {kept['validation_loss']:.4f}{dice}"
    )
    say(f"{out}.training/index.html: curves, validation patches and scores, to look at")
    say(f"{out}.training: the epoch with the lowest loss and the last one, as models, too")


def _leave() -> None:
    """Under ``torchrun`` a process leaves the group before it ends."""
    if "RANK" in os.environ:
        from volengine.nets.training.fit.ranks import leave

        leave()


def _plan(given: Mapping[str, Any], out: str | None) -> None:
    """Print the proposed recipe, or write it to a file that is not there yet."""
    if out is not None and out.endswith((".yaml", ".yml")):
        if Path(out).exists():
            raise click.UsageError(f"--out {out} exists; remove it, or give another name.")
        text = propose_training(given).yaml()
        write_atomic(Path(out), text.encode())
        say(f"{out}: the proposed recipe; train with: volengine train {shlex.quote(out)} --out MODEL.safetensors")
        return
    if out is not None and not out.endswith(".safetensors"):
        raise click.UsageError(f"--plan writes a recipe (.yaml), not {out}; without --out it is printed.")
    click.echo(propose_training(given).yaml(), nl=False)


def _filled(given: Mapping[str, Any], out: str) -> TrainRecipe:
    """The recipe with its open fields as proposed, which is said."""
    proposal, before = kept_proposal(given, out)
    say("As proposed before:" if before else "Proposed from the data:")
    for line in proposal.lines():
        say(f"  {line}")
    return proposal.recipe


def _plain_names(given: Mapping[str, Any]) -> dict[str, Any]:
    """Names as in Python, so that an option replaces the value of a file that writes ``learning-rate``."""
    return {str(name).replace("-", "_"): value for name, value in given.items()}


def _halves(volumes: Sequence[str], pair: tuple[str, str]) -> list[dict[str, Any]]:
    """Samples of half sets, in both directions; a folder or glob may hold both halves."""
    found = expand(volumes)
    both = [(volume, other_half(volume, pair)) for volume in [v for v in found if pair[0] in Path(v).name] or found]
    return [
        {"volume": one, "targets": [other]}
        for first, second in both
        for one, other in ((first, second), (second, first))
    ]


def _samples(
    volumes: Sequence[str], truth: Mapping[str, Sequence[str]], radius_nm: float | None
) -> list[dict[str, Any]]:
    """Samples from the short options; training sets contain their truth, every other volume needs one."""
    given = {key: paths for key, paths in truth.items() if paths}
    if len(given) > 1:
        raise click.UsageError("Give one of --labels, --points and --target; a RECIPE_FILE can mix them.")
    key, paths = next(iter(given.items()), ("labels", ()))
    tomograms = [v for v in volumes if suffix_of(v) != ".scnt"]
    if len(paths) != len(tomograms):
        raise click.UsageError(f"{len(tomograms)} --volume, but {len(paths)} --labels or --points (or --target).")
    extra = {"radius_nm": [radius_nm] if radius_nm else []} if key == "points" else {}
    rest = iter(paths)
    return [{"volume": v, **({key: [next(rest)], **extra} if v in tomograms else {})} for v in volumes]
