"""volengine view"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from importlib.util import find_spec
from typing import Any

import click

from volengine.cli.command import Command
from volengine.cli.options import from_options, recipe_options
from volengine.core.errors import InputError, require
from volengine.web.recipe import ServeRecipe
from volengine.web.view.recipe import ViewRecipe
from volengine.web.view.verb import view


@click.command(
    "view",
    cls=Command,
    examples=(
        "volengine view TS_01.ome.zarr",
        "volengine view results --no-browser --port 8000",
        "volengine view TS_01.mrc --overlay TS_01__core.ome.zarr,TS_01.star",
        "volengine view results --uds ~/view.sock",
    ),
    sections={"Server": tuple(field.name for field in fields(ServeRecipe))},
)
@click.argument("paths", nargs=-1, required=True)
@click.option("--napari", is_flag=True, help="Open napari instead of a page.")
@recipe_options(ViewRecipe)
@recipe_options(ServeRecipe)
def command(paths: tuple[str, ...], napari: bool, **values: Any) -> None:
    """Look at PATHS in a browser: volumes, runs, collections, predictions, labels, picks, surfaces.

    The page is served to who has the printed link, until Ctrl-C. From another machine: ssh -L, see docs/how-to-view.md.
    """
    look, where = from_options(ViewRecipe, values), from_options(ServeRecipe, values)
    if napari:
        _napari(paths, look)
        return
    view(paths, look, where, say=click.echo)


def _napari(paths: tuple[str, ...], look: ViewRecipe) -> None:
    """Open napari with its reader of what volengine writes."""
    if look != ViewRecipe(overlay=look.overlay):
        raise InputError("--napari takes paths and --overlay alone; napari has its own ways for the rest.")
    if find_spec("napari") is None:
        raise require("napari", "napari", "--napari")
    sys.exit(
        subprocess.run([sys.executable, "-m", "napari", "--plugin", "volengine", *paths, *look.overlay]).returncode
    )
