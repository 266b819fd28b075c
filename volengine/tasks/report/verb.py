"""report: pages that show what was found, one HTML file for each tomogram and one for all of them.

Outputs, in the folder of the report::

    index.html          all tomograms: what has failed first, a gallery, a table, how they were made
    index.json          the same numbers for programs
    pages/NAME.html     one tomogram: slices with what was found in them, histograms, numbers, times, its recipe
    thumbs/NAME.webp    its small picture in the gallery
    report.run/         how far it is

The pages need no server and no network. A page is written again only if what it shows has changed, and a file that was
not written by this verb is never replaced.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from volengine.core.errors import InputError, RunError
from volengine.core.markup import facts_html, rows_html
from volengine.core.paths import PathLike, PathsLike, path_text, path_texts
from volengine.engine.executor import Executor
from volengine.engine.options import RunOptions
from volengine.engine.report import RunReport
from volengine.engine.run import run_jobs
from volengine.tasks.common.jobs import Request, Verb
from volengine.tasks.report.description import INDEX, ROWS, Row, there
from volengine.tasks.report.finish import rows_in
from volengine.tasks.report.given import FOLDER, source_of, source_of_runs
from volengine.tasks.report.plan import NAME, ReportSource, plan_report
from volengine.tasks.report.recipe import ReportRecipe

KEPT_BYTES = 400_000_000
"""Memory that the workers of a run keep: torch, and the weights of its networks; measured 330 to 380 MB."""

MOST_SHOWN = 20
"""Tomograms that a notebook shows."""


@dataclass(frozen=True)
class Report:
    """A report that was made.

    Parameters
    ----------
    index
        The page of all tomograms.
    rows
        What it says of each.
    """

    index: Path
    rows: tuple[Row, ...]

    @property
    def problems(self) -> dict[str, str]:
        """What is missing or damaged, or why there is no page, by tomogram."""
        return {row.name: row.problem for row in self.rows if row.problem}

    def _repr_html_(self) -> str:
        """Show where the pages are and the first rows, those with problems first."""
        rows = [
            {
                "tomogram": row.name,
                "state": row.state,
                "picks": ", ".join(f"{count:,} {name}" for name, count in row.picks.items()),
                "message": " ".join(filter(None, (row.message, row.problem, row.warning))),
            }
            for row in sorted(self.rows, key=lambda row: (row.state == "done", not row.problem, row.name))
        ]
        facts = {"tomograms": len(rows), "with problems": len(self.problems)}
        return facts_html(f"report, {self.index}", facts) + rows_html(rows, MOST_SHOWN)

    def check(self) -> Report:
        """Raise an error if something is missing or damaged; otherwise return the report itself."""
        if problems := self.problems:
            lines = [f"{name}: {problem}" for name, problem in problems.items()]
            raise RunError(
                f"{self.index}: written, but of {len(lines)} of {len(self.rows)} tomograms something is missing or "
                "damaged:\n  " + "\n  ".join(lines)
            )
        return self


def request(
    source: ReportSource, out: str, recipe: ReportRecipe, options: RunOptions
) -> Request[ReportSource, ReportRecipe, str]:
    """What the plan of a report is made from."""
    return Request(NAME, source, recipe, out)


REPORT = Verb("report", request, plan_report, light=True)


def report(
    sources: PathsLike,
    out: PathLike | None = None,
    recipe: ReportRecipe | None = None,
    options: RunOptions | None = None,
) -> Report:
    """Make pages that show what was found in tomograms.

    Parameters
    ----------
    sources
        A run folder, or the folder of results that it lies in (several: ``out`` is needed); the manifest of a
        collection before it; or, without a run, tomograms, predictions (``TOMOGRAM__FEATURE``), ``store#labels/NAME``,
        tables of picks and sets of surfaces. Sets beside a run, in ``measured`` or ``surfaces``, are shown, too.
    out
        Folder of the pages; default: ``report`` in the run folder.
    recipe, options
        What pages show, and how to run.

    Returns
    -------
    Report
        The index, and its rows. ``check()`` raises an error if something is missing or damaged: then the page of that
        tomogram shows what there is, and all others are whole.

    Raises
    ------
    InputError, MissingError
        A source does not exist, or a file of another kind would be replaced.

    Examples
    --------
    >>> import volengine
    >>> made = volengine.report(["TS_01.ome.zarr", "TS_01__ribosome.star"], "pages")
    >>> made.index.name, made.rows[0].picks
    ('index.html', {'ribosome': 2})
    """
    options = options or RunOptions()
    if options.part is not None:
        raise InputError("report makes all pages in one call; leave out --part.")
    found, folder = source_of(path_texts(sources), None if out is None else path_text(out))
    return made(found, folder, ReportRecipe.of(recipe), options)


def made(
    source: ReportSource, out: str, recipe: ReportRecipe, options: RunOptions, executor: Executor | None = None
) -> Report:
    """Make a report of what :func:`~volengine.tasks.report.given.source_of` has found; ``executor``: make it there."""
    if "://" in out:
        raise InputError(f"--out {out}: pages are written into a folder of this machine or of a shared disk.")
    run_dir = REPORT.run_dir(out, options)
    job = REPORT.job(NAME, source, out, recipe, options)
    run_jobs([job], run_dir, options, executor=executor).check()
    return Report(Path(out) / INDEX, rows_in(Path(out) / ROWS)[0])


def after_run(run_dir: str, say: Callable[[str], None]) -> Callable[[RunReport, Executor | None], None]:
    """What makes the report of a run at its end, on its workers.

    Whatever happens to a page, the results of the run are as they are: it is only said.

    Parameters
    ----------
    run_dir
        The run folder.
    say
        Tells the user where the pages are.
    """

    def make(run: RunReport, executor: Executor | None) -> None:
        folder = Path(run_dir) / FOLDER
        options = RunOptions.from_json({**run.data["options"], "run_dir": None, "block": None, "overwrite": False})
        try:
            source = source_of_runs([Path(run_dir)], str(folder))
            if (found := _unchanged(source, folder)) is None:
                source = replace(source, kept_bytes=KEPT_BYTES if executor is not None else 0)
                found = made(source, str(folder), ReportRecipe(), options, executor)
        except Exception as error:  # the run is complete, and must end as it would without pages
            say(
                f"The pages of the report were not made: {error} The results are not touched by this. Try: "
                f"volengine report {shlex.quote(str(run_dir))}"
            )
            return
        for name, problem in found.problems.items():
            say(f"report: {name}: {problem}")
        say(f"report: {found.index}")

    return make


def _unchanged(source: ReportSource, folder: Path) -> Report | None:
    """The report of a run that has changed nothing; ``None`` if something has changed."""
    if not (folder / ROWS).exists():
        return None
    rows, before = rows_in(folder / ROWS)
    same = before == there(source.shown, ReportRecipe().to_json(), source.of, folder)
    return Report(folder / INDEX, rows) if same else None
