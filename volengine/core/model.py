"""Facts of models: everything that is needed to use a trained network besides its weights.

A *model* is a network with its facts: the voxel size it was trained at, its patch, the normalisation of its input, the
meaning of its outputs. :class:`ModelFacts` holds them as JSON values, and ``volengine.nets.checkpoint`` stores them in
the same file as the weights. So a user of a model does not have to state any of them.

>>> facts = ModelFacts(network="unet3d", features=("core",), voxel_size=(40, 40, 40), patch=(32, 32, 32))
>>> facts.volumetric, facts.context
(True, 1)
>>> ModelFacts.from_json(facts.to_json()) == facts
True
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from volengine.core.boxes import Index3
from volengine.core.errors import InputError
from volengine.core.json_text import shown
from volengine.core.lattice import EdgeRule
from volengine.core.recipe import Recipe
from volengine.core.volume import Vector3

Normalisation = Literal["none", "per_slice", "per_patch", "volume", "global_mad"]
Activation = Literal["sigmoid", "softmax", "none"]
TargetUnits = Literal["volume", "none"]
Window = Literal["gaussian", "hann", "constant", "crop"]

MAX_TTA = 16
"""Number of views of a patch: 4 quarter turns, with and without a flip along x, with and without a flip along z."""

LARGEST_PATCH = 2**20
"""Largest side of a patch, voxels; no real one comes near it."""


@dataclass(frozen=True)
class ModelFacts(Recipe):
    """The facts of a model.

    Parameters
    ----------
    network
        Name of the architecture in ``volengine.nets.registry``.
    features
        Names of the output channels, in their order.
    voxel_size
        Voxel size of the training volumes, angstrom, z, y, x.
    patch
        Shape of the training patches, voxels z, y, x. With depth 1 the network is 2D and predicts slice by slice;
        otherwise it is 3D.
    arguments
        Arguments of the architecture's constructor, by name (JSON values).
    context
        2.5D networks: the number K of slices that the network sees as channels. For slice z these are
        ``z - K // 2`` to ``z - K // 2 + K - 1``; beyond the volume its end slices are repeated. 1 for all others.
    overlap
        Share of a patch that neighbouring patches have in common in a prediction, 0 or more, below 1.
    whole_slices
        Whether a 2D network is applied to whole slices by default, instead of patches: one that was trained on boxes,
        which are small.
    normalisation
        ``none``, or (x - mean) / std with the mean and the population standard deviation of the whole z
        slice (``per_slice``), of the patch with its context (``per_patch``), or of the whole volume (``volume``).
        ``global_mad``: the normalisation of Ais, see :func:`volengine.ops.normalise.mad_statistics`.
    activation
        Function from the network's logits to predictions: ``sigmoid`` (features are independent), ``softmax`` (over
        the channels), or ``none`` (the outputs are grey values, for example of a denoising network).
    target
        Unit of the outputs of a network without activation. ``volume``: (t - mean) / std of each target volume of
        the training; ``none``: the unit of the target volumes; ``None``: not known.
    voxel_range
        Smallest and largest voxel side of the training volumes, angstrom, if they differed. A tomogram with a voxel
        size in this range is not resampled.
    window, edge
        Default blend window, and default edge rule along y and x (3D: also z).
    receptive_field
        Largest distance, voxels z, y, x, from an output voxel to an input voxel that it depends on, context slices
        not counted. ``None``: it depends on its whole patch (for example through instance normalisation).
    stride
        The network's total pooling, voxels z, y, x; patches must be a multiple of it.
    threshold
        Probability above which a voxel belongs to a feature, 0 to below 1, if the maker of the model has chosen one.
    colour
        Colour in which viewers show its features: red, green, blue, 0 to 1.
    tta
        Views of each patch that the maker of the model predicts from (test-time augmentation): 1 to 16, ``flips`` or
        ``flips4``.
    emits, absorbs
        Whether its features emit and absorb in a competition (:class:`volengine.core.rules.Compete`).
    history
        One entry per training: recipe, data, epochs, losses (JSON values).
    version
        Version of volengine that wrote the model.
    """

    network: str
    features: tuple[str, ...]
    voxel_size: Vector3
    patch: Index3
    arguments: dict[str, Any] = field(default_factory=dict)
    context: int = 1
    overlap: float = 0.5
    whole_slices: bool = False
    normalisation: Normalisation = "volume"
    activation: Activation = "sigmoid"
    target: TargetUnits | None = None
    voxel_range: tuple[float, float] | None = None
    window: Window = "gaussian"
    edge: EdgeRule = "reflect"
    receptive_field: Index3 | None = None
    stride: Index3 = (1, 1, 1)
    threshold: float | None = None
    colour: tuple[float, float, float] | None = None
    tta: int | Literal["flips", "flips4"] | None = None
    emits: bool | None = None
    absorbs: bool | None = None
    history: tuple[dict[str, Any], ...] = ()
    version: str = ""

    def check(self) -> None:
        if not self.features or len(set(self.features)) != len(self.features):
            raise InputError(f"ModelFacts.features must be one or more different names, not {self.features}.")
        if not all(0 < side < math.inf for side in self.voxel_size):
            raise InputError(f"ModelFacts.voxel_size must be positive (angstrom), not {self.voxel_size}.")
        if self.voxel_range is not None and not 0 < self.voxel_range[0] <= self.voxel_range[1] < math.inf:
            raise InputError(f"ModelFacts.voxel_range is the smallest and the largest size, not {self.voxel_range}.")
        if not all(1 <= n <= LARGEST_PATCH for n in (*self.patch, *self.stride)):
            raise InputError(
                f"ModelFacts.patch {shown(self.patch)} and stride {shown(self.stride)} must be positive, and at most "
                f"{LARGEST_PATCH}."
            )
        if any(p % s for p, s in zip(self.patch, self.stride, strict=True)):
            raise InputError(f"ModelFacts.patch {self.patch} is not a multiple of the network's stride {self.stride}.")
        if not 0 <= self.overlap < 1:
            raise InputError(f"ModelFacts.overlap must be at least 0 and below 1, not {self.overlap}.")
        if self.target is not None and self.activation != "none":
            raise InputError(
                f"ModelFacts.target is {self.target!r}, but the outputs are probabilities ({self.activation})."
            )
        if self.threshold is not None and not 0 <= self.threshold < 1:
            raise InputError(f"ModelFacts.threshold is a probability from 0 to below 1, not {self.threshold}.")
        if self.colour is not None and not all(0 <= part <= 1 for part in self.colour):
            raise InputError(f"ModelFacts.colour is red, green, blue from 0 to 1, not {self.colour}.")
        if isinstance(self.tta, int) and not 1 <= self.tta <= MAX_TTA:
            raise InputError(f"ModelFacts.tta must be from 1 to {MAX_TTA}, or flips, not {self.tta}.")
        if self.whole_slices and self.volumetric:
            raise InputError(f"ModelFacts.whole_slices is for 2D networks; the patch {self.patch} is 3D.")
        if self.context < 1 or (self.context > 1 and self.volumetric):
            raise InputError(
                f"ModelFacts.context is {self.context} with patches of {self.patch} voxels; it is the number of "
                "slices that a network with patches of depth 1 sees, and 1 for all others."
            )

    @property
    def said_voxel_size(self) -> str:
        """The voxel size as text: ``10 angstrom``, ``10 to 14 angstrom``, or one number for each of z, y, x."""
        if self.voxel_range is not None:
            return f"{self.voxel_range[0]:g} to {self.voxel_range[1]:g} angstrom"
        if len(set(self.voxel_size)) == 1:
            return f"{self.voxel_size[0]:g} angstrom"
        return ", ".join(f"{side:g}" for side in self.voxel_size) + " angstrom (z, y, x)"

    @property
    def volumetric(self) -> bool:
        """Whether the network is 3D: it takes (batch, 1, z, y, x) instead of (batch, context, y, x)."""
        return self.patch[0] > 1

    @property
    def context_slices(self) -> tuple[int, int]:
        """Number of slices that it sees below and above the slice that it predicts."""
        below = self.context // 2
        return below, self.context - 1 - below
