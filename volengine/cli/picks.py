"""volengine picks"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from volengine.cli.command import Group
from volengine.cli.messages import say
from volengine.cli.options import from_options, recipe_options, source_and_out
from volengine.tasks.picks.recipe import PicksConvertRecipe, PicksExtractRecipe, PicksFilterRecipe, PicksRecipe

if TYPE_CHECKING:
    from volengine.tasks.picks.tables import Written


def _formats() -> str:
    from volengine.io.picks.formats import FORMATS

    return "\n".join(f"  {name:<12} {one.about}" for name, one in FORMATS.items())


OUT = "A file, or a folder (with / at its end) for a file of each tomogram."
CONVERT = "volengine picks convert TS_01.csv --volume TS_01.ome.zarr --out TS_01.star --to relion5"


@click.group(
    "picks",
    cls=Group,
    examples=("volengine picks info particles.star", CONVERT),
    epilog=f"\b\nFormats, for --to and --read-as:\n{_formats()}",
)
def command() -> None:
    """Tables of picks: from one format into another, joined, filtered, described; subvolumes at picks.

    Which format a file has is said by its ending and content; any of them is read, and written if its ending, or --to,
    says so.
    """


def _say(made: Written) -> None:
    total = sum(made.counts.values())
    for file in made.files:
        say(f"{file} ({made.format})")
    for name, number in made.counts.items():
        say(f"  {name or 'tomogram'}: {number} picks")
    if len(made.counts) > 1:
        say(f"  together: {total} picks of {len(made.counts)} tomograms")
    for note in made.notes:
        say(f"  {note}")


@command.command("convert", examples=("volengine picks convert a.tbl --out a.star", CONVERT))
@source_and_out(OUT)
@recipe_options(PicksConvertRecipe)
def convert(source: str, out: str, **values: Any) -> None:
    """The picks of the file SOURCE in another format.

    --out NAME_optimisation_set.star is a set that RELION 5 opens, with its particles and tomograms beside it.
    """
    from volengine.tasks.picks.convert import convert_picks

    _say(convert_picks(source, out, from_options(PicksConvertRecipe, values)))


@command.command("merge", examples=("volengine picks merge a.star b.star --out both.star --spacing-nm 10",))
@source_and_out(OUT, "sources", several=True)
@recipe_options(PicksConvertRecipe)
def merge(sources: tuple[str, ...], out: str, **values: Any) -> None:
    """The picks of several files SOURCES in one; those of the same tomogram become one table.

    With --spacing-nm, picks that are there twice are dropped.
    """
    from volengine.tasks.picks.convert import merge_picks

    _say(merge_picks(sources, out, from_options(PicksConvertRecipe, values)))


@command.command("filter", examples=("volengine picks filter a.star --out best.star --min-weight 0.5",))
@source_and_out(OUT)
@recipe_options(PicksFilterRecipe)
def filter_(source: str, out: str, **values: Any) -> None:
    """The picks of the file SOURCE that fulfil all conditions."""
    from volengine.tasks.picks.convert import filter_picks

    _say(filter_picks(source, out, from_options(PicksFilterRecipe, values)))


@command.command("extract", examples=("volengine picks extract a.star TS_01.ome.zarr --out boxes.mrc --box 32",))
@source_and_out("A stack of volumes (.mrc), or an OME-Zarr image (.zarr).", "source", "volume")
@recipe_options(PicksExtractRecipe)
def extract(source: str, volume: str, out: str, **values: Any) -> None:
    """Subvolumes of the VOLUME around the picks of the file SOURCE: a stack of volumes, or OME-Zarr.

    A table of the picks, in the same order, is written beside them (.csv).
    """
    from volengine.tasks.picks.extract import extract_picks

    recipe = from_options(PicksExtractRecipe, values)
    made = extract_picks(source, volume, out, recipe)
    say(f"{made.file}: {made.number} subvolumes of {recipe.box} voxels; their picks: {made.table}")
    if made.dropped:
        say(f"  {made.dropped} picks are left out, whose box reaches beyond the volume")


@command.command("info", examples=("volengine picks info particles.star",))
@click.argument("sources", nargs=-1, required=True)
@recipe_options(PicksRecipe)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def info(sources: tuple[str, ...], as_json: bool, **values: Any) -> None:
    """What files of picks hold: format, tomograms, number of picks, columns, ranges of positions and weights."""
    from volengine.tasks.picks.info import picks_info

    recipe = from_options(PicksRecipe, values)
    found = [picks_info(source, recipe) for source in sources]
    if as_json:
        click.echo(json.dumps(found if len(found) > 1 else found[0], indent=1))
        return
    for facts in found:
        click.echo(f"{facts['file']}: {facts['about']}")
        for one in facts["tomograms"]:
            click.echo(f"  {one.pop('name') or 'tomogram'}: {one.pop('picks')} picks")
            for key, value in one.items():
                if value not in ("", []):
                    click.echo(f"    {key.replace('_', ' ')}: {_shown(value)}")


def _shown(value: Any) -> str:
    if value is None:
        return "not in the file"
    if isinstance(value, list):
        return ", ".join(f"{v:g}" if isinstance(v, float) else str(v) for v in value)
    return str(value)
