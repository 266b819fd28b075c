"""Surfaces: components kept by size, and triangles, on one core.

Goal: 3,375 components of 256 x 256 x 256 voxels kept by size in 0.3 s (MemBrain's own filter: 98.7 s).
"""

from __future__ import annotations

import numpy as np
import pytest
from measure import best_of, size

from volengine.core.boxes import Box
from volengine.ops.basin_graph import RegionRules
from volengine.ops.regions import resolve
from volengine.ops.stats_labels import ClassRules, class_basins, join_classes
from volengine.ops.surfaces.components import regions_of
from volengine.ops.surfaces.marching import pieces_of

GOAL_S = 0.3
PER_SIDE = size("VOLENGINE_BENCH_COMPONENTS", 7, 15)
ROUNDS = size("VOLENGINE_BENCH_ROUNDS", 1, 3)


def cubes(per_side: int) -> np.ndarray:
    """``per_side``³ cubes of 4 to 9 voxels side, 17 voxels apart, in a volume of 17 ``per_side`` + 1 voxels."""
    n = 17 * per_side + 1
    mask = np.zeros((n, n, n), np.uint8)
    sides = np.random.default_rng(0).integers(4, 10, (per_side,) * 3)
    for (z, y, x), side in np.ndenumerate(sides):
        mask[tuple(slice(17 * a + 2, 17 * a + 2 + side) for a in (z, y, x))] = 1
    return mask


def kept(mask: np.ndarray, least: int) -> np.ndarray:
    """The mask without components of fewer than ``least`` voxels, as the stages ``objects`` to ``pieces`` find it."""
    box, rules = Box.of_shape(mask.shape), ClassRules(ids=(1,))
    table = class_basins(mask, box, box, mask.shape, rules)
    joined = join_classes(0, {0: table}, box, mask.shape, rules)
    mine = {name.partition(".")[2]: column for name, column in joined.items()}
    picks, _ = resolve({0: mine}, mask.shape, RegionRules(split=False, min_voxels=least))
    assert len(picks["size_vox"]) > 0
    keeps = np.concatenate([[False], table["1.voxels"] >= least])
    return keeps[regions_of(mask)]


@pytest.mark.benchmark(group="surface")
def test_components_kept_by_size(benchmark) -> None:
    mask = cubes(PER_SIDE)
    found, seconds = best_of(benchmark, kept, mask, 200, rounds=ROUNDS)
    assert np.array_equal(found, mask.astype(bool) & found)
    assert 0 < found.sum() < mask.sum()
    print(f"\n{PER_SIDE**3} components of {mask.shape[0]}^3 voxels kept by size: {seconds:.2f} s")


@pytest.mark.benchmark(group="surface")
def test_triangles_of_a_block(benchmark) -> None:
    mask = cubes(PER_SIDE).astype(np.int32)
    box = Box.of_shape(mask.shape)
    piece, seconds = best_of(benchmark, pieces_of, mask, box, box, mask.shape, rounds=ROUNDS)
    assert set(piece["objects"].tolist()) == {1}
    print(f"\n{len(piece['faces'])} triangles of {mask.shape[0]}^3 voxels: {seconds:.2f} s")
