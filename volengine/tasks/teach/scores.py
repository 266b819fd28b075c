"""annotate score: models before and after, in one table, on the training boxes of now.

A training box is complete, so in it every voxel is known. Boxes that were in the data of a model, to train or to
validate it, are told apart from those that it has never seen: the history of a model names the label images that it was
trained on, and an export of annotations says of which version it is.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, index3
from volengine.core.csv_cells import guarded_row
from volengine.core.errors import InputError, MissingError, VolengineError
from volengine.core.model import ModelFacts
from volengine.core.paths import PathsLike, path_texts
from volengine.core.roi import roi_text
from volengine.core.text import table
from volengine.engine.on_demand import Tables
from volengine.engine.options import RunOptions
from volengine.io.annotations.folder import ENDING
from volengine.io.annotations.history import Transaction
from volengine.io.names import split_group
from volengine.io.omezarr.image import store_token
from volengine.io.open import open_volume
from volengine.nets.checkpoint import load_facts
from volengine.ops.score_masks import IGNORE, count
from volengine.tasks.annotate.store import Annotations
from volengine.tasks.common.named import open_sized
from volengine.tasks.segment.preview import preview_segment
from volengine.tasks.segment.recipe import SegmentRecipe
from volengine.tasks.teach.recipe import ModelScoresRecipe

KINDS = ("new", "data")
"""Boxes that a model has never seen; boxes that were in its data."""

Counted = dict[str, int]


@dataclass(frozen=True)
class ModelScores:
    """The table.

    Parameters
    ----------
    rows
        One for each feature and model, models in the order in which they were given: ``model``, ``feature``; ``boxes``
        and ``voxels`` that count, ``dice`` in all of them; ``new_boxes``, ``new_dice``: of boxes that the model has
        never seen; ``data_boxes``, ``data_dice``: of boxes that were in its data. These four are ``None`` where it is
        not known what the model was trained on; a Dice is ``None``, too, where neither the boxes nor the answer has
        any voxel of the feature.
    notes
        What there is to say beside the table.
    """

    rows: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        """The table as plain text, and the notes."""
        head = ["model", "feature", "boxes", "voxels", "Dice", "never seen", "Dice", "in its data", "Dice"]
        keys = ("model", "feature", "boxes", "voxels", "dice", "new_boxes", "new_dice", "data_boxes", "data_dice")
        lines = [[_shown(row[key]) for key in keys] for row in self.rows]
        return "\n\n".join([table(head, lines), *(["\n".join(self.notes)] if self.notes else [])])

    def csv(self) -> str:
        """The rows as CSV; what is not known or defined is an empty cell."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(list(self.rows[0]))
        for row in self.rows:
            writer.writerow(guarded_row(["" if value is None else value for value in row.values()]))
        return out.getvalue()

    def to_json(self) -> dict[str, Any]:
        """JSON values."""
        return {"rows": [dict(row) for row in self.rows], "notes": list(self.notes)}


