"""Parts of a plan's results, computed in this process and kept nowhere: for a page that shows one slice of them.

The units are those of a run, of the same stages and kernels, so the voxels are the same, to the last bit. But nothing
is planned ahead: what is asked for says which units are run, and those say which earlier ones are.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import MutableMapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Block, Result, Table
from volengine.core.boxes import Box, Index3
from volengine.core.digest import digest_of
from volengine.core.errors import MissingError, PlanError, WiderHaloError
from volengine.core.fields import fields_of
from volengine.core.volume import Volume
from volengine.engine.plan import Plan
from volengine.engine.reading import read_box
from volengine.engine.stage import ArrayInput, Output, Stage
from volengine.io.identity import check_unchanged
from volengine.io.names import Source
from volengine.io.open import open_source

KEPT_BYTES = 2**28
"""Arrays of units that are kept for the next unit which reads them."""

Tables = MutableMapping[str, Table]
"""Tables of stages of one unit by a digest of all that they depend on; whoever gives it may keep it for other plans."""

_Place = tuple[str, str]


class OnDemand:
    """The results of a plan, computed where they are read.

    Parameters
    ----------
    plan
        The plan; calls at its end are not made.
    tables
        Tables of earlier plans, to which those of this one are added.
    """

    def __init__(self, plan: Plan, tables: Tables | None = None):
        self.plan = plan
        self.tables: Tables = {} if tables is None else tables
        self._stages = {stage.name: stage for stage in plan.stages}
        self._made: dict[_Place, tuple[Stage, str, Output]] = {
            (output.volume.url, output.volume.path): (stage, name, output)
            for stage in plan.stages
            for name, output in stage.outputs.items()
        }
        self._sources: dict[Volume, Source] = {}
        self._results: OrderedDict[tuple[str, int], Result] = OrderedDict()
        self._own_tables: dict[tuple[str, int], Table] = {}
        self._bytes = 0

    def read(self, volume: Volume, box: Box | None = None) -> NDArray[Any]:
        """Compute voxels of an image of the plan.

        Parameters
        ----------
        volume
            A level of the image.
        box
            In its voxels; default: all of it.

        Returns
        -------
        NDArray
            The voxels (z, y, x) that a run would write.

        Raises
        ------
        MissingError
            No stage of the plan writes it.
        ChangedError
            A file from which it is made was replaced meanwhile.
        """
        found = self._made.get((volume.url, volume.path))
        if found is None:
            raise MissingError(f"{volume.where}: no stage of this plan writes it.")
        values = _Written(self, *found).read(box or Box.of_shape(volume.shape))
        for outside in self._sources:
            check_unchanged(outside, full=False)
        return values

    # -- units -------------------------------------------------------------------------------------------------

    def result(self, stage: Stage, number: int) -> Result:
        """What a unit returns; the last ones are kept."""
        key = stage.name, number
        if key in self._results:
            self._results.move_to_end(key)
            return self._results[key]
        made = self._run(stage, number)
        self._results[key] = made
        self._bytes += _bytes(made)
        while self._bytes > KEPT_BYTES and len(self._results) > 1:
            self._bytes -= _bytes(self._results.popitem(last=False)[1])
        return made

    def _run(self, stage: Stage, number: int) -> Result:
        halo: Index3 | None = None
        while True:
            try:
                return stage.run(self._block(stage, number, halo))
            except WiderHaloError as wish:
                if halo is not None and all(w <= h for w, h in zip(wish.halo_vox, halo, strict=True)):
                    raise PlanError(f"Stage {stage.name!r} asks for the halo it already has.") from None
                halo = wish.halo_vox

    def _block(self, stage: Stage, number: int, halo: Index3 | None) -> Block:
        tiling, arrays, boxes = stage.tiling, {}, {}
        index, core = tiling.index(number), tiling.box(number)
        for name, wanted in stage.arrays.items():
            source = wanted if halo is None else wanted.widened(halo)
            boxes[name] = source.region(core, index, tiling.shape)
            arrays[name] = self._array(source, boxes[name])
        tables = {name: self._tables_of(stage, name, number) for name in stage.tables}
        return Block(number, index, core, tiling.shape, arrays, boxes, tables)

    def _array(self, wanted: ArrayInput, box: Box) -> NDArray[Any]:
        box = wanted.stored(box)
        if box.empty:
            return np.empty(box.shape, wanted.volume.dtype)
        if wanted.owned is not None and not Box.of_shape(wanted.volume.shape).contains(box):
            return np.zeros(wanted.owned, wanted.volume.dtype)  # the piece of a block that does not exist
        return read_box(self._source(wanted.volume), box, wanted.edge)

    def _source(self, volume: Volume) -> Source:
        found = self._made.get((volume.url, volume.path))
        if found is not None:
            return _Written(self, *found)
        if volume not in self._sources:
            self._sources[volume] = open_source(volume)
        return self._sources[volume]

    # -- tables ------------------------------------------------------------------------------------------------

    def _tables_of(self, stage: Stage, name: str, number: int) -> dict[int, Table]:
        wanted = stage.tables[name]
        earlier = self._stages[wanted.stage]
        numbers = range(len(earlier.tiling)) if wanted.scope == "all" else wanted.numbers(number, stage.tiling)
        return {n: self._table(earlier, n) for n in numbers}

    def _table(self, stage: Stage, number: int) -> Table:
        key = stage.name, number
        if key in self._own_tables:
            return self._own_tables[key]
        alone = len(stage.tiling) == 1
        known = self.key(stage) if alone else ""
        if known in self.tables:
            return self.tables[known]
        table = self._run(stage, number).table
        if table is None:
            raise PlanError(f"Kernel {stage.kernel} did not return its table.")
        self._own_tables[key] = table
        if alone:
            self.tables[known] = table
        return table

    def key(self, stage: Stage) -> str:
        """A digest of all that the results of a stage depend on, wherever they would be written."""
        arrays = {}
        for name, source in stage.arrays.items():
            found = self._made.get((source.volume.url, source.volume.path))
            how = {key: value for key, value in fields_of(source).items() if key != "volume"}
            volume = source.volume
            made = [self.key(found[0]), found[1]] if found else [volume.url, volume.path, volume.identity]
            arrays[name] = [how, made]
        tables = {name: [self.key(self._stages[t.stage]), t.scope] for name, t in stage.tables.items()}
        return digest_of([stage.kernel, stage.version, dict(stage.params), stage.tiling, arrays, tables])


class _Written:
    """An array that a stage would write: its units are run where it is read."""

    def __init__(self, whole: OnDemand, stage: Stage, name: str, output: Output):
        self.whole, self.stage, self.name, self.output = whole, stage, name, output

    @property
    def shape(self) -> Index3:
        return self.output.volume.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.output.volume.dtype)

    def read(self, box: Box) -> NDArray[Any]:
        values = np.zeros(box.shape, self.dtype)
        tiling = self.stage.tiling
        for number in range(len(tiling)):
            own = self.output.box(tiling.box(number), tiling.index(number))
            part = own.intersect(box)
            if not part.empty:
                array = self.whole.result(self.stage, number).arrays[self.name]
                values[part.slices_in(box)] = array[part.slices_in(own)]
        return values


def _bytes(result: Result) -> int:
    return sum(array.nbytes for array in result.arrays.values())
