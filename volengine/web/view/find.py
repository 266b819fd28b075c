"""What lies at the paths that a user gives, sorted by tomogram; by names alone where there may be many.

>>> [(one.name, [thing.role for thing in one.things]) for one in find(["TS_01.ome.zarr", "TS_01__ribosome.star"])]
[('TS_01', ['volume', 'picks'])]
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from volengine.core.errors import InputError, MissingError, VolengineError
from volengine.io.copick.config import is_project
from volengine.io.identity import How
from volengine.io.names import (
    NODE_FILES,
    PICKS_SUFFIXES,
    VOLUME_SUFFIXES,
    name_in_copick,
    same_tomogram,
    split_group,
    suffix_of,
)
from volengine.io.open import open_volume
from volengine.io.picks import read_all
from volengine.io.surfaces import ENDING, FACTS, open_surfaces
from volengine.tasks.collection.manifest import Collection, file_name_of
from volengine.tasks.collection.measured import lists_tomograms
from volengine.tasks.common.inputs import expand, without_uncertainty
from volengine.tasks.common.kinds import is_picks
from volengine.tasks.common.named import feature_of
from volengine.tasks.common.output_folders import FOLDERS, output_folder, tomogram_of
from volengine.tasks.picture.overlays import MESHES
from volengine.web.view.copick_find import runs_of_project

TRUTH = ("atlas", "instances")
"""Folders, or labels in stores, that hold the truth of simulated tomograms."""
TABLES = tuple(set(PICKS_SUFFIXES) - {".json", ".txt", ".csv"})
"""Endings of tables of picks in folders; what has another ending may be anything."""

Role = Literal["volume", "picks", "surfaces"]


@dataclass(frozen=True)
class Thing:
    """Something to show: its path or URL, what it is, and the folder of a run that it lies in, which says more."""

    path: str
    role: Role
    folder: str = ""


@dataclass
class Tomogram:
    """A tomogram by its name, and what there is of it.

    ``folder`` is the output folder in which it was found, whose run may know where the tomogram itself is; ``notes``
    say what was left out.
    """

    name: str
    things: list[Thing] = field(default_factory=list)
    folder: Path | None = None
    notes: list[str] = field(default_factory=list)


class _Found:
    """Tomograms by their names, in the order in which they are found."""

    def __init__(self, links: bool) -> None:
        self.tomograms: dict[str, Tomogram] = {}
        self.links = links

    def named(self, name: str) -> Tomogram:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise InputError(f"{name!a}: the name is no text in UTF-8; rename the file.") from None
        known = same_tomogram(name, self.tomograms) or name
        return self.tomograms.setdefault(known, Tomogram(known))

    def add(self, name: str, thing: Thing) -> Tomogram:
        tomogram = self.named(name)
        if thing not in tomogram.things:
            tomogram.things.append(thing)
        return tomogram

    def count(self) -> int:
        """Number of things and notes."""
        return sum(len(one.things) + len(one.notes) for one in self.tomograms.values())

    def attach(self, name: str, thing: Thing) -> None:
        """Add what lies over a tomogram: to that of its name, or to the only one."""
        if same_tomogram(name, self.tomograms) is None and len(self.tomograms) == 1:
            name = next(iter(self.tomograms))
        self.add(name, thing)


def find(paths: Sequence[str], overlays: Sequence[str] = (), *, links: bool = False) -> list[Tomogram]:
    """Sort what lies at paths by tomogram.

    Parameters
    ----------
    paths
        Volumes, tables of picks, sets of surfaces, mesh files, run folders, folders of outputs, of samples or of
        volumes, manifests and lists, globs, URLs of volumes, projects of copick.
    overlays
        Volumes, picks and surfaces that lie over the tomogram, whatever their kind and name.
    links
        Whether links in output folders are followed that lead out of these.

    Raises
    ------
    MissingError
        Something is not there, or nothing is found.
    InputError
        Something cannot be shown, or overlays have names that are those of none of several tomograms.
    """
    found, beside = _Found(links), []
    for path in paths:
        beside += _sorted_in(found, path)
    alone = found if found.tomograms else None
    for path, role in beside:
        for name in _names(path, role):
            (found.attach if alone else found.add)(name, Thing(path, role))
    for path in overlays:
        role = _role(path)
        names = _names(path, role)
        fit = [name for name in names if same_tomogram(name, found.tomograms)]
        if not fit and len(found.tomograms) != 1:
            raise InputError(
                f"{path}: is of none of the {len(found.tomograms)} tomograms by its name; give one of them."
            )
        for name in fit or names[:1]:
            found.attach(name, Thing(path, role, "overlay"))
    if not found.tomograms:
        raise MissingError(f"{', '.join(paths) or 'No path'}: nothing to show was found there.")
    return sorted(found.tomograms.values(), key=lambda one: natural(one.name))


def natural(name: str) -> list[tuple[int, str]]:
    """TS_2 before TS_10."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]


def _role(path: str) -> Role:
    if suffix_of(path) in MESHES or (Path(path) / FACTS).is_file():
        return "surfaces"
    folder = "://" not in path and Path(path).is_dir()
    return "picks" if not folder and not _is_list(path) and is_picks(path) else "volume"


