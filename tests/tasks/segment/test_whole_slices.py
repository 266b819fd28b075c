"""Models that were trained on boxes are applied to whole slices, unless the user asks for patches."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from safetensors import safe_open
from safetensors.torch import save_file

from volengine.core.boxes import Box
from volengine.core.errors import InputError, MemoryRefusedError
from volengine.core.model import ModelFacts
from volengine.engine.options import RunOptions
from volengine.io.mrc.write import write_mrc
from volengine.io.open import open_source, open_volume
from volengine.nets.checkpoint import KEY, load_facts, save_model
from volengine.nets.registry import build, reach
from volengine.tasks.common.layout import plan_folder
from volengine.tasks.segment.plan import plan_segment
from volengine.tasks.segment.recipe import SegmentRecipe
from volengine.tasks.segment.verb import segment

SHAPE = (3, 40, 72)
FACTS: dict[str, Any] = {
    "network": "unet2d",
    "arguments": {"width": 2, "levels": 2},
    "features": ("membrane",),
    "voxel_size": (10, 10, 10),
    "patch": (1, 16, 16),
    "stride": (1, 2, 2),
    "normalisation": "per_slice",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A tomogram, a model of boxes, and the same model as it was written before the fact existed."""
    folder = tmp_path_factory.mktemp("slices")
    write_mrc(
        folder / "TS_01.mrc",
        [np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)],
        SHAPE,
        "float32",
        (10,) * 3,
    )
    torch.manual_seed(0)
    module = build(FACTS["network"], FACTS["arguments"])
    with torch.no_grad():
        module.head.weight.mul_(8)
    facts = {**FACTS, "receptive_field": reach(module, False)[0]}
    save_model(folder / "boxes.safetensors", module, ModelFacts(**facts, whole_slices=True))
    with safe_open(folder / "boxes.safetensors", "pt") as file:
        facts = json.loads(file.metadata()[KEY])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    del facts["whole_slices"]
    save_file(tensors, folder / "old.safetensors", {KEY: json.dumps(facts)})
    return folder


def planned(data, name: str, options: RunOptions | None = None, **recipe):
    made = SegmentRecipe(models=(str(data / f"{name}.safetensors"),), **recipe)
    folder = plan_folder(str(data / "plan.run"), "TS_01")
    return plan_segment(open_volume(str(data / "TS_01.mrc")), made, str(data / "x"), folder, options or RunOptions())


def sides(plan) -> tuple[int, int]:
    lattice = next(s for s in plan.stages if s.name.endswith("-predict")).params["nets"][0]["lattice"]
    return lattice["y"]["patch"], lattice["x"]["patch"]


def test_the_way_is_that_of_patch_slice(data, tmp_path):
    def read(name: str, out: str, **recipe) -> np.ndarray:
        made = SegmentRecipe(models=(str(data / f"{name}.safetensors"),), dtype="float32", **recipe)
        found = segment(str(data / "TS_01.mrc"), str(tmp_path / out), made, RunOptions(progress=False))["membrane"]
        return open_source(found).read(Box.of_shape(found.shape))

    whole = read("boxes", "default")
    np.testing.assert_array_equal(whole, read("old", "slice", patch="slice"))
    tiles = read("boxes", "tiles", patch=(1, 16, 16))
    np.testing.assert_array_equal(tiles, read("old", "old"))
    assert abs(tiles - whole).max() > 1e-3
    # inside of the slice by the receptive field, whole slices equal exact tiles (both begin at an even voxel)
    _, y, x = load_facts(data / "boxes.safetensors").receptive_field
    inside = (slice(None), slice(y, -y), slice(x, -x))
    assert whole[inside].size > 1000
    np.testing.assert_allclose(whole[inside], read("boxes", "exact", exact=True)[inside], atol=1e-5)


def test_a_slice_is_rounded_up_and_has_context(data):
    """40 x 72: the next multiples of 32 are 64 and 96; 64 more are context."""
    assert sides(planned(data, "boxes")) == (128, 160)
    assert sides(planned(data, "old")) == (16, 16)


@pytest.mark.parametrize("given", [{"overlap": 0.5}, {"window": "hann"}, {"margin_vox": 4}, {"patch": (1, 16, 16)}])
def test_options_of_patches_ask_for_patches(data, given):
    assert sides(planned(data, "boxes", **given)) == (16, 16)


def test_exact_tiles_stay_tiles(data):
    plan = planned(data, "boxes", exact=True)
    assert max(sides(plan)) < 64


def test_slices_beyond_the_memory_are_refused_with_what_helps(tmp_path):
    store = str(tmp_path / "wide.zarr")
    zarr.create_array(store, shape=(1, 30000, 30000), chunks=(1, 1024, 1024), dtype="int8")
    torch.manual_seed(0)
    facts = {**FACTS, "network": "unet", "arguments": {}, "stride": (1, 4, 4), "receptive_field": (0, 13, 13)}
    save_model(tmp_path / "m.safetensors", build("unet", {}), ModelFacts(**facts, whole_slices=True))
    volume = open_volume(store, voxel_size=10)
    folder = plan_folder(str(tmp_path / "r.run"), "wide")
    options = RunOptions(memory_limit=4_000_000_000)

    def plan(**recipe):
        made = SegmentRecipe(models=(str(tmp_path / "m.safetensors"),), **recipe)
        return plan_segment(volume, made, str(tmp_path / "o"), folder, options)

    with pytest.raises(
        MemoryRefusedError, match=r"whole slices \(30080 x 30080 voxels\): --patch 1,256,256 or --exact"
    ):
        plan()
    assert plan(patch=(1, 256, 256)).stages
    assert plan(exact=True).stages


def test_the_fact_is_for_slices_and_old_files_have_it_not(data):
    assert load_facts(data / "boxes.safetensors").whole_slices
    assert not load_facts(data / "old.safetensors").whole_slices
    with pytest.raises(InputError, match="whole_slices is for 2D networks"):
        ModelFacts(**{**FACTS, "patch": (16, 16, 16)}, whole_slices=True)
