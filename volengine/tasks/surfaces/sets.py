"""Finding the sets of surfaces that a command names, and the volumes and further sets of the tomogram of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from glob import glob, has_magic
from pathlib import Path

from volengine.core.errors import InputError, MissingError
from volengine.io.membrain_pick import SUFFIXES
from volengine.io.meshes import ENDINGS
from volengine.io.names import same_tomogram
from volengine.io.surfaces import ENDING, FACTS, open_surfaces
from volengine.tasks.common.inputs import expand
from volengine.tasks.common.named import feature_of, open_sized, tomogram_in
from volengine.tasks.common.unread import may_be_it, opened_beside

SHOWN = 8
"""Names that a message lists."""


def set_paths(given: Iterable[str]) -> list[str]:
    """The sets of surfaces that paths name: sets, mesh files, folders of mesh files, folders of sets, globs.

    Raises
    ------
    MissingError
        There is no such file or folder, or nothing matches a glob.
    """
    found: list[str] = []
    for item in given:
        if is_pattern(item):
            matches = sorted(glob(item))  # noqa: PTH207
            if not matches:
                raise MissingError(f"{item}: nothing matches.")
            found += matches
            continue
        found += sets_in(item) or [item]
    return list(dict.fromkeys(found))


def name_of_set(path: str) -> str:
    """Name of a set, without its ending: that of its plan, and of what is made of it in a folder."""
    place = Path(path.rstrip("/"))
    return place.stem if place.suffix.lower() in (ENDING, *ENDINGS, *SUFFIXES) else place.name


def names_many(given: str) -> bool:
    """Whether a path is a folder, a glob or a list of volumes, of which one is chosen by the name of its tomogram."""
    folder = Path(given).is_dir() and not given.rstrip("/").lower().endswith(".zarr")
    return folder or given.lower().endswith(".txt") or is_pattern(given)


def one_of(given: str, tomogram: str, option: str) -> str:
    """The volume that an option names for one tomogram: the file itself, or of a folder, glob or list that of its name.

    Parameters
    ----------
    given
        What the option says.
    tomogram
        Name of the tomogram of the surfaces; empty if it is not known: then a folder with one volume means it.
    option
        How messages name the option.

    Raises
    ------
    InputError
        A folder, glob or list has no volume of the tomogram, be it only one of another name, or several.
    VolengineError
        The one that has it cannot be opened.
    """
    if not names_many(given):
        return given
    paths = expand([given])
    if len(paths) == 1 and not tomogram:
        return paths[0]
    named: dict[str, list[tuple[str, str]]] = {}
    beside = opened_beside(paths, lambda path: open_sized(path, 1.0, "metadata"))
    for path, volume in beside.opened.items():
        feature = feature_of(volume)
        named.setdefault(tomogram_in(volume.name, feature), []).append((path, feature))
    fit = same_tomogram(tomogram, named)
    if fit is None:
        for lost in beside.unread:
            if same_tomogram(tomogram, [lost.tomogram]):
                raise lost.error
        raise InputError(
            f"{given} has no volume of tomogram {tomogram!r}, for {option}; it has {_those_of(named)}. Add it, or give "
            f"{option} the path of the file itself, if it is of this tomogram under another name."
            f"{may_be_it(beside.unread)}"
        )
    found = named[fit]
    if option == "--tomogram":  # predictions and labels may lie beside it
        found = [one for one in found if not one[1]] or found
    if len(found) > 1:
        raise InputError(
            f"{given} has {len(found)} volumes of tomogram {tomogram!r}, for {option}: "
            f"{', '.join(path for path, _ in found[:SHOWN])}. Give one of them, or a pattern that names one of each."
        )
    return found[0][0]


def others_of(given: Sequence[str], tomogram: str, own: str | Path) -> tuple[str, ...]:
    """Further sets: each that is named, and of a folder or glob those of the same tomogram.

    ``own`` is the set that is measured, which is never among them: it lies at the distance 0 of itself.

    Raises
    ------
    MissingError
        There is no such set.
    InputError
        None of a folder or glob is of the tomogram.
    VolengineError
        One of several that is of it by its name cannot be opened.
    """
    found: list[str] = []
    for item in given:
        paths = set_paths([item])
        if not (is_pattern(item) or sets_in(item)) or (len(paths) == 1 and not tomogram):
            found += paths
            continue
        beside = opened_beside(paths, open_surfaces)
        for lost in beside.unread:
            if same_tomogram(tomogram, [lost.tomogram]):
                raise lost.error
        whose = {path: one.facts.tomogram for path, one in beside.opened.items()}
        mine = [path for path in paths if path in whose and same_tomogram(tomogram, [whose[path]])]
        if not mine:
            raise InputError(
                f"{item} has no set of surfaces of tomogram {tomogram!r}, for --others; it has "
                f"{_those_of(dict.fromkeys(whose.values()))}. Add it, or give --others the path of the set itself, if "
                f"it is of this tomogram under another name.{may_be_it(beside.unread)}"
            )
        found += mine
    return tuple(path for path in found if Path(path).resolve() != Path(own).resolve())


def is_pattern(given: str) -> bool:
    """Whether a path is a glob, and not the name of something."""
    return has_magic(given) and not Path(given).exists()


def sets_in(given: str) -> list[str]:
    """The sets in a folder that is none itself."""
    path = Path(given)
    return (
        [str(one) for one in sorted(path.glob(f"*{ENDING}"))] if path.is_dir() and not (path / FACTS).is_file() else []
    )


def _those_of(names: Mapping[str, object]) -> str:
    some = ", ".join(list(names)[:SHOWN])
    return f"{'that' if len(names) == 1 else 'those'} of {some}{' ...' if len(names) > SHOWN else ''}"
