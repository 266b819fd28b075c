"""Pictures of slices: the raster is kept pixel by pixel, vectors lie where they are put."""

from __future__ import annotations

import io
import xml.etree.ElementTree

import numpy as np
import pytest
from PIL import Image

from volengine.ops.slice_pictures import (
    CAPTION,
    GAP,
    KEY,
    Lines,
    Panel,
    Rings,
    bar_length,
    compose,
    picture_file,
    picture_of,
)


def raster(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def read(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("shape", [(1, 1), (37, 53), (480, 31)])
def test_without_anything_over_it_a_picture_is_its_raster(shape: tuple[int, int]) -> None:
    given = raster(*shape)
    figure = compose([Panel(given)], 1.0, scale_bar=False)
    assert np.array_equal(read(picture_file(figure, "png")), given)
    assert np.array_equal(picture_of(figure), given)


def test_panels_stand_side_by_side_and_flat_ones_below_each_other() -> None:
    panels = [Panel(raster(200, 90, 1), "z"), Panel(raster(40, 80, 2), "y"), Panel(raster(41, 80, 3), "x")]
    found = picture_of(compose(panels, 1.0, scale_bar=False))
    assert found.shape == (CAPTION + 200, 90 + GAP + 80, 3)
    for panel, top, left in zip(panels, (CAPTION, CAPTION, 40 + 2 * CAPTION + GAP), (0, 100, 100), strict=True):
        tall, wide = panel.raster.shape[:2]
        assert np.array_equal(found[top : top + tall, left : left + wide], panel.raster)


def test_a_ring_has_its_radius_around_its_centre() -> None:
    rings = Rings(np.array([[60.0, 100.0]]), np.array([30.0]), (255, 0, 0))
    found = picture_of(compose([Panel(np.zeros((150, 200, 3), np.uint8), rings=(rings,))], 1.0, scale_bar=False))
    y, x = np.nonzero(found[..., 0] > 128)
    assert len(y)
    assert np.abs(np.hypot(y - 60, x - 100) - 30).max() < 2.5
    assert (y.min() + y.max()) / 2 == pytest.approx(60, abs=0.6)
    assert (x.min() + x.max()) / 2 == pytest.approx(100, abs=0.6)


def test_a_line_goes_from_end_to_end() -> None:
    lines = Lines(np.array([[[20.0, 10.0], [20.0, 70.0]]]), (0, 255, 0))
    found = picture_of(compose([Panel(np.zeros((40, 90, 3), np.uint8), lines=(lines,))], 1.0, scale_bar=False))
    y, x = np.nonzero(found[..., 1] > 100)
    assert set(y) <= {19, 20, 21}
    assert abs(x.min() - 10) <= 1
    assert abs(x.max() - 70) <= 1


@pytest.mark.parametrize("nm_per_pixel", [0.31, 1.0, 7.7, 120.0])
def test_the_scale_bar_is_as_long_as_it_says(nm_per_pixel: float) -> None:
    found = picture_of(compose([Panel(np.full((300, 400, 3), 90, np.uint8))], nm_per_pixel))
    row = max(range(250, 300), key=lambda y: int((found[y] == 255).all(-1).sum()))
    white = np.flatnonzero((found[row] == 255).all(-1))
    assert abs(len(white) - bar_length(400, nm_per_pixel) / nm_per_pixel) < 2
    assert len(white) == white[-1] - white[0] + 1


@pytest.mark.parametrize("width", [40.0, 99.0, 1024.0])
@pytest.mark.parametrize("scale", [0.05, 1.0, 33.0])
def test_a_scale_bar_is_a_round_number_that_fits(width: float, scale: float) -> None:
    nm = bar_length(width, scale)
    assert f"{nm:.0e}"[0] in "125"
    assert 0.1 * width * scale < nm <= 0.3 * width * scale * (1 + 1e-9)


def test_an_svg_keeps_the_raster_and_has_vectors_and_texts() -> None:
    rings = Rings(np.array([[60.0, 100.0]]), np.array([30.0]), (255, 0, 0))
    given = raster(150, 200)
    figure = compose([Panel(given, "a <b> & c", rings=(rings,))], 1.0, key=[("ribosome", (1, 2, 3))])
    data = picture_file(figure, "svg")
    root = xml.etree.ElementTree.fromstring(data)
    assert root.attrib["viewBox"] == f"0 0 200 {150 + CAPTION + KEY}"
    texts = ["".join(one.itertext()) for one in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"a <b> & c", "ribosome"} <= set(texts)
    assert any(one.endswith(" nm") for one in texts)
    again = compose([Panel(given, "a <b> & c", rings=(rings,))], 1.0, key=[("ribosome", (1, 2, 3))])
    assert picture_file(again, "svg") == data


def test_no_rings_and_no_lines_are_nothing() -> None:
    given = raster(20, 30)
    panel = Panel(given, rings=(Rings(np.zeros((0, 2)), np.zeros(0)),), lines=(Lines(np.zeros((0, 2, 2))),))
    assert np.array_equal(picture_of(compose([panel], 1.0, scale_bar=False)), given)
