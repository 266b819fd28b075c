"""Regions of interest of the verbs: ``roi=`` of a recipe, and the rule what it does.

With a region a verb does what it does without one, but writes only what lies inside. Its stages still work in voxels of
the whole volume: blocks begin at the region's first voxel (:attr:`Tiling.roi <volengine.core.tiling.Tiling.roi>`),
their halos reach beyond the region, and patches lie on the whole volume's lattice. An image of a region is a volume of
its own, which begins at the region's first voxel and whose origin says where that is. A table counts the voxels of the
volume that was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError
from volengine.core.image import ImageSpec
from volengine.core.roi import roi_box
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.stage import ArrayInput, Stage
from volengine.tasks.common.layout import history


def box_of(volume: Volume, roi: str) -> Box | None:
    """The box of a recipe's ``roi`` in a volume; ``None`` if there is none, or if it is the whole volume.

    Raises
    ------
    InputError
        The region leaves the volume.
    """
    if not roi:
        return None
    box = roi_box(roi, volume.shape, volume.voxel_size, volume.where)
    return None if box == Box.of_shape(volume.shape) else box


def seen_of(volume: Volume, part: Box | None) -> Volume:
    """The volume like which images are made: the volume, or the description of its part."""
    return volume if part is None else volume.cut(part)


def tiling_of(shape: Index3, core: Index3, part: Box | None) -> Tiling:
    """The blocks of a volume, or of its part."""
    return Tiling(shape, core) if part is None else Tiling(shape, core, part.start, part.stop)


def size_of(shape: Index3, part: Box | None) -> Index3:
    """The shape of what blocks cover: the volume's, or that of its part."""
    return shape if part is None else part.shape


def start_of(part: Box | None) -> Index3:
    """The first voxel of what blocks cover."""
    return (0, 0, 0) if part is None else part.start


def history_of(volume: Volume, verb: str, recipe: Any, part: Box | None) -> list[dict[str, Any]]:
    """The history with one more entry, see :func:`~volengine.tasks.common.layout.history`.

    For a part of a volume the entry says which one, in voxels: ``roi`` has ``start``, ``stop`` and ``of``, the shape
    of the whole.
    """
    steps = history(volume, verb, recipe)
    if part is not None:
        steps[-1]["roi"] = {"start": list(part.start), "stop": list(part.stop), "of": list(volume.shape)}
    return steps


def begin_in_whole(volume: Volume) -> Index3 | None:
    """The voxel of its tomogram at which a volume begins, by its history; ``None`` if it has none."""
    steps = volume.facts.get("history")
    if not isinstance(steps, list) or not steps:
        return None
    begin = (0, 0, 0)
    for step in steps:
        roi = step.get("roi") if isinstance(step, Mapping) else None
        start = roi.get("start") if isinstance(roi, Mapping) else None
        if isinstance(start, list) and len(start) == 3 and all(isinstance(a, int) for a in start):
            begin = index3(a + b for a, b in zip(begin, start, strict=True))
    return begin


def check_same_part(one: Volume, other: Volume) -> None:
    """Refuse two volumes that are, by their histories, different parts of a tomogram.

    Raises
    ------
    InputError
        They begin at different voxels; their shapes may be equal.
    """
    a, b = begin_in_whole(one), begin_in_whole(other)
    if a is not None and b is not None and a != b:
        raise InputError(
            f"{one.where} begins at voxel {a} of its tomogram (z, y, x), but {other.where} at {b}: they are different "
            "parts. Make them of the same part (--roi), or cut them to it with volengine crop."
        )


def facts_of(facts: Mapping[str, Any], part: Box | None) -> dict[str, Any]:
    """Facts of a volume that hold for its part, too; the extended header of an MRC file tells of sections of all."""
    kept = dict(facts)
    if part is not None and "mrc" in kept:
        kept["mrc"] = {**kept["mrc"], "ext_type": "", "ext_header_base64": ""}
    return kept


def within(stage: Stage, part: Box | None, *parts: ImageSpec) -> Stage:
    """Return a stage of a whole volume as one of its part.

    Its outputs, and those inputs that are levels of the images ``parts``, hold the part only; other inputs are whole.
    """
    if part is None:
        return stage
    places = {(spec.url, spec.array_path(n)) for spec in parts for n in range(len(spec.levels))}

    def moved(source: ArrayInput) -> ArrayInput:
        return replace(source, at=part.start) if (source.volume.url, source.volume.path) in places else source

    return replace(
        stage,
        tiling=Tiling(stage.tiling.shape, stage.tiling.core, part.start, part.stop),
        arrays={name: moved(source) for name, source in stage.arrays.items()},
        outputs={
            name: output if output.owned else replace(output, at=part.start) for name, output in stage.outputs.items()
        },
    )
