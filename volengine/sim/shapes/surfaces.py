"""Surfaces as points with normals, their signed distance on a grid, and smooth random functions that shape them.

The points of a surface are so dense that it is nearly flat between them. The distance of a position from the surface is
computed as that from the plane through the nearest point (:func:`signed_distance`). Its error is below
``step^2 / (8 R) (1 + h / R)`` for points at a distance ``step`` from each other, a radius of curvature ``R`` and a
position at the distance ``h``: 0.2 A for ``step`` = 10, ``R`` = 100 and ``h`` = 60.

>>> bump = SmoothField.random(np.random.default_rng(1), size=(1000.0, 1000.0), wavelength=500.0, amplitude=20.0)
>>> bump(np.array([0.0, 400.0]), np.array([10.0, 20.0, 30.0])).shape
(2, 3)

Only arithmetic and square roots are used, no sines, so that a seed gives the same bytes on every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.boxes import index3
from volengine.core.errors import InputError

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]

REACH = 80.0
"""Largest distance from a membrane that is stored, angstrom; positions farther away get this value."""


@dataclass(frozen=True, eq=False)
class Cloud:
    """A surface as points with normals.

    Parameters
    ----------
    point
        (n, 3) float64: positions z, y, x, angstrom.
    normal
        (n, 3) float64: outward unit normals z, y, x.
    """

    point: Floats
    normal: Floats

    def moved(self, by: ArrayLike) -> Cloud:
        """The surface, shifted by (3,), angstrom, z, y, x."""
        return Cloud(self.point + np.asarray(by, float), self.normal)

    def __len__(self) -> int:
        return len(self.point)


def signed_distance(cloud: Cloud, spacing: float) -> tuple[Floats, Floats32]:
    """The signed distance from a closed surface, limited to :data:`REACH`, on a grid that holds all nearer positions.

    Parameters
    ----------
    cloud
        The surface.
    spacing
        Spacing of the grid, angstrom.

    Returns
    -------
    The position of the grid's first point, (3,) angstrom, a multiple of the spacing; and the distance, (z, y, x)
    float32, angstrom, negative inside of the surface.
    """
    from scipy.ndimage import binary_fill_holes

    corner = np.floor((cloud.point.min(0) - REACH) / spacing) - 1
    shape = index3(np.ceil((cloud.point.max(0) + REACH) / spacing) + 2 - corner)
    near, value = _near(cloud, corner, shape, spacing)
    distance = np.full(shape, REACH, np.float32)
    distance[binary_fill_holes(near)] = -REACH
    distance[near] = value
    return corner * spacing, distance


def signed_distance_of_heights(
    cloud: Cloud,
    above: NDArray[np.bool_],
    corner: Floats,
    spacing: float,
) -> Floats32:
    """The signed distance from an open surface, limited to :data:`REACH`, on a given grid.

    Parameters
    ----------
    cloud
        The surface; it must extend beyond the grid by :data:`REACH`.
    above
        (z, y, x) bool: whether a grid point is on the side to which the normals point; used for points out of reach.
    corner
        (3,): position of the grid's first point, angstrom, a multiple of the spacing.
    spacing
        Spacing of the grid, angstrom.

    Returns
    -------
    (z, y, x) float32, angstrom, positive on the side to which the normals point.
    """
    distance = np.where(above, np.float32(REACH), np.float32(-REACH))
    near, value = _near(cloud, np.rint(corner / spacing), index3(above.shape), spacing)
    distance[near] = value
    return distance


def _near(
    cloud: Cloud, corner: Floats, shape: tuple[int, int, int], spacing: float
) -> tuple[NDArray[np.bool_], Floats32]:
    """Which grid points are within reach of the surface (z, y, x), and the signed distances of these points."""
    from scipy.ndimage import distance_transform_edt
    from scipy.spatial import cKDTree

    cell = np.rint(cloud.point / spacing - corner).astype(np.int64)
    inside = np.flatnonzero(((cell >= 0) & (cell < shape)).all(axis=1))
    first = np.full(shape, -1, np.int32)
    first[tuple(cell[inside[::-1]].T)] = inside[::-1]
    far, seed = distance_transform_edt(first < 0, return_indices=True)
    near = far * spacing <= REACH + 0.87 * spacing  # half a cell's diagonal
    index = np.argwhere(near)
    places = (index + corner) * spacing
    nearest = first[tuple(seed[:, near])].astype(np.int64)
    # For a distant position many points are about equally near, which makes the search for the nearest point slow.
    # Therefore move to the surface along the normal first, and search from there.
    tree = cKDTree(cloud.point)
    for _ in range(2):
        height = _height(places, cloud, nearest)
        _, nearest = tree.query(places - height[:, None] * cloud.normal[nearest])
    return near, np.clip(_height(places, cloud, nearest), -REACH, REACH).astype(np.float32)


def _height(places: Floats, cloud: Cloud, nearest: NDArray[np.int64]) -> Floats:
    """The signed distance of positions from the planes through points of the cloud."""
    step, normal = places - cloud.point[nearest], cloud.normal[nearest]
    height: Floats = step[:, 0] * normal[:, 0] + step[:, 1] * normal[:, 1] + step[:, 2] * normal[:, 2]
    return height


# -- smooth random functions ------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class SmoothField:
    """A smooth function of two coordinates: a uniform cubic B-spline over a grid of heights.

    Outside of the grid the function has the value of the nearest point on its edge.

    Parameters
    ----------
    knot
        (m, n) float64: heights, angstrom, at ``begin + index * pitch``.
    begin
        Coordinates of the first knot, angstrom.
    pitch
        Distance between neighbouring knots, angstrom.
    """

    knot: Floats
    begin: tuple[float, float]
    pitch: float

    @classmethod
    def random(
        cls,
        rng: np.random.Generator,
        size: tuple[float, float],
        wavelength: float,
        amplitude: float,
        margin: float = 0.0,
    ) -> SmoothField:
        """Draw a field with normally distributed heights.

        Parameters
        ----------
        rng
            The random generator.
        size
            The field extends from 0 to this size along both coordinates, angstrom, plus the margin.
        wavelength
            Twice the distance between knots, angstrom.
        amplitude
            Root mean square of the heights, angstrom.
        margin
            Width by which the field is extended on every side, angstrom.

        Raises
        ------
        InputError
            The wavelength is not positive, or another value is negative.
        """
        if not (wavelength > 0 and amplitude >= 0 and min(size) >= 0 and margin >= 0):
            raise InputError(
                f"A smooth surface of {size} A: a wavelength of {wavelength} and an amplitude of {amplitude} do not do."
            )
        pitch = wavelength / 2
        before = math.ceil(margin / pitch) + 1
        count = [before + math.ceil((length + margin) / pitch) + 2 for length in size]
        # a spline averages its knots: the mean square of its weights is 151 / 315 along each axis
        knot = rng.standard_normal(count) * (amplitude / (151 / 315))
        return cls(knot, (-before * pitch, -before * pitch), pitch)

    def __call__(self, first: ArrayLike, second: ArrayLike) -> Floats:
        """The heights, (m, n) float64, on the grid of coordinates ``first`` (m,) and ``second`` (n,), angstrom."""
        (i, wi), (j, wj) = self._weights(first, 0), self._weights(second, 1)
        rows = sum(wi[k][:, None] * self.knot[i[k]] for k in range(4))
        found: Floats = sum(np.asarray(rows)[:, j[k]] * wj[k] for k in range(4))  # type: ignore[assignment]
        return found

    def at(self, first: ArrayLike, second: ArrayLike) -> Floats:
        """The heights at single positions, whose coordinates broadcast to one shape; float64 of this shape."""
        one, two = np.broadcast_arrays(np.asarray(first, float), np.asarray(second, float))
        (i, wi), (j, wj) = self._weights(one.ravel(), 0), self._weights(two.ravel(), 1)
        total = np.zeros(one.size)
        for k in range(4):
            row = np.zeros(one.size)
            for m in range(4):
                row += self.knot[i[k], j[m]] * wj[m]
            total += wi[k] * row
        return total.reshape(one.shape)

    def _weights(self, where: ArrayLike, axis: int) -> tuple[list[NDArray[np.int64]], list[Floats]]:
        """The four knots around each coordinate, and their weights."""
        count = self.knot.shape[axis]
        u = np.clip((np.asarray(where, float) - self.begin[axis]) / self.pitch, 0.0, count - 1.0)
        low = np.minimum(u.astype(np.int64), count - 2)
        t = u - low
        s = 1.0 - t
        weights = [
            s * s * s / 6,
            (4 - 6 * t * t + 3 * t * t * t) / 6,
            (4 - 6 * s * s + 3 * s * s * s) / 6,
            t * t * t / 6,
        ]
        return [np.clip(low + k, 0, count - 1) for k in (-1, 0, 1, 2)], weights
