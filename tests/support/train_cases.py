"""A small tomogram with two features, and the recipe of a short training on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mrcfile
import numpy as np

from volengine.tasks.train.recipe import TrainRecipe
from volengine.tasks.train.samples import TrainSample

SHAPE = (16, 40, 24)


def write(path: Path, array: np.ndarray, voxel_size: float = 10.0) -> str:
    with mrcfile.new(path, data=array) as mrc:
        mrc.voxel_size = voxel_size
    return str(path)


def case_in(tmp_path: Path) -> dict[str, str]:
    """Bright blocks in noise, their labels, and the volume's own indices to see what was read."""
    rng = np.random.default_rng(0)
    labels = np.zeros(SHAPE, np.int8)
    for z, y, x in rng.integers(0, np.array(SHAPE) - 4, (30, 3)):
        labels[z : z + 4, y : y + 4, x : x + 4] = 1
    image = rng.normal(100, 5, SHAPE).astype(np.float32) + 20 * labels
    index = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.float32)
    return {
        "image": write(tmp_path / "image.mrc", image),
        "labels": write(tmp_path / "labels.mrc", labels),
        "index": write(tmp_path / "index.mrc", index),
    }


def recipe(case: dict[str, str], **changes: Any) -> TrainRecipe:
    sample = {"volume": case["image"], "labels": (case["labels"],), **changes.pop("sample", {})}
    values = {
        "samples": (TrainSample(**sample),),
        "features": ("block",),
        "arguments": {"width": 2, "levels": 2},
        "patch": (8, 8, 8),
        "epochs": 3,
        "steps": 4,
        "batch": 2,
        "device": "cpu",
    }
    return TrainRecipe(**{**values, **changes})


def numbers(history: list[dict[str, float]]) -> list[tuple[float, ...]]:
    """The rows of a history without the seconds."""
    return [tuple(v for k, v in row.items() if k != "seconds") for row in history]
