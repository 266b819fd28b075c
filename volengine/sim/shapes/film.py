"""The support of a specimen: a carbon film with a round hole, and the two surfaces of the ice.

>>> import numpy as np
>>> film = draw_film(np.random.default_rng(1), (600.0, 4800.0, 4800.0), FilmRecipe(cover=0.2))
>>> from volengine.core.boxes import Box, index3
>>> carbon(film, Box.of_shape((50, 400, 400)), voxel_size=12.0).shape
(50, 400, 400)

There is a carbon film only if the recipe asks for one. Its potential is that of carbon atoms at 2.0 g/cm^3, in excess
of the ice that it replaces, plus the fluctuation of the number of atoms at random positions. The noise of a voxel is a
hash of its position and the seed, so it does not depend on the box for which it is computed.

The surfaces of the ice determine the path of the electrons through it: :meth:`IceSurfaces.path` follows the tilted ray
from the lower surface to the upper one. Between the surfaces, everything outside of the volume is ice. What is outside
of the surfaces is vacuum, which takes no electrons away.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.boxes import Box, index3
from volengine.core.errors import InputError
from volengine.core.volume import Vector3
from volengine.sim.atoms.scattering import ICE_POTENTIAL, POTENTIAL_OF_AMPLITUDE
from volengine.sim.recipe.film import RIDGE_WIDTH_NM, WAVELENGTH_NM, FilmRecipe, IceRecipe
from volengine.sim.rotations import random_circle
from volengine.sim.shapes.surfaces import SmoothField

Floats = NDArray[np.float64]

CARBON_DENSITY = 2.0 / 12.011 * 0.602214
"""Atoms per cubic angstrom of amorphous carbon of 2.0 g/cm^3."""
CARBON_POTENTIAL = POTENTIAL_OF_AMPLITUDE * 2.5088 * CARBON_DENSITY
"""Mean potential of this carbon, volt, from Peng's scattering factor at 0."""
HEIGHT_JITTER = 0.3
"""Largest distance between the middle of a film and that of the box, as a share of the box's height."""
ROUGHNESS = 6.0
"""Root mean square of the unevenness of a film's faces and of its edge, angstrom."""


@dataclass(frozen=True, eq=False)
class Film:
    """The geometry of a carbon film in a box.

    Parameters
    ----------
    middle
        Height (z) of its middle, angstrom.
    thickness
        Thickness, angstrom.
    hole
        Centre of the hole, y, x, angstrom.
    radius
        Radius of the hole, angstrom.
    lower, upper
        Unevenness of the lower and the upper face over y and x; ``lower`` is also added to the edge of the hole.
    key
        Key of the noise, see :func:`noise`.
    """

    middle: float
    thickness: float
    hole: tuple[float, float]
    radius: float
    lower: SmoothField
    upper: SmoothField
    key: int


def draw_film(rng: np.random.Generator, size_a: Vector3, recipe: FilmRecipe) -> Film:
    """Draw a film; the direction from the film to the centre of its hole is random.

    Parameters
    ----------
    rng
        The random generator.
    size_a
        The box extends from 0 to this position, angstrom, z, y, x.
    recipe
        Thickness, radius of the hole, and depth to which the carbon reaches into the box.
    """
    depth, *plane = size_a
    side = random_circle(rng, 1)[0]
    longer = max(plane)
    # along this direction the box extends from -half to half around its centre; place the edge where carbon is to begin
    half = longer / 2
    radius = 10 * recipe.hole_radius_nm
    distance = radius - (half - recipe.cover * longer)
    hole = (plane[0] / 2 - float(side[0]) * distance, plane[1] / 2 - float(side[1]) * distance)
    middle = depth / 2 + (2 * float(rng.random()) - 1) * HEIGHT_JITTER * depth
    faces = [SmoothField.random(rng, (plane[0], plane[1]), 300.0, ROUGHNESS) for _ in range(2)]
    key = int(rng.integers(2**63))
    return Film(middle, 10 * recipe.thickness_nm, hole, radius, faces[0], faces[1], key)


def filled(film: Film, box: Box, voxel_size: float) -> Floats:
    """The share of each voxel of a box that is carbon.

    At each face the share changes linearly over one voxel. This is exact for a face perpendicular to an axis; the
    integral is right for every position of the face.

    Parameters
    ----------
    film
        The film.
    box
        Voxels; the centre of voxel (0, 0, 0) is at the origin of the frame.
    voxel_size
        Voxel size, angstrom.

    Returns
    -------
    (z, y, x) float64, 0 to 1.
    """
    z, y, x = (np.arange(a, b, dtype=np.float64) * voxel_size for a, b in zip(box.start, box.stop, strict=True))
    low = film.middle - film.thickness / 2 + film.lower(y, x)
    high = film.middle + film.thickness / 2 + film.upper(y, x)
    bottom, top = z[:, None, None] - voxel_size / 2, z[:, None, None] + voxel_size / 2
    level = np.clip((np.minimum(top, high) - np.maximum(bottom, low)) / voxel_size, 0.0, 1.0)
    dy, dx = y[:, None] - film.hole[0], x - film.hole[1]
    beyond = np.sqrt(dy * dy + dx * dx) - film.radius + film.lower(y, x)
    share: Floats = level * np.clip(beyond / voxel_size + 0.5, 0.0, 1.0)
    return share


