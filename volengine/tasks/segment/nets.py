"""How each model of a recipe is applied to a volume: patch lattice, blending, normalisation and views."""

from __future__ import annotations

import math
from typing import NamedTuple

from volengine.core.boxes import Index3, index3
from volengine.core.errors import InputError, PlanError
from volengine.core.lattice import AxisLattice, EdgeRule, Lattice
from volengine.core.model import ModelFacts
from volengine.core.volume import Volume
from volengine.engine.options import RunOptions
from volengine.io.stores import located
from volengine.ops.normalise import AIS_EPSILON
from volengine.ops.resample import resampled_shape
from volengine.tasks.segment.description import Net
from volengine.tasks.segment.recipe import SegmentRecipe, check_voxel_size, fit_stride

MATCHED = {"none": "", "xy": "yx", "isotropic": "zyx"}
"""For each value of ``match``, the axes that are resampled to the model's voxel size."""

LARGEST_FACTOR = 8
"""Largest ratio of voxel sizes that ``match`` accepts; a larger one is more likely an error in a file's header."""

EXACT_TILE = 3
"""Exact mode: side of a tile divided by the receptive field's radius; a 3D network then computes each voxel about 5
times. The side is rounded to the nearest power of two, so that blocks hold whole tiles."""

SLICE_MULTIPLE, SLICE_CONTEXT = 32, 64
"""Ais pads whole slices to a multiple of 32 voxels, plus 64."""

BACKGROUND = "background"
"""Name of the background channel of a softmax: it is not a feature, and nothing is written for it."""


class Grid(NamedTuple):
    """What networks read together.

    Parameters
    ----------
    shape
        Shape of the grid, voxels z, y, x: the volume's own, or a matched one.
    unsigned
        Whether its signed bytes are taken for unsigned ones (-1 is 255), as Ais does for models with ``global_mad``.
    """

    shape: Index3
    unsigned: bool


def nets_of(volume: Volume, recipe: SegmentRecipe, options: RunOptions) -> dict[Grid, list[Net]]:
    """How each model of the recipe is applied, by the grid that it reads.

    Raises
    ------
    InputError, PlanError
        A model does not fit the volume or the recipe.
    """
    found: dict[Grid, list[Net]] = {}
    for path in recipe.models:
        shape, net = _net(volume, recipe, options, path)
        unsigned = recipe.compat == "ais" and net.normalisation == "global_mad" and volume.dtype == "int8"
        found.setdefault(Grid(shape, unsigned), []).append(net)
    return found


def _net(volume: Volume, recipe: SegmentRecipe, options: RunOptions, path: str) -> tuple[Index3, Net]:
    from volengine.nets.backends import named
    from volengine.nets.checkpoint import identity, load_facts
    from volengine.nets.registry import allowed
    from volengine.nets.registry import located as own_located
    from volengine.nets.shipped import is_shipped
    from volengine.nets.tta import mirrored_depth, views

    digest = identity(path)  # before its facts are read: if it is replaced meanwhile, the worker's check fails
    facts = load_facts(path)
    how = recipe.resolved()
    shape = _shape(volume, recipe, facts, path)
    _check_answer(recipe, facts, path)
    views(how.tta, mirrored_depth(facts.volumetric, facts.context))
    edge: EdgeRule = how.edge or facts.edge
    softmax = facts.activation == "softmax"
    logits = how.mean_of == "logits"
    features = tuple("" if softmax and f == BACKGROUND else f for f in facts.features)
    if not any(features):
        raise InputError(f"{path} predicts no feature: its channels are {facts.features}; name one of them at least.")
    own = allowed(facts.network, recipe.network_files)
    backend = named(recipe.backend)
    return shape, Net(
        path=path if is_shipped(path) else located(path),
        digest=digest,
        features=features,
        lattice=lattice_of(shape, recipe, facts, path),
        window="constant" if recipe.exact else how.window or facts.window,
        edges=(edge if facts.volumetric else "edge", edge, edge),  # beyond the ends: the last slice, as in Ais
        normalisation=facts.normalisation,
        bounded=facts.activation != "none" and not logits,
        execution={
            "batch": recipe.batch,
            "device": _device(recipe, options),
            "precision": recipe.precision,
            "channels_last": recipe.channels_last,
            "compile": recipe.compile,
            "tta": how.tta,
            "mean_of": how.mean_of,
            "spread": recipe.uncertainty,
            **({"backend": backend} if backend else {}),  # PyTorch's stages are what they were before there were others
        },
        mirror_volume=how.tta_of == "volume",
        sigmoid=logits and facts.activation == "sigmoid" and recipe.answer == "probabilities",
        network=own and own_located(own, facts.network),
        inverted=recipe.invert,
        colour=_colour(facts),
        epsilon=AIS_EPSILON.get(facts.normalisation, 0.0) if recipe.compat == "ais" else 0.0,
        revision=_revision(facts) if not backend else 0,
    )


