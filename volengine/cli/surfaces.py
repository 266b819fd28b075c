"""volengine surfaces"""

from __future__ import annotations

import click

from volengine.cli import surfaces_measure
from volengine.cli.command import Group


@click.group("surfaces", cls=Group, examples=("volengine surfaces measure TS_01.surfaces --out measured.surfaces",))
def command() -> None:
    """Sets of surfaces: measured at each vertex."""


surfaces_measure.add_to(command)
