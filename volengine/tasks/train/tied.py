"""Samples that show the same object: of one tomogram, or with the same target, such as the two halves of a tilt series.

What one of them keeps for validation must not be trained on in another one. So whole tomograms are kept together, and
slabs of the same region lie at the same place, chosen for the features of all samples (:func:`together`). Where the
regions differ, or the recipe says ``use: train``, parts may overlap; this is said (:func:`overlaps`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import partial

from volengine.core.boxes import Box
from volengine.core.volume import Volume
from volengine.io.cached import ChunkCache
from volengine.io.names import split_group
from volengine.io.open import open_volume
from volengine.tasks.train.parts import Marks, Parts, split
from volengine.tasks.train.samples import PatchRules, SampleSource, TrainSample
from volengine.tasks.train.volumes import OpenVolume


def tied(names: Sequence[Collection[str]]) -> list[str]:
    """Give everything that shares a name, directly or through others, one name: the first one of all its names.

    >>> tied([{"a_even", "a_odd"}, {"b"}, {"a_odd", "a_ideal"}])
    ['a_even', 'b', 'a_even']
    """
    found = [{*some} for some in names]
    for _ in found:
        for one in found:
            for other in found:
                if one is not other and one & other and one != other:
                    one |= other
                    other |= one
    return [min(some) for some in found]


def shown(sample: TrainSample) -> list[Volume]:
    """The volumes in which the object of a sample is seen: the tomogram, and its targets."""
    volume = open_volume(sample.volume, voxel_size=sample.voxel_size)
    parts = [split_group(path) for path in sample.targets]
    sizes = [None if group else volume.voxel_size for _, group in parts]
    return [volume, *(open_volume(url, group=g, voxel_size=s) for (url, g), s in zip(parts, sizes, strict=True))]


def together(sources: list[SampleSource], rules: PatchRules, chunks: ChunkCache | None = None) -> list[SampleSource]:
    """The sources, in which samples of one object and one region keep the same slabs for validation."""
    opened = [s for s in sources if isinstance(s, OpenVolume) and s.training and s.held_out]
    groups: dict[tuple[str, Box], list[OpenVolume]] = {}
    for source, name in zip(opened, _objects(opened), strict=True):
        groups.setdefault((name, source.region), []).append(source)
    made: dict[int, SampleSource] = {}
    for group in groups.values():
        first = group[0]
        if all((s.training, s.held_out) == (first.training, first.held_out) for s in group):
            continue
        parts = split(first.region, rules, first.volume, "both", partial(_marks, group))
        made |= {id(s): _moved(s, parts, chunks) for s in group}
    return [made.get(id(s), s) for s in sources]


def overlaps(sources: Sequence[SampleSource]) -> Iterator[str]:
    """Lines about parts for validation that are trained on in another sample of the same object."""
    opened = [s for s in sources if isinstance(s, OpenVolume)]
    names = _objects(opened)
    for source, name in zip(opened, names, strict=True):
        others = [s for s, n in zip(opened, names, strict=True) if n == name and s is not source]
        common = [h.intersect(t) for h in source.held_out for s in others for t in s.training]
        if any(not box.empty for box in common):
            yield (
                f"{source.name}: voxels that are kept for validation are trained on in another sample of it, so the "
                "validation says too little; use regions that do not overlap."
            )


def _objects(sources: Sequence[OpenVolume]) -> list[str]:
    """The object of each source, by name; only volumes of one shape can be compared voxel by voxel."""
    return tied([{f"{v.url} {s.volume.shape}" for v in shown(s.sample)} for s in sources])


def _marks(sources: Sequence[OpenVolume]) -> list[Marks]:
    return [mark for source in sources for mark in source.marks()]


def _moved(source: OpenVolume, parts: Parts, chunks: ChunkCache | None) -> SampleSource:
    made: SampleSource = type(source)(source.sample, source.rules, "both", chunks, parts)  # type: ignore[assignment]
    return made
