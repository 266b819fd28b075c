"""Pictures of slices: grey values, coloured overlays, outlines, marks. Arrays in, uint8 arrays out."""

from __future__ import annotations

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


def window_of(volume: NDArray[Any], low: float = 0.5, high: float = 99.7) -> tuple[float, float]:
    """Grey values between which a picture shows its contrast: percentiles of (at most a million of) the voxels."""
    flat = volume.reshape(-1)[:: max(1, volume.size // 1_000_000)]
    a, b = np.percentile(flat.astype(np.float32), [low, high])
    return float(a), float(b) if b > a else float(a) + 1.0


def grey(plane: NDArray[Any], window: tuple[float, float], scale: int = 1) -> Picture:
    """A slice as an RGB picture (y, x, 3), each voxel ``scale`` pixels wide."""
    low, high = window
    values = np.clip((plane.astype(np.float32) - low) / (high - low), 0, 1)
    return enlarge(np.repeat((values * 255).astype(np.uint8)[..., None], 3, axis=2), scale)


def enlarge(picture: Picture, scale: int) -> Picture:
    """Each pixel ``scale`` times as wide and high."""
    large: Picture = picture.repeat(scale, axis=0).repeat(scale, axis=1)
    return large


def overlay(picture: Picture, strength: NDArray[Any], colour: Colour, opacity: float = 0.6) -> Picture:
    """A picture tinted where ``strength`` (0 to 1, y, x; enlarged to fit) is."""
    scale = picture.shape[0] // strength.shape[0]
    alpha = np.clip(strength.astype(np.float32), 0, 1) * opacity
    alpha = alpha.repeat(scale, axis=0).repeat(scale, axis=1)[..., None]
    mixed = picture * (1 - alpha) + np.array(colour, np.float32) * alpha
    tinted: Picture = np.rint(mixed).astype(np.uint8)
    return tinted


def outline(picture: Picture, labels: NDArray[Any], colour: Colour | None = None) -> Picture:
    """A picture with the borders of labelled regions drawn, each label in its own colour unless one is given."""
    scale = picture.shape[0] // labels.shape[0]
    large = labels.repeat(scale, axis=0).repeat(scale, axis=1)
    edge = np.zeros(large.shape, bool)
    edge[:-1] |= large[:-1] != large[1:]
    edge[:, :-1] |= large[:, :-1] != large[:, 1:]
    out = picture.copy()
    out[edge] = label_colours(np.maximum(large, np.roll(large, -1, 0))[edge]) if colour is None else colour
    return out


def label_colours(labels: NDArray[Any]) -> Picture:
    """A fixed bright colour for each label: hues a golden ratio apart."""
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
    """A picture with a ring (or a cross) at each place (y, x in voxels)."""
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
    """Pictures of one height in a row, with a white gap."""
    height = max(p.shape[0] for p in pictures)
    parts: list[Picture] = []
    for picture in pictures:
        framed = np.full((height, picture.shape[1] + gap, 3), 255, np.uint8)
        framed[: picture.shape[0], : picture.shape[1]] = picture
        parts.append(framed)
    return np.concatenate(parts, axis=1)[:, :-gap]
