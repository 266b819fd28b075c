"""train: a network from volumes with labels, or with points and a radius.

Samples are streamed: each step reads its patches from the volumes, a share of them around voxels of the feature.
A slab at the end of each region's longest axis is kept for validation; training patches, with their context, never
touch it. Nothing outside of the region is seen, except by the statistics of ``normalisation="per_slice"``, which are
those of whole slices; those of ``volume`` are the region's.

>>> sample = TrainSample(volume="TS_01.ome.zarr", points=("ribosomes.star",), radius_nm=(12,))
>>> recipe = TrainRecipe(samples=(sample,), features=("ribosome",), epochs=20)
>>> history = train(recipe, "ribosome.safetensors")                                          # doctest: +SKIP
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError
from volengine.core.model import ModelFacts
from volengine.core.recipe import Recipe
from volengine.core.units import NM_TO_ANGSTROM
from volengine.core.volume import Volume
from volengine.engine.work import read_box
from volengine.io import open_source, open_volume
from volengine.tasks.train_labels import LabelFiles, LabelPoints, Labels

if TYPE_CHECKING:
    from volengine.nets.fit import Sample
    from volengine.ops.normalise import Moments

MAX_POSITIONS = 20_000
SCAN_SLAB = 16


@dataclass(frozen=True)
class TrainSample(Recipe):
    """One volume with its truth, for one or several features.

    Parameters
    ----------
    volume
        Path or URL of the tomogram.
    labels
        One label volume per feature, in order: 0 background, 1 feature, 2 ignore. ``store.ome.zarr#labels/core`` names
        labels inside a store.
    ids, ignore_id
        With a single label volume that holds class ids: feature k is where it equals ``ids[k]``, everything else is
        background, and voxels that equal ``ignore_id`` do not count.
    points
        Instead: one picks file per feature; the feature is a ball around each point.
    radius_nm
        Radius of these balls; one for all features or one per feature.
    beyond_nm
        With points: voxels further from every point than this count as background; between radius and this they are
        ignored. ``None``: everything outside of the balls is background.
    region
        Use only this part of the volume: z0, y0, x0, z1, y1, x1 in voxels; -1 stands for the end.
    """

    volume: str
    labels: tuple[str, ...] = ()
    ids: tuple[int, ...] = ()
    ignore_id: int | None = None
    points: tuple[str, ...] = ()
    radius_nm: tuple[float, ...] = ()
    beyond_nm: float | None = None
    region: tuple[int, int, int, int, int, int] | None = None

    def check(self) -> None:
        if bool(self.labels) == bool(self.points):
            raise InputError(f"{self.volume}: give either labels or points.")
        if self.points and (not self.radius_nm or min(self.radius_nm) <= 0):
            raise InputError(f"{self.volume}: points need a positive radius_nm.")
        if self.points and len(self.radius_nm) not in (1, len(self.points)):
            raise InputError(f"{self.volume}: {len(self.points)} points files, but {len(self.radius_nm)} radii.")
        if self.beyond_nm is not None and self.points and self.beyond_nm < max(self.radius_nm):
            raise InputError(
                f"{self.volume}: beyond_nm is {self.beyond_nm}, less than the radius {max(self.radius_nm)} nm."
            )
        if self.ids and len(self.labels) != 1:
            raise InputError(f"{self.volume}: ids need exactly one label volume, not {len(self.labels)}.")
        if self.ignore_id is not None and (not self.ids or self.ignore_id in self.ids):
            raise InputError(f"{self.volume}: ignore_id {self.ignore_id} needs ids that do not contain it: {self.ids}.")

    @property
    def features(self) -> int:
        """For how many features it holds the truth."""
        return len(self.ids) or len(self.labels) or len(self.points)


@dataclass(frozen=True)
class TrainRecipe(Recipe):
    """What to train, on what, and how long.

    Parameters
    ----------
    samples
        Volumes with their truth.
    features
        Names of the features, in the order of the labels.
    network, arguments
        Name in the registry of networks (``unet``, ``vggnet``, ``unet3d``), and what it is built with.
    patch
        What the network sees, voxels z, y, x; z is 1 for 2D networks.
    context
        2.5D: slices that the network sees, around the one that it answers for.
    overlap
        Default overlap for applying the network.
    normalisation
        ``volume``, ``per_slice``, ``per_patch`` or ``none``.
    epochs, steps
        Number of epochs, and of steps in each.
    batch
        Patches per step.
    learning_rate
        Of Adam, at the beginning; it falls along a cosine.
    positive_share
        Share of the patches that are drawn around a voxel of the feature.
    validation_share
        Share of each region's longest axis that is kept for validation (at least one patch); 0: none.
    noise, contrast, brightness
        Strength of the augmentation, see ``volengine.nets.augment``.
    seed
        The same seed gives the same network, on the same machine.
    device
        ``auto``, ``cpu``, ``cuda``.
    """

    samples: tuple[TrainSample, ...]
    features: tuple[str, ...]
    network: str = "unet3d"
    arguments: dict[str, Any] = field(default_factory=dict)
    patch: tuple[int, int, int] = (32, 32, 32)
    context: int = 1
    overlap: float = 0.5
    normalisation: Literal["none", "per_slice", "per_patch", "volume"] = "volume"
    epochs: int = 10
    steps: int = 50
    batch: int = 4
    learning_rate: float = 1e-3
    positive_share: float = 0.5
    validation_share: float = 0.15
    noise: float = 0.2
    contrast: float = 0.1
    brightness: float = 0.1
    seed: int = 0
    device: str = "auto"

    def check(self) -> None:
        if not self.samples:
            raise InputError("Training needs at least one sample: a volume with labels or points.")
        for sample in self.samples:
            if sample.features != len(self.features):
                raise InputError(
                    f"{sample.volume}: labels or points of {sample.features} for {len(self.features)} features "
                    f"({', '.join(self.features)})."
                )
        for name in ("epochs", "steps", "batch"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name} must be 1 or more, not {getattr(self, name)}.")
        for name in ("positive_share", "validation_share"):
            if not 0 <= getattr(self, name) < 1 + (name == "positive_share"):
                raise InputError(f"--{name.replace('_', '-')} must be between 0 and 1, not {getattr(self, name)}.")
        for name in ("noise", "contrast", "brightness", "seed"):
            if getattr(self, name) < 0:
                raise InputError(f"--{name} must be 0 or more, not {getattr(self, name)}.")
        if self.learning_rate <= 0:
            raise InputError(f"--learning-rate must be positive, not {self.learning_rate}.")


class Patches:
    """Draws patches from one volume."""

    def __init__(self, sample: TrainSample, recipe: TrainRecipe):
        self.recipe = recipe
        self.volume = open_volume(sample.volume)
        self.source = open_source(self.volume)
        self.region = _region(sample, self.volume)
        self.labels = _labels(sample, self.volume)
        self.training, self.held_out = _split(self.region, recipe, self.volume)
        self._moments = self._statistics() if recipe.normalisation in ("volume", "per_slice") else None
        self.positive = self._positions()

    def _statistics(self) -> Moments:
        from volengine.ops.normalise import combine, slice_moments

        _, ny, nx = self.volume.shape
        starts = range(self.region.start[0], self.region.stop[0], SCAN_SLAB)
        rows = []
        for z in starts:
            stop = min(z + SCAN_SLAB, self.region.stop[0])
            if self.recipe.normalisation == "per_slice":
                box = Box((z, 0, 0), (stop, ny, nx))
            else:
                box = Box((z, *self.region.start[1:]), (stop, *self.region.stop[1:]))
            rows.append(slice_moments(self.source.read(box)))
        return combine([np.concatenate(rows, axis=0)])

    def _positions(self) -> list[NDArray[np.int64]]:
        """For each feature, voxels of it in the training part, evenly thinned to a bounded number."""
        found = [_Thinned(MAX_POSITIONS) for _ in self.recipe.features]
        box = self.training
        for z in range(box.start[0], box.stop[0], SCAN_SLAB):
            slab = Box((z, *box.start[1:]), (min(z + SCAN_SLAB, box.stop[0]), *box.stop[1:]))
            for k, labels in enumerate(self.labels.read(slab)):
                found[k].add(np.argwhere(labels == 1) + slab.start)
        return [thinned.rows for thinned in found]

    def sample(self, start: Index3) -> Sample:
        """The normalised patch that begins here, with its labels."""
        box = Box(start, index3(a + n for a, n in zip(start, self.recipe.patch, strict=True)))
        below = self.recipe.context // 2
        seen = box.grow((below, 0, 0), (self.recipe.context - 1 - below, 0, 0))
        edge: Literal["reflect", "edge"] = "reflect" if self.recipe.patch[0] > 1 else "edge"
        image = read_box(self.source, seen, edge).astype(np.float32)
        return self._normalised(image, seen.start[0]), self.labels.read(box)

    def _normalised(self, image: NDArray[np.float32], z: int) -> NDArray[np.float32]:
        from volengine.ops.normalise import standardise, standardise_itself

        if self._moments is not None and self.recipe.normalisation == "volume":
            mean, std = self._moments.volume()
            standardise(image, mean, std, image)
        elif self._moments is not None:
            means, stds = self._moments.per_slice()
            at = np.clip(np.arange(z, z + len(image)) - self.region.start[0], 0, len(means) - 1)
            standardise(image, means[at], stds[at], image)
        elif self.recipe.normalisation == "per_patch":
            standardise_itself(image)
        return image

    def draw(self, rng: np.random.Generator) -> Sample:
        """A random patch of the training part; with ``positive_share``, one that holds a feature voxel."""
        low = np.array(self.training.start)
        high = np.array(self.training.stop) - self.recipe.patch
        places = self.positive[int(rng.integers(len(self.positive)))]
        if len(places) and rng.random() < self.recipe.positive_share:
            voxel = places[int(rng.integers(len(places)))]
            inside = np.array([int(rng.integers(n)) for n in self.recipe.patch])
            start = np.clip(voxel - inside, low, high)
        else:
            start = np.array([int(rng.integers(a, b + 1)) for a, b in zip(low, high, strict=True)])
        return self.sample(index3(start))

    def validation(self) -> list[Sample]:
        """Patches that cover the held-out slab; they overlap where its sides are no multiple of theirs."""
        if self.held_out is None:
            return []
        axes = []
        for a, b, n in zip(self.held_out.start, self.held_out.stop, self.recipe.patch, strict=True):
            count = -(-(b - a) // n)
            axes.append(np.unique(np.linspace(a, b - n, count).astype(int)))
        starts = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        if len(starts) > 64:
            starts = starts[:: len(starts) // 64]
        return [self.sample(index3(s)) for s in starts]


class _Thinned:
    """Every s-th of many rows, s doubled whenever there are more than twice ``most``: bounded memory, no chance."""

    def __init__(self, most: int):
        self.rows: NDArray[np.int64] = np.empty((0, 3), np.int64)
        self._most, self._every, self._seen = most, 1, 0

    def add(self, rows: NDArray[np.int64]) -> None:
        kept = rows[-self._seen % self._every :: self._every]
        self._seen += len(rows)
        self.rows = np.concatenate([self.rows, kept])
        while len(self.rows) > 2 * self._most:
            self.rows, self._every = self.rows[::2], 2 * self._every


def _labels(sample: TrainSample, volume: Volume) -> Labels:
    if sample.labels:
        return LabelFiles(sample.labels, volume, sample.ids, sample.ignore_id)
    beyond = None if sample.beyond_nm is None else sample.beyond_nm * NM_TO_ANGSTROM
    radii = [r * NM_TO_ANGSTROM for r in sample.radius_nm]
    return LabelPoints.from_files(sample.points, radii, volume, beyond)


def _region(sample: TrainSample, volume: Volume) -> Box:
    if sample.region is None:
        return Box.of_shape(volume.shape)
    start = index3(sample.region[:3])
    stop = index3(n if v == -1 else v for v, n in zip(sample.region[3:], volume.shape, strict=True))
    box = Box(start, stop)
    if box.empty or not Box.of_shape(volume.shape).contains(box):
        raise InputError(f"The region {sample.region} is empty or leaves the volume {volume.shape} ({volume.url}).")
    return box


def _split(region: Box, recipe: TrainRecipe, volume: Volume) -> tuple[Box, Box | None]:
    """The training part and the held-out slab at the end of the longest axis."""
    axis = int(np.argmax(region.shape))
    length, patch = region.shape[axis], recipe.patch[axis]
    least = patch + (recipe.context - 1 if axis == 0 else 0)
    held = max(int(np.ceil(recipe.validation_share * length)), least) if recipe.validation_share else 0
    stop, start = list(region.stop), list(region.start)
    stop[axis] -= held
    start[axis] = stop[axis]
    training = _within(Box(region.start, index3(stop)), recipe.context, volume)
    if any(n < p for n, p in zip(training.shape, recipe.patch, strict=True)):
        raise InputError(
            f"{volume.url}: the training part {training.shape} is smaller than the patch {recipe.patch} "
            f"({held} voxels of axis {'zyx'[axis]} are kept for validation); use smaller patches or "
            "--validation-share 0."
        )
    if not held:
        return training, None
    held_out = _within(Box(index3(start), region.stop), recipe.context, volume)
    if any(n < p for n, p in zip(held_out.shape, recipe.patch, strict=True)):
        raise InputError(
            f"{volume.url}: no patch {recipe.patch} with {recipe.context} slices of context fits into the part for "
            f"validation {held_out.shape}; use a larger --validation-share, or 0."
        )
    return training, held_out


def _within(box: Box, context: int, volume: Volume) -> Box:
    """Where patches may lie so that their context slices stay in the box too, or are beyond the volume's ends."""
    below = context // 2 if box.start[0] > 0 else 0
    above = context - 1 - context // 2 if box.stop[0] < volume.shape[0] else 0
    start, stop = box.start[0] + below, box.stop[0] - above
    return Box((start, *box.start[1:]), (max(start, stop), *box.stop[1:]))


