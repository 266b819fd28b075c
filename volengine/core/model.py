"""Model facts: what must be known of a network to apply it rightly, as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe


@dataclass(frozen=True)
class ModelFacts(Recipe):
    """A network's facts; kept inside its file.

    Parameters
    ----------
    architecture, arguments
        Name in the registry of networks, and what it is built with.
    features
        What the output channels find, in order.
    voxel_size
        Angstrom the network was trained at; ``None``: unknown, any volume is accepted.
    patch
        The window the network sees, voxels z, y, x (z is 1 for 2D and 2.5D).
    overlap
        Default overlap of neighbouring patches, 0 to below 1.
    slices
        2.5D: slices seen around the one that is answered (odd); 1 for 2D and 3D.
    normalisation
        How the input is made comparable: ``per_slice``, ``per_patch``, ``volume`` (minus mean, over standard
        deviation + 1e-6 ... see ``volengine.ops.normalise``), or ``none``.
    activation
        Turns the network's logits into probabilities: ``sigmoid`` per feature, ``softmax`` over the channels (the
        first is the background and is no feature), or ``none``.
    window, edge
        Defaults for blending and for what lies outside of the volume.
    receptive_field
        How far the answer at a voxel depends on its surroundings, voxels z, y, x; ``None``: on the whole patch.
    stride
        Total pooling factor z, y, x: patches must be multiples of it.
    training
        What it was trained on and how: JSON values.
    version
        Version of volengine that wrote it.
    """

    architecture: str
    features: tuple[str, ...]
    arguments: dict[str, Any] = field(default_factory=dict)
    voxel_size: float | None = None
    patch: tuple[int, int, int] = (1, 256, 256)
    overlap: float = 0.25
    slices: int = 1
    normalisation: Literal["none", "per_slice", "per_patch", "volume"] = "volume"
    activation: Literal["sigmoid", "softmax", "none"] = "sigmoid"
    window: Literal["gaussian", "hann", "constant", "crop"] = "gaussian"
    edge: Literal["reflect", "edge", "zero"] = "reflect"
    receptive_field: tuple[int, int, int] | None = None
    stride: tuple[int, int, int] = (1, 1, 1)
    training: dict[str, Any] = field(default_factory=dict)
    version: str = ""

    def check(self) -> None:
        if not self.features:
            raise InputError("A model needs at least one feature.")
        if len(set(self.features)) < len(self.features):
            raise InputError(f"The features of a model must have different names: {', '.join(self.features)}.")
        if not 0 <= self.overlap < 1:
            raise InputError(f"The overlap must be at least 0 and below 1, not {self.overlap}.")
        if self.slices < 1 or self.slices % 2 == 0:
            raise InputError(f"The number of slices must be odd, not {self.slices}.")
        if any(p < 1 or (p % s and p > 1) for p, s in zip(self.patch, self.stride, strict=True)):
            raise InputError(f"The patch {self.patch} must be a multiple of the network's stride {self.stride}.")

    @property
    def volumetric(self) -> bool:
        """Whether the network sees and answers 3D patches."""
        return self.patch[0] > 1

    @property
    def channels(self) -> int:
        """Output channels of the network: with softmax there is one for the background besides the features."""
        return len(self.features) + (self.activation == "softmax")
