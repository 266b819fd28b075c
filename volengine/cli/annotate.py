"""volengine annotate"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import IO, Any, TypeVar

import click

from volengine.cli.command import Group
from volengine.cli.execute import execute
from volengine.cli.messages import say
from volengine.cli.options import NO_NETWORK, FieldType, from_options, recipe_options, texts_option
from volengine.core.errors import InputError, MissingError
from volengine.core.text import counted
from volengine.engine.options import RunOptions
from volengine.tasks.annotate.suggest_recipe import SuggestRecipe
from volengine.tasks.teach.recipe import ModelScoresRecipe

SCORED = ("memory_limit", "device", "overwrite", "progress")
"""Options of a run that scoring uses."""

F = TypeVar("F", bound=Callable[..., Any])


@click.group(
    "annotate",
    cls=Group,
    examples=(
        "volengine annotate new TS_01.mrc --out TS_01.annotations --features membrane,ribosome",
        "volengine annotate stroke TS_01.annotations strokes.jsonl",
        "volengine annotate export TS_01.annotations --out training",
    ),
)
def command() -> None:
    """Labels, training boxes and points of a tomogram, drawn by several people: versioned, undone, trained on."""


def _user(function: F) -> F:
    text = "Who does it; everybody undoes own strokes only. [default: the name of this process's user]"
    return click.option("--user", default="", help=text)(function)


def _images(function: F) -> F:
    text = "Leave the label images as they are; volengine annotate merge brings them up to date."
    return click.option("--no-images", is_flag=True, help=text)(function)


@command.command("new", examples=("volengine annotate new TS_01.mrc --out TS_01.annotations --features membrane",))
@click.argument("tomogram")
@click.option("--out", required=True, help="The folder to make; its name ends with .annotations.")
@texts_option("--features", "features", "Names of features; they get the colours that they have everywhere.")
@click.option("--voxel-size", type=FieldType(float, "--voxel-size"), help="Angstrom, if the file does not state it.")
@_user
def new(tomogram: str, out: str, features: tuple[str, ...], voxel_size: float | None, user: str) -> None:
    """Begin the annotations of a TOMOGRAM, which is only read."""
    from volengine.tasks.annotate.store import new_annotations

    with new_annotations(tomogram, out, features, voxel_size=voxel_size, user=user) as made:
        say(f"{out}: annotations of {made.facts.name}, {made.facts.shape} voxels; {counted(len(features), 'feature')}")


@command.command("stroke", examples=("volengine annotate stroke TS_01.annotations strokes.jsonl --user ada",))
@click.argument("folder")
@click.argument("lines", default="-", metavar="[FILE]")
@_user
@_images
def stroke(folder: str, lines: str, user: str, no_images: bool) -> None:
    """Carry out operations: strokes, fills, boxes, points, undo, redo, one JSON object on each line of FILE.

    Without FILE, or with -, lines are read from standard input as they come. Each line is one transaction, which is on
    the disk when the next one is read. At the first line that cannot be carried out it ends; those before it are done.
    """
    from volengine.tasks.annotate.operations import Lines

    with _opened(lines) as file:
        read = Lines(file, "standard input" if lines == "-" else lines)
        with read.named():
            _do(folder, iter(read), user, no_images)


def _opened(path: str) -> AbstractContextManager[IO[str]]:
    try:
        return click.open_file(path, encoding="utf-8")  # - is standard input, which stays open
    except FileNotFoundError:
        raise MissingError(f"{path}: no such file.") from None


def _do(folder: str, operations: Iterator[dict[str, Any]], user: str, no_images: bool) -> None:
    from volengine.tasks.annotate.verb import annotate

    done = annotate(folder, operations, user, images=not no_images)
    if not done:
        say(f"{folder}: nothing to do")
    elif len(done) == 1:
        of = f" of version {done[0].of}" if done[0].of else ""
        say(f"{folder}: version {done[0].version}, {done[0].op}{of}")
    else:
        say(f"{folder}: {len(done)} transactions, versions {done[0].version} to {done[-1].version}")


@command.command("undo", examples=("volengine annotate undo TS_01.annotations --version 12",))
@click.argument("folder")
@click.option(
    "--version", type=FieldType(int, "--version"), help="The own transaction to undo. [default: the latest one]"
)
@_user
@_images
def undo(folder: str, version: int | None, user: str, no_images: bool) -> None:
    """Undo an own transaction, as if it had never been made; what others have drawn on the same voxels stays."""
    _do(folder, iter([{"op": "undo", "version": version}]), user, no_images)


@command.command("redo", examples=("volengine annotate redo TS_01.annotations",))
@click.argument("folder")
@click.option("--version", type=FieldType(int, "--version"), help="The own transaction. [default: the one undone last]")
@_user
@_images
def redo(folder: str, version: int | None, user: str, no_images: bool) -> None:
    """Let an own transaction that was undone count again, at its old place in the order."""
    _do(folder, iter([{"op": "redo", "version": version}]), user, no_images)


@command.command("status", examples=("volengine annotate status TS_01.annotations --log",))
@click.argument("folder")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@click.option("--log", is_flag=True, help="Print the operations that were done, as stroke reads them.")
@click.option("--user", default="", help="With --log: those of this user only.")
def status(folder: str, as_json: bool, log: bool, user: str) -> None:
    """What annotations hold: features, voxels, boxes, points, users, conflicts, versions."""
    from volengine.tasks.annotate.verb import annotation_facts, recorded

    if log:
        for operation in recorded(folder, user or None):
            click.echo(json.dumps(operation))
        return
    if user:
        raise click.UsageError("--user chooses among the operations of --log.")
    facts = annotation_facts(folder)
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    z, y, x = facts["shape"]
    click.echo(f"{facts['name']}: {z} x {y} x {x} voxels, version {facts['version']}, {facts['undone']} undone")
    for one in facts["features"]:
        parts = [
            f"{one['voxels']['feature']:,} voxels, {one['voxels']['ignore']:,} ignored",
            counted(one["boxes"], "box/boxes"),
            counted(one["points"], "point"),
            "by " + (", ".join(one["users"]) or "nobody"),
        ]
        if one["conflicts"]:
            parts.append(counted(one["conflicts"], "voxel") + " of which users say different things: the latest counts")
        click.echo(f"  {one['name']} ({one['colour']}): {'; '.join(parts)}")
    behind = facts["images_behind"]
    if behind != 0:
        what = "are not there" if behind is None else f"are {counted(behind, 'version')} behind"
        click.echo(f"  The label images {what}: volengine annotate merge {shlex.quote(str(folder))}")


@command.command("merge", examples=("volengine annotate merge TS_01.annotations",))
@click.argument("folder")
def merge(folder: str) -> None:
    """Bring the label images up to date: of all users, the latest stroke of each voxel; and of each user."""
    from volengine.tasks.annotate.images import merge as merge_images
    from volengine.tasks.annotate.store import Annotations

    with Annotations(folder) as annotations:
        written = merge_images(annotations)
    for name, count in written.items():
        say(f"{folder}/{name}: {counted(count, 'block')} written")
    if not written:
        say(f"{folder}: the label images are up to date")


@command.command("compact", examples=("volengine annotate compact TS_01.annotations --keep 500",))
@click.argument("folder")
@click.option(
    "--keep",
    type=FieldType(int, "--keep"),
    default=1000,
    help="How many can still be undone. [default: 1000]",
)
def compact(folder: str, keep: int) -> None:
    """Make the journal small: old transactions become one, which cannot be undone; nothing that is seen changes."""
    from volengine.tasks.annotate.compact import compact as compact_journal
    from volengine.tasks.annotate.store import Annotations

    with Annotations(folder) as annotations:
        base = compact_journal(annotations, keep)
        say(f"{folder}: versions up to {base} are one; those up to {annotations.version} can be undone")


@command.command(
    "export",
    examples=(
        "volengine annotate export TS_01.annotations --out training",
        "volengine annotate export annotations/*.annotations --features membrane --out training",
    ),
)
@click.argument("folders", nargs=-1, required=True, metavar="FOLDER...")
@click.option("--out", required=True, help="Folder for label images, tables of boxes and points, and train.yaml.")
@texts_option("--features", "features", "Which features. [default: all that have training boxes or points]")
@click.option("--version", type=FieldType(int, "--version"), help="As it was at this version. [default: the last]")
@click.option("--overwrite", is_flag=True, help="Replace an earlier export.")
def export(folders: tuple[str, ...], out: str, features: tuple[str, ...], version: int | None, overwrite: bool) -> None:
    """Write training data: what is in training boxes counts, all else is ignored; volengine train reads it.

    Of several FOLDERs, each has a folder of its own in --out, and train.yaml trains on all of them; those without
    training boxes are left out.
    """
    from volengine.tasks.annotate.export import export_training
    from volengine.tasks.annotate.export_all import export_all
    from volengine.tasks.annotate.store import Annotations

    if len(folders) > 1 and version is not None:
        raise click.UsageError("--version is that of one FOLDER; several have versions of their own.")
    if len(folders) > 1:
        every = export_all(folders, out, features, overwrite=overwrite)
        exports, recipe = list(every.of.values()), every.recipe
        for folder in every.without:
            say(f"{folder}: no training boxes of these features")
    else:
        with Annotations(folders[0]) as annotations:
            exports = [export_training(annotations, out, features, version=version, overwrite=overwrite)]
        recipe = exports[0].recipe
    for made in exports:
        for files in (made.labels, made.points):
            for feature, path in files.items():
                say(f"{path}: {feature}, version {made.version}")
    if recipe:
        say(f"{recipe}: train with: volengine train {shlex.quote(str(recipe))} --out MODEL.safetensors")


@command.command(
    "import", examples=("volengine annotate import TS_01.annotations TS_01__membrane.mrc --feature membrane",)
)
@click.argument("folder")
@click.argument("file")
@click.option("--feature", required=True, help="What is annotated in it.")
@click.option("--radius", type=FieldType(float, "--radius"), help="Of points, voxels.")
@_user
@_images
def import_(folder: str, file: str, feature: str, radius: float | None, user: str, no_images: bool) -> None:
    """Take over a FILE: a label volume (0, 1, 2), a table of points, or a training set of Ais (.scnt)."""
    from volengine.tasks.annotate.brought import brought
    from volengine.tasks.annotate.store import Annotations

    with Annotations(folder) as annotations:
        operations = list(brought(annotations, file, feature, radius))  # all of it fits, or nothing is taken over
    _do(folder, iter(operations), user, no_images)


@command.command(
    "suggest",
    examples=(
        "volengine annotate suggest predictions --feature membrane --annotations annotations --out next",
        "volengine annotate suggest 'new/*membrane*' --other 'old/*membrane*' --out next",
    ),
)
@click.argument("predictions", nargs=-1, required=True)
@click.option("--out", required=True, help="Folder for suggested.star, and for the run folder.")
@texts_option("--other", "other", "Predictions of the same tomograms by another model: where both differ.")
@texts_option("--annotations", "annotations", "Annotations, or folders of them: where boxes are, nothing is suggested.")
@recipe_options(SuggestRecipe)
@recipe_options(RunOptions, leave_out=NO_NETWORK)
def suggest(
    predictions: tuple[str, ...], out: str, other: tuple[str, ...], annotations: tuple[str, ...], **values: Any
) -> None:
    """Where annotating would help most: patches of PREDICTIONS of which a model is least certain, the worst first.

    PREDICTIONS are those of one feature, of one tomogram or of hundreds. The table has the middle of a training box for
    each patch, in the slice that is least certain.
    """
    from volengine.tasks.annotate.suggest import TABLE, Suggesting

    options = from_options(RunOptions, values)
    case = Suggesting(predictions, out, from_options(SuggestRecipe, values), options, other, annotations)
    jobs, run_dir = case.jobs()
    execute(jobs, run_dir, options)
    if options.dry_run or options.part:  # other parts may be at work; without --part the same command ranks them
        return
    found = case.finish()
    rows = []
    for one in found:
        for at, (rank, position) in enumerate(zip(one.extra["rank"], one.position_vox.tolist(), strict=True)):
            rows.append((int(rank), one.tomogram, position, 0.0 if one.weight is None else float(one.weight[at])))
    rows.sort()
    for rank, name, (z, y, x), weight in rows[:10]:
        say(f"{rank:3}. {name}: slice {z:.0f}, around {y:.0f}, {x:.0f}: {weight:.3f}")
    say(f"{out}/{TABLE}: {counted(len(rows), 'training box/training boxes')} to annotate next")


@command.command(
    "score",
    examples=(
        "volengine annotate score annotations/*.annotations --models before.safetensors,after.safetensors",
        "volengine annotate score TS_01.annotations --models ribosome.safetensors --csv scores.csv",
    ),
)
@click.argument("folders", nargs=-1, required=True)
@texts_option("--models", "models", "The models, for example the oldest first.")
@click.option("--csv", "csv", help="Write the table to this file, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@recipe_options(ModelScoresRecipe)
@recipe_options(RunOptions, leave_out=tuple(f for f in RunOptions.__dataclass_fields__ if f not in SCORED))
def score(folders: tuple[str, ...], models: tuple[str, ...], csv: str | None, as_json: bool, **values: Any) -> None:
    """Models before and after in one table: Dice in the training boxes of FOLDERS, as they are annotated now.

    Boxes that a model has never seen are told apart from those of its data.
    """
    from volengine.core.atomic import write_atomic
    from volengine.tasks.teach.scores import score_models

    if not models:
        raise InputError("Give --models.")
    recipe, options = from_options(ModelScoresRecipe, values), from_options(RunOptions, values)
    if csv and os.path.lexists(csv) and not options.overwrite:
        raise InputError(f"{csv} exists; give --overwrite, or another name.")
    found = score_models(folders, models, recipe, options, None if as_json or not options.progress else say)
    if csv:
        write_atomic(csv, found.csv())
    click.echo(json.dumps(found.to_json(), indent=1) if as_json else found.text())
