"""volengine models"""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from volengine.cli.command import Group
from volengine.cli.messages import say
from volengine.cli.options import from_options, recipe_options, source_and_out, texts_option
from volengine.core.errors import InputError
from volengine.tasks.models.exchange import export_model, import_group, import_model
from volengine.tasks.models.recipe import ModelExportRecipe, ModelImportRecipe, ModelShareRecipe
from volengine.tasks.models.share import share_models, shared_models

if TYPE_CHECKING:
    from volengine.tasks.models.networks import NetworkFacts

HEAD = ("network", "", "parameters", "kMAC/voxel", "sees (voxels)", "stride", "from")


@click.group(
    "models",
    cls=Group,
    invoke_without_command=True,
    examples=(
        "volengine models --network unet3d",
        "volengine models show membrane.safetensors",
    ),
)
@texts_option("--network", "names", "Only this one; repeat for several. FILE.py:Class is run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@click.pass_context
def command(context: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """Network architectures: their size, cost and reach; model files: their facts, from and to other programs.

    Parameters are for one input slice and one feature, moving means and variances included. kMAC/voxel: thousands of
    multiply-adds per voxel of input, or per pixel of a slice. Sees: how far an answer depends on its surroundings,
    z, y, x; "patch" where a normalisation makes it depend on the whole patch. Patches are multiples of the stride.
    """
    if context.invoked_subcommand is not None:
        if names or as_json:
            raise click.UsageError(f"--network and --json before {context.invoked_subcommand} have no effect there.")
        return
    from volengine.nets.shipped import SHIPPED
    from volengine.tasks.models.networks import networks

    rows = networks(names)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(row) for row in rows], indent=1))
        return
    lines = [HEAD, *map(_line, rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(HEAD))]
    for line in lines:
        cells = (t.rjust(w) if n in (2, 3) else t.ljust(w) for n, (t, w) in enumerate(zip(line, widths, strict=True)))
        click.echo("  ".join(cells).rstrip())
    if not names:
        click.echo("\nTrained models that come with volengine, for --model:")
        for name, what in SHIPPED.items():
            click.echo(f"{name}  {what}")


def _line(row: NetworkFacts) -> tuple[str, ...]:
    if row.missing:
        return row.name, "", "", "", "", "", row.missing
    shape = f"{row.dimensions}D" if row.dimensions else ""
    if not row.dimensions:
        return row.name, shape, f"{row.parameters:,}", "", "", "", row.source
    first = 3 - row.dimensions  # 2D: y and x alone
    sees = "patch" if row.receptive_field is None else _numbers(list(row.receptive_field)[first:])
    cost = f"{row.macs / 1e3:.0f}"
    return row.name, shape, f"{row.parameters:,}", cost, sees, _numbers(list(row.stride)[first:]), row.source


def _numbers(values: Sequence[int]) -> str:
    return ", ".join(str(v) for v in values)


@command.command("show", examples=("volengine models show membrane.safetensors --json",))
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def show(file: str, as_json: bool) -> None:
    """The facts of a model FILE: what it finds, at which voxel size, how it was trained."""
    from volengine.tasks.info import model_info

    facts = model_info(file)
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    from volengine.cli.info import print_facts

    print_facts(facts)


@command.command("import", examples=("volengine models import membrane.scnm --out membrane.safetensors",))
@source_and_out("The native file (.safetensors), the ONNX file, or for a group of Ais a folder.", "file")
@recipe_options(ModelImportRecipe)
def import_(file: str, out: str, **values: Any) -> None:
    """A model FILE of another program (.scnm, .ckpt, .h5, .keras) as a native file (.safetensors).

    An ONNX file, or the one in a package of the BioImage Model Zoo (.zip), becomes a copy that knows its facts (--out
    ends with .onnx). A group of Ais (.scnmgroup) becomes a
    folder with its models and a recipe for `volengine run`.
    """
    recipe = from_options(ModelImportRecipe, values)
    if file.lower().endswith(".scnmgroup"):
        if recipe != ModelImportRecipe():
            raise InputError(f"{file} is a group: its models say their facts; leave out the options.")
        group = import_group(file, out)
        for feature, path in group.models.items():
            say(f"{path}: {feature}")
        say(
            f"{group.recipe}: {len(group.rules)} rules; apply it with: volengine run "
            f"{shlex.quote(str(group.recipe))} TOMOGRAMS --out OUT"
        )
        return
    facts = import_model(file, out, recipe)
    say(f"{out}: {', '.join(facts.features)} at {facts.said_voxel_size}, patch {facts.patch}")


@command.command("export", examples=("volengine models export membrane.safetensors --out membrane.onnx",))
@source_and_out("The file to write: .onnx, .bioimage.zip or .scnm; its ending says the format.", "model")
@recipe_options(ModelExportRecipe)
def export(model: str, out: str, **values: Any) -> None:
    """A MODEL of any kind for other programs: ONNX, BioImage Model Zoo (.bioimage.zip) or Ais (.scnm)."""
    made = export_model(model, out, from_options(ModelExportRecipe, values))
    say(f"{out}: {', '.join(made.facts.features)} at {made.facts.said_voxel_size}")
    for note in made.notes:
        say(f"  {note}")


@command.command("share", examples=("volengine models share /data/models ribosome.safetensors --licence CC-BY-4.0",))
@click.argument("folder", metavar="DIR")
@click.argument("models", nargs=-1)
@recipe_options(ModelShareRecipe)
def share(folder: str, models: tuple[str, ...], **values: Any) -> None:
    """Put MODELS into a folder DIR, from which others take them as --model NAME@DIR; without MODELS: what is in it.

    Every verb that takes a model takes NAME@DIR, and NAME@https://... or NAME@s3://... if the folder is put behind a
    web server or into an object store. Checksums are always compared. Each model has a card, NAME.md, with lines to
    fill in.
    """
    recipe = from_options(ModelShareRecipe, values)
    if not models and recipe != ModelShareRecipe():
        raise click.UsageError("The options are for models to share; give them, too.")
    found = share_models(folder, models, recipe) if models else shared_models(folder)
    for one in found:
        size = " x ".join(f"{side:g}" for side in dict.fromkeys(one.model.voxel_size))
        say(f"{one.use}: {', '.join(one.model.features)} at {size} angstrom ({one.model.network})")
    if models:
        cards = ", ".join(one.model.card for one in found)
        say(f"{folder}: {cards}: what others must know; fill in the open lines.")
