"""Pictures of slices: grey values, coloured overlays, outlines, marks. Functions take arrays and return uint8 arrays.

>>> import numpy as np
>>> volume = np.random.default_rng(0).normal(size=(8, 20, 30)).astype("float32")
>>> base = grey(volume[4], window_of(volume), scale=4)
>>> tinted = overlay(base, volume[4] > 2, ORANGE)
>>> marks(tinted, [(10, 15)], GREEN, scale=4, radius=2.5).shape
(80, 120, 3)

A picture is RGB, uint8, shape (y, x, 3), with y down and x to the right. Every function returns a new picture.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

ORANGE: Colour = (255, 153, 51)
BLUE: Colour = (77, 166, 255)
GREEN: Colour = (90, 220, 110)
RED: Colour = (255, 80, 80)
YELLOW: Colour = (255, 224, 90)

CAPTION = 16
"""Height of the strip with a text above a picture, pixels."""


def window_of(volume: NDArray[Any], low: float = 0.5, high: float = 99.7) -> tuple[float, float]:
    """Return the grey values that are shown black and white: two percentiles of (at most about a million) voxels."""
    flat = volume.reshape(-1)[:: max(1, volume.size // 1_000_000)]
    a, b = np.percentile(flat.astype(np.float32), [low, high])
    return float(a), float(b) if b > a else float(a) + 1.0


def grey(plane: NDArray[Any], window: tuple[float, float], scale: int = 1) -> Picture:
    """Draw a slice (y, x) in grey: ``window`` is what is shown black and white, each voxel is ``scale`` pixels wide."""
    low, high = window
    values = np.clip((plane.astype(np.float32) - low) / (high - low), 0, 1)
    return enlarge(np.repeat((values * 255).astype(np.uint8)[..., None], 3, axis=2), scale)


def enlarge(picture: Picture, scale: int) -> Picture:
    """Repeat each pixel ``scale`` times along y and x."""
    large: Picture = picture.repeat(scale, axis=0).repeat(scale, axis=1)
    return large


def overlay(picture: Picture, strength: NDArray[Any], colour: Colour, opacity: float = 0.6) -> Picture:
    """Tint a picture with a colour, in proportion to ``strength`` (y, x; 0 to 1; enlarged to the picture's size)."""
    scale = picture.shape[0] // strength.shape[0]
    alpha = np.clip(strength.astype(np.float32), 0, 1) * opacity
    alpha = alpha.repeat(scale, axis=0).repeat(scale, axis=1)[..., None]
    mixed = picture * (1 - alpha) + np.array(colour, np.float32) * alpha
    tinted: Picture = np.rint(mixed).astype(np.uint8)
    return tinted


def outline(
    picture: Picture, labels: NDArray[Any], colour: Colour | None = None, *, width: int = 1, opacity: float = 0.0
) -> Picture:
    """Draw the borders of labelled regions into a picture.

    Parameters
    ----------
    picture
        RGB (y, x, 3).
    labels
        (y, x) integers or bool, 0 is background; enlarged to the picture's size.
    colour
        Colour of the lines; ``None``: each label has its own (:func:`label_colours`).
    width
        Width of the lines, pixels. They lie inside of the regions. No line is drawn along the picture's edge.
    opacity
        Opacity with which the inside of the regions is tinted, 0 to 1.
    """
    scale = picture.shape[0] // labels.shape[0]
    large = labels.repeat(scale, axis=0).repeat(scale, axis=1)
    edge = np.zeros(large.shape, bool)
    for step in range(1, width + 1):
        for axis in (0, 1):
            low, high = [slice(None)] * 2, [slice(None)] * 2
            low[axis], high[axis] = slice(None, -step), slice(step, None)
            differs = large[tuple(low)] != large[tuple(high)]
            edge[tuple(low)] |= differs
            edge[tuple(high)] |= differs
    colours = label_colours(large) if colour is None else np.broadcast_to(np.array(colour, np.uint8), picture.shape)
    inside = large != 0
    out = np.where(inside[..., None], np.rint(picture * (1 - opacity) + colours * opacity).astype(np.uint8), picture)
    out[edge & inside] = colours[edge & inside]
    return out


def label_colours(labels: NDArray[Any]) -> Picture:
    """Return a fixed bright colour for each label, (y, x, 3) uint8; the hues differ by the golden ratio."""
    hue = (labels.astype(np.float64) * 0.618033988749895) % 1.0
    channels = [np.clip(np.abs((hue * 6 + shift) % 6 - 3) - 1, 0, 1) for shift in (0, 4, 2)]
    colours: Picture = np.rint(80 + 175 * np.stack(channels, axis=-1)).astype(np.uint8)
    return colours


def marks(
    picture: Picture,
    places: Sequence[Sequence[float]],
    colour: Colour,
    *,
    scale: int,
    radius: float,
    cross: bool = False,
) -> Picture:
    """Draw a ring (or a cross) at each place.

    Parameters
    ----------
    picture
        RGB (y, x, 3), each voxel ``scale`` pixels wide.
    places
        Pairs y, x in voxels.
    colour
        Colour of the marks.
    scale
        Pixels per voxel.
    radius
        Radius of the marks, voxels.
    cross
        Draw a cross instead of a ring.
    """
    out = picture.copy()
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    for y, x in places:
        dy, dx = rows - (y + 0.5) * scale + 0.5, columns - (x + 0.5) * scale + 0.5
        r = radius * scale
        if cross:
            hit = (np.minimum(np.abs(dy), np.abs(dx)) < 1) & (np.maximum(np.abs(dy), np.abs(dx)) <= r)
        else:
            hit = np.abs(np.hypot(dy, dx) - r) < 1
        out[hit] = colour
    return out


def side_by_side(pictures: Sequence[Picture], gap: int = 6) -> Picture:
    """Join pictures from left to right with a white gap of ``gap`` pixels; lower ones are filled up with white."""
    height = max(p.shape[0] for p in pictures)
    parts: list[Picture] = []
    for picture in pictures:
        framed = np.full((height, picture.shape[1] + gap, 3), 255, np.uint8)
        framed[: picture.shape[0], : picture.shape[1]] = picture
        parts.append(framed)
    return np.concatenate(parts, axis=1)[:, :-gap]


def captioned(picture: Picture, text: str) -> Picture:
    """Put a white strip with a text above a picture; what is wider than the picture is cut off."""
    from PIL import Image, ImageDraw, ImageFont

    strip = Image.new("RGB", (picture.shape[1], CAPTION), (255, 255, 255))
    ImageDraw.Draw(strip).text((3, 2), text, (0, 0, 0), ImageFont.load_default_imagefont())
    return np.concatenate([np.asarray(strip, np.uint8), picture])


def png(picture: Picture) -> bytes:
    """Encode a picture as PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def dots_png(places: NDArray[np.float64], side: int = 192) -> bytes:
    """Draw points as a PNG file: grey on black, the brighter the more of them lie on a pixel.

    Parameters
    ----------
    places
        (n, 2) y, x, in any unit; those that are not finite are left out.
    side
        Pixels along the longer side.

    Returns
    -------
    bytes
        The file. Its edges are the smallest and the largest places.
    """
    from PIL import Image

    finite = places[np.isfinite(places).all(axis=1)]
    picture = np.zeros((1, 1), np.uint8)
    if len(finite):
        low = finite.min(axis=0)
        extent = finite.max(axis=0) - low
        pixel = float(extent.max()) / (side - 1) or 1.0
        tall, wide = np.rint(extent / pixel).astype(int) + 1
        at = np.rint((finite - low) / pixel).astype(int)
        counts = np.bincount(at[:, 0] * wide + at[:, 1], minlength=tall * wide).reshape(tall, wide)
        picture = np.where(counts, 80 + np.rint(175 * np.sqrt(counts / counts.max())), 0).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()