def _is_list(path: str) -> bool:
    """Whether a text file is a list of volumes and no table of coordinates: its first line names something."""
    if suffix_of(path) != ".txt" or not Path(path).is_file():
        return False
    with Path(path).open(encoding="utf-8-sig", errors="replace") as file:
        lines = (line.strip() for line in file)
        first = next((line for line in lines if line and not line.startswith("#")), "")
    return "://" in first or bool(first and (Path(path).parent / first).exists())


def _names(path: str, role: Role) -> list[str]:
    """The tomograms that a table or a set says it is of; a file that says none is of that of its name."""
    own = _tomogram_in(path)
    if role == "surfaces":
        return [open_surfaces(path).facts.tomogram or own]
    if role == "picks":
        try:
            return [name or own for name in read_all(path)]
        except MissingError:
            raise
        except VolengineError:  # it does not say its voxel size; it can be read once the tomogram is known
            return [own]
    return [own]


def _tomogram_in(path: str) -> str:
    store = split_group(path)[0]
    stem = name_in_copick(store) or file_name_of(store)
    return stem.rpartition("__")[0] or stem


def _sorted_in(found: _Found, path: str) -> list[tuple[str, Role]]:
    """Add what lies at a path; what lies over others is given back, for when all tomograms are known."""
    place = Path(path)
    local = "://" not in path
    if local and lists_tomograms(path):
        for entry in Collection.read(path).entries:
            found.add(entry.name, Thing(entry.source, "volume"))
        return []
    if local and is_project(path):
        for run in runs_of_project(path):
            for volume in run.volumes:
                found.add(run.name, Thing(volume, "volume"))
            for table in run.picks:
                found.add(run.name, Thing(table, "picks"))
            found.named(run.name).notes.extend(run.notes)
        if not found.tomograms:
            raise MissingError(f"{path}: no run of this copick project has a tomogram.")
        return []
    if (role := _role(path)) != "volume":
        if local and not place.exists():
            raise MissingError(f"{path}: no such file or folder.")
        return [(path, role)]
    if local and place.is_dir() and not _is_store(place):
        folder = output_folder(place)
        if folder is not None and _is_store(folder):  # the run folder beside a store
            return _volumes(found, [str(folder)])
        if _folder(found, folder or place):
            return []
    return _volumes(found, without_uncertainty(expand([path])))


def _is_store(place: Path) -> bool:
    return suffix_of(place.name) == ".zarr" or any((place / name).exists() for name in NODE_FILES)


def _volumes(found: _Found, paths: Sequence[str]) -> list[tuple[str, Role]]:
    """Add tomograms; predictions and labels among a few are given back, if their metadata say that they are that."""
    later: list[tuple[str, Role]] = []
    for path in paths:
        if len(paths) == 1 and _lies_over(path):
            later.append((path, "volume"))
        else:
            found.add(_tomogram_in(path), Thing(path, "volume"))
    return later


def identity_for(path: str) -> How:
    """How a volume is identified that is only looked at: the chunks of a store are not listed for it."""
    return "metadata" if suffix_of(path) in ("", ".zarr") else "quick"


def _lies_over(path: str) -> bool:
    try:
        volume = open_volume(path, voxel_size=1.0, identity=identity_for(path))
    except VolengineError:  # what is wrong is said when it is shown
        return False
    return volume.kind != "intensity" or bool(feature_of(volume))


def _is_raw(file: Path) -> bool:
    return suffix_of(file.name) in set(VOLUME_SUFFIXES) - {".zarr"} and file.is_file() and not is_picks(str(file))


def _folder(found: _Found, folder: Path) -> int:
    """Add what an output folder, or a folder of samples, has; the number of things."""
    inside = folder.resolve()
    before = found.count()

    def add(file: Path, role: Role, where: str, name: str = "") -> None:
        tomogram = found.named(name or tomogram_of(file))
        tomogram.folder = folder
        if found.links or file.resolve().is_relative_to(inside):
            found.add(tomogram.name, Thing(str(file), role, where))
        else:
            tomogram.notes.append(f"Not shown: {file}: is a link out of the folder; give its own path, or --links.")

    for where in (*FOLDERS, *TRUTH):
        stores = [str(file) for file in sorted((folder / where).glob("[!.]*.zarr"))]
        for store in without_uncertainty(stores):
            add(Path(store), "volume", where)
    for where in FOLDERS[:3]:  # files of other programs, or put there by hand
        files = [str(file) for file in sorted((folder / where).glob("[!.]*")) if _is_raw(file)]
        for path in without_uncertainty(files):
            add(Path(path), "volume", where, _tomogram_in(path))
    for where in ("picks", ""):
        for file in sorted((folder / where).glob("[!.]*")):
            if file.suffix.lower() in TABLES and file.is_file() and not lists_tomograms(str(file)):
                add(file, "picks", where)
    for where in ("surfaces", ""):
        for file in sorted((folder / where).glob(f"[!.]*{ENDING}")):
            add(file, "surfaces", where)
    for file in sorted((folder / "truth").glob("*")):
        if file.is_dir() and any(file.glob("*.ply")):
            add(file, "surfaces", "truth", file.name)
    if (folder / "tomograms").is_dir() or any((folder / name).is_dir() for name in FOLDERS[:3]):
        return found.count() - before
    for file in sorted(folder.glob("[!.]*")):
        if _is_raw(file):
            add(file, "volume", "")
    return found.count() - before
