"""volengine demo"""

from __future__ import annotations

import click

from volengine.cli.command import Command
from volengine.cli.messages import quiet, say
from volengine.core.text import table
from volengine.engine.options import RunOptions
from volengine.tasks.demo.membranes import surface_numbers
from volengine.tasks.demo.simulated import demo_simulated
from volengine.tasks.demo.simulated_page import CLASS_HEAD, class_lines, pick_lines
from volengine.tasks.demo.verb import demo


@click.command(
    "demo",
    cls=Command,
    examples=(
        "volengine demo --out demo-out",
        "volengine demo --part real",
    ),
)
@click.option("--out", default="demo-out", show_default=True, help="Folder for everything the demo makes.")
@click.option("--workers", default=2, show_default=True, help="Local worker processes.")
@click.option(
    "--part",
    type=click.Choice(["all", "real", "simulated"]),
    default="all",
    show_default=True,
    help="A real tomogram; a simulated one of which everything is known; or one after the other.",
)
def command(out: str, workers: int, part: str) -> None:
    """A real tomogram, from its MRC file to particle picks, then a simulated one, from structures to picks.

    Each with a score and a report to look at.
    """
    options = RunOptions(workers=workers, progress=not quiet())
    if part != "simulated":
        _real(out, options, second=part == "all")
    if part == "all":
        say("")
    if part != "real":
        _simulated(out, options)


def _real(out: str, options: RunOptions, second: bool) -> None:
    result = demo(out, options, second=second)
    if not result.real:
        say("The real tomogram is not installed (pip install 'volengine[demo]'); a procedural volume was used.")
    say(table(("score", ""), result.table))
    for extra in result.score["extra_picks"]:
        z, y, x = extra["position_vox"]
        say(
            f"extra pick at z {z}, y {y}, x {x}: weight {extra['weight']}, "
            f"{extra['nearest_known_vox']} voxels from the nearest known centre"
        )
    say(f"{result.run.data['wall_seconds']:.1f} s. Look at {result.report}")


def _simulated(out: str, options: RunOptions) -> None:
    result = demo_simulated(out, options)
    say(table(("simulated cytoplasm", ""), pick_lines(result.score)))
    say("")
    say(table(CLASS_HEAD, class_lines(result.score)))
    say("")
    say(table(("surfaces", ""), surface_numbers(result.score["surfaces"])))
    say(f"{result.seconds:.1f} s. Look at {result.report}")
