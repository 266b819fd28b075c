"""A network that needs no training: its prediction is a steep threshold of the input at 0.5."""

from __future__ import annotations

from pathlib import Path

import torch

from volengine.core.model import ModelFacts
from volengine.nets.checkpoint import save_model
from volengine.nets.registry import build

ARGUMENTS = {"width": 1, "levels": 1}


def save_threshold_model(path: Path, feature: str, **facts: object) -> Path:
    """Write a model file; ``facts`` override the defaults (patch 64 x 128 x 128, voxel size 10 angstrom)."""
    module = build("unet3d", ARGUMENTS)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.zero_()
            if name.endswith("weight"):
                parameter[(0, 0, *(n // 2 for n in parameter.shape[2:]))] = 1.0
        module.head.weight.fill_(20.0)
        module.head.bias.fill_(-10.0)
    values = {
        "network": "unet3d",
        "arguments": ARGUMENTS,
        "features": (feature,),
        "voxel_size": (10, 10, 10),
        "patch": (64, 128, 128),
        "overlap": 0.0,
        "window": "constant",
        "normalisation": "none",
        "receptive_field": (2, 2, 2),
        **facts,
    }
    save_model(path, module, ModelFacts.from_json(values))
    return path
