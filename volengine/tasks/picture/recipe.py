"""What pictures and movies of slices show."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from volengine.core.colours import PALETTE
from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.core.roi import check_roi
from volengine.core.slices import Slice
from volengine.core.text import counted

SMALLEST, LARGEST = 32, 8192
"""Limits of the longest side of a slice in a picture, pixels."""
MOST_SLICES = 16
FASTEST = 50
"""Slices per second that the format GIF can hold."""
_HEXADECIMAL = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class LookRecipe(Recipe):
    """How slices are drawn, in pictures and in movies.

    Parameters
    ----------
    overlay
        What is drawn over the slices: predictions (tinted by their probability), labels (outlined), tables of picks
        (rings), sets of surfaces (the lines in which the slice cuts them). The kind is that of the file.
    colour
        Colours of the overlays, in their order: ``#rrggbb``. Default: that of the feature, or of each label; people
        with colour blindness can tell them apart.
    threshold
        Predictions are outlined where they reach this probability, instead of tinted.
    overlay_kind
        What overlays are whose metadata do not say it: ``labels`` or ``probability``.
    radius_nm
        Radius of a pick. A ring is the circle in which the slice cuts the ball of this radius around the pick.
    mean
        Each slice is the mean of so many, around it. Overlays are those of the slice itself.
    contrast
        Values that are black and white. Default: the display range of the store, else the 0.5 and 99.5 percentiles of
        what is drawn.
    invert
        Draw large values dark.
    roi
        Only this part: ``z0:z1,y0:y1,x0:x1`` in voxels, or in nm (``100nm:400nm,:,:50nm``). The slices are still
        counted in the whole volume.
    pixels
        Pixels along the longest side of a slice. Of a store the coarsest level is read that is large enough.
    plain
        Leave out scale bar, captions and key.
    level
        The finest resolution level of an OME-Zarr image that is used.
    group
        Labels to draw instead of the image, for example labels/core.
    channel
        Index on a channel or time axis longer than one.
    voxel_size
        Voxel size in angstrom, one number or z, y, x; overrides the file's.
    overwrite
        Replace a file that exists.
    anonymous
        Read s3:// and other object stores without credentials, for public buckets.
    tomogram
        Name of the tomogram in tables of picks, if it is not that of the volume.
    mask_grid
        How overlays of other voxel sizes lie on the volume: they begin at the same face (``faces``: after binning by
        averaging) or at the same centre (``centres``: after Fourier cropping). Default: as their origins say, else the
        same face, which is said.
    any_origin
        Draw overlays although their origin is not that of the volume.
    """

    overlay: tuple[str, ...] = ()
    colour: tuple[str, ...] = ()
    threshold: float | None = None
    overlay_kind: Literal["auto", "labels", "probability"] = "auto"
    radius_nm: float = 10.0
    mean: int = 1
    contrast: tuple[float, float] | None = None
    invert: bool = False
    roi: str = ""
    pixels: int = 900
    plain: bool = False
    level: int = 0
    group: str = ""
    channel: int | None = None
    voxel_size: float | tuple[float, float, float] | None = None
    overwrite: bool = False
    anonymous: bool = False
    tomogram: str | None = None
    mask_grid: Literal["auto", "faces", "centres"] = "auto"
    any_origin: bool = False

    def check(self) -> None:
        check_roi(self.roi)
        for text in self.colour:
            if not _HEXADECIMAL.fullmatch(text):
                raise InputError(f"The colour {text!r} is not understood; write #e69f00.")
        if len(self.colour) > len(self.overlay):
            colours = counted(len(self.colour), "colour", "is", "are")
            raise InputError(f"{colours} given for {counted(len(self.overlay), 'overlay')}.")
        if self.threshold is not None and not 0 < self.threshold <= 1:
            raise InputError(f"threshold is {self.threshold:g}; probabilities go from 0 to 1.")
        if not self.radius_nm > 0:
            raise InputError(f"radius_nm is {self.radius_nm:g}; it must be positive.")
        if self.mean < 1:
            raise InputError(f"mean is {self.mean}; a slice is the mean of at least one.")
        if self.contrast is not None and not self.contrast[0] < self.contrast[1]:
            raise InputError("contrast is black, white: the first must be smaller; --invert draws large values dark.")
        if not SMALLEST <= self.pixels <= LARGEST:
            raise InputError(f"pixels is {self.pixels}; it must be {SMALLEST} to {LARGEST}.")

    def colour_given(self, number: int) -> tuple[int, int, int] | None:
        """The colour that was given for an overlay, or ``None``."""
        if number >= len(self.colour):
            return None
        red, green, blue = bytes.fromhex(self.colour[number][1:])
        return red, green, blue


@dataclass(frozen=True)
class PictureRecipe(LookRecipe):
    """What a picture shows: some slices, and how they are drawn.

    Parameters
    ----------
    slice
        The slices: ``z=40`` (a voxel), ``z=120nm`` (from the centre of the first voxel), ``z=25%`` or ``z=middle``;
        also perpendicular to ``y`` and ``x``.

    Examples
    --------
    >>> PictureRecipe(slice="z=40", pixels=512).slice
    ('z=40',)
    """

    slice: tuple[str, ...] = ("z=middle",)

    def check(self) -> None:
        super().check()
        if not 1 <= len(self.slice) <= MOST_SLICES:
            raise InputError(f"A picture shows 1 to {MOST_SLICES} slices, not {len(self.slice)}.")
        for text in self.slice:
            Slice.parse(text)


@dataclass(frozen=True)
class MovieRecipe(LookRecipe):
    """What a movie shows: the slices along an axis, and how they are drawn.

    Parameters
    ----------
    axis
        The axis along which it goes.
    every
        Only every so many slices.
    fps
        Slices per second.
    back
        Go back to the first slice at the end, so that it can be repeated without a jump.

    Examples
    --------
    >>> MovieRecipe(axis="y", pixels=512).every
    1
    """

    axis: Literal["z", "y", "x"] = "z"
    every: int = 1
    fps: float = 12.0
    back: bool = False

    def check(self) -> None:
        super().check()
        if self.every < 1:
            raise InputError(f"every is {self.every}; it must be at least 1.")
        if not 0 < self.fps <= FASTEST:
            raise InputError(f"fps is {self.fps:g}; it must be above 0 and at most {FASTEST}.")


def colour_of_label(label: int) -> tuple[int, int, int]:
    """The colour of a label: that of the palette, again and again."""
    return PALETTE[(label - 1) % len(PALETTE)]
