"""Picking: time and memory per voxel on one core.

Goals: 100 ns and 16 bytes per voxel at 5 % foreground; 200 ns and 14 bytes at 80 %. *Dense* predictions are noise,
smoothed by so many voxels, where it is above its 20th percentile: the less smooth, the more regions and passes.
"""

from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pytest
from measure import best_of, size
from scipy import ndimage

from volengine.core.boxes import Box, neighbours
from volengine.core.errors import WiderHaloError
from volengine.core.tiling import Tiling
from volengine.ops.basins import block_basins
from volengine.ops.heights import BasinRules
from volengine.ops.regions import RegionRules, block_labels, join_seams, pick_array, relabel, resolve

RULES, REGIONS = BasinRules(127), RegionRules(unit=255, spacing_vox=8, seed_distance_vox=8)
GOAL_NS, GOAL_BYTES = 100, 16
DENSE_NS, DENSE_BYTES = 200, 14
PIECES_BYTES = 3e6  # what a block of any size needs: the sieve of passes, pieces of 32,768 voxels
SIDE = size("VOLENGINE_BENCH_SIDE", 192, 256)
SHAPES = [(48, SIDE, SIDE), (96, 3 * SIDE // 2, 3 * SIDE // 2)]
ROUNDS = size("VOLENGINE_BENCH_ROUNDS", 1, 3)


def particles(shape, fraction=0.05, radius=8):
    """Balls at random places up to a fraction of the volume."""
    rng = np.random.default_rng(0)
    ball = (np.square(np.indices((2 * radius + 1,) * 3) - radius).sum(axis=0) <= radius**2).astype(np.uint8) * 200
    prediction = np.zeros(shape, np.uint8)
    for _ in range(int(fraction * prediction.size / np.count_nonzero(ball))):
        at = [int(rng.integers(0, n - 2 * radius)) for n in shape]
        part = prediction[tuple(slice(a, a + 2 * radius + 1) for a in at)]
        np.maximum(part, ball, out=part)
    return prediction


def dense(shape, smooth, fraction=0.8):
    """Smoothed noise, of which a fraction is foreground, with 100 different values there."""
    noise = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    noise = ndimage.gaussian_filter(noise, smooth) if smooth else noise
    low = np.quantile(noise, 1 - fraction)
    part = np.clip((noise - low) / (noise.max() - low), 0, 1)
    return np.where(noise > low, 150 + 100 * part, 20).astype(np.uint8)


def in_blocks(prediction, core, halo=16):
    """The whole chain over blocks, as the engine runs it, without reading and writing."""
    shape = prediction.shape
    tiling = Tiling(shape, core)
    tables, local = {}, []
    for number, box in enumerate(tiling):
        wide = (halo,) * 3
        while True:
            crop = box.grow(wide).clip(shape)
            try:
                basin, tables[number] = block_basins(prediction[crop.slices], crop, box, shape, RULES)
                break
            except WiderHaloError as wish:
                wide = wish.halo_vox
        local.append(basin)
    seams = {}
    for number, box in enumerate(tiling):
        around = [number, *(tiling.number(i) for i in neighbours(tiling.index(number), tiling.grid))]
        seams[number] = join_seams(number, {n: tables[n] for n in around}, box, shape, RULES)
    picks, lookup = resolve(seams, shape, REGIONS)
    return [relabel(basin, block_labels(n, lookup)) for n, basin in enumerate(local)], picks


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_pick_array(benchmark, shape):
    prediction = particles(shape)
    (_, picks), seconds = best_of(benchmark, pick_array, prediction, RULES, REGIONS, rounds=ROUNDS)
    assert len(picks["label"]) > 20
    benchmark.extra_info["ns_per_voxel"] = round(seconds / prediction.size * 1e9, 1)
    benchmark.extra_info["goal_ns_per_voxel"] = GOAL_NS


def test_pick_in_blocks(benchmark):
    prediction = particles((SIDE // 2, SIDE, SIDE))
    core = (SIDE // 4, SIDE // 2, SIDE // 2)
    (_, picks), seconds = best_of(benchmark, in_blocks, prediction, core, rounds=ROUNDS)
    assert np.array_equal(picks["position_vox"], pick_array(prediction, RULES, REGIONS)[1]["position_vox"])
    benchmark.extra_info["ns_per_voxel"] = round(seconds / prediction.size * 1e9, 1)
    benchmark.extra_info["goal_ns_per_voxel"] = GOAL_NS


@pytest.mark.parametrize("smooth", [4, 1.5, 0.7, 0])
def test_dense(benchmark, smooth):
    """Processor time, the least of the rounds: these machines are shared."""
    prediction = dense((SIDE // 2, SIDE, SIDE), smooth)
    seconds = []

    def timed():
        began = time.process_time()
        _, picks = pick_array(prediction, RULES, REGIONS)
        seconds.append(time.process_time() - began)
        return picks

    picks = benchmark.pedantic(timed, rounds=ROUNDS)
    assert len(picks["label"]) > 20
    benchmark.extra_info["cpu_ns_per_voxel"] = round(min(seconds) / prediction.size * 1e9, 1)
    benchmark.extra_info["goal_ns_per_voxel"] = DENSE_NS


@pytest.mark.parametrize("smooth", [4, 1.5, 0.7, 0])
def test_memory_of_a_dense_block(benchmark, smooth):
    prediction = dense((SIDE // 2, SIDE, SIDE), smooth)
    assert memory_of_block(benchmark, prediction) <= DENSE_BYTES + PIECES_BYTES / prediction.size


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_memory_of_a_block(benchmark, shape):
    assert memory_of_block(benchmark, particles(shape)) <= GOAL_BYTES


def memory_of_block(benchmark, prediction):
    """Peak bytes per voxel of finding the regions of one block, the prediction included."""
    shape = prediction.shape
    whole = Box.of_shape(shape)
    block_basins(prediction, whole, whole, shape, RULES)  # imports count once
    tracemalloc.start()
    try:
        benchmark.pedantic(block_basins, (prediction, whole, whole, shape, RULES), rounds=1)
        peak = tracemalloc.get_traced_memory()[1] + prediction.nbytes
    finally:
        tracemalloc.stop()
    benchmark.extra_info["bytes_per_voxel"] = round(peak / prediction.size, 1)
    return peak / prediction.size
