"""Reading tables of picks with what the user states, and writing them such that they are known to come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.picks import EXTRA, Picks
from volengine.core.volume import Vector3, Volume
from volengine.io.copick.target import Target, check_own, is_target
from volengine.io.names import another_of_series, same_tomogram
from volengine.io.picks.known import Known
from volengine.tasks.common.layout import feature_named, file_name
from volengine.tasks.common.named import feature_in, feature_of, open_sized, tomogram_in
from volengine.tasks.common.origins import from_first_note, origins_note, outside_note
from volengine.tasks.common.picks_lost import lost_by
from volengine.tasks.picks.recipe import PicksConvertRecipe, PicksRecipe


@dataclass(frozen=True)
class Written:
    """What was written.

    Parameters
    ----------
    format
        Name of the format.
    files
        The files.
    counts
        Number of picks of each tomogram.
    notes
        Sentences for the user: what the format does not hold, what was assumed.
    """

    format: str
    files: tuple[str, ...]
    counts: dict[str, int]
    notes: tuple[str, ...] = ()


def read_tables(path: str, recipe: PicksRecipe, volume_origin: Vector3 | None = None) -> tuple[list[Picks], list[str]]:
    """Read the picks of a file.

    Parameters
    ----------
    path
        The file.
    recipe
        What the file does not state.
    volume_origin
        The origin of the tomogram, where no volume is given and neither recipe nor file states one.

    Returns
    -------
    The picks of each tomogram, and notes for the user.

    Raises
    ------
    MissingError, FormatError
        The file, or the volume, does not exist or is damaged.
    InputError
        A fact is missing, or there is no tomogram of the name.
    """
    from volengine.io.stores import local_copy

    size = triple(recipe.voxel_size)
    volume = None if recipe.volume is None else open_sized(recipe.volume, size)
    with local_copy(path) as file:
        try:
            tables, notes = _read(file, recipe, volume, size, volume_origin)
            return shaped_in_project(path, tables), notes
        except (FormatError, MissingError):
            raise
        except InputError as error:
            pixel = getattr(recipe, "pixel_size", None)
            unsized = volume is None and size is None and "does not say the voxel size" in str(error)
            if pixel is None or not unsized:
                raise
            tables, notes = _read(file, recipe, None, (pixel,) * 3, volume_origin)
            return tables, [*notes, f"The file states no voxel size: coordinates were taken for voxels of {pixel:g} A."]


def shaped_in_project(path: str, tables: Sequence[Picks]) -> list[Picks]:
    """Give picks of a copick project, which state no shape, that of their run's tomograms of the same voxel size."""
    from volengine.io.copick.config import is_project, read_project
    from volengine.io.copick.contents import items_of
    from volengine.io.names import project_and_choice
    from volengine.io.open import open_volume

    where, choice = project_and_choice(path)
    if not (choice or is_project(where)) or all(one.shape for one in tables):
        return list(tables)
    there = [item for item in items_of(read_project(where)) if item.kind == "tomogram"]
    shaped = []
    for one in tables:
        fit = [i for i in there if i.run == one.tomogram and i.spacing and abs(i.spacing - one.voxel_size[0]) < 1e-3]
        shapes = {open_volume(item.path, identity="metadata").shape for item in fit} if one.shape is None else set()
        shaped.append(one.with_(shape=next(iter(shapes))) if len(shapes) == 1 else one)
    return shaped


def triple(size: float | Vector3 | None) -> Vector3 | None:
    """Return a voxel size as z, y, x."""
    return (size,) * 3 if isinstance(size, float) else size


def _read(
    file: Path, recipe: PicksRecipe, volume: Volume | None, size: Vector3 | None, volume_origin: Vector3 | None
) -> tuple[list[Picks], list[str]]:
    from volengine.io.picks import read_all, read_picks
    from volengine.io.picks.rows import numbers_hint

    if volume is None:
        known = Known(size, recipe.origin, recipe.shape, volume_origin=volume_origin)
        unplaced = recipe.origin is None and volume_origin is None
        notes = list(filter(None, [from_first_note(file, recipe.read_as) if unplaced else ""]))
        if recipe.tomogram is None:
            return list(_named(file, recipe, known, read_all(file, recipe.read_as, **known.grid)).values()), notes
        return [read_picks(file, recipe.read_as, **known.grid, tomogram=recipe.tomogram)], notes
    known = Known(size or volume.voxel_size, recipe.origin, volume.shape, volume_origin=volume.origin)
    name = tomogram_in(volume.name, feature_of(volume))
    found = _named(file, recipe, known, read_all(file, recipe.read_as, **known.grid))
    wanted = recipe.tomogram or name
    chosen = next(iter(found)) if len(found) == 1 else same_tomogram(wanted, found)
    named = recipe.tomogram is not None and same_tomogram(recipe.tomogram, [name]) is not None
    if recipe.tomogram is not None and not named and chosen is not None and not same_tomogram(wanted, [chosen]):
        notes = []
        picks = read_picks(file, recipe.read_as, **known.grid, tomogram=wanted)
        return [_on(volume, picks, recipe, notes)], notes
    if chosen is None:
        raise InputError(
            f"{file} has picks of {len(found)} tomograms ({', '.join(list(found)[:8])}), and none of them is "
            f"{wanted!r}; choose one with --tomogram.{numbers_hint(file, found)}"
        )
    if recipe.tomogram is None and another_of_series(chosen, name):
        raise InputError(
            f"{file} has picks of {chosen!r}, and the volume is {name!r}; if they belong to it, give --tomogram."
        )
    numbered = chosen.isdigit() and chosen == recipe.tomogram  # which says which rows, and is no name
    given = name if recipe.tomogram is None or numbered else recipe.tomogram
    notes = [] if same_tomogram(chosen, [given]) else [f"The picks of {chosen!r} are written as those of {given!r}."]
    return [_on(volume, found[chosen], recipe, notes).with_(tomogram=given)], notes


