"""Run the jobs of a verb and print a summary, or print their plans."""

from __future__ import annotations

import click

from volengine.cli.messages import say
from volengine.core.errors import RunError, VolengineError
from volengine.engine.options import RunOptions
from volengine.engine.report import RunReport, named, summary
from volengine.engine.run import Job, Then, run_jobs
from volengine.engine.show import describe


def execute(jobs: list[Job], run_dir: str, options: RunOptions, then: Then | None = None) -> None:
    """Run the jobs (or print their plans with ``--dry-run``); raises if one failed, or would be refused."""
    if (report := reported(jobs, run_dir, options, then)) is not None:
        report.check()


def reported(jobs: list[Job], run_dir: str, options: RunOptions, then: Then | None = None) -> RunReport | None:
    """Run the jobs and print a summary; returns the report, which says what failed, or ``None`` with ``--dry-run``."""
    if options.dry_run:
        _show_plans(jobs, options)
        return None
    if len(jobs) == 1:  # a single input is checked before anything is written
        plan = jobs[0].plan()
        plan.check(options.limit_bytes())
        jobs = [Job(jobs[0].name, lambda: plan, light=jobs[0].light)]
    report = run_jobs(jobs, run_dir, options, then=then)
    say(summary(report))
    say(f"run folder: {run_dir}")
    return report


def _show_plans(jobs: list[Job], options: RunOptions) -> None:
    """Print the plan of each job; those that the run would refuse do not hide the others."""
    limit = options.limit_bytes()
    refused: dict[str, VolengineError] = {}
    for job in jobs:
        try:
            plan = job.plan()
            plan.check(limit)
        except VolengineError as error:
            if len(jobs) == 1:
                raise
            refused[job.name] = error
            continue
        click.echo(describe(plan, limit))
    if refused:
        lines = [named(name, error) for name, error in refused.items()]
        raise RunError(f"{len(lines)} of {len(jobs)} would be refused:\n  " + "\n  ".join(lines))
