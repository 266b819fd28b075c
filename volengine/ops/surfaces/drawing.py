"""Pictures of surfaces: shaded triangles from one side, coloured by a column.

Parallel projection with a light at the viewer. Each triangle is covered with points closer than a pixel, and in each
pixel the nearest point is seen, of equally near ones that of the first face; so a picture does not depend on anything
but the surfaces. It is drawn twice as large and averaged. No library of graphics is needed.

>>> import trimesh
>>> ball = trimesh.creation.icosphere(3, 100.0)
>>> picture = draw([Surface(ball.vertices, ball.faces)], pixels=50)
>>> picture.shape, picture[0, 0].tolist()
((50, 50, 3), [255, 255, 255])
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.errors import InputError
from volengine.core.surface import Surface
from volengine.ops.pictures import Colour, Picture

Floats = NDArray[np.float64]

VIEW = (0.55, -0.75, -0.4)
"""Direction to the viewer, z, y, x: from above, somewhat from the side."""

PLAIN: Colour = (235, 175, 60)
UNKNOWN: Colour = (150, 150, 150)
SCALE = np.array([[44, 72, 150], [70, 150, 190], [238, 236, 226], [232, 150, 70], [165, 40, 40]], float)
"""Colours of values from low to high, blue over white to red."""

AMBIENT, BEHIND = 0.35, 0.6
"""Brightness of what the light grazes; and that of faces seen from behind, as a share of that of others."""

FINER = 2
POINTS = 2_000_000
"""About so many points are placed at a time, 60 bytes for each."""


@dataclass
class _Canvas:
    """The nearest point of each pixel: its depth, and its brightness times colour."""

    depth: Floats
    colour: Floats

    def put(self, pixel: NDArray[np.int64], depth: Floats, colour: Floats) -> None:
        """Show points that are nearer than what is there; of equally near ones the first."""
        order = np.lexsort((-depth, pixel))
        first = order[np.r_[True, pixel[order][1:] != pixel[order][:-1]]]
        nearer = first[depth[first] > self.depth[pixel[first]]]
        self.depth[pixel[nearer]] = depth[nearer]
        self.colour[pixel[nearer]] = colour[nearer]


def value_colours(values: ArrayLike, window: tuple[float, float]) -> Floats:
    """Colours of values: blue at the low end of the window, red at its high end, grey for NaN.

    Parameters
    ----------
    values
        (n,) numbers.
    window
        The values that have the first and the last colour; those beyond have these, too.

    Returns
    -------
    ndarray
        (n, 3), red, green and blue, 0 to 255.

    Raises
    ------
    InputError
        The window is empty.
    """
    low, high = window
    if not low < high:
        raise InputError(f"The colours go from {low:g} to {high:g}; the second must be larger.")
    given = np.asarray(values, float)
    at = np.clip((given - low) / (high - low), 0, 1) * (len(SCALE) - 1)
    steps = np.arange(len(SCALE))
    found = np.stack([np.interp(np.nan_to_num(at), steps, SCALE[:, k]) for k in range(3)], axis=1)
    found[np.isnan(given)] = UNKNOWN
    return found


def draw(
    surfaces: Sequence[Surface],
    *,
    column: str = "",
    window: tuple[float, float] | None = None,
    colours: Sequence[Colour] = (PLAIN,),
    view: Sequence[float] = VIEW,
    pixels: int = 480,
) -> Picture:
    """Draw surfaces.

    Parameters
    ----------
    surfaces
        The surfaces, at places of one tomogram.
    column
        Name of a column of all of them that gives the colour; empty: ``colours``.
    window
        Values of the column with the first and the last colour; default: percentiles 2 and 98, weighted by vertex.
    colours
        Without a column: colours of the surfaces, in turn.
    view
        Direction to the viewer, z, y, x. Larger z is up. Seen along z, larger x is to the right; from below,
        (-1, 0, 0), larger y is down, as in slices.
    pixels
        Width or height, whichever is larger.

    Returns
    -------
    ndarray
        (y, x, 3) uint8 on white.

    Raises
    ------
    InputError
        There are no faces to draw, a surface lacks the column, or the direction is zero.
    """
    if not any(len(one.faces) for one in surfaces):
        raise InputError("There are no faces to draw.")
    for one in surfaces:
        if column and column not in one.columns:
            known = ", ".join(one.columns) or "none"
            raise InputError(f"{one.name} has no column {column!r}; it has: {known}.")
    axes = _axes(view)
    if column and window is None:
        window = shown_window(np.concatenate([one.columns[column] for one in surfaces]))
    flat = [one.vertices @ axes.T for one in surfaces]
    low = np.min([at.min(axis=0) for at in flat if len(at)], axis=0)
    high = np.max([at.max(axis=0) for at in flat if len(at)], axis=0)
    step = float((high - low)[:2].max()) / (pixels * FINER - 1) or 1.0
    height, width = (-(-int(np.rint((high - low)[k] / step) + 1) // FINER) * FINER for k in range(2))
    canvas = _Canvas(np.full(height * width, -np.inf), np.full((height * width, 3), 255.0))
    for number, (one, at) in enumerate(zip(surfaces, flat, strict=True)):
        if not len(one.faces):
            continue
        corner = (
            value_colours(one.columns[column], window)
            if column and window
            else np.broadcast_to(np.array(colours[number % len(colours)], float), (len(at), 3))
        )
        shaded = corner[one.faces].mean(axis=1) * _brightness(at[one.faces])[:, None]
        scaled = (at - low) / (step, step, 1.0)
        for face, points in _points(scaled[one.faces]):
            row, across = (np.rint(points[:, k]).astype(np.int64) for k in range(2))
            canvas.put(row * width + across, points[:, 2], shaded[face])
    mean = canvas.colour.reshape(height // FINER, FINER, width // FINER, FINER, 3).mean(axis=(1, 3))
    picture: Picture = np.rint(mean).astype(np.uint8)
    return picture


def shown_window(values: ArrayLike) -> tuple[float, float]:
    """Percentiles 2 and 98 of the finite values; a little apart if they are equal."""
    given = np.asarray(values, float)
    given = given[np.isfinite(given)]
    if not len(given):
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(given, [2, 98]))
    return (low, high) if high > low else (low, low + max(abs(low), 1.0) * 1e-3)


def _axes(view: Sequence[float]) -> Floats:
    """Rows: directions of the picture's rows (down) and columns (to the right), and to the viewer, each z, y, x."""
    towards = np.asarray(view, float)
    length = float(np.linalg.norm(towards))
    if towards.shape != (3,) or not 0 < length < np.inf:
        raise InputError(f"The direction to the viewer must be three numbers that are not all 0, not {view!r}.")
    towards = towards / length
    along = abs(towards[0]) > 1 - 1e-9
    up = np.array([0.0, np.sign(towards[0]), 0.0]) if along else np.array([1.0, 0.0, 0.0])
    down = -(up - (up @ towards) * towards)
    down /= np.linalg.norm(down)
    # In x, y, z a right-handed picture has right = up x towards; z, y, x is mirrored, so the sign changes.
    right = -np.cross(-down, towards)
    return np.stack([down, right, towards])


