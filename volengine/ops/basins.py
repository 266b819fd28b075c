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

from volengine.core.block import Array, Table, nothing
from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError
from volengine.ops.heights import SHIFT, BasinRules, Heights, heights
from volengine.ops.passes import Passes, index_of_key, key_of
from volengine.ops.region_sums import WEIGHT_ONE, RegionSums

Int64 = NDArray[np.int64]
Intp = NDArray[np.intp]

_CHUNK = 1 << 15  # foreground voxels handled at a time, on average: their work arrays stay in the cache
_LONGEST = 1 << 20  # voxels of the frame that are looked at together, if there is little foreground
_DENSE = 0.25  # share of foreground from which all voxels of a piece are computed instead of the foreground's


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
        uint32, shape of the core: number of the local region, 1 ... n; 0 in the background. Without any foreground it
        is :func:`~volengine.core.block.nothing`.
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
    Time: one distance transform of the crop, and 0.1 to 0.2 microseconds per foreground voxel (of pure noise 0.4). Peak
    memory: the prediction, 5 bytes per voxel of the crop, and at most 10 bytes per voxel of the core (8 if no distance
    reaches 45.3 voxels); where there is a pass for every few voxels, as in noise, 8 and about 40 bytes per pass.
    """
    inside = prediction[core.slices_in(crop)]
    core_mask = inside > rules.level
    if not core_mask.any():
        return nothing(core.shape, np.uint32), _Landscape.empty_table(rules)
    values = inside[core_mask]
    values = values.view(np.uint8) if values.dtype == bool else values
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

    All arrays are flat, over the frame; a neighbour is a fixed number of voxels away, because of the voxels around the
    core. ``in_core`` marks the foreground of the core. ``region`` holds first the pointers and in the end the local
    regions: one array, because it is the largest.
    """

    def __init__(self, height: Heights, core: Box, shape: Index3, rules: BasinRules) -> None:
        if height.size >= 2**31:
            raise InputError(f"Block {core.shape} has more than 2**31 voxels; use a smaller block.")
        self.core, self.shape, self.rules = core, shape, rules
        self.frame = index3(height.shape)
        self.height = height.reshape(-1)
        in_core = np.zeros(self.frame, bool)
        in_core[1:-1, 1:-1, 1:-1] = height[1:-1, 1:-1, 1:-1]
        self.in_core = in_core.reshape(-1)
        count = int(np.count_nonzero(in_core))
        self.span = min(_CHUNK * self.height.size // max(count, 1), _LONGEST)
        self.region = np.zeros(self.height.size, np.int32)
        self.exits = self._point()
        self._follow()
        self.ends = self._name()

    def _chunks(self, *, backwards: bool = False) -> Iterator[tuple[int, int, Intp]]:
        """Yield pieces of the frame, as first index and the one behind the last, and the core's foreground in each."""
        foreground = self.in_core if self.in_core.size else self.region
        starts = range(0, self.height.size, self.span)
        for start in reversed(starts) if backwards else starts:
            at = np.flatnonzero(foreground[start : start + self.span])
            if at.size:
                at += start
                yield int(at[0]), int(at[-1]) + 1, at

    def _step(self, offset: Index3) -> int:
        _, ny, nx = self.frame
        return (offset[0] * ny + offset[1]) * nx + offset[2]

    def _point(self) -> Intp:
        """Let each voxel point to its highest neighbour or itself; return the voxels pointed to outside."""
        steps = sorted([0, *map(self._step, self.rules.offsets)])
        of_rank = np.array(steps, np.intp)
        outside = [np.zeros(0, np.intp)]
        for start, stop, at in self._chunks():
            dense = at.size > _DENSE * (stop - start)
            best, other = np.zeros((2, stop - start if dense else at.size), self.height.dtype)
            for rank, step in enumerate(steps):  # a later neighbour wins among equal distances
                if dense:
                    np.bitwise_or(self.height[start + step : stop + step], rank, out=other)
                else:
                    np.take(self.height, at + step, out=other, mode="clip")
                    np.bitwise_or(other, rank, out=other)
                np.maximum(best, other, out=best)
            best &= (1 << SHIFT) - 1
            target = at + of_rank.take(best[at - start] if dense else best)
            self.region[at] = target
            outside.append(np.unique(target[~self.in_core.take(target)]))
        exits = np.unique(np.concatenate(outside))
        self.region[exits] = exits
        return exits

    def _follow(self) -> None:
        """Replace every pointer by the end of its path. The last voxels first: plateaus ascend with the index."""
        for _, _, every in self._chunks(backwards=True):
            at = every
            while at.size:
                end = self.region.take(at)
                further = self.region.take(end)
                moved = further != end
                at = at[moved]
                self.region[at] = further[moved]

    def _name(self) -> Intp:
        """Number the ends of the paths in the order of their indices, and turn pointers into these numbers."""
        roots = [at[self.region.take(at) == at] for _, _, at in self._chunks()]
        ends = np.sort(np.concatenate([*roots, self.exits]))
        self.region[ends] = -np.arange(1, ends.size + 1, dtype=np.int32)
        for _, _, at in self._chunks():
            end = self.region.take(at)
            # Ends hold their number already, as a negative one; it must stay until every pointer was read.
            self.region[at] = np.where(end < 0, end, self.region.take(np.maximum(end, 0)))
        self.region[self.exits] = 0
        np.negative(self.region, out=self.region)
        return ends

    def _place(self, at: Intp) -> tuple[Int64, Int64, Int64]:
        """z, y, x in the frame; by ``//``, which is several times faster than ``divmod``."""
        plane, row = self.frame[1] * self.frame[2], self.frame[2]
        z = at // plane
        rest = at - z * plane
        y = rest // row
        return z, y, rest - y * row

    def _index(self, at: Intp) -> Int64:
        """Linear index in the volume of frame indices."""
        z, y, x = (p + (s - 1) for p, s in zip(self._place(at), self.core.start, strict=True))
        index: Int64 = (z * self.shape[1] + y) * self.shape[2] + x
        return index

    def _key(self, at: Intp) -> NDArray[np.uint64]:
        return key_of(self.height.take(at) >> SHIFT, self._index(at))

    def measure(self, values: Array) -> tuple[Table, Table]:
        """The region columns and the shell columns of the table."""
        leaves = np.isin(self.ends, self.exits, assume_unique=True)
        index = self._index(self.ends)
        shell = self._shell()
        sums = RegionSums(self.ends.size, index3(s - 1 for s in self.core.start), values.dtype, self.rules.products)
        done = 0
        for _, _, at in self._chunks():
            sums.add(self.region.take(at), self._place(at), values[done : done + at.size])
            done += at.size
        if values.min() == values.max():
            sums.all_highest()
        else:
            done = 0
            for _, _, at in self._chunks():
                region = self.region.take(at)
                top = sums.highest(region, values[done : done + at.size])
                sums.add_highest(region[top], self._place(at[top]))
                done += at.size
        return {
            "root": np.where(leaves, np.uint64(0), self._key(self.ends)),
            "exit": np.where(leaves, index, -1),
            **sums.columns(),
        }, {
            "shell_index": self._index(shell),
            "shell_region": self.region.take(shell).astype(np.uint32),
            "shell_d2": (self.height.take(shell) >> SHIFT).astype(np.uint32),
        }

    def _shell(self) -> Intp:
        """Foreground voxels in the faces of the core behind which there is another block, ascending."""
        mask = self.in_core.reshape(self.frame)
        found = [np.zeros(0, np.intp)]
        for axis in (1, 2) if self.rules.planar else (0, 1, 2):
            first, last = self.core.start[axis] > 0, self.core.stop[axis] < self.shape[axis]
            for there, at in ((first, 1), (last, self.frame[axis] - 2)):
                if there:
                    face = list(np.nonzero(mask.take(at, axis)))
                    face.insert(axis, np.full(face[0].size, at))
                    found.append(np.ravel_multi_index(face, self.frame))
        return np.unique(np.concatenate(found))

    def passes(self) -> Table:
        """Return the best pass of every pair of local regions that touch inside of the core."""
        steps = [s for s in map(self._step, self.rules.offsets) if s > 0]
        best = Passes()
        last = self._last_voxels()
        self.in_core = self.in_core[:0].copy()  # the regions say the same, and this is where most memory is needed
        for start, stop, at in self._chunks():
            dense = at.size > _DENSE * (stop - start)
            here = self.region[start:stop] if dense else self.region.take(at)
            inside = here != 0
            for step in steps:
                there = self.region[start + step : stop + step] if dense else self.region.take(at + step, mode="clip")
                touch = there != here
                touch &= there != 0
                if dense:
                    touch &= inside
                rows = np.flatnonzero(touch)
                if rows.size:
                    first = rows + start if dense else at[rows]
                    # Indices of the frame order voxels as those of the volume do, and cost less.
                    keys = [key_of(self.height.take(v) >> SHIFT, v) for v in (first, first + step)]
                    best.add(here[rows], there[rows], *keys)
            best.settle(last, stop)
        del last
        a, b, low, high = best.arrays()
        del best
        for keys_of_frame in (low, high):
            for start in range(0, low.size, _CHUNK):
                part = slice(start, start + _CHUNK)
                keys_of_frame[part] = self._key(index_of_key(keys_of_frame[part]).astype(np.intp))
        return {"pass_a": a, "pass_b": b, "pass_low": low, "pass_high": high}

    def _last_voxels(self) -> Intp:
        """The last voxel of each region, in the frame."""
        last = np.zeros(self.ends.size + 1, np.intp)
        for _, _, at in self._chunks():
            last[self.region.take(at)] = at  # of several the last one stays
        return last

    def basin(self) -> NDArray[np.uint32]:
        """Return the local regions of the core. This is the last step: it deletes the work arrays.

        The rows of the core move to the front of the array in which the frame was, so that there are no two of them.
        """
        del self.height
        framed = self.region.reshape(self.frame)
        nz, ny, nx = self.core.shape
        found = self.region.view(np.uint32)[: nz * ny * nx].reshape(nz, ny, nx)
        for z in range(nz):
            found[z] = framed[z + 1, 1:-1, 1:-1]
        return found

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