def score_models(
    annotations: PathsLike,
    models: PathsLike,
    recipe: ModelScoresRecipe | None = None,
    options: RunOptions | None = None,
    say: Callable[[str], None] | None = None,
) -> ModelScores:
    """Score models on the training boxes of annotations, as they are now.

    Parameters
    ----------
    annotations
        Folders ``NAME.annotations``, or folders that hold them.
    models
        The models, for example the oldest first; each predicts the boxes with the numbers that
        :func:`volengine.segment` writes there.
    recipe
        Features, threshold, voxel sizes.
    options
        Device and memory.
    say
        Is told what is looked at.

    Returns
    -------
    ModelScores
        Dice = 2 both / (found + true), over all voxels of the boxes but those to ignore; a voxel that lies in several
        boxes counts once, and as one of the model's data if one of these boxes was in it.

    Raises
    ------
    InputError
        There is no training box of any feature that a model predicts, a model does not fit a tomogram, or two models
        or annotations are the same.
    MissingError
        A folder or model is not there.

    Examples
    --------
    >>> import volengine
    >>> with volengine.new_annotations("TS_01.mrc", "seen.annotations", features=("ribosome",)) as drawn:
    ...     _ = drawn.do({"op": "brush", "feature": "ribosome", "slice": 4, "points": [[8, 8]], "radius": 2})
    ...     _ = drawn.do({"op": "box", "feature": "ribosome", "slice": 4, "centre": [8, 8], "side": 16})
    >>> volengine.score_models(["seen.annotations"], ["ribosome.safetensors"]).rows[0]["boxes"]
    1
    """
    recipe, options = ModelScoresRecipe.of(recipe), options or RunOptions(progress=False)
    folders, files = _apart(_within(annotations), "annotations"), _apart(models, "models")
    rows: dict[tuple[str, str], dict[str, _Sum]] = {}
    known = {file: data_of(file) for file in files}
    for folder in folders:
        with Annotations(folder) as drawn:
            boxes = {
                name: drawn.boxes(name) for name in drawn.features() if not recipe.features or name in recipe.features
            }
            boxes = {name: found for name, found in boxes.items() if found}
            if not boxes:
                continue
            source = open_sized(drawn.facts.tomogram, drawn.facts.voxel_size)
            if source.shape != drawn.facts.shape:
                raise InputError(f"{folder}: is of {drawn.facts.shape} voxels, and {source.where} has {source.shape}.")
            tables: Tables = {}
            for file in files:
                features = boxes.keys() & predicted(load_facts(file))
                if features and say is not None:
                    say(f"{file} on {drawn.facts.name}")
                for group in _slabs({name: boxes[name] for name in sorted(features)}):
                    roi = _around(box for found in group.values() for _, box in found)
                    asked = SegmentRecipe(
                        models=(file,), roi=roi_text(roi), match=recipe.match, any_voxel_size=recipe.any_voxel_size,
                        invert=recipe.invert,
                    )  # fmt: skip
                    answer = preview_segment(source, asked, options, tables)
                    for name, found in group.items():
                        seen = known[file]
                        at = None if seen is None else seen.get((drawn.facts.token, name), 0)
                        labels = drawn.labels(name, roi)
                        sums = rows.setdefault((file, name), {kind: _Sum() for kind in ("all", *KINDS)})
                        _add(sums, answer[name], labels, roi, found, at, recipe.threshold)
    if not rows:
        wanted = ", ".join(recipe.features) or "a feature that these models predict"
        raise InputError(f"There is no training box of {wanted} in {', '.join(folders)[:300]}; draw some boxes first.")
    return _table(rows, files, known)


def predicted(facts: ModelFacts) -> set[str]:
    """The features of which a model writes predictions: of one whose features exclude each other not the background."""
    return {name for name in facts.features if facts.activation != "softmax" or name != "background"}


class _Sum:
    """Boxes, and counted voxels."""

    def __init__(self) -> None:
        self.boxes = 0
        self.counts: Counted = {"voxels": 0, "both": 0, "found": 0, "truth": 0}

    @property
    def dice(self) -> float | None:
        both, found, truth = (self.counts[key] for key in ("both", "found", "truth"))
        return 2 * both / (found + truth) if found + truth else None


def data_of(file: str) -> dict[tuple[str, str], int] | None:
    """What a model has seen: by token of annotations and feature the last version; ``None`` if it is not known.

    It is known if all label images of all trainings are exports of annotations that are there still, with the bytes
    that were read then. Of other data nobody can say which boxes they hold.
    """
    found: dict[tuple[str, str], int] = {}
    trainings = load_facts(file).history
    for training in trainings:
        recipe, data = (training.get(key) for key in ("recipe", "data"))
        samples = recipe.get("samples") if isinstance(recipe, Mapping) else None
        if not isinstance(samples, list) or not isinstance(data, Mapping):
            return None
        for sample in samples:
            names = sample.get("labels") if isinstance(sample, Mapping) else None
            for name in names or [""]:
                url, group = split_group(str(name))
                try:
                    token = store_token(url, group)
                    volume = open_volume(url, group=group, identity="content")
                except (VolengineError, OSError):
                    return None
                version = volume.facts.get("version")
                if volume.identity != data.get(name) or not token or not isinstance(version, int):
                    return None
                key = token.rpartition("-")[0], str(volume.facts.get("feature"))
                found[key] = max(found.get(key, 0), version)
    return found if trainings else None


