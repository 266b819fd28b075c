"""What is in a copick project: names of folders and files say run, voxel spacing, type, user, session and object.

::

    ExperimentRuns/RUN/VoxelSpacing10.000/TYPE.zarr
    ExperimentRuns/RUN/Picks/USER_SESSION_OBJECT.json
    ExperimentRuns/RUN/Segmentations/10.000_USER_SESSION_NAME.zarr        one object
    ExperimentRuns/RUN/Segmentations/10.000_USER_SESSION_NAME-multilabel.zarr
    ExperimentRuns/RUN/InstanceSegmentations/10.000_USER_SESSION_NAME.zarr, also PanopticSegmentations
    ExperimentRuns/RUN/Meshes/USER_SESSION_OBJECT.glb
    ExperimentRuns/RUN/Filaments/USER_SESSION_OBJECT.json                 curves, from which picks are sampled

The same in both roots; names that do not have these parts are left out and listed.

>>> from volengine.io.copick.contents import Item
>>> Item("picks", "TS_1", "a.json", user="bob", session="1", name="ribosome").said
'ribosome by bob (session 1)'
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from volengine.core.errors import InputError
from volengine.io.copick.config import RUNS, Project

Kind = Literal["tomogram", "picks", "segmentation", "instances", "panoptic", "mesh", "filaments", "other"]
MULTILABEL = "-multilabel"


@dataclass(frozen=True)
class Item:
    """A tomogram, a table of picks, a segmentation or a mesh of a project.

    Parameters
    ----------
    kind
        Which of these; ``instances`` and ``panoptic`` are segmentations of folders of their own, ``other`` is a name
        without the parts that copick expects.
    run
        Its run, which is a tomogram for volengine.
    path
        Its file or store.
    static
        Whether it is in the static root.
    name
        Type of a tomogram, object of picks, meshes and filaments, name of a segmentation.
    user, session
        Who made it (not of tomograms).
    spacing
        Voxel size, angstrom, of tomograms and segmentations.
    multilabel
        Whether a segmentation holds several objects.
    """

    kind: Kind
    run: str
    path: str
    static: bool = False
    name: str = ""
    user: str = ""
    session: str = ""
    spacing: float | None = None
    multilabel: bool = False

    @property
    def said(self) -> str:
        """The item in words, without its run."""
        who = f" by {self.user} (session {self.session})" if self.user else ""
        size = "" if self.spacing is None else f" at {self.spacing:.3f} A"
        return f"{self.name}{' (multilabel)' if self.multilabel else ''}{size}{who}"


def runs_of(project: Project) -> list[str]:
    """Names of the runs of both roots, sorted.

    Raises
    ------
    InputError
        A folder cannot be read.
    """
    found = {
        entry.name
        for root, _ in project.roots
        for entry in _inside(root / RUNS)
        if not entry.name.startswith(".") and entry.is_dir()
    }
    return sorted(found)


def items_of(project: Project, run: str = "*") -> list[Item]:
    """Everything in the runs whose names fit a pattern (``*``, ``?``, ``[ab]``), sorted by run, kind and name.

    Raises
    ------
    InputError
        A folder cannot be read.
    """
    found = []
    for name in runs_of(project):
        if name == run or fnmatchcase(name, run):
            for root, static in project.roots:
                found += list(_of_run(root / RUNS / name, name, static))
    return sorted(found, key=lambda i: (i.run, i.kind, i.name, i.spacing or 0.0, i.user, i.session, i.static))


def _of_run(folder: Path, run: str, static: bool) -> Iterator[Item]:
    for entry in _inside(folder):
        if entry.name.startswith("VoxelSpacing"):
            spacing = _size(entry.name.removeprefix("VoxelSpacing"))
            if spacing is None:
                yield Item("other", run, str(entry), static)
                continue
            for store in _inside(entry):
                kind = store.name.removesuffix(".zarr")
                if store.name.endswith(".zarr") and store.is_dir() and kind[:1] != "." and "features" not in kind:
                    yield Item("tomogram", run, str(store), static, kind, spacing=spacing)
    for place, made in _FOLDERS.items():
        for entry in _inside(folder / place):
            item = None if entry.name.startswith(".") else made(entry, run, static)
            if item is not None:
                yield item


def _table(entry: Path, run: str, static: bool) -> Item | None:
    return _named("picks", ".json", entry, run, static)


def _mesh(entry: Path, run: str, static: bool) -> Item | None:
    return _named("mesh", ".glb", entry, run, static)


def _filaments(entry: Path, run: str, static: bool) -> Item | None:
    return _named("filaments", ".json", entry, run, static)


def _named(kind: Kind, ending: str, entry: Path, run: str, static: bool) -> Item | None:
    if not entry.name.endswith(ending):
        return None
    parts = entry.name.removesuffix(ending).split("_", 2)
    if len(parts) != 3 or not all(parts):
        return Item("other", run, str(entry), static)
    user, session, name = parts
    return Item(kind, run, str(entry), static, name, user, session)


def _segmentation(entry: Path, run: str, static: bool) -> Item | None:
    kinds: dict[str, Kind] = {"InstanceSegmentations": "instances", "PanopticSegmentations": "panoptic"}
    if not entry.name.endswith(".zarr") or not entry.is_dir():
        return None
    parts = entry.name.removesuffix(".zarr").split("_", 3)
    spacing = _size(parts[0])
    if len(parts) != 4 or not all(parts) or spacing is None:
        return Item("other", run, str(entry), static)
    _, user, session, name = parts
    if entry.parent.name in kinds:
        return Item(kinds[entry.parent.name], run, str(entry), static, name, user, session, spacing)
    bare = name.removesuffix(MULTILABEL)
    return Item("segmentation", run, str(entry), static, bare, user, session, spacing, multilabel=bare != name)


_FOLDERS: dict[str, Callable[[Path, str, bool], Item | None]] = {
    "Picks": _table,
    "Segmentations": _segmentation,
    "InstanceSegmentations": _segmentation,
    "PanopticSegmentations": _segmentation,
    "Meshes": _mesh,
    "Filaments": _filaments,
}


def _size(text: str) -> float | None:
    try:
        size = float(text)
    except ValueError:
        return None
    return size if math.isfinite(size) and size > 0 and "_" not in text else None


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}).") from error
