"""volengine pick"""

from __future__ import annotations

from typing import Any

import click

from volengine.cli.command import Command
from volengine.cli.execute import execute
from volengine.cli.messages import say
from volengine.cli.options import NO_NETWORK, from_options, recipe_options
from volengine.engine.options import RunOptions
from volengine.io.picks.formats import FORMATS
from volengine.tasks.common.inputs import expand, without_uncertainty
from volengine.tasks.common.jobs import jobs_of
from volengine.tasks.pick.recipe import PickRecipe
from volengine.tasks.pick.verb import PICK


@click.command(
    "pick",
    cls=Command,
    examples=(
        "volengine pick TS_01__ribosome.ome.zarr --out TS_01__ribosome.star --spacing-nm 20",
        "volengine pick predictions --out picks --threshold 0.4",
    ),
)
@click.argument("sources", nargs=-1, required=True)
@click.option(
    "--out",
    required=True,
    help="A table (.star .tbl .csv .mod ..., see volengine picks --help) for one prediction, or a folder.",
)
@recipe_options(PickRecipe, formats={"format": [name for name, one in FORMATS.items() if one.writes]})
@recipe_options(RunOptions, leave_out=NO_NETWORK)
def command(sources: tuple[str, ...], out: str, **values: Any) -> None:
    """Pick particles from the predictions SOURCES (files, folders, globs, .txt lists): a table and a label volume."""
    options = from_options(RunOptions, values)
    recipe = from_options(PickRecipe, values)
    found = expand(sources)
    predictions = without_uncertainty(found)
    for path in sorted(set(found) - set(predictions)):
        say(f"{path} is the uncertainty of a prediction, and left out; give it alone to pick from it.")
    jobs, run_dir = jobs_of(PICK, predictions, out, recipe, options)
    execute(jobs, run_dir, options)
