"""volengine picks"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from volengine.cli.command import Group
from volengine.cli.execute import reported
from volengine.cli.info import to_json
from volengine.cli.messages import say, verbose
from volengine.cli.options import NO_NETWORK, from_options, recipe_options
from volengine.core.conditions import check_condition
from volengine.core.text import counted
from volengine.engine.options import RunOptions
from volengine.io.names import PICKS_SUFFIXES
from volengine.io.picks.formats import FORMATS
from volengine.tasks.common.inputs import globbed
from volengine.tasks.picks.recipe import (
    PicksConvertRecipe,
    PicksExtractRecipe,
    PicksFilterRecipe,
    PicksMeasureRecipe,
    PicksMergeRecipe,
    PicksRecipe,
)

if TYPE_CHECKING:
    from volengine.tasks.picks.tables import Written

_CONDITION = re.compile(r"[<>]|[=!]=|(^|\s)not\s|\s(in|and|or)\s")
"""What a condition on columns has, and names of files seldom."""

F = TypeVar("F", bound=Callable[..., Any])

INPUT = {"What the files of picks do not say": ("read_as", "tomogram", "volume", "voxel_size", "shape", "origin")}
WRITTEN = {"What is written": ("out", "to", "pixel_size", "spacing_nm")}
CONDITIONS = {
    "Which picks are kept": (
        *("min_weight", "max_weight", "region", "mask", "mask_grid", "threshold", "labels", "outside"),
        *("near", "near_nm", "far_nm", "any_origin", "where", "spacing_nm", "number", "seed"),
    )
}
AROUND = {
    "What is measured": (
        *("results", "surface", "labels", "probability", "threshold", "scale", "value", "reach_nm", "mask_grid"),
        "any_origin",
        *("lamella", "lamella_cell_nm", "neighbours_nm", "neighbour"),
    )
}
NAMES = {
    "read_as": [name for name, one in FORMATS.items() if one.reads],
    "to": [name for name, one in FORMATS.items() if one.writes],
}
NOTES = 8
"""Notes that are printed without ``-v``; some are made for each of hundreds of tomograms."""

WHERE_TO = "The file to write, or a folder (with / at its end) for a file of each tomogram. [required]"


class Picks(Group):
    """The group, whose help ends with the formats."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the formats, then the examples."""
        with formatter.section("Formats"):
            formatter.write_dl([(name, one.about) for name, one in FORMATS.items()])
        super().format_epilog(ctx, formatter)


def _take_condition(given: tuple[str, ...], values: dict[str, Any]) -> tuple[str, ...]:
    """Put a condition that stands among the files into ``where``; return the files.

    Raises
    ------
    InputError
        It is no condition that can be understood.
    click.UsageError
        There are two.
    """
    found = [text for text in given[1:] if _CONDITION.search(text) and not _is_file(text)]
    both = [*found, *filter(None, [values["where"]])]
    if len(both) > 1:
        raise click.UsageError(f"There are {len(both)} conditions; give one, joined by and: {' and '.join(both)}")
    if found:
        check_condition(found[0])
        values["where"] = found[0]
    return tuple(text for text in given if text not in found)


def _is_file(text: str) -> bool:
    return text.lower().endswith(PICKS_SUFFIXES) or Path(text).exists()


def tables_and_out(
    *,
    help: str = WHERE_TO,
    least: int = 1,
    most: int | None = 1,
    metavar: str = "FILE",
    take: Callable[[tuple[str, ...], dict[str, Any]], tuple[str, ...]] | None = None,
) -> Callable[[F], F]:
    """A decorator that adds the files to read, and ``--out``; ``VERB FILE OUT`` works as well.

    Parameters
    ----------
    help
        Text of ``--out``.
    least, most
        Number of files; ``None``: any.
    metavar
        How help shows them.
    take
        Takes what is no file away from the arguments, into the values of options.
    """

    def decorate(function: F) -> F:
        def with_out(**values: Any) -> Any:
            given, out = values.pop("given"), values.pop("out")
            given = given if take is None else take(given, values)
            if out is None and len(given) > least and (most is None or len(given) == most + 1):
                given, out = given[:-1], given[-1]
            if out is None or len(given) < least or (most is not None and len(given) > most):
                more = "" if take is None else " A condition on the columns is also given with --where."
                raise click.UsageError(f"Give {metavar} and --out; there are {', '.join(given)}.{more}")
            return function(given, out, **values)

        with_out.__doc__, with_out.__dict__ = function.__doc__, dict(function.__dict__)
        named = click.argument("given", nargs=-1, required=True, metavar=metavar)
        return named(click.option("--out", help=help)(with_out))  # type: ignore[return-value]

    return decorate


