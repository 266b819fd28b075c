"""volengine curate"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from volengine.cli.command import Group
from volengine.cli.messages import say
from volengine.cli.options import FieldType, from_options, recipe_options
from volengine.core.errors import MissingError
from volengine.core.text import counted
from volengine.io.picks.formats import FORMATS
from volengine.tasks.curate.recipe import CurateRecipe
from volengine.tasks.picks.recipe import PicksRecipe

if TYPE_CHECKING:
    from volengine.tasks.curate.store import MaskGrid

F = TypeVar("F", bound=Callable[..., Any])


@click.group(
    "curate",
    cls=Group,
    examples=(
        "volengine curate new picks/TS_01__ribosome.star --out curated/TS_01__ribosome.star.curation",
        "volengine curate do curated/TS_01__ribosome.star.curation edits.jsonl",
        "volengine curate write curated/TS_01__ribosome.star.curation --out curated/TS_01__ribosome.star",
    ),
)
def command() -> None:
    """What people say of the picks of a table: accepted, rejected, tagged, moved, added; versioned, undone, written."""


def _user(function: F) -> F:
    text = "Who does it; everybody undoes own edits only. [default: the name of this process's user]"
    return click.option("--user", default="", help=text)(function)


@command.command("new", examples=("volengine curate new TS_01__ribosome.star --out TS_01__ribosome.star.curation",))
@click.argument("table")
@click.option("--out", required=True, help="The file to make; its name ends with .curation.")
@recipe_options(PicksRecipe, formats={"read_as": [name for name, one in FORMATS.items() if one.reads]})
@_user
def new(table: str, out: str, user: str, **values: Any) -> None:
    """Begin the curation of a TABLE of picks, which is only read."""
    from volengine.tasks.curate.store import new_curation

    with new_curation(table, out, from_options(PicksRecipe, values), user=user) as made:
        tomograms = counted(len(made.base.facts), "tomogram")
        say(f"{out}: curation of {table}, {counted(len(made.base.position_vox), 'pick')} of {tomograms}")


@command.command("do", examples=("volengine curate do TS_01__ribosome.star.curation edits.jsonl --user ada",))
@click.argument("curation")
@click.argument("lines", default="-", metavar="[FILE]")
@_user
def do(curation: str, lines: str, user: str) -> None:
    """Carry out operations: accept, reject, tag, add, move, delete, undo, one JSON object on each line of FILE.

    Without FILE, or with -, lines are read from standard input as they come. Each line is one transaction, which is on
    the disk when the next one is read. At the first line that cannot be carried out it ends; those before it are done.
    """
    from volengine.tasks.annotate.operations import Lines
    from volengine.tasks.curate.operations import checked
    from volengine.tasks.curate.verb import curate

    with _opened(lines) as file:
        read = Lines(file, "standard input" if lines == "-" else lines, checked)
        with read.named():
            done = curate(curation, iter(read), user)
    if not done:
        say(f"{curation}: nothing to do")
    else:
        say(f"{curation}: {counted(len(done), 'transaction')}, up to version {done[-1].version}")


def _opened(path: str) -> AbstractContextManager[IO[str]]:
    try:
        return click.open_file(path, encoding="utf-8")  # - is standard input, which stays open
    except FileNotFoundError:
        raise MissingError(f"{path}: no such file.") from None


@command.command("status", examples=("volengine curate status TS_01__ribosome.star.curation --log",))
@click.argument("curation")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
@click.option("--log", is_flag=True, help="Print the operations that were done, as do reads them.")
@click.option("--list", "as_list", is_flag=True, help="Print the picks: number, tomogram, position, decision, tags.")
@click.option("--user", default="", help="With --log: those of this user only.")
def status(curation: str, as_json: bool, log: bool, as_list: bool, user: str) -> None:
    """What a curation holds: how many picks are accepted, rejected, tagged, and by whom."""
    from volengine.tasks.curate.store import Curation
    from volengine.tasks.curate.verb import curation_facts, recorded

    if as_json + log + as_list > 1:
        raise click.UsageError("Give one of --json, --log and --list.")
    if user and not log:
        raise click.UsageError("--user chooses among the operations of --log.")
    if log:
        for operation in recorded(curation, user or None):
            click.echo(json.dumps(operation))
        return
    if as_list:
        with Curation(curation) as opened:
            rows = opened.rows()
        columns = rows.columns()
        click.echo("\t".join(["id", "tomogram", "z_vox", "y_vox", "x_vox", "accepted", "tags"]))
        for row, number in enumerate(rows.ids.tolist()):
            position = [f"{v:.6g}" for v in rows.position_vox[row]]
            said = [str(columns["accepted"][row]), str(columns["tags"][row])]
            click.echo("\t".join([str(number), str(columns["tomogram"][row]), *position, *said]))
        return
    facts = curation_facts(curation)
    if as_json:
        click.echo(json.dumps(facts, indent=1))
        return
    counts = ", ".join(f"{facts[name]} {name}" for name in ("accepted", "rejected", "undecided", "deleted"))
    click.echo(f"{facts['table']}: {counted(facts['picks'], 'pick')}, version {facts['version']}")
    click.echo(f"  {counts}; by {', '.join(facts['users']) or 'nobody'}")
    for tag, count in facts["tags"].items():
        click.echo(f"  {tag}: {counted(count, 'pick')}")


@command.command("carry", examples=("volengine curate carry TS_01__ribosome.star.curation --within-nm 2",))
@click.argument("curation")
@click.option(
    "--within-nm",
    type=FieldType(float, "--within-nm"),
    required=True,
    help="Largest distance of a pick of the new table from where it was.",
)
@click.option(
    "--mask-grid",
    type=click.Choice(["auto", "faces", "centres"]),
    default="auto",
    help="How a new table of other voxels lies on the earlier one, as of picks merge. [default: auto]",
)
@_user
def carry(curation: str, within_nm: float, mask_grid: MaskGrid, user: str) -> None:
    """Carry over what was said to the picks of a table that was written anew, by their places.

    What was said of picks that the new table does not have is dropped, and counted; the curation as it was is kept.
    """
    from volengine.tasks.curate.store import Curation

    with Curation(curation) as opened:
        made = opened.carry(within_nm, user, mask_grid=mask_grid)
    say(f"{curation}: carried over for {made.found} of {counted(made.picks, 'pick')}")
    if made.lost:
        there = "has" if made.lost == 1 else "have"
        say(f"  {counted(made.lost, 'pick')} of which something was said {there} no partner within {within_nm:g} nm")
    for note in made.notes:
        say(f"  {note}")
    say(f"  as it was: {made.before}")


@command.command(
    "write",
    examples=(
        "volengine curate write TS_01__ribosome.star.curation --out accepted.star --keep accepted",
        "volengine curate write TS_01__ribosome.star.curation --out all.csv --keep all",
    ),
)
@click.argument("curation")
@click.option("--out", required=True, help="The file to write, or a folder (with / at its end).")
@recipe_options(CurateRecipe, formats={"to": [name for name, one in FORMATS.items() if one.writes]})
def write(curation: str, out: str, **values: Any) -> None:
    """Write the picks that are left, as moved and with those that were added, in any format."""
    from volengine.tasks.curate.verb import write_curated

    made = write_curated(curation, out, from_options(CurateRecipe, values))
    for file in made.files:
        say(f"{file} ({made.format})")
    for name, number in made.counts.items():
        say(f"  {name or 'tomogram'}: {counted(number, 'pick')}")
    for note in made.notes:
        say(f"  {note}")
