"""A volume and its overlays, drawn slice by slice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.core.slices import Slice
from volengine.core.tiling import AXES
from volengine.core.units import NM_TO_ANGSTROM
from volengine.io.identity import check_unchanged
from volengine.io.open import open_volume
from volengine.ops.pictures import Colour, Picture, grey
from volengine.ops.slice_pictures import Panel, compose
from volengine.tasks.common.named import stored_name
from volengine.tasks.common.roi import box_of
from volengine.tasks.picture.frame import Frame
from volengine.tasks.picture.overlays import Overlay, draw, open_overlay
from volengine.tasks.picture.reading import raster_of
from volengine.tasks.picture.recipe import LookRecipe, colour_of_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PERCENTILES = (0.5, 99.5)
"""Percentiles of the drawn voxels that are black and white, where the store states no display range."""
EACH: Colour = (255, 255, 255)
"""Colour in the key of labels that have a colour each."""
Contrast = tuple[float, float]


class View:
    """A volume and its overlays, opened to be drawn.

    Parameters
    ----------
    source
        The volume.
    recipe
        What to show.
    notes
        Sentences for the user are added.
    """

    def __init__(self, source: str, recipe: LookRecipe, notes: list[str]):
        if recipe.anonymous:
            from volengine.io.anonymous import use_anonymous

            use_anonymous()
        self.recipe, self.notes = recipe, notes
        self.volume = open_volume(
            source, level=recipe.level, group=recipe.group, channel=recipe.channel, voxel_size=recipe.voxel_size
        )
        self.part = box_of(self.volume, recipe.roi) or Box.of_shape(self.volume.shape)
        self.overlays: list[Overlay] = [
            open_overlay(path, number, self.volume, recipe, notes) for number, path in enumerate(recipe.overlay)
        ]

    def frames(self, slices: Sequence[Slice]) -> list[Frame]:
        """The frames of slices, all of one scale."""
        volume, part = self.volume, self.part
        where = stored_name(volume)
        found = [(one.axis, one.index(volume.shape, volume.voxel_size, where)) for one in slices]
        for axis, index in found:
            if not part.start[axis] <= index < part.stop[axis]:
                raise InputError(
                    f"{where}: the slice {AXES[axis]}={index} lies outside of --roi {self.recipe.roi}, which goes from "
                    f"{part.start[axis]} to {part.stop[axis] - 1}."
                )
        sides = [part.shape[a] * volume.voxel_size[a] for axis, _ in found for a in range(3) if a != axis]
        scale = max(sides) / self.recipe.pixels
        return [Frame(axis, index, part, volume.voxel_size, scale) for axis, index in found]

    def figure(self, frames: Sequence[Frame], contrast: Contrast | None = None) -> Figure:
        """Draw frames side by side."""
        rasters = self.rasters(frames, contrast)
        panels = [
            draw(Panel(raster, self._caption(frame)), self.overlays, frame, self.recipe)
            for raster, frame in zip(rasters, frames, strict=True)
        ]
        self.check()
        plain = self.recipe.plain
        named: list[tuple[str, Colour]] = [(one.name, one.colour or EACH) for one in self.overlays]
        key = [] if plain else list(dict.fromkeys(named))
        nm = frames[0].angstrom_per_pixel / NM_TO_ANGSTROM
        return compose(panels, nm, key=key, scale_bar=not plain)

    def check(self) -> None:
        """Raise an error if a file of what was drawn has changed meanwhile."""
        for volume in (self.volume, *(one.volume for one in self.overlays)):
            if volume is not None:
                check_unchanged(volume)

    def _caption(self, frame: Frame) -> str:
        if self.recipe.plain:
            return ""
        size = self.volume.shape[frame.axis]
        return f"{self.volume.name}  {AXES[frame.axis]} = {frame.index} of {size}".strip()

    def contrast_of(self, frames: Sequence[Frame]) -> Contrast | None:
        """The values that are black and white in all frames alike; ``None`` for labels."""
        return None if self.volume.kind == "labels" else self._contrast(self._planes(frames))

    def _planes(self, frames: Sequence[Frame]) -> list[NDArray[np.float32]]:
        return [raster_of(self.volume, frame, count=self.recipe.mean) for frame in frames]

    def rasters(self, frames: Sequence[Frame], contrast: Contrast | None = None) -> list[Picture]:
        """The volume in frames, without overlays: RGB (y, x, 3), uint8."""
        if self.volume.kind == "labels":
            return [self._coloured(frame) for frame in frames]
        planes = self._planes(frames)
        low, high = contrast or self._contrast(planes)
        finite = [np.isfinite(plane) for plane in planes]
        note = f"{stored_name(self.volume)} has voxels without a finite value; they are black."
        if note not in self.notes and not all(one.all() for one in finite):
            self.notes.append(note)
        pictures = []
        for plane, known in zip(planes, finite, strict=True):
            values = np.where(known, plane, low)
            if self.recipe.invert:
                values = np.where(known, low + high - values, low)
            pictures.append(grey(values, (low, high)))
        return pictures

    def _contrast(self, planes: Sequence[NDArray[np.float32]]) -> Contrast:
        """Given, of the store, or percentiles of what is drawn."""
        if self.recipe.contrast is not None:
            return self.recipe.contrast
        if (window := self.volume.display_range) is not None:
            return window
        values = np.concatenate([plane[np.isfinite(plane)] for plane in planes])
        if not values.size:
            return 0.0, 1.0
        low, high = (float(v) for v in np.percentile(values, PERCENTILES))
        if low == high:
            low, high = float(values.min()), float(values.max())
        return low, high if high > low else low + 1.0

    def _coloured(self, frame: Frame) -> Picture:
        labels = raster_of(self.volume, frame, nearest=True)
        raster = np.zeros((*labels.shape, 3), np.uint8)
        for label in np.unique(labels[labels != 0]).tolist():
            raster[labels == label] = colour_of_label(label)
        return raster
