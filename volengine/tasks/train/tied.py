"""Samples that show the same object: of one tomogram, or with the same target, such as the two halves of a tilt series.

What one of them keeps for validation must not be trained on in another one. So whole tomograms are kept together, and
slabs of the same region lie at the same place, chosen for the features of all samples (:func:`together`). Where the
regions differ, or the recipe says ``use: train``, parts may overlap; this is said (:func:`overlaps`). In folds regions
that differ and overlap are refused (:func:`check_slabs`), because no fold would be a measurement.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from functools import partial

from volengine.core.boxes import Box
from volengine.core.errors import InputError
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
    above: dict[str, str] = {}

    def first(name: str) -> str:
        while above.setdefault(name, name) != name:
            above[name] = above[above[name]]
            name = above[name]
        return name

    for some in names:
        least, *others = sorted({first(name) for name in some})
        above.update(dict.fromkeys(others, least))  # the first of all names stays above the others
    return [first(min(some)) for some in names]


def shown(sample: TrainSample) -> list[Volume]:
    """The volumes in which the object of a sample is seen: the tomogram, and its targets."""
    volume = open_volume(sample.volume, voxel_size=sample.voxel_size)
    parts = [split_group(path) for path in sample.targets]
    sizes = [None if group else volume.voxel_size for _, group in parts]
    return [volume, *(open_volume(url, group=g, voxel_size=s) for (url, g), s in zip(parts, sizes, strict=True))]


def together(
    sources: list[SampleSource], rules: PatchRules, chunks: ChunkCache | None = None, names: Sequence[str] = ()
) -> list[SampleSource]:
    """The sources, in which samples of one object and one region keep the same slabs for validation.

    Parameters
    ----------
    sources, rules, chunks
        The open samples, what a patch is, and the cache of chunks.
    names
        The tomogram of each source, where sources of one name and one shape are to keep the same slabs, too (in folds);
        ``""``: none.
    """
    places = [k for k, s in enumerate(sources) if isinstance(s, OpenVolume) and s.training and s.held_out]
    opened = [s for k in places if isinstance(s := sources[k], OpenVolume)]
    groups: dict[tuple[str, Box], list[OpenVolume]] = {}
    for source, name in zip(opened, _objects(opened, [names[k] for k in places] if names else ()), strict=True):
        groups.setdefault((name, source.region), []).append(source)
    made: dict[int, SampleSource] = {}
    for group in groups.values():
        first = group[0]
        if all((s.training, s.held_out) == (first.training, first.held_out) for s in group):
            continue
        parts = split(first.region, rules, first.volume, "both", partial(_marks, group))
        made |= {id(s): _moved(s, parts, chunks) for s in group}
    return [made.get(id(s), s) for s in sources]


def check_slabs(sources: Sequence[SampleSource], names: Sequence[str]) -> None:
    """Refuse folds in which a slab that one sample keeps is trained on in another sample of its tomogram.

    Samples with ``use: train`` may: their recipe says so, and :func:`overlaps` tells it.

    Parameters
    ----------
    sources, names
        The open samples, and the tomogram of each; ``""``: it is not known.

    Raises
    ------
    InputError
        Two samples of one tomogram have regions that overlap and differ, or volumes of other shapes.
    """
    of: dict[str, list[OpenVolume]] = {}
    for source, name in zip(sources, names, strict=True):
        if name and isinstance(source, OpenVolume) and source.sample.use == "both":
            of.setdefault(name, []).append(source)
    for name, some in of.items():
        what = f"two samples are of {name!r}, and the slabs of their folds cannot be the same"
        ways = "Give whole tomograms: as many as --folds; or keep one of these samples"
        other = next((s for s in some if s.volume.shape != some[0].volume.shape), None)
        if other is not None:
            raise InputError(
                f"{what}: {some[0].volume.url} has {some[0].volume.shape} voxels, {other.volume.url} "
                f"{other.volume.shape}. {ways}."
            )
        for one, two in itertools.permutations(some, 2):
            if any(not h.intersect(t).empty for h in one.held_out for t in two.training):
                raise InputError(
                    f"{what}: their regions {_text(one)} and {_text(two)} (z, y, x) overlap and differ. {ways}, give "
                    "both the same region, or regions that do not overlap."
                )


def _text(source: OpenVolume) -> str:
    return f"{source.region.start} to {source.region.stop}"


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


def _objects(sources: Sequence[OpenVolume], names: Sequence[str] = ()) -> list[str]:
    """The object of each source, by name; only volumes of one shape can be compared voxel by voxel."""
    found = [{f"{v.url} {s.volume.shape}" for v in shown(s.sample)} for s in sources]
    for some, source, name in zip(found, sources, names, strict=bool(names)):
        some |= {f"name {name} {source.volume.shape}"} if name else set()
    return tied(found)


def _marks(sources: Sequence[OpenVolume]) -> list[Marks]:
    return [mark for source in sources for mark in source.marks()]


def _moved(source: OpenVolume, parts: Parts, chunks: ChunkCache | None) -> SampleSource:
    made: SampleSource = type(source)(source.sample, source.rules, "both", chunks, parts)  # type: ignore[assignment]
    return made
