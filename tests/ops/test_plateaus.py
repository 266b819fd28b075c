"""The middle of saturated regions: nearest to the centroid of their highest voxels, whatever the blocks."""

from __future__ import annotations

import numpy as np
import pytest

from volengine.ops.basin_graph import RegionRules
from volengine.ops.heights import BasinRules
from volengine.ops.regions import pick_array

MAXIMUM = {"unit": 255, "split": False, "position": "maximum"}


def middle_of(prediction: np.ndarray, **rules: object) -> list[float]:
    _, picks = pick_array(prediction, BasinRules(level=127), RegionRules(**{**MAXIMUM, **rules}))  # type: ignore[arg-type]
    assert len(picks["label"]) == 1
    return list(picks["position_vox"][0].tolist())


def test_a_saturated_ball_and_a_rod_have_their_middle_inside() -> None:
    at = np.indices((41, 41, 41))
    ball = sum((a - 20) ** 2 for a in at) <= 100
    assert middle_of(np.where(ball, 255, 0).astype(np.uint8)) == [20, 20, 20]
    rod = np.zeros((9, 9, 41), np.uint8)
    rod[3:6, 3:6, 4:37] = 255
    assert middle_of(rod) == [4, 4, 20]


def test_only_the_highest_voxels_count() -> None:
    prediction = np.zeros((9, 9, 41), np.uint8)
    prediction[3:6, 3:6, 4:37] = 200
    prediction[4, 4, 30:33] = 255
    assert middle_of(prediction) == [4, 4, 31]
    prediction[4, 4, 5] = 255  # far from the other three: the nearest to the mean of the four is among the three
    assert middle_of(prediction) == [4, 4, 30]


def test_the_middle_of_a_ring_is_on_the_ring_and_of_equals_the_first() -> None:
    prediction = np.zeros((3, 9, 9), np.uint8)
    prediction[1, 1:8, 1:8] = 255
    prediction[1, 2:7, 2:7] = 130
    assert middle_of(prediction) == [1, 1, 4]


@pytest.mark.parametrize(("scale", "wanted"), [((1.0, 1.0, 1.0), [1, 4, 4]), ((4.0, 1.0, 1.0), [2, 1, 4])])
def test_near_means_near_in_space(scale: tuple[float, float, float], wanted: list[float]) -> None:
    """The centroid lies in a hole; whether the slice above or the rim beside it is nearer depends on the voxels."""
    prediction = np.zeros((5, 9, 9), np.uint8)
    prediction[2, 1:8, 1:8] = 255
    prediction[2, 2:7, 2:7] = 130
    prediction[1, 4, 4] = prediction[3, 4, 4] = 255
    assert middle_of(prediction, scale=scale) == wanted
