"""A sparse prediction of cubes whose picks are known by construction, of any size: only tiles of it are in memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from volengine.core.image import ImageSpec, Level
from volengine.core.tiling import Tiling
from volengine.io.omezarr import image as omezarr
from volengine.io.omezarr.arrays import ZarrSink

VOXEL = 10.0
SPACING_VOX = 12.0
EDGES = (3, 5, 7)
"""Odd edges: a cube's centroid is a voxel, its weight (value 255) the cube of its edge."""


@dataclass(frozen=True)
class Known:
    """What was drawn: the picks in the order of a table's rows, and all cubes.

    Parameters
    ----------
    position, weight
        (n, 3) and (n,): centre and weight of the cubes that are kept.
    centres, edges
        Centres and edges of all cubes.
    """

    position: np.ndarray
    weight: np.ndarray
    centres: np.ndarray
    edges: np.ndarray


def known(shape, count: int, seed: int = 1) -> Known:
    """Draw ``count`` particles, of which every eighth has a weaker neighbour 10 voxels away, too close to be kept.

    They fill some columns of 480 voxels, drawn at random; the rest of a much larger volume is empty. Sites are 40
    voxels apart. A particle is up to 6 voxels from its site, so that those of two sites are 28 apart or more. Equal
    weights are ordered by the linear index of the highest root. In a cube of edge 3, 5, 7 that is its centre, the only
    voxel of the largest distance.
    """
    rng = np.random.default_rng(seed)
    grid = [n // 40 for n in shape]
    assert np.prod(grid) >= count
    site = np.stack(np.unravel_index(rng.permutation(int(np.prod(grid))), grid), axis=1)
    down, across = (-(-n // 12) for n in grid[1:])
    column = rng.permutation(down * across)[site[:, 1] // 12 * across + site[:, 2] // 12]
    site = site[np.argsort(column, kind="stable")[:count]]
    centre = site * 40 + 13 + rng.integers(-6, 7, site.shape)
    edge = rng.choice(EDGES[1:], count)
    second = np.arange(0, count, 8)
    weaker = centre[second] + [0, 0, 10]
    index = np.ravel_multi_index(tuple(centre.T), shape)
    order = np.lexsort((index, -(edge**3)))
    centres, edges = np.concatenate([centre, weaker]), np.concatenate([edge, np.full(second.size, 3)])
    return Known(centre[order].astype(float), (edge**3)[order].astype(float), centres, edges)


def image(url: str, shape, chunk) -> ImageSpec:
    """A store of one level without any chunk: what planning needs."""
    level = Level("0", tuple(shape), (1, 1, 1), tuple(chunk), None)
    made = ImageSpec(url, "sparse", "uint8", "probability", (VOXEL,) * 3, (level,))
    omezarr.create_image(made, token="input")
    return made


def store(folder: Path, shape, count: int, *, chunk=(64, 64, 64), tile=(256, 512, 512)) -> tuple[str, Known]:
    """Write the prediction, tile by tile; return its path and what is in it."""
    found = known(shape, count)
    made = image(str(folder / "sparse.ome.zarr"), shape, chunk)
    sink = ZarrSink(made.volume())
    low, high = found.centres - found.edges[:, None] // 2, found.centres + found.edges[:, None] // 2 + 1
    for box in Tiling(tuple(shape), tuple(tile)):
        here = np.flatnonzero(((high > box.start) & (low < box.stop)).all(axis=1))
        if not here.size:
            continue
        array = np.zeros(box.shape, np.uint8)
        for a, b in zip(low[here] - box.start, high[here] - box.start, strict=True):
            array[tuple(slice(max(0, i), max(0, j)) for i, j in zip(a, b, strict=True))] = 255
        sink.write(box, array)
    omezarr.finish_image(made)
    return made.url, found
