"""The recipe of a simulation: the specimen, the tilt series, the reconstruction, and what is kept."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.sim.imaging.optics import Exposure
from volengine.sim.imaging.reconstruct import Filter
from volengine.sim.imaging.tilts import TiltScheme
from volengine.sim.recipe.specimen import SpecimenRecipe

Range = tuple[float, float]


def checked_tilts(angle_deg: Iterable[float]) -> None:
    """Refuse tilt angles beyond 89.9 degrees with an :class:`InputError`."""
    from volengine.sim.imaging.ctf import checked_tilt

    for angle in angle_deg:
        checked_tilt(angle)


HIGHEST_DOSE = 2000.0
"""Largest dose of a series, e/A^2."""


@dataclass(frozen=True)
class DoseRecipe(Recipe):
    """The electron dose of a tilt series.

    Parameters
    ----------
    total_e_per_a2
        Dose of the whole series, electrons per square angstrom; 0: no electrons are counted, so images have no noise.
    share
        How the dose is divided among the tilts: ``constant``, or ``1/cos`` (equal counts behind a slab).
    weights
        One relative dose per tilt in stack order, instead of ``share``.
    """

    total_e_per_a2: float = 100.0
    share: Literal["constant", "1/cos"] = "constant"
    weights: tuple[float, ...] | None = None

    def check(self) -> None:
        if not 0 <= self.total_e_per_a2 < math.inf:
            raise InputError(f"dose: total_e_per_a2 must be 0 or more, not {self.total_e_per_a2}.")
        if self.total_e_per_a2 > HIGHEST_DOSE:
            raise InputError(
                f"dose: total_e_per_a2 is {self.total_e_per_a2:g} e/A^2; at most {HIGHEST_DOSE:g}: nothing is left of "
                "a specimen after that. It is in electrons per square angstrom, of the whole series."
            )
        if self.weights is not None and not all(0 < weight < math.inf for weight in self.weights):
            raise InputError(
                f"dose: weights must be positive, not {list(self.weights)}. For no image leave out the angle; an image "
                "of dose 0 would be one without noise."
            )


@dataclass(frozen=True)
class ReconstructRecipe(Recipe):
    """How a tomogram is reconstructed from a tilt series.

    Parameters
    ----------
    method
        ``wbp`` (weighted back-projection) or ``sirt``.
    filter
        Filter of the weighted back-projection.
    iterations
        Number of iterations of SIRT.
    phase_flip
        Correct the phases of the CTF in every image before reconstruction, with the defocus of each image column.
    dose_weight
        Multiply the frequencies of every image by what radiation damage has left of them (Grant and Grigorieff's
        critical dose), as most programs do, before reconstruction. The weights are not divided by their mean.
    """

    method: Literal["wbp", "sirt"] = "wbp"
    filter: Filter = field(default_factory=Filter)
    iterations: int = 15
    phase_flip: bool = False
    dose_weight: bool = False

    @property
    def corrected(self) -> bool:
        """Whether the images that are reconstructed are others than those of the tilt series."""
        return self.phase_flip or self.dose_weight

    def check(self) -> None:
        if self.iterations < 1:
            raise InputError(f"reconstruct: iterations must be 1 or more, not {self.iterations}.")


@dataclass(frozen=True)
class KeepRecipe(Recipe):
    """What is written in addition to the tomogram and its labels.

    Parameters
    ----------
    specimen
        The specimen's potential, volt in excess of ice.
    tilts
        The tilt series (float32, each image divided by its expected mean, minus 1), with its angles.
    halves
        Two more tomograms, for training without truth: ``frames`` (each from half of the electrons of every image) or
        ``tilts`` (from even and from odd images).
    ideal
        A tomogram of the same specimen without CTF, damage and noise, from -89 to 89 degrees: a target for denoising.
    noise_free
        A tomogram of the same tilt series without counting noise.
    distance
        Distance to the mid-plane of the nearest bilayer, in angstrom, limited to 60. It is negative inside of vesicles
        and behind sheets; for membranes from a label volume it has no sign.
    mrc
        Write tomograms and tilt series as MRC files as well.
    """

    specimen: bool = False
    tilts: bool = True
    halves: Literal["none", "frames", "tilts"] = "none"
    ideal: bool = False
    noise_free: bool = False
    distance: bool = False
    mrc: bool = False


@dataclass(frozen=True)
class SimulateRecipe(Recipe):
    """How samples are simulated.

    Parameters
    ----------
    name
        Name of the samples; a number is appended.
    seed
        The seed and the number of a sample determine all its random numbers.
    specimen
        The specimen: particles, membranes, filaments, ice.
    tilts, dose, exposure
        The tilt series: its angles, its electron dose, and the microscope.
    reconstruct
        How the tomogram is reconstructed.
    keep
        What is written in addition to the tomogram and its labels.
    strict
        A sample in which fewer objects found a place than ``count`` asks for fails; otherwise this is said.

    Examples
    --------
    >>> recipe = SimulateRecipe.from_json({"seed": 1, "tilts": {"step_deg": 3}, "dose": {"total_e_per_a2": 120}})
    >>> len(recipe.tilts.nominal_deg())
    41
    """

    name: str = "sample"
    seed: int = 0
    specimen: SpecimenRecipe = field(default_factory=SpecimenRecipe)
    tilts: TiltScheme = field(default_factory=lambda: TiltScheme(order="dose-symmetric"))
    dose: DoseRecipe = field(default_factory=DoseRecipe)
    exposure: Exposure = field(default_factory=Exposure)
    reconstruct: ReconstructRecipe = field(default_factory=ReconstructRecipe)
    keep: KeepRecipe = field(default_factory=KeepRecipe)
    strict: bool = False

    def check(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", self.name):
            raise InputError(f"name {self.name!r}: use letters, digits, '_', '-', '+' and '.'.")
        if self.seed < 0:
            raise InputError(f"seed must be 0 or more, not {self.seed}.")
        checked_tilts(self.tilts.nominal_deg())
        tilts = len(self.tilts.nominal_deg())
        if self.dose.weights is not None and len(self.dose.weights) != tilts:
            raise InputError(f"dose: {len(self.dose.weights)} weights for {tilts} tilts.")
        if self.keep.halves == "tilts" and tilts < 4:
            raise InputError(f"keep: halves of {tilts} tilts; there must be at least 4.")
