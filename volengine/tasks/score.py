"""score: predictions against labels, picks against known positions.

Volumes are read block by block; a score is made of whole numbers that are added up, so it is the same for every block
shape, number of workers and order. Skeletons (for Surface-Dice) are local too: a block is read with as much around it
as the thickness of its mask needs.

>>> scores = score("TS_01__membrane.ome.zarr", "TS_01_membrane.mrc", out="scores.csv")         # doctest: +SKIP
>>> scores["membrane"]["surface_dice"]                                                         # doctest: +SKIP
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from volengine.core.block import Block, Result
from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError, WiderHaloError
from volengine.core.paths import PathLike, PathsByFeature, path_text_or_none, paths_by_feature
from volengine.core.recipe import Recipe
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.memory import choose_core
from volengine.engine.options import RunOptions
from volengine.engine.plan import Call, Plan
from volengine.engine.run import Job, run_plan
from volengine.engine.stage import ArrayInput, Stage
from volengine.ops.score_masks import (
    COUNTS,
    FEATURE,
    confusion,
    count,
    count_skeletons,
    labels_of,
    labels_of_ids,
    mask_of,
    scores,
)
from volengine.tasks.layout import run_dir_for
from volengine.tasks.score_inputs import Case, Where
from volengine.tasks.score_picks import is_picks, score_picks
from volengine.tasks.score_table import BACKGROUND, Scores, read_scores

FIRST_MARGIN_VOX = 12
"""Voxels read around a block beyond what the skeleton's filters need; thicker masks are read again with more."""

LARGEST_BLOCK = 2**22
"""Voxels per block: about 160 a side, which with the halo of the skeletons becomes 210."""

UNCHUNKED = (64, 64, 64)
_MODULE = "volengine.tasks.score"


@dataclass(frozen=True)
class ScoreRecipe(Recipe):
    """What is compared, and how.

    Parameters
    ----------
    features
        Features to score, and their names; default: those of the predictions.
    threshold
        Voxels of a probability above this are found, from 0 to below 1.
    prediction_kind
        probability (integers: 255 is 1.0), or labels: what is not 0 is found; auto: labels where the store says so.
    prediction_ids
        With one prediction that holds class ids: feature k is found where it equals prediction_ids[k].
    ids
        With one truth volume that holds class ids: feature k is where it equals ids[k].
    ignore_id
        With ids: voxels of the truth that equal this do not count.
    instances
        The truth numbers its objects: everything that is not 0 is the feature.
    skeleton
        For Surface-Dice: 3d (ridge of the distance to the background), 2d (each z slice thinned), or none.
    region
        Score only this part of the volume: z0, y0, x0, z1, y1, x1 in voxels; -1 stands for the end.
    radius_nm
        Picks: a pick is right if it lies this close to a known position that no other pick claims.
    voxel_size
        Angstrom, for tables of picks and files that do not say it.
    """

    features: tuple[str, ...] = ()
    threshold: float = 0.5
    prediction_kind: Literal["auto", "probability", "labels"] = "auto"
    prediction_ids: tuple[int, ...] = ()
    ids: tuple[int, ...] = ()
    ignore_id: int | None = None
    instances: bool = False
    skeleton: Literal["3d", "2d", "none"] = "3d"
    region: tuple[int, int, int, int, int, int] | None = None
    radius_nm: float = 10.0
    voxel_size: float | None = None

    def check(self) -> None:
        if not 0 <= self.threshold < 1:
            raise InputError(f"--threshold is a probability from 0 to below 1, not {self.threshold}.")
        if not 0 < self.radius_nm < math.inf:
            raise InputError(f"--radius-nm must be positive, not {self.radius_nm}.")
        if self.voxel_size is not None and not 0 < self.voxel_size < math.inf:
            raise InputError(f"--voxel-size must be positive, not {self.voxel_size}.")
        if len(set(self.features)) < len(self.features):
            raise InputError(f"--features names one twice: {', '.join(self.features)}.")
        for name in ("ids", "prediction_ids"):
            ids = getattr(self, name)
            if ids and len(ids) != len(self.features):
                raise InputError(
                    f"--{name.replace('_', '-')} has {len(ids)} values for {len(self.features)} --features; give one "
                    "name for each id."
                )
        if self.ignore_id is not None and (not self.ids or self.ignore_id in self.ids):
            raise InputError(f"--ignore-id {self.ignore_id} needs --ids that do not contain it: {self.ids}.")
        if self.instances and self.ids:
            raise InputError("Give either --ids (class ids) or --instances (numbered objects).")


