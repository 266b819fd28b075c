"""Training data from annotations: what ``volengine train`` reads, as it is at one version.

A voxel counts if it lies in a training box of its feature; there everything is annotated, so what nobody has drawn is
background. All others are 2, ignore.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.atomic import write_atomic
from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError
from volengine.core.paths import PathLike, path_text
from volengine.core.picks import Picks
from volengine.core.roi import roi_text
from volengine.core.tiling import Tiling
from volengine.core.yaml_recipes import yaml_text
from volengine.io.annotations.blocks import LABELS
from volengine.io.annotations.folder import RADIUS, AnnotationFacts
from volengine.io.annotations.history import MERGED, Transaction
from volengine.io.omezarr.arrays import ZarrSink
from volengine.io.omezarr.image import create_image, finish_image
from volengine.io.omezarr.levels import block_unit
from volengine.io.picks import write_picks
from volengine.io.stores import located
from volengine.ops.score_masks import IGNORE
from volengine.tasks.annotate.images import label_spec
from volengine.tasks.annotate.store import Annotations

RECIPE = "train.yaml"
LEAST_REGION = 32
"""Sides of the region around training boxes that are no squares of slices: the default patch of a training fits."""

PATCH = (32, 128)
"""Smallest and largest side of the patches of a training on slices."""


@dataclass(frozen=True)
class Exported:
    """What was written: label images and tables by feature, the recipe (if there are boxes), the version."""

    version: int
    labels: dict[str, str]
    boxes: dict[str, list[str]]
    points: dict[str, str]
    recipe: str


def export_training(
    annotations: Annotations,
    folder: PathLike,
    features: Sequence[str] = (),
    *,
    version: int | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write the annotations as training data.

    Parameters
    ----------
    annotations
        Open annotations.
    folder
        Gets a store with a label image for each feature that has training boxes, tables of the boxes and points, and
        a recipe, ``train.yaml``.
    features
        Which features; default: all that have training boxes or points.
    version
        Default: the last.
    overwrite
        Replace an earlier export of the same name.

    Raises
    ------
    InputError
        There is nothing to export, a named feature has neither boxes nor points, or another export is there.

    Examples
    --------
    >>> import volengine
    >>> with volengine.new_annotations("TS_01.mrc", "boxed.annotations", features=("membrane",)) as annotations:
    ...     _ = annotations.do({"op": "brush", "feature": "membrane", "slice": 4, "points": [[8, 8]], "radius": 2})
    ...     _ = annotations.do({"op": "box", "feature": "membrane", "slice": 4, "centre": [8, 8], "side": 16})
    ...     exported = volengine.export_training(annotations, "training")
    >>> exported.recipe.endswith("train.yaml")
    True
    """
    out, facts = Path(path_text(folder)), annotations.facts
    with annotations.reading() as (history, _):
        at = history.check(version)
        there = history.features(at)
    unknown = [name for name in features if name not in there]
    if unknown:
        raise InputError(f"{annotations.folder}: there is no feature {unknown[0]!r}; there are {', '.join(there)}.")
    boxes = {name: [box for _, box in annotations.boxes(name, at)] for name in features or there}
    points = {name: annotations.points(name, at) for name in features or there}
    empty = [name for name in boxes if not boxes[name] and not points[name]]
    if (features and empty) or len(empty) == len(boxes):
        raise InputError(
            f"{annotations.folder}: {', '.join(empty) or 'no feature'} has no training box and no point. Say where "
            "everything is annotated, with the operation 'box'; elsewhere nobody knows whether voxels are background."
        )
    out.mkdir(parents=True, exist_ok=True)
    exported = Exported(at, {}, {}, {}, "")
    samples: list[dict[str, Any]] = []
    for name in boxes:
        if points[name]:
            exported.points[name] = _write_points(out, facts, name, points[name])
        if boxes[name]:
            labels = _write_labels(annotations, out, name, boxes[name], at, overwrite=overwrite)
            exported.labels[name] = labels
            kinds = _kinds(boxes[name], facts.shape)
            exported.boxes[name] = [_write_boxes(out, facts, name, s, kinds.squares[s]) for s in kinds.squares]
            samples += _samples(facts, name, labels, kinds, exported.boxes[name])
    if not samples:
        return exported
    recipe = {"features": list(exported.labels), "samples": samples, **network_of(samples)}
    path = out / RECIPE
    if path.exists() and not overwrite and path.read_text() != yaml_text(recipe):
        raise InputError(f"{path} exists. Use --overwrite to replace it, or give another folder.")
    write_atomic(path, yaml_text(recipe), durable=True)
    return Exported(at, exported.labels, exported.boxes, exported.points, str(path))


