"""Particles as the program Ais picks them without options: local maxima of the distance to the background.

Source: Ais 1.2.40, ``core/util.py`` (``pick_particles``) and ``main.py``, and scikit-image's ``peak_local_max``, which
it calls with a distance and else with the defaults. A voxel is a candidate if no voxel in the cube of ``2 * reach + 1``
voxels around it is farther from the background; every voxel of a plateau is one. Candidates nearer than ``reach`` to a
face of the volume are none. In the order of distance, equal ones in that of their index, each candidate drops those
that are closer to it than ``reach`` along every axis.

>>> import numpy as np
>>> mask = np.zeros((9, 9, 20), np.uint32)
>>> mask[3:6, 3:6, 3:6] = mask[3:6, 3:6, 12:17] = 1
>>> whole = Box.of_shape(mask.shape)
>>> found = block_peaks(mask, whole, whole, mask.shape, reach=3, limit=64)
>>> found["index"].tolist(), found["squared"].tolist()
([[4, 4, 4], [4, 4, 13], [4, 4, 14], [4, 4, 15]], [4, 4, 4, 4])
>>> spaced(found["index"], 3).tolist()
[True, True, False, False]
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Array, Table
from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError, WiderHaloError
from volengine.ops.heights import squared_distance


def block_peaks(labels: Array, crop: Box, core: Box, shape: Index3, reach: int, limit: int) -> Table:
    """The candidates of a block.

    Parameters
    ----------
    labels, crop
        Labels of components, z, y, x, 0 in the background, and the box that they cover.
    core, shape
        The block's core, and the shape of the volume.
    reach
        Half the side of the cube, voxels.
    limit
        Distances must be smaller than this, voxels.

    Returns
    -------
    Table
        ``index`` (n, 3) int64, z, y, x in the volume, in the order of the linear index; ``squared`` (n,) int64:
        squared distance; ``label`` (n,) int64.

    Raises
    ------
    WiderHaloError
        A distance may depend on voxels outside of the crop.
    InputError
        A component is so thick that a distance reaches the limit.
    """
    inside = Box(
        index3(max(a, reach) for a in core.start),
        index3(max(reach, min(b, n - reach)) for b, n in zip(core.stop, shape, strict=True)),
    )
    empty = any(a >= b for a, b in zip(inside.start, inside.stop, strict=True))
    if empty or not labels[inside.slices_in(crop)].any():
        return {"index": np.zeros((0, 3), np.int64), "squared": np.zeros(0, np.int64), "label": np.zeros(0, np.int64)}
    around = inside.grow((reach,) * 3)  # inside of the volume
    halo = _halo(crop, core, shape)
    most = limit + reach + 1
    if not crop.contains(around):
        raise WiderHaloError((min(most, max(2 * halo, reach + 8)),) * 3)
    d2 = squared_distance(labels > 0, limit)[around.slices_in(crop)]
    if not _exact(d2, around, crop, shape) and halo < most:
        raise WiderHaloError((min(most, max(2 * halo, reach + 8)),) * 3)
    if d2.max() >= limit * limit:
        raise InputError(
            f"A region is thicker than {2 * limit} voxels; Ais's picks need the distance to its border: raise "
            "--max-distance-vox (at most 4095), or the threshold."
        )
    from scipy.ndimage import maximum_filter

    middle = inside.slices_in(around)
    peak = (d2 == maximum_filter(d2, 2 * reach + 1, mode="nearest"))[middle] & (d2[middle] > 0)
    index = np.argwhere(peak)
    at = tuple(index.T)
    return {
        "index": index + np.array(inside.start),
        "squared": d2[middle][at].astype(np.int64),
        "label": labels[inside.slices_in(crop)][at].astype(np.int64),
    }


def _halo(crop: Box, core: Box, shape: Index3) -> int:
    """The narrowest halo on the sides on which the volume goes on; huge if the crop is the whole volume."""
    sides = [core.start[a] - crop.start[a] for a in range(3) if crop.start[a] > 0]
    sides += [crop.stop[a] - core.stop[a] for a in range(3) if crop.stop[a] < shape[a]]
    return min(sides, default=2**30)


def _exact(d2: NDArray[np.float32], box: Box, crop: Box, shape: Index3) -> bool:
    """Whether no voxel outside of the crop can be nearer than the distances of a box say."""
    bounds = []
    for axis in range(3):
        at = np.arange(box.start[axis], box.stop[axis])
        unseen = np.full(at.size, 2**15)
        if crop.start[axis] > 0:
            unseen = np.minimum(unseen, at - (crop.start[axis] - 1))
        if crop.stop[axis] < shape[axis]:
            unseen = np.minimum(unseen, crop.stop[axis] - at)
        bounds.append(unseen)
    plane = np.minimum(bounds[1][:, None], bounds[2][None, :])
    return all(bool((part <= np.minimum(plane, z) ** 2).all()) for part, z in zip(d2, bounds[0], strict=True))


def spaced(index: NDArray[np.int64], reach: int) -> NDArray[np.bool_]:
    """Which points stay if each, in their order, drops later ones closer than ``reach`` along every axis.

    Parameters
    ----------
    index
        (n, 3) whole numbers.
    reach
        At least 1; points that differ by ``reach`` along an axis both stay.
    """
    kept = np.zeros(len(index), bool)
    cells: dict[tuple[int, int, int], list[tuple[int, int, int]]] = {}
    steps = list(itertools.product((-1, 0, 1), repeat=3))
    for row, (z, y, x) in enumerate(index.tolist()):
        a, b, c = z // reach, y // reach, x // reach
        near = (p for i, j, k in steps for p in cells.get((a + i, b + j, c + k), ()))
        if not any(abs(p[0] - z) < reach and abs(p[1] - y) < reach and abs(p[2] - x) < reach for p in near):
            kept[row] = True
            cells.setdefault((a, b, c), []).append((z, y, x))
    return kept
