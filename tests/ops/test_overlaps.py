"""Displacements of overlaps, and shifts that are solved together."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import fourier_shift, gaussian_filter

from volengine.ops.overlaps import displacement, groups_of, solve_shifts, whole_shifts

GRID = np.array(
    [(3 * y + x, 3 * y + x + 1) for y in range(3) for x in range(2)]
    + [(3 * y + x, 3 * y + x + 3) for y in range(2) for x in range(3)]
)
"""The overlaps of 3 x 3 pieces."""


def test_what_is_further_on_in_the_second_has_a_positive_move() -> None:
    """By hand: a spot at (20, 30) in the first and at (23, 26) in the second."""
    first, second = np.zeros((48, 64)), np.zeros((48, 64))
    first[20, 30] = second[23, 26] = 1
    found = displacement(first, second, (8, 8))
    assert found.move == pytest.approx((3, -4), abs=0.01)
    assert found.sure


def test_parts_of_a_voxel_noise_and_shading() -> None:
    rng = np.random.default_rng(4)
    picture = gaussian_filter(rng.normal(size=(160, 160)), 1.5)
    moved = np.fft.ifft2(fourier_shift(np.fft.fft2(picture), (4.3, -2.6))).real
    slope = np.linspace(0, 20, 96)
    first = picture[32:96, 32:128] + rng.normal(0, picture.std(), (64, 96)) + slope
    second = moved[32:96, 32:128] + rng.normal(0, picture.std(), (64, 96)) - slope
    found = displacement(first, second, (12, 12))
    assert found.move == pytest.approx((4.3, -2.6), abs=0.25)
    assert found.sure
    assert 0.3 < found.score < 1


@pytest.mark.parametrize("seed", range(6))
def test_noise_and_nothing_are_not_sure(seed: int) -> None:
    rng = np.random.default_rng(seed)
    assert not displacement(rng.normal(size=(40, 200)), rng.normal(size=(40, 200)), (15, 15)).sure
    assert not displacement(np.full((40, 60), 3), np.full((40, 60), 3), (9, 9)).sure
    assert not displacement(np.full((16, 16), np.nan), np.zeros((16, 16)), (4, 4)).sure


def test_a_displacement_beyond_the_range_is_not_sure() -> None:
    blob = np.zeros((64, 64))
    blob[30, 30] = 1
    blob = gaussian_filter(blob, 5)
    found = displacement(blob, np.roll(blob, 9, axis=0), (5, 5))
    assert found.score > 0.3
    assert not found.sure
    assert displacement(blob, np.roll(blob, 9, axis=0), (12, 12)).sure


def shifts_and_moves(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shifts = rng.normal(0, 3, (9, 2))
    shifts -= shifts.mean(axis=0)
    return shifts, shifts[GRID[:, 1]] - shifts[GRID[:, 0]] + rng.normal(0, 0.1, (12, 2))


@pytest.mark.parametrize("outlier", range(12))
def test_any_one_wrong_overlap_is_left_out(outlier: int) -> None:
    shifts, moves = shifts_and_moves(outlier)
    moves[outlier] += (25, -18)
    found = solve_shifts(9, GRID, moves, np.ones(12))
    np.testing.assert_allclose(found.shifts, shifts, atol=0.4)
    assert found.kept.tolist() == [n != outlier for n in range(12)]


def test_all_overlaps_are_solved_together_by_weight() -> None:
    """By hand: three pieces in a ring, of which the displacements 3, 3 and 7 add up to 1 too much, in equal parts."""
    pairs = np.array([(0, 1), (1, 2), (0, 2)])
    moves = np.array([[3.0, 0], [3.0, 0], [7.0, 0]])
    even = solve_shifts(3, pairs, moves, np.ones(3)).shifts[:, 0]
    assert np.diff(even) == pytest.approx([10 / 3, 10 / 3])
    heavy = solve_shifts(3, pairs, moves, np.array([1e6, 1e6, 1.0])).shifts[:, 0]
    assert np.diff(heavy) == pytest.approx([3, 3], abs=1e-3)
    assert even.mean() == pytest.approx(0)


def test_groups_have_their_own_mean_and_single_pieces_stay() -> None:
    found = solve_shifts(5, np.array([(0, 1), (3, 2)]), np.array([[2.0, 0], [0, 4.0]]), np.ones(2))
    np.testing.assert_allclose(found.shifts, [[-1, 0], [1, 0], [0, 2], [0, -2], [0, 0]], atol=1e-9)
    group = groups_of(5, np.array([(0, 1), (3, 2)]))
    assert group[0] == group[1] != group[2] == group[3] != group[4]
    assert solve_shifts(2, np.zeros((0, 2), int), np.zeros((0, 2)), np.zeros(0)).shifts.tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("offset", [0.0, 0.3, 0.49, 0.5, 0.51, 0.9])
def test_rounding_keeps_pieces_together(offset: float) -> None:
    whole = np.array([[0, 3], [1, -2], [5, 0], [-3, 1]])
    noise = np.array([[0.1, -0.1], [-0.1, 0.1], [0.05, 0.0], [0.0, -0.05]])
    rounded = whole_shifts(whole + offset + noise, np.zeros(4, int))
    assert (np.diff(rounded, axis=0) == np.diff(whole, axis=0)).all()
    assert np.abs(rounded - (whole + offset)).max() < 1


@pytest.mark.parametrize("period", [6, 9.5, 16])
def test_a_lattice_fits_in_several_ways(period: float) -> None:
    """Both shifts differ by a period of the lattice; a defect that is large enough decides between them."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:160, :120]
    lattice = np.cos(2 * np.pi * y / period) + np.cos(2 * np.pi * x / period)

    def pair(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        noise = rng.normal(size=(2, 100, 60)) / 3
        return picture[20:120, 20:80] + noise[0], picture[18:118, 23:83] + noise[1]

    found = displacement(*pair(lattice), (30, 25))
    assert not found.sure
    assert found.rival is not None
    turns = (np.array(found.rival) - found.move) / period
    np.testing.assert_allclose(turns, np.rint(turns), atol=0.2)
    assert np.rint(turns).any()
    assert displacement(*pair(lattice), (2, 3)).rival is None  # within a period there is one way
    with_defects = lattice + 2 * gaussian_filter(rng.normal(size=lattice.shape), 2) / 0.14
    found = displacement(*pair(with_defects), (30, 25))
    assert found.sure
    np.testing.assert_allclose(found.move, (2, -3), atol=0.3)


@pytest.mark.parametrize("sigma", [1, 2, 4, 8])
@pytest.mark.parametrize("seed", range(3))
def test_smooth_pictures_without_a_period_are_not_doubted(sigma: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    picture = gaussian_filter(rng.normal(size=(240, 140)), sigma)
    picture /= picture.std()
    noise = rng.normal(size=(2, 180, 60)) / 2
    found = displacement(picture[20:200, 20:80] + noise[0], picture[15:195, 28:88] + noise[1], (40, 30))
    assert found.sure
    assert found.rival is None
    np.testing.assert_allclose(found.move, (5, -8), atol=0.5 + 0.1 * sigma)
