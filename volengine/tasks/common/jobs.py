"""The jobs of a run, made in the same way for every verb.

A :class:`Verb` says how one of its sources becomes a :class:`Request`, and how a request becomes a plan.
:func:`jobs_of` makes one job for each source, and :func:`run_one` runs a single one. A source is opened when its job is
planned, so one that cannot be read fails alone, and the others continue.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from glob import has_magic
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from volengine.core.errors import InputError
from volengine.core.paths import path_text
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.engine.run import Job, run_plan
from volengine.io.anonymous import use_anonymous
from volengine.io.copick.choice import chosen_volume
from volengine.io.copick.config import read_project
from volengine.io.copick.target import is_target
from volengine.io.names import FILE_SUFFIXES, PACKED_SUFFIXES, PICKS_SUFFIXES, is_zipped, project_and_choice, scheme
from volengine.io.stores import located
from volengine.tasks.common.inputs import expand
from volengine.tasks.common.layout import plan_folder, run_dir_for, run_dir_in
from volengine.tasks.common.sizes import sizes_of

_OTHERS = (".dat", ".doc", ".log", ".npy", ".npz", ".ods", ".pdf", ".pkl", ".png", ".tar", ".xls", ".xlsx", ".xml")
FILES = (*FILE_SUFFIXES, *PACKED_SUFFIXES, *PICKS_SUFFIXES, ".safetensors", ".yaml", ".ply", ".html", *_OTHERS)
"""Endings of files: an output that has one is not meant to be a folder."""

Given = TypeVar("Given")
"""What a user gives for one job: a path, the number of a sample, the predictions of a tomogram."""
Source = TypeVar("Source")
"""Type of a plan's input: a volume, or a description of several."""
What = TypeVar("What")
"""Type of the verb's recipe."""
Out = TypeVar("Out")
"""Type of a plan's output: a path, or a description of several."""


@dataclass(frozen=True)
class Request(Generic[Source, What, Out]):
    """The arguments of a planner, for one plan.

    Parameters
    ----------
    name
        The plan's name: unique in a run, and valid as a file name.
    source, recipe, out
        What is read, what is done, and where the results are written.
    """

    name: str
    source: Source
    recipe: What
    out: Out


Planner = Callable[[Source, What, Out, PlanFolder, RunOptions], Plan]
"""The signature of every ``plan_VERB(source, recipe, out, folder, options)``; it reads metadata only."""


@dataclass(frozen=True)
class Verb(Generic[Given, Source, What, Out]):
    """A verb that runs plans.

    Parameters
    ----------
    name
        Name on the command line.
    request
        ``request(given, out, recipe, options)`` opens one source (metadata only) and returns the arguments of its
        planner.
    plan
        The verb's ``plan_VERB``.
    endings
        An output path with one of these endings is the result of a single source; any other path is a folder.
    run_name
        Name of the run folder in a folder of outputs; default: ``<name>.run``.
    into_projects
        Whether the results may go into a copick project (:mod:`volengine.io.copick.target`).
    light
        Whether no unit takes longer than some seconds, or uses a network or GPU, so that a run need not begin on
        workers (:mod:`volengine.engine.here_first`).
    """

    name: str
    request: Callable[[Given, str, Any, RunOptions], Request[Source, What, Out]]
    plan: Planner[Source, What, Out]
    endings: tuple[str, ...] = ()
    run_name: str = ""
    into_projects: bool = False
    light: bool = False

    def is_product(self, out: str) -> bool:
        """Whether ``out`` names the result of a single source, and not a folder or a copick project."""
        return bool(self.endings) and not is_target(out) and out.rstrip("/").lower().endswith(self.endings)

    def check_out(self, out: str) -> None:
        """Refuse an output that is a file by its name, if this verb writes no such file.

        Raises
        ------
        InputError
            It would become a folder of that name, or is a zip archive or a copick project; or a file is in its place.
        """
        if is_target(out):
            if not self.into_projects:
                raise InputError(
                    f"--out {out}: {self.name} does not write into a copick project; give a folder. Predictions are "
                    "put into a project as masks, with the threshold that you choose: volengine convert "
                    "'FOLDER/*.ome.zarr' --threshold 0.5 --out config.json#session=1"
                )
            return
        if is_zipped(out):
            raise InputError(
                f"--out {out}: zip archives are read, not written. Write a store (NAME.ome.zarr), then zip it without "
                "compression from inside of it: cd NAME.ome.zarr && zip -r -0 ../NAME.ozx ."
            )
        if "://" not in out and not self.is_product(out):
            _check_folder(out)
        if out.lower().endswith(FILES) and not self.is_product(out) and not Path(out).is_dir():
            products = f", or {' or '.join(self.endings)} for one source" if self.endings else ""
            raise InputError(f"--out {out}: {self.name} does not write such a file; give a folder{products}.")

    def run_dir(self, out: str, options: RunOptions) -> str:
        """The run folder of an output: beside a single result, in a folder of results, or in a project's overlay."""
        if options.run_dir:
            return path_text(options.run_dir)
        if is_target(out):
            overlay = read_project(project_and_choice(out)[0]).overlay
            return run_dir_in(str(overlay), self.run_name or f"{self.name}.run")
        return run_dir_for(out) if self.is_product(out) else run_dir_in(out, self.run_name or f"{self.name}.run")

    def job(self, label: str, given: Given, out: str, recipe: Any, options: RunOptions) -> Job:
        """The job of one source; the source is opened and planned when the engine starts the job."""
        self.check_out(out)
        run_dir = self.run_dir(out, options)

        def plan() -> Plan:
            request = self.request(given, out, recipe, options)
            folder = plan_folder(run_dir, request.name)
            made = self.plan(request.source, request.recipe, request.out, folder, options)
            return replace(made, name=request.name, origin=origin_of(given, request.source))

        return Job(label, plan, light=self.light)


