"""Finding the sets of surfaces that a command names, and the volumes and further sets of the tomogram of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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


def set_paths(given: Iterable[str]) -> list[str]:
    """The sets of surfaces that paths name: sets, mesh files, folders of mesh files, folders of sets, globs.

    Raises
    ------
    MissingError
        There is no such file or folder, or nothing matches a glob.
    """
    found: list[str] = []
    for item in given:
        if has_magic(item) and not Path(item).exists():
            matches = sorted(glob(item))  # noqa: PTH207
            if not matches:
                raise MissingError(f"{item}: nothing matches.")
            found += matches
            continue
        path = Path(item)
        inner = sorted(path.glob(f"*{ENDING}")) if path.is_dir() and not (path / FACTS).is_file() else []
        found += [str(one) for one in inner] or [item]
    return list(dict.fromkeys(found))


def name_of_set(path: str) -> str:
    """Name of a set, without its ending: that of its plan, and of what is made of it in a folder."""
    place = Path(path.rstrip("/"))
    return place.stem if place.suffix.lower() in (ENDING, *ENDINGS, *SUFFIXES) else place.name


def one_of(given: str, tomogram: str, option: str) -> str:
    """The volume that an option names for one tomogram: the only one, or of several that of its name.

    Raises
    ------
    InputError
        None of several has the tomogram's name.
    VolengineError
        The one that has it cannot be opened.
    """
    many = Path(given).is_dir() and not given.rstrip("/").lower().endswith(".zarr")
    if not (many or given.lower().endswith(".txt") or (has_magic(given) and not Path(given).exists())):
        return given
    paths = expand([given])
    if len(paths) == 1:
        return paths[0]
    named: dict[str, str] = {}
    beside = opened_beside(paths, lambda path: open_sized(path, 1.0, "metadata"))
    for path, volume in beside.opened.items():
        named.setdefault(tomogram_in(volume.name, feature_of(volume)), path)
    fit = same_tomogram(tomogram, named)
    if fit is None:
        for lost in beside.unread:
            if same_tomogram(tomogram, [lost.tomogram]):
                raise lost.error
        raise InputError(
            f"{given} has no volume of tomogram {tomogram!r}, for {option}; it has those of "
            f"{', '.join(list(named)[:8])}.{may_be_it(beside.unread)}"
        )
    return named[fit]


def others_of(given: Sequence[str], tomogram: str, own: str | Path) -> tuple[str, ...]:
    """Further sets: each that is named, and of a folder or glob of several those of the same tomogram.

    ``own`` is the set that is measured, which is never among them: it lies at the distance 0 of itself.

    Raises
    ------
    MissingError
        There is no such set.
    InputError
        None of several is of the tomogram.
    VolengineError
        One of several that is of it by its name cannot be opened.
    """
    found: list[str] = []
    for item in given:
        paths = set_paths([item])
        if len(paths) == 1:
            found += paths
            continue
        beside = opened_beside(paths, open_surfaces)
        for lost in beside.unread:
            if same_tomogram(tomogram, [lost.tomogram]):
                raise lost.error
        mine = [path for path, one in beside.opened.items() if same_tomogram(tomogram, [one.facts.tomogram])]
        if not mine:
            said = f"{item}: none of its {len(paths)} sets of surfaces is of tomogram {tomogram!r}."
            raise InputError(said + may_be_it(beside.unread))
        found += mine
    return tuple(path for path in found if Path(path).resolve() != Path(own).resolve())
