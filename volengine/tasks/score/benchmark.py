"""MemBrain's benchmark: Dice and Surface-Dice of many patches, for each data set: means, and from pooled counts.

The rules are those of membrain-seg's ``benchmark`` (Lamm et al., MemBrain v2, bioRxiv 2024.01.05.574336; functions
``compute_stats``, ``masked_dice`` and ``masked_surface_dice``): a folder of predictions, one of labels (0, 1, and 2 for
voxels that do not count) with the same names; the text before the first ``_`` is the data set (*token*); skeletons are
those of the whole masks, without the voxels that do not count; 1e-6 is added to denominators, also of the Dice, so that
a patch in which there is nothing and nothing was found has the score 0. On purpose different: the skeletons (see
:mod:`volengine.ops.skeleton`), labels without a prediction are refused and not skipped, and there is a row of all.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box
from volengine.core.csv_cells import guarded_row
from volengine.core.errors import FormatError, InputError, MissingError, RunError, VolengineError
from volengine.core.paths import PathLike, path_text
from volengine.core.text import counted, table
from volengine.core.units import format_bytes
from volengine.core.volume import Volume
from volengine.engine.memory import machine_memory
from volengine.io.names import is_copied_first, suffix_of
from volengine.io.open import open_source, unpack
from volengine.ops.score_masks import (
    EPSILON,
    FEATURE,
    Counts,
    checked_numbers,
    count,
    count_skeletons,
    labels_of,
    mask_of,
)
from volengine.ops.skeleton import slice_skeleton, surface_skeleton
from volengine.ops.stored import as_prediction, checked_span, is_mask, span
from volengine.ops.stored_labels import check_no_labels, runs_and_ramps, values_there
from volengine.tasks.common.inputs import expand, without_uncertainty
from volengine.tasks.common.named import open_sized
from volengine.tasks.common.readings import is_ours
from volengine.tasks.score.recipe import ScoreRecipe
from volengine.tasks.score.table import checked_table, own_files

HEAD = ("Dataset", "Surface Dice", "Global Surface Dice", "Dice", "Global Dice")
"""Columns of the table, as membrain-seg writes them."""

TOGETHER = {
    **dict.fromkeys(("atty", "benedikt", "rory", "virly"), "collaborators"),
    **dict.fromkeys(("cts", "polnet"), "synthetic"),
}
"""Tokens of MemBrain's own test set that it reports together."""

ALL = "all"
"""Name of the row of all patches."""

NEEDED = 120
"""Bytes for each voxel of a patch, about; patches are scored whole."""

TAKEN = ("threshold", "prediction_kind", "scale", "skeleton", "voxel_size")
"""Fields of the recipe that say something about patches."""

