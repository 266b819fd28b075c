"""What the pages of a report show."""

from __future__ import annotations

from dataclasses import dataclass

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.core.slices import Slice

MOST_SLICES = 6
LEAST_PIXELS, MOST_PIXELS = 64, 512
"""Limits of the longest side of a slice in a page, pixels; more would make pages too large to send."""


@dataclass(frozen=True)
class ReportRecipe(Recipe):
    """What the pages of a report show.

    Parameters
    ----------
    slice
        The slices of each tomogram: ``z=40`` (a voxel), ``z=120nm`` (from the centre of the first voxel), ``z=25%`` or
        ``z=middle``; also perpendicular to ``y`` and ``x``.
    mean
        Each slice is the mean of so many, around it. Overlays are those of the slice itself.
    pixels
        Pixels along the longest side of a slice.
    counts
        Count how many picks other thresholds would give, from the prediction and by the rules of the recipe.

    Examples
    --------
    >>> ReportRecipe(slice=("z=40", "y=middle"), mean=5).pixels
    512
    """

    slice: tuple[str, ...] = ("z=middle", "y=middle", "x=middle")
    mean: int = 1
    pixels: int = MOST_PIXELS
    counts: bool = True

    def check(self) -> None:
        if not 1 <= len(self.slice) <= MOST_SLICES:
            raise InputError(f"A page shows 1 to {MOST_SLICES} slices, not {len(self.slice)}.")
        for text in self.slice:
            Slice.parse(text)
        if self.mean < 1:
            raise InputError(f"mean is {self.mean}; a slice is the mean of at least one.")
        if not LEAST_PIXELS <= self.pixels <= MOST_PIXELS:
            raise InputError(f"pixels is {self.pixels}; it must be {LEAST_PIXELS} to {MOST_PIXELS}.")
