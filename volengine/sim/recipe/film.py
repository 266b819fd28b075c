"""Recipes of the carbon film and of the ice."""

from __future__ import annotations

from dataclasses import dataclass

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.sim.recipe.checks import named, positive

THINNEST_NM = 2.4
"""Smallest thickness of a film: four times the root mean square unevenness of its faces."""
WAVELENGTH_NM = 200.0
"""Wavelength of the ice's surfaces."""
TYPICAL_NM = 150.0
"""Thickness of the ice unless the recipe says it: within the 80 to 300 nm of vitrified cells and lamellae. At this one
a simulated microtubule's wall has the contrast of a real one."""
THICKEST_NM = 1000.0
"""Largest thickness of the ice."""
DENSEST_PER_NM2 = 0.2
"""Most chains at a surface of the ice."""
RIDGE_WIDTH_NM = 80.0
"""Distance between neighbouring ridges that milling leaves in the ice."""


@dataclass(frozen=True)
class FilmRecipe(Recipe):
    """Carbon film with a round hole.

    Parameters
    ----------
    thickness_nm
        Thickness of the carbon.
    hole_radius_nm
        Radius of the hole, whose edge crosses the volume.
    cover
        Depth to which the carbon reaches into the volume, as a share of its longer side in the plane.
    name
        Its class in the atlas.
    """

    thickness_nm: float = 15.0
    hole_radius_nm: float = 1000.0
    cover: float = 0.15
    name: str = "carbon"

    def check(self) -> None:
        named("film", self.name)
        positive("film: thickness_nm and hole_radius_nm", self.thickness_nm, self.hole_radius_nm)
        if self.thickness_nm < THINNEST_NM:
            raise InputError(
                f"film: thickness_nm {self.thickness_nm} is less than {THINNEST_NM:g}, its faces' unevenness."
            )
        if not 0 <= self.cover <= 1:
            raise InputError(f"film: cover is a share from 0 to 1, not {self.cover}.")


@dataclass(frozen=True)
class IceRecipe(Recipe):
    """The ice, in the middle of which the volume lies: its surfaces, and what clings to them.

    Parameters
    ----------
    thickness_nm
        Mean thickness; default: 150, or the depth of the volume if that is larger. Ice that is thinner than the volume
        leaves vacuum above and below it, in which nothing is placed.
    roughness_nm
        Root mean square height of each surface.
    taper_deg
        Angle between the surfaces, for milled lamellae.
    curtain_nm
        Root mean square height of the ridges that milling leaves.
    interface_per_nm2
        Partly unfolded protein at each of the two surfaces: chains of 50 kDa per square nanometre; 0.04 is a full
        layer. It is background in the images, of no class.
    """

    thickness_nm: float | None = None
    roughness_nm: float = 3.0
    taper_deg: float = 0.0
    curtain_nm: float = 0.0
    interface_per_nm2: float = 0.0

    def check(self) -> None:
        positive("ice: thickness_nm", self.thickness_nm)
        if self.thickness_nm is not None and self.thickness_nm > THICKEST_NM:
            raise InputError(
                f"ice: thickness_nm is {self.thickness_nm:g} nm; at most {THICKEST_NM:g}: of the electrons, less than "
                "a tenth passes thicker ice without losing energy, and an image is no longer one projection."
            )
        if min(self.roughness_nm, self.curtain_nm) < 0 or not abs(self.taper_deg) < 30:
            raise InputError(f"ice: roughness_nm and curtain_nm are not negative, taper_deg is below 30: {self}.")
        if not 0 <= self.interface_per_nm2 <= DENSEST_PER_NM2:
            raise InputError(
                f"ice: interface_per_nm2 is {self.interface_per_nm2:g}; it must be from 0 to {DENSEST_PER_NM2:g} "
                "chains of 50 kDa per square nanometre, five full layers."
            )
        for name, height, wave in (
            ("roughness_nm", self.roughness_nm, WAVELENGTH_NM),
            ("curtain_nm", self.curtain_nm, RIDGE_WIDTH_NM),
        ):
            if not height <= wave / 10:
                raise InputError(f"ice: {name} {height} is too steep for waves of {wave:g} nm: at most a tenth of it.")

    def mean_a(self, depth_a: float) -> float:
        """Mean thickness around a volume of this depth, both in angstrom."""
        return max(10 * TYPICAL_NM, depth_a) if self.thickness_nm is None else 10 * self.thickness_nm
