"""The lattice of immature HIV-1 with the documented defaults: Dice of every epoch on the part that was not seen.

    python benchmarks/hiv_defaults.py CROP OUT SEED [FIELD=VALUE ...]

``CROP`` is the path of the first 62 columns of the demo's tomogram without its ending: ``CROP.mrc`` and
``CROP_points.csv`` (EMPIAR-10164; A. Burt, Zenodo 6504891). A network is trained on them with the defaults of ``train``
and balls of 8 nm, or with other fields of the recipe (``epochs=10``), into the folder ``OUT``. Printed for each epoch:
validation loss and Dice, noise of the validation, the epochs that would be kept and that have the lowest loss, Dice on
x >= 62 within 20 voxels of annotated particles (as in the demo), and processor seconds without these predictions.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from volengine import TrainRecipe, TrainSample, train
from volengine.io.training.sample import real_sample
from volengine.nets.training.fit.kept import Kept
from volengine.ops.score import dice
from volengine.tasks.demo.truth import SPLIT_X, _surroundings, label_volumes, truth_of

MARGIN = 24
"""Voxels around the scored part that the network sees; more than its receptive field."""


class Judge:
    """Dice of a network on the part of the tomogram that it was not trained on."""

    def __init__(self) -> None:
        sample = real_sample()
        truth, shape = truth_of(sample), sample.tomogram.shape
        self.near = _surroundings(truth, shape)
        self.near[:, :, :SPLIT_X] = False
        self.shell = label_volumes(truth, shape)["shell"] == 1
        greys = sample.tomogram.astype(np.float32)
        at = np.argwhere(self.near)
        low, high = np.maximum(at.min(0) - MARGIN, 0), np.minimum(at.max(0) + MARGIN + 1, shape)
        self.box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        self.image = ((greys - greys.mean()) / greys.std())[self.box]
        self.seconds = 0.0

    def __call__(self, module: torch.nn.Module) -> float:
        """Return the Dice coefficient."""
        began = time.process_time()
        shape = self.image.shape
        padded = np.pad(self.image, [(0, (-n) % 4) for n in shape], mode="reflect")
        training = module.training
        with torch.inference_mode():
            answer = module.eval()(torch.from_numpy(padded)[None, None])[0, 0].numpy()
        module.train(training)
        found = np.zeros(self.near.shape, bool)
        found[self.box] = answer[: shape[0], : shape[1], : shape[2]] > 0
        self.seconds += time.process_time() - began
        return float(dice(found, self.shell, ~self.near))


def main(crop: str, out: str, seed: str, *fields: str) -> None:
    """Train, and print a line for each epoch."""
    torch.set_num_threads(1)
    changes: dict[str, Any] = {name: json.loads(value) for name, value in (field.split("=") for field in fields)}
    judge, save = Judge(), Kept.save

    def judged(self: Kept, module: Any, facts: Any, choice: Any) -> None:
        save(self, module, facts, choice)
        row, score = choice.history[-1], judge(module)
        print(
            f"epoch {row['epoch']}: validation loss {row['validation_loss']:.4f}, Dice {row['validation_dice']:.3f}, "
            f"noise {row['validation_noise']:.3f}, kept {choice.kept + 1}, lowest {choice.lowest + 1}, "
            f"Dice on x >= {SPLIT_X} {score:.4f}, {time.process_time() - judge.seconds:.0f} s",
            flush=True,
        )

    Kept.save = judged  # type: ignore[method-assign]
    sample = TrainSample(volume=f"{crop}.mrc", points=(f"{crop}_points.csv",), radius_nm=(8.0,))
    Path(out).mkdir(parents=True, exist_ok=True)
    recipe = TrainRecipe(samples=(sample,), features=("shell",), device="cpu", seed=int(seed), **changes)
    train(recipe, str(Path(out) / f"seed{seed}.safetensors"), progress=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