@dataclass(frozen=True)
class _Kinds:
    """Training boxes by what a training can do with them: squares of slices by side, whole slices, all others."""

    squares: dict[int, list[Box]]
    slices: list[int]
    others: list[Box]


def _kinds(boxes: Sequence[Box], shape: Index3) -> _Kinds:
    found = _Kinds({}, [], [])
    for box in boxes:
        z, y, x = box.shape
        if z == 1 and (y, x) == shape[1:]:
            found.slices.append(box.start[0])
        elif z == 1 and y == x:
            found.squares.setdefault(y, []).append(box)
        else:
            found.others.append(box)
    return found


def _samples(
    facts: AnnotationFacts, feature: str, labels: str, kinds: _Kinds, tables: Sequence[str]
) -> Iterator[dict[str, Any]]:
    sample = {"volume": facts.tomogram, "labels": [labels], "features": [feature], "voxel_size": facts.voxel_size[0]}
    if len(set(facts.voxel_size)) > 1:  # one number cannot say it, and is needed only where the file does not state it
        del sample["voxel_size"]
    for side, table in zip(kinds.squares, tables, strict=True):
        yield {**sample, "boxes": table, "box_vox": side}
    if kinds.slices:
        yield {**sample, "slices": sorted({*kinds.slices})}
    if kinds.others:
        low, high = (
            f(c, axis=0)
            for f, c in ((np.min, [b.start for b in kinds.others]), (np.max, [b.stop for b in kinds.others]))
        )
        yield {**sample, "region": roi_text(_grown(Box(index3(low), index3(high)), facts.shape))}


def _grown(box: Box, shape: Index3) -> Box:
    """A box with sides of :data:`LEAST_REGION` or more, as far as the volume has them."""
    low, high = [], []
    for a, b, n in zip(box.start, box.stop, shape, strict=True):
        side = min(n, max(b - a, LEAST_REGION))
        first = min(max(0, a - (side - (b - a)) // 2), n - side)
        low.append(first)
        high.append(first + side)
    return Box(index3(low), index3(high))


def network_of(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Network and patch for samples: 2D if all is annotated in slices; else what a training does by default."""
    if any("region" in sample for sample in samples):
        return {}
    sides = [sample.get("box_vox", PATCH[1]) for sample in samples]
    side = max(PATCH[0], min(*sides, PATCH[1]) // 8 * 8)
    return {"network": "unet", "patch": [1, side, side]}


def _write_labels(
    annotations: Annotations, out: Path, feature: str, boxes: Sequence[Box], at: int, *, overwrite: bool
) -> str:
    facts = annotations.facts
    url = located(str(out / f"{facts.name}__annotations.ome.zarr"))
    spec = label_spec(facts, url, feature, {"annotations": annotations.folder.name, "version": at})
    create_image(spec, token=f"{facts.token}-{at}", overwrite=overwrite, durable=True)
    sink = ZarrSink(spec.volume())
    for tile in Tiling(facts.shape, block_unit(spec.levels)):
        voxels = np.full(tile.shape, IGNORE, np.uint8)
        for box in boxes:
            part = box.intersect(tile)
            if not part.empty:
                with annotations.reading() as (_, layers):
                    voxels[part.slices_in(tile)] = LABELS[layers.codes(feature, part, MERGED, at)]
        sink.write(tile, voxels)
    sink.flush()
    finish_image(spec, durable=True)
    return f"{url}#{spec.group}"


def _write_boxes(out: Path, facts: AnnotationFacts, feature: str, side: int, boxes: Sequence[Box]) -> str:
    """The middles of squares, as a training reads them: the first voxel plus half of the side, rounded down."""
    middles = sorted({(b.start[0], b.start[1] + side // 2, b.start[2] + side // 2) for b in boxes})
    return _write_table(
        out / f"{facts.name}__{feature}__boxes_{side}.star", facts, feature, np.array(middles, float), {}
    )


def _write_points(out: Path, facts: AnnotationFacts, feature: str, points: Sequence[Transaction]) -> str:
    positions = np.array([one.facts["position"] for one in points], float)
    radii = np.array([one.facts.get("radius", np.nan) for one in points])
    more = {} if np.isnan(radii).all() else {RADIUS: radii}
    return _write_table(out / f"{facts.name}__{feature}__points.star", facts, feature, positions, more)


def _write_table(path: Path, facts: AnnotationFacts, feature: str, positions: Any, more: dict[str, Any]) -> str:
    picks = Picks(positions, facts.voxel_size, facts.origin, facts.shape, facts.name, feature, extra=more)
    write_picks(str(path), picks)
    return located(str(path))
