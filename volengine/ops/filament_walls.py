"""Hollow filaments: the lumen of a tube that is open at its ends, and components that are walls.

A network often sees only the wall of a microtubule. Its lumen is open at the ends, so the wall encloses nothing; but in
every plane across it the wall is a closed curve. Voxels that are enclosed in a plane across one of the axes are
candidates; their parts (6 neighbours) are divided by their faces into those to the wall and open ones. A lumen has few
open faces and is long; the hole of a ring is open on both sides, for at least 0.88 of the area of its wall, whatever
the ring's radii are, and that of a vesicle that a face cuts is as wide as long.

>>> z, y, x = np.indices((13, 13, 60))
>>> away = np.hypot(z - 6, y - 6)
>>> voxels, radius = lumens((away <= 6) & (away > 3), np.ones(3))
>>> len(voxels) - int(np.count_nonzero(away <= 3)), round(float(radius), 1)
(0, 2.9)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_OPEN = 0.4
"""Open faces of a lumen, as a share of those to its wall; of a straight lumen it is its radius over its length."""
ELONGATED = 2.0
"""A part is long if its extent (root mean square) along it is this many times that across it."""
FLAT = 2.0
"""And if its two extents across differ by less than this factor."""
SLENDER = 4.0
"""Or, however it bends, if it is so many diameters long, by its volume and its wall (where gaps are not closed)."""
FACES = 1.4
"""Area of a surface's voxel faces over its own, about: 1.27 to 1.5 for tubes of any direction."""
SKIN = 0.6
"""A tube's surface is about so much farther away from its axis than the nearest voxel that has a face there."""
STEP_OF_THIN = 1.2
"""About the length that a thinned voxel stands for."""
MOST_BESIDE = 3.0
"""A filament has at most this many times the volume of tubes around its thinned voxels."""
GAP = 3
"""Gaps of a wall that are closed for a second look: twice so many voxels."""


def lumens(mask: NDArray[np.bool_], size: Floats, gap: int = 0) -> tuple[Ints, float]:
    """The voxels of the lumens of hollow tubes in a component.

    Parameters
    ----------
    mask
        (z, y, x), the voxels of the component; it encloses none (:func:`scipy.ndimage.binary_fill_holes`).
    size
        Sides of a voxel z, y, x, in units of the shortest one.
    gap
        Layers by which the wall is thicker while lumens are looked for, so that its gaps close.

    Returns
    -------
    voxels
        (n, 3), z, y, x, in the order of their place.
    radius
        Of the widest lumen, in the same unit; 0 if there is none.
    """
    from scipy.ndimage import binary_dilation, find_objects, label

    whole = mask
    if gap:
        mask = binary_dilation(mask, iterations=gap)
    hollow = _enclosed_in_planes(mask)
    if not hollow.any():
        return np.zeros((0, 3), np.int64), 0.0
    parts = np.empty(mask.shape, np.int32)
    count = int(label(hollow, output=parts))
    del hollow
    volume, wall, open_ = _faces(parts, count, mask, size)
    boxes = find_objects(parts)
    found, radius = [], 0.0
    for k in np.flatnonzero((wall > 0) & (open_ <= MOST_OPEN * wall)).tolist():
        box = boxes[k - 1]
        voxels = np.argwhere(parts[box] == k) + [side.start for side in box]
        area = wall[k] / FACES
        slender = not gap and area**3 / (16 * np.pi * volume[k] ** 2) >= SLENDER
        if slender or is_long(voxels * size):
            found.append(voxels)
            radius = max(radius, float(2 * volume[k] / area))
    if not found:
        return np.zeros((0, 3), np.int64), 0.0
    voxels = np.concatenate(found).astype(np.int64)
    if gap:
        del parts
        full = np.zeros_like(whole)
        full[tuple(voxels.T)] = True
        voxels = np.argwhere(binary_dilation(full, iterations=gap) & ~whole).astype(np.int64)
    return voxels[np.lexsort(voxels.T[::-1])], radius + gap


