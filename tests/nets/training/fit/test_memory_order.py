"""The order of a 3D network's weights in memory while it is trained on a CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from volengine.core.model import ModelFacts
from volengine.nets.training.fit.fit import Fit
from volengine.nets.training.fit.recipe import FitRecipe


@pytest.mark.parametrize("norm", [nn.InstanceNorm3d, nn.BatchNorm3d])
def test_instance_normalisation_keeps_the_plain_order(tmp_path: Path, norm: type[nn.Module]) -> None:
    """PyTorch computes it in the plain order: activations would be copied to and fro, in time and memory."""
    module = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), norm(4), nn.Conv3d(4, 1, 3, padding=1))
    facts = ModelFacts(network="unet3d", features=("f",), voxel_size=(10, 10, 10), patch=(8, 8, 8), history=({},))
    cube = torch.randn(8, 8, 8).numpy(), torch.zeros(1, 8, 8, 8, dtype=torch.uint8).numpy()
    how = FitRecipe(epochs=1, steps=1, batch=1)
    fit = Fit(module, facts, lambda rng: cube, [], how, tmp_path / "m.safetensors", torch.device("cpu"))
    weight = fit.module[2].weight
    last = weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert (weight.is_contiguous(), last) == ((True, False) if norm is nn.InstanceNorm3d else (False, True))
    assert len(fit.run(progress=False)) == 1
