"""Figures for papers, drawn with matplotlib as SVG and PNG: values as dots in columns, and cumulative curves.

>>> import numpy as np
>>> from volengine.core.colours import colour_of
>>> found = [Series("wild type", "ribosome", np.array([12.0, 15, 9]), colour_of(0))]
>>> figure = dots(found, "Objects per tomogram")
>>> sorted(figure_files(figure))                                                             # doctest: +SKIP
['png', 'svg']

The functions take numbers and return a figure. They use neither pyplot, nor a display, nor the user's own settings of
matplotlib, so the same numbers give the same bytes. matplotlib is imported when a figure is drawn. The SVG contains
text as text, so that drawing programs can edit it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

STYLE: dict[str, Any] = {
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 3,
    "figure.constrained_layout.use": True,
    "savefig.dpi": 200,
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "volengine",
}
"""Settings of matplotlib that differ from its defaults."""

HEIGHT, CURVES_WIDTH, KEY_WIDTH, LEAST_WIDTH, COLUMN, LETTER = 2.8, 4.2, 1.4, 1.6, 0.34, 0.07
"""Inches: a figure's height; the widths of curves, the key, the fewest columns, a column, a letter."""
SPREAD = 0.618033988749895
"""Fraction of the golden ratio. Its multiples modulo 1 fill an interval evenly; so dots spread always the same way."""
MANY_DOTS = 2_000
"""A series of more dots is drawn with small dots, as pixels also in the SVG."""


@dataclass(frozen=True, eq=False)
class Series:
    """Values that are drawn in one colour.

    Parameters
    ----------
    name
        Label of the colour in the key.
    place
        Label of the column.
    values
        (n,) numbers.
    colour
        Red, green, blue, 0 to 255.
    """

    name: str
    place: str
    values: Floats
    colour: tuple[int, int, int]


@contextmanager
def style() -> Iterator[None]:
    """Apply :data:`STYLE` to what is drawn in the block; it can also decorate a function that draws."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a reader's own settings would change the figure
        matplotlib.rcParams.update(STYLE)
        yield


def hexadecimal(colour: tuple[int, int, int]) -> str:
    """Format a colour (0 to 255) as ``#rrggbb``, for matplotlib and HTML."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


