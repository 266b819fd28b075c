"""The manifest of a collection as a source of ``picks measure``: the picks of its tomograms in the results of a run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from volengine.core.errors import InputError
from volengine.core.paths import PathLike, PathsLike, path_text, path_texts
from volengine.engine.options import RunOptions
from volengine.engine.run import run_jobs
from volengine.tasks.collection.forms import CSV_ENDINGS, YAML_ENDINGS, is_manifest
from volengine.tasks.collection.manifest import Collection
from volengine.tasks.picks.measure import Chosen, PicksCase, together
from volengine.tasks.picks.of_run import picks_of_run
from volengine.tasks.picks.recipe import PicksMeasureRecipe
from volengine.tasks.picks.tables import Written

HEAD_BYTES = 1 << 16
"""Beginning of a file by which a manifest is told from a table of picks."""

_STAR = re.compile(r"^\s*_source\b", re.MULTILINE)
_PLACE = re.compile(r"[xyz](_\w+)?")


def lists_tomograms(path: str) -> bool:
    """Whether a file is a manifest and not a table of picks, by its ending, and its columns where both may have it."""
    if not is_manifest(path):
        return False
    if path.lower().endswith(YAML_ENDINGS):
        return True
    try:
        with Path(path).open("rb") as file:
            head = file.read(HEAD_BYTES).decode("utf-8-sig", "replace")
    except OSError:
        return False
    if not path.lower().endswith(CSV_ENDINGS):
        return bool(_STAR.search(head))
    lines = (line.strip() for line in head.splitlines())
    first = next((line for line in lines if line and not line.startswith("#")), "")
    columns = [cell.strip().strip("\"'").lower() for cell in re.split("[,;\t]", first)]
    return "source" in columns and not any(map(_PLACE.fullmatch, columns))


def measured_case(sources: PathsLike, out: str, recipe: PicksMeasureRecipe, options: RunOptions) -> PicksCase:
    """The case of ``picks measure`` for files of picks, or for a manifest.

    Parameters
    ----------
    sources
        Files of picks, globs or folders; the first may be the manifest of a collection. Of the others the picks of its
        tomograms are measured; without others those in the results of its run (``results`` of the recipe).
    out, recipe, options
        As of :class:`~volengine.tasks.picks.measure.PicksCase`.

    Raises
    ------
    MissingError, FormatError
        A file does not exist, or is damaged.
    InputError
        There are two manifests, one leaves out everything, or nothing says where its picks are.
    """
    given = path_texts(sources)
    manifests = [] if recipe.read_as else [path for path in given if lists_tomograms(path)]
    if not manifests:
        return PicksCase(given, out, recipe, options)
    others = [path for path in given if path not in manifests]
    if len(manifests) > 1:
        raise InputError(f"{' and '.join(manifests)} are manifests; give one.")
    manifest = manifests[0]
    entries = Collection.read(manifest).at_work()
    if not entries:
        raise InputError(f"{manifest}: there is nothing to do: all of its tomograms are left out.")
    names = tuple(entry.name for entry in entries)
    files = others or _of_results(manifest, names, recipe.results)
    return PicksCase(files, out, recipe, options, Chosen(manifest, names, apart=not others))


def _of_results(manifest: str, names: Sequence[str], results: str | None) -> list[str]:
    if results is None:
        raise InputError(
            f"{manifest} is the manifest of a collection; say where the picks of its tomograms are: --results, the "
            "folder that was --out of volengine run; or files of picks behind it."
        )
    return picks_of_run(results, names)


def measure_collection(
    manifest: PathLike,
    out: PathLike,
    recipe: PicksMeasureRecipe | Mapping[str, Any] | None = None,
    options: RunOptions | None = None,
) -> Written:
    """Write the picks of a collection's tomograms with columns that say what surrounds them.

    Parameters
    ----------
    manifest
        The manifest. Tomograms that it leaves out are left out, and those of higher priority are begun first.
    out
        A folder, for a file for each table of picks.
    recipe, options
        What is measured, with ``results``, the folder of the run's results; and how to run.

    Returns
    -------
    Written
        As of :func:`~volengine.tasks.picks.measure.measure_picks`.

    Raises
    ------
    RunError
        Tomograms failed, or have no picks; the others are written.
    MissingError, FormatError, InputError
        As of :func:`measured_case`.

    Examples
    --------
    >>> recipe = {"results": "results", "probability": ["membrane"]}
    >>> made = measure_collection("manifest.csv", "measured/", recipe)                          # doctest: +SKIP
    """
    case = measured_case([path_text(manifest)], path_text(out), PicksMeasureRecipe.of(recipe), options or RunOptions())
    report = run_jobs(case.jobs(), case.run_dir, case.options)
    written = case.finish(report)
    report.check()
    return together(written)