def train(recipe: TrainRecipe, out: str, *, progress: bool = True) -> list[dict[str, float]]:
    """Train a network; the best state is written to ``out`` (``.safetensors``).

    The state of each epoch lies in the folder ``<out>.training``: a training that was stopped goes on from there when
    it is called again with the same recipe, and ends as if it had not been stopped.

    Returns
    -------
    list of dict
        One row per epoch: loss, validation loss and Dice, seconds.

    Raises
    ------
    InputError
        Samples that do not fit, a region smaller than a patch, another recipe's training in the way.
    """
    from volengine.nets.augment import Augmentation
    from volengine.nets.fit import Fit, Schedule, flush_denormals
    from volengine.nets.predictor import resolve_device

    flush_denormals()
    if not out.endswith(".safetensors"):
        raise InputError(f"--out {out}: a model file ends with .safetensors.")
    device = resolve_device(recipe.device)
    patches = [Patches(sample, recipe) for sample in recipe.samples]
    for k, feature in enumerate(recipe.features):
        if not any(len(p.positive[k]) for p in patches):
            raise InputError(f"No voxel of {feature!r} lies in the training part of any sample: nothing to learn from.")
    module, facts = _model(recipe, [p.volume for p in patches])
    augment = Augmentation(noise=recipe.noise, contrast=recipe.contrast, brightness=recipe.brightness)

    def draw(rng: np.random.Generator) -> Sample:
        image, labels = patches[int(rng.integers(len(patches)))].draw(rng)
        return augment(image, labels, rng)

    validation = [sample for p in patches for sample in p.validation()]
    schedule = Schedule(recipe.epochs, recipe.steps, recipe.batch, recipe.learning_rate, recipe.seed)
    fit = Fit(module, facts, draw, validation, schedule, Path(out), device)
    return fit.run(progress=progress)


