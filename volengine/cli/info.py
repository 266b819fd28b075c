"""volengine info"""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from volengine.cli.command import Command
from volengine.core.errors import VolengineError
from volengine.tasks.info import check, info


@click.command(
    "info",
    cls=Command,
    examples=(
        "volengine info TS_01.mrc",
        "volengine info TS_01.ome.zarr --check",
        "volengine info tomograms/*.mrc --json",
    ),
)
@click.argument("paths", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text; a list for several paths.")
@click.option("--full", is_flag=True, help="Statistics of all voxels, and not of the coarsest level.")
@click.option("--check", "checked", is_flag=True, help="Check OME-Zarr stores; exit with 1 if something is wrong.")
def command(paths: tuple[str, ...], as_json: bool, full: bool, checked: bool) -> None:
    """Describe PATHS: volumes (MRC, TIFF, OME-Zarr, also zipped), models, picks, training sets of Ais, copick projects.

    Several paths give a table. Of volumes the least and largest value, mean, standard deviation and the shares of NaN
    and zeros are shown: of the coarsest level, or with --full of all voxels.

    With --check: whether the images of an OME-Zarr store follow the specification, whether ome-zarr reads them as
    volengine does, and whether their levels agree in geometry and in the voxels at the beginning, in the middle and at
    the end of the volume (others are not read).
    """
    if checked and full:
        raise click.UsageError("--full is about statistics, and --check gives none; give one of them.")
    if checked:
        sys.exit(max(_report(check(path), as_json, path if len(paths) > 1 else "") for path in paths))
    if len(paths) == 1:
        facts = info(paths[0], full=full, progress=True)
        if as_json:
            click.echo(to_json(facts))
        else:
            from volengine.tasks.info.text import in_words

            print_facts(in_words(facts))
        return
    sys.exit(_many(paths, as_json, full))


def _many(paths: tuple[str, ...], as_json: bool, full: bool) -> int:
    """Print a table or a list of what can be read, and the errors of the others; the exit code of the last of these."""
    from volengine.tasks.info.text import table

    found, code = [], 0
    for path in paths:
        try:
            found.append(info(path, full=full, progress=True))
        except VolengineError as error:
            click.echo(f"Error: {error}", err=True)
            code = error.exit_code
    if as_json:
        click.echo(to_json(found))
    elif found:
        click.echo("\n".join(table(found)))
    return code


def to_json(value: Any) -> str:
    """Return facts as JSON; numbers that JSON does not know are ``null``."""
    return json.dumps(_plain(value), indent=1, default=str, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and value - value != 0 else value


def _report(findings: dict[str, list[str]], as_json: bool, path: str) -> int:
    """Print what was found; 1 if anything was."""
    if as_json:
        click.echo(json.dumps({path: findings} if path else findings, indent=1))
    else:
        named = {f"{path} {image}".strip(): found for image, found in findings.items()}
        print_facts({image: found or "nothing wrong was found" for image, found in named.items()})
    return int(any(findings.values()))


def print_facts(facts: dict[str, Any]) -> None:
    """One line per fact, one more for each further row."""
    width = max(len(key) for key in facts)
    for key, value in facts.items():
        rows = value if isinstance(value, list) else [value]
        for number, row in enumerate(rows):
            click.echo(f"{(key if number == 0 else '').ljust(width)}  {row}")
