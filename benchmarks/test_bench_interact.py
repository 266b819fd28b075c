"""Interactions: time per voxel on one core. Goal: discs 45 ns, balls 90 ns, hardly more for larger radii.

Footprints, as in Ais, take 82, 405 and 1409 ns for discs of 10, 20 and 30 pixels (512 x 512).
"""

from __future__ import annotations

import numpy as np
import pytest
from measure import best_of, size
from scipy import ndimage

from volengine.core.boxes import Box
from volengine.core.rules import Compete, Interact
from volengine.ops.distance import Reach, near
from volengine.ops.interact import RuleChain

SIDE = size("VOLENGINE_BENCH_SIDE", 256, 512)
SHAPE, VOXEL = (48, SIDE, SIDE), (10.0, 10.0, 10.0)
ROUNDS = size("VOLENGINE_BENCH_ROUNDS", 1, 3)
GOAL_NS = {"disc": 45, "ball": 90}


@pytest.fixture(scope="module")
def smooth():
    """Smooth noise: sheets and blobs over the whole volume."""
    noise = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    return ndimage.gaussian_filter(noise, 4)


def record(benchmark, seconds, goal):
    benchmark.extra_info["ns_per_voxel"] = round(seconds / np.prod(SHAPE) * 1e9, 1)
    benchmark.extra_info["goal_ns_per_voxel"] = goal


@pytest.mark.parametrize("share", [0.05, 0.3])
@pytest.mark.parametrize("radius_vox", [10, 20, 30, 60, 120])
@pytest.mark.parametrize("shape", ["disc", "ball"])
def test_near(benchmark, smooth, shape, radius_vox, share):
    mask = smooth > np.quantile(smooth, 1 - share)
    reach = Reach.of_radius(radius_vox, VOXEL, planar=shape == "disc")
    found, seconds = best_of(benchmark, near, mask, reach, rounds=ROUNDS)
    assert np.count_nonzero(found) > np.count_nonzero(mask)
    record(benchmark, seconds, GOAL_NS[shape])


@pytest.mark.parametrize("voxel_size", [(20.0, 10.0, 10.0), (10.0, 11.0, 10.0)], ids=str)
def test_near_with_longer_voxels(benchmark, smooth, voxel_size):
    mask = smooth > np.quantile(smooth, 0.95)
    found, seconds = best_of(benchmark, near, mask, Reach.of_radius(20, voxel_size), rounds=ROUNDS)
    assert found.any()
    record(benchmark, seconds, None)


def test_chain(benchmark, smooth):
    """Competition, one disc and one ball over a block as a worker gets it."""
    span = smooth.max() - smooth.min()
    first = ((smooth - smooth.min()) / span * 255).astype(np.uint8)
    predictions = {"a": first, "b": np.ascontiguousarray(first[:, ::-1]), "c": np.ascontiguousarray(first[..., ::-1])}
    rules = (
        Compete(("a", "b"), ("a", "b")),
        Interact("b", "a", "avoid", 10, 0.6),
        Interact("c", "b", "colocalize", 15, 0.6, "3d"),
    )
    whole = Box.of_shape(SHAPE)
    boxes = dict.fromkeys(predictions, whole)
    args = (predictions, boxes, whole, SHAPE, ("a", "b", "c"))
    found, seconds = best_of(benchmark, RuleChain(rules, VOXEL).gate, *args, rounds=ROUNDS)
    assert 0 < np.count_nonzero(found["c"]) < np.count_nonzero(predictions["c"])
    record(benchmark, seconds, None)
