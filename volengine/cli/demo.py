"""volengine demo"""

from __future__ import annotations

import click

from volengine.engine.options import RunOptions
from volengine.engine.show import table
from volengine.tasks.demo import demo


@click.command("demo")
@click.option("--out", default="demo-out", show_default=True, help="Folder for everything the demo makes.")
@click.option("--workers", default=2, show_default=True, help="Local worker processes.")
def command(out: str, workers: int) -> None:
    """A real tomogram, from its MRC file to particle picks, with a score and a report to look at."""
    result = demo(out, RunOptions(workers=workers))
    if not result.real:
        click.echo("The real tomogram is not installed (pip install 'volengine[demo]'); a procedural volume was used.")
    click.echo(table(("score", ""), result.table))
    for extra in result.score["extra_picks"]:
        z, y, x = extra["position_vox"]
        click.echo(
            f"extra pick at z {z}, y {y}, x {x}: weight {extra['weight']}, "
            f"{extra['nearest_known_vox']} voxels from the nearest known centre"
        )
    click.echo(f"{result.run.data['wall_seconds']:.1f} s. Look at {result.report}")