def score(
    prediction: PathsByFeature,
    truth: PathsByFeature,
    recipe: ScoreRecipe | None = None,
    options: RunOptions | None = None,
    *,
    out: PathLike | None = None,
) -> Scores:
    """Score a prediction (or picks) against what is known.

    Parameters
    ----------
    prediction, truth
        Paths of volumes: a file or store, ``store.ome.zarr#labels/core``, a folder or glob of volumes of one tomogram
        named ``TOMOGRAM__FEATURE``, for the truth also a store with several labels. Or of tables of picks: a file, or a
        folder of tables named ``TOMOGRAM__FEATURE``. Or a path for each feature.
    recipe, options
        What is compared, and how to run.
    out
        A ``.csv`` to write; beside it the same as ``.json``, and ``.confusion.csv``.

    Returns
    -------
    Scores
        ``scores["membrane"]["dice"]``; ``rows``, ``confusion``, ``text()``, ``to_json()``.

    Raises
    ------
    InputError
        Volumes on different grids, a feature without truth, values that are neither labels nor probabilities.
    """
    prediction, truth, out = paths_by_feature(prediction), paths_by_feature(truth), path_text_or_none(out)
    recipe, options = recipe or ScoreRecipe(), options or RunOptions()
    _check_out(out)
    if is_picks(prediction):
        found = score_picks(prediction, truth, recipe.features, recipe.radius_nm, recipe.voxel_size)
        if out is not None:
            found.write(out)
        return found
    if out is not None:
        _run(prediction, truth, recipe, out, options)
        return read_scores(out)
    with tempfile.TemporaryDirectory() as folder:
        table = str(Path(folder) / "scores.csv")
        _run(prediction, truth, recipe, table, options)
        return read_scores(table)


def _run(prediction: Where, truth: Where, recipe: ScoreRecipe, out: str, options: RunOptions) -> None:
    run_plan(plan_score(_find(prediction, truth, recipe), recipe, out, options), run_folder(out, options), options)


def run_folder(out: str, options: RunOptions) -> str:
    """The run folder of a score that is written to ``out``."""
    return options.run_dir or run_dir_for(out)


def score_job(prediction: Where, truth: Where, recipe: ScoreRecipe, out: str, options: RunOptions) -> Job:
    """The same as a job for :func:`volengine.engine.run.run_jobs`."""
    _check_out(out)
    return Job("score", lambda: plan_score(_find(prediction, truth, recipe), recipe, out, options))


def _check_out(out: str | None) -> None:
    if out is not None and not out.endswith(".csv"):
        raise InputError(f"--out {out}: the table of scores ends with .csv.")


def _find(prediction: Where, truth: Where, recipe: ScoreRecipe) -> Case:
    return Case.find(
        prediction,
        truth,
        recipe.features,
        shared_prediction=bool(recipe.prediction_ids),
        shared_truth=bool(recipe.ids),
        voxel_size=recipe.voxel_size,
    )


