"""Of a part of the result only: the blocks of the passes before it that the part needs, and no others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from volengine.core.boxes import Box, Index3, index3
from volengine.core.image import ImageSpec
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.stage import Stage


def only_needed(
    stages: Sequence[Stage], images: Sequence[ImageSpec], kernels: Sequence[str]
) -> tuple[list[Stage], list[ImageSpec]]:
    """The stages of a plan, of which those that filter in blocks write only what a later one reads.

    Parameters
    ----------
    stages
        In their order. What the last one writes is the result, or a part of it.
    images
        What they write.
    kernels
        Kernels whose blocks do not depend on each other. Their stages get those blocks of their tilings that are
        needed, so the values in these are the same.

    Returns
    -------
    The stages and the images; scratch images hold the blocks that are needed only.
    """
    needed: dict[tuple[str, str], Box] = {}
    parts: dict[tuple[str, str], Box] = {}
    tilings: list[Tiling] = []
    for stage in reversed(stages):
        tiling, keys = stage.tiling, [_key(output.volume) for output in stage.outputs.values()]
        if stage.kernel in kernels and len(keys) == 1 and keys[0] in needed:
            tiling = _blocks_of(tiling, needed[keys[0]])
            parts[keys[0]] = tiling.roi
        for source in stage.arrays.values():
            # beyond a face the volume is mirrored: what is mirrored is nearer to the face than the halo reaches
            key, whole = _key(source.volume), Box.of_shape(source.volume.shape)
            box = source.box(tiling.roi, tiling.shape).intersect(whole)
            needed[key] = _hull(needed.get(key, box), box)
        tilings.append(tiling)
    parts = {key: box for key, box in parts.items() if box != Box.of_shape(_shape_of(stages, key))}
    found = [_of_parts(stage, tiling, parts) for stage, tiling in zip(stages, tilings[::-1], strict=True)]
    return found, [_image_of(spec, parts) for spec in images]


def _shape_of(stages: Sequence[Stage], key: tuple[str, str]) -> Index3:
    return next(o.volume.shape for stage in stages for o in stage.outputs.values() if _key(o.volume) == key)


def _of_parts(stage: Stage, tiling: Tiling, parts: Mapping[tuple[str, str], Box]) -> Stage:
    """A stage of some blocks, whose volumes hold parts."""
    outputs, arrays = dict(stage.outputs), dict(stage.arrays)
    for name, output in outputs.items():
        if part := parts.get(_key(output.volume)):
            outputs[name] = replace(output, volume=output.volume.with_(shape=part.shape), at=part.start)
    for name, source in arrays.items():
        if part := parts.get(_key(source.volume)):
            extent = source.volume.shape if source.scaled else source.extent
            volume = source.volume.with_(shape=part.shape)
            arrays[name] = replace(source, volume=volume, at=part.start, extent=extent)
    return replace(stage, tiling=tiling, outputs=outputs, arrays=arrays)


def _image_of(spec: ImageSpec, parts: Mapping[tuple[str, str], Box]) -> ImageSpec:
    part = parts.get(_key(spec.volume()))
    if part is None:
        return spec
    (level,) = spec.levels
    return replace(spec, levels=(replace(level, shape=part.shape),))


def _key(volume: Volume) -> tuple[str, str]:
    return volume.url, volume.path


def _hull(one: Box, other: Box) -> Box:
    start = index3(min(a, b) for a, b in zip(one.start, other.start, strict=True))
    return Box(start, index3(max(a, b) for a, b in zip(one.stop, other.stop, strict=True)))


def _blocks_of(tiling: Tiling, box: Box) -> Tiling:
    """The blocks of a tiling that have voxels in a box."""
    start = index3(a // c * c for a, c in zip(box.start, tiling.core, strict=True))
    ends = zip(box.stop, tiling.core, tiling.shape, strict=True)
    return Tiling(tiling.shape, tiling.core, start, index3(min(-(-b // c) * c, n) for b, c, n in ends))
