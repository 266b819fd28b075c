"""The voxels of an operation: which codes it puts into which boxes of the volume."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError
from volengine.core.roi import roi_box
from volengine.core.volume import Volume
from volengine.io.annotations.blocks import BACKGROUND, CODES, FEATURE, IGNORE, blocks_of, box_of, packed
from volengine.io.annotations.folder import AnnotationFacts
from volengine.io.annotations.layers import Layers
from volengine.io.cached import ChunkCache
from volengine.io.names import Source, is_multilabel, split_group
from volengine.io.open import open_source, open_volume
from volengine.ops.score_masks import labels_of, probabilities
from volengine.ops.strokes import (
    SliceMask,
    brush,
    cropped,
    fill,
    fill_labels,
    interpolated,
    polygon,
    rows_of,
    take_above,
)
from volengine.tasks.annotate.operations import AXES

Packed = Iterator[tuple[Index3, bytes]]
"""Index and codes of each block that a stroke touches."""

CACHE_BYTES = 2**26
"""Bytes of chunks of another volume that are kept while it is read block by block: chunks may be larger than blocks."""

_REACH = 4.0
"""A Gaussian is cut off beyond so many standard deviations, as SciPy does."""


class Voxels:
    """Makes the voxels of operations on one tomogram.

    Parameters
    ----------
    facts
        The tomogram.
    layers
        What was drawn before.
    """

    def __init__(self, facts: AnnotationFacts, layers: Layers):
        self._facts, self._layers = facts, layers

    def of(self, operation: Mapping[str, Any]) -> Packed:
        """Yield the blocks of an operation that draws, one at a time.

        Raises
        ------
        InputError
            It leaves the volume, does not fit what is there, or touches no voxel.
        """
        return iter(_MAKERS[operation["op"]](self, operation))

    # -- in a slice --------------------------------------------------------------------------------------------

    def _plane(self, operation: Mapping[str, Any], number: int | None = None) -> tuple[int, int, tuple[int, int]]:
        """Axis, slice, and rows and columns of the slice."""
        axis, shape = AXES.index(operation["axis"]), self._facts.shape
        at = operation["slice"] if number is None else number
        if not 0 <= at < shape[axis]:
            raise InputError(f"Slice {at} along {AXES[axis]} is not one of the {shape[axis]} (0 to {shape[axis] - 1}).")
        rows, columns = (n for a, n in enumerate(shape) if a != axis)
        return axis, at, (rows, columns)

    def _brush(self, operation: Mapping[str, Any]) -> Packed:
        axis, at, shape = self._plane(operation)
        return self._drawn(operation, axis, at, brush(operation["points"], operation["radius"], shape))

    def _polygon(self, operation: Mapping[str, Any]) -> Packed:
        axis, at, shape = self._plane(operation)
        return self._drawn(operation, axis, at, polygon(operation["points"], shape))

    def _runs(self, operation: Mapping[str, Any]) -> Packed:
        axis, at, shape = self._plane(operation)
        return self._drawn(operation, axis, at, rows_of(operation["runs"], shape))

    def _fill(self, operation: Mapping[str, Any]) -> Packed:
        axis, at, shape = self._plane(operation)
        seed, sigma, radius = operation["seed"], operation["smooth_vox"], operation["radius"]
        if not 0 <= sigma <= 64 or not 0.5 <= radius <= 4096:
            raise InputError(f"fill: 'smooth_vox' is 0 to 64 and 'radius' 0.5 to 4096 voxels, not {sigma}, {radius}.")
        reach = int(radius) + int(_REACH * sigma + 0.5)
        low = [max(0, s - reach) for s in seed]
        high = [max(a, min(n, s + reach + 1)) for a, s, n in zip(low, seed, shape, strict=True)]
        inside = tuple(s - a for s, a in zip(seed, low, strict=True))
        window = _box(axis, at, (low[0], low[1]), (high[0], high[1]))
        if window.empty or min(seed) < 0:
            raise InputError(f"fill: the seed {seed} lies outside of the slice of {shape[0]} x {shape[1]} voxels.")
        grey = np.asarray(np.take(self._tomogram().read(window), 0, axis), np.float32)
        if sigma > 0:
            from scipy.ndimage import gaussian_filter

            grey = gaussian_filter(grey, sigma, mode="nearest", truncate=_REACH)
        found = fill(grey, (inside[0], inside[1]), radius, operation["band"])
        start = (found.start[0] + low[0], found.start[1] + low[1])
        return self._drawn(operation, axis, at, SliceMask(start, found.mask))

    def _fill_labels(self, operation: Mapping[str, Any]) -> Packed:
        axis, at, shape = self._plane(operation)
        labels = self._labels(operation["feature"], axis, at, shape)
        seed = operation["seed"]
        return self._drawn(operation, axis, at, fill_labels(labels, (seed[0], seed[1]), operation.get("radius")))

    def _interpolate(self, operation: Mapping[str, Any]) -> Packed:
        first, last = sorted(operation["between"])
        if last - first < 2:
            raise InputError(f"interpolate: there is no slice between {first} and {last}.")
        axis, _, shape = self._plane(operation, first)
        self._plane(operation, last)
        ends = [self._labels(operation["feature"], axis, at, shape) == FEATURE for at in (first, last)]
        masks = interpolated(ends[0], ends[1], last - first - 1)
        box = cropped(np.logical_or.reduce(masks))
        (row, column), (rows, columns) = box.start, box.mask.shape
        inner = (slice(row, row + rows), slice(column, column + columns))
        solid = np.stack([mask[inner] for mask in masks], axis=axis)
        low, high = _box(axis, first + 1, box.start, (row + rows, column + columns)), last - first - 2
        whole = low.grow((0, 0, 0), index3(high if a == axis else 0 for a in range(3)))
        return self._blocks(operation, whole, lambda part: solid[part.slices_in(whole)])

    def _labels(self, feature: str, axis: int, at: int, shape: tuple[int, int]) -> NDArray[np.uint8]:
        box = _box(axis, at, (0, 0), shape)
        plane: NDArray[np.uint8] = np.take(self._layers.labels(feature, box), 0, axis)
        return plane

    def _drawn(self, operation: Mapping[str, Any], axis: int, at: int, drawn: SliceMask) -> Packed:
        rows, columns = drawn.mask.shape
        box = _box(axis, at, drawn.start, (drawn.start[0] + rows, drawn.start[1] + columns))
        solid = np.expand_dims(drawn.mask, axis)
        return self._blocks(operation, box, lambda part: solid[part.slices_in(box)])

    def _blocks(self, operation: Mapping[str, Any], box: Box, covered: Callable[[Box], NDArray[np.bool_]]) -> Packed:
        """The blocks of a box with one value where ``covered`` says so; nothing may be drawn at all."""
        value = np.uint8(CODES[operation["value"]])

        def codes(part: Box) -> NDArray[np.uint8]:
            return np.where(covered(part), value, np.uint8(0))

        return self._packed(operation, box, codes, "it covers no voxel of the volume")

    def _packed(
        self, operation: Mapping[str, Any], box: Box, codes: Callable[[Box], NDArray[np.uint8]], why: str
    ) -> Packed:
        touched = False
        for block, part in blocks_of(box):
            found = codes(part)
            if operation["only_empty"] and found.any():
                found = np.where(self._layers.labels(operation["feature"], part) == 0, found, np.uint8(0))
            start = index3(a - b for a, b in zip(part.start, box_of(block).start, strict=True))
            body = packed(block, found, start)
            if body:
                touched = True
                yield block, body
        if not touched:
            also = " where nothing is labelled" if operation["only_empty"] else ""
            raise InputError(f"{operation['op']}: nothing was drawn, because {why}{also}.")

    # -- from volumes ------------------------------------------------------------------------------------------

    def _take(self, operation: Mapping[str, Any]) -> Packed:
        path, above = operation["prediction"], operation["above"]
        volume, source = self._beside(path)
        if volume.kind == "labels" or is_multilabel(volume.url):
            raise InputError(f"{path} holds labels, not probabilities; the operation 'labels' copies these.")
        value, other = np.uint8(CODES[operation["value"]]), np.uint8(BACKGROUND if operation["replace"] else 0)
        box = self._region(operation)
        highest = [0.0]

        def codes(part: Box) -> NDArray[np.uint8]:
            values = probabilities(source.read(part), path)
            highest[0] = max(highest[0], float(values.max()))
            return np.where(take_above(values, above), value, other)

        found = self._packed(operation, box, codes, f"no value of {path} there is above {above:g}")
        try:
            yield from found
        except InputError as error:
            if "nothing was drawn" not in str(error):
                raise
            raise InputError(f"{error} The highest one is {highest[0]:.3g}.") from None

    def _copy(self, operation: Mapping[str, Any]) -> Packed:
        path, number = operation["volume"], operation.get("id")
        volume, source = self._beside(path)
        if number is None and is_multilabel(volume.url):
            raise InputError(f"{path} holds the labels of several objects; say which with 'id'.")
        other = np.uint8(BACKGROUND if operation["replace"] else 0)
        table = np.array([other, FEATURE, IGNORE], np.uint8)

        def codes(part: Box) -> NDArray[np.uint8]:
            values = source.read(part)
            if number is None:
                found: NDArray[np.uint8] = table[labels_of(values, path)]
                return found
            return np.where(values == number, np.uint8(FEATURE), other)

        return self._packed(operation, self._region(operation), codes, f"{path} holds no label there")

    def _region(self, operation: Mapping[str, Any]) -> Box:
        facts = self._facts
        return roi_box(operation["box"], facts.shape, facts.voxel_size, facts.name, f"{operation['op']}: 'box'")

    def _beside(self, path: str) -> tuple[Volume, Source]:
        """Open a volume of the tomogram's shape."""
        url, group = split_group(path)
        volume = open_volume(url, group=group, voxel_size=None if group else self._facts.voxel_size)
        if volume.shape != self._facts.shape:
            raise InputError(f"{path} has the shape {volume.shape}, {self._facts.name} {self._facts.shape}.")
        return volume, ChunkCache(CACHE_BYTES).over(open_source(volume), volume)

    def _tomogram(self) -> Source:
        return self._beside(self._facts.tomogram)[1]


_MAKERS: dict[str, Callable[[Voxels, Mapping[str, Any]], Packed]] = {
    "brush": Voxels._brush,
    "polygon": Voxels._polygon,
    "runs": Voxels._runs,
    "fill": Voxels._fill,
    "fill_labels": Voxels._fill_labels,
    "interpolate": Voxels._interpolate,
    "take": Voxels._take,
    "labels": Voxels._copy,
}
DRAWING = tuple(_MAKERS)
"""Operations that draw voxels."""


def _box(axis: int, at: int, start: tuple[int, int], stop: tuple[int, int]) -> Box:
    """The box of a part of a slice: rows and columns are the other two axes, in the order z, y, x."""
    low, high = list(start), list(stop)
    low.insert(axis, at)
    high.insert(axis, at + 1)
    return Box(index3(low), index3(high))
