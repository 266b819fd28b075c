"""What other programs have annotated, as operations: label volumes, points, and training sets of Ais.

A sample of an ``.scnt`` says where it was cut out, but not from which of its corners that is counted, and Ais shows
slices upside down. So the place is not believed: each box is looked for around it, in the slice that it names, and it
is taken where its image is that of the tomogram (their correlation is 1 but for rounding), or refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box
from volengine.core.errors import FormatError, InputError
from volengine.io.annotations.folder import RADIUS, AnnotationFacts
from volengine.io.names import PICKS_SUFFIXES, Source, suffix_of
from volengine.io.open import open_source, open_volume
from volengine.io.picks.of_volumes import read_of
from volengine.io.picks.rows import Known
from volengine.io.stores import located
from volengine.io.training.scnt import TrainingSet, open_scnt
from volengine.tasks.annotate.store import Annotations

LEAST_CORRELATION = 0.999
"""Correlation from which a box is that of the tomogram; neighbouring places in noise are far below."""

Operations = Iterator[dict[str, Any]]


def brought(annotations: Annotations, path: str, feature: str, radius: float | None = None) -> Operations:
    """Yield the operations that bring a file into annotations.

    Parameters
    ----------
    annotations
        Open annotations.
    path
        A label volume (0, 1, 2), a table of points, or an ``.scnt``.
    feature
        What is annotated in it.
    radius
        Of points, voxels; default: what the table states, if it does.

    Raises
    ------
    InputError
        The file does not fit the tomogram.
    """
    facts = annotations.facts
    if feature not in annotations.features():
        yield {"op": "feature", "feature": feature}
    if suffix_of(path) == ".scnt":
        yield from _ais_boxes(facts, path, feature)
    elif path.lower().endswith(PICKS_SUFFIXES):
        known = Known(facts.voxel_size, facts.origin, facts.shape, volume_origin=facts.origin)
        tables, _ = read_of(path, {facts.name: known})
        picks = tables[facts.name]
        stated = picks.extra.get(RADIUS, np.full(len(picks), np.nan))
        for position, own in zip(picks.position_vox.tolist(), stated.tolist(), strict=True):
            size = radius if radius is not None or not own > 0 else own
            yield {"op": "point", "feature": feature, "position": position, "radius": size}
    else:
        yield {"op": "labels", "feature": feature, "volume": located(path)}


def _ais_boxes(facts: AnnotationFacts, path: str, feature: str) -> Operations:
    training_set = open_scnt(path)
    volume = open_volume(facts.tomogram, voxel_size=facts.voxel_size)
    source = open_source(volume)
    found = 0
    for number in range(len(training_set)):
        place = training_set.places[number] if training_set.places else None
        said = PurePosixPath(training_set.tomograms[number]).stem
        if said not in ("", facts.name) or training_set.features[number] not in ("", feature):
            continue
        if place is None:
            raise FormatError(f"{path}: its sample {training_set.names[number]} does not say where it was cut out.")
        found += 1
        yield from _ais_box(facts, training_set, number, (source, place), feature)
    if not found:
        raise InputError(f"{path}: holds no box of {feature!r} in {facts.name}.")


def _ais_box(
    facts: AnnotationFacts, boxes: TrainingSet, number: int, where: tuple[Source, tuple[int, int, int]], feature: str
) -> Operations:
    source, (z, y, x) = where
    image, labels = boxes.read(number)
    _, height, width = image.shape
    middle = image[len(image) // 2]
    plane = labels[len(labels) // 2]
    if not 0 <= z < facts.shape[0]:
        raise InputError(f"{boxes.path}: sample {boxes.names[number]} is of slice {z}, which {facts.name} lacks.")
    _, ny, nx = facts.shape
    rows = sorted({y - height // 2, y, ny - 1 - y - height // 2, ny - y - height // 2, ny - 1 - y})
    columns = sorted({x - width // 2, x})
    for row in rows:
        for column in columns:
            if not (0 <= row <= ny - height and 0 <= column <= nx - width):
                continue
            grey = source.read(Box((z, row, column), (z + 1, row + height, column + width)))[0]
            for turned in (False, True):
                if _same(grey, middle[::-1] if turned else middle):
                    yield from _operations(feature, (z, row, column), plane[::-1] if turned else plane)
                    return
    raise InputError(
        f"{boxes.path}: the image of sample {boxes.names[number]} is not that of {facts.name} at slice {z}, row {y}, "
        f"column {x}: another tomogram, other voxels (binned, filtered), or a box that leaves it. Train from the "
        "file itself."
    )


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    a, b = (v.astype(np.float64) - v.mean(dtype=np.float64) for v in (one, other))
    scale = np.sqrt((a * a).sum() * (b * b).sum())
    return bool(scale > 0 and (a * b).sum() >= LEAST_CORRELATION * scale)


def _operations(feature: str, start: tuple[int, int, int], labels: NDArray[Any]) -> Operations:
    z, row, column = start
    for value, number in (("feature", 1), ("ignore", 2)):
        turns = np.diff(np.pad(labels == number, ((0, 0), (1, 1))).astype(np.int8), axis=1)
        (rows, first), (_, stop) = np.nonzero(turns == 1), np.nonzero(turns == -1)
        runs = np.stack([rows + row, first + column, stop + column], axis=1).tolist()
        if runs:
            yield {"op": "runs", "feature": feature, "slice": z, "runs": runs, "value": value}
    height, width = labels.shape
    box = f"{z}:{z + 1},{row}:{row + height},{column}:{column + width}"
    yield {"op": "box", "feature": feature, "box": box}
