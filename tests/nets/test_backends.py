"""Networks that OpenVINO or onnxruntime compute: PyTorch's answers, for every batch and number of threads."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from installed_backends import BACKENDS

from volengine.core.errors import DependencyError, InputError
from volengine.core.model import ModelFacts
from volengine.nets import backends
from volengine.nets.predictor import Execution, Predictor, Traits
from volengine.nets.registry import build

FLAT = {"vggnet": 1, "unet": 5, "inceptionnet": 1, "eman2": 1, "pix2pix_s": 1, "resnet_s": 3}
SOLID = ("unet3d", "residual3d")


def facts_of(name: str, context: int = 1, activation: str = "sigmoid") -> ModelFacts:
    solid = name in SOLID
    return ModelFacts(
        network=name,
        features=("f",),
        voxel_size=(10, 10, 10),
        patch=(32, 32, 32) if solid else (1, 64, 64),
        stride=(8, 8, 8) if solid else (1, 32, 32),
        context=context,
        activation=activation,
        history=({},),
    )


def scaled(name: str, context: int = 1) -> torch.nn.Module:
    """The network, then a 1 x 1 convolution that brings its logits to a mean of 0 and a standard deviation of 1."""
    torch.manual_seed(0)
    solid = name in SOLID
    net = build(name, {} if solid else {"context": context}).eval()
    with torch.no_grad():
        logits = net(torch.randn(1, 1, 32, 32, 32) if solid else torch.randn(1, context, 64, 64))
        last = torch.nn.Conv3d(1, 1, 1) if solid else torch.nn.Conv2d(1, 1, 1)
        last.weight.fill_(1 / float(logits.std()))
        last.bias.fill_(-float(logits.mean() / logits.std()))
    return torch.nn.Sequential(net, last).eval()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", [*FLAT, *SOLID])
def test_probabilities_are_those_of_pytorch_to_1e_5(backend, name):
    context = FLAT.get(name, 1)
    net, facts = scaled(name, context), facts_of(name, context)
    x = torch.randn((2, 1, 40, 32, 48) if name in SOLID else (2, context, 96, 160))
    traits = Traits(1, facts.volumetric, "sigmoid", context)
    plain = Predictor(net, traits, Execution(device="cpu"))
    told = backends.named(backend)
    other = Predictor(backends.converted(net, facts, told, "m"), traits, Execution(device="cpu", backend=told))
    with plain.running():
        wanted, found = plain(x), other(x)
    assert float(wanted.std()) > 0.1
    assert float((found - wanted).abs().max()) < 1e-5


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_patch_depends_on_nothing_but_its_voxels(backend):
    """Not on its batch, its neighbours, the number of threads, or the shapes that were computed before."""
    net, facts = scaled("unet"), facts_of("unet")
    content = backends.graph_of(net, facts, "m", backend)
    one = backends.backend_net(content, backend, "m")
    patches = torch.randn(6, 1, 64, 96)
    alone = torch.cat([one(patch[None]) for patch in patches])

    @settings(max_examples=10, deadline=None)
    @given(order=st.permutations(range(6)), cuts=st.sets(st.integers(1, 5)), lanes=st.integers(1, 3))
    def same(order: list[int], cuts: set[int], lanes: int) -> None:
        net = backends.backend_net(content, backend, "m")
        net.prepare(lanes)
        net(torch.randn(1, 1, 32, 32))
        net(torch.randn(1, 1, 96, 64))
        edges = [0, *sorted(cuts), 6]
        batches = [order[a:b] for a, b in pairwise(edges)]
        found: dict[int, torch.Tensor] = {}

        def work(mine: list[list[int]]) -> None:
            for batch in mine:
                found.update(zip(batch, net(patches[batch]), strict=True))

        threads = [threading.Thread(target=work, args=(batches[n::lanes],)) for n in range(lanes)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(torch.equal(found[n], alone[n]) for n in range(6))

    same()


@pytest.mark.parametrize("backend", BACKENDS[:1])
def test_openvino_is_told_float32_and_says_so(backend):
    engine = backends._OpenVino(backends.graph_of(scaled("vggnet"), facts_of("vggnet"), "m", backend), "m")
    engine.prepare(2)
    graph = engine._graph((1, 1, 32, 32))
    said = {key: graph.get_property(key) for key in ("NUM_STREAMS", "INFERENCE_NUM_THREADS", "ENABLE_CPU_PINNING")}
    assert said == {"NUM_STREAMS": 2, "INFERENCE_NUM_THREADS": 2, "ENABLE_CPU_PINNING": False}
    assert graph.get_property("INFERENCE_PRECISION_HINT").to_string() == "f32"


@pytest.mark.parametrize("backend", BACKENDS[:1])
def test_importing_openvino_leaves_no_trace_in_the_home_folder(backend, tmp_path):
    """Its telemetry writes an identifier there, and sends an event."""
    code = "import sys; from volengine.nets.backends import import_openvino as i; i().Core(); print(*sys.modules)"
    environment = {**os.environ, "HOME": str(tmp_path)}
    modules = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "openvino" in modules.stdout.split()
    assert not [name for name in modules.stdout.split() if name.startswith("openvino_telemetry")]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("backend", BACKENDS)
def test_another_version_than_planned_is_refused(backend):
    with pytest.raises(InputError, match=f"with {backend} 0.0.1, but this process has {backend} [1-9]"):
        backends.converted(scaled("vggnet"), facts_of("vggnet"), f"{backend} 0.0.1", "m")


def test_a_backend_that_is_not_installed_names_its_extra(monkeypatch):
    def none(name: str) -> str:
        raise backends.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(backends.metadata, "version", none)
    with pytest.raises(DependencyError, match=r"pip install 'volengine\[openvino\]'"):
        backends.named("openvino")
    with pytest.raises(InputError, match="this process has openvino none"):
        backends.installed_here("openvino 2026.4.1")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_network_without_a_graph_is_refused(backend):
    class Odd(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x).roll(1, 2)

    with pytest.raises(InputError, match=r"m cannot be computed by .* Leave out --backend"):
        backends.converted(Odd(), facts_of("odd"), backends.named(backend), "m")
    with pytest.raises(InputError, match="Leave out --backend"):
        backends.planned_bytes(Odd().to("meta"), facts_of("odd"), (1, 1, 64, 64), backend, "m")


@pytest.mark.parametrize("backend", BACKENDS)
def test_answers_that_are_not_pytorchs_are_refused(backend, monkeypatch):
    net, facts = scaled("vggnet"), facts_of("vggnet")
    other = backends.graph_of(scaled("vggnet", 1), facts, "m", backend)
    wrong = backends.backend_net(other, backend, "m")
    trial = torch.randn(1, 1, 64, 64)
    answers = wrong(trial)
    backends._compare(answers, net(trial).detach(), facts, "m", backend)
    with pytest.raises(InputError, match=r"differ from PyTorch's by [\d.e-]+ on a trial \(allowed: 1e-05\)"):
        backends._compare(answers + 1e-3, net(trial).detach(), facts, "m", backend)
    with pytest.raises(InputError, match="on a trial"):
        backends._compare(answers * float("nan"), net(trial).detach(), facts, "m", backend)
    values = replace(facts, activation="none")
    with pytest.raises(InputError, match="on a trial"):
        backends._compare(answers + 1e-3, net(trial).detach(), values, "m", backend)


def test_a_backend_computes_float32_on_cpus_only():
    with pytest.raises(InputError, match="computes in float32 here, not in bfloat16"):
        Execution(backend="openvino 2026.4.1", precision="bfloat16")


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_onnx_file_is_computed_by_either(backend, tmp_path):
    from volengine.nets.checkpoint import load_model, save_model
    from volengine.nets.formats.onnx.write import onnx_bytes

    facts = facts_of("vggnet")
    save_model(tmp_path / "m.safetensors", build("vggnet"), facts)
    module, facts = load_model(tmp_path / "m.safetensors")
    (tmp_path / "m.onnx").write_bytes(onnx_bytes(module, facts)[0])
    read, told = load_model(tmp_path / "m.onnx")
    net = backends.converted(read, told, backends.named(backend), "m.onnx")
    x = torch.randn(2, 1, 64, 96)
    with torch.inference_mode():
        np.testing.assert_allclose(net(x), module.eval()(x), atol=1e-5)
