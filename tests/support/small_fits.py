"""Small trainings: bright balls in noise, a network of a few weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from volengine.core.model import ModelFacts
from volengine.nets.registry import build
from volengine.nets.training.fit.fit import Fit
from volengine.nets.training.fit.recipe import FitRecipe

SIDE = 8
SMALL = {"width": 2, "levels": 2}
CPU = torch.device("cpu")


def draw(rng: np.random.Generator) -> Any:
    """A bright ball in noise, from one of two data sets."""
    centre = rng.uniform(1, SIDE - 2, 3)
    grid = np.stack(np.meshgrid(*[np.arange(SIDE)] * 3, indexing="ij"), -1)
    labels = (((grid - centre) ** 2).sum(-1) < 6).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.05] = 2
    image = (labels == 1) * 2.0 + rng.normal(0, 0.5, labels.shape)
    return image.astype(np.float32), labels[None], ("one", "two")[int(rng.integers(2))]


VALIDATION = [draw(np.random.default_rng((99, k))) for k in range(5)]


class Explodes(nn.Module):
    """Good for one epoch of four steps, then no number."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv3d(1, 1, 3, padding=1)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> Any:
        if self.training:
            self.seen += 1
        return self.body(x) * (torch.nan if self.seen > 4 else 1.0)


def facts_of(volumetric: bool = True, **changes: Any) -> ModelFacts:
    patch = (SIDE,) * 3 if volumetric else (1, SIDE, SIDE)
    return ModelFacts(
        network="unet3d", arguments={"channels": 1, **SMALL}, features=("ball",), voxel_size=(10, 10, 10), patch=patch,
        history=({"recipe": {}},), **changes,
    )  # fmt: skip


def network(channels: int = 1, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build("unet3d", {"channels": channels, **SMALL})


def fit_of(folder: Path, how: FitRecipe, module: nn.Module | None = None, name: str = "m", **more: Any) -> Fit:
    values: dict[str, Any] = {"validation": VALIDATION, "facts": facts_of(), "draw": draw, **more}
    module = network() if module is None else module
    return Fit(module, how=how, out=folder / f"{name}.safetensors", device=CPU, **values)


def short(**changes: Any) -> FitRecipe:
    return FitRecipe(**{"epochs": 2, "steps": 4, "batch": 2, **changes})


def same(a: nn.Module, b: nn.Module) -> bool:
    one, two = a.state_dict(), b.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)
