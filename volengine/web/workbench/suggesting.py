"""Where next: patches of the whole project of which a model is least certain, or where two models differ.

=========================  ==============================================================================
``answers/MODEL``          predictions of all tomograms by a model of the project, ``volengine segment``
``jobs/0004-suggest``      a search, ``volengine annotate suggest``; its table is ``next/suggested.star``
=========================  ==============================================================================
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError, MissingError, VolengineError
from volengine.io.names import same_tomogram
from volengine.io.picks import read_all
from volengine.tasks.annotate.suggest import TABLE
from volengine.tasks.annotate.suggest_recipe import SuggestRecipe
from volengine.tasks.collection.manifest import file_name_of
from volengine.tasks.common.named import feature_in
from volengine.web.workbench.annotating import Annotating
from volengine.web.workbench.jobs import Job, Jobs
from volengine.web.workbench.notes import text_of_list
from volengine.web.workbench.pick_pictures import PickPictures
from volengine.web.workbench.project import GATED, Project
from volengine.web.workbench.slices import Slices
from volengine.web.workbench.teaching import VOXEL_SIZES, Teaching

ANSWERS = "answers"
OUT = "next"
KINDS = ("predict", "suggest")
PROJECT = ""
"""Key of the source that is the project's own predictions; of others it is the name of a model's file."""
MOST = 1000
MOST_PICTURES = 200
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,100}")


class Suggesting:
    """What "Where next" works with.

    Parameters
    ----------
    project, annotating, jobs, teaching, slices
        The project, its annotations, jobs and models, and the reader of its slices, which knows contrasts.
    """

    def __init__(self, project: Project, annotating: Annotating, jobs: Jobs, teaching: Teaching, slices: Slices):
        self.project, self.annotating, self.jobs = project, annotating, jobs
        self.teaching, self.slices = teaching, slices
        self.folder = project.folder / ANSWERS
        self._pictures = PickPictures()

    # -- predictions -------------------------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        """Whose predictions can be looked through, the last jobs, and the patches of the last search that is done."""
        every = self.jobs.every()
        last = {kind: next((job for job in every if job.kind == kind), None) for kind in KINDS}
        done = next((job for job in every if job.kind == "suggest" and job.state == "done"), None)
        found: dict[str, Any] = {"sources": self.sources(), "patches": [], "of": None}
        found["jobs"] = [
            {"number": job.number, "title": job.title, "state": job.state, "why": job.why, "command": job.shell}
            for job in last.values()
            if job is not None
        ]
        if done is not None:
            found["of"] = {"job": done.number, "title": done.title}
            try:
                found["patches"] = self.patches(done)
            except (VolengineError, OSError) as error:  # somebody has deleted or changed it
                found["of"]["wrong"] = str(error)
        return found

    def sources(self) -> list[dict[str, Any]]:
        """Whose predictions there are: by feature the number of tomograms; models of the project without any, too."""
        own = self._files(PROJECT)
        found = [{"key": PROJECT, "features": _counts(own), "old": False}] if own else []
        for name, model in self.teaching.files().items():
            files = self._files(name)
            newest = max((Path(path).stat().st_mtime for paths in files.values() for path in paths), default=0.0)
            old = bool(files) and model.stat().st_mtime > newest
            found.append({"key": name, "features": _counts(files), "old": old})
        return found

    def _files(self, key: str) -> dict[str, list[str]]:
        """The predictions of a source by feature: absolute paths."""
        found: dict[str, list[str]] = {}
        if key == PROJECT:
            for number in range(len(self.project)):
                for feature, thing in self.project.features(number).items():
                    if not feature.endswith(GATED) and "://" not in thing.path:
                        found.setdefault(feature, []).append(os.path.abspath(thing.path))  # noqa: PTH100  # links stay
            return found
        place = self.folder / Path(key).stem
        if not place.resolve().is_relative_to(self.project.folder.resolve()):
            return {}
        for path in sorted(place.glob("[!.]*.ome.zarr")):
            feature = feature_in(file_name_of(path.name))
            if feature and not path.is_symlink():
                found.setdefault(feature, []).append(str(path))
        return found

    def predict(self, given: Mapping[str, Any]) -> Job:
        """Start the predictions of all tomograms by a ``model`` of the project, with ``sizes`` of :data:`VOXEL_SIZES`.

        Raises
        ------
        MissingError, InputError
            There is no such model, another one has answers in the same folder, or it is at work.
        """
        model, sizes = self.teaching.model(given.get("model")), given.get("sizes", "refuse")
        if sizes not in VOXEL_SIZES:
            raise InputError(f"sizes is {sizes!s:.20}; it is {', '.join(VOXEL_SIZES)}.")
        _check_plain(model.name)
        twin = next((one for one in self.teaching.files() if Path(one).stem == model.stem and one != model.name), None)
        if twin is not None:
            raise InputError(f"{model.name} and {twin} would have the same folder of answers; rename one of them.")
        self._check(self.folder / model.stem)
        sources = [self.project.source(number) for number in range(len(self.project))]
        match = VOXEL_SIZES[sizes].get("match")
        more = ["--match", str(match)] if match else ["--any-voxel-size"] if sizes == "any" else []
        arguments = ["segment", "{job}/tomograms.txt", "--models", f"models/{model.name}", *more]
        arguments += ["--out", f"{ANSWERS}/{model.stem}", "--no-progress"]
        title = f"{model.name} on {len(sources)} tomogram{'s' if len(sources) != 1 else ''}"
        return self.jobs.start("predict", title, arguments, {"tomograms.txt": text_of_list(sources)})

    def _check(self, out: Path) -> None:
        if not self.project.writable:
            raise InputError(f"{self.project.folder}: cannot be written to, so it can only be looked at.")
        if not out.resolve().is_relative_to(self.project.folder.resolve()):
            raise InputError(f"{out}: leads out of the project; nothing is written there.")
        going = next((job for job in self.jobs.every() if job.kind in KINDS and job.going), None)
        if going is not None:
            raise InputError(f"Job {going.number} ({going.title}) is at work; wait for it, or stop it.")

    # -- the search --------------------------------------------------------------------------------------------

    def start(self, given: Mapping[str, Any]) -> Job:
        """Start a search.

        Parameters
        ----------
        given
            ``source`` and ``feature``; ``other``, a second source, for where both differ; ``depth`` and ``side`` of
            patches and ``count``, as of :class:`~volengine.tasks.annotate.suggest_recipe.SuggestRecipe`.

        Raises
        ------
        MissingError, InputError
            There are no such predictions, or a number is none.
        """
        unknown = set(given) - {"source", "feature", "other", "depth", "side", "count"}
        if unknown:
            raise InputError(f"A search has no {sorted(unknown)[0]!r:.40}.")
        feature, source, other = given.get("feature"), given.get("source"), given.get("other")
        if other is not None and other == source:
            raise InputError("Choose two different models, or one alone.")
        depth, side, count = given.get("depth", 16), given.get("side", 64), given.get("count", 50)
        if other == PROJECT:  # that two differ is true of both, and only one of them can be a list
            source, other = other, source
        patch = [depth, side, side]
        recipe = SuggestRecipe.from_json({"feature": feature, "patch": patch, "count": count}, "a search")
        if recipe.count > MOST:
            raise InputError(f"count is {recipe.count}; at most {MOST} patches are listed.")
        files = {"predictions.txt": text_of_list(self._of(source, recipe.feature))}
        arguments = ["annotate", "suggest", "{job}/predictions.txt", "--feature", recipe.feature]
        if other is not None:
            self._of(other, recipe.feature)
            arguments += ["--other", f"{ANSWERS}/{Path(str(other)).stem}"]
        self._check(self.jobs.folder)
        arguments += ["--patch", ",".join(map(str, recipe.patch)), "--count", str(recipe.count)]
        if (self.project.folder / "annotations").is_dir():  # or nobody has annotated anything yet
            arguments += ["--annotations", "annotations"]
        arguments += ["--out", "{job}/" + OUT, "--no-progress"]
        names = [str(one) or "the project's predictions" for one in (source, other) if one is not None]
        title = f"Where next: {recipe.feature}, {' against '.join(names)}"
        facts = {"feature": recipe.feature, "patch": list(recipe.patch)}
        return self.jobs.start("suggest", title, arguments, files, facts)

    def _of(self, key: Any, feature: str) -> list[str]:
        """The predictions of a feature by a source."""
        if key != PROJECT:
            _check_plain(self.teaching.model(key).name)
        found = self._files(str(key)).get(feature, [])
        if not found:
            whose = f"by {key}" if key else "in the project"
            raise MissingError(f"There is no prediction of {feature or 'a feature'!s:.80} {whose}; predict first.")
        return found

    # -- what it has found -------------------------------------------------------------------------------------

    def _suggested(self, job: Job) -> tuple[str, Index3, list[tuple[int, str, list[int], float]]]:
        """The feature of a search, its patch, and by rank: tomogram, middle of the box, uncertainty."""
        feature, patch = str(job.facts.get("feature")), job.facts.get("patch")
        if not isinstance(patch, list):
            raise InputError(f"Job {job.number} is no search of this page.")
        rows = []
        for name, picks in read_all(job.folder / OUT / TABLE).items():
            weight = np.zeros(len(picks)) if picks.weight is None else picks.weight
            places = np.rint(picks.position_vox).astype(int).tolist()
            ranks = picks.extra["rank"].tolist()
            rows += [(int(r), name, at, float(w)) for r, at, w in zip(ranks, places, weight, strict=True)]
        return feature, index3(patch), sorted(rows)[:MOST]

    def patches(self, job: Job) -> list[dict[str, Any]]:
        """The patches that a search has found, the worst first.

        Returns
        -------
        list of dict
            ``rank``, ``tomogram``, ``number`` of it in the project (``None``: it is not there, or has another size),
            ``feature``, ``slice``, ``box`` (z, y, x, start and stop) of the training box that is proposed, ``weight``
            (0 to 1: mean uncertainty), and ``done``: whether a training box of the feature lies in the patch now.
        """
        feature, patch, rows = self._suggested(job)
        names = [one.name for one in self.project.tomograms]
        found = []
        boxes: dict[int, list[Box]] = {}
        for rank, name, at, weight in rows:
            known = same_tomogram(name, names)
            number = None if known is None else names.index(known)
            start = [c - n // 2 for c, n in zip(at, patch, strict=True)]
            box = Box(index3([at[0], *start[1:]]), index3([at[0] + 1, *(a + patch[2] for a in start[1:])]))
            done = False
            if number is not None:
                shape = self.project.base(number).shape
                if box.clip(shape) != box:
                    number = None
                else:
                    if number not in boxes:
                        boxes[number] = self._boxes(number, feature)
                    own = patch_of(box, patch, shape)
                    done = any(not own.intersect(one).empty for one in boxes[number])
            said = {"rank": rank, "tomogram": name, "number": number, "feature": feature, "slice": at[0]}
            found.append({**said, "box": [*box.start, *box.stop], "weight": weight, "done": done})
        return found

    def _boxes(self, number: int, feature: str) -> list[Box]:
        with self.annotating.using(number) as annotations:
            if annotations is None or feature not in annotations.features():
                return []
            return [box for _, box in annotations.boxes(feature)]

    def pictures(self, number: int, ranks: list[int]) -> NDArray[np.uint8]:
        """The boxes that a search proposes, by their ranks, as pictures (n, side, side); black where there is none.

        Raises
        ------
        InputError
            These are too many, or no search is done under this number.
        """
        if len(ranks) > MOST_PICTURES:
            raise InputError(f"There are {len(ranks)} patches; at most {MOST_PICTURES} pictures are made at once.")
        job = self.jobs.job(number)
        if job.kind != "suggest":
            raise InputError(f"Job {number} is no search.")
        _, patch, _ = self._suggested(job)
        side = min(patch[2], 160)
        out = np.zeros((len(ranks), side, side), np.uint8)
        by_rank = {one["rank"]: one for one in self.patches(job)}
        for at, rank in enumerate(ranks):
            one = by_rank.get(rank)
            if one is None or one["number"] is None:
                continue
            volume = self.project.base(one["number"])
            centre = np.array([[one["slice"], *(one["box"][a] + patch[2] // 2 for a in (1, 2))]], float)
            span = self.slices.contrast(volume)
            out[at] = self._pictures.read(volume, centre, span, axis="z", side=side, mean=1)[0]
        return out


def patch_of(box: Box, patch: Index3, shape: Index3) -> Box:
    """The patch of ``annotate suggest`` in which a box that it proposes lies.

    Patches lie side by side in the middle of a volume, so the slice says which one it is.

    >>> patch_of(Box((9, 4, 4), (10, 12, 12)), (4, 8, 8), (21, 37, 50)).start
    (8, 4, 4)
    """
    first = shape[0] % patch[0] // 2
    start = first + (box.start[0] - first) // patch[0] * patch[0]
    return Box(index3([start, *box.start[1:]]), index3([start + patch[0], *box.stop[1:]]))


def _counts(files: Mapping[str, list[str]]) -> dict[str, int]:
    return {feature: len(paths) for feature, paths in sorted(files.items())}


def _check_plain(name: str) -> None:
    if not _PLAIN.fullmatch(name):
        raise InputError(f"{name!r:.120}: rename the model: letters, digits and . _ + - are possible here.")
