"""Figures: values lie where the axes say, text is text, and the same numbers give the same bytes everywhere."""

from __future__ import annotations

import io
import itertools
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from volengine.core.colours import PALETTE, colour_of
from volengine.ops.figures import MANY_DOTS, Curve, Series, curves, dots, figure_files, shares

COUNTS = [
    Series(group, place, np.array(values, float), colour_of(k))
    for place in ("ribosome", "a$b$ & <c>")
    for k, (group, values) in enumerate({"_rim": [3, 9, 0], "core": [12]}.items())
]


def drawn(figure) -> tuple[str, np.ndarray]:
    """The SVG's text, and the PNG's pixels."""
    files = figure_files(figure)
    return files["svg"].decode(), np.asarray(Image.open(io.BytesIO(files["png"])).convert("RGB"))


def test_colours_are_told_apart_and_start_again():
    assert len(set(PALETTE)) == len(PALETTE) >= 12
    assert all(0 <= value <= 255 for colour in PALETTE for value in colour)
    assert colour_of(len(PALETTE) + 2) == colour_of(2) == PALETTE[2]


def test_dots_stand_at_their_values_in_the_column_of_their_series():
    (axes,) = dots(COUNTS, "Objects per tomogram").axes
    for series, line in zip(COUNTS, axes.lines, strict=True):
        assert line.get_ydata().tolist() == series.values.tolist()
    spans = [(min(line.get_xdata()), max(line.get_xdata())) for line in axes.lines]
    assert all(before[1] < after[0] for before, after in itertools.pairwise(spans))
    means = [segment[0][1] for lines in axes.collections for segment in lines.get_segments()]
    assert means == [4, 12, 4, 12]
    low, high = axes.get_ylim()
    assert low == 0
    assert high > 12
    assert all(tick == round(tick) for tick in axes.get_yticks())


def test_axis_titles_places_and_key_are_text_in_the_svg():
    text, _ = drawn(dots(COUNTS, "Objects per tomogram"))
    for word in ("Objects per tomogram", "ribosome", "a$b$ &amp; &lt;c&gt;", "_rim", "core", "mean"):
        assert f">{word}<" in text, word
    text, _ = drawn(shares(COUNTS[:2], "Distance (nm)", (5.0, "radius, 5 nm")))
    for word in ("Distance (nm)", "Cumulative share of objects", "_rim", "core", "radius, 5 nm"):
        assert f">{word}<" in text, word


def test_shares_climb_from_0_to_1_at_the_values():
    figure = shares(COUNTS[:1], "Distance (nm)", (5.0, "radius, 5 nm"))
    curve, mark = figure.axes[0].lines
    x, y = curve.get_data()
    assert [float(np.interp(at, x[1:], y[1:])) for at in (0, 3, 9)] == pytest.approx([1 / 3, 2 / 3, 1])
    assert mark.get_xdata() == [5, 5]


def test_series_without_values_are_no_error():
    empty = [Series("", "ribosome", np.zeros(0), colour_of(0))]
    for figure in (dots(empty, "Objects"), shares(empty, "Distance (nm)", (5.0, "radius"))):
        text, pixels = drawn(figure)
        assert "ribosome" in text or "radius" in text
        assert pixels.min() < 50
    assert drawn(dots(empty, "Objects"))[0].count(">mean<") == 0


def test_very_many_dots_do_not_make_a_large_svg():
    values = np.random.default_rng(0).normal(10, 1, 20 * MANY_DOTS)
    text, pixels = drawn(dots([Series("", "a", values, colour_of(0))], "Objects"))
    assert len(text) < 100_000
    assert (np.abs(pixels.astype(int) - colour_of(0)).max(-1) < 60).sum() > 1000


def test_neither_settings_of_the_reader_nor_the_process_change_a_byte(tmp_path):
    code = """
import sys
import numpy as np
from volengine.core.colours import colour_of
from volengine.ops.figures import Series, dots, figure_files
files = figure_files(dots([Series("g", "p", np.array([1.0, 5]), colour_of(0))], "Objects"))
sys.stdout.buffer.write(files["svg"] + files["png"])
assert "matplotlib.pyplot" not in sys.modules
"""
    (tmp_path / "matplotlibrc").write_text("font.size: 20\nlines.linewidth: 9\nsvg.fonttype: path\n")
    before = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=tmp_path).stdout
    after = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    assert b">Objects<" in before
    assert before == after


def test_the_settings_of_the_reader_stay_as_they_were():
    import matplotlib

    with matplotlib.rc_context({"font.size": 21, "svg.hashsalt": "theirs"}):
        figure_files(dots(COUNTS, "Objects"))
        assert matplotlib.rcParams["font.size"] == 21
        assert matplotlib.rcParams["svg.hashsalt"] == "theirs"


def test_curves_lie_at_their_values_with_the_band_of_chance():
    x = np.array([5.0, 10, 15])
    one = Curve("a to b, p = 0.01", x, np.array([1.0, 3, 2]), x * 0 - 1, x * 0 + 1, colour_of(0))
    other = Curve("b", x, np.array([0.0, -2, 1]), x * np.nan, x * np.nan, colour_of(1))
    figure = curves([one, other], "Distance (nm)", "L - r (nm)")
    first, second = figure.axes
    assert first.lines[1].get_ydata().tolist() == [1, 3, 2]
    assert second.lines[1].get_ydata().tolist() == [0, -2, 1]
    (path,) = first.collections[0].get_paths()
    assert (path.vertices[:, 1].min(), path.vertices[:, 1].max()) == (-1, 1)
    text, _ = drawn(figure)
    for word in ("a to b, p = 0.01", "b", "Distance (nm)", "L - r (nm)"):
        assert f">{word}<" in text, word
    assert figure_files(curves([one], "x", "y")) == figure_files(curves([one], "x", "y"))
