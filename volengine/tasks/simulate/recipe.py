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
    """Images are made up to 89.9 degrees: raises :class:`InputError` for an angle beyond, before anything is made."""
    from volengine.sim.imaging.ctf import checked_tilt

    for angle in angle_deg:
        checked_tilt(angle)


@dataclass(frozen=True)
class DoseRecipe(Recipe):
    """Electrons.

    Parameters
    ----------
    total_e_per_a2
        Of the whole series; 0 counts none: images without noise.
    share
        Of the tilts: ``constant``, or ``1/cos`` (equal counts behind a slab).
    weights
        One number per tilt in stack order, instead of ``share``.
    """

    total_e_per_a2: float = 100.0
    share: Literal["constant", "1/cos"] = "constant"
    weights: tuple[float, ...] | None = None

    def check(self) -> None:
        if not 0 <= self.total_e_per_a2 < math.inf:
            raise InputError(f"dose: total_e_per_a2 must be 0 or more, not {self.total_e_per_a2}.")
        if self.weights is not None and not all(0 < weight < math.inf for weight in self.weights):
            raise InputError(
                f"dose: weights must be positive, not {list(self.weights)}. For no image leave out the angle; an image "
                "of dose 0 would be one without noise."
            )


@dataclass(frozen=True)
class ReconstructRecipe(Recipe):
    """From tilt series to tomogram.

    Parameters
    ----------
    method
        ``wbp`` (weighted back-projection) or ``sirt``.
    filter
        Of the weighted back-projection.
    iterations
        Of SIRT.
    phase_flip
        Correct the CTF's sign in every image first, with the defocus of every column.
    """

    method: Literal["wbp", "sirt"] = "wbp"
    filter: Filter = field(default_factory=Filter)
    iterations: int = 15
    phase_flip: bool = False

    def check(self) -> None:
        if self.iterations < 1:
            raise InputError(f"reconstruct: iterations must be 1 or more, not {self.iterations}.")


@dataclass(frozen=True)
class KeepRecipe(Recipe):
    """What is written beside the tomogram and its labels.

    Parameters
    ----------
    specimen
        The specimen's potential, volt in excess of ice.
    tilts
        The tilt series (float32, each image over its expected mean, less 1), with its angles.
    halves
        Two more tomograms for training without truth: ``frames`` (each image's electrons in two halves) or ``tilts``
        (even and odd images).
    ideal
        A tomogram of the same specimen without CTF, damage and noise from -89 to 89 degrees: the target of denoising.
    noise_free
        A tomogram of the same series before electrons are counted.
    distance
        Signed distance to the mid-plane of the nearest bilayer, angstrom, cut at 60: negative inside of vesicles and
        behind sheets; of membranes that follow a label volume without sign.
    mrc
        Tomograms and tilt series as MRC files as well.
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
    """A sample.

    Parameters
    ----------
    name
        Of the samples; numbers follow.
    seed
        All random numbers follow from it and the sample's number.
    specimen
        What there is.
    tilts, dose, exposure
        How it is looked at.
    reconstruct
        How the tomogram is made.
    keep
        What is written.
    """

    name: str = "sample"
    seed: int = 0
    specimen: SpecimenRecipe = field(default_factory=SpecimenRecipe)
    tilts: TiltScheme = field(default_factory=lambda: TiltScheme(order="dose-symmetric"))
    dose: DoseRecipe = field(default_factory=DoseRecipe)
    exposure: Exposure = field(default_factory=Exposure)
    reconstruct: ReconstructRecipe = field(default_factory=ReconstructRecipe)
    keep: KeepRecipe = field(default_factory=KeepRecipe)

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
