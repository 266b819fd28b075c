"""volengine surfaces"""

from __future__ import annotations

import click

from volengine.cli import surfaces_files, surfaces_measure, surfaces_picking
from volengine.cli.command import Group


@click.group(
    "surfaces",
    cls=Group,
    examples=(
        "volengine surfaces measure TS_01.surfaces --out measured.surfaces",
        "volengine surfaces sample TS_01.surfaces --out seeds.star",
        "volengine surfaces convert TS_01.surfaces --out TS_01.glb",
    ),
)
def command() -> None:
    """Sets of surfaces: measures, points on them, profiles along their normals, particles on them, other formats."""


surfaces_files.add_to(command)
command.add_command(surfaces_measure.measure)
surfaces_picking.add_to(command)
