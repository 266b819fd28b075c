"""Surfaces: components kept by size, triangles, points along a surface, walls without lines, on one core.

Goal: 3,375 components of 256 x 256 x 256 voxels kept by size in 0.3 s (MemBrain's own filter: 98.7 s).
Points whose distance along a sphere is exact, and the line that the wall of a vesicle does not have.
"""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from measure import best_of, size

from volengine.core.boxes import Box
from volengine.core.surface import Surface
from volengine.ops.basin_graph import RegionRules
from volengine.ops.filaments import centrelines
from volengine.ops.regions import resolve
from volengine.ops.stats_labels import ClassRules, class_basins, join_classes
from volengine.ops.surfaces.components import regions_of
from volengine.ops.surfaces.marching import pieces_of
from volengine.ops.surfaces.sampling import poisson_disc_geodesic

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


@pytest.mark.benchmark(group="surface")
def test_points_along_a_sphere(benchmark) -> None:
    pytest.importorskip("pygeodesic")
    ball = trimesh.creation.icosphere(4, radius=300.0)
    shape = Surface(np.array(ball.vertices), np.array(ball.faces))
    spacing = size("VOLENGINE_BENCH_SPACING", 150, 60)
    rounds = size("VOLENGINE_BENCH_ROUNDS", 1, 3)

    def drawn() -> np.ndarray:
        return poisson_disc_geodesic(shape, float(spacing), np.random.default_rng(1)).place

    place, seconds = best_of(benchmark, drawn, rounds=rounds)
    arcs = 300 * np.arccos(np.clip(place @ place.T / 300**2, -1, 1)) + 1e3 * np.eye(len(place))
    assert arcs.min() > spacing * 0.995
    print(f"\n{len(place)} points {spacing} apart on a sphere of 300: {1e3 * seconds / len(place):.1f} ms each")


@pytest.mark.benchmark(group="surface")
def test_the_wall_of_a_vesicle_has_no_line(benchmark) -> None:
    radius = size("VOLENGINE_BENCH_RADIUS", 12, 50)
    at = np.stack(np.indices((2 * radius + 9,) * 3, np.int32), -1).reshape(-1, 3)
    wall = at[np.abs(np.linalg.norm(at - (radius + 4.0), axis=1) - radius) <= 1.2]
    found, seconds = best_of(benchmark, centrelines, wall, (1.0, 1.0, 1.0), 5.0, rounds=ROUNDS)
    assert found is None
    print(f"\na wall of {len(wall)} voxels has no line: {seconds:.3f} s")
