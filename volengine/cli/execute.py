"""Run the jobs of a verb and print a summary, or print their plans."""

from __future__ import annotations

import click

from volengine.engine.options import RunOptions
from volengine.engine.report import summary
from volengine.engine.run import Job, run_jobs
from volengine.engine.show import describe


def execute(jobs: list[Job], run_dir: str, options: RunOptions) -> None:
    """Run the jobs (or print their plans with ``--dry-run``); raises if one failed."""
    if options.dry_run:
        limit = options.limit_bytes()
        for job in jobs:
            plan = job.plan()
            plan.check(limit)
            click.echo(describe(plan, limit))
        return
    if len(jobs) == 1:  # a single input is checked before anything is written
        plan = jobs[0].plan()
        plan.check(options.limit_bytes())
        jobs = [Job(jobs[0].name, lambda: plan)]
    report = run_jobs(jobs, run_dir, options)
    click.echo(summary(report))
    click.echo(f"run folder: {run_dir}")
    report.check()