def carbon(film: Film, box: Box, voxel_size: float, ice: float = ICE_POTENTIAL) -> Floats:
    """The potential of the film in excess of vitreous ice.

    Parameters
    ----------
    film
        The film.
    box
        Voxels; the centre of voxel (0, 0, 0) is at the origin of the frame.
    voxel_size
        Voxel size, angstrom.
    ice
        Potential of vitreous ice, volt.

    Returns
    -------
    (z, y, x) float64, volt; exactly 0 where there is no carbon.
    """
    share = filled(film, box, voxel_size)
    volts = share * (CARBON_POTENTIAL - ice)
    spans = [np.flatnonzero(share.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    if len(spans[0]):
        part = tuple(slice(int(span[0]), int(span[-1]) + 1) for span in spans)
        start = index3(a + p.start for a, p in zip(box.start, part, strict=True))
        drawn = noise(film.key, Box(start, index3(a + p.stop for a, p in zip(box.start, part, strict=True))))
        deviation = CARBON_POTENTIAL / math.sqrt(CARBON_DENSITY * voxel_size**3)
        volts[part] += deviation * np.sqrt(share[part]) * drawn
    return volts


def noise(key: int, box: Box) -> Floats:
    """Random numbers of mean 0 and variance 1 for the voxels of a box.

    Each number depends only on the key and the position of its voxel. Two hashes of the position (splitmix64: Steele,
    Lea & Flood 2014) give eight uniform numbers of 16 bits; their sum is nearly normal (excess kurtosis -0.15, no value
    beyond 4.9).

    Parameters
    ----------
    key
        Key of the hash, from 0 to below 2^64.
    box
        Voxels.

    Returns
    -------
    (z, y, x) float64.
    """
    axes = [np.arange(a, b, dtype=np.int64).astype(np.uint64) for a, b in zip(box.start, box.stop, strict=True)]
    with np.errstate(over="ignore"):
        state = _mixed(axes[0] + np.uint64(key))[:, None, None]
        state = _mixed(state + _mixed(axes[1])[:, None])
        state = _mixed(state + _mixed(axes[2] + np.uint64(1 << 40)))
        other = _mixed(state + np.uint64(0x9E3779B97F4A7C15))
    total = np.zeros(state.shape)
    for word in (state, other):
        for shift in (0, 16, 32, 48):
            total += ((word >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.float64)
    mean, deviation = 8 * 65535 / 2, math.sqrt(8 * (65536**2 - 1) / 12)
    drawn: Floats = (total - mean) / deviation
    return drawn


def _mixed(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """One step of splitmix64 and its finaliser."""
    z = value + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


# -- ice -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class IceSurfaces:
    """The surfaces of the ice over a box: heights in angstrom, relative to the centre of the box.

    Parameters
    ----------
    lower, upper
        Waves that are added to the lower and the upper plane.
    ridges
        Ridges of the lower and the upper surface; they depend on x only.
    thickness
        Mean thickness, angstrom.
    slope
        Increase of the thickness per length along y.
    size
        Size of the box, y, x, angstrom.
    """

    lower: SmoothField
    upper: SmoothField
    ridges: tuple[SmoothField, SmoothField]
    thickness: float
    slope: float
    size: tuple[float, float]

    def heights(self, y: ArrayLike, x: ArrayLike) -> tuple[Floats, Floats]:
        """Heights of the lower and the upper surface.

        Parameters
        ----------
        y, x
            Positions in the frame of the box, angstrom; arrays that broadcast to one shape.

        Returns
        -------
        Two float64 arrays of this shape, angstrom above the centre of the box.
        """
        one, two = np.broadcast_arrays(np.asarray(y, float), np.asarray(x, float))
        return self._height(0, one, two), self._height(1, one, two)

    def _height(self, which: int, y: Floats, x: Floats) -> Floats:
        """Height of the lower (0) or the upper (1) surface."""
        half = np.maximum(self.thickness + self.slope * (y - self.size[0] / 2), 0.0) / 2
        total: Floats = (half if which else -half) + (self.upper if which else self.lower).at(y, x)
        if self.ridges[which].knot.any():
            total += self.ridges[which].at(np.zeros_like(x), x)
        return total

    def path(self, y: ArrayLike, detector: ArrayLike, tilt_deg: float) -> Floats:
        """Length of the electrons' path through the ice.

        The ray to the detector coordinate ``u`` is ``x cos(tilt) + z sin(tilt) = u`` (x and z from the centre). It
        meets a surface ``z = h(x)`` at ``x = (u - h(x) sin(tilt)) / cos(tilt)``, which is solved by fixed-point
        iteration. Each of the six iterations reduces the error by the surface's slope times the tangent of the tilt:
        0.2 for the usual waves at 60 degrees.

        Parameters
        ----------
        y
            (m,): positions along the tilt axis, in the frame of the box, angstrom.
        detector
            (n,): positions on the detector, from its centre, angstrom.
        tilt_deg
            Tilt angle, degrees; its absolute value is below 89.5.

        Returns
        -------
        (m, n) float64, angstrom, at least 0. Outside of the box and its margin the waves keep the height of their
        edge.

        Raises
        ------
        InputError
            The tilt is too large.
        """
        if not abs(tilt_deg) < 89.5:
            raise InputError(f"Ice is crossed at tilts below 89.5 degrees, not at {tilt_deg}.")
        cosine, sine = math.cos(math.radians(tilt_deg)), math.sin(math.radians(tilt_deg))
        along, u = np.meshgrid(np.asarray(y, float), np.asarray(detector, float), indexing="ij")
        crossing = []
        for which in (0, 1):
            height = np.full(u.shape, self.thickness * (which - 0.5))
            for _ in range(6):
                height = self._height(which, along, (u - height * sine) / cosine + self.size[1] / 2)
            crossing.append(height / cosine)  # along the ray, up to a constant that is the same for both surfaces
        length: Floats = np.maximum(crossing[1] - crossing[0], 0.0)
        return length

    def thickness_map(self, tilt_deg: float, shape: tuple[int, int], pixel_a: float, every: int = 8) -> Floats:
        """:meth:`path` for all pixels of a detector.

        Parameters
        ----------
        tilt_deg
            Tilt angle, degrees.
        shape
            Shape of the image, (y, x). The tilt axis is at x = (nx - 1) / 2; row 0 is at y = 0 of the box.
        pixel_a
            Pixel size, angstrom.
        every
            The path is computed at every ``every``-th pixel along each axis and interpolated linearly.

        Returns
        -------
        (y, x) float64, angstrom.
        """
        rows, columns = (np.arange(0, n - 1 + every, every, dtype=np.float64) for n in shape)
        coarse = self.path(rows * pixel_a, (columns - (shape[1] - 1) / 2) * pixel_a, tilt_deg)
        for axis, count in enumerate(shape):
            where = np.arange(count) / every
            low = np.minimum(where.astype(np.int64), max(coarse.shape[axis] - 2, 0))
            rest = (where - low).reshape((-1, 1) if axis == 0 else (1, -1))
            above = np.minimum(low + 1, coarse.shape[axis] - 1)
            coarse = np.take(coarse, low, axis) * (1 - rest) + np.take(coarse, above, axis) * rest
        return coarse


def ice_surfaces(rng: np.random.Generator, size_a: Vector3, recipe: IceRecipe) -> IceSurfaces:
    """Draw the surfaces of the ice.

    Parameters
    ----------
    rng
        The random generator.
    size_a
        The box extends from 0 to this position, angstrom, z, y, x.
    recipe
        Thickness, roughness, taper and ridges.
    """
    depth, rows, columns = size_a
    margin = 2 * depth
    length, height = 10 * WAVELENGTH_NM, 10 * recipe.roughness_nm
    waves = [SmoothField.random(rng, (rows, columns), length, height, margin=margin) for _ in range(2)]
    ridges = [_ridges(rng, columns, 10 * recipe.curtain_nm, margin) for _ in range(2)]
    slope = round(math.tan(math.radians(recipe.taper_deg)), 12)
    return IceSurfaces(waves[0], waves[1], (ridges[0], ridges[1]), recipe.mean_a(depth), slope, (rows, columns))


def _ridges(rng: np.random.Generator, length: float, height: float, margin: float) -> SmoothField:
    """A field of ridges, whose height changes along x only."""
    drawn = SmoothField.random(rng, (0.0, length), 10 * RIDGE_WIDTH_NM, height, margin=margin)
    knot = np.repeat(drawn.knot[:1], len(drawn.knot), axis=0) * math.sqrt(151 / 315)  # only one axis averages knots
    return SmoothField(knot, drawn.begin, drawn.pitch)
