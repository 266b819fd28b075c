"""Patch lattices: the places of a network's patches, anchored at the volume's origin and never at a block's.

A *patch* is the window that a network sees. A :class:`Lattice` is the product of three :class:`AxisLattice`, one per
axis. For every patch it knows the *box* whose voxels the patch predicts (it may reach outside of the volume), the
*input box* that the network reads for it (wider by the context), and the block that runs it. A patch belongs to the
block whose core holds its first voxel, clipped into the volume. So each patch has exactly one owner for any blocks, and
it reaches over the owner's *upper* faces only, by at most :meth:`Lattice.overhang` voxels.

Three kinds of axis:

``AxisLattice.sliding(n, patch, overlap)``
    MONAI's sliding window: the step is ``max(int(patch * (1 - overlap)), 1)`` voxels, and the last patch is moved back
    so that it ends with the volume. A volume that is smaller than the patch is padded with ``(patch - n) // 2`` voxels
    before it and the rest behind it.
``AxisLattice.sliding(n, patch, overlap, margin=m)``
    The same on the volume extended by ``m`` voxels at both ends, so that each voxel has that much context.
``AxisLattice.tiles(n, tile)``
    Neighbouring tiles that do not overlap; the last one is cut off at the end of the volume. For purely convolutional
    networks: their results are exact if the context (``low``, ``high``) covers the receptive field.

:meth:`AxisLattice.mirror` gives the patches of the mirrored volume, in the coordinates of the volume itself. They
differ from the lattice's own patches where the last patch was moved back.

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
"""Values outside of the volume: mirrored without repeating the border voxel, the border voxel repeated, or zero."""


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
        Distance between the starts of neighbouring patches, voxels. The last distance may be shorter.
    first
        Start of the first patch; negative if the volume is padded.
    end
        End of the last patch: ``n``, or more if the volume is padded.
    cut
        Cut the last patch off at ``n`` (tiles) instead of moving it back (sliding windows).
    low, high
        Context that the network reads before and behind a patch, voxels.
    align
        Input boxes begin at a multiple of this, and their length is a multiple of it.
    bounded
        Cut the input off at the ends of the volume, then extend it at its far end to a multiple of ``align``. A
        convolution then pads there itself, as it does on the whole volume.
    mirrored
        The patches are those of the mirrored volume, in the coordinates of the volume itself.
    begin, stop
        Only voxels from ``begin`` to before ``stop`` are wanted (``None``: to the end), and blocks lie side by side
        from ``begin`` on. The patches are the same; those that predict none of these voxels belong to no block.
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
    begin: int = 0
    stop: int | None = None

    @classmethod
    def sliding(
        cls, n: int, patch: int, overlap: float = 0.0, margin: int = 0, low: int = 0, high: int = 0
    ) -> AxisLattice:
        """Place overlapping patches by the rule of MONAI's ``sliding_window_inference``.

        The step is ``max(int(patch * (1 - overlap)), 1)`` voxels. The last patch is moved back so that it ends with the
        volume (extended by ``margin``). If the extended volume is smaller than a patch there is one patch, centred on
        it.

        Parameters
        ----------
        n
            Length of the volume, voxels, at least 1.
        patch
            Length of a patch, voxels, at least 1.
        overlap
            Share of a patch that neighbouring patches have in common, at least 0 and below 1.
        margin
            Voxels by which the volume is extended at both ends before the patches are placed.
        low, high
            Context that the network reads before and behind a patch, voxels.

        Raises
        ------
        PlanError
            A length below 1, an overlap outside of 0 to 1, a negative margin, or a margin of half a patch or more.

        >>> AxisLattice.sliding(200, 128, 0.25).starts
        (0, 72)
        >>> AxisLattice.sliding(100, 128).starts
        (-14,)
        """
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
        """Place tiles side by side, for the exact mode.

        Parameters
        ----------
        n
            Length of the volume, voxels.
        tile
            Length of a tile, voxels; a multiple of ``align``.
        radius
            Context that the network reads on both sides of a tile, as far as the volume reaches, voxels.
        align
            The network's stride: input boxes begin at a multiple of it, and their length is a multiple of it.

        Raises
        ------
        PlanError
            A length below 1, or a tile that is not a multiple of ``align``.
        """
        if n < 1 or tile < 1 or tile % align:
            raise PlanError(f"A tile of {tile} voxels must be a multiple of the network's stride {align}.")
        return cls(n, tile, tile, 0, n, True, radius, radius, align, True)

    def mirror(self) -> AxisLattice:
        """Return the patches of the mirrored volume, in the coordinates of the volume itself.

        Returns this very lattice if they are the same patches.

        Raises
        ------
        PlanError
            The patches are tiles, or their context differs before and behind.
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
        """Return the index of the first voxel of patch ``i``; it may be negative."""
        if self.mirrored:
            i = self.count - 1 - i
            return self.n - self.patch - min(self.first + i * self.step, self.end - self.patch)
        start = self.first + i * self.step
        return start if self.cut else min(start, self.end - self.patch)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """First voxels of all patches, in ascending order; they may be negative."""
        return tuple(self.start(i) for i in range(self.count))

    def span(self, i: int) -> tuple[int, int]:
        """Return start and stop of the voxels that patch ``i`` predicts."""
        start = self.start(i)
        stop = start + self.patch
        return start, min(stop, self.n) if self.cut else stop

    def input_span(self, i: int) -> tuple[int, int]:
        """Return start and stop of the voxels that the network reads for patch ``i``; may reach outside the volume."""
        start, stop = self.span(i)
        start, stop = start - self.low, stop + self.high
        start = start // self.align * self.align
        if self.bounded:
            start, stop = max(start, 0), min(stop, self.n)
        return start, start + -(-(stop - start) // self.align) * self.align

    def source_span(self, i: int, edge: EdgeRule) -> tuple[int, int]:
        """Return start and stop of the volume's voxels from which the input of patch ``i`` is made by an edge rule."""
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
        """Return the starts, relative to that of patch ``i``, of all patches that share voxels with it (and 0)."""
        if self.cut:
            return (0,)
        start = self.start(i)
        first = bisect_right(self.starts, start - self.patch)
        last = bisect_left(self.starts, start + self.patch)
        return tuple(s - start for s in self.starts[first:last])

    def touching(self, start: int, stop: int) -> range:
        """Return the indices of the patches that predict voxels in ``start .. stop``."""
        return range(bisect_right(self.starts, start - self.patch), bisect_left(self.starts, stop))

    @property
    def end_of_wanted(self) -> int:
        """The voxel behind the last one that is wanted."""
        return self.n if self.stop is None else self.stop

    @property
    def wanted(self) -> range:
        """The indices of the patches that predict voxels which are wanted."""
        return self.touching(self.begin, self.end_of_wanted)

    def owned(self, start: int, stop: int) -> range:
        """Return the indices of the patches whose first voxel that is wanted lies in ``start .. stop``."""
        first = self.wanted.start if start <= self.begin else bisect_left(self.starts, start)
        return range(first, max(first, bisect_left(self.starts, min(stop, self.end_of_wanted))))

    def overhang(self, core: int) -> int:
        """Return how many voxels a block's patches reach over its upper face at most; blocks have ``core`` voxels."""
        starts, stops = self._clipped
        ends = np.minimum(starts - (starts - self.begin) % core + core, self.end_of_wanted)
        return int(np.max(stops - ends, initial=0))

    def halo(self, core: int, edge: EdgeRule) -> tuple[int, int]:
        """Return the voxels that a block of ``core`` voxels reads below and above its core for the patches it owns."""
        low = high = 0
        for i, first in zip(self.wanted, self._clipped[0].tolist(), strict=True):
            begin = first - (first - self.begin) % core
            start, stop = self.source_span(i, edge)
            low = max(low, begin - start)
            high = max(high, stop - min(begin + core, self.end_of_wanted))
        return low, high

    @cached_property
    def _clipped(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """First voxels and those behind the last of the patches that are wanted, as far as these voxels are."""
        spans = np.array([(self.starts[i], self.span(i)[1]) for i in self.wanted], np.int64).reshape(-1, 2)
        return np.maximum(spans[:, 0], self.begin), np.minimum(spans[:, 1], self.end_of_wanted)


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
        """Place sliding windows along z, y, x; see :meth:`AxisLattice.sliding`, whose parameters are given per axis.

        ``low`` and ``high`` are context, for example the slices above and below that a 2.5D network sees.
        """
        z, y, x = (AxisLattice.sliding(*each) for each in zip(shape, patch, overlap, margin, low, high, strict=True))
        return cls(z, y, x)

    def mirror(self, along: Sequence[bool]) -> Lattice:
        """Return the patches of the volume mirrored along these axes, in the coordinates of the volume itself."""
        z, y, x = (a.mirror() if turn else a for a, turn in zip(self.axes, along, strict=True))
        return Lattice(z, y, x)

    def within(self, roi: Box) -> Lattice:
        """Return the same patches for a part of the volume: blocks cover it and run the patches that reach it.

        >>> roi = Box((0, 0, 150), (1, 9, 160))
        >>> lattice = Lattice.sliding((1, 200, 200), (1, 128, 128), (0, 0.25, 0.25)).within(roi)
        >>> list(lattice.owned(roi)), lattice.wanted
        ([(0, 0, 1)], 1)
        """
        z, y, x = (replace(axis, begin=a, stop=b) for axis, a, b in zip(self.axes, roi.start, roi.stop, strict=True))
        return Lattice(z, y, x)

    @property
    def roi(self) -> Box:
        """The voxels that are wanted: the whole volume, or the box of :meth:`within`."""
        return _box([(axis.begin, axis.end_of_wanted) for axis in self.axes])

    @property
    def wanted(self) -> int:
        """Number of patches that predict voxels which are wanted: all, but for a part of a volume."""
        z, y, x = (len(axis.wanted) for axis in self.axes)
        return z * y * x

    @property
    def axes(self) -> tuple[AxisLattice, AxisLattice, AxisLattice]:
        """The lattices along z, y and x."""
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
        """Return the box of voxels that a patch predicts; it may reach outside of the volume."""
        return _box([a.span(i) for a, i in zip(self.axes, index, strict=True)])

    def input_box(self, index: PatchIndex) -> Box:
        """Return the box of voxels that the network reads for a patch; it may reach outside of the volume."""
        return _box([a.input_span(i) for a, i in zip(self.axes, index, strict=True)])

    def neighbours(self, index: PatchIndex) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Return, per axis, the relative starts of the patches that overlap with this one.

        Patches with equal neighbours have equal blend weights.
        """
        z, y, x = (a.neighbours(i) for a, i in zip(self.axes, index, strict=True))
        return z, y, x

    def owned(self, core: Box) -> Iterator[PatchIndex]:
        """Yield the patches that the block with this core runs, in lattice order."""
        ranges = [a.owned(s, t) for a, s, t in zip(self.axes, core.start, core.stop, strict=True)]
        return (index3(i) for i in itertools.product(*ranges))

    def touching(self, box: Box) -> Iterator[PatchIndex]:
        """Yield the patches that predict voxels of a box, in lattice order."""
        ranges = [a.touching(s, t) for a, s, t in zip(self.axes, box.start, box.stop, strict=True)]
        return (index3(i) for i in itertools.product(*ranges))

    def overhang(self, core: Sequence[int]) -> Index3:
        """Return the most voxels by which patches reach over the upper faces of blocks of this shape, z, y, x.

        0 means that no patch crosses a border between blocks along that axis.

        Raises
        ------
        PlanError
            A patch would reach beyond the next block.
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
        """Return the voxels (z, y, x) that a block reads below and above its core for the patches it owns.

        Voxels that an edge rule makes up outside of the volume do not count.
        """
        pairs = [a.halo(c, e) for a, c, e in zip(self.axes, core, edges, strict=True)]
        return index3(low for low, _ in pairs), index3(high for _, high in pairs)


def _box(spans: Sequence[tuple[int, int]]) -> Box:
    return Box(index3(s for s, _ in spans), index3(t for _, t in spans))