def _revision(facts: ModelFacts) -> int:
    """How predictions of a network were changed in their last bits: 1: 1x1 convolutions of one map together; 2: rows.

    The latter are inception modules that are computed some rows at a time.
    """
    from volengine.nets.architectures.chains import rows_in
    from volengine.nets.architectures.fan import fans_in

    layers = facts.arguments.get("layers", ())
    if facts.volumetric:
        return 0
    return 2 if facts.network == "inceptionnet" or rows_in(layers) else int(fans_in(layers))


def _device(recipe: SegmentRecipe, options: RunOptions) -> str:
    """Where networks run: as the options say, and with a backend on the CPU.

    Raises
    ------
    InputError
        The options ask for a GPU.
    """
    if recipe.backend == "torch" or options.device == "cpu":
        return options.device
    if options.device != "auto":
        raise InputError(
            f"--backend {recipe.backend} computes networks on CPUs, but --device is {options.device}; leave out one."
        )
    return "cpu"


def _colour(facts: ModelFacts) -> tuple[float, float, float] | None:
    """The model's colour, if it is that of one feature; white for a network that answers values (without noise)."""
    if facts.activation == "none":
        return 1.0, 1.0, 1.0
    return facts.colour if len(set(facts.features) - {BACKGROUND}) == 1 else None


def _shape(volume: Volume, recipe: SegmentRecipe, facts: ModelFacts, path: str) -> Index3:
    """Shape of the grid on which a model sees the volume, resampled if the recipe asks for it."""
    match = recipe.resolved().match
    axes = MATCHED[match]
    if not recipe.any_voxel_size:
        minded = "yx" if recipe.compat == "ais" else "zyx"  # Ais ignores the voxel size along z
        rest = "".join(axis for axis in minded if axis not in axes)
        check_voxel_size(volume, path, facts, recipe.match_tolerance, rest)
    for axis, v, m in zip("zyx", volume.voxel_size, facts.voxel_size, strict=True):
        if axis in axes and not 1 / LARGEST_FACTOR <= v / m <= LARGEST_FACTOR:
            raise InputError(
                f"{path} was trained at {m:g} angstrom per voxel, but {volume.url} says {v:g} along {axis}: more than "
                f"a factor of {LARGEST_FACTOR}. Is that its voxel size? Give the true --voxel-size when converting."
            )
    low, high = facts.voxel_range or (0.0, 0.0)
    sides = [v for axis, v in zip("zyx", volume.voxel_size, strict=True) if axis in axes]
    if all(low * (1 - recipe.match_tolerance) <= v <= high * (1 + recipe.match_tolerance) for v in sides):  # learnt
        axes = ""
    return resampled_shape(
        volume.shape, volume.voxel_size, facts.voxel_size, axes=axes, tolerance=recipe.match_tolerance
    )


