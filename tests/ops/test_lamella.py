"""The faces of a slab: by hand in single columns, then smooth ones through noise, gaps and wrong columns."""

from __future__ import annotations

import numpy as np
import pytest

from volengine.core.errors import InputError
from volengine.ops.lamella import Face, faces_of_mask, faces_of_variance, fit_face


@pytest.mark.parametrize("planes", [60, 400, 1000])
def test_a_column_of_variances(planes: int) -> None:
    """Three levels with noise, also where there are more planes than are searched at first."""
    rng = np.random.default_rng(planes)
    low, high = round(0.23 * planes), round(0.71 * planes)
    profile = np.full(planes, 1.3)
    profile[low:high] = 3.0
    profile[high:] = 0.8
    found = faces_of_variance((profile * rng.uniform(0.9, 1.1, planes))[:, None, None])
    assert found.low.item() == low - 0.5
    assert found.high.item() == high - 0.5


@pytest.mark.parametrize("background", [0.0004, 0.1, 0.5])
def test_a_face_that_is_tilted_in_its_cells(background: float) -> None:
    """Variances are mixed by the shares of material in a plane: faces are where half is. Gold changes nothing."""
    rng = np.random.default_rng(3)
    z, across = np.arange(120.0), (np.arange(40) - 19.5)[:, None] * 0.2
    share = ((z > 30.5 + across) & (z < 79.5 + across)).mean(axis=0)
    material = np.where(np.isin(z, (45, 62, 63)), 40.0, 1.0)
    columns = (share * material + (1 - share) * background)[:, None, None] * rng.chisquare(1600, (120, 5, 5)) / 1600
    found = faces_of_variance(columns, 10)
    assert found.low.mean() == pytest.approx(30.5, abs=0.4)
    assert found.high.mean() == pytest.approx(79.5, abs=0.4)


def test_no_slab_is_found_where_there_is_none() -> None:
    rng = np.random.default_rng(5)
    noise = rng.chisquare(400, (200, 30, 30)) / 400
    assert np.isnan(faces_of_variance(noise).low).all()
    well = np.where((np.arange(200) > 60) & (np.arange(200) < 150), 1.0, 3.0)  # less inside than outside
    assert np.isnan(faces_of_variance(well[:, None, None]).low).all()
    step = np.where(np.arange(200) > 60, 3.0, 1.0)  # one face only
    assert np.isnan(faces_of_variance(step[:, None, None]).high).all()
    assert np.isnan(faces_of_variance(np.zeros((200, 1, 1))).low).all()
    assert np.isnan(faces_of_variance(np.full((200, 1, 1), np.nan)).low).all()
    assert np.isnan(faces_of_variance(np.ones((5, 1, 1))).low).all()


def test_a_mask_by_its_slope() -> None:
    """Shares 0.25 and 0.75 at planes 3 and 4: one half between them. Out of the first plane: not seen."""
    share = np.array([0, 0, 0, 0.25, 0.75, 1, 1, 0.6, 0.1, 0])[:, None, None]
    found = faces_of_mask(share)
    assert found.low.item() == pytest.approx(3.5)
    assert found.high.item() == pytest.approx(7.2)
    assert np.isnan(faces_of_mask(share[4:]).low.item())
    assert np.isnan(faces_of_mask(share * 0.4).low.item())


def test_a_face_through_wrong_columns() -> None:
    """A bent face in voxels of three sides; a third of the columns is elsewhere, some say nothing."""
    rng = np.random.default_rng(7)
    y, x = np.arange(20) * 30.0 + 14.5, np.arange(25) * 40.0 + 19.5
    size = (12.0, 8.0, 10.0)
    v, u = np.meshgrid(y * size[1], x * size[2], indexing="ij")
    truth = 900 + 0.05 * v - 0.03 * u + 1e-6 * (u - 4000) ** 2
    heights = truth / size[0] + rng.normal(0, 0.3, v.shape)
    wrong = rng.random(v.shape) < 0.3
    heights[wrong] += rng.uniform(20, 90, v.shape)[wrong]
    heights[rng.random(v.shape) < 0.1] = np.nan
    face = fit_face(heights, y, x, size, "T")
    assert np.abs(face.height(v, u) - truth).max() < 0.3 * size[0]
    assert face.used >= 0.6 * face.seen
    assert face.spread < 2 * size[0]


def test_the_distance_from_a_bent_face() -> None:
    """Perpendicular, against a search over many points of the face."""
    face = Face(np.array([500.0, 80, -40, 60, 20, -30]), (1000.0, 1200.0), 1000.0, 1.0, 9, 9)
    places = np.random.default_rng(8).uniform([200, 200, 200], [800, 1800, 2000], (50, 3))
    for place, found in zip(places, face.above(places), strict=True):
        near = np.meshgrid(
            np.arange(-100, 100.5, 0.5) + place[1], np.arange(-100, 100.5, 0.5) + place[2], indexing="ij"
        )
        apart = np.sqrt((face.height(*near) - place[0]) ** 2 + (near[0] - place[1]) ** 2 + (near[1] - place[2]) ** 2)
        assert abs(found) == pytest.approx(apart.min(), abs=0.1)
        assert np.sign(found) == np.sign(place[0] - face.height(place[1], place[2]))


def test_columns_that_do_not_agree_are_refused() -> None:
    rng = np.random.default_rng(9)
    y = np.arange(12) * 40.0
    with pytest.raises(InputError, match="this is no slab"):
        fit_face(rng.uniform(20, 150, (12, 12)), y, y, (10.0, 10.0, 10.0), "T")
    few = np.full((12, 12), np.nan)
    few[:2] = 40
    with pytest.raises(InputError, match="seen in 24 of 144 columns only"):
        fit_face(few, y, y, (10.0, 10.0, 10.0), "T")


def test_a_field_of_one_column() -> None:
    face = fit_face(np.array([[40.0]]), np.array([10.0]), np.array([10.0]), (10.0, 10.0, 10.0), "T")
    assert face.above(np.array([[500.0, 0, 0], [300, 50, 900]])) == pytest.approx([100, -100])
