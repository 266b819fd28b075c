"""The recipe of ``stats --surface``: how far particles may be from their surface, and what is measured on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe

MOST_RINGS = 1000


@dataclass(frozen=True)
class SurfaceStatsRecipe(Recipe):
    """What is measured on surfaces, and how.

    Parameters
    ----------
    max_distance_nm
        Particles farther than this from every surface of their tomogram are not on it: they are counted as far, and
        left out. If most of a class are far, the call is refused.
    side
        Only particles on this side count: front, to which the surface's normals point (of closed surfaces the outside),
        back, or any.
    both_faces
        The surfaces go around a slab, with both of its faces: the area of the membrane is half of theirs.
    edge_exclusion_nm
        What lies within this geodesic distance of a border of a surface is left out: its area, and the particles there.
        Closed surfaces have no border and stay whole.
    geodesic
        How distances on the surface are computed: exact, or by the heat method, with errors of about 1 % beyond 8
        edges, which is faster for a long reach on a large surface.
    neighbours
        Number of nearest neighbours of each particle that are listed, within its class and of each other class.
    c2
        Particles look the same after half a turn about their z axis: angles between orientations are the smaller ones.
    ripley_nm
        Largest geodesic distance of Ripley's O, K and L, and of concentrations by the distance to a class; 0: none.
    bin_nm
        Width of their rings.
    simulations
        Simulations of particles without order on the same surfaces, for the envelopes; 0: none.
    occupancy_nm
        Occupancy: the share of the area within this geodesic distance of a particle; 0: none.
    contact_nm
        Contacts: the area of each surface within this straight distance of each other one; 0: none.
    by_class
        Concentrations by the geodesic distance to the nearest particle of these classes.
    by_column
        Concentrations by these columns of the surfaces, for example mean_curvature_per_nm.
    bins
        Number of ranges of a column's values, of equal width.
    resamples
        Bootstrap: how often the surfaces are drawn anew for the intervals of pooled values; 0: none.
    seed
        Seed of all random numbers.
    star
        Write each table of the surfaces as STAR, too.

    Examples
    --------
    >>> recipe = SurfaceStatsRecipe(edge_exclusion_nm=10, ripley_nm=40, bin_nm=5)
    >>> recipe.radii.tolist()
    [5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0]
    """

    max_distance_nm: float = 10.0
    side: Literal["any", "front", "back"] = "any"
    both_faces: bool = False
    edge_exclusion_nm: float = 0.0
    geodesic: Literal["exact", "heat"] = "exact"
    neighbours: int = 1
    c2: bool = False
    ripley_nm: float = 50.0
    bin_nm: float = 2.5
    simulations: int = 99
    occupancy_nm: float = 10.0
    contact_nm: float = 0.0
    by_class: tuple[str, ...] = ()
    by_column: tuple[str, ...] = ()
    bins: int = 10
    resamples: int = 1000
    seed: int = 0
    star: bool = False

    def check(self) -> None:
        for name in ("max_distance_nm", "bin_nm"):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise InputError(f"--{name.replace('_', '-')} must be positive, not {value}.")
        for name in (
            "edge_exclusion_nm",
            "ripley_nm",
            "occupancy_nm",
            "contact_nm",
            "simulations",
            "resamples",
            "seed",
        ):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise InputError(f"--{name.replace('_', '-')} must be 0 or more, not {value}.")
        for name in ("neighbours", "bins"):
            if not 1 <= getattr(self, name) <= 1000:
                raise InputError(f"--{name} must be from 1 to 1000, not {getattr(self, name)}.")
        if self.ripley_nm and not self.bin_nm <= self.ripley_nm <= MOST_RINGS * self.bin_nm * (1 + 1e-9):
            raise InputError(
                f"--ripley-nm {self.ripley_nm:g} with --bin-nm {self.bin_nm:g} is {self.ripley_nm / self.bin_nm:g} "
                f"rings; choose 1 to {MOST_RINGS}."
            )
        if self.by_class and not self.ripley_nm:
            raise InputError("--by-class needs the largest distance: --ripley-nm.")
        for name in ("by_class", "by_column"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise InputError(f"--{name.replace('_', '-')} names one twice: {', '.join(values)}.")

    @property
    def radii(self) -> NDArray[np.float64]:
        """Ends of the rings, nm: as many whole ones as there are up to ``ripley_nm``."""
        count = math.floor(self.ripley_nm / self.bin_nm * (1 + 1e-9))
        ends: NDArray[np.float64] = np.arange(1, count + 1, dtype=np.float64) * self.bin_nm
        return ends
