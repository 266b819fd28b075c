"""The recipe of ``filter``: the steps, and what is written."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from volengine.core.errors import InputError
from volengine.core.image import Ngff
from volengine.core.recipe import Recipe
from volengine.core.roi import check_roi
from volengine.ops.filters.faces import FaceRule
from volengine.tasks.filter.steps import parse_steps, steps_to_json

MOST_PAD = 4096
"""Voxels that can be added to an axis."""


@dataclass(frozen=True)
class FilterRecipe(Recipe):
    """A list of filters, in the order in which they act.

    Parameters
    ----------
    steps
        A list of ``match_voxel_size``, ``deconvolve``, ``missing_wedge``, ``match_spectrum``, ``low_pass``,
        ``high_pass``, ``band_pass``, ``normalise``, ``median``, ``bilateral``, ``nlm``, ``diffusion``, ``invert``, each
        with its parameters.
    dtype
        Type of the voxels that are written: ``float32``, or ``int16`` or ``int8`` with ``scale``.
    scale
        Of integers: values are multiplied by it and rounded; those beyond the type are set to its lowest or highest
        value; more than 1 % of them are refused.
    spectrum
        Write the amplitude spectrum of the result, as a table ``.tsv`` beside it; without steps that of the source, and
        the table alone.
    faces
        What steps on frequencies see beyond the faces: ``taper`` (fades to the mean), ``mirror``, or ``periodic`` (the
        opposite face).
    pad_vox
        Voxels that are added to each axis for ``faces``, at least; half of them belong to either end.
    transform
        ``whole``: frequencies are those of the whole volume. ``blocks``: one pass over blocks with a halo, mirrored at
        the faces, where the filters' kernels are short; what this may change is computed and said, or refused.
    tolerance
        Of ``blocks``: difference from the gain of ``whole`` that is accepted, as a share of the largest gain.
    voxel_size
        Voxel size of the source, angstrom, one number or z, y, x: of files that state none, or a wrong one.
    ngff
        OME-Zarr version of the written store: ``0.5``, ``0.6`` or ``0.4``.
    roi
        Only this part of the source is written: ``z0:z1,y0:y1,x0:x1`` in voxels, or in nm (``100nm:400nm,:,:50nm``, or
        one unit for all numbers, at the end). The stop is not included, and an empty end is that of the volume. Filters
        see the whole volume.

    Examples
    --------
    >>> recipe = FilterRecipe.from_json({"steps": [{"match_voxel_size": 10}, {"deconvolve": {"defocus_um": 5}}]})
    >>> recipe.steps[0].to, recipe.steps[1].strength
    (10.0, 1.0)
    """

    steps: tuple[Any, ...] = ()
    dtype: Literal["float32", "int16", "int8"] = "float32"
    scale: float | None = None
    spectrum: bool = False
    faces: FaceRule = "taper"
    pad_vox: int = 32
    transform: Literal["whole", "blocks"] = "whole"
    tolerance: float = 0.02
    voxel_size: float | tuple[float, float, float] | None = None
    ngff: Ngff = "0.5"
    roi: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", parse_steps(self.steps, "FilterRecipe.steps"))
        super().__post_init__()

    def check(self) -> None:
        check_roi(self.roi)
        if self.scale is not None and not (math.isfinite(self.scale) and self.scale > 0):
            raise InputError(f"filter: scale must be a positive number, not {self.scale:g}.")
        if not 0 <= self.pad_vox <= MOST_PAD:
            raise InputError(f"filter: pad_vox must be from 0 to {MOST_PAD} voxels, not {self.pad_vox}.")
        if not 0 < self.tolerance <= 0.5:
            raise InputError(f"filter: tolerance is a share above 0, of 0.5 at most, not {self.tolerance:g}.")
        if self.transform == "blocks" and self.faces == "periodic":
            raise InputError("filter: blocks are mirrored at the volume's faces; faces periodic needs transform whole.")
        if (self.dtype == "float32") != (self.scale is None):
            raise InputError(
                f"filter: dtype is {self.dtype} and scale {self.scale}: integers need a scale, by which values are "
                "multiplied (after normalise: 20 for int8), and float32 takes none."
            )
        if not self.steps and not self.spectrum:
            return
        if not self.steps and (self.roi or self.dtype != "float32"):
            raise InputError("filter: without steps only the spectrum of the whole source is written.")

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "steps": steps_to_json(self.steps)}
