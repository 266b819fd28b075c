"""The label to which the normals of membranes point: which it is, and the stages that find where it lies.

A label may fill half of the volume, and what counts is on which side of a membrane it lies. So its voxels are gathered
in small cubes (*cells* here), and of each the mean place of the label's voxels in it is kept: sums of whole numbers,
which do not depend on blocks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from volengine.core.boxes import Index3
from volengine.core.errors import InputError
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.options import RunOptions
from volengine.engine.stage import ArrayInput, Stage, TableInput, kernel_bytes
from volengine.io.names import same_tomogram, split_group, tomogram_name
from volengine.tasks.common.inputs import expand
from volengine.tasks.common.named import feature_in, feature_of, open_sized, stored_name, tomogram_in
from volengine.tasks.common.roi import check_same_part
from volengine.tasks.surface.description import MOST_CELLS

PLACES = "surface-towards"
"""Name of the stage whose table has the places of the label."""

LEAST_SIDE = 4
"""Side of the cells in voxels; twice this, and so on, of volumes of more than :data:`MOST_CELLS` cells."""

MOST_NAMED = 8
"""Volumes that a message names."""

LARGEST_BLOCK = 2**23
UNCHUNKED = (64, 64, 64)
ONE: Index3 = (1, 1, 1)

_CELLS = "volengine.tasks.surface.towards_blocks:label_cells"
_JOIN = "volengine.tasks.surface.towards_blocks:label_places"
_NUMBERS = re.compile(r"[0-9]+(?:\+[0-9]+)*")
_GIVEN = re.compile(r"(?P<label>[0-9]+(?:\+[0-9]+)*|[^\W\d]\w*)=(?P<path>.+)")


@dataclass(frozen=True)
class Towards:
    """A label: the volume that holds it, and its numbers there; none: every number but 0."""

    volume: Volume
    ids: tuple[int, ...]


def towards_of(text: str, source: Volume, voxel_size: float | None) -> Towards:
    """Find the label that ``--towards`` means.

    Parameters
    ----------
    text
        A label of the source, or ``LABEL=PATH``, or a path; a label is a number, ``1+2``, or the name of a class.
    source
        The volume whose surfaces are made.
    voxel_size
        Of a file that does not state it, angstrom.

    Raises
    ------
    InputError
        There is no such label, the path names no volume of this tomogram, or that has other voxels.
    """
    given = None if Path(text).exists() else _GIVEN.fullmatch(text)
    if given is not None:
        other = _other(given["path"], source, voxel_size)
        return Towards(other, _ids(given["label"], other))
    if _NUMBERS.fullmatch(text) or text in _classes(source):
        return Towards(source, _ids(text, source))
    if not (Path(text).exists() or "://" in text or any(sign in text for sign in "./#*")):
        names = ", ".join(_classes(source)) or "no class"
        raise InputError(
            f"--towards {text}: {stored_name(source)} names {names}. Give the number of the label (--towards 2), or "
            f"the volume that holds it (--towards {text}=labels.mrc)."
        )
    other = _other(text, source, voxel_size)
    if other.kind != "labels":
        raise InputError(
            f"--towards {text}: {stored_name(other)} does not say that it holds labels; say which number is meant "
            f"(--towards 1={text})."
        )
    return Towards(other, ())


def _classes(volume: Volume) -> Mapping[str, int]:
    stated = volume.facts.get("classes")
    return {str(name): int(id) for name, id in stated.items()} if isinstance(stated, dict) else {}


def _ids(label: str, volume: Volume) -> tuple[int, ...]:
    if volume.kind == "probability":
        raise InputError(f"--towards {label}: {stored_name(volume)} holds a prediction, which has no labels.")
    if not _NUMBERS.fullmatch(label):
        names = _classes(volume)
        if label not in names:
            known = ", ".join(names) or "no class"
            raise InputError(f"--towards {label}: {stored_name(volume)} names {known}; give the number of the label.")
        return (names[label],)
    ids = tuple(int(number) for number in label.split("+"))
    if min(ids) < 1:
        raise InputError(f"--towards {label}: 0 is the background; labels are 1 or more.")
    return ids


def _other(path: str, source: Volume, voxel_size: float | None) -> Volume:
    """The volume of the same tomogram that a path, a folder or a glob names; it must have the same voxels."""
    paths = [path] if split_group(path)[1] else expand([path])
    mine = [one for one in paths if same_tomogram(source.name, [_tomogram_by_name(one)])]
    volumes = [open_sized(one, voxel_size) for one in mine or paths]  # of many, those whose files have its name
    if len(volumes) > 1:
        whose = [tomogram_in(one.name, feature_of(one)) for one in volumes]
        name = same_tomogram(source.name, set(whose))
        if name is None:
            raise InputError(f"--towards {path} names {len(paths)} volumes, and none of tomogram {source.name!r}.")
        volumes = [one for one, its in zip(volumes, whose, strict=True) if its == name]
        if len(volumes) > 1:
            some = ", ".join(one.where for one in volumes[:MOST_NAMED])
            raise InputError(
                f"--towards {path} names {len(volumes)} volumes of tomogram {source.name!r}: {some}. Give the one that "
                "holds the label, or a pattern that names one of each tomogram."
            )
    (found,) = volumes
    near = all(abs(a - b) <= 0.01 * b for a, b in zip(found.voxel_size, source.voxel_size, strict=True))
    if found.shape != source.shape or not near:
        raise InputError(
            f"--towards: {found.where} has {found.shape} voxels of {found.voxel_size} angstrom, and {source.where} "
            f"{source.shape} of {source.voxel_size}; give labels of the same voxels."
        )
    check_same_part(source, found)
    return found


def _tomogram_by_name(path: str) -> str:
    """The tomogram that the name of a volume's file says."""
    name = tomogram_name(split_group(path)[0])
    return tomogram_in(name, feature_in(name))


def towards_stages(label: Towards, options: RunOptions) -> tuple[Stage, Stage]:
    """The stages that gather the label's voxels: a table for each block, and the places of all."""
    volume = label.volume
    side = side_of(volume.shape)
    where = stored_name(volume)

    def build(core: Index3) -> Stage:
        tiling = Tiling(volume.shape, core)
        return Stage(
            f"{PLACES}-cells",
            _CELLS,
            tiling,
            params={"ids": list(label.ids), "side": side, "where": where},
            arrays={"labels": ArrayInput(volume)},
            emits=True,
            kernel_bytes=kernel_bytes(_CELLS, voxels=tiling.box(0).size),
        )

    cells = build(options.core_for(volume.shape, volume.chunks or UNCHUNKED, build, largest=LARGEST_BLOCK))
    places = Stage(
        PLACES,
        _JOIN,
        Tiling(ONE, ONE),
        params={"where": where, "ids": list(label.ids), "voxel_size": list(volume.voxel_size)},
        tables={"cells": TableInput(cells.name, "all")},
        emits=True,
        kernel_bytes=kernel_bytes(_JOIN, cells=_cells(volume.shape, side), blocks=len(cells.tiling)),
    )
    return cells, places


def side_of(shape: Index3) -> int:
    """Side of the cells of a volume, voxels.

    >>> side_of((256, 256, 256)), side_of((512, 2048, 2048))
    (4, 16)
    """
    side = LEAST_SIDE
    while _cells(shape, side) > MOST_CELLS:
        side *= 2
    return side


def _cells(shape: Index3, side: int) -> int:
    return math.prod(-(-n // side) for n in shape)