@click.group("picks", cls=Picks, examples=("volengine picks convert picks.star --out picks.tbl",))
def command() -> None:
    """Tables of picks: from one format into another, joined, filtered, measured, described; subvolumes at picks.

    Which format a file has is said by its ending and content; any of them is read, and written if its ending, or --to,
    says so: .star is RELION 4's, .json copick's, .txt and .tsv Ais's, unless --to names another format.
    """


def _say(made: Written) -> None:
    """Print what was written: of several tomograms the total, and with ``-v`` each of them."""
    several, total = len(made.counts) > 1, sum(made.counts.values())
    if len(made.files) == 1 or verbose():
        for file in made.files:
            say(f"{file} ({made.format})")
    else:
        say(f"{counted(len(made.files), 'file')} in {os.path.commonpath(made.files)} ({made.format})")
    if not several or verbose():
        for name, number in made.counts.items():
            say(f"  {name or 'tomogram'}: {counted(number, 'pick')}")
    if several:
        say(f"  together: {counted(total, 'pick')} of {counted(len(made.counts), 'tomogram')}")
    shown = made.notes if verbose() else made.notes[:NOTES]
    for note in shown:
        say(f"  {note}")
    if more := len(made.notes) - len(shown):
        say(f"  {counted(more, 'more note')}; -v shows them, and the picks of each tomogram")


@command.command(
    "convert",
    examples=(
        "volengine picks convert picks.tbl --out TS_01.star --to relion5 --volume TS_01.mrc",
        "volengine picks convert picks.csv --out run1_optimisation_set.star --pixel-size 1.35",
        "volengine picks convert particles.star --out copick/ --to copick",
    ),
    sections=INPUT | WRITTEN,
)
@tables_and_out()
@recipe_options(PicksConvertRecipe, formats=NAMES)
def convert(files: tuple[str, ...], out: str, **values: Any) -> None:
    """The picks of a file in another format; volengine picks --help lists the formats.

    A file ..._optimisation_set.star is a set that RELION 5 opens, with its particles and tomograms beside it.
    """
    from volengine.tasks.picks.convert import convert_picks

    _say(convert_picks(files[0], out, from_options(PicksConvertRecipe, values)))


@command.command(
    "merge",
    examples=("volengine picks merge a.star b.tbl c.csv --out all.star --spacing-nm 5",),
    sections=INPUT | {"What is written": (*WRITTEN["What is written"], "any_origin")},
)
@tables_and_out(most=None, metavar="FILE...")
@recipe_options(PicksMergeRecipe, formats=NAMES)
def merge(files: tuple[str, ...], out: str, **values: Any) -> None:
    """The picks of several files (also a glob in quotes) in one; those of the same tomogram become one table.

    With --spacing-nm, picks that are there twice are dropped. If two files number contours, filaments or labels in the
    same way, the numbers of the later one are raised, so that each means one thing.
    """
    from volengine.tasks.picks.convert import merge_picks

    _say(merge_picks(files, out, from_options(PicksMergeRecipe, values)))


@command.command(
    "filter",
    examples=(
        "volengine picks filter picks.star --out strong.star --min-weight 40",
        "volengine picks filter picks.star --out bound.star --mask membrane.mrc --number 500 --seed 1",
        "volengine picks filter picks.star --out far.star --near other.star --far-nm 20",
        "volengine picks filter all.star 'membrane.distance_nm < 15' --out near.star",
    ),
    sections=CONDITIONS | INPUT | {"What is written": ("out", "to", "pixel_size")},
)
@tables_and_out(metavar="FILE [CONDITION]", take=_take_condition)
@recipe_options(PicksFilterRecipe, formats=NAMES)
def filter_(files: tuple[str, ...], out: str, **values: Any) -> None:
    """The picks of a file that fulfil all conditions that are given, at least one.

    CONDITION is that of --where, on the columns of the table. A mask may have other voxels than the tomogram of the
    picks, if it has the same extent.
    """
    from volengine.tasks.picks.convert import filter_picks

    _say(filter_picks(files[0], out, from_options(PicksFilterRecipe, values)))


