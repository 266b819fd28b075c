"""The network of a training (new, or with the weights of a model to start from), its discriminator, and its draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from volengine.core.boxes import Index3
from volengine.core.errors import InputError
from volengine.core.model import ModelFacts
from volengine.core.volume import Vector3
from volengine.io.shared_models import model_path
from volengine.tasks.train.samples import SampleSource
from volengine.tasks.train.sources import Draw

if TYPE_CHECKING:
    import torch

    from volengine.nets.training.augment.recipe import Augmentation
    from volengine.tasks.train.recipe import TrainRecipe

BACKGROUND = "background"


def make_model(
    recipe: TrainRecipe,
    voxel_sizes: Sequence[Vector3],
    data: Mapping[str, str],
    held_out: Sequence[Mapping[str, Any]] = (),
) -> tuple[Any, ModelFacts]:
    """Build the network with seeded weights, and its facts.

    Parameters
    ----------
    recipe
        The recipe of the training.
    voxel_sizes
        Voxel sizes of all samples, angstrom, z, y, x.
    data
        Identity of everything that is read, by its name in the recipe; it is kept in the model's history.
    held_out
        Of a fold: what is kept for validation; it is kept in the history, too.

    Raises
    ------
    InputError
        The voxel sizes differ, or the network does not fit the patch or the model to start from.
    """
    from volengine.nets.architectures.receptive import dimensions, stride_of
    from volengine.nets.registry import is_own, own_name, reach
    from volengine.nets.seeds import seeded

    voxel_size, voxel_range = _voxel_size(voxel_sizes, differ=recipe.any_voxel_size)
    volumetric = recipe.patch[0] > 1
    features = (BACKGROUND, *recipe.features) if recipe.exclusive else recipe.features
    arguments = arguments_of(recipe.arguments, len(features), recipe.context)
    own = recipe.network if is_own(recipe.network) else None
    name = own_name(own) if own else recipe.network
    module = built(recipe.network, recipe.arguments, len(features), recipe.context, recipe.seed)
    check_dimensions(recipe.network, dimensions(module), recipe.patch)
    field_of_view: Index3 | None
    with seeded(0):  # probing draws random inputs
        stride = stride_of(module, volumetric)
        try:
            field_of_view, _ = reach(module, volumetric)
        except InputError:  # the network normalises over its patch
            field_of_view = None
    apart = {"held_out": [dict(part) for part in held_out]} if recipe.folds else {}
    facts = ModelFacts(
        network=name,
        arguments=arguments,
        features=features,
        voxel_size=voxel_size,
        voxel_range=voxel_range,
        patch=recipe.patch,
        whole_slices=recipe.on_boxes and not volumetric,
        overlap=recipe.overlap,
        context=recipe.context,
        normalisation=recipe.normalisation,
        activation="none" if recipe.regression else "softmax" if recipe.exclusive else "sigmoid",
        target=recipe.target_normalisation if recipe.regression else None,
        receptive_field=field_of_view,
        stride=stride,
        history=({"recipe": recipe.to_json(), "data": dict(data), **apart},),
    )
    return started_from(module, facts, recipe.start, own)


def check_dimensions(network: str, wanted: int, patch: Sequence[int]) -> None:
    """Refuse a patch of slices for a 3D network, and a 3D patch for a 2D one; 0: the network says nothing.

    Raises
    ------
    InputError
        They do not fit.
    """
    shape = 3 if patch[0] > 1 else 2
    if wanted not in (0, shape):
        fitting = (32, 32, 32) if wanted == 3 else (1, 128, 128)
        raise InputError(
            f"The network {network!r} is {wanted}D, but the patch {tuple(patch)} is {shape}D; "
            f"for example {fitting} would fit."
        )


def arguments_of(given: Mapping[str, Any], channels: int, context: int = 1) -> dict[str, Any]:
    """The arguments with which a network is built: those that the recipe gives, its channels and its slices."""
    return {"channels": channels, **given, **({"context": context} if context > 1 else {})}


def built(name: str, given: Mapping[str, Any], channels: int, context: int = 1, seed: int = 0) -> Any:
    """Build a network with seeded weights; the process's own random numbers are not touched.

    Parameters
    ----------
    name, given
        The network as a recipe names it, and the recipe's arguments.
    channels, context
        Number of its output channels, and of the slices that it sees.
    seed
        Of the weights.

    Raises
    ------
    InputError
        The name is unknown, the arguments do not fit, or the network sees no context slices.
    """
    from volengine.nets.registry import build, is_own, own_name
    from volengine.nets.seeds import seeded

    own = name if is_own(name) else None
    stored = own_name(own) if own else name
    with seeded(seed):
        try:
            return build(stored, arguments_of(given, channels, context), own=own)
        except InputError:
            if context > 1 and _builds_without_context(stored, arguments_of(given, channels), own):
                raise InputError(
                    f"The network {name!r} sees no context slices, and --context is {context}: that is for 2D networks "
                    "that predict a slice from several, such as unet2d with --patch 1,128,128. A 3D network sees the "
                    "slices of its patch. Leave out --context, or give such a network."
                ) from None
            raise


def _builds_without_context(name: str, arguments: Mapping[str, Any], own: str | None) -> bool:
    from volengine.nets.registry import build

    try:
        build(name, arguments, own=own)
    except InputError:
        return False
    return True


def _voxel_size(sizes: Sequence[Vector3], *, differ: bool) -> tuple[Vector3, tuple[float, float] | None]:
    """The model's voxel size: that of the samples, or of samples that differ their geometric mean and their range."""
    sides = [v for size in sizes for v in size]
    low, high = min(sides), max(sides)
    if all(max(along) <= 1.05 * min(along) for along in zip(*sizes, strict=True)):
        return sizes[0], None
    long = next(filter(_long, sizes), None)
    if differ and long is not None:
        raise InputError(
            f"--any-voxel-size is for samples whose voxels are cubes, and one has {_shown(long)} angstrom; rescale it "
            "first."
        )
    if not differ:
        raise InputError(
            f"The voxel sizes of the samples differ by more than 5 % ({low:g} to {high:g} angstrom); rescale them "
            "first, or learn from each as it is: --any-voxel-size."
        )
    mean = round(float(np.exp(np.mean(np.log(sides)))), 2)
    return (mean, mean, mean), (low, high)