REVERSED = 0.1
"""By how much the Dice must be higher with reversed axes for the axes to be doubted."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Benchmark:
    """Scores of patches.

    Parameters
    ----------
    rows
        For each data set, in the order of the names of the patches, and for all: the columns of :data:`HEAD`.
    patches
        For each patch its ``patch``, ``dataset``, ``dice``, ``surface_dice``, and the counts.
    notes
        Sentences for the user.
    failures
        Patches that could not be scored, and why; they are in no row.
    """

    rows: tuple[Row, ...]
    patches: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    failures: tuple[str, ...] = ()

    def check(self) -> Benchmark:
        """Return the scores; raises :class:`RunError` if a patch could not be scored."""
        if self.failures:
            every = len(self.failures) + len(self.patches)
            raise RunError(
                f"{len(self.failures)} of {counted(every, 'patch/patches')} could not be scored; the rows are those of "
                "the others:\n" + "\n".join(self.failures)
            )
        return self

    def text(self) -> str:
        """The table as plain text, and the notes."""
        lines = [
            [row["Dataset"], *(f"{row[name]:.4f}" for name in self.rows[0] if name != "Dataset")] for row in self.rows
        ]
        return "\n\n".join([table(list(self.rows[0]), lines), *(["\n".join(self.notes)] * bool(self.notes))])

    def write(self, out: PathLike, *, overwrite: bool = False) -> None:
        """Write the rows to ``out`` (.csv); beside it the patches as ``.patches.csv``, and both as ``.json``.

        Raises
        ------
        InputError
            A file is there that is not as an earlier call has written it, and is not to be overwritten.
        """
        own, names = own_files(path_text(out), overwrite), _names(path_text(out))
        own.begin(names)
        for name, rows in zip(names, (self.rows, self.patches), strict=True):
            own.write(name, _csv(rows))
        notes = {"notes": list(self.notes)} if self.notes else {}
        own.finish({"kind": "patches", "rows": list(self.rows), "patches": list(self.patches), **notes})


def _names(out: str) -> list[str]:
    path = Path(out)
    return [path.name, path.with_suffix(".patches.csv").name]


def score_patches(
    prediction: PathLike,
    truth: PathLike,
    recipe: ScoreRecipe | Mapping[str, Any] | None = None,
    *,
    out: PathLike | None = None,
    overwrite: bool = False,
) -> Benchmark:
    """Score a folder of predicted patches against a folder of labels, as membrain-seg's benchmark does.

    As :func:`scored_patches`, but a patch that cannot be scored is an error, after the others are scored and written.

    Examples
    --------
    >>> found = score_patches("predictions/", "labelsTest/", out="benchmark.csv")                # doctest: +SKIP
    """
    return scored_patches(prediction, truth, recipe, out=out, overwrite=overwrite).check()


def scored_patches(
    prediction: PathLike,
    truth: PathLike,
    recipe: ScoreRecipe | Mapping[str, Any] | None = None,
    *,
    out: PathLike | None = None,
    overwrite: bool = False,
) -> Benchmark:
    """Score a folder of predicted patches against a folder of labels, as membrain-seg's benchmark does.

    Parameters
    ----------
    prediction
        Folder, glob or list of predictions: masks, or probabilities.
    truth
        The labels, with the same names but for the endings: 0, 1, and 2 where voxels do not count.
    recipe
        ``threshold``, ``prediction_kind``, ``scale`` and ``skeleton``; other fields are not for patches.
    out
        A ``.csv`` file for the rows; the scores of each patch are written beside it (``.patches.csv``), and all as
        ``.json``.
    overwrite
        Replace files at ``out`` that no earlier call has written, or that were changed since.

    Returns
    -------
    Benchmark
        Means over the patches of each data set, and *global* scores, of their counts together. A patch that is damaged,
        or does not fit its labels, is left out; ``failures`` says which, and ``check()`` makes it an error.

    Raises
    ------
    MissingError
        A folder holds no volumes, or labels have no prediction.
    InputError
        Two files have one name, the recipe has other fields, or no patch can be scored: shapes differ, values are
        neither labels nor probabilities, or a patch is too large for the memory; or a file at ``out`` is not as an
        earlier call has written it.
    """
    recipe = ScoreRecipe.of(recipe)
    default = ScoreRecipe()
    odd = [
        f.name for f in fields(recipe) if getattr(recipe, f.name) != getattr(default, f.name) and f.name not in TAKEN
    ]
    if odd:
        raise InputError(f"{', '.join(odd)}: not for patches, which are whole, and hold one feature; leave it out.")
    table_file = None if out is None else checked_table(path_text(out))
    if table_file is not None:
        own_files(table_file, overwrite).check(_names(table_file))
    pairs, notes = _pairs(path_text(prediction), path_text(truth))
    patches: list[Row] = []
    failed: list[VolengineError] = []
    for name, found, labels in pairs:
        try:
            patches.append(_scored(name, found, labels, recipe, notes))
        except VolengineError as error:
            failed.append(error)
        except OSError as error:
            failed.append(FormatError(f"{name}: cannot be read ({error.strerror or error})."))
    if failed and not patches:
        raise failed[0]
    notes += _ignored(patches)
    made = Benchmark(tuple(_rows(patches)), tuple(patches), tuple(notes), tuple(map(str, failed)))
    if table_file is not None:
        made.write(table_file, overwrite=overwrite)
    return made


def _ignored(patches: Sequence[Row]) -> list[str]:
    """Say how many voxels do not count, because the labels ignore them."""
    left = sum(row["ignored"] for row in patches)
    if not left:
        return []
    every = left + sum(row["voxels"] for row in patches)
    return [f"{left / every:.1%} of the voxels ({left} of {every}) do not count: the labels say to ignore them (2)."]


def _pairs(prediction: str, truth: str) -> tuple[list[tuple[str, str, str]], list[str]]:
    """Name, prediction and labels of each patch, sorted by name, and what there is to say."""
    found, known = _by_name(prediction), _by_name(truth)
    missing = [name for name in known if name not in found]
    if missing:
        raise MissingError(
            f"{prediction}: {len(missing)} of {len(known)} labels have no prediction of the same name, for example "
            f"{missing[0]!r}; there are {', '.join(list(found)[:4])} ..."
        )
    more = [name for name in found if name not in known]
    said = counted(len(more), "prediction", "has no labels and was", "have no labels and were")
    notes = [f"{said} left out, for example {one!r}." for one in more[:1]]
    return [(name, found[name], known[name]) for name in sorted(known)], notes


def _by_name(where: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in without_uncertainty(expand([where])):
        name = re.sub(r"(\.ome)?\.[^.]+$", "", PurePosixPath(path.rstrip("/")).name.removesuffix(".gz"))
        if name in found:
            raise InputError(f"{found[name]} and {path} both are patch {name!r}; leave one of them out.")
        found[name] = path
    return found


def _scored(name: str, found: str, labels: str, recipe: ScoreRecipe, notes: list[str]) -> Row:
    """The scores and counts of one patch."""
    volume, known = (open_sized(path, recipe.voxel_size or 1.0) for path in (found, labels))  # skeletons are in voxels
    if volume.shape != known.shape:
        raise InputError(f"{found} has the shape {volume.shape}, {labels} {known.shape}; they must be on one grid.")
    if volume.size * NEEDED > machine_memory() / 2:
        raise InputError(
            f"{found}: a patch of {volume.shape} voxels needs {format_bytes(volume.size * NEEDED)} of memory, because "
            "patches are scored whole; score it alone: volengine score."
        )
    mask = _mask(volume, found, recipe)
    truth = labels_of(_whole(known), labels)
    counts = count(mask, truth, None)
    if recipe.skeleton != "none":
        thin = surface_skeleton if recipe.skeleton == "3d" else slice_skeleton
        counts |= count_skeletons(mask, thin(mask), truth, thin(truth == FEATURE))
    counts.pop("entropy")
    scores = _scores(counts)
    if len(set(mask.shape)) < 3:
        turned = mask.transpose(2, 1, 0)
        if turned.shape == mask.shape and _scores(count(turned, truth, None))["Dice"] > scores["Dice"] + REVERSED:
            notes.append(
                f"{name}: the Dice is higher by more than {REVERSED} if the axes of the prediction are reversed; was "
                "it written by a program that turns MRC or NIfTI?"
            )
    counts["ignored"] = mask.size - counts["voxels"]
    return {"patch": name, "dataset": token_of(name), **scores, **counts}


def _mask(volume: Volume, where: str, recipe: ScoreRecipe) -> NDArray[np.bool_]:
    """The voxels of a prediction that are found."""
    box = Box.of_shape(volume.shape)
    values = _whole(volume)
    if recipe.prediction_kind == "labels" or (recipe.prediction_kind == "auto" and volume.kind == "labels"):
        return mask_of(checked_numbers(values, where), None)
    whole = values.dtype.kind in "uib" and recipe.scale is None
    low, high = span(values) if whole else (0, 0)
    mask = is_mask(low, high, where) if whole else False  # which refuses what is no prediction
    if whole and not mask and recipe.prediction_kind == "auto" and volume.kind != "probability":
        runs, ramps = runs_and_ramps(values, 0, values.shape[2]).tolist()
        check_no_labels(values_there(values), runs, ramps, where, "score")
    only = recipe.prediction_kind == "auto" and not is_ours(volume)
    prediction = as_prediction(values, mask=mask and only, scale=recipe.scale)
    checked_span(prediction, box, where, recipe.scale)
    return mask_of(prediction, recipe.threshold)


def _whole(volume: Volume) -> NDArray[Any]:
    """All voxels of a volume; MemBrain's labels are compressed NIfTI, which is unpacked first."""
    box = Box.of_shape(volume.shape)
    if not is_copied_first(volume.url):
        return open_source(volume).read(box)
    with TemporaryDirectory() as folder:
        target = str(Path(folder) / f"unpacked{suffix_of(volume.url)}")
        unpack(volume.url, target)
        return open_source(volume.with_(url=target, snapshot={})).read(box).copy()  # which may be mapped