@command.command(
    "measure",
    examples=(
        "volengine picks measure picks.star --out measured.star --surface membrane=TS_01.surfaces",
        "volengine picks measure all.star --out all.csv --labels mitochondrion=labels/ --reach-nm 100",
        "volengine picks measure picks.star --out deep.star --lamella TS_01.mrc --neighbours-nm 30",
        "volengine picks measure picks --out measured/ --to relion --surface membrane=sets --workers 4",
        "volengine picks measure manifest.csv --results results --out measured --probability membrane",
    ),
    sections=AROUND | INPUT | WRITTEN,
)
@tables_and_out(most=None, metavar="FILE...")
@recipe_options(PicksMeasureRecipe, formats=NAMES, leave_out=("overwrite",))
@recipe_options(RunOptions, leave_out=NO_NETWORK)
def measure(files: tuple[str, ...], out: str, **values: Any) -> None:
    """The picks of a file with what surrounds each, as columns: surfaces, labels, the lamella, other picks.

    FILE are files of picks of one or many tomograms, globs, or folders of them, such as that of a run; or the manifest
    of a collection, with the --results of its run. Names of volumes and surfaces say of which tomogram they are, so
    that a folder of them serves all tomograms. picks filter chooses picks by these columns.
    """
    from volengine.tasks.collection.measured import measured_case

    options = from_options(RunOptions, values)
    case = measured_case(files, out, from_options(PicksMeasureRecipe, values), options)
    report = reported(case.jobs(), case.run_dir, options)
    if report is None:
        return
    for made in case.finish(report):
        _say(made)
    for label in case.empty():
        click.echo(f"Warning: {label}: the table has no picks; nothing was measured.", err=True)
    for said in case.unwritten:
        click.echo(f"Warning: {said}", err=True)
    report.check()


@command.command(
    "extract",
    examples=("volengine picks extract picks.star TS_01.mrc --out ribosomes.mrc --box 64",),
    sections=dict.fromkeys(INPUT, ("read_as", "tomogram", "voxel_size")),
)
@tables_and_out(
    help=".mrc: a stack of volumes; .zarr: an image with a channel for each. [required]",
    least=2,
    most=2,
    metavar="FILE VOLUME",
)
@recipe_options(PicksExtractRecipe, formats=NAMES)
def extract(given: tuple[str, str], out: str, **values: Any) -> None:
    """Subvolumes of a VOLUME around the picks of a file, as they are.

    A table of the picks, in the same order, is written beside them (.csv).
    """
    from volengine.tasks.picks.extract import extract_picks

    recipe = from_options(PicksExtractRecipe, values)
    made = extract_picks(*given, out, recipe)
    say(f"{made.file}: {counted(made.number, 'subvolume')} of {recipe.box} voxels; their picks: {made.table}")
    if made.dropped:
        say(f"  {counted(made.dropped, 'pick', 'is', 'are')} left out, whose box reaches beyond the volume")
    for note in made.notes:
        say(f"  {note}")


@command.command("info", examples=("volengine picks info picks.star other.tbl --json",), sections=INPUT)
@click.argument("sources", nargs=-1, required=True, metavar="FILE...")
@recipe_options(PicksRecipe, formats=NAMES)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def info(sources: tuple[str, ...], as_json: bool, **values: Any) -> None:
    """What files of picks hold: format, tomograms, number of picks, columns, ranges of positions and weights."""
    from volengine.tasks.picks.info import picks_info

    recipe = from_options(PicksRecipe, values)
    found = [picks_info(source, recipe) for source in dict.fromkeys(globbed(sources))]
    if as_json:
        click.echo(to_json(found if len(found) > 1 else found[0]))
        return
    for facts in found:
        click.echo(f"{facts['file']}: {facts['about']}")
        for one in facts["tomograms"]:
            click.echo(f"  {one.pop('name') or 'tomogram'}: {counted(one.pop('picks'), 'pick')}")
            for key, value in one.items():
                if value not in ("", []):
                    click.echo(f"    {key.replace('_', ' ')}: {_shown(value)}")


def _shown(value: Any) -> str:
    if value is None:
        return "not in the file"
    if isinstance(value, list):
        return ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in value)
    return str(value)
