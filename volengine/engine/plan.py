"""Plans: the frozen graph of stages that computes the results of one tomogram. A plan can be written as JSON."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from volengine.core.digest import digest_of
from volengine.core.errors import InputError, OldPlanError, PlanError
from volengine.core.fields import fields_of
from volengine.core.image import ImageSpec
from volengine.core.paths import PathLike, path_text, place_key
from volengine.engine.kernels import OWN_CALLS, check_listed
from volengine.engine.ledger import PlanFolder
from volengine.engine.memory import check_stage, io_bytes, peak_bytes
from volengine.engine.options import RunOptions
from volengine.engine.plan_json import made
from volengine.engine.stage import Stage, TableInput, check_folder_name, load_function

FORMAT = 2
"""Version of a plan's JSON. It is raised when stages or kernels are renamed, so that older run folders are refused."""


@dataclass(frozen=True)
class Call:
    """A call on the driver after all stages: ``function(plan, tables, **params)``.

    The function writes small products, for example a STAR file, and returns a :class:`Made`. It must write them
    atomically, because it may be called more than once. Its argument ``tables`` is a function that reads the tables of
    a stage of the plan: ``tables(stage_name)`` is a mapping from block number to table, which reads each when asked.

    Parameters
    ----------
    function
        ``"package.module:function"``.
    params
        JSON values, passed by name.
    writes
        Paths or URLs of the files that it will write, as far as they are known; no two calls of a plan may write one.
    """

    function: str
    params: Mapping[str, Any] = field(default_factory=dict)
    writes: tuple[str, ...] = ()

    def load(self) -> Any:
        """Import the function."""
        return load_function(self.function)

    @classmethod
    def from_json(cls, data: Mapping[str, Any], also: Collection[str] = (), where: str = "finish") -> Call:
        """Make a call from JSON values; arguments and errors are those of :meth:`Stage.from_json`."""
        call = made(cls, data, where)
        check_listed(call.function, OWN_CALLS, also, where)
        return call


