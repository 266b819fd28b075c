"""Measure the facts for a proposal: features, grey values, slices, the machine, and the networks to choose from.

The truth is read once, a few slices at a time; the thickness of objects is measured in some blocks around them, and
grey values in some slices. So the memory is that of 16 slices, of a block, and of :data:`MOST_SLICES` slices' sums.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError
from volengine.core.units import NM_TO_ANGSTROM
from volengine.core.volume import Volume
from volengine.io.names import Source
from volengine.io.open import open_source, open_volume
from volengine.ops.score_masks import FEATURE, IGNORE
from volengine.ops.thickness import inscribed_diameters, typical
from volengine.tasks.train.contrast import check_contrast, slabs
from volengine.tasks.train.model import built, check_dimensions
from volengine.tasks.train.propose_facts import (
    Candidate,
    FeatureFacts,
    GreyFacts,
    Kind,
    MachineFacts,
    SampleFacts,
    is_flat,
)
from volengine.tasks.train.samples import SCAN_SLAB, PatchRules, TrainSample
from volengine.tasks.train.sets import Stored
from volengine.tasks.train.sources import stored_sets
from volengine.tasks.train.volumes import Thinned, labels_of, region_of, region_text

BLOCKS = 12
"""Blocks in which the thickness of a feature is measured."""
BLOCK = 96
MOST_SLICES = 32
MOST_ENTRIES = 64
CHOICE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("unet3d", {}),
    ("unet3d", {"levels": 4}),
    ("unet2d", {}),
    ("unet2d", {"levels": 5}),
)
"""The networks to choose from, by their receptive field; they are convolutional, so that exact mode can apply them."""


def measure(samples: Sequence[TrainSample], features: Sequence[str]) -> list[SampleFacts]:
    """Measure the samples of a recipe that are trained on.

    Raises
    ------
    InputError
        There is none, or a sample cannot be read as the recipe says.
    """
    rules = PatchRules(tuple(features), (1, 1, 1), normalisation="none", validation_share=0.0)
    found: list[SampleFacts] = []
    for sample in samples:
        sample.check_features(rules.features)
        if sample.is_set:
            found += [_set_facts(sample, stored, rules.features) for stored in stored_sets(sample, rules).values()]
        else:
            found.append(_volume_facts(sample, rules))
    if not any(facts.use != "validate" for facts in found):
        raise InputError("Every sample is for validation; nothing is left to train on.")
    return found


# -- volumes -------------------------------------------------------------------------------------------------


def _volume_facts(sample: TrainSample, rules: PatchRules) -> SampleFacts:
    volume = open_volume(sample.volume, voxel_size=sample.voxel_size)
    source, region = open_source(volume), region_of(sample, volume)
    check_contrast(slabs(source, region), region_text(volume, region))
    kind: Kind = "boxes" if sample.boxes else "slices" if sample.slices else "volume"
    names = sample.features or rules.features  # in the order of the sample's labels or points
    features: list[FeatureFacts] = []
    voxels = region.size
    greys, alike = _greys(source, volume, region)
    if not sample.targets:
        flat = kind != "volume" or is_flat(region.shape, volume.voxel_size, alike)
        labels = labels_of(sample, volume, rules, region)
        marked, counts, known = _scan(labels, region, len(rules.features))
        voxels = max(1, max(known))
        for k, name in enumerate(rules.features):
            if name in names:
                row = names.index(name)
                thick = _ball_diameter(sample, row, volume) or _thickness(labels, k, marked[k], region, flat=flat)
                features.append(FeatureFacts(name, counts[k] / max(1, known[k]), thick))
    return SampleFacts(
        sample.volume, kind, sample.use, region.shape, voxels, region.shape[0], volume.voxel_size, tuple(features),
        (volume.name,), greys, alike,
        box=sample.box_vox if sample.boxes else 0,
    )  # fmt: skip


def _scan(labels: Any, region: Box, count: int) -> tuple[list[NDArray[np.int64]], list[int], list[int]]:
    """For each feature some of its voxels, their number, and the number of voxels that count."""
    found = [Thinned(20_000) for _ in range(count)]
    counts, known = [0] * count, [0] * count
    for slab in region.slabs(SCAN_SLAB):
        for k, part in enumerate(labels.read(slab)):
            at = np.argwhere(part == FEATURE)
            found[k].add(at + slab.start)
            counts[k] += len(at)
            known[k] += int((part != IGNORE).sum())
    return [thinned.rows for thinned in found], counts, known


def _ball_diameter(sample: TrainSample, row: int, volume: Volume) -> float | None:
    """Diameter of the balls around the points of a row of the sample's truth, voxels; ``None`` for labels."""
    if not sample.points:
        return None
    radius = sample.radius_nm[row if len(sample.radius_nm) > 1 else 0]
    return 2 * radius * NM_TO_ANGSTROM / float(np.mean(volume.voxel_size[1:]))


