"""verify: list what is missing, damaged or foreign in runs, stores and collections, and make it again.

>>> found = verify("TS_01.ome.zarr", deep=True)
>>> bool(found), found.images, found.text().rsplit(": ")[-1]
(True, 1, 'everything is as it was written.')
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from volengine.core.errors import VolengineError
from volengine.core.paths import PathsLike, path_texts
from volengine.engine.kernels import plugin_functions
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.engine.problems import MISSING, Problem
from volengine.engine.progress import Progress
from volengine.engine.resume import check_inputs
from volengine.engine.run import Job, run_jobs
from volengine.engine.verify import check_plan, plan_of, withdraw
from volengine.io.omezarr import image as omezarr
from volengine.io.omezarr.manifest import NAME as MANIFEST
from volengine.io.omezarr.manifest import compare, deep_check, read_manifest
from volengine.io.omezarr.ngff import parse_multiscale
from volengine.io.omezarr.nodes import read_node
from volengine.io.stores import local_path
from volengine.tasks.verify.places import Places, images_in, is_headless, places_in, run_of

OF_FOREIGN = "belongs to nothing that was written here; another program has put it there (remove it if it is not yours)"

OF_HEADLESS = (
    "has lost its metadata (zarr.json, or .zattrs), which name its levels; run the command that has made it again, or "
    "copy it again"
)


@dataclass(frozen=True)
class Verification:
    """The result of :func:`verify`; it is true if nothing is wrong (any more).

    Parameters
    ----------
    checked
        Paths of the run folders and stores.
    images
        Number of images that were looked at, those of the runs included.
    problems
        What is wrong.
    repaired
        What was wrong and was made again.
    deep
        Whether everything was read.
    """

    checked: tuple[str, ...]
    problems: tuple[Problem, ...] = ()
    repaired: tuple[Problem, ...] = ()
    deep: bool = False
    images: int = 0

    def __bool__(self) -> bool:
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values, and the number of problems of each kind."""
        return {**asdict(self), "ok": bool(self), "counts": dict(Counter(p.kind for p in self.problems))}

    def text(self) -> str:
        """Return a line for each problem, and a summary."""
        lines = [f"{problem.kind}: {problem}" for problem in self.problems]
        lines += [f"made again: {problem.where}" for problem in self.repaired]
        what = self.checked[0] if len(self.checked) == 1 else f"{len(self.checked)} stores and runs"
        what += f" ({self.images} image{'' if self.images == 1 else 's'})"
        if self.problems:
            counts = ", ".join(f"{n} {kind}" for kind, n in Counter(p.kind for p in self.problems).items())
            lines.append(f"Verified {what}: {counts}.")
        else:
            depth = "" if self.deep else " (names and sizes; --deep reads every chunk)"
            lines.append(f"Verified {what}: everything is as it was written{depth}.")
        return "\n".join(lines)


def verify(
    paths: PathsLike,
    *,
    deep: bool = False,
    repair: bool = False,
    options: RunOptions | None = None,
    plugins: Sequence[str] = (),
) -> Verification:
    """Check that what runs have written is still there and unchanged.

    Parameters
    ----------
    paths
        Run folders, OME-Zarr stores (also URLs), and folders of them, which are searched.
    deep
        Read every object, and compare its checksum, or decode its chunks if there is none. Otherwise the names and
        sizes of all objects are compared, which needs a listing only.
    repair
        Make again what a run can make: a run folder is given, or lies within three folders above the store.
    options
        Where ``repair`` runs; its ``progress`` also applies to reading.
    plugins
        Installed packages whose kernels ``repair`` may run, because a plan that is read from a run folder names them.

    Returns
    -------
    Verification

    Raises
    ------
    MissingError, InputError
        A path does not exist, or holds nothing that can be verified.
    """
    options = options or RunOptions()
    places = places_in(tuple(path_texts(paths)))
    checked = (*(str(run.path) for run in places.runs), *places.stores)
    with _Reading(options.progress and deep) as reading:
        runs = {folder: _of_run(folder, deep, reading) for run in places.runs for folder in run.plans()}
        stores = {image: _of_image(*image, deep, reading) for image in _images(places)}
    images = len({_place(where) for where in (*map("/".join, stores), *_images_of(runs))})
    before = _each_once([*runs.values(), *stores.values()])
    if not repair or not before:
        return Verification(checked, before, deep=deep, images=images)
    folders = {folder.path: folder for folder, problems in runs.items() if problems}
    wrong = {folder.path: list(problems) for folder, problems in runs.items()}
    for image, problems in stores.items():
        folder = _maker(*image) if problems else None
        if folder is not None:
            folders[folder.path] = folder
            wrong[folder.path] = [*wrong.get(folder.path, []), *problems]
    again = list(_again(list(folders.values()), options, plugin_functions(plugins)))
    stayed = {_place(problem.where) for folder, _ in again for problem in wrong[folder.path]}
    failed = [Problem(str(folder.path), "unfinished", f"cannot be made again: {why}") for folder, why in again]
    with _Reading(options.progress and deep) as reading:
        after = [_of_run(folder, deep, reading) for folder in runs]
        after += [_of_image(*image, deep, reading) for image in stores]
    left = _each_once([failed, *after])
    still = {q.where for q in left}
    repaired = tuple(p for p in before if p.where not in still and _place(p.where) not in stayed)
    return Verification(checked, left, repaired, deep, images)


