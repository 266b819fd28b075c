"""volengine surfaces convert, info."""

from __future__ import annotations

from typing import Any

import click

from volengine.cli.command import Command, Group
from volengine.cli.info import print_facts, to_json
from volengine.cli.messages import say
from volengine.cli.options import from_options, recipe_options, source_and_out
from volengine.core.text import counted
from volengine.tasks.surfaces.files_recipe import SurfacesConvertRecipe

SHOWN = 20
"""Surfaces that the text lists; JSON has all."""

_OUT = "One file of all (.ply, .obj, .stl, .glb), a set (NAME.surfaces), or a folder for a file of each (--to)."


@click.command(
    "convert",
    cls=Command,
    examples=(
        "volengine surfaces convert TS_01.surfaces --out TS_01.glb",
        "volengine surfaces convert TS_01.surfaces --out meshes --to stl --numbers 1,2",
        "volengine surfaces convert mesh.obj --out mesh.surfaces --voxel-size 10",
    ),
)
@source_and_out(_OUT)
@recipe_options(SurfacesConvertRecipe)
def convert(source: str, out: str, **values: Any) -> None:
    """Surfaces as PLY, OBJ, STL or GLB, together or one by one; mesh files as a set.

    Only PLY holds normals and columns.
    """
    from volengine.tasks.surfaces.files import convert_surfaces

    files = convert_surfaces(source, out, from_options(SurfacesConvertRecipe, values))
    say(files[0] if len(files) == 1 else f"{len(files)} files, {files[0]} ... {files[-1]}")


@click.command("info", cls=Command, examples=("volengine surfaces info TS_01.surfaces",))
@click.argument("source")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def info(source: str, as_json: bool) -> None:
    """What a set of surfaces or a mesh file holds: area, volume, whether each is closed, holes, genus."""
    from volengine.tasks.surfaces.files import surfaces_info

    found = surfaces_info(source)
    if as_json:
        click.echo(to_json(found))
        return
    rows = found.pop("surfaces")
    lines = [_line(row) for row in rows[:SHOWN]]
    if len(rows) > SHOWN:
        lines.append(f"and {len(rows) - SHOWN} more; --json shows all")
    print_facts({**found, "surfaces": [f"{len(rows)}", *lines]})


def add_to(group: Group) -> None:
    """Add the commands to the group ``surfaces``."""
    group.add_command(convert)
    group.add_command(info)


def _line(row: dict[str, Any]) -> str:
    borders, islands = counted(row["border_loops"], "border"), counted(row["islands"], "island")
    closed = f"closed, {row['volume_nm3']:.6g} nm³" if row["closed"] else f"open, {borders}"
    return (
        f"{row['number']}: {row['area_nm2']:.6g} nm², {closed}, {islands}, genus {row['genus']}, "
        f"{counted(row['vertices'], 'vertex/vertices')}"
    )
