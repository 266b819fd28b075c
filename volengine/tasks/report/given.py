"""What a report is asked about: run folders, the manifest of a collection, or results without a run."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.json_text import parse_json
from volengine.core.paths import path_text
from volengine.engine.ledger import RunFolder
from volengine.io.names import PICKS_SUFFIXES, VOLUME_SUFFIXES, split_group, suffix_of
from volengine.io.surfaces import ENDING
from volengine.tasks.collection.manifest import Collection, file_name_of
from volengine.tasks.collection.measured import lists_tomograms
from volengine.tasks.common.inputs import expand, picks_files
from volengine.tasks.common.layout import file_name
from volengine.tasks.picture.overlays import MESHES
from volengine.tasks.report.description import Shown
from volengine.tasks.report.plan import ReportSource
from volengine.tasks.surfaces.sets import name_of_set, set_paths, sets_in

FOLDER = "report"
"""Name of the folder of a report in its run folder."""
SETS_IN = ("measured", "surfaces", "")
"""Folders beside a run folder in which sets of surfaces are looked for; of two of one name the first is shown."""


def run_folder_of(path: str) -> Path | None:
    """The run folder that a path names: itself, or the one in a folder of results; ``None`` if it names none.

    Raises
    ------
    InputError
        There are several.
    """
    place = Path(path_text(path))
    if "://" in path or not place.is_dir():
        return None
    if (place / "plans").is_dir():
        return place
    inside = [one.parent for one in sorted([*place.glob("run/plans"), *place.glob("*.run/plans")]) if one.is_dir()]
    if len(inside) > 1:
        raise InputError(f"{path}: has several run folders; name one: {', '.join(map(str, inside))}.")
    return inside[0] if inside else None


def source_of(given: Sequence[str], out: str | None) -> tuple[ReportSource, str]:
    """The tomograms of a report, and its folder.

    Parameters
    ----------
    given
        Run folders or folders of results with one; a manifest, alone or before its run; or volumes, tables of picks and
        sets of surfaces.
    out
        The folder; ``None``: ``report`` in the run folder.

    Raises
    ------
    InputError, MissingError
        Something does not exist, two things have one name, or there is no folder to write to.
    """
    if not given:
        raise MissingError("No input: give a run folder, a manifest, or volumes and tables of picks.")
    manifests = [path for path in given if run_folder_of(path) is None and lists_tomograms(path)]
    if len(manifests) > 1:
        raise InputError(f"{' and '.join(manifests)} are manifests; give one.")
    others = [path for path in given if path not in manifests]
    runs = [found for path in others if (found := run_folder_of(path)) is not None]
    if runs and len(runs) < len(others):
        raise InputError("Give run folders, or volumes and tables of picks without a run; not both.")
    if out is None and len(runs) != 1:
        raise InputError("Say where the report is to be written: --out FOLDER.")
    folder = str(runs[0] / FOLDER) if out is None else out
    names = {entry.name: entry.source for entry in Collection.read(manifests[0]).at_work()} if manifests else None
    if not runs:
        return ReportSource(tuple(_of_results(others, names)), f"results of {Path(folder).name}"), folder
    source = source_of_runs(runs, folder)
    if names is None:
        return source, folder
    shown = [one for one in source.shown if one.name in names]
    there = {one.name for one in shown}
    shown += [Shown(name, tomogram=place) for name, place in names.items() if name not in there]
    return replace(source, shown=tuple(shown)), folder


def source_of_runs(runs: Sequence[Path], out: str) -> ReportSource:
    """The tomograms of runs, whose folders are read on workers; those that have failed come with the reason.

    Raises
    ------
    InputError
        Two runs have a tomogram of one name.
    """
    shown: dict[str, Shown] = {}
    run: dict[str, Any] = {}
    for path in runs:
        folder = RunFolder(path)
        reports = [found for one in sorted(folder.path.glob("report*.json")) if (found := _report(one))]
        errors = {str(name): str(why) for report in reports for name, why in report.get("failed", {}).items()}
        mine = {plan.path.name: Shown(plan.path.name, str(plan.path)) for plan in folder.plans()}
        for name, why in errors.items():
            known = mine.get(name, Shown(name))
            mine[name] = replace(known, error=why.removeprefix(f"{name}: "))  # the name stands before it
        surfaces = _sets_beside(folder.path)
        for name, one in mine.items():
            if sets := surfaces.get(file_name(name)):
                mine[name] = replace(one, surfaces=tuple(sets))
        if twice := sorted(shown.keys() & mine.keys()):
            raise InputError(f"Two of the runs have a tomogram {twice[0]!r}; make a report of each.")
        shown |= mine
        run = _facts(reports[-1]) if reports else run
    places = [os.path.relpath(path.absolute(), Path(out).absolute()) for path in runs]
    return ReportSource(tuple(shown[name] for name in sorted(shown)), ", ".join(places), run)


def _sets_beside(run_dir: Path) -> dict[str, list[str]]:
    """The sets of surfaces in the results that a run folder lies in, by the names of their tomograms.

    ``run`` makes none: they are made of its results, later.
    """
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for folder in SETS_IN if run_dir.name == "run" else ():
        for place in sorted((run_dir.parent / folder).glob(f"*{ENDING}")):
            tomogram, _, _ = place.stem.rpartition("__")
            found[tomogram or place.stem].setdefault(place.name, _absolute(str(place)))
    return {name: list(sets.values()) for name, sets in found.items()}


def _report(path: Path) -> dict[str, Any] | None:
    try:
        found = parse_json(path.read_bytes(), str(path))
    except (OSError, FormatError):
        return None
    return found if isinstance(found, dict) else None


def _facts(report: Mapping[str, Any]) -> dict[str, Any]:
    """What the index shows of a run's report."""
    facts = {key: report[key] for key in ("command", "versions", "began", "wall_seconds", "options") if key in report}
    plans = report.get("plans") or {}
    return facts | {"recipe": next((plan.get("recipe") for plan in plans.values()), None)}


