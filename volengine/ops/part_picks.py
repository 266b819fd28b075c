"""Picks of a part of a volume that lies in memory: the same as those of ``pick`` with its roi, as fast as can be.

Voxels outside of the part are background (:mod:`volengine.ops.inside`). So one layer of zeros around the part says all
there is to know, and no halo is read. The part with this layer is a small volume of its own, the *frame*: it is divided
into blocks, of which several are computed at a time, and numbers of its voxels are made those of the whole volume
before regions become picks. Which of two equal distances is the higher one depends on the order of voxels alone, which
is the same in both; sums of coordinates are whole numbers. So nothing depends on the frame or its blocks.

>>> from volengine.ops.basin_graph import RegionRules
>>> values = np.full((1, 3, 4), 255, np.uint8)
>>> part = PartValues(values, Box((2, 5, 5), (3, 8, 9)), (9, 20, 20))
>>> picks = part_picks(part.basins(BasinRules(level=127)), RegionRules(unit=255))
>>> picks["position_vox"].tolist(), picks["size_vox"].tolist()
([[2.0, 6.0, 6.5]], [12])
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Array, Table
from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import WiderHaloError
from volengine.core.tiling import Tiling
from volengine.ops.axes import PAIRS
from volengine.ops.basin_graph import BasinGraph, RegionRules
from volengine.ops.basins import block_basins
from volengine.ops.heights import BasinRules
from volengine.ops.passes import INDEX_BITS, index_of_key, key_of
from volengine.ops.plateaus import block_middles, plateaus
from volengine.ops.regions import join_seams, resolve

CORE: Index3 = (72, 128, 128)
"""Voxels of a block: what it needs stays small, and its fixed cost, too."""

FIRST_HALO_VOX = 16


@dataclass(frozen=True)
class PartBasins:
    """The basins of a part, from which picks are made with any :class:`RegionRules`.

    Parameters
    ----------
    tables
        Those of :func:`~volengine.ops.regions.join_seams`, by block; voxels are numbered as in the whole volume.
    shape
        Shape of the whole volume.
    blocks
        For each block its local regions, its values and its box in the whole volume; empty unless asked for.
    """

    tables: Mapping[int, Table]
    shape: Index3
    blocks: Mapping[int, tuple[NDArray[np.uint32], Array, Box]]


class PartValues:
    """A prediction in a part of a volume.

    Parameters
    ----------
    values
        Stored values of the part, z, y, x: integers (0 to 255), or floating point.
    part, shape
        Where the part lies in the volume, and the shape of the volume.
    """

    def __init__(self, values: Array, part: Box, shape: Index3):
        self.part, self.shape = part, shape
        low = index3(int(a > 0) for a in part.start)
        high = index3(int(b < n) for b, n in zip(part.stop, shape, strict=True))
        self.begin = index3(a - k for a, k in zip(part.start, low, strict=True))
        self.framed = np.zeros(part.grow(low, high).shape, values.dtype)
        self.inner = part.shift([-b for b in self.begin])
        self.framed[self.inner.slices] = values

    @property
    def values(self) -> Array:
        """The values of the part, without the layer around them."""
        inside: Array = self.framed[self.inner.slices]
        return inside

    def basins(self, rules: BasinRules, *, threads: int = 1, core: Index3 = CORE, keep: bool = False) -> PartBasins:
        """Find the basins of the part.

        Parameters
        ----------
        rules
            Which voxels are foreground, and which voxels touch.
        threads
            Blocks that are computed at a time.
        core
            Shape of a block.
        keep
            Also return the local regions, which :func:`part_picks` needs for ``position`` maximum.

        Raises
        ------
        InputError
            A foreground value is infinite.
        """
        frame = index3(self.framed.shape)
        tiling = Tiling(frame, core)
        boxes = [tiling.box(number) for number in range(len(tiling))]
        with ThreadPoolExecutor(max(1, threads)) as pool:
            found = list(pool.map(lambda box: self._block(box, frame, rules), boxes))
        tables = {
            number: self._in_whole(join_seams(number, _around(number, boxes, found), box, frame, rules))
            for number, box in enumerate(boxes)
        }
        kept = {n: (found[n][0], self.framed[b.slices], b.shift(self.begin)) for n, b in enumerate(boxes)}
        return PartBasins(tables, self.shape, kept if keep else {})

    def _block(self, box: Box, frame: Index3, rules: BasinRules) -> tuple[NDArray[np.uint32], Table]:
        halo = index3(min(FIRST_HALO_VOX, widest) for widest in rules.halo_vox)
        while True:
            crop = box.grow(halo).clip(frame)
            try:
                return block_basins(self.framed[crop.slices], crop, box, frame, rules)
            except WiderHaloError as error:
                halo = index3(max(a, b) for a, b in zip(halo, error.halo_vox, strict=True))

    def _in_whole(self, table: Table) -> Table:
        """The table with the numbers and coordinates that voxels have in the whole volume."""
        moved = dict(table)
        for name in ("root", "pass_low", "pass_high"):
            keys = table[name]
            place = np.unravel_index(index_of_key(keys), self.framed.shape)
            index = np.ravel_multi_index([p + b for p, b in zip(place, self.begin, strict=True)], self.shape)
            moved[name] = np.where(keys == 0, keys, key_of(keys >> np.uint64(INDEX_BITS), index))
        begin = np.array(self.begin, np.int64)
        moved["sums"] = table["sums"] + table["voxels"][:, None] * begin
        moved["peak_sums"] = table["peak_sums"] + table["peak_voxels"][:, None] * begin
        if "products" in table:
            n, s = table["voxels"], table["sums"]
            more = [begin[b] * s[:, a] + begin[a] * s[:, b] + n * begin[a] * begin[b] for a, b in PAIRS]
            moved["products"] = table["products"] + np.stack(more, axis=1)
        return moved


def _around(number: int, boxes: list[Box], found: list[tuple[NDArray[np.uint32], Table]]) -> dict[int, Table]:
    """The tables of a block and of those that it touches."""
    near = boxes[number].grow((1, 1, 1))
    return {n: found[n][1] for n, box in enumerate(boxes) if not near.intersect(box).empty}


def part_picks(basins: PartBasins, rules: RegionRules) -> Table:
    """The picks of a part.

    Parameters
    ----------
    basins
        With the local regions, if the position is the maximum.
    rules
        How basins become picks; ``unit`` is that of the type of the values.

    Returns
    -------
    The columns of :func:`volengine.ops.regions.resolve`; positions are those in the whole volume.
    """
    middles = []
    if rules.position == "maximum":
        found = plateaus(basins.tables, basins.shape, rules)
        middles = [
            block_middles(number, basin, values, box, basins.shape, found, rules)
            for number, (basin, values, box) in basins.blocks.items()
            if basin.any()
        ]
    picks, _ = resolve(basins.tables, basins.shape, rules, middles)
    return picks


def part_regions(basins: PartBasins, rules: RegionRules) -> Table:
    """All regions of a part, before small, near and close ones are dropped: ``voxels`` and ``weight`` of each."""
    _, regions = BasinGraph(basins.tables).regions(rules, basins.shape)
    return {"voxels": regions["voxels"], "weight": regions["weight"] / rules.unit}