def without_dents(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A component whose lumens are filled, closed by :data:`GAP`: where its wall has gaps, lumens may not be filled."""
    from scipy.ndimage import binary_closing

    inner = (slice(GAP, -GAP),) * 3
    closed: NDArray[np.bool_] = binary_closing(np.pad(mask, GAP), iterations=GAP)[inner]
    return closed | mask


def is_long(places: Floats) -> bool:
    """Whether places (n, 3) fill a long, about round and about straight body, rather than a ball or a plate."""
    if len(places) < 2:
        return False
    across2, across1, along = np.sqrt(np.maximum(np.linalg.eigvalsh(np.cov(places.T)), 1 / 12))
    return bool(along >= ELONGATED * across1 and across1 <= FLAT * across2)


def is_wall(mask: NDArray[np.bool_], thin: Ints, size: Floats) -> bool:
    """Whether a component has much more voxels than tubes around its thinned voxels: it is a wall or a sheet.

    Parameters
    ----------
    mask
        (z, y, x), the voxels of the component.
    thin
        (m, 3) the voxels z, y, x that thinning leaves.
    size
        Sides of a voxel.
    """
    from scipy.ndimage import binary_erosion
    from scipy.spatial import cKDTree

    if not len(thin):
        return False
    surface = np.argwhere(mask & ~binary_erosion(mask))
    depth = cKDTree(surface * size).query(thin * size)[0] + SKIN
    step = STEP_OF_THIN * float(np.cbrt(np.prod(size)))
    tubes = np.pi * (step * float((depth**2).sum()) + 2 * float(depth.max()) ** 3)  # thinning ends in front of an end
    return float(np.count_nonzero(mask) * np.prod(size)) > MOST_BESIDE * tubes


def radius_by_surface(mask: NDArray[np.bool_], size: Floats) -> float:
    """The radius of a tube by its volume and its surface; of a sheet it is only about its thickness."""
    area = 0.0
    for axis in range(3):
        steps = np.count_nonzero(np.diff(mask, axis=axis))
        outer = sum(np.count_nonzero(np.take(mask, side, axis)) for side in (0, -1))
        area += (steps + outer) * float(np.prod(size) / size[axis])
    return 2 * float(np.count_nonzero(mask) * np.prod(size)) / area


def _enclosed_in_planes(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Voxels from which no way of 4 neighbours leads out of one of the three planes across the axes."""
    from scipy.ndimage import label

    hollow = np.zeros_like(mask)
    for axis in range(3):
        for plane, out in zip(np.moveaxis(mask, axis, 0), np.moveaxis(hollow, axis, 0), strict=True):
            rows, columns = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
            if len(rows) < 3 or len(columns) < 3:
                continue
            box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
            parts, count = label(np.pad(~plane[box], 1, constant_values=True))
            if count > 1:  # the first part holds the first voxel, and with it all that is outside of the box
                out[box] |= parts[1:-1, 1:-1] > 1
    return hollow


def _faces(
    parts: NDArray[np.int32], count: int, mask: NDArray[np.bool_], size: Floats
) -> tuple[Floats, Floats, Floats]:
    """Volume of each part, from number 0, which is none, and the areas of its faces to the mask and of the others."""
    volume, wall, open_ = (np.zeros(count + 1) for _ in range(3))
    for axis in range(3):
        area = float(np.prod(size) / size[axis])
        planes, walls = np.moveaxis(parts, axis, 0), np.moveaxis(mask, axis, 0)
        for n, plane in enumerate(planes):
            here = np.flatnonzero(plane)
            if not len(here):
                continue
            number = plane.ravel()[here]
            if axis == 0:
                np.add.at(volume, number, float(np.prod(size)))
            for other in (n - 1, n + 1):
                if not 0 <= other < len(planes):
                    np.add.at(open_, number, area)
                    continue
                at_wall = walls[other].ravel()[here]
                np.add.at(wall, number[at_wall], area)
                np.add.at(open_, number[~at_wall & (planes[other].ravel()[here] == 0)], area)
    return volume, wall, open_
