"""train: a network from volumes with their truth, from boxes in annotated slices, from training sets; or from all.

Samples are streamed: each step reads its patches from where they lie, a share of them around voxels of the feature.
What is kept for validation is a slab of each volume, or whole tomograms. See :mod:`volengine.tasks.train_samples` for
what can be trained on, :mod:`volengine.tasks.train_volumes`, :mod:`~volengine.tasks.train_boxes` and
:mod:`~volengine.tasks.train_sets` for what is read from it.

>>> sample = TrainSample(volume="TS_01.ome.zarr", points=("ribosomes.star",), radius_nm=(12,))
>>> recipe = TrainRecipe(samples=(sample,), features=("ribosome",), epochs=20)
>>> history = train(recipe, "ribosome.safetensors")                                          # doctest: +SKIP
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from volengine.core.boxes import Index3
from volengine.core.errors import InputError
from volengine.core.model import ModelFacts
from volengine.core.recipe import Recipe
from volengine.core.volume import Vector3
from volengine.tasks.train_samples import Named, PatchRules, TrainSample
from volengine.tasks.train_sources import Draw, open_sources, validation_of


@dataclass(frozen=True)
class TrainRecipe(Recipe):
    """What to train, on what, and how long.

    Parameters
    ----------
    samples
        Volumes with their truth, or training sets.
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
    validation
        slab: of each volume a part is kept for validation, and of a training set some of its tomograms; tomogram: whole
        tomograms of all samples.
    validation_share
        Share of each region's longest axis that is kept for validation (at least one patch), or of the tomograms (at
        least one); 0: none.
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
    validation: Literal["slab", "tomogram"] = "slab"
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
            sample.check_features(self.features)
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

    def rules(self) -> PatchRules:
        """What the sources of samples need to know."""
        return PatchRules(**{f.name: getattr(self, f.name) for f in fields(PatchRules)})


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
    sources = open_sources(recipe.samples, recipe.rules())
    for k, feature in enumerate(recipe.features):
        if not any(source.positives[k] for source in sources):
            raise InputError(f"No voxel of {feature!r} lies in the training part of any sample: nothing to learn from.")
    module, facts = _model(recipe, [source.voxel_size for source in sources])
    augment = Augmentation(noise=recipe.noise, contrast=recipe.contrast, brightness=recipe.brightness)

    drawn = Draw(sources)

    def draw(rng: np.random.Generator) -> Named:
        image, labels, token = drawn(rng)
        return (*augment(image, labels, rng), token)

    validation = validation_of(sources)
    schedule = Schedule(recipe.epochs, recipe.steps, recipe.batch, recipe.learning_rate, recipe.seed)
    fit = Fit(module, facts, draw, validation, schedule, Path(out), device)
    return fit.run(progress=progress)


def _model(recipe: TrainRecipe, voxel_sizes: list[Vector3]) -> tuple[Any, ModelFacts]:
    """A new network, seeded, and its facts."""
    import torch

    from volengine.nets.receptive import dimensions, stride_of
    from volengine.nets.registry import build, reach

    sizes = [v for size in voxel_sizes for v in size]
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
        voxel_size=voxel_sizes[0],
        patch=recipe.patch,
        overlap=recipe.overlap,
        context=recipe.context,
        normalisation=recipe.normalisation,
        receptive_field=field_of_view,
        stride=stride,
        history=({"recipe": recipe.to_json()},),
    )
    return module, facts
