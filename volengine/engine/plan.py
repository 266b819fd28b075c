"""Plans: the frozen graph of stages that makes one tomogram's results, as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

from volengine.core.errors import OldPlanError, PlanError
from volengine.core.image import ImageSpec
from volengine.core.paths import PathLike, path_text
from volengine.engine.memory import check_stage, io_bytes, peak_bytes
from volengine.engine.options import RunOptions
from volengine.engine.stage import Stage, load_function

FORMAT = 2
"""Of a plan as JSON: raised when stages or kernels get other names, so that older run folders are not resumed."""


@dataclass(frozen=True)
class Call:
    """A function to call on the driver when all stages are done: ``function(plan, tables, **params)``.

    It writes small products (a STAR file), atomically, and may be called again. ``tables`` reads the tables of
    the plan's stages: ``tables(stage_name) -> dict[block number, table]``.
    """

    function: str
    params: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> Any:
        return load_function(self.function)


@dataclass(frozen=True)
class Plan:
    """Everything a run needs to know about one tomogram.

    Parameters
    ----------
    name
        The tomogram's name; unique in a run.
    stages
        In an order in which each reads only what earlier ones (or nobody in this plan) wrote.
    images
        What to create before the first unit; marked complete after the last.
    recipe
        The recipe it was made from, as JSON: for the report and for the history kept in the outputs.
    finish
        Calls on the driver after the last stage.
    notes
        Lines worth telling the user in a dry run (lattice sizes, patch counts ...).
    """

    name: str
    stages: tuple[Stage, ...]
    images: tuple[ImageSpec, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    finish: tuple[Call, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        seen: set[str] = set()
        writers: dict[tuple[str, str], str] = {}
        for stage in self.stages:
            for place in {(o.volume.url, o.volume.path) for o in stage.outputs.values()}:
                if place in writers:
                    where = "/".join(filter(None, place))
                    raise PlanError(
                        f"Stages {writers[place]!r} and {stage.name!r} of {self.name!r} both write {where}."
                    )
                writers[place] = stage.name
            if stage.name in seen:
                raise PlanError(f"Two stages of {self.name!r} are called {stage.name!r}.")
            for table in stage.tables.values():
                if table.stage not in seen:
                    raise PlanError(f"Stage {stage.name!r} reads tables of {table.stage!r}, which is not before it.")
            seen.add(stage.name)

    def stage(self, name: str) -> Stage:
        return next(s for s in self.stages if s.name == name)

    @cached_property
    def identities(self) -> dict[str, str]:
        """Identity of each stage's results, by stage name (see :meth:`Stage.identify`)."""
        made: dict[tuple[str, str], str] = {}
        known: dict[str, str] = {}
        for stage in self.stages:
            inputs = {
                name: made.get((a.volume.url, a.volume.path), a.volume.identity) for name, a in stage.arrays.items()
            }
            known[stage.name] = stage.identify(inputs, known)
            for output in stage.outputs.values():
                made[output.volume.url, output.volume.path] = known[stage.name]
        return known

    @cached_property
    def fingerprint(self) -> str:
        """Identity of the whole plan."""
        text = json.dumps([self.name, self.identities, dict(self.recipe)], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    @property
    def units(self) -> int:
        return sum(len(s.tiling) for s in self.stages)

    def kept_bytes(self, name: str) -> int:
        """What the stages before this one leave in a worker process: libraries, weights."""
        before = self.stages[: [s.name for s in self.stages].index(name)]
        return max((s.fixed_bytes for s in before), default=0)

    def check(self, limit: int) -> None:
        """Refuse a plan that does not fit into workers of ``limit`` bytes."""
        for stage in self.stages:
            check_stage(stage, limit, self.kept_bytes(stage.name))

    def peak_of(self, name: str) -> int:
        """Planned peak of a worker in a stage."""
        return peak_bytes(self.stage(name), self.kept_bytes(name))

    def peak_bytes(self) -> int:
        """Largest planned peak of a worker, over the stages."""
        return max(self.peak_of(s.name) for s in self.stages)

    def to_dask(self, run_dir: PathLike, options: RunOptions | None = None) -> Any:
        """The plan as a Dask graph, one task per unit: for looking at it, for small plans, for one's own scheduler.

        ``dask.visualize`` shows it, ``compute()`` carries it out under any scheduler of Dask. Kernels, receipts, run
        folder and results are those of a run, so units that are done are skipped, and a run with the same folder goes
        on where the graph was stopped. Nothing is written before it is computed.

        Parameters
        ----------
        run_dir
            The run folder that the plan was made for, on a disk that all workers see.
        options
            Of these count ``memory_limit`` (of one worker), ``overwrite``, ``keep_scratch`` and ``block``.

        Returns
        -------
        dask.delayed.Delayed
            Its value is the list of the receipts of the units that were run.

        Raises
        ------
        InputError
            Options that say where to run; a run folder that is a URL.
        PlanError, MemoryRefusedError
            More than 50,000 units: all of a graph is in the scheduler's memory. Blocks that do not fit a worker.

        Notes
        -----
        A process runs one unit at a time, as the plan's memory allows; so threads do not make it faster, processes do.
        Dask retries only what it is told to retry, and a unit that fails ends the computation: :func:`run_jobs` in
        :mod:`volengine.engine.run` has retries, progress, a report, and plans of any size.
        """
        from volengine.engine.dask_graph import graph_of

        return graph_of(self, path_text(run_dir), options or RunOptions())

    def output_bytes(self) -> int:
        """Bytes of all image levels, uncompressed, scratch left out."""
        return sum(
            spec.volume(level).nbytes for spec in self.images if not spec.scratch for level in range(len(spec.levels))
        )

    def describe(self) -> list[dict[str, Any]]:
        """One row per stage: blocks, block core, halo, bytes read and written, memory."""
        rows = []
        for stage in self.stages:
            read, written = io_bytes(stage)
            halo = [max(v) for v in zip(*[(*a.low, *a.high) for a in stage.arrays.values()], strict=True)]
            rows.append(
                {
                    "stage": stage.name,
                    "blocks": len(stage.tiling),
                    "block": stage.tiling.core,
                    "halo_low": tuple(halo[:3]) or (0, 0, 0),
                    "halo_high": tuple(halo[3:]) or (0, 0, 0),
                    "read_bytes": read * len(stage.tiling),
                    "written_bytes": written * len(stage.tiling),
                    "peak_bytes": self.peak_of(stage.name),
                }
            )
        return rows

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        if data.get("format") != FORMAT:
            raise OldPlanError(f"The plan of {data.get('name')!r} was made by another version of volengine.")
        return cls(
            name=data["name"],
            stages=tuple(Stage.from_json(s) for s in data["stages"]),
            images=tuple(ImageSpec.from_json(i) for i in data["images"]),
            recipe=data["recipe"],
            finish=tuple(Call(**c) for c in data["finish"]),
            notes=tuple(data["notes"]),
        )


def join(name: str, parts: list[Plan], recipe: Mapping[str, Any]) -> Plan:
    """Several plans of one tomogram, one after the other, as one plan."""
    return Plan(
        name=name,
        stages=tuple(s for p in parts for s in p.stages),
        images=tuple(i for p in parts for i in p.images),
        recipe=recipe,
        finish=tuple(c for p in parts for c in p.finish),
        notes=tuple(n for p in parts for n in p.notes),
    )
