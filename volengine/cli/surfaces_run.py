"""Runs the verbs of surfaces on any number of sets, and says loudly where nothing was found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from volengine.cli.execute import execute
from volengine.engine.options import RunOptions
from volengine.tasks.common.ended import noted
from volengine.tasks.common.jobs import Verb, jobs_of
from volengine.tasks.common.layout import plan_folder
from volengine.tasks.surfaces.sets import name_of_set, set_paths
from volengine.tasks.surfaces.shared import refuse_shared


def run_on_sets(
    verb: Verb[Any, Any, Any, Any], source: Iterable[str], out: str, recipe: Any, options: RunOptions
) -> tuple[list[str], str]:
    """Run a verb on sets of surfaces; returns their names and the run folder. Arguments are those of ``jobs_of``."""
    paths = set_paths(source)
    refuse_shared(paths, recipe)
    jobs, run_dir = jobs_of(verb, paths, out, recipe, options)
    names = [name_of_set(path) for path in paths]
    try:
        execute(jobs, run_dir, options)
    finally:
        if not options.dry_run:
            warn_empty(run_dir, names)
    return names, run_dir


def warn_empty(run_dir: str, names: Iterable[str]) -> None:
    """Warn on the error stream of each plan that has ended and found nothing."""
    for name in names:
        folder = plan_folder(run_dir, name)
        if (folder.path / "finished.json").is_file() and (why := noted(folder).get("empty")):
            click.echo(f"Warning: {name}: {why}", err=True)