def _of_results(given: Sequence[str], names: Mapping[str, str] | None) -> Iterator[Shown]:
    """Tomograms with what was found in them, put together by their names: ``TOMOGRAM`` and ``TOMOGRAM__FEATURE``."""
    found: dict[str, dict[str, list[str]]] = {name: {"tomogram": [place]} for name, place in (names or {}).items()}

    def add(name: str, what: str, path: str) -> None:
        if names is None or name in names:
            found.setdefault(name, {}).setdefault(what, []).append(path)

    tables = [path for path in given if path.lower().endswith(PICKS_SUFFIXES)]
    sets = [path for path in given if suffix_of(path) in MESHES or sets_in(path)]
    volumes = [path for path in given if path not in tables and (path not in sets or _has_volumes(path))]
    for path in set_paths(sets):
        stem = name_of_set(path)
        add(stem.rpartition("__")[0] or stem, "surfaces", _absolute(path))
    for path in picks_files(tables) if tables else []:
        stem = Path(path).name.split(".")[0] if "__" not in Path(path).name else Path(path).stem
        add(stem.rpartition("__")[0] or stem, "picks", _absolute(path))
    for path in expand(volumes) if volumes else []:
        place, group = split_group(path)
        tomogram, _, feature = file_name_of(place).rpartition("__")
        what = "labels" if group else "predictions" if tomogram else "tomogram"
        add(tomogram or feature, what, _absolute(path))
    for name in sorted(found):
        has = found[name]
        if len(has.get("tomogram", [])) > 1:
            raise InputError(f"Two tomograms are called {name!r}: {' and '.join(has['tomogram'][:2])}.")
        yield Shown(
            name,
            tomogram="".join(has.get("tomogram", [])),
            predictions=tuple(has.get("predictions", [])),
            labels=tuple(has.get("labels", [])),
            picks=tuple(has.get("picks", [])),
            surfaces=tuple(has.get("surfaces", [])),
        )


def _has_volumes(path: str) -> bool:
    """Whether a folder of sets of surfaces holds volumes, too."""
    place = Path(path)
    inside = place.iterdir() if place.is_dir() and suffix_of(path) not in MESHES else ()
    return any(suffix_of(one.name) in VOLUME_SUFFIXES for one in inside)


def _absolute(path: str) -> str:
    return path if "://" in path else os.path.abspath(path)  # noqa: PTH100  # links stay
