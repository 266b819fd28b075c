"""A part of a prediction that is computed at once has the voxels that a run writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import torch

import volengine
from volengine.core.errors import InputError, MemoryRefusedError
from volengine.core.model import ModelFacts
from volengine.nets.checkpoint import save_model
from volengine.nets.registry import build
from volengine.tasks.segment.preview import NOWHERE, preview_segment

SHAPE = (20, 41, 50)
QUIET = volengine.RunOptions(progress=False)


def model(folder: Path, name: str, network: str, arguments: dict[str, Any], **facts: Any) -> str:
    """A model file with random weights that answer between 0 and 1 all over."""
    torch.manual_seed(4)
    module = build(network, arguments).eval()
    with torch.inference_mode():
        seen = torch.randn((1, 1, 8, 16, 16) if facts["patch"][0] > 1 else (1, arguments["context"], 32, 32))
        module.head.weight.mul_(1.5 / module(seen).std())
        module.head.bias.sub_(module(seen).mean())
    values = {"features": (name,), "voxel_size": (10, 10, 10), "network": network, "arguments": arguments, **facts}
    save_model(folder / f"{name}.safetensors", module, ModelFacts(**values))
    return str(folder / f"{name}.safetensors")


@pytest.fixture(scope="module")
def tomogram(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preview")
    voxels = np.random.default_rng(0).normal(5, 2, SHAPE).astype(np.float32) + np.arange(SHAPE[0])[:, None, None]
    with mrcfile.new(folder / "TS.mrc") as file:
        file.set_data(voxels.astype(np.float32))
        file.voxel_size = 10.0
    return folder / "TS.mrc"


FLAT = {"network": "unet2d", "arguments": {"width": 2, "levels": 2, "context": 3}, "context": 3, "patch": (1, 32, 32)}
DEEP = {"network": "unet3d", "arguments": {"width": 2, "levels": 2}, "patch": (8, 16, 16), "normalisation": "volume"}


@pytest.mark.parametrize(
    ("facts", "more"),
    [
        ({**FLAT, "normalisation": "per_slice"}, {}),
        ({**FLAT, "normalisation": "global_mad"}, {"uncertainty": True, "tta": 2}),
        (DEEP, {"dtype": "float32"}),
        ({**DEEP, "voxel_size": (13, 13, 13)}, {"match": "isotropic"}),
    ],
    ids=["2.5D", "median", "3D", "matched"],
)
def test_a_slice_is_that_of_the_whole_prediction(
    tomogram: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any], more: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = volengine.SegmentRecipe(models=(model(tmp_path, "membrane", **facts),), **more)
    whole = {name: found.read() for name, found in volengine.segment(tomogram, tmp_path / "out", recipe, QUIET).items()}
    source, tables = volengine.open_volume(tomogram), {}
    for roi, part in (("0:1,:,:", np.s_[:1]), ("11:12,:,:", np.s_[11:12]), (":,7:8,:", np.s_[:, 7:8])):
        found = preview_segment(source, recipe.with_(roi=roi), tables=tables)
        assert found.keys() == whole.keys()
        for name, values in found.items():
            assert values.dtype == whole[name].dtype
            assert np.array_equal(values, whole[name][part])
    assert len(np.unique(values)) > 20
    assert not Path(NOWHERE).exists()
    before = {key: id(table) for key, table in tables.items()}
    preview_segment(source, recipe.with_(roi="3:4,:,:"), tables=tables)
    assert {key: id(table) for key, table in tables.items()} == before  # the whole tomogram is read once


def test_another_tomogram_at_the_same_place_has_its_own_statistics(tomogram: Path, tmp_path: Path) -> None:
    recipe = volengine.SegmentRecipe(models=(model(tmp_path, "membrane", **DEEP),), roi="3:4,:,:")
    path, tables = tmp_path / "TS.mrc", {}
    for scale in (1, 40):
        with mrcfile.new(path, overwrite=True) as file, mrcfile.open(tomogram) as read:
            file.set_data((read.data * scale - scale).astype(np.float32))
            file.voxel_size = 10.0
        found = preview_segment(volengine.open_volume(path), recipe, tables=tables)["membrane"]
        assert np.array_equal(found, preview_segment(volengine.open_volume(path), recipe)["membrane"])


def test_what_segment_refuses_is_refused(tomogram: Path, tmp_path: Path) -> None:
    source = volengine.open_volume(tomogram)
    small = model(tmp_path, "small", **{**DEEP, "voxel_size": (13, 13, 13)})
    with pytest.raises(InputError, match="--match isotropic"):
        preview_segment(source, volengine.SegmentRecipe(models=(small,), roi="3:4,:,:"))
    recipe = volengine.SegmentRecipe(models=(small,), roi="3:4,:,:", any_voxel_size=True)
    with pytest.raises(MemoryRefusedError):
        preview_segment(source, recipe, volengine.RunOptions(memory_limit="300MB"))
