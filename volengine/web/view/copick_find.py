"""What a copick project has, by run: one of its tomograms, segmentations of the same voxel size, tables of picks."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from volengine.io.copick.config import read_project
from volengine.io.copick.contents import Item, items_of

SIZE_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Run:
    """What is shown of a run: the tomogram, what lies over it, tables of picks, and what was left out, in words."""

    name: str
    volumes: tuple[str, ...]
    picks: tuple[str, ...]
    notes: tuple[str, ...]


def runs_of_project(config: str) -> list[Run]:
    """The runs of a project that have a tomogram.

    Of several tomograms of a run the one with the smallest voxels is taken, of these the first by the name of its type;
    segmentations are those of the same voxel size. The others are named in the notes.

    Raises
    ------
    MissingError, FormatError, InputError
        As :func:`volengine.io.copick.config.read_project`: a project that is not in folders of this machine is refused.
    """
    by_run: dict[str, list[Item]] = {}
    for item in items_of(read_project(config)):
        by_run.setdefault(item.run, []).append(item)
    return [_run(config, name, items) for name, items in by_run.items() if any(i.kind == "tomogram" for i in items)]


def _run(config: str, name: str, items: list[Item]) -> Run:
    tomograms = sorted((i for i in items if i.kind == "tomogram"), key=lambda i: (i.spacing or 0.0, i.name))
    taken = tomograms[0]
    notes = [
        f"Not shown: {one.said} of {name}; volengine view "
        f"{shlex.quote(f'{config}#run={name},tomo={one.name},spacing={one.spacing:g}')} shows it."
        for one in tomograms[1:]
        if one.spacing
    ]
    over = [i for i in items if i.kind == "segmentation"]
    fit = [i for i in over if abs((i.spacing or 0.0) / (taken.spacing or 1.0) - 1) < SIZE_TOLERANCE]
    notes += [
        f"Not shown: {one.said} of {name}: it has another voxel size than the tomogram."
        for one in over
        if one not in fit
    ]
    volumes = (taken.path, *(one.path for one in fit))
    return Run(name, volumes, tuple(i.path for i in items if i.kind == "picks"), tuple(notes))
