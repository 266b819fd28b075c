"""Basins of the distance transform, computed block by block with the same result for every block shape.

Watershed picking floods the distance transform of a mask. The result of flooding with a queue depends on the order in
which equal distances enter the queue, so two crops of one volume give different results. Here every foreground voxel
has a *key*, ``(squared distance to the background, linear index in the volume)``. No two keys are equal, so the mask
alone determines everything below:

- Each voxel points to the highest key among its neighbours and itself. The path along the pointers ends at a local
  maximum, the *root*. The voxels of one root are a *basin*.
- The *pass* between two touching basins is the highest pair of touching voxels, ordered by the lower key of the pair,
  then by the higher one.

:func:`block_basins` computes this for one block with a halo. A path that leaves the block ends at the first voxel
outside; :mod:`volengine.ops.regions` joins the blocks. A watershed by steepest ascent equals the flooding with the same
keys (Meyer, Signal Processing 38, 1994; Cousty et al., IEEE TPAMI 31, 2009: minimum spanning forests).

>>> import numpy as np
>>> from volengine.core.boxes import Box
>>> mask = np.zeros((1, 5, 12), np.uint8)
>>> mask[0, 1:4, 1:4] = mask[0, 1:4, 6:11] = 255
>>> whole = Box.of_shape(mask.shape)
>>> basin, table = block_basins(mask, whole, whole, mask.shape, BasinRules(level=127))
>>> int(basin.max()), table["voxels"].tolist()
(2, [9, 15])
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import DTypeLike, NDArray

from volengine.core.block import Array, Table
from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError
from volengine.ops.axes import PAIRS
from volengine.ops.heights import SHIFT, BasinRules, heights
from volengine.ops.passes import Passes, index_of_key, key_of

Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Intp = NDArray[np.intp]

WEIGHT_ONE = 1 << 24
"""Floating-point predictions are summed as multiples of 2**-24, so that sums do not depend on their order."""

_CHUNK = 1 << 15  # foreground voxels handled at a time: their work arrays stay in the cache


def weight_unit(dtype: DTypeLike) -> float:
    """Return the integer that stands for a weight of 1.0 in the tables: 2**24 for floating-point dtypes, else 255."""
    return float(WEIGHT_ONE) if np.dtype(dtype).kind == "f" else 255.0


def block_basins(
    prediction: Array, crop: Box, core: Box, shape: Index3, rules: BasinRules
) -> tuple[NDArray[np.uint32], Table]:
    """Find the local regions of one block, and the table from which they are joined with those of other blocks.

    A *local region* is the set of core voxels whose paths end at the same root, or at the same voxel outside of the
    core.

    Parameters
    ----------
    prediction
        Stored values in ``crop``: integers (0 to 255), or floating point (summed as multiples of 2**-24).
    crop, core, shape
        Box that the array covers, box of the block's core, shape of the volume. The crop must contain the core and one
        voxel around it, as far as the volume reaches.
    rules
        Which voxels are foreground, and which voxels touch.

    Returns
    -------
    basin
        uint32, shape of the core: number of the local region, 1 ... n; 0 in the background.
    table
        Three groups of columns. One row per region: ``root`` (uint64 key of the root, 0 if its paths leave the core),
        ``exit`` (int64 linear index of the voxel outside at which its paths end, -1 if they stay inside), ``voxels``
        (int64), ``weight`` (int64 sum of values), ``sums`` (int64, (n, 3): sums of the voxels' z, y, x in the volume),
        ``peak`` (float64, highest value), ``peak_voxels`` (int64) and ``peak_sums`` (int64, (n, 3)): number of the
        voxels with that value, and sums of their coordinates; and, if the rules ask for it, ``products`` (int64,
        (n, 6)): sums of products of the coordinates, see :data:`~volengine.ops.axes.PAIRS`. One row per pass inside of
        the core: ``pass_a < pass_b`` (uint32 regions), ``pass_low``, ``pass_high`` (uint64
        keys). One row per foreground voxel in a face of the core behind which there is another block: ``shell_index``
        (int64 linear index, ascending), ``shell_region`` (uint32), ``shell_d2`` (uint32 squared distance).

    Raises
    ------
    WiderHaloError
        A distance may depend on voxels outside of the crop.
    InputError
        A foreground value is infinite, or the block has 2**31 voxels or more.

    Notes
    -----
    Time: one distance transform of the crop, and about 0.3 microseconds per foreground voxel. Peak memory: the
    prediction, 5 bytes per voxel of the crop, and at most 14 bytes per voxel of the core.
    """
    inside = prediction[core.slices_in(crop)]
    core_mask = inside > rules.level
    if not core_mask.any():
        return np.zeros(core.shape, np.uint32), _Landscape.empty_table(rules)
    values = inside[core_mask]
    del core_mask
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError(f"The prediction has infinite values in voxels {core.start} to {core.stop}.")
    height = heights(prediction, crop, core, shape, rules)
    land = _Landscape(height, core, shape, rules)
    del height
    regions, shell = land.measure(values)
    del values
    table = {**regions, **land.passes(), **shell}
    return land.basin(), table


class _Landscape:
    """The voxels of one block in a *frame*: the core and one voxel around it.

    ``flat`` lists the foreground voxels of the core as linear indices of the frame. ``region`` holds, over the
    frame, first the pointers and in the end the local regions: one array, because it is the largest.
    """

    def __init__(self, height: Int32, core: Box, shape: Index3, rules: BasinRules) -> None:
        if height.size >= 2**31:
            raise InputError(f"Block {core.shape} has more than 2**31 voxels; use a smaller block.")
        self.core, self.shape, self.rules = core, shape, rules
        self.frame = index3(height.shape)
        self.height = height.reshape(-1)
        in_core = np.zeros(self.frame, bool)
        in_core[1:-1, 1:-1, 1:-1] = height[1:-1, 1:-1, 1:-1]
        self.in_core = in_core.reshape(-1)
        self.flat = _flat_indices(in_core)
        self.region = np.zeros(self.height.size, np.int32)
        self.exits = self._point()
        self._follow()
        self.ends = self._name()
        del self.in_core

    def _chunks(self) -> Iterator[Intp]:
        return (self.flat[i : i + _CHUNK].astype(np.intp) for i in range(0, self.flat.size, _CHUNK))

    def _step(self, offset: Index3) -> int:
        _, ny, nx = self.frame
        return (offset[0] * ny + offset[1]) * nx + offset[2]

    def _point(self) -> Intp:
        """Let each voxel point to its highest neighbour or itself; return the voxels pointed to outside."""
        steps = sorted([0, *map(self._step, self.rules.offsets)])
        of_rank = np.array(steps, np.intp)
        outside = []
        best, other = np.empty((2, _CHUNK), np.int32)
        for at in self._chunks():
            a, b = best[: at.size], other[: at.size]
            a.fill(0)
            for rank, step in enumerate(steps):  # a later neighbour wins among equal distances
                np.take(self.height, at + step, out=b, mode="clip")
                np.maximum(a, np.bitwise_or(b, rank, out=b), out=a)
            target = at + of_rank.take(a & ((1 << SHIFT) - 1))
            self.region[at] = target
            outside.append(np.unique(target[~self.in_core.take(target)]))
        exits = np.unique(np.concatenate(outside))
        self.region[exits] = exits
        return exits

    def _follow(self) -> None:
        """Replace every pointer by the end of its path. The last voxels first: plateaus ascend with the index."""
        for i in range((self.flat.size - 1) // _CHUNK, -1, -1):
            at = self.flat[i * _CHUNK : (i + 1) * _CHUNK].astype(np.intp)
            while at.size:
                end = self.region.take(at)
                further = self.region.take(end)
                moved = further != end
                at = at[moved]
                self.region[at] = further[moved]

    def _name(self) -> Intp:
        """Number the ends of the paths in the order of their indices, and turn pointers into these numbers."""
        roots = [at[self.region.take(at) == at] for at in self._chunks()]
        ends = np.sort(np.concatenate([*roots, self.exits]))
        self.region[ends] = -np.arange(1, ends.size + 1, dtype=np.int32)
        for at in self._chunks():
            end = self.region.take(at)
            # Ends hold their number already, as a negative one; it must stay until every pointer was read.
            self.region[at] = np.where(end < 0, end, self.region.take(np.maximum(end, 0)))
        self.region[self.exits] = 0
        np.negative(self.region, out=self.region)
        return ends

    def _position(self, at: Intp) -> tuple[Int64, Int64, Int64]:
        """z, y, x in the volume of frame indices."""
        z, rest = np.divmod(at, self.frame[1] * self.frame[2])
        y, x = np.divmod(rest, self.frame[2])
        a, b, c = (s - 1 for s in self.core.start)
        return z + a, y + b, x + c

    def _index(self, at: Intp) -> Int64:
        """Linear index in the volume of frame indices."""
        z, y, x = self._position(at)
        index: Int64 = (z * self.shape[1] + y) * self.shape[2] + x
        return index

    def _key(self, at: Intp) -> NDArray[np.uint64]:
        return key_of(self.height.take(at) >> SHIFT, self._index(at))

    def measure(self, values: Array) -> tuple[Table, Table]:
        """The region columns and the shell columns of the table."""
        n = self.ends.size + 1
        voxels, weight = np.zeros((2, n), np.int64)
        sums = np.zeros((3, n), np.int64)
        peak, peak_voxels, peak_sums = np.full(n, -np.inf), np.zeros(n, np.int64), np.zeros((3, n), np.int64)
        products = np.zeros((6 if self.rules.products else 0, n), np.int64)
        shells = []
        for i, at in enumerate(self._chunks()):
            region = self.region.take(at)
            part = values[i * _CHUNK : (i + 1) * _CHUNK]
            position = self._position(at)
            voxels += np.bincount(region, minlength=n)
            for high, factor in _exact_parts(part):
                weight += np.bincount(region, weights=high, minlength=n).astype(np.int64) * factor
            for total, p in zip(sums, position, strict=True):
                total += np.bincount(region, weights=p, minlength=n).astype(np.int64)
            for total, (a, b) in zip(products, PAIRS, strict=False):
                pair = position[a] * position[b]
                total += np.bincount(region, weights=pair, minlength=n).astype(np.int64)
            np.maximum.at(peak, region, part)
            shells.append(at[self._on_shell(position)])
        for i, at in enumerate(self._chunks()):
            region = self.region.take(at)
            top = values[i * _CHUNK : (i + 1) * _CHUNK] == peak[region]
            at, region = at[top], region[top]
            peak_voxels += np.bincount(region, minlength=n)
            for total, p in zip(peak_sums, self._position(at), strict=True):
                total += np.bincount(region, weights=p, minlength=n).astype(np.int64)
        leaves = np.isin(self.ends, self.exits, assume_unique=True)
        index = self._index(self.ends)
        shell = np.concatenate(shells)
        return {
            "root": np.where(leaves, np.uint64(0), self._key(self.ends)),
            "exit": np.where(leaves, index, -1),
            "voxels": voxels[1:],
            "weight": weight[1:],
            "sums": sums[:, 1:].T.copy(),
            "peak": peak[1:],
            "peak_voxels": peak_voxels[1:],
            "peak_sums": peak_sums[:, 1:].T.copy(),
            **({"products": products[:, 1:].T.copy()} if self.rules.products else {}),
        }, {
            "shell_index": self._index(shell),
            "shell_region": self.region.take(shell).astype(np.uint32),
            "shell_d2": (self.height.take(shell) >> SHIFT).astype(np.uint32),
        }

    def _on_shell(self, position: tuple[Int64, Int64, Int64]) -> NDArray[np.bool_]:
        """Return which voxels lie in a face of the core behind which there is another block."""
        on = np.zeros(position[0].size, bool)
        for axis in (1, 2) if self.rules.planar else (0, 1, 2):
            if self.core.start[axis] > 0:
                on |= position[axis] == self.core.start[axis]
            if self.core.stop[axis] < self.shape[axis]:
                on |= position[axis] == self.core.stop[axis] - 1
        return on

    def passes(self) -> Table:
        """Return the best pass of every pair of local regions that touch inside of the core."""
        steps = [s for s in map(self._step, self.rules.offsets) if s > 0]
        best = Passes()
        for at in self._chunks():
            here = self.region.take(at)
            for step in steps:
                there = self.region.take(at + step, mode="clip")
                touch = np.flatnonzero((there != here) & (there != 0))
                if touch.size:
                    first = at[touch]
                    # Indices of the frame order voxels as those of the volume do, and cost less.
                    keys = [key_of(self.height.take(v) >> SHIFT, v) for v in (first, first + step)]
                    best.add(here[touch], there[touch], *keys)
        a, b, low, high = best.arrays()
        low, high = (self._key(index_of_key(k)) for k in (low, high))
        return {"pass_a": a, "pass_b": b, "pass_low": low, "pass_high": high}

    def basin(self) -> NDArray[np.uint32]:
        """Return the local regions of the core. This is the last step: it deletes the work arrays."""
        del self.height, self.flat
        return self.region.reshape(self.frame)[1:-1, 1:-1, 1:-1].astype(np.uint32)

    @staticmethod
    def empty_table(rules: BasinRules) -> Table:
        """The table of a block without foreground."""
        none = np.zeros(0, np.int64)
        return {
            "root": none.astype(np.uint64),
            "exit": none,
            "voxels": none,
            "weight": none,
            "sums": np.zeros((0, 3), np.int64),
            "peak": np.zeros(0),
            "peak_voxels": none,
            "peak_sums": np.zeros((0, 3), np.int64),
            **({"products": np.zeros((0, 6), np.int64)} if rules.products else {}),
            "pass_a": none.astype(np.uint32),
            "pass_b": none.astype(np.uint32),
            "pass_low": none.astype(np.uint64),
            "pass_high": none.astype(np.uint64),
            "shell_index": none,
            "shell_region": none.astype(np.uint32),
            "shell_d2": none.astype(np.uint32),
        }


def _flat_indices(mask: NDArray[np.bool_]) -> Int32:
    """Linear indices of the foreground, plane by plane: ``flatnonzero`` alone would take 8 bytes for each."""
    counts = np.count_nonzero(mask, axis=(1, 2))
    flat = np.empty(int(counts.sum()), np.int32)
    stop = np.cumsum(counts)
    for z, plane in enumerate(mask):
        flat[stop[z] - counts[z] : stop[z]] = np.flatnonzero(plane) + z * plane.size
    return flat


def _exact_parts(values: Array) -> Iterator[tuple[NDArray[np.float64], int]]:
    """Values as integers, cut into (part, factor) so that sums of a chunk's parts are exact in float64."""
    if values.dtype.kind != "f":
        yield values.astype(np.float64), 1
        return
    whole = np.rint(values.astype(np.float64) * WEIGHT_ONE)
    high = np.floor(whole / WEIGHT_ONE)
    yield high, WEIGHT_ONE
    yield whole - high * WEIGHT_ONE, 1