@dataclass(frozen=True)
class Made:
    """What a :class:`Call` has made.

    Parameters
    ----------
    products
        Paths or URLs of the files that it has written.
    said
        Lines that say what was made, for the summary and the report.
    found
        What was found while the plan ran, as JSON values by name: further facts of its first image. They have other
        names than those with which the image is created.
    """

    products: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    found: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """Everything that a run needs to know about one tomogram.

    Parameters
    ----------
    name
        Name of the tomogram, unique in a run.
    stages
        The stages, ordered such that each reads only outputs of earlier stages, or data from outside of the plan.
    images
        Images that are created before the first unit, and marked complete after the last one.
    recipe
        The recipe of the plan as JSON, for the report and for the history in the outputs.
    finish
        Calls on the driver after the last stage.
    notes
        Lines for the user that a dry run prints (lattice sizes, numbers of patches ...).
    origin
        What the plan was made of, by which :mod:`volengine.engine.origin` tells later whether that has changed. It is
        no part of the plan's JSON or of any identity.

    Raises
    ------
    PlanError
        Two stages have the same name or write the same array, two images or files have one place, or a stage reads
        tables of a stage that is not before it.
    """

    name: str
    stages: tuple[Stage, ...]
    images: tuple[ImageSpec, ...] = ()
    recipe: Mapping[str, Any] = field(default_factory=dict)
    finish: tuple[Call, ...] = ()
    notes: tuple[str, ...] = ()
    origin: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_folder_name(self.name, "A plan")
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
                if table.scope in ("within", "holding"):
                    _check_nested(stage, table, self.stage(table.stage))
            seen.add(stage.name)
        self._check_products()

    def _check_products(self) -> None:
        """Refuse two images or files that would be written to one place; file systems may not see letters' case."""
        images = [f"{image.url}#{image.group}" for image in self.images if not image.scratch]
        seen: dict[str, str] = {}
        for place in (*images, *(place for call in self.finish for place in call.writes)):
            key = place_key(place)
            if key in seen:
                other = (
                    "" if seen[key] == place else f", and {seen[key].rstrip('#')}, which some file systems take for it"
                )
                raise PlanError(f"{self.name!r} would write {place.rstrip('#')} twice{other}; rename one of them.")
            seen[key] = place

    def stage(self, name: str) -> Stage:
        """Return a stage by its name."""
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
        """Identity of the whole plan, with what its images say of files beside the source."""
        beside = [facts for facts in (image.beside for image in self.images) if facts]
        return digest_of([self.name, self.identities, dict(self.recipe), *([beside] if beside else [])])

    @property
    def units(self) -> int:
        """Number of units of all stages."""
        return sum(len(s.tiling) for s in self.stages)

    def kept_bytes(self, name: str) -> int:
        """Return the bytes that the stages before this one leave in a worker process (libraries, weights)."""
        before = self.stages[: [s.name for s in self.stages].index(name)]
        return max((s.fixed_bytes for s in before), default=0)

    def check(self, limit: int) -> None:
        """Raise :class:`MemoryRefusedError` if a stage does not fit into workers of ``limit`` bytes."""
        for stage in self.stages:
            check_stage(stage, limit, self.kept_bytes(stage.name), self.gathered(stage))

    def gathered(self, stage: Stage) -> int:
        """Return how many tables a unit of a stage holds at least because it reads those of all blocks of others."""
        counts = (len(self.stage(t.stage).tiling) for t in stage.tables.values() if t.scope == "all")
        return sum(count for count in counts if count > 1)

    def peak_of(self, name: str) -> int:
        """Return the planned peak memory of a worker in a stage, bytes."""
        stage = self.stage(name)
        return peak_bytes(stage, self.kept_bytes(name), self.gathered(stage))

    def peak_bytes(self) -> int:
        """Return the largest planned peak memory of a worker over all stages, bytes."""
        return max(self.peak_of(s.name) for s in self.stages)

    def to_dask(self, run_dir: PathLike, options: RunOptions | None = None) -> Any:
        """Make a Dask graph of the plan with one task per unit, for inspection, small plans, or a scheduler of your
        own.

        ``dask.visualize`` draws the graph; ``compute()`` runs it with any scheduler of Dask. Kernels, receipts, run
        folder and results are those of a run. So finished units are skipped, and a run with the same folder resumes
        where the graph was stopped. Nothing is written before the graph is computed.

        Parameters
        ----------
        run_dir
            The run folder for which the plan was made, on a disk that all workers can reach.
        options
            Only ``memory_limit`` (of one worker), ``overwrite``, ``keep_scratch`` and ``block`` are used.

        Returns
        -------
        dask.delayed.Delayed
            Its value is the list of the receipts of the units that were run.

        Raises
        ------
        InputError
            The options state where to run, or the run folder is a URL.
        PlanError
            The plan has more than 50,000 units; the whole graph is in the scheduler's memory.
        MemoryRefusedError
            A stage does not fit into a worker.

        Notes
        -----
        A process runs one unit at a time, because the plan's memory allows only one; so more processes make it faster,
        but more threads do not. Dask retries nothing unless it is told to, and a failed unit ends the computation.
        :func:`run_jobs` in :mod:`volengine.engine.run` has retries, progress, a report, and plans of any size.
        """
        from volengine.engine.dask_graph import graph_of

        return graph_of(self, path_text(run_dir), options or RunOptions())

    def output_bytes(self) -> int:
        """Return the uncompressed bytes of all levels of all images, without scratch arrays."""
        return sum(
            spec.volume(level).nbytes for spec in self.images if not spec.scratch for level in range(len(spec.levels))
        )

    def describe(self) -> list[dict[str, Any]]:
        """Return one row per stage: blocks, block core, halo, bytes read and written, planned peak memory.

        Bytes are those of the largest unit times the number of units, so they are upper bounds.
        """
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
        """Return the plan as JSON values, with the version of their form."""
        values = fields_of(self)
        del values["origin"]
        return {"format": FORMAT, **values}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], also: Collection[str] = ()) -> Plan:
        """Make a plan from the values of :meth:`to_json`, which may come from anybody's file.

        Parameters
        ----------
        data
            The values.
        also
            Functions that may be run besides the package's own kernels and calls: those of plug-ins that the user has
            named (:func:`~volengine.engine.kernels.plugin_functions`), or
            :data:`~volengine.engine.kernels.ONLY_SHOWN` if nothing of the plan is run.

        Raises
        ------
        OldPlanError
            Another version of volengine made them; they are damaged; or they name a function that is not in the list.
        """
        if not isinstance(data, Mapping) or data.get("format") != FORMAT:
            name = data.get("name") if isinstance(data, Mapping) else data
            raise OldPlanError(f"The plan of {repr(name)[:60]} was made by another version of volengine.")
        try:
            values = {key: value for key, value in data.items() if key not in ("format", "folder", "stages", "finish")}
            stages = [Stage.from_json(s, also, f"stage {n}") for n, s in enumerate(_list(data, "stages"))]
            calls = [Call.from_json(c, also, f"finish {n}") for n, c in enumerate(_list(data, "finish"))]
            return replace(made(cls, {**values, "stages": []}, "plan"), stages=tuple(stages), finish=tuple(calls))
        except OldPlanError:
            raise
        except (InputError, ValueError, TypeError, OverflowError, RecursionError, ZeroDivisionError) as error:
            raise OldPlanError(f"The plan cannot be used: {error}") from error

    @classmethod
    def former(cls, folder: PlanFolder, also: Collection[str] = ()) -> Plan | None:
        """Read the plan that an earlier run has left in this folder; ``None`` if there is none.

        Raises
        ------
        OldPlanError
            Another version of volengine made it, it is damaged, or it names a function that is neither in the list nor
            in ``also`` (see :meth:`from_json`).
        """
        try:
            data = folder.read_json("plan.json")
            if data is None and not (folder.path / "plan.json").exists():
                return None
            return cls.from_json(data, also)  # refuses what is no plan, ``null`` too
        except (PlanError, ValueError, RecursionError) as error:
            run = folder.path.parent.parent
            raise OldPlanError(
                f"{run} is from another version of volengine, or damaged, and cannot be resumed: delete that folder "
                f"and run the same command with --overwrite, or give another --out (or --run-dir). ({error})"
            ) from error


