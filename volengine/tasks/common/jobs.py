"""From what a user asks for to the jobs of a run: the same way for every verb.

A verb describes itself once, as a :class:`Verb`: how one of its sources becomes a :class:`Request`, and how a request
becomes a plan. :func:`jobs_of` makes one job for each source, and :func:`run_one` runs a single one. A source is opened
when its job is planned, so a source that cannot be read fails alone and leaves the others going.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from volengine.core.errors import InputError
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.engine.run import Job, run_plan
from volengine.tasks.common.layout import plan_folder, run_dir_for, run_dir_in

Given = TypeVar("Given")
"""What a user names: a path, the number of a sample, the predictions of a tomogram."""
Source = TypeVar("Source")
"""What a plan reads: a volume, or a description of several."""
What = TypeVar("What")
"""The verb's recipe."""
Out = TypeVar("Out")
"""Where the products go: a path, or a description of several."""


@dataclass(frozen=True)
class Request(Generic[Source, What, Out]):
    """What one plan is made from.

    Parameters
    ----------
    name
        The plan's name: unique in a run, and fit for a file's name.
    source, recipe, out
        What is read, what is done, and where the products go.
    """

    name: str
    source: Source
    recipe: What
    out: Out


Planner = Callable[[Source, What, Out, PlanFolder, RunOptions], Plan]
"""The one signature of every ``plan_VERB(source, recipe, out, folder, options)``: it reads metadata only."""


@dataclass(frozen=True)
class Verb(Generic[Given, Source, What, Out]):
    """A verb that runs plans.

    Parameters
    ----------
    name
        As on the command line.
    request
        ``request(given, out, recipe)``: opens one source (metadata only) and says what its plan is made from.
    plan
        The verb's ``plan_VERB``.
    endings
        An output whose name ends so is the product of a single source itself; any other is a folder.
    run_name
        Name of the run folder in a folder of outputs.
    """

    name: str
    request: Callable[[Given, str, Any], Request[Source, What, Out]]
    plan: Planner[Source, What, Out]
    endings: tuple[str, ...] = ()
    run_name: str = ""

    def is_product(self, out: str) -> bool:
        """Whether ``out`` names a single product and not a folder of them."""
        return bool(self.endings) and out.rstrip("/").lower().endswith(self.endings)

    def run_dir(self, out: str, options: RunOptions) -> str:
        """The run folder of this output: beside a single product, in a folder of products."""
        if options.run_dir:
            return options.run_dir
        return run_dir_for(out) if self.is_product(out) else run_dir_in(out, self.run_name or f"{self.name}.run")

    def job(self, label: str, given: Given, out: str, recipe: Any, options: RunOptions) -> Job:
        """The job of one source; opening and planning wait until the job's turn comes."""
        run_dir = self.run_dir(out, options)

        def plan() -> Plan:
            request = self.request(given, out, recipe)
            folder = plan_folder(run_dir, request.name)
            made = self.plan(request.source, request.recipe, request.out, folder, options)
            return replace(made, name=request.name)

        return Job(label, plan)


def jobs_of(
    verb: Verb[Given, Any, Any, Any],
    sources: Sequence[Given] | Mapping[str, Given],
    out: str,
    recipe: Any,
    options: RunOptions,
) -> tuple[list[Job], str]:
    """One job for each source, and the run folder.

    Parameters
    ----------
    verb
        What is done.
    sources
        What the user names; a mapping gives each job its label, otherwise the source itself is the label.
    out
        Folder for the products, or for a single source the product itself.
    recipe, options
        What is done, and how it is run.

    Raises
    ------
    InputError
        ``out`` is one product, but there are several sources.
    """
    labelled = sources if isinstance(sources, Mapping) else {str(source): source for source in sources}
    if verb.is_product(out) and len(labelled) > 1:
        kind = "store" if out.rstrip("/").lower().endswith(".zarr") else "file"
        raise InputError(f"--out {out} is one {kind}, but there are {len(labelled)} sources; give a folder.")
    jobs = [verb.job(label, given, out, recipe, options) for label, given in labelled.items()]
    return jobs, verb.run_dir(out, options)


def run_one(verb: Verb[Given, Any, Any, Any], given: Given, out: str, recipe: Any, options: RunOptions) -> Plan:
    """Plan and run one source; returns the plan, whose images are the products.

    Raises
    ------
    RunError, InputError
        A unit failed; a source or a recipe that cannot be used.
    """
    plan = verb.job(verb.name, given, out, recipe, options).plan()
    run_plan(plan, verb.run_dir(out, options), options)
    return plan