def _long(size: Vector3) -> bool:
    return max(size) > 1.05 * min(size)


def _shown(size: Vector3) -> str:
    return " x ".join(f"{side:g}" for side in size)


def started_from(module: Any, facts: ModelFacts, start: str, own: str | None) -> tuple[Any, ModelFacts]:
    """Load the weights of the model file ``start``, if it is given, and continue its history.

    ``own`` is the user's own architecture that this training names; only this one may be run for ``start``.
    """
    if not start:
        return module, facts
    from volengine.nets.training.fit.finetune import start_from

    older, new = start_from(module, model_path(start), network=own)
    return module, facts.with_(history=(*older.history, {**facts.history[-1], "begun_anew": new}))


def make_discriminator(recipe: TrainRecipe) -> Any:
    """Build the PatchGAN of an adversarial training with seeded weights; ``None`` for other trainings."""
    if not recipe.adversarial:
        return None
    if recipe.patch[0] > 1 or recipe.exclusive:
        raise InputError("--adversarial is for 2D networks with independent features (Pix2pix).")
    from volengine.nets.architectures.ais2d_pix2pix import PatchGAN
    from volengine.nets.seeds import seeded

    with seeded(recipe.seed + 1):
        return PatchGAN(recipe.context, len(recipe.features))


def drawing(
    sources: Sequence[SampleSource], augment: Augmentation, device: torch.device
) -> Callable[[np.random.Generator], tuple[Any, Any, str]]:
    """A function that draws a patch of any sample and augments it, on the device of the network."""
    import torch

    from volengine.nets.training.augment.apply import augmented

    drawn = Draw(sources)

    def draw(rng: np.random.Generator) -> tuple[Any, Any, str]:
        image, labels, token = drawn(rng)
        if device.type == "cuda":
            moved = torch.as_tensor(image).to(device), torch.as_tensor(labels).to(device)
            return (*augmented(augment, *moved, rng), token)
        return (*augmented(augment, image, labels, rng), token)

    return draw