def plan_score(case: Case, recipe: ScoreRecipe, out: str, options: RunOptions) -> Plan:
    """One stage that counts, and a call that adds up and writes ``out``."""
    shape = case.first.shape
    unit = case.first.chunks or UNCHUNKED
    if recipe.skeleton == "2d":
        unit = (min(unit[0], 16), *shape[1:])
        if options.block is not None and any(b < n for b, n in zip(options.block[1:], shape[1:], strict=True)):
            raise InputError(f"--skeleton 2d works on whole slices: --block must be {shape[1:]} in y and x.")

    def build(core: Index3) -> Stage:
        return _stage(case, recipe, core)

    core = options.block or choose_core(
        shape, unit, options.limit_bytes(), build, wanted=options.processes, largest=LARGEST_BLOCK
    )
    names = list(case.predictions)
    facts = {
        "tomogram": case.name,
        "predictions": {f: _where(v) for f, v in case.predictions.items()},
        "truth": {f: _where(v) for f, v in case.truth.items()},
        "recipe": recipe.to_json(),
    }
    masks = [k for k, f in enumerate(names) if _threshold(case.predictions[f], recipe) is None]
    call = Call(
        f"{_MODULE}:write_scores", {"stage": "score", "names": names, "masks": masks, "out": out, "facts": facts}
    )
    return Plan(case.name, (build(core),), recipe={"score": recipe.to_json()}, finish=(call,))


def _where(volume: Volume) -> str:
    """The file's name, and the array in it."""
    return "#".join([volume.url.rstrip("/").rsplit("/", 1)[-1], *([volume.path] if volume.path else [])])


def _threshold(volume: Volume, recipe: ScoreRecipe) -> float | None:
    """``None`` for masks."""
    if recipe.prediction_ids or recipe.prediction_kind == "labels":
        return None
    if recipe.prediction_kind == "auto" and (volume.kind == "labels" or volume.dtype == "bool"):
        return None
    if np.dtype(volume.dtype).kind not in "uf":
        raise InputError(
            f"{volume.url} holds {volume.dtype}, which is no probability (integers from 0 to 255, or floating numbers "
            "up to 1). If it is a mask: --prediction-kind labels; if it holds class ids: --prediction-ids."
        )
    return recipe.threshold


def _region(recipe: ScoreRecipe, volume: Volume) -> Box:
    if recipe.region is None:
        return Box.of_shape(volume.shape)
    stop = index3(n if v == -1 else v for v, n in zip(recipe.region[3:], volume.shape, strict=True))
    box = Box(index3(recipe.region[:3]), stop)
    if box.empty or not Box.of_shape(volume.shape).contains(box):
        raise InputError(f"--region {recipe.region} is empty or leaves the volume {volume.shape} ({volume.url}).")
    return box


def _stage(case: Case, recipe: ScoreRecipe, core: Index3) -> Stage:
    from volengine.ops.skeleton import SUPPORT

    shape, names = case.first.shape, list(case.predictions)
    halo: Index3 = index3([SUPPORT + FIRST_MARGIN_VOX] * 3) if recipe.skeleton == "3d" else (0, 0, 0)
    region = _region(recipe, case.first)
    inside = Box.of_shape(index3(min(c, n) for c, n in zip(core, shape, strict=True)))
    read = math.prod(min(w, n) for w, n in zip(inside.grow(halo).shape, shape, strict=True))
    arrays = {f"prediction{k}": ArrayInput(case.predictions[f], halo, halo) for k, f in enumerate(names)}
    arrays |= {f"truth{k}": ArrayInput(case.truth[f], halo, halo) for k, f in enumerate(names)}
    if recipe.prediction_ids:
        arrays = {"prediction0": arrays["prediction0"]} | {k: a for k, a in arrays.items() if k.startswith("truth")}
    if recipe.ids:
        arrays = {k: a for k, a in arrays.items() if k.startswith("prediction") or k == "truth0"}
    return Stage(
        "score",
        f"{_MODULE}:score_block",
        Tiling(shape, core),
        params={
            "names": names,
            "thresholds": [_threshold(case.predictions[f], recipe) for f in names],
            "prediction_ids": recipe.prediction_ids,
            "ids": recipe.ids,
            "ignore_id": recipe.ignore_id,
            "instances": recipe.instances,
            "skeleton": recipe.skeleton,
            "region": [*region.start, *region.stop],
        },
        arrays=arrays,
        emits=True,
        kernel_bytes=inside.size * (40 + 10 * len(names)) + (80 * read if recipe.skeleton == "3d" else 0),
    )


