"""The inputs of ``stats``: tables of picks and label volumes, found from paths, sorted by tomogram and checked.

Positions are in nanometres from the centre of the tomogram's first voxel, z, y, x. They do not depend on the origin
that a file states, so all objects of a tomogram have the same frame. This is checked: the sources of a tomogram must
have the same extent, and picks must lie inside of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError, MissingError
from volengine.core.paths import path_text
from volengine.core.units import NM_TO_ANGSTROM
from volengine.core.volume import Vector3, Volume
from volengine.io.copick.config import read_project
from volengine.io.identity import How
from volengine.io.names import (
    PICKS_SUFFIXES,
    is_multilabel,
    is_packed,
    project_and_choice,
    split_group,
    suffix_of,
    tomogram_key,
)
from volengine.io.picks.rows import Known
from volengine.io.stores import located
from volengine.tasks.common.inputs import expand
from volengine.tasks.common.lying import Lattice, check_extent, table_on
from volengine.tasks.common.named import feature_of, open_sized, stored_name, stored_place, tomogram_in
from volengine.tasks.common.origins import SIZE_TOLERANCE
from volengine.tasks.common.roi import box_of
from volengine.tasks.stats.objects import Floats, Objects, SourceObjects, Tomogram, extent_of, part_of
from volengine.tasks.stats.picks import PicksReader, asked_of
from volengine.tasks.stats.recipe import UNNAMED, StatsRecipe

Box = tuple[str, Lattice]
"""A tomogram's name, and the voxels that a source of it states."""

PICK_SUFFIXES = tuple(ending for ending in PICKS_SUFFIXES if ending != ".txt")
IN_FOLDERS = tuple(ending for ending in PICK_SUFFIXES if ending != ".json")
"""Suffixes of the files in a folder that are read as tables of picks; ``.json`` may be anything else."""


