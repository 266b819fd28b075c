"""stats: how many particles of each class, how dense, how far apart, in which clusters; per tomogram and pooled.

Picks are read as they are. Label volumes are counted block by block: an atlas of class ids by connected components
(or the watershed of ``pick``), a volume of numbered objects by its numbers. Each volume leaves one small file in the
run folder, so a second call with another eps or another group counts nothing again. With a truth, the counting error of
each class is reported, and which objects are right.

>>> from volengine.tasks.stats import StatsRecipe, stats
>>> recipe = StatsRecipe(classes=("ribosome", "TRiC"), ids=(3, 4), split=("TRiC",), min_voxels=50)
>>> found = stats(["labels/*.mrc"], "stats", recipe, groups="regions.csv")                       # doctest: +SKIP
>>> found.pooled("TRiC")["clusters"]                                                            # doctest: +SKIP
"""

from __future__ import annotations

import io
import math
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.block import Block, Result, Table
from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.paths import PathLike, PathsLike, path_text, path_texts
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.ledger import write_atomic
from volengine.engine.memory import choose_core
from volengine.engine.options import RunOptions
from volengine.engine.plan import Call, Plan
from volengine.engine.run import Job, run_jobs
from volengine.engine.stage import ArrayInput, Stage, TableInput
from volengine.ops.regions import check_size
from volengine.ops.stats_labels import (
    ClassRules,
    class_basins,
    count_ids,
    join_classes,
    merge_ids,
    resolve_classes,
    whole_ids,
)
from volengine.tasks.layout import join_url, run_dir_in
from volengine.tasks.stats_inputs import Part, Sources, part_of_volume, read_groups, tomograms_of
from volengine.tasks.stats_recipe import StatsRecipe
from volengine.tasks.stats_tables import Stats, count_tomograms, tables_of
from volengine.tasks.stats_truth import counting

FIRST_HALO_VOX = 16
"""Halo to begin with where distances are needed; blocks that hold thicker things are read again with more."""

LARGEST_BLOCK = 2**22
"""Voxels per block: about 160 a side."""

UNCHUNKED = (64, 64, 64)
VOXELS_PER_OBJECT = 500
"""For the memory of the joining step, planned before anything is known: fragmented atlases have that many."""

_MODULE = "volengine.tasks.stats"
TRUTH = "truth__"
"""Begins the names of the truth's plans, so that they are not those of the inputs."""


def stats(
    inputs: PathsLike,
    out: PathLike | None = None,
    recipe: StatsRecipe | None = None,
    options: RunOptions | None = None,
    *,
    truth: PathsLike = (),
    groups: PathLike | None = None,
) -> Stats:
    """Count objects and describe where they lie.

    Parameters
    ----------
    inputs
        Tables of picks (named ``TOMOGRAM__CLASS``, or of several tomograms), label volumes, stores (all their labels)
        or ``store.ome.zarr#labels/atlas``, folders, globs, ``.txt`` lists of volumes.
    out
        Folder for the tables (CSV), ``stats.json`` and plots; without, nothing is kept.
    recipe, options
        What is counted, and how to run.
    truth
        Inputs of the same kinds that are known to be right: the counting error of each of their classes is reported.
    groups
        A CSV with the columns ``tomogram`` and ``group``: pooled tables are also made for each group.

    Returns
    -------
    Stats
        ``found["classes"]``, ``found["pooled"]`` ... rows; ``found.pooled("ribosome")``; ``text()``.

    Raises
    ------
    InputError
        No voxel size; a class that is counted twice; sources of a tomogram that do not fit each other; classes or
        tomograms without a name, a group or a truth.
    """
    recipe, options = recipe or StatsRecipe(), options or RunOptions()
    if out is None:
        with tempfile.TemporaryDirectory() as folder:
            return _stats(inputs, folder, recipe.with_(plots=False), options, truth, groups)
    return _stats(inputs, path_text(out), recipe, options, truth, groups)


def _stats(
    inputs: PathsLike,
    out: str,
    recipe: StatsRecipe,
    options: RunOptions,
    truth: PathsLike,
    groups: PathLike | None,
) -> Stats:
    case = StatsCase.find(inputs, out, recipe, options, truth=truth, groups=groups)
    jobs = case.jobs(options)
    if jobs:
        run_jobs(jobs, case.run_dir, options).check()
    return case.finish()