def score_block(
    block: Block,
    names: list[str],
    thresholds: list[float | None],
    prediction_ids: list[int],
    ids: list[int],
    ignore_id: int | None,
    instances: bool,
    skeleton: str,
    region: list[int],
) -> Result:
    """Kernel: the counts of every feature, and the confusion, of a block."""
    part = block.box.intersect(Box(index3(region[:3]), index3(region[3:])))
    n = len(names)
    rows = np.zeros((1, n, len(COUNTS)), np.int64)
    if part.empty:
        return Result(table={"counts": rows, "confusion": np.zeros((1, n + 1, n + 1), np.int64)})
    box = block.boxes["prediction0"]
    local = part.slices_in(box)
    found, labels = _values(block, names, prediction_ids, ids, ignore_id, instances)
    for k, (values, truth) in enumerate(zip(found, labels, strict=True)):
        counts = count(values[local], truth[local], thresholds[k], f"the prediction of {names[k]}")
        if skeleton != "none":
            counts |= _skeletons(block, part, mask_of(values, thresholds[k]), truth, skeleton)
        rows[0, k] = [counts.get(name, 0) for name in COUNTS]
    matrix = confusion([v[local] for v in found], [t[local] for t in labels], thresholds)
    return Result(table={"counts": rows, "confusion": matrix[None]}, counts={"voxels scored": part.size})


def _values(
    block: Block, names: list[str], prediction_ids: list[int], ids: list[int], ignore_id: int | None, instances: bool
) -> tuple[list[Any], list[Any]]:
    """Each feature's prediction (probabilities, or a mask) and labels, halo included."""
    arrays = block.arrays
    if prediction_ids:
        found = [arrays["prediction0"] == i for i in prediction_ids]
    else:
        found = [arrays[f"prediction{k}"] for k in range(len(names))]
    if ids:
        return found, labels_of_ids(arrays["truth0"], ids, ignore_id)
    truth = [arrays[f"truth{k}"] for k in range(len(names))]
    if instances:
        return found, [(values != 0).astype(np.uint8) for values in truth]
    return found, [labels_of(values, f"the truth of {name}") for name, values in zip(names, truth, strict=True)]


def _skeletons(block: Block, part: Box, found: Any, labels: Any, skeleton: str) -> dict[str, int]:
    from volengine.ops.skeleton import halo_needed, slice_skeleton, surface_skeleton

    box, made = block.boxes["prediction0"], []
    for mask in (found, labels == FEATURE):
        if skeleton == "2d":
            made.append(slice_skeleton(mask)[part.slices_in(box)])
            continue
        halo = halo_needed(mask, box, block.box, block.shape)
        if halo is not None:
            raise WiderHaloError(halo)
        made.append(surface_skeleton(mask, box, part, block.shape))
    local = part.slices_in(box)
    return count_skeletons(found[local], made[0], labels[local], made[1])


def write_scores(
    plan: Plan, tables: Any, stage: str, names: list[str], masks: list[int], out: str, facts: Mapping[str, Any]
) -> None:
    """Call at the end of a plan: add up, and write the tables."""
    blocks = list(tables(stage).values())
    total = sum(table["counts"][0] for table in blocks)
    matrix = sum(table["confusion"][0] for table in blocks)
    skeleton = plan.stage(stage).params["skeleton"] != "none"
    kept = COUNTS if skeleton else COUNTS[:5]
    rows = []
    for k, name in enumerate(names):
        counts = {key: int(v) for key, v in zip(COUNTS, total[k], strict=True) if key in kept}
        rows.append({"feature": name, **scores(counts, entropy=k not in masks), **_plain(counts)})
    Path(out).absolute().parent.mkdir(parents=True, exist_ok=True)
    confused = tuple(tuple(int(v) for v in row) for row in matrix)
    Scores("volume", tuple(rows), (BACKGROUND, *names), confused, facts).write(out)


def _plain(counts: Mapping[str, int]) -> dict[str, int]:
    """The counts that people read: voxels that counted, were found, and are true."""
    return {key: counts[key] for key in ("voxels", "found", "truth")}