class _Reading:
    """A progress bar over the objects that are read, for any number of arrays."""

    def __init__(self, show: bool):
        self._bar = Progress(0, 0, show=show)
        self._total = 0

    def __call__(self, done: int, total: int) -> None:
        if done == 1:
            self._bar.grow(total, 0)
        self._bar.step("reading objects")

    def __enter__(self) -> _Reading:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


def _images(places: Places) -> Iterator[tuple[str, str]]:
    for url in places.stores:
        try:
            groups = [""] if is_headless(url) else images_in(url)
        except (VolengineError, OSError):  # what is wrong is said when the image is looked at
            groups = [""]
        for group in groups:
            yield url, group


def _images_of(runs: Iterable[PlanFolder]) -> Iterator[str]:
    """Where the images are that plans have written."""
    for folder in runs:
        with contextlib.suppress(VolengineError, OSError):  # it is among the problems
            yield from (f"{spec.url}/{spec.group}" for spec in plan_of(folder).images if not spec.scratch)


def _of_run(folder: PlanFolder, deep: bool, reading: _Reading) -> list[Problem]:
    try:
        return check_plan(folder, deep=deep, progress=reading)
    except (VolengineError, OSError) as error:
        return [Problem(str(folder.path), "damaged", f"cannot be read: {error}")]


def _of_image(url: str, group: str, deep: bool, reading: _Reading) -> list[Problem]:
    """Compare an image with the manifests of its arrays; one of other programs has none and is only read."""
    where = "/".join(filter(None, (url, group)))
    try:
        if not group and is_headless(url):
            return [Problem(where, "damaged", OF_HEADLESS)]
        if not omezarr.is_complete(url, group):
            return [Problem(where, "unfinished", "is not complete; the command that started it goes on from there")]
        images_in(url)  # the metadata of levels, too
        problems = [p for path in _arrays(url, group) for p in _of_array(url, path, deep, reading)]
        return [*_lost_manifests(url, group), *problems]
    except (VolengineError, OSError) as error:
        return [Problem(where, "damaged", f"cannot be read: {error}")]


def _maker(url: str, group: str) -> PlanFolder | None:
    try:
        return run_of(url, group)
    except (VolengineError, OSError):  # its metadata do not say who has made it
        return None


def _arrays(url: str, group: str) -> list[str]:
    node = read_node(url, group)
    if node is None or node.kind == "array":
        return [group]
    image = parse_multiscale(node.attributes, url)
    paths = [] if image is None else [dataset.path.strip("/") for dataset in image.datasets]
    return ["/".join(filter(None, (group, path))) for path in paths]


def _lost_manifests(url: str, group: str) -> list[Problem]:
    """The manifests that an image says it has, and that are not there; older ones do not say it."""
    node = read_node(url, group)
    if node is None or not node.ours.get("manifests"):
        return []
    places = {path: "/".join(filter(None, (url, path, MANIFEST))) for path in _arrays(url, group)}
    return [Problem(place, "missing", MISSING) for path, place in places.items() if read_manifest(url, path) is None]


def _of_array(url: str, path: str, deep: bool, reading: _Reading) -> Iterator[Problem]:
    base = "/".join(filter(None, (url, path)))
    if deep:
        found = deep_check(url, path, reading)
        for key, why in found.damaged.items():
            yield Problem(f"{base}/{key}", "damaged", f"is damaged: {why}")
        missing, foreign = found.missing, found.foreign
    elif read_manifest(url, path) is None:
        return
    else:
        listed = compare(url, path)
        for key in listed.damaged:
            yield Problem(f"{base}/{key}", "damaged", "has another size than it was written with")
        missing, foreign = listed.missing, listed.foreign
    for key in missing:
        yield Problem(f"{base}/{key}", "missing", MISSING)
    for key in foreign:
        yield Problem(f"{base}/{key}", "foreign", OF_FOREIGN)


def _each_once(lists: list[list[Problem]]) -> tuple[Problem, ...]:
    """Join lists of problems; of one place, which a run and its store both know, the first is kept.

    They may name it by different paths: the store was found through a link, and the run did not write through it.
    """
    found: dict[str, Problem] = {}
    for problems in lists:
        for problem in problems:
            found.setdefault(_place(problem.where), problem)
    return tuple(found.values())


def _place(where: str) -> str:
    local = local_path(where)
    return where if local is None else os.path.realpath(local)


def _again(folders: list[PlanFolder], options: RunOptions, also: Collection[str]) -> Iterator[tuple[PlanFolder, str]]:
    """Make again what plans have lost; yield those that failed, and why."""
    runs: dict[str, list[PlanFolder]] = {}
    for folder in folders:
        runs.setdefault(str(folder.path.parent.parent), []).append(folder)
    for run_dir, plans in runs.items():
        jobs = [Job(folder.path.name, _job(folder, also)) for folder in plans]
        try:
            report = run_jobs(jobs, run_dir, options)
        except (VolengineError, OSError) as error:
            yield from ((folder, str(error)) for folder in plans)
            continue
        yield from ((f, str(report.failures[f.path.name])) for f in plans if f.path.name in report.failures)


def _job(folder: PlanFolder, also: Collection[str]) -> Callable[[], Plan]:
    def plan() -> Plan:
        found = plan_of(folder, also)  # refused before anything is withdrawn
        check_inputs(found, folder)  # what cannot be made again stays as it is: most of it is good
        withdraw(folder)
        return found

    return plan