def _brightness(corners: Floats) -> Floats:
    """Of each face, by the angle of its normal to the viewer."""
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normal, axis=1)
    # Rows down, columns right, viewer: these axes keep the sense in which corners are numbered.
    cosine = normal[:, 2] / np.where(length > 0, length, 1)
    return (AMBIENT + (1 - AMBIENT) * np.abs(cosine)) * np.where(cosine < 0, BEHIND, 1.0)


def _points(corners: Floats) -> Iterator[tuple[NDArray[np.int64], Floats]]:
    """Points that cover triangles, at most 0.7 pixels from each other along rows and columns, with their triangles."""
    sides = np.abs(corners - np.roll(corners, 1, axis=1))[:, :, :2].max(axis=(1, 2))
    parts = np.maximum(1, np.ceil(sides / 0.7)).astype(np.int64)
    for count in np.unique(parts):
        i, j = (v.ravel() for v in np.indices((count + 1, count + 1)))
        inside = i + j <= count
        weight = np.stack([count - i - j, i, j], axis=1)[inside] / count
        faces = np.flatnonzero(parts == count)
        each = max(1, POINTS // len(weight))
        for first in range(0, len(faces), each):
            some = faces[first : first + each]
            yield np.repeat(some, len(weight)), np.einsum("pk,fkd->fpd", weight, corners[some]).reshape(-1, 3)