def _within(given: PathsLike) -> Iterator[str]:
    for text in path_texts(given):
        place = Path(text)
        if place.suffix != ENDING and not place.is_dir():
            raise MissingError(f"{text}: no such folder of annotations.")
        yield from [text] if place.suffix == ENDING else map(str, sorted(place.glob(f"*{ENDING}")))


def _apart(given: PathsLike, what: str) -> list[str]:
    found = path_texts(given)
    if not found:
        raise InputError(f"Give {what}.")
    twice = next((one for one in found if found.count(one) > 1), None)
    if twice is not None:
        raise InputError(f"{twice} is given twice.")
    return found


def _slabs(
    boxes: Mapping[str, Sequence[tuple[Transaction, Box]]],
) -> Iterator[dict[str, list[tuple[Transaction, Box]]]]:
    """The boxes of each range of slices together: one prediction serves them all."""
    groups: dict[tuple[int, int], dict[str, list[tuple[Transaction, Box]]]] = {}
    for name, found in boxes.items():
        for one, box in found:
            groups.setdefault((box.start[0], box.stop[0]), {}).setdefault(name, []).append((one, box))
    yield from (groups[key] for key in sorted(groups))


def _around(boxes: Iterable[Box]) -> Box:
    found = list(boxes)
    start = index3(min(box.start[axis] for box in found) for axis in range(3))
    return Box(start, index3(max(box.stop[axis] for box in found) for axis in range(3)))


def _add(
    sums: Mapping[str, _Sum],
    answer: NDArray[Any],
    labels: NDArray[np.uint8],
    roi: Box,
    boxes: Sequence[tuple[Transaction, Box]],
    at: int | None,
    threshold: float,
) -> None:
    """Count a part of a tomogram; ``at`` is the version that the model has seen, if it is known."""
    within = {kind: np.zeros(labels.shape, bool) for kind in KINDS}
    for one, box in boxes:
        kind = "data" if at is not None and one.version <= at else "new"
        within[kind][box.slices_in(roi)] = True
        for key in ("all", kind):
            sums[key].boxes += 1
    within["new"] &= ~within["data"]
    for kind, inside in {"all": within["new"] | within["data"], **within}.items():
        counts = count(answer, np.where(inside, labels, IGNORE).astype(np.uint8), threshold)
        for key in sums[kind].counts:
            sums[kind].counts[key] += int(counts[key])


def _table(
    rows: Mapping[tuple[str, str], Mapping[str, _Sum]],
    files: Sequence[str],
    known: Mapping[str, Any],
) -> ModelScores:
    made = []
    for file, name in sorted(rows, key=lambda one: (one[1], files.index(one[0]))):
        sums = rows[file, name]
        row: dict[str, Any] = {"model": file, "feature": name, "boxes": sums["all"].boxes}
        row |= {"voxels": sums["all"].counts["voxels"], "dice": sums["all"].dice}
        for kind in KINDS:
            told = known[file] is not None
            row |= {
                f"{kind}_boxes": sums[kind].boxes if told else None,
                f"{kind}_dice": sums[kind].dice if told else None,
            }
        made.append(row)
    notes = [
        f"{file}: its data are not known, or not there any more; it may have seen any of these boxes."
        for file in files
        if known[file] is None and any(one == file for one, _ in rows)
    ]
    notes += [f"{file}: no box of a feature that it predicts." for file in files if all(one != file for one, _ in rows)]
    return ModelScores(tuple(made), tuple(notes))


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
