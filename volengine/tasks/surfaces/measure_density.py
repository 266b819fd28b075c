"""Values of a volume at the vertices of surfaces and along their normals, read box by box: never a whole volume.

Vertices are sorted into the cells of a fixed lattice. For each cell the box that its points need is read once, so the
memory is that of a cell with the reach of the profiles around it, however large volume and surface are. A value depends
on the voxels around its point only, hence not on the cells.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, index3
from volengine.core.errors import InputError
from volengine.core.surface import Surface
from volengine.core.units import NM_TO_ANGSTROM as NM
from volengine.core.volume import Volume
from volengine.io.cached import ChunkCache
from volengine.io.names import Source
from volengine.io.open import open_source
from volengine.ops.surfaces.neighbourhood import Links, discs
from volengine.ops.surfaces.profiles import PAD, Bilayer, bilayer, sampled
from volengine.tasks.surfaces.measure_recipe import SurfacesMeasureRecipe

Floats = NDArray[np.float64]

CELL = 64
"""Voxels of a cell along each axis."""

CACHE_BYTES = 256 << 20
ROWS = 1 << 13


@dataclass
class Reader:
    """Reads boxes of a volume; chunks that are needed again are kept up to a limit.

    Parameters
    ----------
    volume
        The volume.
    """

    volume: Volume

    def __post_init__(self) -> None:
        self.source: Source = ChunkCache(CACHE_BYTES).over(open_source(self.volume), self.volume)

    def along(self, places: Floats, directions: Floats, distances: Floats) -> Floats:
        """Values (n, k) at distances (k,) along directions from places (n, 3), angstrom; NaN outside of the volume."""
        size = np.asarray(self.volume.voxel_size)
        out = np.full((len(places), len(distances)), np.nan)
        for rows in _cells(places / size):
            for begin in range(0, len(rows), ROWS):
                some = rows[begin : begin + ROWS]
                at = (places[some, None] + distances[:, None] * directions[some, None]) / size
                out[some] = self._values(at)
        return out

    def _values(self, index: Floats) -> Floats:
        flat = index.reshape(-1, 3)
        last = np.asarray(self.volume.shape) - 1
        inside = np.all((flat >= 0) & (flat <= last), axis=1)
        if not inside.any():
            return np.full(index.shape[:-1], np.nan)
        low = np.floor(flat[inside].min(axis=0)).astype(int) - PAD
        high = np.ceil(flat[inside].max(axis=0)).astype(int) + PAD + 1
        box = Box(index3(low.tolist()), index3(high.tolist())).clip(self.volume.shape)
        return sampled(self.source.read(box), box, self.volume.shape, index)

    def at_voxels(self, places: Floats) -> NDArray[Any]:
        """Values (n,) of the voxels in which places lie; 0 outside of the volume."""
        index = np.floor(places / np.asarray(self.volume.voxel_size) + 0.5).astype(np.int64)
        inside = ((index >= 0) & (index < self.volume.shape)).all(axis=1)
        out = np.zeros(len(places), self.source.dtype)
        for rows in _cells(index.astype(np.float64)):
            rows = rows[inside[rows]]
            if not len(rows):
                continue
            start, stop = index[rows].min(axis=0), index[rows].max(axis=0) + 1
            box = Box(index3(start.tolist()), index3(stop.tolist()))
            out[rows] = self.source.read(box)[tuple((index[rows] - start).T)]
        return out


def _cells(index: Floats) -> Iterator[NDArray[np.int64]]:
    """Rows of the points in each cell of the lattice, cell by cell."""
    cell = np.floor(index / CELL).astype(np.int64)
    order = np.lexsort((cell[:, 2], cell[:, 1], cell[:, 0]))
    cuts = np.flatnonzero(np.any(np.diff(cell[order], axis=0) != 0, axis=1)) + 1
    yield from (part for part in np.split(order, cuts) if len(part))


def distances_of(recipe: SurfacesMeasureRecipe) -> Floats:
    """The distances of a profile's values, angstrom."""
    steps = int(np.floor(recipe.reach_nm / recipe.step_nm + 1e-9))
    found: Floats = np.arange(-steps, steps + 1).astype(np.float64) * (recipe.step_nm * NM)
    return found


def leaflets(surface: Surface, normals: Floats, links: Links, reader: Reader, recipe: SurfacesMeasureRecipe) -> Bilayer:
    """The two leaflets in the density along the normals of each vertex, angstrom."""
    at = distances_of(recipe)
    profiles = reader.along(surface.vertices, normals, at)
    if recipe.average_nm > 0:
        profiles = averaged(surface, normals, links, profiles, recipe.average_nm * NM)
    least, most = recipe.min_bilayer_nm * NM, recipe.max_bilayer_nm * NM
    return bilayer(profiles, at, dark=recipe.contrast == "dark", least=least, most=most)


def averaged(surface: Surface, normals: Floats, links: Links, profiles: Floats, radius: float) -> Floats:
    """Means of the finite profiles in the neighbourhood of each vertex, weighted by areas."""
    out = np.full_like(profiles, np.nan)
    known = np.all(np.isfinite(profiles), axis=1)
    for pairs in discs(surface.vertices, normals, links, radius):
        use = known[pairs.near]
        centre, near = pairs.centre[use], pairs.near[use]
        if not len(centre):
            continue
        centres, first = np.unique(centre, return_index=True)
        weight = surface.vertex_areas[near]
        total = np.add.reduceat(weight, first)
        summed = np.add.reduceat(profiles[near] * weight[:, None], first, axis=0)
        good = total > 0
        out[centres[good]] = summed[good] / total[good, None]
    return out


def check_memory(surface: Surface, recipe: SurfacesMeasureRecipe, limit: int) -> None:
    """Refuse a surface whose profiles do not fit into memory.

    Raises
    ------
    InputError
        They need more than ``limit`` bytes.
    """
    needed = 2 * 8 * len(surface.vertices) * len(distances_of(recipe))
    if needed > limit:
        raise InputError(
            f"{surface.name}: profiles of {len(distances_of(recipe))} values at {len(surface.vertices)} vertices need "
            f"{needed / 1e9:.1f} GB, and {limit / 1e9:.1f} GB are there; raise step_nm, or decimate the surface."
        )
