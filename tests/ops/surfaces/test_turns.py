"""The angle about the normal between steps, whether it is known, and the symmetry of errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.ops.surfaces.patches import Cylinder, correlations
from volengine.ops.surfaces.turns import angular, angular_share, best_turn, fold_of, scrambled, turn_is_known

GRID = Cylinder(tuple(np.arange(-6.0, 7)), tuple(np.arange(0.0, 7)), 36)


def particle(turn_deg: float = 0.0, fold: int = 1) -> np.ndarray:
    """A blob beside the axis, ``fold`` times around, at an angle."""
    xyz, found = GRID.offsets(), np.zeros(GRID.shape)
    for k in range(fold):
        a = np.radians(turn_deg + 360 * k / fold)
        found += np.exp(-((xyz - [4 * np.cos(a), 4 * np.sin(a), 1]) ** 2).sum(-1) / 8)
    return found


@settings(max_examples=25, deadline=None)
@given(turn=st.floats(-180, 180))
def test_angles_between_steps(turn: float) -> None:
    """A particle with rot shows at the angle -rot of its patch; by a parabola at steps of 10 degrees to a tenth."""
    found, value = best_turn(correlations(particle(-turn)[None], particle(), GRID.volumes()))
    assert abs((found[0] - turn + 180) % 360 - 180) < 0.2
    assert value[0] == pytest.approx(1, abs=5e-3)
    assert -180 <= found[0] <= 180


def test_what_is_not_known_has_no_angle() -> None:
    turn, value = best_turn(np.array([[np.nan] * 8, [1.0] * 8, [0, 1, 0, 0, 0, 0, 0, 0]]))
    assert turn[:2].tolist() == [0, 0]
    assert np.isnan(value[0])
    assert turn[2] == pytest.approx(45)
    assert best_turn(np.array([[0.2, 0.3]]))[0].tolist() == [-180]


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_angles_of_noise_are_not_known_and_those_of_particles_are(fold: int) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(400, *GRID.shape))
    reference, weights = particle(0, fold), GRID.volumes()
    assert turn_is_known(noise, reference, weights).mean() < 0.06  # 1 in 40
    shown = np.stack([particle(float(a), fold) for a in rng.uniform(0, 360, 50)])
    assert turn_is_known(shown + 0.5 * noise[:50], reference, weights).mean() > 0.9
    ring = np.broadcast_to(reference.mean(axis=2, keepdims=True), GRID.shape)
    assert angular_share(ring, weights) == pytest.approx(0, abs=1e-12)
    assert not turn_is_known(shown, ring, weights).any()
    assert not turn_is_known(np.full((1, *GRID.shape), np.nan), reference, weights).any()


def test_scrambled_references_keep_the_power_of_each_ring() -> None:
    reference = angular(particle())
    others = scrambled(reference, 5)
    np.testing.assert_allclose(
        np.abs(np.fft.fft(others, axis=3)),
        np.broadcast_to(np.abs(np.fft.fft(reference, axis=2)), others.shape),
        atol=1e-9,
    )
    assert len({one.tobytes() for one in others}) == 5
    assert scrambled(reference, 5).tobytes() == others.tobytes()


@pytest.mark.parametrize("fold", range(1, 9))
def test_the_symmetry_of_errors(fold: int) -> None:
    """By hand: errors are whole steps of 360 / n, and 4 degrees more or less."""
    rng = np.random.default_rng(fold)
    errors = rng.integers(0, fold, 60) * 360 / fold + rng.choice([-4.0, 4.0], 60)
    if fold > 1:
        errors[:fold] = np.arange(fold) * 360 / fold + 4
    found, error = fold_of(errors)
    assert found == fold
    assert error == pytest.approx(4)
    assert fold_of(rng.uniform(0, 360, 60))[0] == 0
    assert fold_of(np.empty(0))[0] == 0
    assert fold_of(np.zeros(5))[0] == 0  # too few to say