def _named(file: Path, recipe: PicksRecipe, known: Known, found: dict[str, Picks]) -> dict[str, Picks]:
    """The tables of a file; of one that names no tomogram, and is called ``TOMOGRAM__FEATURE``, with these names."""
    from volengine.io.picks.of_volumes import names_tomograms

    feature = feature_in(file.stem)
    if list(found) != [file.stem] or not feature or found[file.stem].feature not in ("", feature):
        return found
    if names_tomograms(file, recipe.read_as, known):
        return found
    name = feature_named(tomogram_in(file.stem, feature))  # names of tomograms are written into names of files alike
    return {name: found[file.stem].with_(tomogram=name, feature=feature)}


def _on(volume: Volume, picks: Picks, recipe: PicksRecipe, notes: list[str]) -> Picks:
    """The picks with the origin of their volume; notes say if they stated another one."""
    if recipe.origin is not None or not any(volume.origin):
        return picks
    stated = ("the table", picks.origin, picks.voxel_size)
    said = origins_note(stated, (Path(volume.url).name, volume.origin, volume.voxel_size), accept=True)
    notes += [said] * bool(said)
    return picks.with_(origin=volume.origin)


# Writing -----------------------------------------------------------------------------------------------------------


def write_tables(out: str, tables: Sequence[Picks], recipe: PicksConvertRecipe, notes: Sequence[str] = ()) -> Written:
    """Write picks, after the same files were written elsewhere, read again and compared.

    Parameters
    ----------
    out
        The file; or a folder (that exists, or ends with ``/``), for a file ``TOMOGRAM__FEATURE`` of each tomogram; or a
        copick project (:mod:`volengine.io.copick.target`), for a file in each run.
    tables
        One table of picks per tomogram.
    recipe
        The format, and whether files may be replaced.
    notes
        Sentences that go before those about the writing.

    Raises
    ------
    InputError
        A file exists, the format cannot hold the picks, or would move or turn them.
    """
    from volengine.io.picks import ending_of, format_of, replaced_beside, write_picks
    from volengine.io.picks.formats import FORMATS

    if is_target(out):
        return _into_project(out, tables, recipe, notes)
    folder = out.endswith("/") or Path(out).is_dir()
    if folder and recipe.to is None:
        raise InputError(f"{out} is a folder; say which format its files have (--to, one of {', '.join(FORMATS)}).")
    format = format_of(f"a{ending_of(recipe.to)}" if folder else out, recipe.to)
    if not tables:
        raise InputError(f"There are no picks to write into {out}.")
    if FORMATS[format].shaped and any(one.shape is None for one in tables):
        raise InputError(f"{format} needs the shape of the tomogram: give --volume, or --shape (z, y, x).")
    if not folder and not FORMATS[format].several and len(tables) > 1:
        raise InputError(
            f"{out}: a file of {format} holds one tomogram, and there are {len(tables)}; give a folder ({out}/) or "
            "choose one with --tomogram."
        )
    pixel = recipe.pixel_size if FORMATS[format].counts_pixels else None
    fitting, lost = _fitting(tables, format, FORMATS[format].endings[0])
    jobs = [(_file(out, one, format), [one]) for one in fitting] if folder else [(Path(out), fitting)]
    found = [dict.fromkeys(lost), *(dict.fromkeys(lost_by(rows, format, path, pixel)) for path, rows in jobs)]
    made: list[str] = []
    for path, rows in jobs:
        if path.exists() and not recipe.overwrite:
            raise InputError(f"{path} exists; give another name or --overwrite.")
        beside = [] if recipe.overwrite else replaced_beside(path, rows, format, pixel_size=pixel)
        if beside:
            raise InputError(
                f"{beside[0]} exists, and would be written beside {path}, because {format} needs it; give another name "
                "or --overwrite."
            )
        if [str(path) for path, _ in jobs].count(str(path)) > 1:
            raise InputError(f"Two tomograms would be written to {path}; rename one.")
    if folder:
        Path(out).mkdir(parents=True, exist_ok=True)
    for path, rows in jobs:
        write_picks(path, rows, format, pixel_size=pixel)
        made.append(str(path))
    said = [*notes, *filter(None, map(outside_note, tables)), *dict.fromkeys(line for lines in found for line in lines)]
    if FORMATS[format].framed and recipe.origin is None and recipe.volume is None:
        said += [_unplaced_note(one, format) for one in fitting if len(one) and not any(one.origin)]
    return Written(format, tuple(made), {one.tomogram: len(one) for one in tables}, tuple(said))