def _check_nested(stage: Stage, table: TableInput, other: Stage) -> None:
    """Refuse tables of larger or smaller blocks that are not whole multiples of each other."""
    inner, outer = (other.tiling, stage.tiling) if table.scope == "within" else (stage.tiling, other.tiling)
    nested = all(o % i == 0 for o, i in zip(outer.core, inner.core, strict=True))
    same = (inner.shape, inner.roi) == (outer.shape, outer.roi)
    if table.core != other.tiling.core or not same or not nested:
        raise PlanError(
            f"Stage {stage.name!r}, {stage.tiling}, reads tables of blocks {table.core} {table.scope} its own; "
            f"{other.name!r} has {other.tiling}. Give its block, and blocks that are multiples of each other."
        )


def _list(data: Mapping[str, Any], key: str) -> list[Any]:
    value = data.get(key)
    if not isinstance(value, list | tuple):
        raise InputError(f"plan.{key} is no list.")
    return list(value)


def join(name: str, parts: list[Plan], recipe: Mapping[str, Any]) -> Plan:
    """Join several plans of one tomogram, to be run one after the other, to one plan.

    Parameters
    ----------
    name
        Name of the tomogram.
    parts
        The plans, in order.
    recipe
        The recipe of the whole, as JSON.
    """
    return Plan(
        name=name,
        stages=tuple(s for p in parts for s in p.stages),
        images=tuple(i for p in parts for i in p.images),
        recipe=recipe,
        finish=tuple(c for p in parts for c in p.finish),
        notes=tuple(n for p in parts for n in p.notes),
    )
