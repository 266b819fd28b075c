"""Where a filament ends: how far it goes on along a direction inside of its component.

Thinning ends a line about a radius before the component ends, or in the pointed corner of an oblique cut; there samples
whose section is not whole are left out. From the last one small discs across the line are moved on until they lie
outside, of hollow tubes circles within the wall. How far each point of a disc stays inside is how far the component
reaches, as a mean over the disc: so neither the steps of voxels nor an end that is cut obliquely change it. Of hollow
tubes it is the median over the circle, which a slit in the wall does not change, either.

>>> z, y, x = np.indices((9, 9, 60))
>>> tube = np.argwhere((z - 4) ** 2 + (y - 4) ** 2 <= 9)
>>> inside = Members(tube, np.ones(3), radius=3)
>>> beyond(np.array([4.0, 4.0, 56.2]), np.array([0.0, 0.0, 1.0]), inside)[-1].tolist()  # voxels end at 59.5
[4.0, 4.0, 59.5]
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

STEP = 0.1
"""Distance of the discs."""
DISC = 0.35
"""Radius of a disc, in radii of the tube; at least :data:`LEAST_DISC`."""
LEAST_DISC = 1.0
RINGS, SPOKES = 3, 8
"""Points of a disc: its middle, and so many on each of so many rings."""
CUT, WHOLE = 0.95, 0.98
"""A filament is cut at its end if the last section has less than the first share of the median section; its sections
are whole from there on where one has the second share."""
AT_ONCE = 64
"""Discs that are looked up together."""


class Members:
    """The voxels of a component, to ask which places lie in one of them.

    Parameters
    ----------
    voxels
        (n, 3) whole numbers z, y, x, in the order of their place in the volume.
    size
        Sides of a voxel z, y, x, in units of the shortest one.
    radius
        Of the tube, in the same unit.
    wall
        Of the middle of its wall, if it is hollow; else 0. Its lumen is filled, but perhaps not up to its ends.
    """

    def __init__(self, voxels: NDArray[np.generic], size: Floats, radius: float, wall: float = 0.0):
        whole = voxels.astype(np.int64, copy=False)
        self.size, self.disc, self.wall = size, max(LEAST_DISC, DISC * radius), wall
        self._first, self._sides = whole.min(axis=0), np.ptp(whole, axis=0) + 1
        self._keys = np.ravel_multi_index(tuple((whole - self._first).T), tuple(self._sides))

    def holds(self, places: Floats) -> NDArray[np.bool_]:
        """Whether each of the places (..., 3), in units of the shortest side, lies in a voxel of the component."""
        at = np.floor(places / self.size + 0.5).astype(np.int64) - self._first
        there = ((at >= 0) & (at < self._sides)).all(axis=-1)
        keys = np.ravel_multi_index(tuple(np.moveaxis(np.where(there[..., None], at, 0), -1, 0)), tuple(self._sides))
        near = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        found: NDArray[np.bool_] = there & (self._keys[near] == keys)
        return found


def beyond(place: Floats, direction: Floats, inside: Members) -> Floats:
    """Points from a place to where the component ends along a direction, about one per unit of length.

    Parameters
    ----------
    place, direction
        z, y, x in units of the shortest side; the direction has the length 1.
    inside
        The component.

    Returns
    -------
    ndarray
        (n, 3), without the place itself; none if it lies outside.
    """
    if inside.wall:
        disc = place + _ring(direction, inside.wall, 4 * SPOKES)
        there = inside.holds(disc)
        disc = disc[there] if there.any() else disc
    else:
        disc = place + _disc(direction, inside.disc)
    far, first = np.zeros(len(disc)), 0
    while True:
        steps = (first + np.arange(AT_ONCE) + 0.5) * STEP
        there = inside.holds(disc + (steps[:, None] * direction)[:, None])
        out = np.flatnonzero(~there.any(axis=1))
        far += STEP * there[: out[0] if len(out) else AT_ONCE].sum(axis=0)
        if len(out):
            break
        first += AT_ONCE
    reach = float(np.median(far) if inside.wall else far.mean())  # a slit in a wall is no end of it
    count = round(reach)
    if not count:
        return place + reach * direction[None] if reach > 0 else np.zeros((0, 3))
    points: Floats = place + (np.arange(1, count + 1) * reach / count)[:, None] * direction
    return points


def whole_sections(area: Floats, ends: tuple[bool, bool], least: float = 0.0) -> slice:
    """The samples of a line without those at its free ends where the filament's section is not whole.

    A cut that is not across a filament, as by a volume's face, leaves a pointed corner, into which thinning runs. At
    each end at most a quarter of the samples is left out.

    Parameters
    ----------
    area
        (n,) area of the section at each sample.
    ends
        Whether the first and the last sample are free ends.
    least
        Samples that are left out there in any case: near the ends of a hollow tube not all of its lumen may be filled.
    """
    count = len(area)
    most = min(count // 4, (count - 4) // 2)
    if most < 1:
        return slice(0, count)
    smooth = np.convolve(np.pad(area, 1, mode="edge"), np.ones(3) / 3, "valid")
    usual = float(np.median(smooth))
    whole = np.flatnonzero(smooth >= WHOLE * usual)
    cut = [
        int(min(max(inside if there and smooth[end] < CUT * usual else 0, least if there else 0), most))
        for end, there, inside in ((0, ends[0], whole[0]), (-1, ends[1], count - 1 - whole[-1]))
    ]
    return slice(cut[0], count - cut[1])


def _disc(direction: Floats, radius: float) -> Floats:
    """Points (k, 3) of a disc around 0 across a direction, each for the same area."""
    rings = [_ring(direction, radius * np.sqrt((k + 0.5) / RINGS), SPOKES) for k in range(RINGS)]
    found: Floats = np.concatenate([np.zeros((1, 3)), *rings])
    return found


def _ring(direction: Floats, radius: float, count: int) -> Floats:
    """Points (k, 3) of a circle around 0 across a direction."""
    first = np.cross(direction, np.eye(3)[int(np.argmin(np.abs(direction)))])
    first /= np.linalg.norm(first)
    second = np.cross(direction, first)
    angle = 2 * np.pi * np.arange(count) / count
    found: Floats = radius * (np.cos(angle)[:, None] * first + np.sin(angle)[:, None] * second)
    return found