@dataclass(frozen=True)
class Sources:
    """The sources of a call.

    Parameters
    ----------
    picks
        The objects of all tables of picks.
    volumes
        Label volumes that remain to be counted; only their metadata has been read.
    notes
        What there is to say about the rows that were taken from tables.
    """

    picks: tuple[SourceObjects, ...]
    volumes: tuple[Volume, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def find(
        cls,
        inputs: Sequence[str],
        recipe: StatsRecipe,
        what: str = "input",
        identity: How = "quick",
        grids: Mapping[str, Known] | None = None,
    ) -> Sources:
        """Open what the paths name: read tables of picks, and the metadata of label volumes.

        Parameters
        ----------
        inputs
            Tables of picks (``TOMOGRAM__CLASS.star``, or with several tomograms), label volumes, stores (all their
            labels) or ``store.ome.zarr#labels/atlas``, folders, globs, ``.txt`` lists. If a store has several labels
            and some state what they hold (names of classes, or a feature), only these are taken.
        recipe
            Gives the voxel size, and what label volumes hold.
        what
            Word for the inputs in messages.
        identity
            How volumes are identified (:mod:`volengine.io.identity`).
        grids
            Voxel size and shape of tomograms, by name: only rows of these count (:mod:`volengine.io.picks.of_volumes`).

        Raises
        ------
        MissingError
            A path does not exist, or names nothing to count.
        InputError
            A file cannot be counted, or does not state what is needed.
        """
        paths = _paths(inputs, what)
        tables = [path for path in paths if not split_group(path)[1] and suffix_of(path) in PICK_SUFFIXES]
        classes = _labels_of_projects(inputs)
        opened = [one for path in paths if path not in tables for one in _open_labels(path, recipe, identity)]
        volumes = [_with_classes(one, classes.get(one.url)) for one in opened]
        reader = PicksReader(recipe, grids or {}, volumes)
        picks = [one for path in tables for one in reader.read(path)]
        if not picks and not volumes:
            raise MissingError(f"There is no {what} to count: give tables of picks or label volumes.")
        return cls(tuple(picks), tuple(volumes), tuple(reader.notes))

    @property
    def boxes(self) -> list[Box]:
        """The tomogram of each source, and its voxels."""
        volumes = ((tomogram_key(tomogram_in(v.name, feature_of(v))), _box(v)) for v in self.volumes)
        return [*((one.tomogram, one.box) for one in self.picks), *volumes]


def lying(inputs: Sequence[Box], truth: Sequence[Box], recipe: StatsRecipe) -> tuple[list[Vector3], list[str]]:
    """Say how all sources lie on the first one of their tomogram, see :mod:`volengine.tasks.common.lying`.

    Sources with the same voxels that state no origin, as most tables of picks, are compared without a word.

    Parameters
    ----------
    inputs, truth
        The tomogram of each source, and its voxels.
    recipe
        What the user says of them.

    Returns
    -------
    list, list of str
        For each source, inputs before truth, what its places are shifted by, angstrom, z, y, x; and what there is to
        say to the user.

    Raises
    ------
    InputError
        Two sources of a tomogram differ in extent or state different origins; or nothing says how their voxels lie on
        each other, and that decides which objects are pairs.
    """
    if len({name for name, _ in inputs}) == len({name for name, _ in truth}) == 1:  # whatever their names are
        truth = [(inputs[0][0], one) for _, one in truth]
    asked = asked_of(recipe)
    first, shaped, stated = dict[str, Lattice](), dict[str, Lattice](), dict[str, Lattice]()
    offsets, said = list[Vector3](), list[str]()
    for number, (name, one) in enumerate((*inputs, *truth)):
        if one.shape is not None:
            check_extent(shaped.setdefault(name, one), one)
        reach = None if number < len(inputs) else recipe.radius_nm
        lies = table_on(first.setdefault(name, one), one, asked, reach)
        offsets.append(lies.grid.offset)
        said.append(lies.way)
        if any(one.origin):
            said.append(table_on(stated.setdefault(name, one), one, asked).origins)
    return offsets, list(dict.fromkeys(filter(None, said)))


def _box(volume: Volume) -> Lattice:
    return Lattice(stored_name(volume), volume.origin, volume.voxel_size, volume.shape)


def _paths(inputs: Sequence[str], what: str) -> list[str]:
    if not inputs:
        raise MissingError(f"No {what}: give tables of picks, label volumes, folders or globs.")
    found: list[str] = []
    for item in inputs:
        path = Path(path_text(item))
        if project_and_choice(item)[1]:
            found += [item] if suffix_of(item) in PICK_SUFFIXES else expand([item])
        elif "://" in item or (suffix_of(item) == ".zarr" and not has_magic(item)):
            found.append(item)
        elif split_group(item)[1]:  # before it there may be a folder or glob of stores
            found += expand([item])
        elif path.is_dir() and not any((path / n).exists() for n in ("zarr.json", ".zgroup", ".zarray")):
            found += _inside(path)
        elif has_magic(item):
            matches = sorted(glob(str(path)))  # noqa: PTH207
            if not matches:
                raise MissingError(f"{item}: nothing matches.")
            found += matches
        elif suffix_of(item) in PICK_SUFFIXES:
            if not path.is_file():
                raise MissingError(f"{item}: no such file or folder.")
            found.append(str(path))
        else:
            found += expand([item])
    return sorted(dict.fromkeys(found))


def _labels_of_projects(inputs: Sequence[str]) -> dict[str, dict[str, int]]:
    """Names and values of the objects in the multilabel segmentations that are chosen of copick projects, by store."""
    found: dict[str, dict[str, int]] = {}
    for item in inputs:
        config, choice = project_and_choice(item)
        if choice and suffix_of(item) not in PICK_SUFFIXES:
            known = {one.name: one.label for one in read_project(config).objects if one.label is not None}
            found |= {located(path): known for path in expand([item]) if is_multilabel(path)}
    return found


def _with_classes(volume: Volume, classes: dict[str, int] | None) -> Volume:
    """A label volume with the names of its values, unless it states them itself."""
    if not classes or "classes" in volume.facts:
        return volume
    return volume.with_(facts={**volume.facts, "classes": classes})


def _inside(folder: Path) -> list[str]:
    """The sources in a folder. A store ``TABLE.ome.zarr`` holds the labels of the same picks, so its table is taken."""
    tables = [str(p) for p in sorted(folder.glob("[!.]*")) if p.suffix.lower() in IN_FOLDERS]
    same = {f"{table}.ome.zarr" for table in tables}
    try:
        return [*tables, *(path for path in expand([str(folder)]) if path not in same)]
    except MissingError:
        if not tables:
            raise MissingError(f"{folder}: no table of picks and no label volume in this folder.") from None
        return tables


def _open_labels(path: str, recipe: StatsRecipe, identity: How) -> list[Volume]:
    from volengine.io.omezarr.read import list_groups

    url, group = split_group(path)
    if is_packed(url):
        raise InputError(f"{url} is compressed as a whole and cannot be read in blocks; convert it.")
    groups = [group]
    if suffix_of(url) in ("", ".zarr") and not group:
        groups = [info.group for info in list_groups(url) if info.group.startswith("labels/")] or [""]
    places = ["#".join(filter(None, (url, name))) for name in groups]
    volumes: list[Volume] = [open_sized(place, recipe.voxel_size, identity) for place in places]
    named = [v for v in volumes if "classes" in v.facts or feature_of(v)]
    if len(volumes) > 1 and named:  # a simulated tomogram: its atlas states what it holds, its instances do not
        volumes = named
    for volume in volumes:
        recipe.labels_of(volume)
    return volumes


def objects_of_volume(volume: Volume, found: Mapping[str, NDArray[Any]], recipe: StatsRecipe) -> SourceObjects:
    """The objects of a label volume, without islands.

    Parameters
    ----------
    volume
        The labels.
    found
        Columns with one row per object: ``class`` (id; 0 in a volume of numbered objects), ``position_vox``,
        ``voxels``.
    recipe
        Names the classes, and defines an island.
    """
    size_nm = np.asarray(volume.voxel_size) / NM_TO_ANGSTROM
    voxel_nm3 = float(np.prod(size_nm))
    if recipe.labels_of(volume) == "instances":
        alone = recipe.classes[0] if len(recipe.classes) == 1 else "objects"
        names = {0: feature_of(volume) or alone}
    else:
        names = recipe.names_of(volume)
        names |= {int(k): f"{UNNAMED}{k}" for k in np.unique(found["class"]) if int(k) not in names}
    least = recipe.least_voxels(voxel_nm3)
    where = stored_place(volume)
    classes = {}
    for id, name in sorted(names.items()):
        mine = found["class"] == id
        kept = mine & (found["voxels"] >= least)
        voxels = found["voxels"][kept]
        classes[name] = Objects(
            where,
            found["position_vox"][kept] * size_nm,
            voxels,
            voxels * voxel_nm3,
            int(mine.sum() - kept.sum()),
            int(found["voxels"][mine & ~kept].sum()),
        )
    extent = extent_of(volume.shape, volume.voxel_size)
    tomogram = tomogram_key(tomogram_in(volume.name, feature_of(volume)))
    box = box_of(volume, recipe.roi)
    part = None if box is None else part_of(box, volume.voxel_size)
    return SourceObjects(tomogram, where, extent, 2 * float(size_nm.max()), classes, _box(volume), part)


def tomograms_of(sources: Sequence[SourceObjects]) -> dict[str, Tomogram]:
    """Join the objects of all sources by tomogram.

    Returns
    -------
    dict
        Each tomogram by its name.

    Raises
    ------
    InputError
        Two sources of a tomogram count the same class or differ in extent, or objects lie outside of the tomogram.
    """
    grouped: dict[str, list[SourceObjects]] = {}
    for source in sorted(sources, key=lambda s: (s.tomogram, s.where)):
        grouped.setdefault(source.tomogram, []).append(source)
    return {name: _joined(name, group) for name, group in grouped.items()}


def _joined(name: str, sources: Sequence[SourceObjects]) -> Tomogram:
    classes: dict[str, Objects] = {}
    known: SourceObjects | None = None
    for source in sources:
        _check_parts(name, sources[0], source)
        if source.extent_nm is not None:
            known = known or source
        for key, objects in source.classes.items():
            if key in classes:
                raise InputError(
                    f"{classes[key].where} and {objects.where} both count {key!r} of tomogram {name!r}; give one "
                    "(of a store with several labels: store.ome.zarr#labels/NAME)."
                )
            classes[key] = objects
    if known is not None and known.extent_nm is not None:
        for source in sources:
            _check_inside(name, source, known)
    extent = None if known is None else known.extent_nm
    return Tomogram(name, extent, {key: classes[key] for key in sorted(classes)}, sources[0].part_nm)


def _check_parts(name: str, one: SourceObjects, other: SourceObjects) -> None:
    """Refuse sources of a tomogram that were counted in different parts of it: voxels of two sizes are two places."""
    if one.part_nm == other.part_nm:
        return
    a, b = (np.asarray(s.part_nm or ((0.0, 0.0, 0.0), s.extent_nm), float) for s in (one, other))
    if (np.abs(a - b) > max(one.slack_nm, other.slack_nm)).any():
        raise InputError(
            f"--roi is the part from {_nm(a[0])} to {_nm(a[1])} nm (z, y, x) of tomogram {name!r} in "
            f"{Path(one.where).name}, and that from {_nm(b[0])} to {_nm(b[1])} nm in {Path(other.where).name}, whose "
            "voxels have another size: say it in nm."
        )


def _check_inside(name: str, source: SourceObjects, known: SourceObjects) -> None:
    extent = np.asarray(known.extent_nm)
    slack = SIZE_TOLERANCE * extent + max(source.slack_nm, known.slack_nm)
    for key, objects in source.classes.items():
        outside = (objects.position_nm < -slack) | (objects.position_nm > extent + slack)
        rows = np.flatnonzero(outside.any(axis=1))
        if rows.size:
            raise InputError(
                f"{rows.size} of {len(objects)} {key!r} in {objects.where} lie outside of tomogram {name!r}, one at "
                f"{_nm(objects.position_nm[rows[0]])} nm (z, y, x) where {Path(known.where).name} measures "
                f"{_nm(extent)} nm; is a voxel size wrong, or are these picks of another tomogram?"
            )


def _nm(values: Floats) -> str:
    return " x ".join(f"{v:.5g}" for v in values)
