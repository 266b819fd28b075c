"""The steps of ``filter`` that act on single voxels and their neighbourhoods."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from volengine.core.errors import InputError
from volengine.tasks.filter.step import Step


@dataclass(frozen=True)
class Median(Step):
    """The median of each voxel's neighbourhood.

    Parameters
    ----------
    radius
        The neighbourhood is a cube of 2 radius + 1 voxels a side.
    """

    name: ClassVar[str] = "median"
    shown: ClassVar[tuple[str, ...]] = ("1", "radius=2")
    radius: int = 1

    def check(self) -> None:
        if not 1 <= self.radius <= 10:
            raise InputError(f"median: radius must be from 1 to 10 voxels, not {self.radius}.")


@dataclass(frozen=True)
class Bilateral(Step):
    """A Gaussian mean of neighbours with similar values.

    Parameters
    ----------
    sigma_value
        Standard deviation of the difference of values, in grey values (normalise before).
    sigma_vox
        Standard deviation of the distance, voxels; it looks twice as far.
    """

    name: ClassVar[str] = "bilateral"
    shown: ClassVar[tuple[str, ...]] = ("0.5", "sigma_value=0.5,sigma_vox=2")
    sigma_value: float
    sigma_vox: float = 1.0

    def check(self) -> None:
        self.positive(sigma_value=self.sigma_value, sigma_vox=self.sigma_vox)
        if self.sigma_vox > 5:
            raise InputError(f"bilateral: sigma_vox is {self.sigma_vox:g} voxels; up to 5 are possible.")


@dataclass(frozen=True)
class Nlm(Step):
    """Non-local means: the mean of voxels whose surroundings look alike.

    Parameters
    ----------
    strength
        How different surroundings may be, in grey values (normalise before).
    noise
        Standard deviation of the noise, grey values.
    patch
        Radius of the surroundings that are compared, voxels.
    search
        Radius within which voxels are looked for, voxels.
    """

    name: ClassVar[str] = "nlm"
    shown: ClassVar[tuple[str, ...]] = ("0.5", "strength=0.5,search=4")
    strength: float
    noise: float = 0.0
    patch: int = 1
    search: int = 3

    def check(self) -> None:
        self.positive(strength=self.strength)
        if not (math.isfinite(self.noise) and self.noise >= 0):
            raise InputError(f"nlm: noise must be 0 or more, not {self.noise:g}.")
        if not 0 <= self.patch <= 5 or not 1 <= self.search <= 10:
            raise InputError(
                f"nlm: patch is {self.patch} and search {self.search}; patch may be 0 to 5 voxels, search 1 to 10."
            )


@dataclass(frozen=True)
class Diffusion(Step):
    """Anisotropic diffusion (Perona and Malik): smoothing that stops at edges.

    Parameters
    ----------
    kappa
        Difference of neighbours above which an edge is kept, in grey values (normalise before).
    iterations
        Number of iterations.
    """

    name: ClassVar[str] = "diffusion"
    shown: ClassVar[tuple[str, ...]] = ("0.5", "kappa=0.5,iterations=5")
    kappa: float
    iterations: int = 10

    def check(self) -> None:
        self.positive(kappa=self.kappa)
        if not 1 <= self.iterations <= 50:
            raise InputError(f"diffusion: iterations must be from 1 to 50, not {self.iterations}.")


@dataclass(frozen=True)
class Invert(Step):
    """Change the sign of all values: what was dark becomes light."""

    name: ClassVar[str] = "invert"


@dataclass(frozen=True)
class Normalise(Step):
    """Bring the grey values to a common scale.

    Parameters
    ----------
    how
        ``std``: (value - mean) / standard deviation of the whole volume; ``percentile``: 0 and 1 are two percentiles.
    low, high
        Of ``percentile``: the percentiles that become 0 and 1.
    clip
        Of ``percentile``: values beyond them become 0 and 1.
    mask
        Volume of the same shape, 0 where voxels do not count for the mean, deviation and percentiles; all are changed.
    """

    name: ClassVar[str] = "normalise"
    shown: ClassVar[tuple[str, ...]] = ("std", "how=percentile,low=1,high=99")
    how: Literal["std", "percentile"] = "std"
    low: float = 1.0
    high: float = 99.0
    clip: bool = False
    mask: str = ""

    def check(self) -> None:
        if not 0 <= self.low < self.high <= 100:
            raise InputError(f"normalise: percentiles are {self.low:g} and {self.high:g}; 0 <= low < high <= 100.")
