"""Boxes in annotated slices, as in Ais: the annotator works in 2D, in some slices, in boxes of 64 pixels.

A box that contains a feature is drawn in ten orientations: four right angles, then arbitrary angles with interpolation.
For each such draw there are 1.3 draws of a box without a feature (eLife 2024, e98552, and its program). Two things
differ from Ais: a turned box is cut out of a larger window, so its corners hold the true surroundings; and validation
uses the boxes of the held-out slab, so that no box touches both parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError
from volengine.engine.reading import read_box
from volengine.io.cached import ChunkCache
from volengine.io.names import Source
from volengine.ops.score_masks import FEATURE, IGNORE
from volengine.tasks.train.labels import LabelSlices, picks_of
from volengine.tasks.train.parts import Marks, Parts, containing
from volengine.tasks.train.samples import MOST_VALIDATION, LazyPatches, Patch, PatchRules, TrainSample, Use, thinned
from volengine.tasks.train.volumes import OpenVolume

RIGHT_ANGLES = 4


class BoxPatches(OpenVolume):
    """Patches around the boxes of annotated slices.

    The parameters are those of :class:`~volengine.tasks.train.volumes.OpenVolume`.

    Raises
    ------
    InputError
        No box lies in the part for training, the patch to be turned is not square, or a box lies in a slice that is not
        annotated.
    """

    def __init__(
        self,
        sample: TrainSample,
        rules: PatchRules,
        use: Use = "both",
        cache: ChunkCache | None = None,
        parts: Parts | None = None,
    ):
        super().__init__(sample, rules, use, cache, parts)
        if rules.patch[1] != rules.patch[2] and sample.copies > 1:
            raise InputError(f"{self.volume.url}: boxes are turned, so patches must be square, not {rules.patch}.")
        starts = self._auto() if sample.boxes == "auto" else self._centred()
        if not sample.slices:
            slices = sorted({z for z, _, _ in starts})
            self.labels = LabelSlices(self.labels, slices, len(rules.features))
        self.training_boxes = [b for b in starts if containing(self.training, self._box(b))]
        self.held_out_boxes = [b for b in starts if containing(self.held_out, self._box(b))]
        self.with_feature: list[Index3] = []
        self.without: list[Index3] = []
        counts = np.zeros(len(rules.features), int)
        for start in self.training_boxes:
            there = (self.labels.read(self._box(start)) == FEATURE).any(axis=(1, 2, 3))
            counts += there
            (self.with_feature if there.any() else self.without).append(start)
        self._counts = tuple(counts.tolist())
        if self.training and not self.training_boxes:
            raise InputError(f"{self.volume.url}: none of the {len(starts)} boxes lies in the part for training.")

    def marks(self) -> list[Marks]:
        """The boxes of a picks file that hold each feature; of boxes that are laid out later its voxels."""
        if self.sample.boxes == "auto":
            return super().marks()
        boxes = [self._box(start) for start in self._centred()]
        there = np.array([(self.labels.read(b) == FEATURE).any(axis=(1, 2, 3)) for b in boxes])
        start, stop = np.array([b.start for b in boxes]), np.array([b.stop for b in boxes])
        return [Marks(start[row], stop[row]) for row in there.T]

    def _box(self, start: Index3) -> Box:
        z, y, x = start
        side = self.sample.box_vox
        return Box(start, (z + 1, y + side, x + side))

    @property
    def positives(self) -> tuple[int, ...]:
        """For each feature the number of boxes for training that contain it."""
        return self._counts

    def draw(self, rng: np.random.Generator) -> Patch:
        """Draw a turned box with a feature, or an unturned box without one."""
        with_share = 1 / (1 + self.sample.negatives) if self.without else 1.0
        if self.with_feature and rng.random() < with_share:
            start = self.with_feature[int(rng.integers(len(self.with_feature)))]
            copy = int(rng.integers(self.sample.copies))
            angle = 90.0 * copy if copy < RIGHT_ANGLES else float(rng.uniform(0, 360))
        else:
            boxes = self.without or self.with_feature
            start, angle = boxes[int(rng.integers(len(boxes)))], 0.0
        spare = self.sample.box_vox - self.rules.patch[1]
        shift = rng.integers(-(spare // 2), spare - spare // 2 + 1, 2) if spare > 0 else np.zeros(2, int)
        part = containing(self.training, self._box(start))
        return self._patch(start, angle, (int(shift[0]), int(shift[1])), part)

    def validation(self) -> LazyPatches[Patch]:
        """The boxes of the held-out part, not turned."""
        boxes = self.held_out_boxes
        if len(boxes) > MOST_VALIDATION:  # an even choice of the boxes with a feature, and of the others
            there = [bool((self.labels.read(self._box(b)) == FEATURE).any()) for b in boxes]
            several = [thinned([b for b, t in zip(boxes, there, strict=True) if t is kind]) for kind in (True, False)]
            boxes = sorted(b for some in several for b in some)
        return LazyPatches([(self._as_it_is, b) for b in boxes])

    def _as_it_is(self, start: Index3) -> Patch:
        return self._patch(start, 0.0, (0, 0), containing(self.held_out, self._box(start)))

    def _patch(self, start: Index3, angle: float, shift: tuple[int, int], part: Box | None) -> Patch:
        """The patch in the middle of the box (shifted), turned in the plane; only voxels inside ``part`` are read."""
        rules, side = self.rules, self.sample.box_vox
        depth, height, width = rules.patch
        turned = angle % 90 != 0
        margin = int(np.ceil((np.hypot(height, width) - min(height, width)) / 2)) + 1 if turned else 0
        y, x = (a + (side - n) // 2 + d for a, n, d in zip(start[1:], (height, width), shift, strict=True))
        z = start[0] - depth // 2
        window = Box((z, y, x), (z + depth, y + height, x + width)).grow((0, margin, margin))
        seen = window.grow((rules.below, 0, 0), (rules.above, 0, 0))
        image = self._image(seen, part or self.region)
        labels = np.full((len(rules.features), *window.shape), IGNORE, np.uint8)
        counted = window.intersect(self._box(start))
        if not counted.empty:
            labels[(slice(None), *counted.slices_in(window))] = self.labels.read(counted)
        if turned:
            return turn(image, angle, (height, width), 1), turn(labels, angle, (height, width), 0)
        quarter = round(angle / 90)
        image, labels = np.rot90(image, quarter, (-2, -1)), np.rot90(labels, quarter, (-2, -1))
        return np.ascontiguousarray(image), np.ascontiguousarray(labels)

    def _image(self, seen: Box, part: Box) -> NDArray[np.float32]:
        """Normalised voxels; outside of the part (with its context slices) its border is repeated."""
        allowed = part.grow((self.rules.below, 0, 0), (self.rules.above, 0, 0)).clip(self.volume.shape)
        shift = index3(-a for a in allowed.start)
        edge: Literal["reflect", "edge"] = "reflect" if self.rules.patch[0] > 1 else "edge"
        image = read_box(Cropped(self.source, allowed), seen.shift(shift), edge).astype(np.float32)
        return self.normalised(image, seen.start[0])

    def _auto(self) -> list[Index3]:
        """Boxes side by side in the annotated slices, laid out in the part for training and in the other separately."""
        slices = self.sample.slices or tuple(self._marked())
        side, starts = self.sample.box_vox, []
        for part in (*self.training, *self.held_out):
            if min(part.shape[1:]) < side:
                continue
            rows, columns = (
                np.unique(np.linspace(a, b - side, -(-(b - a) // side)).astype(int)).tolist()
                for a, b in zip(part.start[1:], part.stop[1:], strict=True)
            )
            inside = [z for z in slices if part.start[0] <= z < part.stop[0]]
            starts += [(z, y, x) for z in inside for y in rows for x in columns]
        return starts

    def _marked(self) -> Iterator[int]:
        """The slices in which a feature is marked."""
        for z in range(self.region.start[0], self.region.stop[0]):
            box = Box((z, *self.region.start[1:]), (z + 1, *self.region.stop[1:]))
            if (self.labels.read(box) == FEATURE).any():
                yield z

    def _centred(self) -> list[Index3]:
        """Boxes around the positions of a picks file; a box that leaves the region is moved into it."""
        volume, side = self.volume, self.sample.box_vox
        picks = picks_of(self.sample.boxes, volume, volume.origin)
        low, high = np.array(self.region.start), np.array(self.region.stop) - (1, side, side)
        if (high < low).any():
            raise InputError(f"{volume.url}: boxes of {side} voxels do not fit into {self.region.shape}.")
        middle = np.floor(picks.position_vox + 0.5).astype(int)
        for z in middle[:, 0].tolist():
            if not self.region.start[0] <= z < self.region.stop[0] or (
                self.sample.slices and z not in self.sample.slices
            ):
                raise InputError(f"{self.sample.boxes}: there is a box in slice {z}, which is not annotated.")
        return [index3(s) for s in np.clip(middle - (0, side // 2, side // 2), low, high).tolist()]


class Cropped:
    """A source that reads a box of another source."""

    def __init__(self, source: Source, box: Box):
        self._source, self._box = source, box

    @property
    def shape(self) -> Index3:
        """Voxels z, y, x."""
        return self._box.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the voxels."""
        return self._source.dtype

    def read(self, box: Box) -> NDArray[Any]:
        """Read a box inside of the part; the box counts from the part's first voxel."""
        return self._source.read(box.shift(self._box.start))


def turn(values: NDArray[Any], angle: float, shape: tuple[int, int], order: Literal[0, 1]) -> NDArray[Any]:
    """Turn slices counter-clockwise about their middle, and cut out the middle.

    Parameters
    ----------
    values
        (..., y, x) images or labels. If they are too small for the turned corners, missing voxels of labels become 2
        (ignore), and of images repeat the border.
    angle
        Degrees.
    shape
        Height and width of the result.
    order
        Interpolation: 1 linear (images), 0 nearest (labels).

    Returns
    -------
    ndarray
        (..., height, width).
    """
    from scipy.ndimage import affine_transform

    cos, sin = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    matrix = np.array([[cos, sin], [-sin, cos]])
    before = (np.array(values.shape[-2:]) - 1) / 2
    offset = before - matrix @ ((np.array(shape) - 1) / 2)
    flat = values.reshape(-1, *values.shape[-2:])
    out = np.empty((len(flat), *shape), values.dtype)
    for source, target in zip(flat, out, strict=True):
        mode = "nearest" if order else "constant"
        affine_transform(source, matrix, offset, shape, target, order, mode=mode, cval=IGNORE, prefilter=False)
    return out.reshape(*values.shape[:-2], *shape)
