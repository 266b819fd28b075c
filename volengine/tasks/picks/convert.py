"""Picks from one format into another, several files into one, and some picks of a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.conditions import fulfils
from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.paths import PathLike, PathsLike, path_text, path_texts
from volengine.core.picks import Picks
from volengine.core.text import counted
from volengine.core.units import NM_TO_ANGSTROM
from volengine.core.volume import Vector3
from volengine.io.names import another_of_series, same_tomogram
from volengine.ops.suppress import suppress
from volengine.tasks.common.inputs import globbed
from volengine.tasks.common.lying import Asked, check_extent, lattice_of, table_on
from volengine.tasks.picks.masks import in_mask
from volengine.tasks.picks.numbering import renumbered, with_features, with_names
from volengine.tasks.picks.recipe import PicksConvertRecipe, PicksFilterRecipe, PicksMergeRecipe
from volengine.tasks.picks.tables import Written, read_tables, with_same_columns, write_tables


def convert_picks(
    source: PathLike, out: PathLike, recipe: PicksConvertRecipe | Mapping[str, Any] | None = None
) -> Written:
    """Write the picks of a file in another format.

    Parameters
    ----------
    source
        A file of picks of any format.
    out
        The file to write, whose ending says the format; or a folder, for a file of each tomogram.
    recipe
        What the source does not state, and the format.

    Returns
    -------
    Written
        The files, the number of picks of each tomogram, and what the format does not hold. The files were written and
        read once before, elsewhere: a format that would move, turn or lose picks is refused.

    Raises
    ------
    MissingError, FormatError
        The source does not exist, is damaged, or is no file of picks.
    InputError
        A fact is missing, a file exists, or the format cannot hold the picks.

    Examples
    --------
    >>> from volengine.tasks.picks.convert import convert_picks
    >>> made = convert_picks("TS_01__ribosome.star", "TS_01__ribosome.tbl", {"volume": "TS_01.ome.zarr"})
    >>> made.format, made.counts
    ('dynamo', {'TS_01': 2})
    """
    recipe = PicksConvertRecipe.of(recipe)
    tables, notes = read_tables(path_text(source), recipe)
    tables, more = spaced(tables, recipe.spacing_nm)
    return write_tables(path_text(out), tables, recipe, [*notes, *more])


def merge_picks(
    sources: PathsLike, out: PathLike, recipe: PicksMergeRecipe | Mapping[str, Any] | None = None
) -> Written:
    """Join the picks of several files. Picks of the same tomogram become one table, in the order of the files.

    Numbers of contours, filaments and labels that two files have are raised in the later file, see
    :mod:`volengine.tasks.picks.numbering`.

    Parameters
    ----------
    sources
        Files of picks of any formats, or globs. A file that is named twice is read once.
    out
        The file to write, or a folder.
    recipe
        What the sources do not state, the format, and the spacing that doubles must keep.

    Raises
    ------
    MissingError, FormatError
        A source does not exist, is damaged, or is no file of picks.
    InputError
        Two sources state different origins of a tomogram, or what :func:`convert_picks` refuses.
    """
    recipe = PicksMergeRecipe.of(recipe)
    groups: dict[str, list[tuple[str, Picks]]] = {}
    notes: list[str] = []
    for path in dict.fromkeys(globbed(path_texts(sources))):
        tables, more = read_tables(path, recipe)
        notes += more
        for one in tables:
            name = same_tomogram(one.tomogram, groups) or one.tomogram
            groups.setdefault(name, []).append((path, one))
    if not groups:
        raise MissingError("There are no files of picks to join.")
    asked = Asked(recipe.mask_grid, recipe.any_origin)
    joined = [_joined(name, group, notes, asked) for name, group in groups.items()]
    if any("feature" in one.extra for one in joined):
        joined = with_features(joined)
    joined, more = spaced(joined, recipe.spacing_nm)
    return write_tables(path_text(out), joined, recipe, [*notes, *more])


def _joined(name: str, group: Sequence[tuple[str, Picks]], notes: list[str], asked: Asked) -> Picks:
    """One table of the picks of several, on the grid of the first; columns that not all have are left out.

    What there is to say about grids, origins and columns is added to the notes.
    """
    (where, first), *others = group
    mine, offsets = lattice_of(first, where), [(0.0, 0.0, 0.0)]
    for path, one in others:
        lies = table_on(mine, lattice_of(one, path), asked)
        offsets.append(lies.grid.offset)
        notes += lies.notes
    if any(one.voxel_size != first.voxel_size and one.size_vox is not None for _, one in group):
        notes.append(f"{name}: dropped, because it counts voxels of several sizes: size_vox.")
        group = [(path, one.with_(size_vox=None)) for path, one in group]
    named = with_features(with_names(renumbered(group, notes)))
    tables, lost = with_same_columns(named)
    if lost:
        notes.append(f"{name}: dropped, because not all of its files have it: {', '.join(lost)}.")
    size = np.asarray(first.voxel_size)
    columns = {key: np.concatenate([one.columns[key] for one in tables]) for key in tables[0].columns}
    columns["position_vox"] = np.concatenate(
        [
            one.position_vox if one.voxel_size == first.voxel_size else (one.place + offset) / size
            for one, offset in zip(tables, offsets, strict=True)
        ]
    )
    facts = first.facts()
    shaped = [(path, one) for path, one in group if one.shape is not None]
    for path, one in shaped[1:]:
        check_extent(lattice_of(shaped[0][1], shaped[0][0]), lattice_of(one, path))
    shape = next((one.shape for _, one in shaped if one.voxel_size == first.voxel_size), None)
    facts |= {"tomogram": name, "shape": shape}
    if len({one.feature for one in tables}) > 1:
        facts["feature"] = ""
    return Picks.from_table(columns, facts)


def spaced(tables: Sequence[Picks], spacing_nm: float) -> tuple[list[Picks], list[str]]:
    """The picks that keep a spacing (0: all), those of higher weight first, and what there is to say about it."""
    if not spacing_nm:
        return list(tables), []
    kept = [one[_keeps_spacing(one, spacing_nm)] for one in tables]
    gone = sum(map(len, tables)) - sum(map(len, kept))
    return kept, [f"{counted(gone, 'pick', 'was', 'were')} closer than {spacing_nm:g} nm to one of higher weight."]


def _keeps_spacing(picks: Picks, spacing_nm: float) -> NDArray[np.bool_]:
    weight = np.zeros(len(picks)) if picks.weight is None else np.nan_to_num(picks.weight, nan=-np.inf)
    order = np.argsort(-weight, kind="stable")
    kept = np.zeros(len(picks), bool)
    kept[order] = suppress(picks.place[order], spacing_nm * NM_TO_ANGSTROM)
    return kept


# Filter ------------------------------------------------------------------------------------------------------------


def filter_picks(
    source: PathLike, out: PathLike, recipe: PicksFilterRecipe | Mapping[str, Any] | None = None
) -> Written:
    """Write the picks of a file that fulfil all conditions. Order and columns are kept.

    Parameters
    ----------
    source
        A file of picks of any format.
    out
        The file to write, or a folder.
    recipe
        The conditions. Spacing comes last but for the drawing, so a pick that is dropped suppresses nothing.

    Returns
    -------
    Written
        As of :func:`convert_picks`; a note of each condition says how many picks it has dropped.

    Raises
    ------
    MissingError, FormatError
        A file does not exist, is damaged, or is no file of picks.
    InputError
        A condition needs weights that there are not, or a volume of another extent or of one of several tomograms, or
        there are no other picks of a tomogram; or what :func:`convert_picks`
        refuses.
    """
    recipe = PicksFilterRecipe.of(recipe)
    tables, notes = read_tables(path_text(source), recipe)
    notes += _check_mask(path_text(source), tables, recipe)
    kept = []
    for one in tables:
        picks, more = _filtered(one, recipe, itself=_same_file(source, recipe.near), alone=len(tables) == 1)
        kept.append(picks)
        notes += more
    return write_tables(path_text(out), kept, recipe, notes)


def _same_file(source: PathLike, near: str | None) -> bool:
    """Whether the other file of picks is the one that is filtered."""
    try:
        return near is not None and Path(near).samefile(path_text(source))
    except (OSError, ValueError):  # what cannot be looked at is no file, or in the cloud: the reader says so
        return False


def _filtered(picks: Picks, recipe: PicksFilterRecipe, *, itself: bool, alone: bool) -> tuple[Picks, list[str]]:
    notes: list[str] = []

    def keep(mask: NDArray[np.bool_], why: str) -> None:
        nonlocal picks
        if not mask.all():
            notes.append(f"{picks.tomogram}: {int((~mask).sum())} of {len(mask)} picks dropped: {why}.")
        picks = picks[mask]

    if recipe.min_weight is not None or recipe.max_weight is not None:
        if picks.weight is None:
            raise InputError(f"The picks of {picks.tomogram!r} have no weights.")
        low, high = recipe.min_weight, recipe.max_weight
        least, most = -np.inf if low is None else low, np.inf if high is None else high
        keep(
            np.asarray([least <= weight <= most for weight in picks.weight.tolist()], bool),
            f"weight not from {'any' if low is None else low} to {'any' if high is None else high}",
        )
    if recipe.region is not None:
        start, stop = np.array(recipe.region[:3]) - 0.5, _stop(recipe.region[3:], picks) - 0.5
        inside = (picks.position_vox >= start) & (picks.position_vox < stop)
        keep(np.asarray(inside.all(axis=1)), "outside of the region")
    if recipe.mask is not None:
        keep(in_mask(picks, recipe, notes), "inside of the mask" if recipe.outside else "outside of the mask")
    if recipe.near is not None:
        keep(
            _at_distance(picks, recipe, notes, itself=itself, alone=alone),
            f"too far from, or too near to, the {'other ' * itself}picks of {recipe.near}",
        )
    if recipe.where is not None:
        keep(_fulfils(picks, recipe.where), f"not {recipe.where}")
    if recipe.spacing_nm:
        keep(_keeps_spacing(picks, recipe.spacing_nm), f"closer than {recipe.spacing_nm:g} nm to one of higher weight")
    if recipe.number is not None and recipe.number < len(picks):
        chosen = np.zeros(len(picks), bool)
        chosen[np.random.default_rng(recipe.seed).permutation(len(picks))[: recipe.number]] = True
        keep(chosen, f"not drawn (seed {recipe.seed})")
    return picks, notes


def _fulfils(picks: Picks, where: str) -> NDArray[np.bool_]:
    """Which picks fulfil a condition on the columns of their table, as CSV names them."""
    names = {name: np.full(len(picks), getattr(picks, name)) for name in ("tomogram", "feature")}
    return fulfils(where, {**names, **picks.flat()}, len(picks))


def _stop(stop: Sequence[int], picks: Picks) -> NDArray[np.float64]:
    """Where a region ends, voxels z, y, x; -1 is the end of the tomogram, which is nowhere if it is not known."""
    ends = (np.inf,) * 3 if picks.shape is None else picks.shape
    return np.array([end if v == -1 else v for v, end in zip(stop, ends, strict=True)], float)


def _check_mask(source: str, tables: Sequence[Picks], recipe: PicksFilterRecipe) -> list[str]:
    """Refuse a mask for picks of several tomograms, or of another one than the mask is of; say where names differ.

    A tomogram that is named counts as the user's word that a mask of another name is on its grid, but not if the file
    has picks of the mask's tomogram, too: then the name only chooses between them.
    """
    from volengine.tasks.common.named import feature_of, open_sized, tomogram_in
    from volengine.tasks.picks.surroundings import of_another

    if recipe.mask is None or not tables:
        return []
    names = [one.tomogram for one in tables]
    if len(names) > 1:
        raise InputError(
            f"{recipe.mask} is a mask of one tomogram, and there are picks of {len(names)} ({', '.join(names[:8])}); "
            "choose one with --tomogram."
        )
    volume = open_sized(recipe.mask, tables[0].voxel_size)
    feature = feature_of(volume)
    mine, name = names[0], tomogram_in(volume.name, feature)
    if not mine or same_tomogram(mine, [name]) or not (feature or of_another(mine, name)):
        return []  # a name such as "mask" says no tomogram
    both = f"The picks are of {mine!r}, and the mask {recipe.mask} is of {name!r}"
    if recipe.tomogram is None and of_another(mine, name):
        raise InputError(f"{both}; if it is on their grid, give --tomogram {mine}.")
    if recipe.tomogram is not None:
        every = [one.tomogram for one in read_tables(source, recipe.with_(tomogram=None))[0]]
        if len(every) > 1 and same_tomogram(name, every):
            raise InputError(f"{both}, of which the file has picks, too; give that of {mine!r}, or choose {name!r}.")
    return [f"{both}."]


def _at_distance(
    picks: Picks, recipe: PicksFilterRecipe, notes: list[str], *, itself: bool, alone: bool
) -> NDArray[np.bool_]:
    """Whether the distance to the nearest pick of the other file is wanted; notes say if grids or origins differ.

    If it is the file of the picks (``itself``), a pick is not its own neighbour.

    The other file's only tomogram may have another name if the picks are of one tomogram, too (``alone``): many files
    have no names. It must not be another one of the same series, unless the user has said which tomogram is meant.
    """
    from scipy.spatial import cKDTree

    assert recipe.near is not None
    placed = any(picks.origin) or recipe.volume is not None
    tables = _as_stated(recipe.near, recipe, picks, picks.origin if placed else None)
    by_name = {one.tomogram: one for one in tables}
    name = same_tomogram(picks.tomogram, by_name)
    another = recipe.tomogram is None and any(another_of_series(picks.tomogram, one) for one in by_name)
    if name is None and (len(by_name) > 1 or not alone or another):
        raise InputError(f"{recipe.near} has no picks of {picks.tomogram!r}; there are {', '.join(list(by_name)[:8])}.")
    others = by_name[name] if name is not None else next(iter(by_name.values()))
    asked = Asked(recipe.mask_grid, recipe.any_origin)
    reach = min(d for d in (recipe.near_nm, recipe.far_nm) if d is not None)
    lies = table_on(lattice_of(picks, picks.tomogram), lattice_of(others, recipe.near), asked, reach)
    notes += lies.notes
    if not len(others):
        return np.full(len(picks), recipe.near_nm is None)
    neighbour = 2 if itself else 1
    apart = cKDTree(others.place + lies.grid.offset).query(picks.place, [neighbour])[0][:, 0] / NM_TO_ANGSTROM
    near = np.inf if recipe.near_nm is None else recipe.near_nm
    far = 0.0 if recipe.far_nm is None else recipe.far_nm
    kept: NDArray[np.bool_] = (apart <= near) & (apart >= far)
    return kept


def _as_stated(path: str, recipe: PicksFilterRecipe, picks: Picks, origin: Vector3 | None) -> list[Picks]:
    """The tables of the other file in the voxels that it states; if it does not say all of them, in those of picks.

    Where the user says the voxels of the picks, pixels without a shape are turned into these, as those of the picks
    were.
    """
    own = recipe.with_(read_as=None, volume=None, tomogram=None, voxel_size=None, shape=None, pixel_size=None)
    try:
        tables = read_tables(path, own, origin)[0]
        said = recipe.voxel_size is not None or recipe.volume is not None
        if not said or all(one.shape is not None for one in tables):
            return tables
    except (FormatError, MissingError):
        raise
    except InputError:
        pass
    return read_tables(path, own.with_(voxel_size=picks.voxel_size, shape=picks.shape), origin)[0]
