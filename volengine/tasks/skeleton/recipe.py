"""The recipe of ``skeleton``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from volengine.core.errors import InputError
from volengine.core.image import Ngff
from volengine.core.recipe import Recipe
from volengine.core.roi import check_roi
from volengine.ops.stored import check_scale


@dataclass(frozen=True)
class SkeletonRecipe(Recipe):
    """What is thinned, and to what.

    Parameters
    ----------
    input
        ``mask``: every voxel that is not 0 belongs to the object, as in masks and labels; ``probability``: every voxel
        above the threshold; ``auto``: what the volume says, and else what its values are.
    threshold
        Probability above which a voxel belongs to the object.
    scale
        Probabilities are stored times this number: 255 for bytes in floating-point numbers, 100 for percent.
    labels
        Of a label volume only these numbers; default: all.
    layers
        ``one``: one voxel in each column across the surface; ``ridge``: every voxel on the ridge of the distance, as
        Surface-Dice counts them: two layers where two are equally near to the middle.
    lines
        Centrelines of filaments instead of mid-surfaces: a table of lines (.csv), of their points, and a graph (.am).
    min_length_nm
        With ``lines``: shorter filaments and branches are left out, nm.
    step_nm
        With ``lines``: distance of the points along a line, nm; default: a voxel.
    ngff
        OME-Zarr version: ``0.5``, ``0.6`` or ``0.4``.
    roi
        Only this part of the volume is written: ``z0:z1,y0:y1,x0:x1`` in voxels, or in nm (``100nm:400nm,:,:50nm``, or
        one unit for all numbers, at the end). The stop is not included, and an empty end is that of the volume.
        Mid-surfaces also see what lies around it; filaments end at its faces.

    Examples
    --------
    >>> SkeletonRecipe(input="mask").layers
    'one'
    """

    input: Literal["auto", "mask", "probability"] = "auto"
    threshold: float = 0.5
    scale: float | None = None
    labels: tuple[int, ...] = ()
    layers: Literal["one", "ridge"] = "one"
    lines: bool = False
    min_length_nm: float = 20.0
    step_nm: float | None = None
    ngff: Ngff = "0.5"
    roi: str = ""

    def check(self) -> None:
        check_roi(self.roi)
        check_scale(self.scale)
        if not 0 <= self.threshold < 1:
            raise InputError(f"threshold is {self.threshold:g}; it is a probability from 0 to below 1.")
        if any(number < 1 for number in self.labels):
            raise InputError(f"labels are {self.labels}; those of objects are 1 and more.")
        if self.input == "probability" and self.labels:
            raise InputError("labels are numbers of a label volume; probabilities have none.")
        if self.input == "mask" and self.scale is not None:
            raise InputError("scale is for probabilities; a mask has none.")
        if self.min_length_nm < 0 or (self.step_nm is not None and not self.step_nm > 0):
            raise InputError(
                f"min_length_nm is {self.min_length_nm:g} and step_nm {self.step_nm}; lengths must be positive."
            )
