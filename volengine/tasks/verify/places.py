"""What a path holds that can be verified: run folders, and stores with their images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from volengine.core.errors import InputError, MissingError, os_advice
from volengine.engine.ledger import PlanFolder, RunFolder
from volengine.io.names import NODE_FILES
from volengine.io.omezarr import image as omezarr
from volengine.io.omezarr.manifest import NAME as MANIFEST
from volengine.io.omezarr.ngff import parse_multiscale
from volengine.io.omezarr.nodes import read_node
from volengine.io.stores import local_path

LEVELS_UP = 3
"""Number of folders above a store in which the run that has written it is looked for."""


@dataclass(frozen=True)
class Places:
    """Run folders and stores, each once, in the order in which they were found."""

    runs: tuple[RunFolder, ...]
    stores: tuple[str, ...]


def places_in(paths: tuple[str, ...]) -> Places:
    """Find run folders and stores in paths; folders are searched, but not the inside of stores and run folders.

    Raises
    ------
    MissingError
        A path does not exist.
    InputError
        A path holds nothing that can be verified.
    """
    runs: dict[str, RunFolder] = {}
    stores: dict[str, None] = {}
    for path in paths:
        found = list(_in(path))
        if not found:
            raise InputError(f"{path}: there is no store and no run folder; give one, or a folder of them.")
        for kind, place in found:
            if kind == "run":
                runs[place] = RunFolder(place)
            else:
                stores[place] = None
    return Places(tuple(runs.values()), tuple(stores))


def _in(path: str) -> Iterator[tuple[str, str]]:
    local = local_path(path)
    if local is None:
        if read_node(path) is None:
            raise MissingError(f"{path}: there is no store.")
        yield "store", path
        return
    if not local.exists():
        raise MissingError(f"{path}: there is no such file or folder.")
    if local.is_file():
        raise InputError(f"{path} is a file; give the run folder that has written it, or a store, or a folder of them.")
    seen: set[str] = set()
    for place, folders, files in os.walk(local.absolute(), followlinks=True, onerror=_unreadable):
        if (real := os.path.realpath(place)) in seen:  # reached by a link before, perhaps one that leads in circles
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        if any(name in files for name in NODE_FILES) or is_headless(place):
            yield "store", place
        elif any(Path(place).glob("plans/*/plan.json")):
            yield "run", place
        else:
            continue
        folders.clear()


def _unreadable(error: OSError) -> None:
    """What cannot be looked at was not verified."""
    raise InputError(f"{error.filename}: cannot be read ({error.strerror}). {os_advice(error)}".rstrip()) from error


def is_headless(url: str) -> bool:
    """Whether a folder is an image of a run that has lost the metadata which name its levels.

    Its arrays are still there, with their manifests; or only its name says what it was.
    """
    folder = local_path(url)
    if folder is None or not folder.is_dir():
        return False
    entries = [entry for entry in folder.iterdir() if entry.is_dir()]
    if not any((folder / name).exists() for name in NODE_FILES):
        return any(map(_is_level, entries)) or (folder.name.endswith(".ome.zarr") and bool(entries))
    node = read_node(url)
    return (
        node is not None
        and node.kind == "group"
        and parse_multiscale(node.attributes, url) is None
        and any(map(_is_level, entries))
    )


def _is_level(folder: Path) -> bool:
    return (folder / MANIFEST).exists() and any((folder / name).exists() for name in NODE_FILES)


def images_in(url: str) -> list[str]:
    """Return the groups of the images of a store: ``""`` is the image itself; a bare array is an image as well."""
    groups = [info.group for info in omezarr.list_groups(url)]
    return groups or [""]


def run_of(url: str, group: str) -> PlanFolder | None:
    """Return the folder of the plan that has written an image, if it lies near the store."""
    token, local = omezarr.store_token(url, group), local_path(url)
    if not token or local is None:
        return None
    for folder in list(local.absolute().parents)[:LEVELS_UP]:
        for path in sorted(folder.glob("*/plans/*/token")):
            if path.read_text().strip() == token:
                return PlanFolder(path.parent)
    return None
