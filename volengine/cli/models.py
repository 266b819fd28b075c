"""volengine models"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from volengine.tasks.models import NetworkFacts

HEAD = ("network", "", "parameters", "kMAC/voxel", "sees (voxels)", "stride", "from")


@click.group("models", invoke_without_command=True)
@click.option("--network", "names", multiple=True, help="Only this one; repeat for several. FILE.py:Class is run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@click.pass_context
def command(context: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """Network architectures: their size, cost and reach; with `show FILE`, the facts of a model file.

    Parameters are for one input slice and one feature, moving means and variances included. kMAC/voxel: thousands of
    multiply-adds per voxel of input, or per pixel of a slice. Sees: how far an answer depends on its surroundings,
    z, y, x; "patch" where a normalisation makes it depend on the whole patch. Patches are multiples of the stride.
    """
    if context.invoked_subcommand is not None:
        return
    from volengine.tasks.models import networks

    rows = networks(names)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(row) for row in rows], indent=1))
        return
    lines = [HEAD, *map(_line, rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(HEAD))]
    for line in lines:
        cells = (t.rjust(w) if n in (2, 3) else t.ljust(w) for n, (t, w) in enumerate(zip(line, widths, strict=True)))
        click.echo("  ".join(cells).rstrip())


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


@command.command("show")
@click.argument("file")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def show(file: str, as_json: bool) -> None:
    """The facts of a model FILE: what it finds, at which voxel size, how it was trained."""
    from volengine.tasks.info import model_info

    facts = model_info(file)
    if as_json:
        click.echo(json.dumps(facts, indent=1, default=str))
        return
    from volengine.cli.info import print_facts

    print_facts(facts)


@command.command("import")
@click.argument("file")
@click.argument("out")
@click.option("--voxel-size", type=float, help="Angstrom; needed for a Keras .h5, else it overrides the file's.")
@click.option("--features", default="", help="Names of the channels, with commas; needed for a Keras .h5.")
@click.option("--patch", default="", help="Voxels z,y,x; default: what it was trained on.")
@click.option("--normalisation", default="", help="none, per_slice, per_patch or volume; default: what the file says.")
@click.option("--axes", default="zyx", help="Of a Keras .h5 of a 3D network: its axes in their order.")
def import_(
    file: str, out: str, voxel_size: float | None, features: str, patch: str, normalisation: str, axes: str
) -> None:
    """A model FILE of another program (.scnm, .ckpt, .h5) as a native file OUT (.safetensors)."""
    from volengine.nets.foreign import import_model

    try:
        shape = tuple(int(n) for n in patch.split(",") if n)
    except ValueError:
        raise click.BadParameter(f"{patch!r} is not z,y,x in voxels.", param_hint="--patch") from None
    if shape and len(shape) != 3:
        raise click.BadParameter(f"{patch!r} is not z,y,x in voxels.", param_hint="--patch")
    names = tuple(name.strip() for name in features.split(",") if name.strip())
    facts = import_model(
        file, out, voxel_size=voxel_size, features=names, patch=shape, normalisation=normalisation, axes=axes
    )
    click.echo(f"{out}: {', '.join(facts.features)} at {facts.voxel_size[2]:g} angstrom, patch {facts.patch}")