def origin_of(given: Any, source: Any) -> dict[str, Any]:
    """What a plan of one volume is made of, for :mod:`volengine.engine.origin`; empty for plans of something else."""
    if not isinstance(given, str) or not isinstance(source, Volume):
        return {}
    return {"given": located(given), "url": source.url, "path": source.path, "snapshot": dict(source.snapshot)}


def _check_folder(out: str) -> None:
    """Refuse a folder of outputs in whose place, or in that of a folder above, there is a file."""
    file = next((one for one in (Path(out), *Path(out).parents) if one.is_file()), None)
    if file is not None:
        raise InputError(f"--out {out}: {file} is a file, and no folder; give another place.")


def jobs_of(
    verb: Verb[Given, Any, Any, Any],
    sources: Sequence[Given] | Mapping[str, Given],
    out: str,
    recipe: Any,
    options: RunOptions,
    recipes: Mapping[str, Any] | None = None,
) -> tuple[list[Job], str]:
    """Make one job for each source.

    Parameters
    ----------
    verb
        The verb.
    sources
        The user's sources; the keys of a mapping are the labels of the jobs, otherwise the label is the source itself.
    out
        Folder for the results, or for a single source the result itself.
    recipe, options
        What to do, and how to run.
    recipes
        What to do with some of the sources instead, by their labels.

    Returns
    -------
    list of Job, str
        The jobs, and the run folder.

    Raises
    ------
    InputError
        ``out`` names a single result, but there are several sources; or it is a web server, which can only be read.
    """
    if options.anonymous:
        use_anonymous()
    out = path_text(out)
    if scheme(out) in ("http", "https"):
        raise InputError(f"--out {out}: a web server can only be read; give a folder, or an object store (s3://...).")
    verb.check_out(out)
    labelled = sources if isinstance(sources, Mapping) else {str(source): source for source in sources}
    if verb.is_product(out) and len(labelled) > 1:
        kind = "store" if out.rstrip("/").lower().endswith(".zarr") else "file"
        raise InputError(f"--out {out} is one {kind}, but there are {len(labelled)} sources; give a folder.")
    own = recipes or {}
    jobs = [verb.job(label, given, out, own.get(label, recipe), options) for label, given in labelled.items()]
    sizes = sizes_of(labelled.values())
    jobs = [replace(job, size=size) for job, size in zip(jobs, sizes, strict=True)]
    return jobs, verb.run_dir(out, options)


def run_one(verb: Verb[Given, Any, Any, Any], given: Given, out: str, recipe: Any, options: RunOptions) -> Plan:
    """Plan and run one source; return the plan, whose images are the results.

    Raises
    ------
    RunError
        A unit failed.
    InputError
        The source or the recipe cannot be used.
    """
    if options.anonymous:
        use_anonymous()
    plan = verb.job(verb.name, _single(verb.name, given), out, recipe, options).plan()
    run_plan(plan, verb.run_dir(out, options), options, light=verb.light)
    return plan


def _single(verb: str, given: Given) -> Given:
    """The one source that a glob or a ``.txt`` list names."""
    if isinstance(given, str) and (project_and_choice(given)[1] or is_target(given)):
        return cast(Given, chosen_volume(given))
    if not isinstance(given, str) or "://" in given or not (has_magic(given) or given.lower().endswith(".txt")):
        return given
    if Path(given).exists() and not given.lower().endswith(".txt"):
        return given
    found = expand([given])
    if len(found) > 1:
        raise InputError(
            f"{given} names {len(found)} volumes, but volengine.{verb} takes one. Call it for each of them; "
            f"'volengine {verb}' on the command line and volengine.run take many."
        )
    return cast(Given, found[0])
