"""Charts: where numbers lie in the drawing, computed from the path again."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from volengine.ops.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axes, Curve, Mark, curves, histogram, ticks


def path_of(chart: str, kind: str) -> np.ndarray:
    """The points of a path, in numbers of the axes from 0 to 1."""
    text = re.search(rf'<path class="{kind}" d="M([^"Z]*)', chart)
    assert text is not None
    points = np.array([[float(v) for v in pair.split(",")] for pair in text[1].split()])
    x = (points[:, 0] - LEFT) / (WIDTH - LEFT - RIGHT)
    y = (HEIGHT - BOTTOM - points[:, 1]) / (HEIGHT - TOP - BOTTOM)
    return np.stack([x, y], axis=1)


def test_the_bars_of_a_histogram_have_the_height_of_its_counts() -> None:
    counts = np.array([4, 0, 1, 2, 2])
    outline = path_of(histogram(np.arange(6.0), counts, Axes("value", "voxels")), "bars")
    for k, count in enumerate(counts):
        x = (k + 0.5) / 5
        before = np.flatnonzero(outline[:, 0] <= x)[-1]
        assert outline[before, 1] == pytest.approx(count / 4, abs=2e-3)
    assert outline[-1] == pytest.approx([1, 0], abs=1e-3)


def test_logarithmic_bars() -> None:
    outline = path_of(histogram(np.arange(3.0), np.array([999, 9]), Axes("value", "voxels", log=True)), "bars")
    assert outline[2, 1] == pytest.approx(1)
    assert outline[4, 1] == pytest.approx(1 / 3, abs=2e-3)  # log10(10) of log10(1000)


def test_curves_and_marks_lie_at_their_numbers() -> None:
    lines = [Curve("after", np.array([0.2, 0.8]), np.array([10, 5])), Curve("before", np.array([0.5]), np.array([20]))]
    chart = curves(lines, Axes("threshold", "picks", alt="a chart"), [Mark(0.25, "0.25"), Mark(7, "far")], (0.0, 1.0))
    assert path_of(chart, "curve") == pytest.approx(np.array([[0.2, 0.5], [0.8, 0.25]]), abs=2e-3)
    assert path_of(chart, "second") == pytest.approx(np.array([[0.5, 1.0]]), abs=2e-3)
    mark = re.search(r'<line class="mark" x1="([\d.]+)"', chart)
    assert mark is not None
    assert (float(mark[1]) - LEFT) / (WIDTH - LEFT - RIGHT) == pytest.approx(0.25, abs=1e-3)
    assert chart.count('class="mark"') == 1  # the other one lies outside
    assert 'role="img" aria-label="a chart"' in chart


def test_texts_are_escaped_and_nothing_is_named_that_a_browser_would_load() -> None:
    evil = '"><script>alert(1)</script>'
    chart = curves([Curve("a", np.array([0.0]), np.array([0]))], Axes(evil, evil, alt=evil), [Mark(0, evil)])
    tags: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.append(tag)
            assert not {name for name, _ in attrs} & {"href", "src", "style", "onload"}

    Reader().feed(chart)
    assert set(tags) <= {"svg", "path", "line", "text", "circle"}


@pytest.mark.parametrize(("low", "high"), [(0, 0), (0, 3), (-5, 5), (1e-9, 2e-9), (0, 1e12)])
def test_numbers_along_an_axis_are_round_and_inside(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 1 <= len(found) <= 8
    assert min(found) >= low - 1e-15
    assert max(found) <= high * (1 + 1e-12) + 1e-15
