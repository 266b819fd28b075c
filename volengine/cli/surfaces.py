"""volengine surfaces"""

from __future__ import annotations

import click

from volengine.cli import surfaces_files
from volengine.cli.command import Group


@click.group("surfaces", cls=Group, examples=("volengine surfaces convert TS_01.surfaces --out TS_01.glb",))
def command() -> None:
    """Sets of surfaces: what they hold, and other formats. volengine surface makes them."""


surfaces_files.add_to(command)
