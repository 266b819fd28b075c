"""How thick the objects of a mask are: the diameters of the balls that fit into them.

A sheet has its thickness everywhere, a filament its diameter, a ball one value. The centres of the balls are the voxels
whose distance to the background is a local maximum (the medial axis; Blum 1967, Hildebrand & Rüegsegger 1997).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MAIN, WIDEST = 0.8, 15
"""A ball counts if it is at least this share of the largest one around; how far is looked for that, voxels."""
HALF = 0.5
"""Between the distance to the centre of the nearest voxel of the background, doubled, and the diameter in voxels lie 0
(an even number of voxels) to 1 (an odd one)."""


def inscribed_diameters(mask: NDArray[Any]) -> NDArray[np.float64]:
    """Diameters of the largest balls around the middle voxels of a mask's objects.

    Parameters
    ----------
    mask
        Voxels of the objects, 2D or 3D, any type; not 0 is inside. What lies outside of the array is not known: balls
        that reach its border are left out.

    Returns
    -------
    (n,) float64
        Voxels, right to about half a voxel for each; empty if no ball is known as a whole.

    Examples
    --------
    >>> sheet = np.zeros((20, 20, 20), bool)
    >>> sheet[8:13] = True
    >>> float(np.median(inscribed_diameters(sheet)))
    5.5
    """
    import edt
    from scipy.ndimage import maximum_filter

    inside = np.ascontiguousarray(mask != 0)
    if not inside.any() or inside.all():
        return np.empty(0)
    distance = edt.edt(inside.view(np.uint8), black_border=False)
    known = inside & (distance >= maximum_filter(distance, 3) - 1e-4)
    for axis, side in enumerate(inside.shape):
        if side > 1:
            steps = np.arange(1, side + 1)
            to_border = np.minimum(steps, steps[::-1])
            known &= distance <= to_border.reshape([-1 if a == axis else 1 for a in range(inside.ndim)])
    if not known.any():
        return np.empty(0)
    around = 2 * min(WIDEST, int(np.median(distance[known]))) + 1  # corners of a ball of voxels are no objects
    known &= distance >= MAIN * maximum_filter(np.where(known, distance, 0), around)
    found: NDArray[np.float64] = 2 * distance[known].astype(np.float64) - HALF
    return found


def typical(diameters: NDArray[np.float64]) -> float | None:
    """The median of diameters, each counted by its length, so that specks of a rough surface hardly count.

    >>> typical(np.array([1.0, 1.0, 1.0, 10.0]))
    10.0
    """
    if not len(diameters):
        return None
    ordered = np.sort(diameters)
    heaped = np.cumsum(ordered)
    return float(ordered[np.searchsorted(heaped, heaped[-1] / 2)])