def _model(recipe: TrainRecipe, volumes: list[Volume]) -> tuple[Any, ModelFacts]:
    """A new network, seeded, and its facts."""
    import torch

    from volengine.nets.receptive import dimensions, stride_of
    from volengine.nets.registry import build, reach

    sizes = [v for volume in volumes for v in volume.voxel_size]
    if max(sizes) > 1.05 * min(sizes):
        raise InputError(
            f"The voxel sizes of the samples differ by more than 5 % ({min(sizes):g} to {max(sizes):g} angstrom); "
            "rescale them first."
        )
    volumetric = recipe.patch[0] > 1
    arguments = {"channels": len(recipe.features), **recipe.arguments}
    if recipe.context > 1:
        arguments["context"] = recipe.context
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        module = build(recipe.network, arguments)
    wanted, shape = dimensions(module), (3 if volumetric else 2)
    if wanted not in (0, shape):
        fitting = (32, 32, 32) if wanted == 3 else (1, 128, 128)
        raise InputError(
            f"The network {recipe.network!r} is {wanted}D, but the patch {recipe.patch} is {shape}D; "
            f"for example {fitting} would fit."
        )
    stride = stride_of(module, volumetric)
    field_of_view: Index3 | None
    try:
        field_of_view, _ = reach(module, volumetric)
    except InputError:  # it normalises over the patch
        field_of_view = None
    facts = ModelFacts(
        network=recipe.network,
        arguments=arguments,
        features=recipe.features,
        voxel_size=volumes[0].voxel_size,
        patch=recipe.patch,
        overlap=recipe.overlap,
        context=recipe.context,
        normalisation=recipe.normalisation,
        receptive_field=field_of_view,
        stride=stride,
        history=({"recipe": recipe.to_json()},),
    )
    return module, facts
