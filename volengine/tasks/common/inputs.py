"""Turn inputs (files, folders, globs, ``.txt`` lists) into a list of paths and URLs."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from glob import glob, has_magic
from pathlib import Path

from volengine.core.errors import InputError, MissingError
from volengine.core.paths import path_text
from volengine.io.copick.config import is_project
from volengine.io.names import (
    PICKS_SUFFIXES,
    SHARED_SUFFIXES,
    VOLUME_SUFFIXES,
    ZIP_SUFFIXES,
    file_and_dataset,
    project_and_choice,
    split_group,
    suffix_of,
)

SUFFIXES = VOLUME_SUFFIXES

_GROUP = re.compile(r"(?i)\.(zarr|ozx|zarr\.zip)#\S")
"""In a line of a list: a store and a group inside of it, not a comment."""

TILES = "is a list of tiles, not a volume: volengine convert {path} --montage --out STORE puts them together"
"""What a list of tiles is, and what reads it."""

_TILES = re.compile(rb"^(\{\s*)?[\"']?tiles[\"']?\s*:", re.MULTILINE)

UNCERTAINTY_ENDING = "_uncertainty"
"""End of the name of the volume with the uncertainty of a prediction."""


def expand(inputs: Iterable[str]) -> list[str]:
    """Paths and URLs of all volumes that the inputs name, sorted, each once, as it is named first.

    A folder stands for the volumes directly in it, except hidden ones: MRC, TIFF and Zarr, and where there is none of
    these the formats whose suffixes are not of volumes alone (``.em``, ``.h5``, ``.nii``, ``.am``). A ``.txt`` file
    stands for the inputs on its lines: paths are relative to the file, and ``#`` begins a comment
    (with a blank before it, behind what is chosen of a project or a store). A glob stands for its matches.
    ``store.ome.zarr#labels/core`` is a group inside of a store; before ``#labels/core`` there may be a folder or glob
    of stores, too. A configuration of a copick project stands for its tomograms, and ``config.json#run=TS_*,tomo=wbp``
    for those that are chosen (:mod:`volengine.io.copick.choice`). URLs are not checked.

    Raises
    ------
    MissingError
        A file does not exist, or a folder, list or glob names no volume.
    InputError
        A file has an unknown suffix or a name that is no UTF-8; something is no file; a list names itself.
    """
    found: list[str] = []
    for item in inputs:
        found += _expand(item)
    if not found:
        raise MissingError("No input: give files, folders, globs, or a .txt list.")
    places: dict[str, str] = {}
    for path in found:
        places.setdefault(path if "://" in path else os.path.abspath(path), path)  # noqa: PTH100  # links stay
    return sorted(places.values())


def globbed(paths: Iterable[str], what: str = "file") -> list[str]:
    """Return the files that paths and globs name, in their order; the matches of a glob are sorted.

    Paths without a pattern, URLs, and files whose names hold the signs of one are returned as they are.

    Raises
    ------
    MissingError
        No file matches a glob; the message says what was looked for (``what``).
    """
    found: list[str] = []
    for path in paths:
        if "://" in path or not has_magic(path) or Path(path).exists():
            found.append(path)
            continue
        matches = [name for name in sorted(glob(path)) if Path(name).is_file()]  # noqa: PTH207
        if not matches:
            raise MissingError(f"{path}: nothing matches; there is no {what} with such a name.")
        found += matches
    return found


def picks_files(sources: Sequence[str]) -> list[str]:
    """The files of picks that paths, globs and folders name; in a folder, those with endings of tables.

    Raises
    ------
    MissingError
        There is nothing.
    """
    found: list[str] = []
    for path in globbed(sources, "file of picks"):
        place = Path(path)
        if "://" in path or not place.is_dir() or place.suffix:
            found.append(path)
            continue
        inner = [one for one in sorted(place.iterdir()) if one.suffix.lower() in PICKS_SUFFIXES and one.is_file()]
        inner = inner or [one for one in sorted(place.glob("picks/*")) if one.suffix.lower() in PICKS_SUFFIXES]
        if not inner:
            raise MissingError(f"{path}: holds no tables of picks ({', '.join(PICKS_SUFFIXES)}).")
        found += map(str, inner)
    return list(dict.fromkeys(found))


def without_uncertainty(paths: Sequence[str]) -> list[str]:
    """Leave out the uncertainty of predictions that are there, too: it is no prediction of anything.

    >>> without_uncertainty(["p/TS_1__core.ome.zarr", "p/TS_1__core_uncertainty.ome.zarr", "p/b_uncertainty.mrc"])
    ['p/TS_1__core.ome.zarr', 'p/b_uncertainty.mrc']
    """
    there = set(paths)
    return [path for path in paths if path.replace(f"{UNCERTAINTY_ENDING}.", ".") not in there - {path}]


def _expand(item: str, lists: tuple[Path, ...] = ()) -> list[str]:
    if not item.strip():
        raise InputError("An input is empty; is a variable of the shell not set?")
    if "://" in item:
        return [item]
    try:
        item.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{item!a}: the name is no text in UTF-8, as the names of outputs must be; rename the file."
        ) from None
    path = _path(item)
    if project_and_choice(item)[1] or is_project(item):
        from volengine.io.copick.choice import chosen_volumes

        return chosen_volumes(item)
    if split_group(item)[1]:
        return _groups(item, lists)
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{item}: is neither a file nor a folder, but a device or a pipe; give a file.")
    if suffix_of(item) == ".txt" and path.is_file():
        return _listed(path, lists)
    if suffix_of(item) in SUFFIXES and _path(file_and_dataset(item)[0]).exists():
        return [str(path)]
    if path.is_dir():
        if any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zarray")):
            return [str(path)]
        inside = [str(p) for p in sorted(path.glob("[!.]*")) if suffix_of(p.name) in SUFFIXES]
        if not inside:
            raise MissingError(f"{item}: no volume in this folder ({', '.join(SUFFIXES)}).")
        return [p for p in inside if suffix_of(p) not in SHARED_SUFFIXES] or inside
    if has_magic(item):
        matches = [m for m in sorted(glob(str(path))) if suffix_of(m) in SUFFIXES]  # noqa: PTH207
        if not matches:
            raise MissingError(f"{item}: nothing matches.")
        return matches
    if path.is_file() and names_tiles(path):
        raise InputError(f"{item}: {TILES.format(path=shlex.quote(item))}.")
    if path.is_file() and suffix_of(item) in (".csv", ".star", ".yaml", ".yml"):
        raise InputError(
            f"{item}: the suffix is not that of a volume. If it is the manifest of a collection, give it to "
            "'volengine run' with a recipe, which takes it."
        )
    if path.exists():
        raise InputError(f"{item}: the suffix is not one of {', '.join((*SUFFIXES, *ZIP_SUFFIXES))}.")
    raise MissingError(f"{item}: no such file or folder.")


def names_tiles(path: Path) -> bool:
    """Whether a YAML file names tiles, as far as its beginning says: a list of them, no recipe and no manifest."""
    if suffix_of(str(path)) not in (".yaml", ".yml"):
        return False
    with path.open("rb") as file:
        return _TILES.search(file.read(2**16)) is not None


def _groups(item: str, lists: tuple[Path, ...]) -> list[str]:
    """``stores#group``: the group inside of each store."""
    place, group = split_group(item)
    stores = _expand(place, lists)
    if files := [store for store in stores if suffix_of(store) not in ("", ".zarr")]:
        raise InputError(f"{item}: {files[0]} is no OME-Zarr store, so there is no group {group!r} inside of it.")
    return [f"{store}#{group}" for store in stores]


def _path(text: str) -> Path:
    return Path(path_text(text))


def _listed(path: Path, above: tuple[Path, ...]) -> list[str]:
    """The inputs of a ``.txt`` list; ``above`` are the lists that contain it."""
    if path.resolve() in above:
        raise InputError(f"{path}: the list contains itself.")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: no text in UTF-8 ({error.reason} at byte {error.start}).") from None
    found = []
    for number, line in enumerate(lines, 1):
        whole = line.partition(" #")[0].strip()
        text = whole if project_and_choice(whole)[1] or _GROUP.search(whole) else line.partition("#")[0].strip()
        if not text:
            continue
        item = text if "://" in text else str(path.parent / _path(text))
        try:
            found += _expand(item, (*above, path.resolve()))
        except InputError as error:
            raise type(error)(f"{path}, line {number}: {error}") from None
    if not found:
        raise MissingError(f"{path}: the list names no input.")
    return found
