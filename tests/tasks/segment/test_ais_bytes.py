"""segment --compat ais takes signed bytes as Ais does: for global_mad as 0 to 255, for other models as they are."""

from __future__ import annotations

import mrcfile
import numpy as np
import pytest
import torch

from volengine.core.boxes import Box
from volengine.core.model import ModelFacts
from volengine.engine.options import RunOptions
from volengine.io.open import open_source, open_volume
from volengine.nets.checkpoint import save_model
from volengine.nets.registry import build
from volengine.tasks.convert.recipe import ConvertRecipe
from volengine.tasks.convert.verb import convert
from volengine.tasks.segment.recipe import SegmentRecipe
from volengine.tasks.segment.verb import segment

QUIET = RunOptions(progress=False)
BYTES = np.array([5, 120, 200, 244], np.uint8)
"""A quarter of the voxels each: mean 142.25, median 160, median deviation 62, so a scale of 1.4826 · 62 = 91.9212."""
ANSWERS = np.array([46, 112, 166, 191], np.uint8)
"""255 / (1 + exp(-(byte - 142.25) / 91.9212)), cut off: 46.78, 112.14, 166.28, 191.65."""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A network that answers with its input: one 1x1 convolution of weight 1, for each normalisation."""
    folder = tmp_path_factory.mktemp("bytes")
    layers = [
        {"name": "in", "kind": "input", "inputs": []},
        {"name": "out", "kind": "conv", "inputs": ["in"], "channels": [1, 1], "kernel": [1, 1]},
    ]
    module = build("graph", {"layers": layers})
    with torch.no_grad():
        for weight in module.parameters():
            weight.fill_(1.0 if weight.ndim > 1 else 0.0)
    for normalisation in ("global_mad", "per_slice"):
        facts = ModelFacts(
            network="graph",
            arguments={"layers": layers},
            features=(normalisation,),
            voxel_size=(10, 10, 10),
            patch=(1, 32, 32),
            normalisation=normalisation,
        )
        save_model(folder / f"{normalisation}.safetensors", module, facts)
    return folder


def write(path, voxels, pixel=10.0):
    with mrcfile.new(path) as file:
        file.set_data(voxels)
        file.voxel_size = pixel
    return str(path)


def run(models, source, out, names, options=QUIET, **recipe):
    paths = tuple(str(models / f"{name}.safetensors") for name in names)
    found = segment(source, str(out), SegmentRecipe(models=paths, **recipe), options)
    handles = {name: open_volume(volume.url) for name, volume in found.items()}
    return {name: open_source(handle).read(Box.of_shape(handle.shape)) for name, handle in handles.items()}


def noise(shape=(6, 70, 90)):
    return np.random.default_rng(4).integers(0, 256, shape).astype(np.uint8)


def test_signed_bytes_count_from_0_to_255_for_models_with_global_mad(models, tmp_path):
    voxels = np.tile(BYTES, (4, 40, 10))  # the sample leaves out 8 of 40 voxels at each side: quarters stay quarters
    source = write(tmp_path / "t.mrc", voxels.view(np.int8))
    assert open_volume(source).dtype == "int8"
    found = run(models, source, tmp_path / "out", ["global_mad"], compat="ais")
    np.testing.assert_array_equal(found["global_mad"], np.tile(ANSWERS, (4, 40, 10)))


@pytest.mark.parametrize("pixel", [10.0, 7.0])
def test_signed_and_unsigned_bytes_give_the_same_also_resampled_and_in_blocks(models, tmp_path, pixel):
    voxels = noise()
    found = []
    for name, each in (("signed", voxels.view(np.int8)), ("unsigned", voxels.astype(np.int16))):
        source = write(tmp_path / f"{name}.mrc", each, pixel)
        store = str(tmp_path / f"{name}.ome.zarr")
        convert(source, store, ConvertRecipe(chunk=(2, 16, 16), shard=(2, 16, 16), levels=1), QUIET)
        assert open_volume(store).dtype == str(each.dtype)
        blocks = RunOptions(progress=False, block=(2, 64, 64))
        found += [
            run(models, source, tmp_path / name, ["global_mad"], compat="ais")["global_mad"],
            run(models, store, tmp_path / f"{name}-blocks", ["global_mad"], blocks, compat="ais")["global_mad"],
        ]
    assert len(np.unique(found[0])) > 50
    for other in found[1:]:
        np.testing.assert_array_equal(found[0], other)


def test_other_models_and_other_ways_see_signed_bytes(models, tmp_path):
    voxels = noise().view(np.int8)
    signed, wide = (write(tmp_path / f"{v.dtype}.mrc", v) for v in (voxels, voxels.astype(np.int16)))
    together = run(models, signed, tmp_path / "a", ["global_mad", "per_slice"], compat="ais")
    as_wide = run(models, wide, tmp_path / "b", ["global_mad", "per_slice"], compat="ais")
    np.testing.assert_array_equal(together["per_slice"], as_wide["per_slice"])
    assert np.abs(together["global_mad"].astype(int) - as_wide["global_mad"]).max() > 50  # wrapped round, as in Ais
    plain = [run(models, source, tmp_path / f"plain{n}", ["global_mad"]) for n, source in enumerate((signed, wide))]
    np.testing.assert_array_equal(plain[0]["global_mad"], plain[1]["global_mad"])
