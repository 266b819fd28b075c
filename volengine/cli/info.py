"""volengine info"""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from volengine.cli.command import Command
from volengine.tasks.info import check, info


@click.command(
    "info",
    cls=Command,
    examples=(
        "volengine info TS_01.mrc",
        "volengine info TS_01.ome.zarr --check",
    ),
)
@click.argument("path")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@click.option("--check", "checked", is_flag=True, help="Check an OME-Zarr store; exit with 1 if something is wrong.")
def command(path: str, as_json: bool, checked: bool) -> None:
    """Describe PATH: an MRC or TIFF file, an OME-Zarr store, a model, or a table of picks.

    With --check: whether the images of an OME-Zarr store follow the specification, whether ome-zarr reads them as
    volengine does, and whether their levels agree in geometry and in the voxels at the beginning, in the middle and at
    the end of the volume (others are not read).
    """
    if checked:
        sys.exit(_report(check(path), as_json))
    facts = info(path)
    if as_json:
        click.echo(json.dumps(facts, indent=1, default=str))
        return
    print_facts(facts)


def _report(findings: dict[str, list[str]], as_json: bool) -> int:
    """Print what was found; 1 if anything was."""
    if as_json:
        click.echo(json.dumps(findings, indent=1))
    else:
        print_facts({image: found or "nothing wrong was found" for image, found in findings.items()})
    return int(any(findings.values()))


def print_facts(facts: dict[str, Any]) -> None:
    """One line per fact, one more for each further row."""
    width = max(len(key) for key in facts)
    for key, value in facts.items():
        rows = value if isinstance(value, list) else [value]
        for number, row in enumerate(rows):
            click.echo(f"{(key if number == 0 else '').ljust(width)}  {row}")
