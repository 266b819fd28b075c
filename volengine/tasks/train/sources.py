"""Open samples: choose the source of each one, and the parts of all that are kept for validation.

``validation="ends"`` or ``"slab"``: slabs of each volume, and some of the tomograms of each training set.
``validation="tomogram"``: whole tomograms of all samples; two samples of one tomogram stay together. A sample with
``use: train`` or ``use: validate`` is used as a whole for this.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from volengine.core.errors import InputError
from volengine.io.cached import ChunkCache
from volengine.io.names import suffix_of
from volengine.tasks.train.boxes import BoxPatches
from volengine.tasks.train.samples import LazyPatches, NamedPatch, Patch, PatchRules, SampleSource, TrainSample, Use
from volengine.tasks.train.sets import SetPatches, Stored, nifti_stored, scnt_stored
from volengine.tasks.train.tied import check_slabs, shown, tied, together
from volengine.tasks.train.volumes import OpenVolume, Patches

CACHE_BYTES = 256_000_000
"""Bytes of recently read chunks, of all volumes together, that are kept in memory."""


def open_sources(samples: Sequence[TrainSample], rules: PatchRules, cache: int = CACHE_BYTES) -> list[SampleSource]:
    """Open all samples.

    Parameters
    ----------
    samples, rules
        What to open, and what a patch is.
    cache
        Bytes of recently read chunks that are kept in memory.

    Raises
    ------
    InputError
        A sample does not fit the rules; or a share is to be kept for validation, but no sample has such a part.
    """
    chunks = ChunkCache(cache)
    for sample in samples:
        sample.check_features(rules.features)
    sets = [stored_sets(sample, rules) if sample.is_set else {} for sample in samples]
    names = _names(samples, rules)
    whole, held = _held_apart(samples, sets, rules, names)
    found: list[SampleSource] = []
    same: dict[int, str] = {}
    for sample, stored, name in zip(samples, sets, names, strict=True):
        if sample.is_set:
            found += _set_sources(sample, stored, rules, whole, held)
            continue
        use: Use = sample.use
        if use == "both" and whole:
            use = "validate" if name in held else "train"
        kind = BoxPatches if sample.boxes else Patches
        same[len(found)] = name
        found.append(kind(sample, rules, use, chunks))
    if not whole:
        of = [same.get(n, "") for n in range(len(found))]
        found = together(found, rules, chunks, of)
        if rules.folds:
            check_slabs(found, of)
    _check(found, rules, samples)
    return found


def stored_sets(sample: TrainSample, rules: PatchRules) -> dict[str, Stored]:
    """The training sets of a sample, by token; errors are those of :func:`open_sources`."""
    if suffix_of(sample.volume) == ".scnt":
        return {sample.token or sample.volume.rsplit("/", 1)[-1].removesuffix(".scnt"): scnt_stored(sample, rules)}
    return nifti_stored(sample, rules)


def _set_sources(
    sample: TrainSample, sets: dict[str, Stored], rules: PatchRules, whole: bool, held: Collection[str]
) -> list[SampleSource]:
    """The sources of a sample's sets; patches are drawn from each in proportion to its size."""
    total = sum(len(stored.groups) for stored in sets.values())
    found: list[SampleSource] = []
    for token, stored in sets.items():
        mine = held
        if not whole:
            names = {*stored.tomograms} - {""}
            mine = _share_of(names, rules) if len(names) > 1 and not stored.reserved else ()
        share = sample.with_(weight=sample.weight * len(stored.groups) / total)
        found.append(SetPatches(stored, share, rules, mine, sample.use, sample.token or token))
    return found


def _names(samples: Sequence[TrainSample], rules: PatchRules) -> list[str]:
    """The tomogram of each sample, where whole ones are kept apart; halves of one tilt series have one name."""
    if rules.validation != "tomogram" and not rules.folds:
        return [""] * len(samples)
    seen = [[] if sample.is_set else shown(sample) for sample in samples]
    own = [volumes[0].name if volumes else sample.volume for volumes, sample in zip(seen, samples, strict=True)]
    objects = tied([{f"name {name}", *(v.url for v in volumes)} for name, volumes in zip(own, seen, strict=True)])
    first: dict[str, str] = {}
    for found, name in zip(objects, own, strict=True):
        first[found] = min(name, first.get(found, name))
    return [first[found] for found in objects]


