"""volengine collection"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from volengine.cli.command import Group
from volengine.cli.live import watch_live
from volengine.cli.messages import say
from volengine.cli.options import FieldType, texts_option
from volengine.cli.status import LEAST_S, live_terminal, shown, watching
from volengine.core.errors import InputError
from volengine.core.text import counted
from volengine.tasks.common.layout import run_dir_in

F = TypeVar("F", bound=Callable[..., Any])


@click.group(
    "collection",
    cls=Group,
    examples=(
        "volengine collection new manifest.csv 'raw/*.mrc' --set group=grid3",
        "volengine run recipe.yaml manifest.csv --out results",
        "volengine collection status manifest.csv --out results",
    ),
)
def command() -> None:
    """The manifest of many tomograms: a table that people edit, with the source and the parameters of each.

    Columns: source, name, group, priority (higher ones are begun first), state (skip: left out of runs), note..., and
    parameters that replace those of the recipe: voxel_size, invert, threshold, and any STEP.FIELD (segment.tta,
    pick.ribosome.spacing_nm). Empty cells change nothing.
    """


def _where(function: F) -> F:
    """Add the options that say where the run is."""
    function = click.option("--run-dir", help="The run folder, if it is another one.")(function)
    return click.option("--out", help="The folder of the results, as for 'volengine run'.")(function)


def _run_dir(out: str | None, run_dir: str | None) -> str:
    return run_dir or (run_dir_in(out, "run") if out else "")


def _values(given: tuple[str, ...]) -> dict[str, str]:
    """Cells by column; what has no ``=`` are further numbers of the value before: ``voxel_size=13.48,13.48,20``."""
    texts: list[str] = []
    for text in given:
        if texts and "=" not in text:
            texts[-1] += f",{text}"
        else:
            texts.append(text)
    found = {}
    for text in texts:
        column, sign, value = text.partition("=")
        if not sign or not column.strip():
            raise click.UsageError(f"--set {text}: write COLUMN=VALUE, for example --set voxel_size=13.48.")
        found[column.strip()] = value.strip()
    return found


LOOK_EVERY_S = 2.0
"""Seconds between two looks of ``--watch`` without a number."""

SET = texts_option("--set", "values", "COLUMN=VALUE, a cell of all rows; repeat for several.")


@command.command("new", examples=("volengine collection new manifest.csv 'raw/*.mrc' --set voxel_size=13.48",))
@click.argument("manifest")
@click.argument("sources", nargs=-1)
@SET
def new(manifest: str, sources: tuple[str, ...], values: tuple[str, ...]) -> None:
    """Write MANIFEST (.csv, .tsv, .star, .yaml) with SOURCES (files, folders, globs, .txt lists)."""
    from volengine.tasks.collection.verb import new_collection

    _, count = new_collection(manifest, sources, _values(values))
    say(f"{manifest}: {counted(count, 'tomogram')}")


@command.command("add", examples=("volengine collection add manifest.csv 'raw/*.mrc'",))
@click.argument("manifest")
@click.argument("sources", nargs=-1, required=True)
@SET
def add(manifest: str, sources: tuple[str, ...], values: tuple[str, ...]) -> None:
    """Add those of SOURCES to MANIFEST that are not in it yet; the rest of the file stays as it is."""
    from volengine.tasks.collection.verb import add_to_collection

    found, count = add_to_collection(manifest, sources, _values(values))
    say(f"{manifest}: {counted(count, 'tomogram')} added, {len(found.entries)} in all")


@command.command("status", examples=("volengine collection status manifest.csv --out results --watch",))
@click.argument("manifest")
@_where
@click.option("--json", "as_json", is_flag=True, help="Print JSON: each tomogram with its state.")
@click.option(
    "--watch",
    type=FieldType(float, "watch"),
    is_flag=False,
    flag_value=LOOK_EVERY_S,
    help=f"Look again every so many seconds ({LOOK_EVERY_S:g} if none are given), as long as the run lasts.",
)
def status(manifest: str, out: str | None, run_dir: str | None, as_json: bool, watch: float | None) -> None:
    """Show what became of the tomograms of MANIFEST: how many are in which state, those that failed first.

    With --watch in a terminal this is one table that stays in its place; elsewhere lines are printed again and again.
    """
    from volengine.tasks.collection.verb import collection_status

    place = _run_dir(out, run_dir)
    if not place:
        raise InputError("Say where the results are: --out, as for 'volengine run' (or --run-dir).")
    if watch is not None and not as_json and live_terminal():
        watch_live(lambda: collection_status(manifest, place), manifest, max(LEAST_S, watch))
        return
    watching(lambda: shown(collection_status(manifest, place), as_json), watch)


@command.command("skip", examples=("volengine collection skip manifest.csv TS_04 'TS_1*'",))
@click.argument("manifest")
@click.argument("names", nargs=-1, required=True)
def skip(manifest: str, names: tuple[str, ...]) -> None:
    """Mark tomograms of MANIFEST by NAMES or patterns, so that runs leave them out. 'retry' takes the mark away."""
    from volengine.tasks.collection.verb import skip as mark

    say(f"left out from now on: {', '.join(mark(manifest, names))}")


@command.command("retry", examples=("volengine collection retry manifest.csv --out results",))
@click.argument("manifest")
@click.argument("names", nargs=-1)
@_where
@click.option("--afresh", is_flag=True, help="Compute all of the named tomograms again, also what is finished.")
def retry(manifest: str, names: tuple[str, ...], out: str | None, run_dir: str | None, afresh: bool) -> None:
    """Let tomograms of MANIFEST wait for the next run: NAMES or patterns, or all that have failed."""
    from volengine.tasks.collection.verb import retry as again

    found = again(manifest, names, _run_dir(out, run_dir), afresh=afresh)
    say(f"wait for the next run: {', '.join(found)}" if found else "none of them has failed or is left out")
