"""``convert --montage``: each section of a montage of SerialEM, or a list of tiles, becomes one store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from volengine.core.errors import InputError, VolengineError
from volengine.engine.options import RunOptions
from volengine.io.copick.target import is_target
from volengine.io.montage.find import find_montage
from volengine.io.montage.pieces import Montage
from volengine.io.mrc.open import open_mrc
from volengine.io.names import MRC_SUFFIXES, is_packed, suffix_of
from volengine.tasks.common.inputs import expand
from volengine.tasks.common.jobs import Request, Verb
from volengine.tasks.common.layout import join_url
from volengine.tasks.convert.montage_plan import plan_montage
from volengine.tasks.convert.mosaic import Mosaic, mosaic_of
from volengine.tasks.convert.recipe import ConvertRecipe
from volengine.tasks.convert.tiles import is_list_of_tiles, mosaic_of_tiles


@dataclass(frozen=True)
class Section:
    """What one store is made of: a section of a montage; ``None`` for all of a source that has no sections."""

    source: str
    section: int | None = None


def sections_of(sources: Iterable[str], recipe: ConvertRecipe) -> dict[str, Section]:
    """Return the sections of montages, by labels for messages.

    A source that cannot be read gets one entry, whose job will say why.

    Parameters
    ----------
    sources
        MRC files, folders, globs, and lists of tiles.
    recipe
        May choose one section.
    """
    found: dict[str, Section] = {}
    for given in sources:
        for source in [given] if is_list_of_tiles(given) else expand([given]):
            try:
                montage = None if is_list_of_tiles(source) else _montage(source, recipe)
                chosen = () if montage is None else _chosen(montage, recipe)
            except (VolengineError, OSError):
                chosen = ()
            found |= {f"{source} section {n}": Section(source, n) for n in chosen} or {source: Section(source)}
    return found


def request(
    given: Section, out: str, recipe: ConvertRecipe, options: RunOptions
) -> Request[Mosaic, ConvertRecipe, str]:
    """Open one section (metadata only); its store is ``out`` itself, or ``<name>.ome.zarr`` in the folder ``out``."""
    if is_target(out):
        raise InputError(f"--out {out}: montages do not go into a copick project; give a folder, or a store.")
    if is_list_of_tiles(given.source):
        mosaic = mosaic_of_tiles(given.source, recipe, options)
    else:
        montage = _montage(given.source, recipe)
        section = given.section if given.section is not None else _only(montage, recipe)
        volume = open_mrc(given.source, recipe.voxel_size, recipe.name, options.identity)
        mosaic = mosaic_of(montage, section, volume, recipe.montage_fill)
    store = out if MONTAGE.is_product(out) else join_url(out, f"{mosaic.name}.ome.zarr")
    return Request(mosaic.name, mosaic, recipe, store)


MONTAGE = Verb("convert", request, plan_montage, endings=(".zarr",))


def _montage(source: str, recipe: ConvertRecipe) -> Montage:
    """The pieces of a file, where they are to be put.

    Raises
    ------
    InputError
        It is no montage.
    """
    if suffix_of(source) not in MRC_SUFFIXES:
        raise InputError(
            f"{source}: montages are read from MRC files ({', '.join(MRC_SUFFIXES)}) and lists of tiles (.yaml)."
        )
    if is_packed(source):
        raise InputError(f"{source}: the pieces of a montage are not read from compressed files; unpack it first.")
    found = find_montage(source, pieces=recipe.pieces)
    if found is None:
        raise InputError(
            f"{source}: nothing says that it is a montage: its extended header has no coordinates of pieces, and there "
            "is no .mdoc of it with Montage = 1. Leave out --montage, or give its list of pieces: --pieces FILE.pl."
        )
    return found.at_aligned() if recipe.montage_shifts == "mdoc" else found


def _chosen(montage: Montage, recipe: ConvertRecipe) -> tuple[int, ...]:
    if recipe.montage_section is None:
        return montage.sections
    if recipe.montage_section not in montage.sections:
        some = ", ".join(map(str, montage.sections[:10])) + (", ..." if len(montage.sections) > 10 else "")
        raise InputError(f"{montage.path}: has no section {recipe.montage_section}; its sections are {some}.")
    return (recipe.montage_section,)


def _only(montage: Montage, recipe: ConvertRecipe) -> int:
    sections = _chosen(montage, recipe)
    if len(sections) > 1:
        raise InputError(
            f"{montage.path}: has {len(sections)} sections, {sections[0]} to {sections[-1]}, and each is a store of "
            "its own; say which one: montage_section=0."
        )
    return sections[0]
