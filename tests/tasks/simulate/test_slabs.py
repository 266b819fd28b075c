"""How much memory a worker has says how slices are reconstructed, not what comes out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from volengine.core.block import Block
from volengine.core.boxes import Box
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.sim.seeds import stream
from volengine.tasks.common.layout import plan_folder
from volengine.tasks.simulate.blocks import project_block, reconstruct_block
from volengine.tasks.simulate.draw import sample_recipe
from volengine.tasks.simulate.inputs import SampleInputs
from volengine.tasks.simulate.plan import plan_simulate
from volengine.tasks.simulate.recipe import ReconstructRecipe

ANGLES = [float(a) for a in range(-60, 61, 5)]


def block(name: str, array: np.ndarray) -> Block:
    whole = Box.of_shape(array.shape)
    return Block(0, (0, 0, 0), whole, whole.shape, {name: array}, {name: whole})


@pytest.mark.parametrize("method", ["wbp", "sirt"])
def test_slices_made_some_at_a_time_are_the_same(method: Any) -> None:
    images = stream(1, "images").standard_normal((len(ANGLES), 75, 61)).astype(np.float32)
    how = ReconstructRecipe(method=method, iterations=2).to_json()
    facts = {"depth": 23, "voxel_size": 10.0, "sign": 1.0, "how": how, "factors": [[1, 1, 1]]}
    rows = list(range(len(ANGLES)))
    whole = reconstruct_block(block("images", images), ANGLES, rows, **facts)
    parts = reconstruct_block(block("images", images), ANGLES, rows, **facts, cache_bytes=0, slab=32)
    assert np.array_equal(whole.arrays["@0"], parts.arrays["@0"])


def test_matrices_made_again_project_the_same() -> None:
    volume = stream(2, "volume").standard_normal((23, 40, 61)).astype(np.float32)
    shifts = [0.0] * len(ANGLES)
    held, made = (project_block(block("specimen", volume), ANGLES, shifts, 10.0, cache_bytes=n) for n in (None, 0))
    assert np.array_equal(held.arrays["projections"], made.arrays["projections"])


def test_a_large_specimen_fits_into_a_small_worker(tmp_path: Any) -> None:
    values = {"specimen": {"shape": [300, 1000, 1000], "voxel_size": 12.0}, "keep": {"distance": True}}
    recipe = sample_recipe(values, 1)

    def planned(limit: str) -> Plan:
        options = RunOptions(memory_limit=limit)
        folder = plan_folder(str(tmp_path / "run"), "s")
        return plan_simulate(SampleInputs(1, "s", {}), recipe, str(tmp_path), folder, options)

    small, large = planned("1.3GB"), planned("16GB")
    small.check(RunOptions(memory_limit="1.3GB").limit_bytes())
    assert small.peak_bytes() < 1_105_000_000
    assert [i.levels for i in small.images] == [i.levels for i in large.images]  # the same stores
