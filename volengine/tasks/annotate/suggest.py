"""annotate suggest: where annotating would help most, over a whole collection; the most uncertain patches first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.boxes import Box, index3
from volengine.core.errors import InputError, MissingError
from volengine.core.paths import PathLike, PathsLike, path_text, path_texts
from volengine.core.picks import Picks
from volengine.core.volume import Volume
from volengine.engine.options import RunOptions
from volengine.engine.run import Job, run_jobs
from volengine.io.annotations.folder import ENDING
from volengine.io.names import same_tomogram
from volengine.io.open import open_volume
from volengine.io.picks import write_picks
from volengine.ops.uncertain import TOP
from volengine.tasks.annotate.store import Annotations
from volengine.tasks.annotate.suggest_plan import SuggestGiven, plan_suggest
from volengine.tasks.annotate.suggest_recipe import SuggestRecipe
from volengine.tasks.common.inputs import expand
from volengine.tasks.common.jobs import Request, Verb, jobs_of
from volengine.tasks.common.layout import file_name
from volengine.tasks.common.named import named

TABLE = "suggested.star"
RUN = "suggest.run"


@dataclass(frozen=True)
class _Case:
    """A tomogram: its predictions, and where its scores are kept."""

    given: SuggestGiven
    feature: str
    file: str


def request(given: _Case, out: str, recipe: SuggestRecipe, options: RunOptions) -> Request[Any, SuggestRecipe, str]:
    """What the plan of a tomogram is made from."""
    return Request(given.given.prediction.name, given.given, recipe, given.file)


SUGGEST = Verb("suggest", request, plan_suggest, run_name=RUN, light=True)


class Suggesting:
    """The patches of a collection that are to be annotated next.

    Parameters
    ----------
    predictions, out, recipe, options, other, annotations
        As of :func:`suggest`.
    """

    def __init__(
        self,
        predictions: PathsLike,
        out: PathLike,
        recipe: SuggestRecipe,
        options: RunOptions,
        other: PathsLike = (),
        annotations: PathsLike = (),
    ):
        self.recipe, self.options, self.out = recipe, options, path_text(out)
        if "://" in self.out:
            raise InputError(f"--out {self.out}: the table is written to a disk; give a folder.")
        mine = _by_tomogram(path_texts(predictions), recipe.feature, options)
        others = _by_tomogram(path_texts(other), recipe.feature, options) if path_texts(other) else {}
        missing = next((name for name in mine if others and name not in others), None)
        if missing is not None:
            raise MissingError(f"{missing}: there is no other prediction of this tomogram.")
        features = {feature for feature, _ in mine.values()}
        if len(features) > 1:
            raise InputError(f"There are predictions of {', '.join(sorted(features))}; choose one with --feature.")
        self.feature = features.pop()
        volumes = {name: volume for name, (_, volume) in mine.items()}
        self.boxes = _boxes(path_texts(annotations), self.feature, volumes)
        run = Path(SUGGEST.run_dir(self.out, options))
        self.cases = {
            name: _Case(
                SuggestGiven(volume, others[name][1] if others else None),
                feature,
                str(run.absolute() / "patches" / f"{file_name(name)}.npz"),
            )
            for name, (feature, volume) in mine.items()
        }

    def jobs(self) -> tuple[list[Job], str]:
        """The jobs of the run, and its folder."""
        return jobs_of(SUGGEST, self.cases, self.out, self.recipe, self.options)

    def finish(self) -> list[Picks]:
        """Rank the patches of all tomograms, and write the table; a table for each tomogram, ``rank`` counts over all.

        Raises
        ------
        MissingError
            Some tomograms have not been looked at.
        """
        rows: list[tuple[int, str, tuple[int, ...], int]] = []
        for name, case in self.cases.items():
            if not Path(case.file).is_file():
                raise MissingError(f"{name}: has not been looked at; run the same command again.")
            with np.load(case.file, allow_pickle=False) as found:
                rows += self._free(name, found)
        rows.sort(key=lambda row: (-row[0], row[1], row[2]))
        ranked = [(rank, *row) for rank, row in enumerate(rows[: self.recipe.count], 1)]
        made = []
        for name, case in self.cases.items():
            own = [row for row in ranked if row[2] == name]
            if own:
                made.append(self._picks(name, case, own))
        if not made:
            raise InputError("Nothing is uncertain there, but for what has training boxes already: nothing to suggest.")
        write_picks(str(Path(self.out) / TABLE), made)
        return made

    def _free(self, name: str, found: Mapping[str, Any]) -> list[tuple[int, str, tuple[int, ...], int]]:
        """The patches of a tomogram, the worst first, in which no training box lies."""
        kept: list[tuple[int, str, tuple[int, ...], int]] = []
        for start, at, total in zip(
            found["start"].tolist(), found["slice"].tolist(), found["total"].tolist(), strict=True
        ):
            if len(kept) >= (self.recipe.most or self.recipe.count):
                break
            stop = index3(a + n for a, n in zip(start, self.recipe.patch, strict=True))
            box = Box(index3(start), stop)
            if all(box.intersect(own).empty for own in self.boxes.get(name, [])):
                kept.append((total, name, tuple(start), at))
        return kept

    def _picks(self, name: str, case: _Case, rows: Sequence[tuple[int, int, str, tuple[int, ...], int]]) -> Picks:
        volume, (depth, side, _) = case.given.prediction, self.recipe.patch
        places = [(z + at, y + side // 2, x + side // 2) for _, _, _, (z, y, x), at in rows]
        weight = np.array([total for _, total, *_ in rows]) / (TOP * depth * side * side)
        rank = np.array([row[0] for row in rows], np.int64)
        facts = (volume.voxel_size, volume.origin, volume.shape, name, self.feature)
        return Picks(np.array(places, float), *facts, weight=weight, extra={"rank": rank})


def suggest(
    predictions: PathsLike,
    out: PathLike,
    recipe: SuggestRecipe | None = None,
    options: RunOptions | None = None,
    *,
    other: PathsLike = (),
    annotations: PathsLike = (),
) -> list[Picks]:
    """Find where annotating would help most: the patches of a collection of which a model is least certain.

    Of one prediction the binary entropy of voxels counts, of two models' predictions their difference; borders of
    objects do not (:mod:`volengine.ops.uncertain`). Patches in which a training box lies are left out.

    Parameters
    ----------
    predictions
        Predictions of one feature: files, stores, folders, globs.
    out
        Folder for ``suggested.star`` and the run folder.
    recipe, options
        What is looked for, and how to run.
    other
        Predictions of the same tomograms by another model.
    annotations
        Folders of annotations (``TS_01.annotations``), or folders that hold them.

    Returns
    -------
    list of Picks
        For each tomogram the training boxes that are suggested: the middle of each in its slice; ``weight`` is the mean
        uncertainty of its patch, 0 to 1, ``rank`` its place among all.

    Raises
    ------
    InputError
        The predictions are of several features, two are of one tomogram, annotations are of other voxels than a
        prediction, or nothing is uncertain.
    MissingError
        A tomogram has no other prediction, or a folder of annotations is not there.

    Examples
    --------
    >>> import volengine
    >>> recipe = volengine.SuggestRecipe(patch=(4, 8, 8), count=3)
    >>> found = volengine.suggest("predictions/TS_01__membrane.ome.zarr", "next", recipe)
    >>> sum(len(one) for one in found) <= 3
    True
    """
    case = Suggesting(predictions, out, SuggestRecipe.of(recipe), options or RunOptions(), other, annotations)
    jobs, run_dir = case.jobs()
    run_jobs(jobs, run_dir, case.options).check()
    return case.finish()


def _by_tomogram(paths: Sequence[str], feature: str, options: RunOptions) -> dict[str, tuple[str, Volume]]:
    found: dict[str, tuple[str, Volume]] = {}
    for path in expand(paths):
        own, volume = named(open_volume(path, identity=options.identity))
        if feature and own != feature:
            continue
        if volume.name in found:
            first, earlier = found[volume.name]
            if first != own:
                raise InputError(f"{volume.name} has predictions of {first} and {own}; choose one with --feature.")
            raise InputError(f"{earlier.where} and {volume.where} are both of {volume.name}; name one of them.")
        found[volume.name] = own, volume
    if not found:
        raise MissingError(f"There is no prediction of {feature}." if feature else "There is no prediction.")
    return found


def _boxes(folders: Sequence[str], feature: str, predictions: Mapping[str, Volume]) -> dict[str, list[Box]]:
    """The training boxes of a feature, by tomogram; boxes of tomograms without prediction are passed over.

    Raises
    ------
    MissingError
        A folder is not there.
    InputError
        Annotations are of other voxels than the prediction of their tomogram.
    """
    found: dict[str, list[Box]] = {}
    for text in folders:
        given = Path(text)
        places = [given] if given.suffix == ENDING else sorted(given.glob(f"*{ENDING}"))
        if not given.is_dir():
            raise MissingError(f"--annotations {text}: no such folder, so it says nothing of training boxes.")
        for folder in places:
            with Annotations(folder) as annotations:
                own = [box for one, box in annotations.boxes() if one.feature == feature]
                name = same_tomogram(annotations.facts.name, predictions)
                if name is None or not own:
                    continue
                shape = predictions[name].shape
                if annotations.facts.shape != shape:
                    raise InputError(
                        f"{folder} has boxes on {annotations.facts.shape} voxels, but {predictions[name].where} has "
                        f"{shape}; give a prediction of the same voxels."
                    )
                found.setdefault(name, []).extend(own)
    return found