@dataclass(frozen=True, eq=False)
class StatsCase:
    """What one call counts, and where it puts it.

    Parameters
    ----------
    sources, truth
        What was found at the paths; ``truth`` is ``None`` without one.
    groups
        Group by tomogram, or ``None``.
    recipe
        What is counted.
    out, run_dir
        The folder of the tables, and the run folder, in which the counts of the volumes are.
    """

    sources: Sources
    truth: Sources | None
    groups: Mapping[str, str] | None
    recipe: StatsRecipe
    out: str
    run_dir: str

    @classmethod
    def find(
        cls,
        inputs: PathsLike,
        out: str,
        recipe: StatsRecipe,
        options: RunOptions,
        *,
        truth: PathsLike = (),
        groups: PathLike | None = None,
    ) -> StatsCase:
        """Open what the paths name: tables of picks are read, of volumes the metadata."""
        if "://" in out:
            raise InputError(f"--out {out}: tables and plots are written to a folder of this machine.")
        sources, known = Sources.find(path_texts(inputs), recipe), None
        if truth := path_texts(truth):
            known = Sources.find(truth, recipe.of_truth(), "truth")
        named = read_groups(path_text(groups)) if groups is not None else None
        _check_split(sources, recipe)
        return cls(sources, known, named, recipe, out, options.run_dir or run_dir_in(out, "stats.run"))

    def jobs(self, options: RunOptions) -> list[Job]:
        """One job for each label volume."""
        truth = () if self.truth is None else self.truth.volumes
        jobs = [self._job(v, self.recipe, _key(v), options) for v in self.sources.volumes]
        return [*jobs, *(self._job(v, self.recipe.of_truth(), _key(v, TRUTH), options) for v in truth)]

    def _job(self, volume: Volume, recipe: StatsRecipe, key: str, options: RunOptions) -> Job:
        return Job(key, lambda: plan_stats(volume, recipe, self._file(key), options, name=key))

    def _file(self, key: str) -> str:
        return join_url(self.run_dir, "counted", f"{key}.npz")

    @property
    def complete(self) -> bool:
        """Whether all volumes are counted: of several parts of a run the last one finds them so."""
        truth = () if self.truth is None else self.truth.volumes
        keys = [*map(_key, self.sources.volumes), *(_key(v, TRUTH) for v in truth)]
        return all(Path(self._file(key)).is_file() for key in keys)

    def finish(self) -> Stats:
        """Join what was counted, and write the tables and plots."""
        recipe = self.recipe
        found = tomograms_of([*self.sources.parts, *(self._read(v, recipe, _key(v)) for v in self.sources.volumes)])
        counted = count_tomograms(found.values(), recipe, self.groups)
        tables = tables_of(counted, grouped=self.groups is not None)
        if self.truth is not None:
            theirs = [self._read(v, recipe.of_truth(), _key(v, TRUTH)) for v in self.truth.volumes]
            known = tomograms_of([*self.truth.parts, *theirs])
            tables["counting"] = counting(found, known, recipe.radius_nm, () if recipe.ids else recipe.classes)
        result = Stats(tables, {"recipe": recipe.to_json(), "tomograms": [c.name for c in counted]})
        result.write(self.out)
        if recipe.plots:
            from volengine.tasks.stats_plots import write_plots

            write_plots(self.out, counted, recipe)
        return result

    def _read(self, volume: Volume, recipe: StatsRecipe, key: str) -> Part:
        path = Path(self._file(key))
        try:
            with np.load(path, allow_pickle=False) as file:
                found = {name: file[name] for name in ("class", "position_vox", "voxels")}
        except FileNotFoundError:
            raise MissingError(f"{path}: {volume.name} is not counted yet; run the same command again.") from None
        except (OSError, ValueError, KeyError) as error:
            raise FormatError(f"{path} is damaged ({error}); delete the run folder and count again.") from error
        return part_of_volume(volume, found, recipe)


def _key(volume: Volume, before: str = "") -> str:
    """Name of a volume's plan: its own, and that of the labels inside of a store."""
    group = volume.path.rpartition("/")[0].removeprefix("labels/")
    return before + volume.name + (f"__{re.sub(r'[^A-Za-z0-9._+-]+', '_', group)}" if group else "")


def _check_split(sources: Sources, recipe: StatsRecipe) -> None:
    """A misspelled class must not pass for one that needs no watershed."""
    atlases = [v for v in sources.volumes if recipe.labels_of(v) == "atlas"]
    for name in recipe.split:
        splits = [recipe.with_(split=(name,)).rules_of(v).split for v in atlases]
        if not any(splits):
            known = sorted({n for v in atlases for n in recipe.names_of(v).values()})
            raise InputError(
                f"--split {name}: no atlas has this class; there are {', '.join(known) or 'none with names'}."
            )