def token_of(name: str) -> str:
    """Name of the data set of a patch.

    >>> token_of("chlamy_12_x"), token_of("polnet_3"), token_of("alone")
    ('chlamy', 'synthetic', 'alone')
    """
    token = name.partition("_")[0]
    return TOGETHER.get(token, token)


def _rows(patches: Sequence[Row]) -> Iterator[Row]:
    for dataset in [*dict.fromkeys(row["dataset"] for row in patches), ALL]:
        mine = [row for row in patches if dataset in (row["dataset"], ALL)]
        keys = [key for key in mine[0] if isinstance(mine[0][key], int)]
        pooled = _scores({key: sum(row[key] for row in mine) for key in keys})
        row: Row = {"Dataset": dataset}
        for key in pooled:
            row |= {key: math.fsum(row[key] for row in mine) / len(mine), f"Global {key}": pooled[key]}
        yield row


def _scores(counts: Counts) -> dict[str, float]:
    """Scores of counts as membrain-seg computes them: 0 where nothing is."""
    shares = [(("skeleton_in", "skeleton"), ("truth_in", "truth_skeleton")), (("both", "found"), ("both", "truth"))]
    out = {}
    for name, pair in zip(("Surface Dice", "Dice"), shares, strict=True):
        if pair[0][1] in counts:
            precision, recall = (counts[part] / (counts[whole] + EPSILON) for part, whole in pair)
            out[name] = 2 * precision * recall / (precision + recall + EPSILON)
    return out


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(guarded_row(line) for line in [list(rows[0]), *(list(row.values()) for row in rows)])
    return text.getvalue()
