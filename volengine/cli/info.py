"""volengine info"""

from __future__ import annotations

import json
from typing import Any

import click

from volengine.tasks.info import info


@click.command("info")
@click.argument("path")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def command(path: str, as_json: bool) -> None:
    """What PATH holds: an MRC or TIFF file, an OME-Zarr store, a model, or a picks table."""
    facts = info(path)
    if as_json:
        click.echo(json.dumps(facts, indent=1, default=str))
        return
    print_facts(facts)


def print_facts(facts: dict[str, Any]) -> None:
    """One line per fact, one more for each further row."""
    width = max(len(key) for key in facts)
    for key, value in facts.items():
        rows = value if isinstance(value, list) else [value]
        for number, row in enumerate(rows):
            click.echo(f"{(key if number == 0 else '').ljust(width)}  {row}")
