"""Which blocks the planner takes: they fit, own whole shards, cut axes evenly and keep workers busy."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.errors import MemoryRefusedError
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.memory import GAIN, HEADROOM, UNIT_VOX, busy_vox, choose_core, peak_bytes
from volengine.engine.stage import ArrayInput, Output, Stage

PLENTY = 10**15
units = st.tuples(*[st.sampled_from([16, 32, 64])] * 3)
shapes = st.tuples(*[st.integers(1, 300)] * 3)


def builder(shape, unit):
    source = Volume(url="in.zarr", shape=shape, dtype="float32", voxel_size=(10.0,) * 3, chunks=unit)
    made = Volume(url="out.zarr", shape=shape, dtype="float32", voxel_size=(10.0,) * 3, chunks=unit)

    def build(core):
        return Stage(
            "s", "a:b", Tiling(shape, core), arrays={"a": ArrayInput(source)}, outputs={"o": Output(made)}
        )  # which refuses cores that share a shard

    return build


def finished(shape, core, workers):
    """When the last of some workers is done: the next block goes to whoever is free, one moment after the other."""
    free = [0] * workers
    for box in Tiling(shape, core):
        free.sort()
        free[0] += box.size + UNIT_VOX
    return max(free)


@settings(deadline=None, max_examples=30)
@given(shapes, units, st.integers(1, 9))
def test_the_busiest_worker_is_foreseen(shape, unit, workers):
    blocks = len(Tiling(shape, unit))
    found, true = busy_vox(shape, unit, workers), finished(shape, unit, workers)
    largest = math.prod(min(u, n) for u, n in zip(unit, shape, strict=True)) + UNIT_VOX
    if blocks <= 64 * workers:
        assert found == true
    else:  # not counted one by one
        assert true <= found <= true + largest


@settings(deadline=None, max_examples=30)
@given(shapes, units, st.integers(1, 9))
def test_no_cut_is_much_better_for_the_workers_and_none_is_more_even(shape, unit, workers):
    core = choose_core(shape, unit, PLENTY, builder(shape, unit), wanted=workers, largest=10**9)
    grid = Tiling(shape, core).grid
    wholes = [-(-n // u) for n, u in zip(shape, unit, strict=True)]
    assert core == tuple(-(-whole // g) * u for whole, g, u in zip(wholes, grid, unit, strict=True))
    options = [{-(-w // parts) * u for parts in range(1, w + 1)} for w, u in zip(wholes, unit, strict=True)]
    best = min(busy_vox(shape, other, workers) for other in itertools.product(*options))
    assert busy_vox(shape, core, workers) * (1 - GAIN) <= best


@settings(deadline=None, max_examples=30)
@given(shapes, units, st.integers(1, 9), st.integers(300, 900))
def test_what_is_chosen_fits_or_nothing_does(shape, unit, workers, megabytes):
    build, limit = builder(shape, unit), megabytes * 10**6
    try:
        core = choose_core(shape, unit, limit, build, wanted=workers)
    except MemoryRefusedError:
        assert peak_bytes(build(unit)) > HEADROOM * limit
    else:
        assert peak_bytes(build(core)) <= HEADROOM * limit


@pytest.mark.parametrize(
    ("shape", "unit", "workers", "busy"),
    [
        ((50, 400, 400), (50, 128, 128), 2, 0.55),  # 400 slices were cut into 384 and 16
        ((61, 400, 400), (61, 64, 400), 2, 0.55),
        ((50, 400, 400), (50, 400, 32), 2, 0.57),
        ((300, 1000, 1000), (128, 128, 128), 3, 0.36),
        ((64, 64, 64), (64, 64, 64), 8, 1.2),  # a single shard is not cut
    ],
)
def test_two_workers_do_about_half_each(shape, unit, workers, busy):
    core = choose_core(shape, unit, PLENTY, builder(shape, unit), wanted=workers)
    assert finished(shape, core, workers) <= busy * math.prod(shape)


def test_tiny_volumes_are_not_cut_at_all():
    assert choose_core((12, 12, 12), (4, 4, 4), PLENTY, builder((12,) * 3, (4,) * 3), wanted=4) == (12, 12, 12)


def test_one_worker_gets_the_largest_block_cut_evenly():
    shape, unit = (64, 64, 7 * 64), (64, 64, 64)
    build = builder(shape, unit)
    assert choose_core(shape, unit, PLENTY, build) == (64, 64, 448)
    six = int(peak_bytes(build((64, 64, 384))) / HEADROOM) + 1
    assert choose_core(shape, unit, six, build) == (64, 64, 256)


def test_a_core_must_be_acceptable():
    shape, unit = (64, 64, 7 * 64), (64, 64, 64)
    core = choose_core(shape, unit, PLENTY, builder(shape, unit), wanted=2, accept=lambda c: c[2] in (64, 384))
    assert core == (64, 64, 64)
    core = choose_core(shape, unit, PLENTY, builder(shape, unit), accept=lambda c: c[2] in (64, 384))
    assert core == (64, 64, 384)
