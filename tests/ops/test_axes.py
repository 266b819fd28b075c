"""Axes of regions: against numpy's covariance of the voxels, and on bodies whose axes are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from volengine.core.errors import InputError
from volengine.core.orientation import euler_to_matrix, normal_to_euler
from volengine.ops.axes import PAIRS, axes_of
from volengine.ops.heights import BasinRules
from volengine.ops.regions import RegionRules, pick_array

LARGE = (3000, 40_000, 30_000)


def axes(index: np.ndarray, scale=(1.0, 1.0, 1.0), orient="long-axis", sign="z", shape=LARGE):
    """Axis and ratio of one region, from the indices of its voxels."""
    products = np.stack([index[:, a] * index[:, b] for a, b in PAIRS], axis=1)
    columns = np.array([len(index)]), index.sum(0)[None], products.sum(0)[None]
    found = axes_of(*columns, shape, scale, orient, sign)
    return found["normal"][0], float(found["axis_ratio"][0])


@given(
    seed=st.integers(0, 9999),
    n=st.integers(1, 200),
    at=st.tuples(*[st.integers(0, s - 64) for s in LARGE]),
    scale=st.tuples(*[st.sampled_from([1.0, 2.0, 2.7])] * 3),
)
def test_axes_are_those_of_the_covariance(seed: int, n: int, at: tuple[int, int, int], scale) -> None:
    rng = np.random.default_rng(seed)
    index = np.unique(rng.integers(0, rng.integers(1, 64, 3), (n, 3)), axis=0) + at
    side = np.array(scale)
    covariance = np.cov(((index - at) * side).T, bias=True).reshape(3, 3) + np.diag(side**2 / 12)
    variance, vectors = np.linalg.eigh(covariance)
    for orient, column, ratio in (
        ("long-axis", 2, variance[1] / variance[2]),
        ("normal", 0, variance[0] / variance[1]),
    ):
        axis, found = axes(index, scale, orient)
        assert found == pytest.approx(ratio, rel=1e-6)
        assert np.linalg.norm(axis) == pytest.approx(1)
        if ratio < 0.99:  # else no axis is better than another
            assert abs(axis @ vectors[:, column]) == pytest.approx(1, abs=1e-5)


@given(direction=st.tuples(*[st.integers(-3, 3)] * 3), sign=st.sampled_from(["z", "in", "out"]))
def test_a_rod_points_along_itself(direction: tuple[int, int, int], sign: str) -> None:
    assume(any(direction))
    to = np.array(direction)
    index = 500 + np.arange(-40, 41)[:, None] * to
    unit = to / np.linalg.norm(to)
    axis, ratio = axes(index, sign=sign, shape=(1001, 1001, 1001))
    assert ratio < 0.01
    head = np.flatnonzero(to)[0]
    assert np.allclose(axis, unit * np.sign(to[head]), atol=1e-6)  # at the centre only the first rule decides
    far = index + 200 * to
    axis, _ = axes(far, sign=sign, shape=(1001, 1001, 1001))
    wanted = {"z": unit * np.sign(to[head]), "out": unit, "in": -unit}[sign]
    assert np.allclose(axis, wanted, atol=1e-6)


def test_a_sheet_has_a_normal_and_voxels_that_are_no_cubes_count_as_they_are() -> None:
    z, y, x = np.indices((40, 40, 40)).reshape(3, -1)
    index = np.stack([z, y, x], axis=1)
    sheet = index[np.abs((z - 20) * 20.0 + (x - 20) * 10.0) < 15]  # voxels of 20 x 10 x 10 A; normal (1, 0, 1)
    axis, ratio = axes(sheet, (20.0, 10.0, 10.0), "normal")
    assert np.allclose(axis, np.array([1, 0, 1]) / np.sqrt(2), atol=0.02)
    assert ratio < 0.1


def test_a_single_voxel_and_a_ball_have_no_axis() -> None:
    assert axes(np.array([[5, 6, 7]]))[1] == 1
    z, y, x = np.indices((21, 21, 21))
    ball = np.argwhere((z - 10) ** 2 + (y - 10) ** 2 + (x - 10) ** 2 <= 81)
    assert axes(ball)[1] == pytest.approx(1)


def test_picks_of_rods_turn_the_reference_onto_them() -> None:
    prediction = np.zeros((30, 60, 60), np.uint8)
    line = np.round(np.array([15, 30, 30]) + np.arange(-20, 21)[:, None] * np.array([0.2, 0.6, 0.77])).astype(int)
    prediction[tuple(line.T)] = 255
    rules = RegionRules(unit=255, split=False, orient="long-axis")
    _, picks = pick_array(prediction, BasinRules(127, products=True), rules)
    turned = euler_to_matrix(normal_to_euler(picks["normal"]))[0] @ [0, 0, 1]  # x, y, z
    wanted = np.array([0.77, 0.6, 0.2]) / np.linalg.norm([0.77, 0.6, 0.2])
    assert turned @ wanted == pytest.approx(1, abs=2e-3)


def test_fewer_than_the_least_number_are_none() -> None:
    prediction = np.zeros((9, 9, 30), np.uint8)
    prediction[3:6, 3:6, [3, 4, 15, 16, 25, 26]] = 200
    for least, kept in ((3, 3), (4, 0)):
        labels, picks = pick_array(prediction, BasinRules(127), RegionRules(unit=255, min_picks=least))
        assert len(picks["label"]) == kept
        assert labels.max() == kept


def test_sums_that_pass_the_range_of_64_bits_come_back() -> None:
    """Four corners of a rectangle, as if each were 10**9 voxels at one place: the products pass 2**63."""
    corners = np.array([[39_000, 79_000 + y, 39_010 + x] for y in (0, 20) for x in (0, 2)])
    many = 10**9
    found = []
    for n in (1, many):
        products = [n * int((corners[:, a] * corners[:, b]).sum()) for a, b in PAIRS]
        assert (max(products) >= 2**63) == (n == many)
        wrapped = np.array([[p % 2**64 for p in products]], np.uint64).view(np.int64)
        sums = np.array([4 * n]), n * corners.sum(0)[None], wrapped
        found.append(axes_of(*sums, (1, 1000, 1000), (1, 1, 1), "long-axis"))
    for name in ("normal", "axis_ratio"):
        assert np.allclose(found[0][name], found[1][name], atol=1e-12)
    with pytest.raises(InputError, match="too many for its axes"):
        axes_of(*sums, LARGE, (1, 1, 1), "normal")
