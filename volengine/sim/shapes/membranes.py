"""Bilayers: what potential they have across, how far a voxel is from one, and the points and meshes of their surface.

A :class:`~volengine.core.specimen.Membrane` is the mid-plane of a bilayer, as signed distance on a coarse grid.
:func:`at` reads that distance for a box of voxels, a :class:`Profile` turns it into volt:

>>> profile = bilayer(thickness_a=38.0)
>>> [round(float(v), 1) for v in profile(np.array([0.0, 19.0, -19.0, 60.0]))]
[0.2, 2.5, 2.5, 0.0]

The profile follows from what a fluid bilayer of phosphatidylcholine is made of (Nagle & Tristram-Nagle, Biochim.
Biophys. Acta 1469, 2000, 159): head groups of 319 A^3 as Gaussians, CH2 of 27.6 A^3 between two error functions, CH3
of 54 A^3 as a Gaussian trough in the middle. Each kind's potential is the sum of its atoms' electron scattering
factors at 0 (Peng et al., Acta Cryst. A52, 1996, 257) over its volume, less that of the ice it replaces.

A voxel of 12 A sees the mean of the profile over itself, not its value at the centre: :meth:`Profile.averaged`. Only
arithmetic and table look-ups happen per voxel, so a voxel's bytes do not depend on the box it is computed in.
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
"""Angstrom from the middle of the head to where the chains begin: (38.3 - 28.5) / 2 of fluid DPPC (Nagle's table 6)."""
HEAD = 4.0
"""Angstrom from the middle of a head, by which thickness is measured, to its end: what counts as membrane."""
LIPID_AREA = 64.0
"""Square angstrom of a lipid: how many heads there are."""
HEAD_SIGMA = 3.4
"""Standard deviation of the heads' places, angstrom; that of the chains' edges and ends is 0.7 of it."""

STEP = 0.25
"""Angstrom between the entries of a profile's table."""


@dataclass(frozen=True, eq=False)
class Profile:
    """Potential in excess of vitreous ice across a membrane that is alike on both sides.

    Parameters
    ----------
    value
        (n,) float64, volt, at 0, step, 2 step ... angstrom from the mid-plane; the last one is 0.
    step
        Angstrom.
    """

    value: Floats
    step: float = STEP

    @property
    def reach(self) -> float:
        """Angstrom from the mid-plane at which, and beyond which, the potential is exactly 0."""
        return (len(self.value) - 1) * self.step

    @property
    def total(self) -> float:
        """Integral across the membrane, volt times angstrom."""
        return float((2 * self.value.sum() - self.value[0]) * self.step)

    def __call__(self, distance: ArrayLike) -> Floats:
        """Volt at distances in angstrom, of any sign and shape; between two entries of the table linear."""
        where = np.minimum(np.abs(np.asarray(distance, np.float64)) / self.step, float(len(self.value) - 1))
        low = np.minimum(where.astype(np.int64), len(self.value) - 2)
        rest = where - low
        found: Floats = self.value[low] * (1.0 - rest) + self.value[low + 1] * rest
        return found

    def averaged(self, width_a: float) -> Profile:
        """The profile as voxels of this side (angstrom) see it: its running mean over that width.

        The total stays. A plane across an axis gets exactly the means of its voxels; across any other direction the
        mean over a cube is not quite this box, but as wide (its variance is width^2 / 12 in every direction).
        """
        if not width_a > 0:
            raise InputError(f"A voxel's side must be positive, not {width_a} angstrom.")
        count = math.ceil((self.reach + width_a / 2) / self.step) + 1
        sums = np.concatenate([[0.0], np.cumsum((self.value[1:] + self.value[:-1]) * (self.step / 2))])

        def integral(to: Floats) -> Floats:
            """From 0 to distances of either sign: an odd function."""
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
        From head to head (36 to 38 A in fluid bilayers; longer or straighter chains are thicker).
    ice
        Potential of vitreous ice, volt.

    Raises
    ------
    InputError
        A bilayer so thin that no chains fit between the heads.
    """
    half_chains = thickness_a / 2 - HEAD_TO_CARBON
    if half_chains * LIPID_AREA <= 2 * CH3_VOLUME:
        raise InputError(f"A bilayer of {thickness_a} A from head to head cannot be built; take about 38.")
    chains = POTENTIAL_OF_AMPLITUDE * CH2_FACTOR / CH2_VOLUME - ice
    ends = POTENTIAL_OF_AMPLITUDE * (CH3_FACTOR / CH3_VOLUME - CH2_FACTOR / CH2_VOLUME)
    ends_width = 4 * CH3_VOLUME / LIPID_AREA  # four chains meet in the middle
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
    """CryoTomoSim's first profile: a slab of 0.5 with faces of 1.0, blurred by two pixels.

    As told in the methods of Purnell et al., bioRxiv 2023.04.28.538636 (without the noise).

    Parameters
    ----------
    thickness_a
        From face to face (60 to 84 A there).
    pixel_a
        Side of its pixels: a face is one pixel wide.
    peak
        Volt of the largest value; the original has no physical unit.
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
    """A Gaussian of integral 1."""
    return np.array([math.exp(-0.5 * (v / sigma) ** 2) for v in x]) / (sigma * math.sqrt(2 * math.pi))


def _blurred_slab(x: Floats, low: float, high: float, sigma: float) -> Floats:
    """1 from low to high, 0 elsewhere, blurred by a Gaussian."""
    wide = sigma * math.sqrt(2)
    return np.array([0.5 * (math.erf((high - v) / wide) - math.erf((low - v) / wide)) for v in x])


# -- distances ---------------------------------------------------------------------------------------------------


def within(membrane: Membrane, box: Box, voxel_size: float) -> Box:
    """The part of a box of voxels that lies in the membrane's grid; elsewhere its distance is as large as it gets."""
    span = [(n - 1) * membrane.spacing for n in membrane.distance.shape]
    low = [math.ceil(c / voxel_size) for c in membrane.corner]
    high = [math.floor((c + s) / voxel_size) + 1 for c, s in zip(membrane.corner, span, strict=True)]
    return box.intersect(Box(index3(low), index3(max(a, b) for a, b in zip(low, high, strict=True))))


def at(membrane: Membrane, box: Box, voxel_size: float) -> Floats32:
    """Signed distance from the mid-plane at the centres of a box of voxels, trilinear in the membrane's grid.

    Parameters
    ----------
    membrane
        The surface.
    box
        Voxels; voxel (0, 0, 0) has its centre at the frame's origin.
    voxel_size
        Angstrom.

    Returns
    -------
    (z, y, x) float32, angstrom, negative inside. Outside of the grid: the value at the nearest point of its edge. Each
    value has the same bytes for every box that holds the voxel.
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
    """Signed distance from the mid-plane, (n,) float64, angstrom, of points (n, 3), angstrom, z, y, x.

    Trilinear; outside of the grid the value at the nearest point of its edge.
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
    """Unit vectors (n, 3) along which the distance grows fastest: the outward normals of points near the surface."""
    where = np.asarray(points, np.float64).reshape(-1, 3)
    slope = np.empty_like(where)
    for axis in range(3):
        step = np.zeros(3)
        step[axis] = membrane.spacing / 2
        slope[:, axis] = distance_to(membrane, where + step) - distance_to(membrane, where - step)
    length = np.sqrt(slope[:, 0] ** 2 + slope[:, 1] ** 2 + slope[:, 2] ** 2)
    return slope / np.maximum(length, 1e-12)[:, None]


def _cells(where: Floats, count: int) -> tuple[NDArray[np.int64], Floats]:
    """Lower neighbour and the way to the upper one, of positions in units of a grid of ``count`` points."""
    inside = np.minimum(np.maximum(where, 0.0), count - 1.0)
    low = np.minimum(inside.astype(np.int64), count - 2)
    return low, inside - low


# -- surfaces ----------------------------------------------------------------------------------------------------


def surface_mesh(
    membrane: Membrane, limits_a: tuple[float, float, float] | None = None
) -> tuple[Floats, NDArray[np.int32]]:
    """The mid-plane as triangles (marching cubes, Lewiner et al. 2003, of the distance).

    Parameters
    ----------
    membrane
        The surface.
    limits_a
        Keep the triangles that lie between 0 and these positions, z, y, x.

    Returns
    -------
    Vertices (n, 3), angstrom, z, y, x, and faces (m, 3) int32. Seen from outside in a right-handed frame x, y, z, a
    face's vertices go counterclockwise. Empty arrays where nothing is left.
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
    """Area of each face, square angstrom."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    cross = np.cross(b - a, c - a)
    area: Floats = 0.5 * np.sqrt((cross**2).sum(axis=1))
    return area


def surface_points(membrane: Membrane, spacing_a: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Points spread evenly over the mid-plane, in random order, and the normals there.

    No two are closer than ``spacing_a``, and no place of the surface is much farther than that from one: the points are
    thrown uniformly by area and thinned (a Poisson-disk sample, by random priorities).

    Parameters
    ----------
    membrane
        The surface.
    spacing_a
        Angstrom.
    rng
        What draws them.

    Returns
    -------
    Points and unit normals (outward), each (n, 3) float64, z, y, x.
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
    """Which points stay when, in their order, each one removes the later ones nearer than ``spacing``."""
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