def _check_answer(recipe: SegmentRecipe, facts: ModelFacts, path: str) -> None:
    """Refuse a recipe that asks for output which this model's answers cannot give."""
    if facts.activation == "none" and recipe.dtype == "uint8":
        raise InputError(f"{path} predicts values, not probabilities; use --dtype float32.")
    if facts.activation == "none" and recipe.uncertainty:
        raise InputError(f"{path} predicts values, not probabilities; leave out --uncertainty.")
    if facts.activation == "softmax" and recipe.resolved().mean_of == "logits":
        raise InputError(f"{path} answers with a softmax over its channels; only probabilities can be averaged.")
    if recipe.compat == "ais" and facts.volumetric:
        raise InputError(f"{path} is a 3D network; --compat ais is for networks that see slices.")
    if recipe.compat == "membrain" and not facts.volumetric:
        raise InputError(f"{path} sees slices; --compat membrain is for 3D networks.")


def lattice_of(shape: Index3, recipe: SegmentRecipe, facts: ModelFacts, path: str) -> Lattice:
    """Lay out the patches of a model on a volume of this shape (z, y, x).

    Raises
    ------
    PlanError
        The patch is not a multiple of the network's stride.
    InputError
        Exact mode is asked for, but the network has no finite receptive field.
    """
    how = recipe.resolved()
    patch = _patch(shape, recipe, facts, path)
    fit_stride(patch, facts.stride, path)
    below, above = facts.context_slices
    if recipe.exact:
        return _exact(shape, patch, facts, path, given=how.patch is not None)
    overlap = facts.overlap if how.overlap is None else how.overlap
    flat = not facts.volumetric
    margin = recipe.margin_vox
    return Lattice.sliding(
        shape,
        patch,
        (0.0 if flat else overlap, overlap, overlap),
        (0 if flat else margin, margin, margin),
        (below, 0, 0),
        (above, 0, 0),
    )


def _patch(shape: Index3, recipe: SegmentRecipe, facts: ModelFacts, path: str) -> Index3:
    how = recipe.resolved()
    if how.patch == "slice" or (facts.whole_slices and not recipe.says_patches):
        y, x = (
            -(-n // math.lcm(SLICE_MULTIPLE, s)) * math.lcm(SLICE_MULTIPLE, s) + SLICE_CONTEXT
            for n, s in zip(shape[1:], facts.stride[1:], strict=True)
        )
        return facts.patch[0], y, x
    patch = facts.patch if how.patch is None else how.patch
    if not facts.volumetric and patch[0] != 1:
        raise PlanError(f"{path} sees slices: its patches are one voxel thick along z, not {patch[0]}.")
    return patch


def _exact(shape: Index3, patch: Index3, facts: ModelFacts, path: str, *, given: bool) -> Lattice:
    if facts.receptive_field is None:
        raise InputError(
            f"{path}: the network has no finite receptive field (it normalises over its patch), or its file states "
            "none, so there is no exact mode for it; leave out --exact."
        )
    if facts.normalisation == "per_patch":
        raise InputError(f"{path} was trained with patches normalised by themselves; leave out --exact.")
    if not given:  # context is computed and discarded: for tiles smaller than it, most of the work would be lost
        strides = zip(patch, facts.receptive_field, facts.stride, strict=True)
        patch = index3(max(p, -(-_power(EXACT_TILE * r) // s) * s) for p, r, s in strides)
    z, y, x = (
        AxisLattice.tiles(n, p, r, s)
        for n, p, r, s in zip(shape, patch, facts.receptive_field, facts.stride, strict=True)
    )
    if not facts.volumetric:
        z = AxisLattice.sliding(shape[0], 1, low=facts.context_slices[0], high=facts.context_slices[1])
    return Lattice(z, y, x)


def _power(length: int) -> int:
    """The power of two that is nearest to a length."""
    return 1 << round(math.log2(length)) if length > 0 else 1
