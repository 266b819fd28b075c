"""Charts for pages, as SVG text: histograms and curves with marked places. Small, without a library.

>>> import numpy as np
>>> edges, counts = np.linspace(0, 1, 5), np.array([3, 0, 1, 2])
>>> chart = histogram(edges, counts, Axes("probability", "voxels"), [Mark(0.5, "0.5")])
>>> chart.startswith("<svg"), chart.count("<path")
(True, 1)

Colours are not stated: the elements have the classes ``bars``, ``curve``, ``second`` (the second curve), ``mark``,
``grid`` and ``tick``, which the style of the page draws, in light and dark mode and in print. Texts are escaped. The
same numbers give the same text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64] | NDArray[np.int64]

WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 22, 40
"""Margins of the drawing in its rectangle, for the numbers and titles of the axes."""
TICKS = 5
"""Numbers along an axis, about."""
STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Axes:
    """Titles of the axes, whether the vertical one is logarithmic (then it shows 0 and powers of ten), and what the
    chart shows, for those who do not see it."""

    across: str
    up: str
    log: bool = False
    alt: str = ""


@dataclass(frozen=True)
class Mark:
    """A dashed vertical line, and the text above it."""

    at: float
    text: str


@dataclass(frozen=True, eq=False)
class Curve:
    """Points that are joined by straight lines: a name, and x and y of (n,) points."""

    name: str
    x: Numbers
    y: Numbers


def histogram(
    edges: Numbers, counts: Numbers, axes: Axes, marks: Sequence[Mark] = (), before: Numbers | None = None
) -> str:
    """Draw a histogram.

    Parameters
    ----------
    edges
        (n + 1,) edges of the bins, rising.
    counts
        (n,) how many values each has.
    axes, marks
        Titles, and marked places.
    before
        (n,) counts of another histogram, drawn as a line (class ``second``).
    """
    most = max(int(counts.max(initial=0)), 0 if before is None else int(before.max(initial=0)))
    frame = _Frame.of(float(edges[0]), float(edges[-1]), most, axes)
    bars = "M" + " ".join(_outline(edges, counts, frame)) + "Z"
    drawn = [f'<path class="bars" d="{bars}"/>']
    if before is not None:
        drawn.append(f'<path class="second" d="M{" ".join(_outline(edges, before, frame))}"/>')
    return frame.svg(axes, drawn, marks)


def curves(
    lines: Sequence[Curve], axes: Axes, marks: Sequence[Mark] = (), span: tuple[float, float] | None = None
) -> str:
    """Draw curves; the second one has the class ``second``.

    Parameters
    ----------
    lines
        One or two curves of at least one point.
    axes, marks
        Titles, and marked places.
    span
        Begin and end of the horizontal axis; default: of the points.
    """
    x = np.concatenate([line.x for line in lines])
    low, high = span or (float(x.min()), float(x.max()))
    frame = _Frame.of(low, high, max(int(line.y.max(initial=0)) for line in lines), axes)
    drawn = []
    for number, line in enumerate(lines):
        kind = "second" if number else "curve"
        points = [frame.point(a, b) for a, b in zip(line.x.tolist(), line.y.tolist(), strict=True)]
        drawn.append(f'<path class="{kind}" d="M{" ".join(points)}"/>')
        if not number:
            drawn += [f'<circle class="dot" cx="{p.split(",")[0]}" cy="{p.split(",")[1]}" r="2.6"/>' for p in points]
    return frame.svg(axes, drawn, marks)


def ticks(low: float, high: float, about: int = TICKS) -> list[float]:
    """Return round numbers from ``low`` to ``high``, about so many.

    >>> ticks(0, 1), ticks(-3, 47)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [0.0, 10.0, 20.0, 30.0, 40.0])
    """
    if not high > low:
        return [low]
    rough = (high - low) / about
    tens = 10.0 ** np.floor(np.log10(rough))
    step = next(s * tens for s in STEPS if s * tens >= rough * (1 - 1e-9))
    first = int(np.ceil(low / step - 1e-9))
    return [round(float(k * step), 12) for k in range(first, int(np.floor(high / step + 1e-9)) + 1)]


def short(number: float) -> str:
    """Write a number of an axis: ``20k`` and ``1.5M`` for large ones.

    >>> short(0.25), short(12), short(20_000), short(1_500_000)
    ('0.25', '12', '20k', '1.5M')
    """
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= size:
            return f"{number / (1e3 if letter == 'k' else size):.4g}{letter}"
    return f"{number:.4g}"


@dataclass(frozen=True)
class _Frame:
    """Where numbers lie in the drawing."""

    low: float
    high: float
    top: float
    log: bool

    @classmethod
    def of(cls, low: float, high: float, most: float, axes: Axes) -> _Frame:
        high = high if high > low else low + 1.0
        return cls(low, high, max(float(most), 1.0), axes.log)

    def x(self, value: float) -> float:
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        share = np.log10(1 + value) / np.log10(1 + self.top) if self.log else value / self.top
        return float(HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM))

    def point(self, x: float, y: float) -> str:
        return f"{self.x(x):.1f},{self.y(y):.1f}"

    def levels(self) -> list[float]:
        """The numbers along the vertical axis."""
        if not self.log:
            return [t for t in ticks(0.0, self.top, 4) if t == int(t)] or [0.0, self.top]
        highest = int(np.floor(np.log10(self.top)))
        step = max(1, -(-highest // 4))
        return [0.0, *(10.0**k for k in range(min(1, highest), highest + 1, step))]

    def svg(self, axes: Axes, drawn: Sequence[str], marks: Sequence[Mark]) -> str:
        base, right = HEIGHT - BOTTOM, WIDTH - RIGHT
        parts = [f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(axes.alt)}">']
        for level in self.levels():
            y = self.y(level)
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text class="tick" x="{LEFT - 5}" y="{y + 4:.1f}" text-anchor="end">{short(level)}</text>')
        for number in ticks(self.low, self.high):
            x = self.x(number)
            parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{base}" y2="{base + 4}"/>')
            parts.append(f'<text class="tick" x="{x:.1f}" y="{base + 16}" text-anchor="middle">{short(number)}</text>')
        parts += drawn
        for mark in marks:
            x, inside = self.x(mark.at), self.low <= mark.at <= self.high
            if inside:
                anchor = "end" if x > WIDTH * 0.7 else "start" if x < WIDTH * 0.3 else "middle"
                parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 4}" y2="{base}"/>')
                parts.append(
                    f'<text class="tick" x="{x:.1f}" y="{TOP - 8}" text-anchor="{anchor}">{escape(mark.text)}</text>'
                )
        middle = (LEFT + right) / 2
        parts.append(
            f'<text class="title" x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(axes.across)}</text>'
        )
        parts.append(
            f'<text class="title" transform="translate(11 {(TOP + base) / 2}) rotate(-90)" text-anchor="middle">'
            f"{escape(axes.up)}</text>"
        )
        return "".join([*parts, "</svg>"])


def _outline(edges: Numbers, counts: Numbers, frame: _Frame) -> list[str]:
    """The upper rim of the bars, from the base and back to it; runs of equal bars are one step."""
    found, base = [frame.point(float(edges[0]), 0.0)], 0.0
    for k, count in enumerate(counts.tolist()):
        if count != base:
            x = float(edges[k])
            found += [frame.point(x, base), frame.point(x, count)]
            base = count
    end = float(edges[-1])
    return [*found, frame.point(end, base), frame.point(end, 0.0)]
