"""The memory of a training step, against the peak of a process that runs it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.nets.footprint import forward_bytes, step_bytes
from volengine.nets.registry import build

RUN = """
import json, sys
import torch
from volengine.nets.registry import build
from volengine.nets.training.fit.optimise import Descent
from volengine.nets.training.fit.recipe import Optimiser
from volengine.nets.training.losses.combined import Objective
from volengine.nets.training.losses.recipe import Term

name, shape = json.loads(sys.argv[1])
torch.set_num_threads(1)

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024

def step(shape):
    module = build(name)
    images = torch.randn(*shape)
    if len(shape) == 5:
        module = module.to(memory_format=torch.channels_last_3d)
        images = images.contiguous(memory_format=torch.channels_last_3d)
    labels = (torch.rand(shape[0], 1, *shape[2:]) < 0.1).to(torch.uint8)
    descent = Descent(module, Optimiser(), "float32", torch.device("cpu"))
    descent.step(Objective((Term("bce_dice"),))(module(images), labels, ["a"] * shape[0]), 1e-3, "a step")

step([*shape[:2], *[16 if len(shape) == 5 else 32] * (len(shape) - 2)])  # what is loaded on first use
before = peak()
step(shape)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("name", "shape"), [("unet3d", (2, 1, 48, 48, 48)), ("unet2d", (4, 1, 160, 160))])
def test_the_estimate_is_at_least_the_peak_of_a_process_and_not_twice_as_much(
    name: str, shape: tuple[int, ...]
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps([name, shape])], capture_output=True, text=True, check=True
    )
    estimate = step_bytes(build(name), shape)
    assert 0.5 * estimate < int(done.stdout) < 1.1 * estimate


@settings(deadline=None, max_examples=15)
@given(side=st.sampled_from([8, 12, 16]), batch=st.integers(1, 4), labels=st.integers(1, 3))
def test_more_voxels_need_more_and_training_more_than_prediction(side: int, batch: int, labels: int) -> None:
    module = build("unet3d", {"width": 2, "levels": 2, "channels": labels})
    need = step_bytes(module, (batch, 1, side, side, side), labels)
    assert need > forward_bytes(module, (batch, 1, side, side, side)) / 2.5
    assert step_bytes(module, (batch + 1, 1, side, side, side), labels) > need
    assert step_bytes(module, (batch, 1, side, side, side + 4), labels) > need
    assert module.training  # it is not changed
