"""What surrounds places: surfaces, voxels of volumes, other places.

Results do not depend on how places are divided, because distances are exact and of equally near things that of the
lowest number counts.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.surface import Surface
from volengine.core.units import NM_TO_ANGSTROM as NM
from volengine.io.surfaces import SurfaceSet
from volengine.ops.near_voxels import NearestVoxels
from volengine.tasks.common.lying import Grid
from volengine.tasks.picks.voxels import Voxels

Columns = dict[str, NDArray[Any]]
Floats = NDArray[np.float64]

SURFACES_KEPT = 4
"""Surfaces that are kept in memory."""


def index_in(places: Floats, grid: Grid) -> Floats:
    """(n, 3) the nearest voxel of each place."""
    found: Floats = np.rint((places - np.asarray(grid.offset)) / np.asarray(grid.voxel_size))
    return found


def beside_voxels(places: Floats, voxels: Voxels, grid: Grid, reach_nm: float) -> Columns:
    """The columns of labels or of a prediction, without the name of it; see ``measure_picks``.

    Parameters
    ----------
    places
        (n, 3) z, y, x, angstrom.
    voxels
        The volume.
    grid
        How it lies on the tomogram of the places.
    reach_nm
        Largest distance that is looked for.
    """

    def search(rows: NDArray[np.bool_], *, inverse: bool = False) -> NearestVoxels:
        size, shape = grid.voxel_size, voxels.volume.shape
        found = NearestVoxels(places[rows], size, shape, reach=reach_nm * NM, offset=grid.offset)
        voxels.search(found, inverse=inverse)
        return found

    near = search(np.ones(len(places), bool))
    inside = near.distance == 0
    depth = np.zeros(len(places))
    depth[inside] = search(inside, inverse=True).distance / NM
    made: Columns = {
        "distance_nm": near.distance / NM,
        "depth_nm": depth,
        "side": np.where(inside, -1, 1),
        "inside": inside,
    }
    if voxels.threshold is None:
        index = np.full((len(places), 3), -1.0)
        hit = near.voxel >= 0
        index[hit] = np.stack(np.unravel_index(near.voxel[hit], voxels.volume.shape), axis=1)
        made["label"] = voxels.at(index)
    else:
        made["value"] = voxels.at(index_in(places, grid))
    return made


def beside_surfaces(places: NDArray[np.float64], surfaces: SurfaceSet) -> Columns:
    """Distance and side of places to the nearest surface of a set, its number, and whether a closed one holds them.

    Parameters
    ----------
    places
        (n, 3) z, y, x, angstrom.
    surfaces
        The set; a few of its surfaces are in memory at a time.

    Returns
    -------
    ``distance_nm``, ``side``, ``surface`` and ``inside``, (n,) each; see ``measure_picks``.
    """
    from volengine.ops.surfaces.proximity import box_around, nearest_surface
    from volengine.ops.surfaces.signs import inside_closed, side_of, welded

    @lru_cache(maxsize=SURFACES_KEPT)
    def read(number: int) -> Surface:
        return welded(surfaces.read(number))

    boxes, closed = {}, set()
    for row in surfaces.rows:
        surface = read(row["number"])
        if len(surface.faces):
            boxes[surface.number] = box_around(surface)
            closed |= {surface.number} if surface.closed else set()
    near = nearest_surface(places, boxes, read)
    side = np.zeros(len(places), np.int64)
    inside = np.zeros(len(places), bool)
    for number, (low, high) in sorted(boxes.items()):
        rows = np.flatnonzero(near.number == number)
        within = ((places >= low) & (places <= high)).all(axis=1) if number in closed else np.zeros(len(places), bool)
        if not len(rows) and not within.any():
            continue
        surface = read(number)
        side[rows] = side_of(places[rows], surface, near.face[rows])
        if number in closed:
            inside[rows] |= side[rows] < 0
            others = np.flatnonzero(within & (near.number != number) & ~inside)
            inside[others] = inside_closed(places[others], surface)
    distance = np.where(near.number > 0, near.distance, np.inf) / NM
    return {"distance_nm": distance, "side": side, "surface": near.number, "inside": inside}


def neighbours(places: Floats, radius_nm: float, rank: int) -> Columns:
    """Number of other picks within a radius, and distance of the neighbour of a rank, inf if there are fewer.

    >>> places = np.array([[0.0, 0, 0], [0, 0, 20], [0, 0, 70]])
    >>> {name: column.tolist() for name, column in neighbours(places, 5.0, 1).items()}
    {'neighbours.number': [1, 2, 1], 'neighbours.distance_nm': [2.0, 2.0, 5.0]}
    """
    from scipy.spatial import cKDTree

    number, distance = np.zeros(len(places), np.int64), np.full(len(places), np.inf)
    if len(places):
        tree = cKDTree(places)
        within = radius_nm * NM * (1 + 1e-9)  # places are sums and products of decimal numbers
        number = np.asarray(tree.query_ball_point(places, within, return_length=True), np.int64) - 1
        distance = tree.query(places, [rank + 1])[0][:, 0] / NM
    return {"neighbours.number": number, "neighbours.distance_nm": distance}