@style()
def dots(series: Sequence[Series], title: str, top: float | None = None) -> Figure:
    """Draw one dot per value, in one column per series, with a line at the mean of each series.

    Parameters
    ----------
    series
        At least one, from left to right. Series of the same place must follow each other; they share its label.
    title
        Title of the vertical axis, with the unit. The axis begins at 0.
    top
        End of the vertical axis; default: 4 % above the largest value.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    places = list(dict.fromkeys(s.place for s in series))
    columns = {p: [k + 0.6 * n for k, s in enumerate(series) if s.place == p] for n, p in enumerate(places)}
    at = [x for xs in columns.values() for x in xs]
    wide = max(LEAST_WIDTH, COLUMN * (at[-1] + 1.6))
    long = any(LETTER * len(place) > (len(xs) + 0.4) * wide / (at[-1] + 1.6) for place, xs in columns.items())
    figure = Figure((wide + KEY_WIDTH, HEIGHT + 0.5 * long))
    axes = figure.add_subplot()
    keys: dict[str, Any] = {}
    mean = None
    for x, one in zip(at, series, strict=True):
        aside = ((np.arange(len(one.values)) * SPREAD) % 1 - 0.5) * 0.6
        many = len(one.values) > MANY_DOTS
        look: dict[str, Any] = {"color": hexadecimal(one.colour), "alpha": 0.8, "markersize": 1 if many else 4}
        look |= {"markeredgewidth": 0, "clip_on": False, "in_layout": False, "rasterized": many, "zorder": 2.5}
        (drawn,) = axes.plot(x + aside, one.values, "o", **look)
        keys.setdefault(one.name, drawn)
        if len(one.values):
            mean = axes.hlines(one.values.mean(), x - 0.4, x + 0.4, color="black", linewidth=1.2, zorder=3)
    middles = [sum(xs) / len(xs) for xs in columns.values()]
    axes.set_xticks(middles, places)
    if long:
        axes.set_xticks(middles, places, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.8, at[-1] + 0.8)
    values = np.concatenate([s.values for s in series])
    axes.set_ylim(0, top or 1.04 * values.max(initial=0.0) or 1.0)
    axes.yaxis.set_major_locator(MaxNLocator(6, integer=bool((values % 1 == 0).all()), steps=[1, 2, 5, 10]))
    axes.set_ylabel(title)
    entries = [(key, name) for name, key in keys.items() if name] + [(mean, "mean")] * (mean is not None)
    figure.legend([key for key, _ in entries], [name for _, name in entries], loc="outside right upper")
    return figure


@style()
def shares(series: Sequence[Series], title: str, mark: tuple[float, str]) -> Figure:
    """Draw the empirical distribution of each series (the share of values up to x), and a dashed vertical line.

    Parameters
    ----------
    series
        Values in any order. The largest hundredth of them may lie outside of the figure.
    title
        Title of the horizontal axis, with the unit.
    mark
        Position of the dashed line, and its label in the key.
    """
    from matplotlib.figure import Figure

    figure = Figure((CURVES_WIDTH + KEY_WIDTH, HEIGHT))
    axes = figure.add_subplot()
    drawn = [s for s in series if len(s.values)]
    right = max([1.2 * mark[0], *(1.02 * float(np.quantile(s.values, 0.99)) for s in drawn)])
    keys = []
    for one in drawn:
        x, n = np.sort(one.values), len(one.values)
        keys += axes.step([0, *x, right], [*np.arange(n + 1) / n, 1], where="post", color=hexadecimal(one.colour))
    keys.append(axes.axvline(mark[0], color="0.5", linestyle="--", linewidth=1))
    axes.set_xlim(0, right)
    axes.set_ylim(0, 1.01)
    axes.set_xlabel(title)
    axes.set_ylabel("Cumulative share of objects")
    figure.legend(keys, [*(s.name for s in drawn), mark[1]], loc="outside right upper")
    return figure


def figure_files(figure: Figure) -> dict[str, bytes]:
    """Return the contents of an SVG and a PNG file of a figure, by their suffixes ``svg`` and ``png``."""
    contents = {}
    for kind, metadata in (("svg", {"Date": None, "Creator": None}), ("png", {"Software": None})):
        buffer = io.BytesIO()
        with style():
            figure.savefig(buffer, format=kind, metadata=metadata)
        contents[kind] = buffer.getvalue()
    return contents


@dataclass(frozen=True, eq=False)
class Curve:
    """A curve with the range that chance gives.

    Parameters
    ----------
    name
        Title of its panel.
    x, y
        (n,) the curve.
    low, high
        (n,) the range; NaN: there is none.
    colour
        Red, green, blue, 0 to 255.
    """

    name: str
    x: Floats
    y: Floats
    low: Floats
    high: Floats
    colour: tuple[int, int, int]


@style()
def curves(panels: Sequence[Curve], across: str, up: str) -> Figure:
    """Draw curves, one in each panel, with the range of chance as a grey band and a line at 0.

    Parameters
    ----------
    panels
        At least one; they are drawn in rows of three.
    across, up
        Titles of the axes, with units.
    """
    from matplotlib.figure import Figure

    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = Figure((1 + 2.4 * columns, 0.4 + 2.2 * rows))
    for k, one in enumerate(panels):
        axes = figure.add_subplot(rows, columns, k + 1)
        axes.fill_between(one.x, one.low, one.high, color="0.85", linewidth=0)
        axes.axhline(0, color="0.5", linestyle="--", linewidth=1)
        axes.plot(one.x, one.y, color=hexadecimal(one.colour))
        axes.set_title(one.name, fontsize=8)
        axes.set_xlim(0, float(one.x[-1]))
    figure.supxlabel(across, fontsize=8)
    figure.supylabel(up, fontsize=8)
    return figure


@dataclass(frozen=True, eq=False)
class Trace:
    """Points in the order in which a line joins them.

    Parameters
    ----------
    panel, name
        Title of its panel, and label of its colour in the key (empty: none).
    x, y
        The points.
    colour
        Red, green, blue, 0 to 255.
    mark
        The point that is circled, or ``None``.
    """

    panel: str
    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: tuple[int, int, int]
    mark: int | None = None


@style()
def traces(
    drawn: Sequence[Trace], across: str, up: str, *, ticks: Mapping[float, str] | None = None, unit_square: bool = False
) -> Figure:
    """Draw points that lines join, in a panel for each title.

    Parameters
    ----------
    drawn
        At least one. Panels are in the order of their first ones, in rows of three.
    across, up
        Titles of the axes, with units.
    ticks
        Labels of the horizontal axis by their positions; default: its numbers.
    unit_square
        Both axes go from 0 to 1; else the vertical one begins at 0.
    """
    from matplotlib.figure import Figure

    panels = list(dict.fromkeys(one.panel for one in drawn))
    named = any(one.name for one in drawn)
    columns = min(len(panels), 3)
    rows = -(-len(panels) // columns)
    figure = Figure((1 + 2.6 * columns + 2.2 * named, 0.4 + 2.6 * rows))
    keys: dict[str, Any] = {}
    for k, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, k + 1)
        for one in (one for one in drawn if one.panel == panel):
            (line,) = axes.plot(one.x, one.y, "o-", color=hexadecimal(one.colour), clip_on=False)
            keys.setdefault(one.name, line)
            if one.mark is not None:
                here = ([one.x[one.mark]], [one.y[one.mark]])
                (best,) = axes.plot(*here, "o", mfc="none", mec="black", markersize=9, clip_on=False)
                keys.setdefault("highest F1", best)
        axes.set_title(panel, fontsize=8)
        axes.set_ylim(0, 1 if unit_square else None)
        if unit_square:
            axes.set_xlim(0, 1)
            axes.set_aspect("equal")
        if ticks:
            axes.set_xticks(list(ticks), list(ticks.values()))
    figure.supxlabel(across, fontsize=8)
    figure.supylabel(up, fontsize=8)
    shown = {name: key for name, key in keys.items() if name}
    if shown:
        figure.legend(list(shown.values()), list(shown), loc="outside right upper")
    return figure