def _unplaced_note(picks: Picks, format: str) -> str:
    """What there is to say of a format whose positions contain the origin, where none is known."""
    return (
        f"{format} counts from the origin, and none is known of {picks.tomogram or 'the tomogram'}: 0 was taken. If it "
        "has another, give --volume or --origin."
    )


def _into_project(out: str, tables: Sequence[Picks], recipe: PicksConvertRecipe, notes: Sequence[str]) -> Written:
    """Write picks into a copick project, a file for each run."""
    from volengine.io.picks import registry, write_picks

    if recipe.to is not None and registry.known_as(recipe.to) != "copick":
        raise InputError(f"{out} is a copick project, whose picks are of the format copick, not {recipe.to}.")
    if not tables:
        raise InputError(f"There are no picks to write into {out}.")
    target = Target.of(out)
    fitting, lost = _fitting(tables, "copick", ".json")
    jobs: list[tuple[Path, Picks]] = []
    for one in fitting:
        path = target.picks_file(one.tomogram, one.feature)
        check_own(path)
        if path.exists() and not recipe.overwrite:
            raise InputError(f"{path} exists; choose another user= or session=, or give --overwrite.")
        if path in [other for other, _ in jobs]:
            raise InputError(f"Two tables would be written to {path}; choose one with --tomogram.")
        mine = one.with_(tomogram=target.run_of(one.tomogram), feature=target.object_of(one.feature))
        jobs.append((path, mine))
    found = [dict.fromkeys(lost), *(dict.fromkeys(lost_by([one], "copick", path, None)) for path, one in jobs)]
    for path, one in jobs:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_picks(path, one, "copick")
    said = [*notes, *filter(None, map(outside_note, tables)), *dict.fromkeys(line for lines in found for line in lines)]
    counts = {one.tomogram: len(one) for _, one in jobs}
    return Written("copick", tuple(str(path) for path, _ in jobs), counts, tuple(said))


def _file(out: str, picks: Picks, format: str) -> Path:
    from volengine.io.picks import ending_of
    from volengine.io.picks.formats import FORMATS

    feature = f"__{file_name(picks.feature)}" if picks.feature else ""
    ending = FORMATS[format].of_tomogram or f"{feature}{ending_of(format)}"
    return Path(out) / f"{file_name(picks.tomogram or 'picks')}{ending}"


def with_same_columns(tables: Sequence[Picks]) -> tuple[list[Picks], list[str]]:
    """Return tables with the columns that all of them have, and the names of the others.

    A table without picks says nothing of its columns: it gets those of the others, and takes none from them.

    >>> import numpy as np
    >>> one, none = Picks([[1, 2, 3]], (10, 10, 10), weight=[0.5]), Picks(np.zeros((0, 3)), (10, 10, 10))
    >>> [sorted(picks.columns) for picks in with_same_columns([none, one])[0]]
    [['position_vox', 'weight'], ['position_vox', 'weight']]
    """
    full = [one for one in tables if len(one)] or list(tables)
    common = [name for name in full[0].columns if all(name in one.columns for one in full)]
    others = {name.removeprefix(EXTRA) for one in full for name in one.columns if name not in common}
    columns = [one.columns if len(one) else {name: full[0].columns[name][:0] for name in common} for one in tables]
    chosen = [{name: values[name] for name in common} for values in columns]
    made = [Picks.from_table(values, one.facts()) for values, one in zip(chosen, tables, strict=True)]
    return made, sorted(others)


def _fitting(tables: Sequence[Picks], format: str, ending: str) -> tuple[list[Picks], list[str]]:
    """The tables with the columns that all of them have and that the format does not refuse, and notes about others."""
    notes = []
    tables, some = with_same_columns(tables)
    if some:
        notes.append(f"Dropped, because not all tomograms have it: {', '.join(some)}.")
    common = set(tables[0].columns)
    extra = {name.removeprefix(EXTRA) for name in common if name.startswith(EXTRA)}
    refused = {name for one in tables for name in extra if _refuses(one, name, format, ending)}
    if refused:
        notes.append(f"Dropped, because {format} keeps the name for something else: {', '.join(sorted(refused))}.")
    kept = [name for name in tables[0].columns if name.removeprefix(EXTRA) not in refused]
    return [Picks.from_table({name: one.columns[name] for name in kept}, one.facts()) for one in tables], notes


def _refuses(picks: Picks, name: str, format: str, ending: str) -> bool:
    """Whether the format cannot hold an extra column because of its name or its texts."""
    from volengine.io.picks import check_picks

    bare = Picks(picks.position_vox, (1.0, 1.0, 1.0), shape=(1, 1, 1), tomogram="t")
    check_picks(f"a{ending}", bare, format)
    try:
        check_picks(f"a{ending}", bare.with_(extra={name: picks.extra[name]}), format)
    except InputError:
        return True
    return False