def plan_stats(volume: Volume, recipe: StatsRecipe, out: str, options: RunOptions, *, name: str = "") -> Plan:
    """Stages that count the objects of a label volume, and a call that writes them to ``out`` (.npz).

    Numbered objects: one block stage and one that adds up. An atlas: the first three stages of the verb pick, for all
    classes at once, without labels.
    """
    check_size(volume.shape)
    atlas = recipe.labels_of(volume) == "atlas"
    rules = recipe.rules_of(volume) if atlas else ClassRules()

    def build(core: Index3) -> Stage:
        return _objects_stage(volume, rules, core) if atlas else _ids_stage(volume, core)

    core = options.block or choose_core(
        volume.shape,
        volume.chunks or UNCHUNKED,
        options.limit_bytes(),
        build,
        wanted=options.processes,
        largest=LARGEST_BLOCK,
    )
    stages = [build(core)]
    if atlas:
        stages.append(_seams_stage(volume, rules, core))
    last = stages[-1].name
    kernel = "resolve_objects" if atlas else "merge_objects"
    stages.append(
        Stage(
            "stats-join",
            f"{_MODULE}:{kernel}",
            Tiling((1, 1, 1), (1, 1, 1)),
            params={"shape": volume.shape, "rules": asdict(rules)} if atlas else {},
            tables={"parts": TableInput(last, "all")},
            emits=True,
            kernel_bytes=(550 if atlas else 200) * (volume.size // VOXELS_PER_OBJECT),
        )
    )
    call = Call(f"{_MODULE}:write_counted", {"stage": "stats-join", "out": out})
    facts = asdict(rules) if atlas else {"kind": "instances"}
    return Plan(name or _key(volume), tuple(stages), recipe={"stats": facts}, finish=(call,))


def _objects_stage(volume: Volume, rules: ClassRules, core: Index3) -> Stage:
    reach = min(FIRST_HALO_VOX, rules.max_distance_vox) if rules.split else 0
    halo = index3([reach] * 3)
    inside = index3(min(c, n) for c, n in zip(core, volume.shape, strict=True))
    crop = Box.of_shape(inside).grow(halo).shape
    # Components of the core; of split classes a mask at a time, its heights and basins; floating numbers as integers.
    wide = 8 if np.dtype(volume.dtype).kind == "f" else 0
    return Stage(
        "stats-objects",
        f"{_MODULE}:objects_block",
        Tiling(volume.shape, core),
        params={"rules": asdict(rules), "where": volume.url.rstrip("/").rsplit("/", 1)[-1]},
        arrays={"labels": ArrayInput(volume, halo, halo)},
        emits=True,
        kernel_bytes=(7 + wide) * math.prod(crop) + 40 * math.prod(inside) + 64 * 2**20,
    )


def _seams_stage(volume: Volume, rules: ClassRules, core: Index3) -> Stage:
    z, y, x = (min(c, n) for c, n in zip(core, volume.shape, strict=True))
    shell = 2 * (z * y + y * x + z * x)
    return Stage(
        "stats-seams",
        f"{_MODULE}:seams_block",
        Tiling(volume.shape, core),
        params={"rules": asdict(rules)},
        tables={"objects": TableInput("stats-objects", "neighbours")},
        emits=True,
        kernel_bytes=shell * (27 * 16 + 300),
    )


def _ids_stage(volume: Volume, core: Index3) -> Stage:
    inside = math.prod(min(c, n) for c, n in zip(core, volume.shape, strict=True))
    return Stage(
        "stats-ids",
        f"{_MODULE}:ids_block",
        Tiling(volume.shape, core),
        params={"where": volume.url.rstrip("/").rsplit("/", 1)[-1]},
        arrays={"labels": ArrayInput(volume)},
        emits=True,
        kernel_bytes=64 * inside,
    )


def _rules(values: Mapping[str, Any]) -> ClassRules:
    """Rules from JSON, where tuples are lists."""
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, (list, tuple)) else v for k, v in values.items()}
    return ClassRules(**plain)


def objects_block(block: Block, rules: dict[str, Any], where: str) -> Result:
    """Kernel: local regions of each class of a block."""
    labels = whole_ids(block.arrays["labels"], where)
    return Result(table=class_basins(labels, block.boxes["labels"], block.box, block.shape, _rules(rules)))


def seams_block(block: Block, rules: dict[str, Any]) -> Result:
    """Kernel: a block's regions of each class joined with those around it."""
    return Result(table=join_classes(block.number, block.tables["objects"], block.box, block.shape, _rules(rules)))


def resolve_objects(block: Block, shape: list[int], rules: dict[str, Any]) -> Result:
    """Kernel: the objects of all classes of an atlas."""
    found = resolve_classes(block.tables["parts"], index3(shape), _rules(rules))
    return Result(table=found, counts={"objects": len(found["class"])})


def ids_block(block: Block, where: str) -> Result:
    """Kernel: voxels and sums of each number of a block."""
    return Result(table=count_ids(whole_ids(block.arrays["labels"], where), block.box))


def merge_objects(block: Block) -> Result:
    """Kernel: the numbered objects of a volume."""
    found = merge_ids(list(block.tables["parts"].values()))
    rows = {"class": np.zeros(len(found["id"]), np.int64), **{k: found[k] for k in ("position_vox", "voxels")}}
    return Result(table=rows, counts={"objects": len(found["id"])})


def write_counted(plan: Plan, tables: Any, stage: str, out: str) -> None:
    """Call at the end of a plan: keep the objects of a volume."""
    found: Table = next(iter(tables(stage).values()))
    data = io.BytesIO()
    np.savez_compressed(data, allow_pickle=False, **found)
    write_atomic(Path(out), data.getvalue())
