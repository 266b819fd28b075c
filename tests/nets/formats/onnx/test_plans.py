"""ONNX: what a network will need is known before it is run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from onnx_models import facts_of, trained
from torch import nn

from volengine.core.errors import InputError
from volengine.nets.checkpoint import load_facts, load_model, save_model
from volengine.nets.footprint import forward_bytes
from volengine.nets.formats.onnx.read import OnnxSizes
from volengine.nets.formats.onnx.write import onnx_bytes
from volengine.nets.registry import build

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def test_a_plan_knows_what_it_needs(tmp_path: Path) -> None:
    """Weights and activations are planned at no less than what PyTorch's own network would be."""
    module = trained(build("unet", {}))
    facts = facts_of("unet", (1, 4, 4), patch=(1, 128, 128))
    (tmp_path / "m.onnx").write_bytes(onnx_bytes(module, facts)[0])
    read = load_facts(tmp_path / "m.onnx")
    with torch.device("meta"):
        stand_in = build(read.network, read.arguments)
    size = sum(p.numel() for p in module.parameters())
    assert sum(p.numel() for p in stand_in.parameters()) >= 2 * size
    for shape in ((1, 1, 128, 128), (4, 1, 256, 64)):
        voxels = shape[2] * shape[3]
        planned = forward_bytes(stand_in, shape)
        assert 4 * 192 * voxels < planned < 3 * 4 * 4 * 192 * voxels  # concatenate: 64 + 128 channels are alive


PEAK = """
import sys, threading, time
import torch
from volengine.nets.checkpoint import load_model
from volengine.nets.footprint import forward_bytes
from volengine.nets.registry import build

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

def highest(call):
    start, top, done = resident(), [0], threading.Event()
    def watch():
        while not done.wait(0.002):
            top[0] = max(top[0], resident())
    thread = threading.Thread(target=watch)
    thread.start()
    call()
    done.set()
    thread.join()
    return top[0] - start

torch.set_num_threads(1)
kept, shape = [], eval(sys.argv[2])
x = torch.randn(shape)
def load():
    net, facts = load_model(sys.argv[1])
    net._session(x.device)
    kept.extend([net, facts])
weights = highest(load)
forward = highest(lambda: kept[0](x))
with torch.device("meta"):
    stand_in = build(kept[1].network, kept[1].arguments)
print(2 * sum(4 * p.numel() for p in stand_in.parameters()), weights, forward_bytes(stand_in, shape), forward)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is measured as Linux tells it")
@pytest.mark.parametrize(
    ("name", "stride", "shape"), [("unet_m", (1, 16, 16), (1, 1, 512, 512)), ("unet3d", (4, 4, 4), (1, 1, 96, 96, 96))]
)
def test_the_real_peak_stays_below_the_plan(
    tmp_path: Path, name: str, stride: tuple[int, int, int], shape: tuple[int, ...]
) -> None:
    module = trained(build(name))
    (tmp_path / "m.onnx").write_bytes(onnx_bytes(module, facts_of(name, stride))[0])
    command = [sys.executable, "-c", PEAK, str(tmp_path / "m.onnx"), str(shape)]
    run = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    planned_weights, weights, planned_forward, forward = map(int, run.stdout.split())
    assert 0 < weights <= planned_weights
    assert planned_forward / 5 < forward <= planned_forward


def test_the_stand_in_computes_nothing() -> None:
    with pytest.raises(InputError, match=r"use the \.onnx file itself"):
        OnnxSizes(1000, 4.0, 1)(torch.zeros(1, 1, 4, 4))
    with pytest.raises(InputError, match=r"takes patches of \(1, 64, 64\)"):
        forward_bytes(OnnxSizes(1000, 4.0, 1, (1, 64, 64)), (1, 1, 128, 64))


def test_a_native_file_cannot_pose_as_onnx(tmp_path: Path) -> None:
    with torch.device("meta"):
        stand_in = OnnxSizes(1000, 4.0, 1)
    arguments = {"weight_bytes": 1000, "bytes_per_voxel": 4.0, "features": 1}
    facts = facts_of("onnx", (1, 1, 1), arguments=arguments)
    hollow = nn.ParameterDict({"weights": torch.zeros(stand_in.weights.shape)})
    save_model(tmp_path / "m.safetensors", hollow, facts)
    with pytest.raises(InputError, match=r"use the \.onnx file itself"):
        load_model(tmp_path / "m.safetensors")
