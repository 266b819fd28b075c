"""Patch lattices: where a network looks, anchored at the volume's origin and never at a block's.

A *patch* is the window a network sees. A :class:`Lattice` is the product of three :class:`AxisLattice`, one per
axis, and knows three boxes of every patch: the *box* whose voxels it predicts (it may leave the volume), the
*input box* the network reads for it (wider by the context), and by which block it is run. A patch belongs to the
block whose core holds its first voxel, clipped into the volume; so each patch has exactly one owner whatever the
blocks, and it reaches over the owner's *upper* faces only, by at most :meth:`Lattice.overhang` voxels.

Three kinds of axis:

``AxisLattice.sliding(n, patch, overlap)``
    MONAI's sliding window: step ``max(int(patch * (1 - overlap)), 1)``, the last patch moved back so that it ends
    with the volume. A volume smaller than the patch is padded, ``(patch - n) // 2`` before it and the rest behind.
``AxisLattice.sliding(n, patch, overlap, margin=m)``
    The same on the volume made longer by ``m`` voxels at both ends, so that each voxel has that much context.
``AxisLattice.tiles(n, tile)``
    Neighbouring tiles that do not overlap, the last one cut off at the end: for purely convolutional networks,
    which are exact once the context (``low``, ``high``) covers their receptive field.

:meth:`AxisLattice.mirror` gives the patches of the mirrored volume, in the coordinates of the volume itself: where the
last patch is moved back, they are others.

>>> lattice = Lattice.sliding((64, 200, 200), (1, 128, 128), (0, 0.25, 0.25))
>>> len(lattice), lattice.z.count, lattice.y.starts
(256, 64, (0, 72))
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import PlanError

PatchIndex = Index3
"""Index of a patch along z, y, x."""

EdgeRule = Literal["reflect", "edge", "zero"]
"""What lies outside of the volume: mirrored (border voxel not repeated), the border voxel repeated, zero."""


@dataclass(frozen=True)
class AxisLattice:
    """The patches along one axis.

    Parameters
    ----------
    n
        Length of the volume, voxels.
    patch
        Length of a patch, voxels.
    step
        Distance of neighbouring patches, voxels (the last distance may be shorter).
    first
        Start of the first patch; negative where the volume is padded.
    end
        Where the last patch ends: ``n``, or behind it where the volume is padded.
    cut
        Tiles: the last one is cut off at ``n`` instead of being moved back.
    low, high
        Context the network reads before and behind a patch, voxels.
    align
        Input boxes begin at multiples of this, and end at multiples of it counted from there.
    bounded
        The input is cut off at the volume's ends (then filled up at the far end to a multiple of ``align``), so
        that a convolution pads there by itself as it does on the whole volume.
    mirrored
        The patches lie as on the mirrored volume, counted from its other end.
    """

    n: int
    patch: int
    step: int
    first: int = 0
    end: int = 0
    cut: bool = False
    low: int = 0
    high: int = 0
    align: int = 1
    bounded: bool = False
    mirrored: bool = False

    @classmethod
    def sliding(
        cls, n: int, patch: int, overlap: float = 0.0, margin: int = 0, low: int = 0, high: int = 0
    ) -> AxisLattice:
        """MONAI's rule on the volume made longer by ``margin`` voxels at both ends (see the module)."""
        if n < 1 or patch < 1:
            raise PlanError(f"A patch lattice needs positive lengths: volume {n}, patch {patch}.")
        if not 0 <= overlap < 1:
            raise PlanError(f"The overlap must be at least 0 and below 1, not {overlap}.")
        if margin < 0 or (margin and patch <= 2 * margin):
            raise PlanError(
                f"A margin of {margin} voxels on both sides leaves nothing of a patch of {patch} voxels; "
                f"use a margin below {(patch + 1) // 2} or larger patches."
            )
        length = n + 2 * margin
        step = max(int(patch * (1 - overlap)), 1)
        if length <= patch:
            first = -margin - (patch - length) // 2
            return cls(n, patch, max(step, 1), first, first + patch, low=low, high=high)
        return cls(n, patch, step, -margin, n + margin, low=low, high=high)

    @classmethod
    def tiles(cls, n: int, tile: int, radius: int = 0, align: int = 1) -> AxisLattice:
        """Tiles side by side, with ``radius`` voxels of context inside of the volume (exact mode)."""
        if n < 1 or tile < 1 or tile % align:
            raise PlanError(f"A tile of {tile} voxels must be a multiple of the network's stride {align}.")
        return cls(n, tile, tile, 0, n, True, radius, radius, align, True)

    def mirror(self) -> AxisLattice:
        """The patches that the mirrored volume would have, turned back; this lattice where they are the same.

        Raises
        ------
        PlanError
            Tiles, or a context that differs before and behind.
        """
        if self.cut or self.low != self.high or self.align != 1:
            raise PlanError("Only sliding windows with the same context before and behind can be mirrored.")
        turned = replace(self, mirrored=not self.mirrored)
        return self if turned.starts == self.starts else turned

    @property
    def count(self) -> int:
        """Number of patches."""
        if self.cut:
            return -(-self.n // self.step)
        return 1 + max(0, -(-(self.end - self.first - self.patch) // self.step))

    def start(self, i: int) -> int:
        """First voxel of patch ``i``; may be negative."""
        if self.mirrored:
            i = self.count - 1 - i
            return self.n - self.patch - min(self.first + i * self.step, self.end - self.patch)
        start = self.first + i * self.step
        return start if self.cut else min(start, self.end - self.patch)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        return tuple(self.start(i) for i in range(self.count))

    def span(self, i: int) -> tuple[int, int]:
        """Start and stop of the voxels that patch ``i`` predicts."""
        start = self.start(i)
        stop = start + self.patch
        return start, min(stop, self.n) if self.cut else stop

    def input_span(self, i: int) -> tuple[int, int]:
        """Start and stop of what the network reads for patch ``i``; may leave the volume."""
        start, stop = self.span(i)
        start, stop = start - self.low, stop + self.high
        start = start // self.align * self.align
        if self.bounded:
            start, stop = max(start, 0), min(stop, self.n)
        return start, start + -(-(stop - start) // self.align) * self.align

    def source_span(self, i: int, edge: EdgeRule) -> tuple[int, int]:
        """The voxels of the volume that the input of patch ``i`` is made from, by this edge rule."""
        start, stop = self.input_span(i)
        low, high = max(start, 0), min(stop, self.n)
        if edge == "reflect":
            if start < 0:
                high = max(high, min(1 - start, self.n))
            if stop > self.n:
                low = min(low, max(2 * self.n - 1 - stop, 0))
            if max(-start, stop - self.n) > self.n - 1:
                low, high = 0, self.n
        return low, high

    def neighbours(self, i: int) -> tuple[int, ...]:
        """Starts of all patches that share voxels with patch ``i``, itself included, relative to its start."""
        if self.cut:
            return (0,)
        start = self.start(i)
        first = bisect_right(self.starts, start - self.patch)
        last = bisect_left(self.starts, start + self.patch)
        return tuple(s - start for s in self.starts[first:last])

    def touching(self, start: int, stop: int) -> range:
        """Patches that predict voxels in ``start .. stop``."""
        return range(bisect_right(self.starts, start - self.patch), bisect_left(self.starts, stop))

    def owned(self, start: int, stop: int) -> range:
        """Patches whose first voxel inside of the volume lies in ``start .. stop``."""
        first = 0 if start <= 0 else bisect_left(self.starts, start)
        return range(first, max(first, bisect_left(self.starts, stop)))

    def overhang(self, core: int) -> int:
        """How far the patches of a block reach over its upper face at most, for blocks of ``core`` voxels."""
        starts, stops = self._clipped
        ends = np.minimum((starts // core + 1) * core, self.n)
        return int(np.max(stops - ends, initial=0))

    def halo(self, core: int, edge: EdgeRule) -> tuple[int, int]:
        """Voxels a block of ``core`` voxels reads below and above its core for the patches it owns."""
        low = high = 0
        for i, first in enumerate(self._clipped[0].tolist()):
            begin = first // core * core
            start, stop = self.source_span(i, edge)
            low = max(low, begin - start)
            high = max(high, stop - min(begin + core, self.n))
        return low, high

    @cached_property
    def _clipped(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        starts = np.maximum(np.array(self.starts, np.int64), 0)
        stops = np.minimum(np.array([self.span(i)[1] for i in range(self.count)], np.int64), self.n)
        return starts, stops


@dataclass(frozen=True)
class Lattice:
    """The patches of a volume: the product of three axes."""

    z: AxisLattice
    y: AxisLattice
    x: AxisLattice

    @classmethod
    def sliding(
        cls,
        shape: Sequence[int],
        patch: Sequence[int],
        overlap: Sequence[float] = (0.0, 0.0, 0.0),
        margin: Sequence[int] = (0, 0, 0),
        low: Sequence[int] = (0, 0, 0),
        high: Sequence[int] = (0, 0, 0),
    ) -> Lattice:
        """Sliding windows; ``low`` and ``high`` are extra context, for example the slices of a 2.5D network."""
        z, y, x = (AxisLattice.sliding(*each) for each in zip(shape, patch, overlap, margin, low, high, strict=True))
        return cls(z, y, x)

    def mirror(self, along: Sequence[bool]) -> Lattice:
        """The patches of the volume mirrored along these axes, in the coordinates of the volume itself."""
        z, y, x = (a.mirror() if turn else a for a, turn in zip(self.axes, along, strict=True))
        return Lattice(z, y, x)

    @property
    def axes(self) -> tuple[AxisLattice, AxisLattice, AxisLattice]:
        return self.z, self.y, self.x

    @property
    def shape(self) -> Index3:
        """Shape of the volume."""
        return index3(a.n for a in self.axes)

    @property
    def patch(self) -> Index3:
        """Shape of a patch."""
        return index3(a.patch for a in self.axes)

    @property
    def grid(self) -> Index3:
        """Number of patches along z, y, x."""
        return index3(a.count for a in self.axes)

    def __len__(self) -> int:
        z, y, x = self.grid
        return z * y * x

    def box(self, index: PatchIndex) -> Box:
        """The voxels a patch predicts; may leave the volume."""
        return _box([a.span(i) for a, i in zip(self.axes, index, strict=True)])

    def input_box(self, index: PatchIndex) -> Box:
        """The voxels the network reads for a patch; may leave the volume."""
        return _box([a.input_span(i) for a, i in zip(self.axes, index, strict=True)])

    def neighbours(self, index: PatchIndex) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Relative starts of the patches that overlap with this one, per axis: its *class* for the weights."""
        z, y, x = (a.neighbours(i) for a, i in zip(self.axes, index, strict=True))
        return z, y, x

    def owned(self, core: Box) -> Iterator[PatchIndex]:
        """The patches that the block with this core runs, in lattice order."""
        ranges = [a.owned(s, t) for a, s, t in zip(self.axes, core.start, core.stop, strict=True)]
        return (index3(i) for i in itertools.product(*ranges))

    def touching(self, box: Box) -> Iterator[PatchIndex]:
        """The patches that predict voxels of a box, in lattice order."""
        ranges = [a.touching(s, t) for a, s, t in zip(self.axes, box.start, box.stop, strict=True)]
        return (index3(i) for i in itertools.product(*ranges))

    def overhang(self, core: Sequence[int]) -> Index3:
        """How far patches reach over the upper faces of blocks of this shape (0: none crosses a border).

        Raises
        ------
        PlanError
            A patch would reach further than the next block.
        """
        over = index3(a.overhang(c) for a, c in zip(self.axes, core, strict=True))
        for axis, h, c in zip("zyx", over, core, strict=True):
            if h > c:
                raise PlanError(
                    f"Patches of {self.patch} voxels reach {h} voxels beyond blocks of {tuple(core)} on axis "
                    f"{axis}, further than the next block; use blocks of at least {h} voxels there."
                )
        return over

    def halo(self, core: Sequence[int], edges: Sequence[EdgeRule]) -> tuple[Index3, Index3]:
        """Voxels a block reads below and above its core, inside of the volume, for the patches it owns."""
        pairs = [a.halo(c, e) for a, c, e in zip(self.axes, core, edges, strict=True)]
        return index3(low for low, _ in pairs), index3(high for _, high in pairs)


def _box(spans: Sequence[tuple[int, int]]) -> Box:
    return Box(index3(s for s, _ in spans), index3(t for _, t in spans))
