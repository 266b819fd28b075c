"""volengine workbench"""

from __future__ import annotations

from typing import Any

import click

from volengine.cli.command import Command
from volengine.cli.options import from_options, recipe_options
from volengine.web.recipe import ServeRecipe
from volengine.web.workbench.recipe import WorkbenchRecipe
from volengine.web.workbench.verb import workbench


@click.command(
    "workbench",
    cls=Command,
    examples=(
        "volengine workbench results",
        "volengine workbench collection.csv --user ada --no-browser --port 8000",
        "volengine workbench results --uds ~/bench.sock",
    ),
)
@click.argument("project")
@recipe_options(WorkbenchRecipe)
@recipe_options(ServeRecipe)
def command(project: str, **values: Any) -> None:
    """Look at, sort and annotate the tomograms of PROJECT in a browser.

    PROJECT is a folder of tomograms or results, or the manifest of a collection. The page is served to who has the
    printed link, until Ctrl-C. From another machine: ssh -L, see docs/how-to-view.md.
    """
    work, where = from_options(WorkbenchRecipe, values), from_options(ServeRecipe, values)
    workbench(project, work, where, say=click.echo)