def _thickness(labels: Any, k: int, marked: NDArray[np.int64], region: Box, *, flat: bool) -> float | None:
    """Thickness of a feature in some blocks around its voxels; ``flat``: in single slices."""
    if not len(marked):
        return None
    side = np.minimum((1 if flat else BLOCK, BLOCK, BLOCK), region.shape)
    low, high = np.array(region.start), np.array(region.stop) - side
    chosen = marked[np.linspace(0, len(marked) - 1, min(BLOCKS, len(marked))).astype(int)]
    starts = np.unique(np.clip(chosen - side // 2, low, high), axis=0)
    found = []
    for start in starts.tolist():
        box = Box(index3(start), index3(a + n for a, n in zip(start, side.tolist(), strict=True)))
        found.append(inscribed_diameters(labels.read(box)[k] == FEATURE))
    return typical(np.concatenate(found))


def _greys(source: Source, volume: Volume, region: Box) -> tuple[GreyFacts, tuple[float, float, float]]:
    """Grey values of some pairs of neighbouring slices of the region, and of slices of the whole volume."""
    first, last = region.start[0], region.stop[0]
    pairs = np.unique(np.linspace(first, max(first, last - 2), min(MOST_SLICES // 2, last - first)).astype(int))
    means, stds, values, alike = [], [], [], []
    for z in pairs.tolist():
        box = Box((z, *region.start[1:]), (min(z + 2, last), *region.stop[1:]))
        some = source.read(box).astype(np.float64)
        if not np.isfinite(some).all():
            raise InputError(f"{volume.url} holds voxels that are not finite (NaN or infinity); replace them first.")
        means += some.mean(axis=(1, 2)).tolist()
        stds += some.std(axis=(1, 2)).tolist()
        values.append(some.ravel()[:: max(1, some.size // 100_000)])
        alike.append([_correlation(some, axis) for axis in range(3)])
    sample = np.concatenate(values)
    mean, std = float(sample.mean()), float(sample.std())
    mad = 1.4826 * float(np.median(np.abs(sample - np.median(sample))))
    low, high = np.percentile(stds, (5, 95))
    whole = _whole(source, volume) if region.shape != volume.shape else (mean, std)
    unit = std or 1.0
    facts = GreyFacts(
        drift=float(np.std(means)) / unit,
        spread=float(high / low) if low > 0 else 1.0,
        offset=(mean - whole[0]) / (whole[1] or 1.0),
        gain=std / whole[1] if whole[1] > 0 and std > 0 else 1.0,
        tails=std / mad if mad > 0 else 1.0,
    )
    z, y, x = np.nanmean(np.array(alike), axis=0).tolist()
    return facts, (z, y, x)


def _whole(source: Source, volume: Volume) -> tuple[float, float]:
    """Mean and standard deviation of some slices of the whole volume."""
    nz, ny, nx = volume.shape
    parts = []
    for z in np.unique(np.linspace(0, nz - 1, min(MOST_SLICES // 2, nz)).astype(int)).tolist():
        some = source.read(Box((z, 0, 0), (z + 1, ny, nx))).astype(np.float64).ravel()
        parts.append(some[:: max(1, some.size // 100_000)])
    values = np.concatenate(parts)
    return float(values.mean()), float(values.std())


def _correlation(values: NDArray[np.float64], axis: int) -> float:
    """Correlation of neighbours along an axis; 0 where there are none, or where nothing varies."""
    one = np.delete(values, -1, axis=axis).ravel()
    two = np.delete(values, 0, axis=axis).ravel()
    if len(one) < 2 or one.std() == 0 or two.std() == 0:
        return 0.0
    return float(np.corrcoef(one, two)[0, 1])


# -- training sets -------------------------------------------------------------------------------------------


def _set_facts(sample: TrainSample, stored: Stored, names: Sequence[str]) -> SampleFacts:
    """Facts of a training set, from some of its entries."""
    numbers = np.unique(np.linspace(0, len(stored.groups) - 1, min(MOST_ENTRIES, len(stored.groups))).astype(int))
    counts: dict[int, list[int]] = {}
    diameters: dict[int, list[NDArray[np.float64]]] = {}
    shapes, depths, voxels = [], [], 0
    for number in numbers.tolist():
        image, labels = stored.read(number)
        row = stored.rows[number]
        both = counts.setdefault(row, [0, 0])
        both[0] += int((labels == FEATURE).sum())
        both[1] += int((labels != IGNORE).sum())
        voxels += int((labels != IGNORE).sum())
        diameters.setdefault(row, []).append(inscribed_diameters(labels == FEATURE))
        shapes.append(image.shape)
        annotated = labels.shape[0] if labels.shape[0] == 1 else int((labels != IGNORE).any(axis=(1, 2)).sum())
        depths.append(annotated)
    least = index3(min(sides) for sides in zip(*shapes, strict=True))
    flat = max(depths) <= 1
    features = tuple(
        FeatureFacts(names[row], on / max(1, known), typical(np.concatenate(diameters[row])))
        for row, (on, known) in sorted(counts.items())
    )
    tomograms = tuple(sorted({*stored.tomograms} - {""}))
    return SampleFacts(
        stored.path, "flat set" if flat else "set", sample.use, least, voxels * len(stored.groups) // len(numbers),
        least[0], stored.voxel_size, features, tomograms, None, None, bool(stored.reserved),
    )  # fmt: skip


# -- machine and networks ------------------------------------------------------------------------------------


def machine_facts(device: str) -> MachineFacts:
    """The device of a training, and what is free of its memory.

    Raises
    ------
    InputError
        The machine does not have the device.
    """
    import torch

    from volengine.nets.predictor import resolve_device

    found = resolve_device(device)
    if found.type == "cuda":
        free, _ = torch.cuda.mem_get_info(found)
        return MachineFacts(torch.cuda.get_device_name(found), "gpu", free, torch.get_num_threads())
    threads = torch.get_num_threads()
    kind = "cpu" if found.type == "cpu" else "gpu"
    name = f"{threads} thread{'s' * (threads > 1)} of a CPU" if kind == "cpu" else str(found)
    return MachineFacts(name, "cpu" if kind == "cpu" else "gpu", free_memory(), threads)


def free_memory() -> int:
    """Bytes that this process can still have: of the machine, or of its control group if that is less."""
    from volengine.engine.memory import machine_memory

    limit = machine_memory()
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        total, free = (int(lines[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    except (OSError, KeyError, ValueError):  # another system than Linux: what others use is not known
        return limit // 2
    try:
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):  # no control group of version 2, or one that lies deeper
        used = 0
    return free_of(limit, used, total, free)


def free_of(limit: int, used: int, total: int, free: int) -> int:
    """Bytes that are free, of a limit of which some are used, on a machine with so many in total and free.

    Without a control group the limit is the machine's memory; then ``used`` holds files that are cached, too, and only
    what the machine says is free counts.

    >>> free_of(limit=100, used=90, total=200, free=95), free_of(limit=200, used=150, total=200, free=95)
    (10, 95)
    """
    return min(free, max(0, limit - used)) if limit < total else free


def candidates(given: Mapping[str, Any], features: int) -> list[Candidate]:
    """The networks to choose from; the given one alone, if there is one.

    Raises
    ------
    InputError
        The given network is unknown, or cannot be built with the given arguments.
    """
    if "network" in given:
        return [candidate(given["network"], given.get("arguments", {}), features)]
    if "arguments" not in given:
        return [candidate(name, arguments, features) for name, arguments in CHOICE]
    found, refused = [], []
    for name in dict.fromkeys(name for name, _ in CHOICE):
        try:
            found.append(candidate(name, given["arguments"], features))
        except InputError as error:
            refused.append(error)
    if not found:
        raise refused[0]
    return found


def candidate(name: str, arguments: Mapping[str, Any], features: int) -> Candidate:
    """The facts of a network with this number of output channels."""
    from volengine.nets.architectures.receptive import dimensions, stride_of
    from volengine.nets.registry import reach

    module = built(name, arguments, features)
    volumetric = dimensions(module) == 3
    stride = stride_of(module, volumetric)
    try:
        radius: int | None = reach(module, volumetric)[0][2]
    except InputError:  # the network normalises over its patch
        radius = None
    return Candidate(name, volumetric, radius, stride, dict(arguments), _takes_context(name, arguments, features))


def _takes_context(name: str, arguments: Mapping[str, Any], features: int) -> bool:
    """Whether a network can be built for several slices; one of the user's own need not take the argument."""
    try:
        built(name, arguments, features, context=3)
    except InputError:
        return False
    return True


def step_memory(features: int, network: Candidate, patch: Index3, context: int, batch: int) -> int:
    """Bytes of a training step (:func:`volengine.nets.footprint.step_bytes`)."""
    from volengine.nets.footprint import step_bytes

    check_dimensions(network.network, 3 if network.volumetric else 2, patch)
    shape = (batch, 1, *patch) if network.volumetric else (batch, context, *patch[1:])
    return step_bytes(built(network.network, network.arguments, features, context), shape, features)
