"""Which truth belongs to which tomogram, where folders or globs name them: by their names, never by their order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from glob import has_magic
from pathlib import Path

from volengine.core.errors import InputError, MissingError
from volengine.io.copick.config import is_project
from volengine.io.names import (
    PICKS_SUFFIXES,
    name_in_copick,
    project_and_choice,
    suffix_of,
    tomogram_key,
    tomogram_name,
)
from volengine.io.open import open_volume
from volengine.io.picks.of_volumes import read_of
from volengine.io.picks.rows import Known, listing
from volengine.tasks.common.inputs import expand, globbed

SHOWN = 5
"""Names in a message."""
ANOTHER = re.compile(r"[\W_]+[0-9]+(?:(?!\.)[\W_]|$)")
"""A number of its own after a name: it belongs to the name of another tomogram."""


def paired(
    volumes: Sequence[str], truth: Mapping[str, Sequence[str]]
) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Return the tomograms that files, folders, globs and lists name, and the truth of each in the same order.

    Parameters
    ----------
    volumes
        Tomograms and training sets (``.scnt``), folders, globs or ``.txt`` lists of tomograms, copick projects.
    truth
        Paths of each kind of truth: ``labels``, ``points`` or ``targets``, files, folders, globs or projects. What is
        chosen of a project as points is one table.

    Returns
    -------
    Everything as it was given, if each item names one file. Else the truth of a tomogram is the only one whose name is
    its own, or begins with it (``TS_01__membrane``, ``TS_01_labels``). A single table of points is that of all
    tomograms; it must have rows of each of them, under its name.

    Raises
    ------
    MissingError
        A file does not exist, or nothing is in a folder or matches a glob.
    InputError
        A tomogram has no truth or several, a truth belongs to no tomogram, or a table for several tomograms does not
        name each of them.

    Examples
    --------
    >>> paired(["a.mrc", "b.mrc"], {"points": ["a.star", "b.star"]})
    (('a.mrc', 'b.mrc'), {'points': ('a.star', 'b.star')})
    """
    named = [_volumes(item) for item in volumes]
    given = {key: [_truths(item, key) for item in paths] for key, paths in truth.items()}
    pairs = [(volumes, named), *((truth[key], given[key]) for key in truth)]
    found = [one for ones in named for one in ones]
    tomograms = [one for one in found if suffix_of(one) != ".scnt"]
    tables = [one for ones in given.get("points", ()) for one in ones]
    if len(tomograms) > 1 and len(tables) == 1:
        _check_names(tomograms, tables[0])
    elif all(_is_one(item, ones) for items, some in pairs for item, ones in zip(items, some, strict=True)):
        return tuple(volumes), {key: tuple(paths) for key, paths in truth.items()}
    ordered = {key: _in_order(tomograms, [one for ones in some for one in ones], key) for key, some in given.items()}
    return tuple(found), ordered


def _is_one(item: str, ones: Sequence[str]) -> bool:
    return list(ones) == [item] or (len(ones) == 1 and _of_project(item))


def _of_project(item: str) -> bool:
    """Whether a path names what is chosen of a copick project, or all of it."""
    return "://" not in item and (bool(project_and_choice(item)[1]) or is_project(item))


def _volumes(item: str) -> list[str]:
    return expand([item]) if _is_several(item) or _of_project(item) else [item]


def _is_several(item: str) -> bool:
    """Whether a path names several files: a folder that is no store, a glob, or a list."""
    if "://" in item or _of_project(item):
        return False
    path = Path(item)
    if path.is_dir():
        return suffix_of(item) != ".zarr" and not any((path / n).exists() for n in ("zarr.json", ".zgroup", ".zarray"))
    return (has_magic(item) and not path.exists()) or (suffix_of(item) == ".txt" and path.is_file())


def _truths(item: str, key: str) -> list[str]:
    if key != "points":
        return _volumes(item)
    if _of_project(item):
        return [item]
    path = Path(item)
    if path.is_dir():
        inside = sorted(str(p) for p in path.iterdir() if p.suffix.lower() in PICKS_SUFFIXES and p.is_file())
    else:
        return globbed([item], "table of picks")
    if not inside:
        raise MissingError(f"{item}: there is no table of picks.")
    return inside


def _in_order(tomograms: Sequence[str], paths: Sequence[str], key: str) -> tuple[str, ...]:
    """The truth of each tomogram."""
    if not paths or (key == "points" and len(paths) == 1):
        return tuple(paths) * (len(tomograms) if paths else 1)
    names = {one: tomogram_key(_name(one)) for one in tomograms}
    of: dict[str, list[str]] = {one: [] for one in tomograms}
    alone = []
    for path in paths:
        stem = _name(path)
        stem = stem[: -len(Path(stem).suffix)] if Path(stem).suffix.lower() in PICKS_SUFFIXES else stem
        fit = [one for one, name in names.items() if _belongs(stem, name)]
        longest = max((len(names[one]) for one in fit), default=0)
        fit = [one for one in fit if len(names[one]) == longest]
        if len(fit) == 1:
            of[fit[0]].append(path)
        else:
            alone.append(path)
    for what, wrong in (
        (f"have no {key} of their name", [one for one, found in of.items() if not found]),
        (f"have more than one file of {key}", [one for one, found in of.items() if len(found) > 1]),
        ("belong to no tomogram, or to several", alone),
    ):
        if wrong:
            more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
            raise InputError(f"{', '.join(wrong[:SHOWN])}{more} {what}. {_rule([*tomograms, *paths])}")
    return tuple(of[one][0] for one in tomograms)


def _rule(paths: Sequence[str]) -> str:
    """How a truth is found, and what to do; the names of a copick project are those of its runs."""
    one_by_one = "give --volume and its truth one by one"
    files = "a truth is found by its name, which is that of the tomogram or begins with it"
    if all(name_in_copick(path) for path in paths):
        return f"In a project a truth is that of the same run: choose runs that have both (run=), or {one_by_one}."
    if any(name_in_copick(path) for path in paths):
        return (
            f"In folders and globs {files}; what is chosen of a project has the name of its run. Choose it by run=, "
            f"rename the files that are in no project, or {one_by_one}."
        )
    return f"In folders and globs {files}; rename files, or {one_by_one}."


def _check_names(tomograms: Sequence[str], table: str) -> None:
    """Refuse a table without rows of each tomogram: points of one would be taken for those of all."""
    known = {}
    for path in tomograms:
        volume = open_volume(path)
        known[volume.name] = Known(volume.voxel_size, volume.origin, volume.shape)
    tables, _ = read_of(table, known, required=len(known) == 1)
    missing = [name for name in known if name not in tables]
    if missing:
        raise InputError(
            f"{table} has no rows of {listing(missing)}. A single table for several tomograms must name the tomogram "
            "of each row; give a table for each tomogram (a folder, a glob, or --volume and --points one by one), or "
            "only the tomograms that are in it."
        )


def _name(path: str) -> str:
    """The name in a path; of a store of a copick project it is in the folders."""
    return name_in_copick(path) or tomogram_name(path)


def _belongs(stem: str, name: str) -> bool:
    """Whether a truth is that of a tomogram; ``Position_1_2_labels`` is that of ``Position_1_2``, not of ``_1``."""
    key = tomogram_key(stem)
    rest = key.removeprefix(name)
    begins = rest != key and not rest[:1].isalnum() and not ANOTHER.match(rest)
    return stem == name or key == name or begins
