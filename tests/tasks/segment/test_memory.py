"""The peak memory of segment's modes stays below what their plans say."""

from __future__ import annotations

import json
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from volengine.core.model import ModelFacts
from volengine.engine.options import RunOptions
from volengine.io.mrc.write import write_mrc
from volengine.nets.checkpoint import save_model
from volengine.nets.registry import build
from volengine.tasks.convert.recipe import ConvertRecipe
from volengine.tasks.convert.verb import convert
from volengine.tasks.segment.recipe import SegmentRecipe
from volengine.tasks.segment.verb import segment

SHAPE = (64, 256, 256)
LIMIT = 1_500_000_000
SOLID = {
    "network": "unet3d",
    "arguments": {"width": 4, "levels": 2},
    "patch": (32, 64, 64),
    "stride": (2, 2, 2),
    "overlap": 0.0,
}
WINDOWS = {"network": "dynunet", "arguments": {"filters": [4, 6, 8, 10]}, "patch": (64, 64, 64), "stride": (8, 8, 8)}
FLAT = {"network": "eman2", "arguments": {}, "patch": (1, 64, 64), "overlap": 0.0, "normalisation": "global_mad"}
SLICES = {"network": "vggnet", "arguments": {}, "patch": (1, 256, 256), "stride": (1, 4, 4), "overlap": 0.0}
MODES = {
    "finer": (SOLID, 8.0, {"match": "isotropic"}),
    "coarser": (SOLID, 14.0, {"match": "isotropic", "dtype": "float32"}),
    "membrain": (
        WINDOWS,
        10.0,
        {"compat": "membrain", "patch": (64, 64, 64), "tta": "flips4", "overlap": 0.0, "uncertainty": True},
    ),
    "ais": (FLAT, 13.0, {"compat": "ais"}),
    "openvino": (SOLID, 10.0, {"backend": "openvino"}),
    "openvino slices": (SLICES, 10.0, {"backend": "openvino"}),
    "onnxruntime slices": (SLICES, 10.0, {"backend": "onnxruntime"}),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("memory")
    rng = np.random.default_rng(0)
    slabs = (rng.normal(size=(16, *SHAPE[1:])).astype(np.float32) for _ in range(0, SHAPE[0], 16))
    write_mrc(folder / "TS_01.mrc", slabs, SHAPE, "float32", (10, 10, 10))
    url = str(folder / "TS_01.ome.zarr")
    convert(str(folder / "TS_01.mrc"), url, ConvertRecipe(), RunOptions(progress=False))
    return url


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", MODES)
def test_peak_memory_is_below_the_plan(store, tmp_path, mode):
    facts, voxel_size, recipe = MODES[mode]
    if "backend" in recipe and find_spec(recipe["backend"]) is None:
        pytest.skip(f"the extra {recipe['backend']} is not installed")
    torch.manual_seed(0)
    path = tmp_path / "m.safetensors"
    save_model(
        path,
        build(facts["network"], facts["arguments"]),
        ModelFacts(features=("m",), voxel_size=(voxel_size,) * 3, **facts),
    )
    options = RunOptions(progress=False, workers=1, memory_limit=LIMIT)
    segment(store, str(tmp_path / "out"), SegmentRecipe(models=(str(path),), **recipe), options)
    report = json.loads((tmp_path / "out" / "segment.run" / "report.json").read_text())
    stages = report["plans"]["TS_01"]["stages"]
    print([(s["stage"], s["peak_rss_bytes"] // 10**6, s["planned_peak_bytes"] // 10**6) for s in stages])
    assert {s["stage"].rpartition("-")[2] for s in stages} >= {"predict"}
    for stage in stages:
        assert stage["peak_rss_bytes"] <= stage["planned_peak_bytes"] <= LIMIT, stage["stage"]
