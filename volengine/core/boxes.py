"""Boxes of voxels: half-open intervals of indices along z, y, x."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

Index3 = tuple[int, int, int]


def index3(values: Iterable[int]) -> Index3:
    """Convert three numbers (z, y, x) to a tuple of Python integers."""
    z, y, x = values
    return int(z), int(y), int(x)


@dataclass(frozen=True, slots=True, order=True)
class Box:
    """The voxels ``start <= index < stop``. A box may reach outside of the volume, and it may be empty."""

    start: Index3
    stop: Index3

    @classmethod
    def of_shape(cls, shape: Sequence[int]) -> Box:
        """Return the box that covers a whole array of this shape."""
        return cls((0, 0, 0), index3(shape))

    @property
    def shape(self) -> Index3:
        """Number of voxels along z, y, x; 0 along an axis on which the box is empty."""
        return index3(max(0, b - a) for a, b in zip(self.start, self.stop, strict=True))

    @property
    def size(self) -> int:
        """Number of voxels."""
        z, y, x = self.shape
        return z * y * x

    @property
    def empty(self) -> bool:
        """Whether the box contains no voxel."""
        return self.size == 0

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Slices that cut the box out of an array that starts at the volume's origin. The box must lie inside of it."""
        z, y, x = (slice(a, b) for a, b in zip(self.start, self.stop, strict=True))
        return z, y, x

    def slices_in(self, outer: Box) -> tuple[slice, slice, slice]:
        """Return slices that cut the box out of an array that covers ``outer``."""
        return self.shift(index3(-a for a in outer.start)).slices

    def shift(self, by: Sequence[int]) -> Box:
        """Return the box moved ``by`` voxels along z, y, x."""
        return Box(
            index3(a + d for a, d in zip(self.start, by, strict=True)),
            index3(b + d for b, d in zip(self.stop, by, strict=True)),
        )

    def grow(self, low: Sequence[int], high: Sequence[int] | None = None) -> Box:
        """Return the box with ``low`` voxels added before and ``high`` (default: ``low``) added behind, per axis.

        The result may reach outside of the volume.
        """
        high = low if high is None else high
        return Box(
            index3(a - d for a, d in zip(self.start, low, strict=True)),
            index3(b + d for b, d in zip(self.stop, high, strict=True)),
        )

    def slabs(self, slices: int) -> Iterator[Box]:
        """Yield the box in parts of so many slices; the last one may have fewer.

        >>> [(slab.start[0], slab.stop[0]) for slab in Box((2, 0, 0), (7, 9, 9)).slabs(2)]
        [(2, 4), (4, 6), (6, 7)]
        """
        for z in range(self.start[0], self.stop[0], slices):
            yield Box((z, *self.start[1:]), (min(z + slices, self.stop[0]), *self.stop[1:]))

    def intersect(self, other: Box) -> Box:
        """Return the voxels that both boxes contain; the result may be empty."""
        start = index3(max(a, b) for a, b in zip(self.start, other.start, strict=True))
        stop = index3(min(a, b) for a, b in zip(self.stop, other.stop, strict=True))
        return Box(start, index3(max(a, b) for a, b in zip(start, stop, strict=True)))

    def clip(self, shape: Sequence[int]) -> Box:
        """Return the part of the box that lies inside of a volume of this shape."""
        return self.intersect(Box.of_shape(shape))

    def contains(self, other: Box) -> bool:
        """Return whether all voxels of ``other`` are inside; an empty box is inside of every box."""
        return other.empty or self.intersect(other) == other

    def coarsen(self, factor: Sequence[int]) -> Box:
        """Return the box on a grid that is ``factor`` times coarser: all coarse voxels whose first voxel is inside."""
        return Box(
            index3(-(-a // f) for a, f in zip(self.start, factor, strict=True)),
            index3(-(-b // f) for b, f in zip(self.stop, factor, strict=True)),
        )


def neighbours(index: Index3, grid: Index3) -> Iterator[Index3]:
    """Yield the up to 26 cells of a grid around ``index``, without ``index`` itself, in lexicographic order.

    Parameters
    ----------
    index
        Grid index of the cell, z, y, x.
    grid
        Number of cells along z, y, x.
    """
    for step in itertools.product((-1, 0, 1), repeat=3):
        cell = index3(i + d for i, d in zip(index, step, strict=True))
        if any(step) and all(0 <= c < n for c, n in zip(cell, grid, strict=True)):
            yield cell
