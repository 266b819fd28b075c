"""Bilayers: their profile of potential, the distance of voxels from them, and points and meshes of their surface.

A :class:`~volengine.core.specimen.Membrane` is the mid-plane of a bilayer, as signed distance on a coarse grid.
:func:`at` interpolates this distance for a box of voxels; a :class:`Profile` converts it to a potential in volt:

>>> profile = bilayer(thickness_a=38.0)
>>> [round(float(v), 1) for v in profile(np.array([0.0, 19.0, -19.0, 60.0]))]
[0.2, 2.5, 2.5, 0.0]

The profile is computed from the composition of a fluid bilayer of phosphatidylcholine (Nagle & Tristram-Nagle, Biochim.
Biophys. Acta 1469, 2000, 159): head groups of 319 A^3 as Gaussians, CH2 groups of 27.6 A^3 as a slab with smooth edges
(error functions), CH3 groups of 54 A^3 as a Gaussian trough in the middle. The potential of each group is the sum of
its atoms' electron scattering factors at 0 (Peng et al., Acta Cryst. A52, 1996, 257) over its volume, minus that of the
ice that it replaces.

The value of a voxel is the mean of the profile over the voxel, not the value at its centre: :meth:`Profile.averaged`.
Only arithmetic and table look-ups are done per voxel, so the bytes of a voxel do not depend on the box for which it is
computed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.boxes import Box, index3
from volengine.core.errors import InputError
from volengine.core.specimen import Membrane
from volengine.sim.atoms.scattering import ICE_POTENTIAL, POTENTIAL_OF_AMPLITUDE

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]

# Sums of Peng's factors at s = 0, in angstrom: H .5288, C 2.5088, N 2.2135, O 1.9834, P 5.4876.
CH2_FACTOR, CH3_FACTOR = 2.5088 + 2 * 0.5288, 2.5088 + 3 * 0.5288
HEAD_FACTOR = 10 * 2.5088 + 18 * 0.5288 + 2.2135 + 8 * 1.9834 + 5.4876
"""Glycerol, both carboxyls, phosphate and choline: C10 H18 N O8 P."""

CH2_VOLUME, CH3_VOLUME, HEAD_VOLUME = 27.6, 54.0, 319.0  # cubic angstrom
HEAD_TO_CARBON = 4.9
"""Distance from the middle of a head group to the chains, angstrom: (38.3 - 28.5) / 2, fluid DPPC (Nagle's table 6)."""
HEAD = 4.0
"""Half the size of a head group, angstrom. Thickness is measured between the middles of the heads; a voxel counts as
membrane up to this distance beyond them."""
LIPID_AREA = 64.0
"""Area per lipid in one leaflet, square angstrom."""
HEAD_SIGMA = 3.4
"""Standard deviation of the positions of head groups, angstrom; that of the chains' edges and ends is 0.7 of it."""

STEP = 0.25
"""Distance between the entries of a profile's table, angstrom."""


@dataclass(frozen=True, eq=False)
class Profile:
    """Potential in excess of vitreous ice across a symmetric membrane.

    Parameters
    ----------
    value
        (n,) float64, volt: the potential at the distances 0, step, 2 step ... from the mid-plane; the last value is 0.
    step
        Distance between two values, angstrom.
    """

    value: Floats
    step: float = STEP

    @property
    def reach(self) -> float:
        """Distance from the mid-plane, angstrom, from which on the potential is exactly 0."""
        return (len(self.value) - 1) * self.step

    @property
    def total(self) -> float:
        """Integral across the membrane, volt times angstrom."""
        return float((2 * self.value.sum() - self.value[0]) * self.step)

    def __call__(self, distance: ArrayLike) -> Floats:
        """The potential, volt, at distances in angstrom (any sign, any shape); the table is interpolated linearly."""
        where = np.minimum(np.abs(np.asarray(distance, np.float64)) / self.step, float(len(self.value) - 1))
        low = np.minimum(where.astype(np.int64), len(self.value) - 2)
        rest = where - low
        found: Floats = self.value[low] * (1.0 - rest) + self.value[low + 1] * rest
        return found

    def averaged(self, width_a: float) -> Profile:
        """The running mean of the profile over the width of a voxel.

        The total is kept. For a membrane perpendicular to an axis, the result is exactly the mean over each voxel. For
        other directions the weight of a cube is not a box function, but has the same variance, width^2 / 12.

        Parameters
        ----------
        width_a
            Side of a voxel, angstrom.

        Raises
        ------
        InputError
            The width is not positive.
        """
        if not width_a > 0:
            raise InputError(f"A voxel's side must be positive, not {width_a} angstrom.")
        count = math.ceil((self.reach + width_a / 2) / self.step) + 1
        sums = np.concatenate([[0.0], np.cumsum((self.value[1:] + self.value[:-1]) * (self.step / 2))])

        def integral(to: Floats) -> Floats:
            """The integral from 0 to distances of either sign."""
            far = np.minimum(np.abs(to), self.reach)
            low = np.minimum((far / self.step).astype(np.int64), len(self.value) - 2)
            rest = far - low * self.step
            begin, slope = self.value[low], (self.value[low + 1] - self.value[low]) / self.step
            return np.asarray(np.sign(to) * (sums[low] + rest * (begin + slope * rest / 2)))

        x: Floats = np.arange(count, dtype=np.float64) * self.step
        mean = (integral(x + width_a / 2) - integral(x - width_a / 2)) / width_a
        mean[-1] = 0.0
        return Profile(mean, self.step)


def bilayer(thickness_a: float = 38.0, *, ice: float = ICE_POTENTIAL) -> Profile:
    """The profile of a fluid bilayer of phosphatidylcholine.

    Parameters
    ----------
    thickness_a
        Distance between the middles of the head groups, angstrom (36 to 38 in fluid bilayers; longer or straighter
        chains give thicker ones).
    ice
        Potential of vitreous ice, volt.

    Raises
    ------
    InputError
        The bilayer is too thin for the chains.
    """
    half_chains = thickness_a / 2 - HEAD_TO_CARBON
    if half_chains * LIPID_AREA <= 2 * CH3_VOLUME:
        raise InputError(f"A bilayer of {thickness_a} A from head to head cannot be built; take about 38.")
    chains = POTENTIAL_OF_AMPLITUDE * CH2_FACTOR / CH2_VOLUME - ice
    ends = POTENTIAL_OF_AMPLITUDE * (CH3_FACTOR / CH3_VOLUME - CH2_FACTOR / CH2_VOLUME)
    ends_width = 4 * CH3_VOLUME / LIPID_AREA  # four chains of two lipids end in the middle
    head = (POTENTIAL_OF_AMPLITUDE * HEAD_FACTOR - ice * HEAD_VOLUME) / LIPID_AREA
    soft = HEAD_SIGMA * 0.7
    reach = thickness_a / 2 + 5 * HEAD_SIGMA
    x: Floats = np.arange(math.ceil(reach / STEP) + 1, dtype=np.float64) * STEP
    slab = _blurred_slab(x, -half_chains, half_chains, soft)
    heads = _gauss(x - thickness_a / 2, HEAD_SIGMA) + _gauss(x + thickness_a / 2, HEAD_SIGMA)
    value = head * heads + chains * slab + ends * ends_width * _gauss(x, soft)
    value[-1] = 0.0
    return Profile(value)


def cts_bilayer(thickness_a: float = 72.0, *, pixel_a: float = 12.0, peak: float = 2.0) -> Profile:
    """The first profile of CryoTomoSim: a slab of 0.5 with faces of 1.0, blurred by two pixels.

    After the methods of Purnell et al., bioRxiv 2023.04.28.538636, without the noise.

    Parameters
    ----------
    thickness_a
        Distance between the outer sides of the faces, angstrom (60 to 84 in the paper).
    pixel_a
        Pixel size of CryoTomoSim, angstrom: a face is one pixel wide.
    peak
        Largest value of the profile, volt; the original has no physical unit.

    Raises
    ------
    InputError
        A value is not positive.
    """
    if min(thickness_a, pixel_a, peak) <= 0:
        raise InputError(f"A thickness of {thickness_a} A, pixels of {pixel_a} A, a peak of {peak} V: not positive.")
    sigma, half = 2 * pixel_a, thickness_a / 2
    x: Floats = np.arange(math.ceil((half + 5 * sigma) / STEP) + 1, dtype=np.float64) * STEP
    inner = max(half - pixel_a, 0.0)
    faces = _blurred_slab(x, inner, half, sigma) + _blurred_slab(x, -half, -inner, sigma)
    value = 0.5 * _blurred_slab(x, -half, half, sigma) + 0.5 * faces
    value *= peak / value.max()
    value[-1] = 0.0
    return Profile(value)


def _gauss(x: Floats, sigma: float) -> Floats:
    """A Gaussian with integral 1."""
    return np.array([math.exp(-0.5 * (v / sigma) ** 2) for v in x]) / (sigma * math.sqrt(2 * math.pi))


def _blurred_slab(x: Floats, low: float, high: float, sigma: float) -> Floats:
    """The function that is 1 from low to high and 0 elsewhere, convolved with a Gaussian."""
    wide = sigma * math.sqrt(2)
    return np.array([0.5 * (math.erf((high - v) / wide) - math.erf((low - v) / wide)) for v in x])


# -- distances ---------------------------------------------------------------------------------------------------


def within(membrane: Membrane, box: Box, voxel_size: float) -> Box:
    """The part of a box of voxels inside of the membrane's grid.

    Parameters
    ----------
    membrane
        The surface.
    box
        Voxels; the centre of voxel (0, 0, 0) is at the origin of the frame.
    voxel_size
        Voxel size, angstrom.
    """
    span = [(n - 1) * membrane.spacing for n in membrane.distance.shape]
    low = [math.ceil(c / voxel_size) for c in membrane.corner]
    high = [math.floor((c + s) / voxel_size) + 1 for c, s in zip(membrane.corner, span, strict=True)]
    return box.intersect(Box(index3(low), index3(max(a, b) for a, b in zip(low, high, strict=True))))


def at(membrane: Membrane, box: Box, voxel_size: float) -> Floats32:
    """The signed distance from the mid-plane at the centres of a box of voxels.

    The membrane's grid is interpolated trilinearly. Outside of the grid the value of the nearest point on its edge is
    used.

    Parameters
    ----------
    membrane
        The surface.
    box
        Voxels; the centre of voxel (0, 0, 0) is at the origin of the frame.
    voxel_size
        Voxel size, angstrom.

    Returns
    -------
    (z, y, x) float32, angstrom, negative inside. A voxel has the same bytes in every box that contains it.
    """
    field = membrane.distance
    for axis, (start, stop) in enumerate(zip(box.start, box.stop, strict=True)):
        centre = np.arange(start, stop, dtype=np.float64) * voxel_size
        low, rest = _cells((centre - membrane.corner[axis]) / membrane.spacing, membrane.distance.shape[axis])
        share = rest.astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        below, above = np.take(field, low, axis), np.take(field, low + 1, axis)
        field = below + share * (above - below)
    return field


def distance_to(membrane: Membrane, points: ArrayLike) -> Floats:
    """The signed distance of points from the mid-plane; interpolation as in :func:`at`.

    Parameters
    ----------
    membrane
        The surface.
    points
        (n, 3): positions z, y, x, angstrom.

    Returns
    -------
    (n,) float64, angstrom, negative inside.
    """
    where = (np.asarray(points, np.float64).reshape(-1, 3) - membrane.corner) / membrane.spacing
    cells = [_cells(w, n) for w, n in zip(where.T, membrane.distance.shape, strict=True)]
    total = np.zeros(len(where))
    for corner in range(8):
        share, index = np.ones(len(where)), []
        for axis, (low, rest) in enumerate(cells):
            up = corner >> axis & 1
            index.append(low + up)
            share = share * (rest if up else 1.0 - rest)
        total += share * membrane.distance[tuple(index)]
    return total


def gradient_at(membrane: Membrane, points: ArrayLike) -> Floats:
    """The gradient of the signed distance: near the surface, its outward normal.

    Parameters
    ----------
    membrane
        The surface.
    points
        (n, 3): positions z, y, x, angstrom.

    Returns
    -------
    (n, 3) float64: unit vectors z, y, x; 0 where the distance is constant.
    """
    where = np.asarray(points, np.float64).reshape(-1, 3)
    slope = np.empty_like(where)
    for axis in range(3):
        step = np.zeros(3)
        step[axis] = membrane.spacing / 2
        slope[:, axis] = distance_to(membrane, where + step) - distance_to(membrane, where - step)
    length = np.sqrt(slope[:, 0] ** 2 + slope[:, 1] ** 2 + slope[:, 2] ** 2)
    return slope / np.maximum(length, 1e-12)[:, None]


def _cells(where: Floats, count: int) -> tuple[NDArray[np.int64], Floats]:
    """The lower neighbour of each position (in steps of a grid of ``count`` points), and the fraction beyond it."""
    inside = np.minimum(np.maximum(where, 0.0), count - 1.0)
    low = np.minimum(inside.astype(np.int64), count - 2)
    return low, inside - low


# -- surfaces ----------------------------------------------------------------------------------------------------


def surface_mesh(
    membrane: Membrane, limits_a: tuple[float, float, float] | None = None
) -> tuple[Floats, NDArray[np.int32]]:
    """Triangulate the mid-plane (marching cubes, Lewiner et al. 2003, at distance 0).

    Parameters
    ----------
    membrane
        The surface.
    limits_a
        Keep only triangles whose vertices are all between 0 and this position, angstrom, z, y, x; default: keep all.

    Returns
    -------
    Vertices (n, 3) float64, angstrom, z, y, x, and faces (m, 3) int32. The vertices of a face are counterclockwise,
    seen from outside in a right-handed frame x, y, z. The arrays are empty if there is no triangle.
    """
    from skimage.measure import marching_cubes

    field = membrane.distance
    if not field.min() < 0 < field.max():
        return np.zeros((0, 3)), np.zeros((0, 3), np.int32)
    found, faces, *_ = marching_cubes(field, 0.0, gradient_direction="ascent", allow_degenerate=False)
    vertices: Floats = found.astype(np.float64) * membrane.spacing + membrane.corner
    kept = faces.astype(np.int32)
    if limits_a is not None:
        inside = np.all((vertices >= 0) & (vertices <= np.asarray(limits_a)), axis=1)
        kept = kept[inside[kept].all(axis=1)]
        used = np.unique(kept)
        renamed = np.zeros(len(vertices), np.int32)
        renamed[used] = np.arange(len(used), dtype=np.int32)
        vertices, kept = vertices[used], renamed[kept]
    return vertices, kept


def mesh_area(vertices: Floats, faces: NDArray[np.int32]) -> Floats:
    """The area of each face, (m,) float64, square angstrom; vertices and faces as from :func:`surface_mesh`."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    cross = np.cross(b - a, c - a)
    area: Floats = 0.5 * np.sqrt((cross**2).sum(axis=1))
    return area


def surface_points(membrane: Membrane, spacing_a: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw points that are spread evenly over the mid-plane, in random order, and their normals.

    No two points are closer than ``spacing_a``, and no part of the surface is much farther than this from a point.
    Uniformly distributed points are drawn and thinned (a Poisson-disk sample with random priorities).

    Parameters
    ----------
    membrane
        The surface.
    spacing_a
        Smallest distance between two points, angstrom.
    rng
        The random generator.

    Returns
    -------
    Points (angstrom) and outward unit normals, each (n, 3) float64, z, y, x.

    Raises
    ------
    InputError
        The spacing is not positive.
    """
    if not spacing_a > 0:
        raise InputError(f"The spacing of a membrane's points must be positive, not {spacing_a} angstrom.")
    vertices, faces = surface_mesh(membrane)
    if not len(faces):
        return np.zeros((0, 3)), np.zeros((0, 3))
    bounds = np.cumsum(mesh_area(vertices, faces))
    count = math.ceil(8 * bounds[-1] / spacing_a**2)
    face = np.minimum(np.searchsorted(bounds, rng.random(count) * bounds[-1], side="right"), len(faces) - 1)
    u, v = rng.random((2, count))
    over = u + v > 1
    u[over], v[over] = 1 - u[over], 1 - v[over]
    a, b, c = (vertices[faces[face, i]] for i in range(3))
    points = a + u[:, None] * (b - a) + v[:, None] * (c - a)
    for _ in range(2):
        points = points - distance_to(membrane, points)[:, None] * gradient_at(membrane, points)
    points = points[_thinned(points, spacing_a)]
    return points, gradient_at(membrane, points)


def _thinned(points: Floats, spacing: float) -> NDArray[np.bool_]:
    """Which points are kept if each kept point, in order, removes all later points nearer than ``spacing``."""
    from scipy.spatial import cKDTree

    pairs = cKDTree(points).query_pairs(spacing, output_type="ndarray")
    first, second = np.minimum(pairs[:, 0], pairs[:, 1]), np.maximum(pairs[:, 0], pairs[:, 1])
    kept, gone = np.zeros(len(points), bool), np.zeros(len(points), bool)
    while not (kept | gone).all():
        waiting = np.zeros(len(points), bool)
        waiting[second[~gone[first] & ~kept[first]]] = True
        kept |= ~gone & ~waiting
        gone[second[kept[first]]] = True
    return kept
