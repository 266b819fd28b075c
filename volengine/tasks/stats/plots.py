"""The plots of ``stats``: counts per tomogram, distances to the nearest, sizes of clusters, as PNG files.

Nothing is binned: every tomogram and every cluster is a dot, and distances are cumulative curves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.atomic import write_atomic
from volengine.ops.pictures import BLUE, GREEN, ORANGE, RED, Colour, Picture
from volengine.tasks.common.html import png
from volengine.tasks.stats.recipe import StatsRecipe
from volengine.tasks.stats.tables import Counted

Floats = NDArray[np.float64]

HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 420, 64, 170, 40, 64
COLUMN, LEAST_WIDTH, CURVES_WIDTH = 44, 240, 480
COLOURS: tuple[Colour, ...] = (BLUE, ORANGE, GREEN, RED, (160, 110, 220), (130, 130, 130), (190, 150, 40))
GOLDEN = 0.618033988749895


@dataclass(frozen=True, eq=False)
class Series:
    """Values that are drawn in one colour; ``place`` is the class they stand at, ``name`` what the key says."""

    name: str
    place: str
    values: Floats
    colour: Colour


def write_plots(folder: str, counted: Sequence[Counted], recipe: StatsRecipe) -> list[str]:
    """Draw ``counts.png``, ``nearest.png`` and ``clusters.png`` into a folder; returns their names."""
    groups = sorted({c.group for c in counted})
    classes = list(counted[0].classes)
    members = {g: [c for c in counted if c.group == g] for g in groups}
    colour = {g: COLOURS[k % len(COLOURS)] for k, g in enumerate(groups)}
    counts = [
        Series(g, name, np.array([len(c.classes[name].objects) for c in members[g]], float), colour[g])
        for name in classes
        for g in groups
    ]
    sizes = [
        Series(g, name, np.concatenate([c.classes[name].clusters.sizes for c in members[g]]).astype(float), colour[g])
        for name in classes
        for g in groups
    ]
    near = []
    for k, name in enumerate(classes):
        distance = np.concatenate([c.classes[name].nearest_nm for c in counted])
        near.append(Series(name, name, np.sort(distance[np.isfinite(distance)]), COLOURS[k % len(COLOURS)]))
    pictures = {
        "counts.png": dots("objects per tomogram (line: mean)", counts),
        "nearest.png": curves("share of objects with another of their class within ... nm", near, recipe.eps_nm),
        "clusters.png": dots(f"objects per cluster, eps {recipe.eps_nm:g} nm (line: mean)", sizes),
    }
    for name, picture in pictures.items():
        write_atomic(Path(folder) / name, png(picture))
    return list(pictures)


def dots(title: str, series: Sequence[Series]) -> Picture:
    """A dot for each value, spread evenly across the column of its series; scale from 0.

    Parameters
    ----------
    title
        Above the plot.
    series
        From left to right; those of one place stand side by side, with its name below.
    """
    places = list(dict.fromkeys(s.place for s in series))
    width = max(LEAST_WIDTH, COLUMN * len(series))
    values = np.concatenate([np.zeros(1), *(s.values for s in series)])
    top = _round_up(float(values.max()))
    image, draw = _canvas(title, width, [(s.name, s.colour) for s in series if s.place == places[0] and s.name])
    _scale(draw, top, width)
    step = width / max(1, len(series))
    for k, one in enumerate(series):
        middle = LEFT + (k + 0.5) * step
        # A sequence that fills an interval evenly: dots do not hide each other, and a plot is the same every time.
        aside = ((np.arange(len(one.values)) * GOLDEN) % 1 - 0.5) * 0.6 * step
        for value, shift in zip(one.values.tolist(), aside.tolist(), strict=True):
            y = _y(value, top)
            draw.ellipse((middle + shift - 2, y - 2, middle + shift + 2, y + 2), fill=one.colour)
        if len(one.values):
            y = _y(float(one.values.mean()), top)
            draw.line((middle - 0.4 * step, y, middle + 0.4 * step, y), fill="black", width=2)
    for place in places:
        at = [LEFT + (k + 0.5) * step for k, s in enumerate(series) if s.place == place]
        _below(draw, place, sum(at) / len(at), step * len(at))
    return np.asarray(image, np.uint8)


def curves(title: str, series: Sequence[Series], mark: float) -> Picture:
    """For each series the share of values up to x, with a line at ``mark``; values ascend."""
    width = CURVES_WIDTH
    ends = [float(np.quantile(s.values, 0.99)) for s in series if len(s.values)]
    right = _round_up(max([1.2 * mark, *ends]))
    image, draw = _canvas(title, width, [(s.name, s.colour) for s in series])
    _scale(draw, 1.0, width)
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        _below(draw, f"{share * right:.4g}", LEFT + share * width, width)
    x = LEFT + mark / right * width
    draw.line((x, TOP, x, HEIGHT - BOTTOM), fill=(150, 150, 150))
    draw.text((x + 4, TOP + 4), f"eps {mark:g}", fill=(110, 110, 110))
    for one in series:
        n = len(one.values)
        points = [(float(LEFT), _y(0, 1))]
        for k, value in enumerate(one.values[one.values <= right].tolist()):
            at = LEFT + value / right * width
            points += [(at, _y(k / n, 1)), (at, _y((k + 1) / n, 1))]
        if n:
            draw.line([*points, (float(LEFT + width), points[-1][1])], fill=one.colour, width=2)
    return np.asarray(image, np.uint8)


def _canvas(title: str, width: int, key: Sequence[tuple[str, Colour]]) -> tuple[Any, Any]:
    """A white picture with a frame, a title above and a key to the right."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (LEFT + width + RIGHT, HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((LEFT, TOP, LEFT + width, HEIGHT - BOTTOM), outline="black")
    draw.text((LEFT, 14), title, fill="black")
    for k, (name, colour) in enumerate(key):
        y = TOP + 16 * k
        draw.rectangle((LEFT + width + 12, y + 2, LEFT + width + 20, y + 10), fill=colour)
        draw.text((LEFT + width + 26, y), name[:22], fill="black")
    return image, draw


def _scale(draw: Any, top: float, width: int) -> None:
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _y(share, 1)
        draw.line((LEFT - 4, y, LEFT, y), fill="black")
        if 0 < share < 1:
            draw.line((LEFT + 1, y, LEFT + width - 1, y), fill=(225, 225, 225))
        draw.text((8, y - 6), f"{share * top:.4g}", fill="black")


def _below(draw: Any, text: str, x: float, room: float) -> None:
    shown = text[: max(3, int(room / 6))]
    draw.text((x - 3 * len(shown), HEIGHT - BOTTOM + 8), shown, fill="black")


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - value / top * (HEIGHT - BOTTOM - TOP)


def _round_up(value: float) -> float:
    """The next of 1, 1.2, 1.6, 2, 4, 6, 8 times a power of ten: quarters of it are short numbers."""
    if not value > 0:
        return 1.0
    ten = 10.0 ** np.floor(np.log10(value))
    return float(next(f * ten for f in (1, 1.2, 1.6, 2, 4, 6, 8, 10) if f * ten >= value))
