"""Ripley's functions on surfaces: how many neighbours points have within a geodesic distance, beside chance.

All are relative to what points without order on the same surface have: the neighbours that were counted divided by the
density times the area within the distance, summed over points. The area is that of the surface itself, so neither its
curvature nor its borders change the 1 that chance gives.

>>> import numpy as np
>>> sums = RipleySums(np.array([4.0, 6.0]), np.array([2.0, 6.0]))
>>> sums.o.tolist(), sums.k.tolist(), sums.l([10.0, 20.0])[0].round(3).item()
([2.0, 1.0], [2.0, 1.25], 4.142)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Int64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RipleySums:
    """Neighbours in rings, counted and expected; of several surfaces they are added.

    Parameters
    ----------
    counted
        (..., k) pairs whose distance lies in ring 1 ... k.
    expected
        (..., k) the same number for points without order: for each point the density of the others times the area of
        the ring around it.
    """

    counted: Floats
    expected: Floats

    @classmethod
    def total(cls, parts: Iterable[RipleySums]) -> RipleySums:
        """The sum of parts; there must be one at least."""
        every = list(parts)
        return cls(sum(p.counted for p in every), sum(p.expected for p in every))  # type: ignore[arg-type]

    @property
    def o(self) -> Floats:
        """(..., k) O: in each ring, counted / expected (Wiegand and Moloney, Oikos 104, 2004); NaN if none expected."""
        return _ratio(self.counted, self.expected)

    @property
    def k(self) -> Floats:
        """(..., k) K / (π r²): within each radius, counted / expected (Ripley, J. R. Stat. Soc. B 39, 1977)."""
        return _ratio(np.cumsum(self.counted, axis=-1), np.cumsum(self.expected, axis=-1))

    def l(self, radii: ArrayLike) -> Floats:  # noqa: E743 - its name in the field
        """(..., k) L - r = √(K / π) - r, in the unit of the radii: 0 for chance, above it for points in clusters."""
        found: Floats = np.asarray(radii, np.float64) * (np.sqrt(np.maximum(self.k, 0.0)) - 1)
        return found


def _ratio(a: Floats, b: Floats) -> Floats:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    found: Floats = np.divide(a, b, out=np.full(np.broadcast(a, b).shape, np.nan), where=b > 0)
    return found


def rings(distance: ArrayLike, radii: ArrayLike) -> Int64:
    """The ring in which each distance lies: ring i is from above radius i - 1 to radius i; k: beyond the last.

    >>> rings([0.0, 5.0, 5.1, 10.0, 11.0], [5.0, 10.0]).tolist()
    [0, 0, 1, 1, 2]
    """
    return np.searchsorted(np.asarray(radii, np.float64), np.asarray(distance, np.float64), side="left")


def ring_counts(distance: ArrayLike, radii: ArrayLike) -> Int64:
    """(k,) numbers of distances in the rings."""
    k = len(np.asarray(radii))
    return np.bincount(rings(distance, radii), minlength=k + 1)[:k].astype(np.int64)


def ring_areas(within: Floats) -> Floats:
    """(..., k) areas of rings from areas within radii."""
    return np.diff(within, axis=-1, prepend=0.0)


def observed(distance: ArrayLike, radii: ArrayLike, areas: Floats, others: float, area: float) -> RipleySums:
    """The sums of one surface.

    Parameters
    ----------
    distance
        (p,) distances of all pairs of a point and another one that lie on this surface; a pair within one class in both
        directions. Those beyond the last radius do not count.
    radii
        (k,) ends of the rings, ascending.
    areas
        (n, k) area of the rings around each point.
    others
        Number of points that a point may meet: within a class one less than there are.
    area
        The surface's area.
    """
    expected = areas.sum(axis=0) * (others / area) if area > 0 else np.zeros(len(np.asarray(radii)))
    return RipleySums(ring_counts(distance, radii).astype(np.float64), np.asarray(expected, np.float64))
