"""Protein at the two surfaces of the ice, where it meets air: partly unfolded, in the images alone.

A chain of 50 kDa is half a compact core and half an unfolded coil that lies flat on the surface. Each half is a cloud
of points with the potential of protein in excess of ice. The chains lie at random places of both surfaces. They belong
to no class: they are added to the projections, where the ray of a tilted image meets the surface, so the surfaces may
lie within the volume or far outside of it, as those of thick ice do.

>>> from volengine.sim.recipe.film import IceRecipe
>>> thick = IceRecipe(thickness_nm=150, interface_per_nm2=0.01)
>>> found = draw_interface(np.random.default_rng(1), (600.0, 1000.0, 1000.0), thick, tilt_deg=60)
>>> len(found.place), bool(abs(found.place[:, 0]).min() > 600)
(1152, True)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.volume import Vector3
from volengine.sim.atoms.scattering import ICE_POTENTIAL
from volengine.sim.atoms.standins import A3_PER_DALTON, VOLT
from volengine.sim.recipe.film import IceRecipe
from volengine.sim.shapes.film import IceSurfaces

Floats32 = NDArray[np.float32]

CHAIN_DA = 50_000.0
"""Mass of a chain, dalton."""
CHAIN_V_A3 = CHAIN_DA * A3_PER_DALTON * (VOLT - ICE_POTENTIAL)
"""Integrated potential of a chain in excess of ice, V A^3."""
POINTS = 32
"""Points of a chain: half in the core, half in the coil."""
CORE_A, COIL_A, FLAT_A = 9.0, 25.0, 5.0
"""Standard deviation of the core's points along each axis; of the coil's along the surface, and across it, angstrom. A
ball of 25 kDa has 8.6; a free coil of its 220 residues is larger (35 to 50), one on a surface keeps turns of its fold.
"""
INWARD_A = 15.0
"""Distance of the core's middle from the surface, angstrom."""
STEEPEST_DEG = 80.0
"""Images at larger tilts see chains only as far away as those at this tilt do."""
MOST_CHAINS = 200_000
"""Largest number of chains; more are refused."""
SOME = 4096
"""Chains that are projected at a time."""


@dataclass(frozen=True, eq=False)
class Interface:
    """The chains at both surfaces.

    Parameters
    ----------
    place
        (n, 3) float32: where the chains lie, angstrom: z and x from the centre of the box, y from its first row.
    inward
        (n,) float32: 1 at the lower surface, -1 at the upper one.
    seed
        Seed of the chains' shapes.
    """

    place: Floats32
    inward: Floats32
    seed: int

    def projected(self, tilt_deg: float, shape: tuple[int, int], pixel_a: float, shift_x_a: float = 0.0) -> Floats32:
        """The chains' projection, (y, x) float32, V A.

        Parameters
        ----------
        tilt_deg
            Tilt angle about y.
        shape
            Shape of the image, (y, x). The tilt axis is at x = (nx - 1) / 2; row 0 is at y = 0.
        pixel_a
            Pixel size, angstrom.
        shift_x_a
            Shift of the image along x, angstrom.
        """
        cosine, sine = math.cos(math.radians(tilt_deg)), math.sin(math.radians(tilt_deg))
        rng = np.random.default_rng(self.seed)
        rows, columns = shape
        wide = np.zeros((rows + 2) * (columns + 2))
        for first in range(0, len(self.place), SOME):
            point = self._points(slice(first, first + SOME), rng)
            across = (point[:, 2] * cosine + point[:, 0] * sine + shift_x_a) / pixel_a + (columns - 1) / 2
            down = point[:, 1] / pixel_a
            seen = (down > -1) & (down < rows) & (across > -1) & (across < columns)
            y, x = down[seen], across[seen]
            low_y, low_x = np.floor(y), np.floor(x)
            at = (low_y.astype(np.int64) + 1) * (columns + 2) + low_x.astype(np.int64) + 1
            y, x = y - low_y, x - low_x
            for step, share in ((0, 1 - y), (columns + 2, y)):
                wide += np.bincount(at + step, share * (1 - x), wide.size)
                wide += np.bincount(at + step + 1, share * x, wide.size)
        image = wide.reshape(rows + 2, columns + 2)[1:-1, 1:-1]
        return (image * (CHAIN_V_A3 / POINTS / pixel_a**2)).astype(np.float32)

    def _points(self, which: slice, rng: np.random.Generator) -> NDArray[np.float64]:
        """The points of some chains, (n, 3); the generator has made those before them."""
        place, inward = self.place[which].astype(float), self.inward[which].astype(float)
        cloud = rng.standard_normal((len(place), POINTS, 3))
        half = POINTS // 2
        cloud[:, :half] *= CORE_A
        cloud[:, half:] *= (FLAT_A, COIL_A, COIL_A)
        cloud[:, :half, 0] += (INWARD_A * inward)[:, None]
        cloud[:, half:, 0] = np.abs(cloud[:, half:, 0]) * inward[:, None]  # no coil in the air
        points: NDArray[np.float64] = (cloud + place[:, None]).reshape(-1, 3)
        return points


def covered(size_a: Vector3, thickness_a: float, tilt_deg: float) -> tuple[float, float]:
    """Length along y and x, angstrom, over which images of a box up to this tilt see the surfaces of its ice."""
    steep = math.radians(min(abs(tilt_deg), STEEPEST_DEG))
    room = 4 * COIL_A
    return size_a[1] + 2 * room, (size_a[2] + thickness_a * math.sin(steep)) / math.cos(steep) + 2 * room


def chains(size_a: Vector3, ice: IceRecipe, tilt_deg: float) -> int:
    """Number of chains at both surfaces.

    Parameters
    ----------
    size_a
        Size of the box, angstrom, z, y, x.
    ice
        Thickness of the ice, and chains per square nanometre of surface.
    tilt_deg
        Largest tilt.

    Raises
    ------
    InputError
        There are more than :data:`MOST_CHAINS`.
    """
    along, across = covered(size_a, ice.mean_a(size_a[0]), tilt_deg)
    count = round(2 * ice.interface_per_nm2 * along * across / 100)
    if count > MOST_CHAINS:
        raise InputError(
            f"ice: interface_per_nm2 {ice.interface_per_nm2:g} on two surfaces of {along / 10:.0f} x {across / 10:.0f} "
            f"nm, which images at up to {tilt_deg:g} degrees see, makes {count} chains; at most {MOST_CHAINS}."
        )
    return count


def draw_interface(
    rng: np.random.Generator, size_a: Vector3, ice: IceRecipe, tilt_deg: float, surfaces: IceSurfaces | None = None
) -> Interface:
    """Draw the chains at both surfaces.

    Parameters
    ----------
    rng
        The random generator.
    size_a, ice, tilt_deg
        As for :func:`chains`.
    surfaces
        The surfaces of the ice; default: even ones.

    Returns
    -------
    Interface
        Chains at places that are evenly distributed over the surfaces.
    """
    count = chains(size_a, ice, tilt_deg)
    thickness = ice.mean_a(size_a[0])
    along, across = covered(size_a, thickness, tilt_deg)
    upper = rng.random(count) < 0.5
    y = (rng.random(count) - 0.5) * along + size_a[1] / 2
    x = (rng.random(count) - 0.5) * across
    z = np.where(upper, thickness / 2, -thickness / 2)
    if surfaces is not None and count:
        low, high = surfaces.heights(y, x + size_a[2] / 2)
        z = np.where(upper, high, low)
    place = np.stack([z, y, x], axis=1).astype(np.float32)
    return Interface(place, np.where(upper, -1, 1).astype(np.float32), int(rng.integers(2**63)))