def _held_apart(
    samples: Sequence[TrainSample], sets: Sequence[dict[str, Stored]], rules: PatchRules, of: Sequence[str]
) -> tuple[bool, frozenset[str]]:
    """Whether whole tomograms are kept for validation, and which ones."""
    if rules.validation != "tomogram" and not rules.folds:
        return False, frozenset()
    names: list[str] = []
    for sample, stored, name in zip(samples, sets, of, strict=True):
        if sample.use == "both":
            names += [n for s in stored.values() for n in s.tomograms] if sample.is_set else [name]
    if not rules.folds:
        return True, _share_of(names, rules)
    check_folds(names, [s for sample, s in zip(samples, sets, strict=True) if sample.use == "both"], rules)
    every = sorted({*names})
    if len(every) < rules.folds:
        return False, frozenset()
    mixed = np.random.default_rng(rules.seed).permutation(len(every))[rules.fold - 1 :: rules.folds]
    return True, frozenset(every[k] for k in mixed)


def check_folds(names: Sequence[str], sets: Sequence[dict[str, Stored]], rules: PatchRules) -> None:
    """Refuse samples that cannot be divided into folds whose parts for validation have nothing in common.

    Raises
    ------
    InputError
        There is nothing to divide; a training set does not name its tomograms, or has a part for validation of its own;
        or there are fewer tomograms than folds, and a set.
    """
    found = [stored for some in sets for stored in some.values()]
    vague = next((s for s in found if "" in s.tomograms or s.reserved), None)
    if vague is not None:
        raise InputError(
            f"{vague.path} does not say of which tomograms its boxes are, or has its own part for validation, so it "
            "cannot be divided into --folds; train without folds, or give the sample use: train."
        )
    if not names:
        raise InputError("--folds has nothing to divide: no sample has use: both.")
    count = len({*names})
    if count >= rules.folds:
        return
    if found:
        raise InputError(
            f"{found[0].path}: {count} tomograms are fewer than {rules.folds} folds, and the boxes of a set cannot be "
            f"divided into slabs; {f'give --folds {count}' if count > 1 else 'train without folds'}."
        )


def held_out_of(sources: Iterable[SampleSource]) -> list[dict[str, Any]]:
    """What is kept for validation, as JSON: whole tomograms, boxes of them (first voxel, voxel behind the last)."""
    found: list[dict[str, Any]] = []
    for source in sources:
        if isinstance(source, SetPatches):
            names = sorted({source.stored.tomograms[n] for n in source.held_out})
            found += [{"sample": source.name, "tomogram": name} for name in names]
        elif isinstance(source, OpenVolume):
            boxes = [[*box.start, *box.stop] for box in source.held_out]
            found += [{"sample": source.volume.url, "tomogram": source.name, "box": box} for box in boxes]
    return found


def _share_of(names: Iterable[str], rules: PatchRules) -> frozenset[str]:
    """A share of the names, at least one, chosen by the seed."""
    every = sorted({*names} - {""})
    if not rules.validation_share or not every:
        return frozenset()
    count = max(1, math.floor(rules.validation_share * len(every) + 0.5))
    if count >= len(every):
        raise InputError(
            f"--validation tomogram keeps whole tomograms apart, but there is only {every[0]!r}; give several, a "
            "sample with use: validate, or --validation ends."
        )
    chosen = np.random.default_rng(rules.seed).permutation(len(every))[:count]
    return frozenset(every[k] for k in chosen)


def _check(sources: Sequence[SampleSource], rules: PatchRules, samples: Sequence[TrainSample]) -> None:
    if not any(source.weight for source in sources):
        raise InputError("Every sample is for validation; nothing is left to train on.")
    wanted = rules.validation_share > 0 or rules.folds or any(sample.use == "validate" for sample in samples)
    if wanted and all(sample.use != "train" for sample in samples) and not any(len(s.validation()) for s in sources):
        raise InputError(
            f"{sources[0].name} has no part that could be kept for validation (it does not say of which tomograms its "
            "boxes are); add a sample with use: validate, or give --validation-share 0."
        )


class Draw:
    """Draw patches from all sources, from each as often as its weight says."""

    def __init__(self, sources: Sequence[SampleSource]):
        self.sources = [source for source in sources if source.weight > 0]
        weights = np.array([source.weight for source in self.sources])
        self._shares = None if (weights == weights[0]).all() else np.cumsum(weights / weights.sum())

    def source(self, rng: np.random.Generator) -> SampleSource:
        """A random source."""
        if self._shares is None:
            return self.sources[int(rng.integers(len(self.sources)))]
        return self.sources[min(int(np.searchsorted(self._shares, rng.random(), "right")), len(self.sources) - 1)]

    def __call__(self, rng: np.random.Generator) -> NamedPatch:
        """A random patch of a random source."""
        source = self.source(rng)
        return (*source.draw(rng), source.token)


def validation_of(sources: Iterable[SampleSource]) -> LazyPatches[NamedPatch]:
    """The patches for validation of all sources."""
    return LazyPatches(
        [(partial(_named, s.validation(), s.token), k) for s in sources for k in range(len(s.validation()))]
    )


def _named(patches: Sequence[Patch], token: str, number: int) -> NamedPatch:
    return (*patches[number], token)
