"""ONNX: networks answer there as here, in every size; facts travel; strangers' files are told, tried and refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from volengine.core.errors import DependencyError, FormatError, InputError, MissingError
from volengine.core.model import ModelFacts
from volengine.nets.architectures.graph import GraphNet
from volengine.nets.checkpoint import identity, load_facts, load_model, save_model
from volengine.nets.footprint import forward_bytes
from volengine.nets.formats import onnx_write
from volengine.nets.formats.onnx_read import OnnxNet, OnnxSizes, load_onnx
from volengine.nets.formats.onnx_told import Told, with_told_facts
from volengine.nets.formats.onnx_write import onnx_bytes
from volengine.nets.predictor import Execution, Predictor, Traits, load_predictor
from volengine.nets.registry import build

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
helper, numpy_helper, TensorProto = onnx.helper, onnx.numpy_helper, onnx.TensorProto

FLAT = {"eman2": 2, "inceptionnet": 1, "unet": 4, "vggnet": 8, "resnet_s": 1}
DEEP = {"unet_m": 16, "pix2pix_s": 32}
VOLUMETRIC: dict[str, tuple[int, int, int]] = {"unet3d": (4, 4, 4), "residual3d": (4, 4, 4), "easymode_3d": (4, 16, 16)}


def facts_of(name: str, stride: tuple[int, int, int], **more: Any) -> ModelFacts:
    volumetric = stride[0] > 1
    patch = tuple(s * (2 if volumetric else 1) * max(1, 32 // s) for s in stride) if volumetric else (1, 64, 64)
    values = {"network": name, "features": ["a"], "voxel_size": [10, 9, 8], "patch": patch, "stride": stride}
    return ModelFacts.from_json({**values, **more})


def trained(module: nn.Module, seed: int = 1) -> nn.Module:
    """The network as if it had been trained: no weight and no statistic is what it began as."""
    source = torch.Generator().manual_seed(seed)
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            tensor += 0.04 * torch.rand(tensor.shape, generator=source) - 0.02
    return module.eval()


def noise(*shape: int, seed: int = 2) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def plain_run(content: bytes, x: torch.Tensor) -> np.ndarray:
    """What any program gets that runs ONNX."""
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (answer,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    return np.asarray(answer)


def differ(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


def check_network(tmp_path: Path, name: str, stride: tuple[int, int, int], arguments: dict[str, Any]) -> None:
    context = 1 if stride[0] > 1 else arguments.get("context", 1)
    module, facts = trained(build(name, arguments)), facts_of(name, stride, arguments=arguments, context=context)
    content, difference = onnx_bytes(module, facts)
    assert difference <= 1e-4
    (tmp_path / "m.onnx").write_bytes(content)
    read, again = load_model(tmp_path / "m.onnx")
    assert again == facts_of(
        name, stride, context=context, network="onnx", arguments=again.arguments, version=again.version
    )
    assert again.arguments["network"] == name
    for batch, longer in ((1, 0), (2, 1)):
        sides = [s * (max(2, -(-16 // s)) + longer * n) for n, s in enumerate(stride)]
        x = noise(batch, context, *sides[1:]) if stride[0] == 1 else noise(batch, 1, *sides)
        with torch.inference_mode():
            logits = read(x)
            assert differ(logits, module(x)) <= 1e-4
        assert np.abs(plain_run(content, x) - torch.sigmoid(logits).numpy()).max() <= 1e-4


@pytest.mark.parametrize("name", FLAT)
def test_slice_networks_answer_the_same_in_onnxruntime(tmp_path: Path, name: str) -> None:
    check_network(tmp_path, name, (1, FLAT[name], FLAT[name]), {"context": 3} if name == "unet" else {})


@pytest.mark.parametrize("name", ["unet3d", "residual3d"])
def test_volume_networks_answer_the_same_in_onnxruntime(tmp_path: Path, name: str) -> None:
    check_network(tmp_path, name, VOLUMETRIC[name], {"width": 4, "levels": 2})


@pytest.mark.slow
@pytest.mark.parametrize("name", DEEP)
def test_deep_slice_networks_answer_the_same_in_onnxruntime(tmp_path: Path, name: str) -> None:
    check_network(tmp_path, name, (1, DEEP[name], DEEP[name]), {})


@pytest.mark.slow
def test_easymodes_volume_network_answers_the_same_in_onnxruntime(tmp_path: Path) -> None:
    check_network(tmp_path, "easymode_3d", VOLUMETRIC["easymode_3d"], {})


@pytest.mark.slow
def test_membrains_network_answers_the_same_in_onnxruntime() -> None:
    pytest.importorskip("monai")
    module, facts = trained(build("dynunet")), facts_of("dynunet", (32, 32, 32), activation="sigmoid")
    content, difference = onnx_bytes(module, facts)
    assert difference <= 1e-4
    x = noise(1, 1, 64, 64, 64)
    with torch.inference_mode():
        assert np.abs(plain_run(content, x) - torch.sigmoid(module(x)).numpy()).max() <= 1e-4


# -- every kind of layer ------------------------------------------------------------------------------------

FUNCTIONS = [
    "relu",
    "relu6",
    "elu",
    "selu",
    "gelu",
    "silu",
    "softplus",
    "softsign",
    "tanh",
    "sigmoid",
    "exponential",
    "softmax",
    "hard_sigmoid",
    "leaky_relu",
    "linear",
]


def layer_of(draw: Any, ndim: int, channels: int) -> dict[str, Any]:
    """A layer that keeps the channels, in one of all spellings."""
    sides = st.lists(st.integers(1, 3), min_size=ndim, max_size=ndim)
    padding = draw(st.sampled_from(["same", "valid"]))
    kind = draw(
        st.sampled_from(
            ["conv", "conv_transpose", "pool", "upsample", "norm", "group_norm", "activation", "slope", "frame"]
        )
    )
    if kind == "conv":
        stride = draw(sides)
        dilation = draw(sides) if max(stride) == 1 else [1] * ndim
        groups = draw(st.sampled_from([1, 2]))
        bias = draw(st.booleans())
        return {
            "kind": kind,
            "channels": [channels] * 2,
            "kernel": draw(sides),
            "stride": stride,
            "dilation": dilation,
            "groups": groups,
            "padding": padding,
            "bias": bias,
        }
    if kind == "conv_transpose":
        return {
            "kind": kind,
            "channels": [channels] * 2,
            "kernel": draw(sides),
            "stride": draw(sides),
            "padding": padding,
            "bias": draw(st.booleans()),
        }
    if kind == "pool":
        return {
            "kind": kind,
            "size": draw(sides),
            "stride": draw(sides),
            "padding": padding,
            "function": draw(st.sampled_from(["max", "average"])),
        }
    if kind == "upsample":
        return {"kind": kind, "factor": draw(sides), "mode": draw(st.sampled_from(["nearest", "linear"]))}
    if kind in ("norm", "slope"):
        return {"kind": kind, "channels": channels}
    if kind == "group_norm":
        return {"kind": kind, "channels": channels, "groups": draw(st.sampled_from([1, 2, channels]))}
    if kind == "activation":
        function = draw(st.sampled_from(FUNCTIONS))
        return {"kind": kind, "function": function, **({"slope": 0.3} if function == "leaky_relu" else {})}
    return {"kind": kind, "widths": [[draw(st.integers(-1, 2)), draw(st.integers(-1, 2))] for _ in range(ndim)]}


@st.composite
def graphs(draw: Any) -> tuple[int, list[dict[str, Any]]]:
    ndim, channels = draw(st.sampled_from([2, 2, 3])), 4
    layers: list[dict[str, Any]] = [
        {"name": "in", "kind": "input", "inputs": []},
        {"name": "first", "kind": "conv", "inputs": ["in"], "channels": [1, channels], "kernel": [1] * ndim},
    ]
    for number in range(draw(st.integers(1, 3))):
        before = layers[-1]["name"]
        layers.append({"name": f"l{number}", "inputs": [before], **layer_of(draw, ndim, channels)})
    before = layers[-1]["name"]
    join = draw(st.sampled_from(["", "add", "multiply", "average", "maximum", "concatenate"]))
    if join:
        layers.append({"name": "side", "kind": "activation", "inputs": [before], "function": "tanh"})
        several = [before, "side", before][: draw(st.integers(2, 3))]
        layers.append({"name": "join", "kind": "join", "inputs": several, "function": join})
        channels = channels * len(several) if join == "concatenate" else channels
    last = {"kind": "conv", "channels": [channels, 2], "kernel": [1] * ndim}
    layers.append({"name": "last", "inputs": [layers[-1]["name"]], **last})
    return ndim, layers


@settings(max_examples=60, deadline=None)
@given(graphs(), st.integers(0, 5))
def test_every_kind_of_layer_answers_the_same_in_onnxruntime(
    drawn: tuple[int, list[dict[str, Any]]], more: int
) -> None:
    ndim, layers = drawn
    module = trained(GraphNet(layers))
    facts = facts_of("graph", (1, 1, 1) if ndim == 2 else (2, 2, 2), features=["a", "b"])
    try:
        model = onnx_write._Writer(onnx, layers, module.state_dict(), facts).model()
    except InputError as error:  # windows smaller than the stride along one axis, padded by the size along another
        if "larger than the window" not in str(error):
            raise
        reject()
    onnx.checker.check_model(model, full_check=True)
    x = noise(2, 1, *[10 + more, 11, 9 + more][-ndim:])
    with torch.inference_mode():
        wanted = module(x).numpy()
    answer = plain_run(model.SerializeToString(), x)
    assert answer.shape == wanted.shape
    assert np.abs(answer - wanted).max() <= 1e-4 * max(1.0, np.abs(wanted).max())


def test_what_onnx_cannot_pad_is_refused() -> None:
    layers = [
        {"name": "in", "kind": "input", "inputs": []},
        {
            "name": "c",
            "kind": "conv",
            "inputs": ["in"],
            "channels": [1, 1],
            "kernel": [3, 3],
            "stride": [2, 2],
            "dilation": [2, 2],
        },
    ]
    with pytest.raises(InputError, match="stride and dilation"):
        onnx_bytes(GraphNet(layers), facts_of("graph", (1, 2, 2)))


# -- facts --------------------------------------------------------------------------------------------------

SMALL = {"width": 2, "levels": 2}


def small(tmp_path: Path, **more: Any) -> tuple[nn.Module, ModelFacts, Path]:
    """A 3D network as an ONNX file."""
    features = more.get("features", ["a"])
    module = trained(build("unet3d", {**SMALL, "channels": len(features)}))
    facts = facts_of("unet3d", (2, 2, 2), arguments={**SMALL, "channels": len(features)}, **more)
    (tmp_path / "m.onnx").write_bytes(onnx_bytes(module, facts)[0])
    return module, facts, tmp_path / "m.onnx"


def test_all_facts_travel(tmp_path: Path) -> None:
    told = {
        "features": ["shell", "core"],
        "normalisation": "per_patch",
        "activation": "softmax",
        "overlap": 0.25,
        "receptive_field": [6, 6, 6],
        "threshold": 0.3,
        "colour": [0.1, 0.2, 0.3],
        "tta": "flips4",
        "emits": True,
        "history": [{"epochs": 3}],
    }
    _, facts, path = small(tmp_path, **told)
    stored = {p.key: p.value for p in onnx.load(path).metadata_props}
    assert ModelFacts.from_json(json.loads(stored["volengine"])) == facts.with_(
        version=json.loads(stored["volengine"])["version"]
    )
    assert stored["volengine.axes"] == "bczyx"
    read = load_facts(path)
    assert read.with_(network="unet3d", arguments=facts.arguments, version="") == facts


def test_a_softmax_is_taken_off_and_put_on(tmp_path: Path) -> None:
    module, _, path = small(tmp_path, features=["background", "a", "b"], activation="softmax")
    x = noise(1, 1, 16, 16, 16)
    with torch.inference_mode():
        wanted = module(x)
        assert differ(load_onnx(path)[0](x), wanted) < 1e-5
    assert np.abs(plain_run(path.read_bytes(), x) - torch.softmax(wanted, 1).numpy()).max() < 1e-6


def test_a_network_of_values_has_no_activation(tmp_path: Path) -> None:
    module, _, path = small(tmp_path, activation="none")
    x = noise(1, 1, 16, 16, 16)
    with torch.inference_mode():
        wanted = module(x)
    assert [n.op_type for n in onnx.load(path).graph.node][-1] == "Conv"
    assert np.abs(plain_run(path.read_bytes(), x) - wanted.numpy()).max() < 1e-5 * float(wanted.abs().max())


def test_written_twice_it_is_the_same_file(tmp_path: Path) -> None:
    module, facts, path = small(tmp_path)
    assert onnx_bytes(module, facts)[0] == path.read_bytes()
    read, again = load_onnx(path)
    (tmp_path / "n.onnx").write_bytes(onnx_bytes(read, again)[0])
    assert load_onnx(tmp_path / "n.onnx")[1] == again
    stored = {p.key: p.value for p in onnx.load(tmp_path / "n.onnx").metadata_props}
    assert json.loads(stored["volengine"])["network"] == "unet3d"


def test_predictors_take_it_with_views_and_batches(tmp_path: Path) -> None:
    module, _, path = small(tmp_path)
    execution = Execution(tta="flips", batch=2, mean_of="logits")
    there = load_predictor(str(path), identity(path), execution)
    here = Predictor(module, Traits(1, True), execution)
    x = noise(3, 1, 16, 16, 16)
    with here.running():
        assert differ(there(x), here(x)) < 1e-5
        assert torch.equal(there(x)[1:2], there(x[1:2]))  # whatever else is in the batch


def test_there_is_nothing_to_compile(tmp_path: Path) -> None:
    module, _, path = small(tmp_path)
    x = noise(1, 1, 16, 16, 16)
    with torch.inference_mode():
        answer = Predictor(load_onnx(path)[0], Traits(1, True), Execution(compile=True))(x)
        assert differ(answer, torch.sigmoid(module(x))) < 1e-5


def test_a_difference_is_found_and_nothing_is_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    module, facts = trained(build("unet3d", SMALL)), facts_of("unet3d", (2, 2, 2), arguments=SMALL)
    real = onnx_write._Writer._weight

    def spoilt(self: Any, name: str, array: Any, dtype: str = "float32") -> str:
        return real(self, name, np.asarray(array) * (1.001 if name.endswith("bias") else 1), dtype)

    monkeypatch.setattr(onnx_write._Writer, "_weight", spoilt)
    with pytest.raises(InputError, match=r"differ from PyTorch's by .* \(allowed: 0.0001\)"):
        onnx_bytes(module, facts)


# -- planning -----------------------------------------------------------------------------------------------


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


# -- files of other programs --------------------------------------------------------------------------------


def foreign(
    path: Path, axes: str = "bcyx", *, fixed: bool = False, ending: str = "Sigmoid", dtype: int = TensorProto.FLOAT
) -> nn.Module:
    """An ONNX file of another program with two features, its axes in this order; the network that it is."""
    ndim = 3 if "z" in axes else 2
    inner = "bczyx" if ndim == 3 else "bcyx"
    module = (nn.Conv3d if ndim == 3 else nn.Conv2d)(1, 2, 3, padding=1)
    to = numpy_helper.from_array
    kind = np.float16 if dtype == TensorProto.FLOAT16 else np.float32
    weights = [to(module.weight.detach().numpy().astype(kind), "w"), to(module.bias.detach().numpy().astype(kind), "b")]
    sizes: list[Any] = [1 if a == "b" else "?" for a in axes]
    if fixed:
        sizes = [{"b": 1, "c": 1, "z": 8, "y": 24, "x": 16}[a] for a in axes]
    nodes = [
        helper.make_node("Transpose", ["in"], ["t"], perm=[axes.index(a) for a in inner]),
        helper.make_node("Conv", ["t", "w", "b"], ["c"], pads=[1] * 2 * ndim),
    ]
    before = "c"
    if ending:
        nodes.append(helper.make_node(ending, ["c"], ["s"], **({"axis": 1} if ending == "Softmax" else {})))
        before = "s"
    nodes.append(helper.make_node("Transpose", [before], ["out"], perm=[inner.index(a) for a in axes]))
    answer = [2 if a == "c" else n for a, n in zip(axes, sizes, strict=True)]
    values = [helper.make_tensor_value_info(n, dtype, s) for n, s in (("in", sizes), ("out", answer))]
    graph = helper.make_graph(nodes, "theirs", values[:1], values[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8, producer_name="theirs")
    onnx.save(model, path)
    return module


TOLD = Told(voxel_size=12.5, features=("p", "q"))


@pytest.mark.parametrize(
    ("axes", "ending"), [("bcyx", "Sigmoid"), ("byxc", "Softmax"), ("bczyx", "Softmax"), ("bxyzc", "Sigmoid")]
)
@pytest.mark.parametrize("fixed", [True, False])
def test_strangers_are_told_their_facts(tmp_path: Path, axes: str, ending: str, fixed: bool) -> None:
    module = foreign(tmp_path / "f.onnx", axes, fixed=fixed, ending=ending)
    volumetric = "z" in axes
    patch = (8 if volumetric else 1, 24, 16)
    told = Told(12.5, ("p", "q"), axes=axes, normalisation="per_patch", patch=() if fixed else patch)
    content, facts = with_told_facts(tmp_path / "f.onnx", told)
    (tmp_path / "g.onnx").write_bytes(content)
    read, again = load_model(tmp_path / "g.onnx")
    assert (again.features, again.voxel_size, again.patch) == (("p", "q"), (12.5, 12.5, 12.5), patch)
    assert (again.activation, again.normalisation) == (ending.lower(), "per_patch")
    assert again.stride == (patch if fixed else (1, 1, 1))
    assert facts.history[0]["imported"] == "ONNX, theirs"
    x = noise(3, 1, *patch) if volumetric else noise(3, 1, *patch[1:])
    with torch.inference_mode():
        assert differ(read(x), module(x)) < 1e-5
    if fixed:
        with pytest.raises(InputError, match="takes patches of 16 along x only, not 17"):
            read(functional.pad(x, (0, 1)))


def test_half_precision_is_fed_as_it_wants(tmp_path: Path) -> None:
    module = foreign(tmp_path / "f.onnx", dtype=TensorProto.FLOAT16)
    content, _ = with_told_facts(tmp_path / "f.onnx", Told(12.5, ("p", "q"), patch=(1, 32, 32)))
    x = noise(1, 1, 32, 32)
    read = OnnxNet.of(content, "f", "sigmoid")
    with torch.inference_mode():
        answer = read(x)
        assert answer.dtype == torch.float32
        assert differ(answer, module(x)) < 5e-3


def test_told_facts_of_our_own_file_are_changed(tmp_path: Path) -> None:
    _, facts, path = small(tmp_path)
    content, changed = with_told_facts(path, Told(voxel_size=7.0, features=("b",), normalisation="none"))
    assert changed == facts.with_(voxel_size=(7, 7, 7), features=("b",), normalisation="none", version=changed.version)
    (tmp_path / "n.onnx").write_bytes(content)
    assert load_facts(tmp_path / "n.onnx").features == ("b",)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (Told(), "does not say its voxel size nor what it finds. Import it once"),
        (Told(10.0, ("p", "q")), "say which one it was trained with"),
        (Told(10.0, ("p", "q", "r"), patch=(1, 32, 32)), "answers with 2 channels, but 3 features"),
        (Told(10.0, ("p", "q"), patch=(1, 32, 32), axes="byx"), "its input has 4 axes"),
        (Told(10.0, ("p", "q"), patch=(1, 32, 32), axes="byxx"), "one letter for each"),
        (Told(10.0, ("p", "q"), patch=(4, 32, 32)), "do not fit the graph's axes 'bcyx'"),
        (Told(10.0, ("p", "q"), patch=(1, 32, 32), axes="byxc"), "has 2 channels along|answers|should be|channels"),
    ],
)
def test_facts_that_do_not_fit_are_refused(tmp_path: Path, told: Told, message: str) -> None:
    foreign(tmp_path / "f.onnx")
    with pytest.raises(InputError, match=message):
        with_told_facts(tmp_path / "f.onnx", told)


def test_what_the_answers_are_must_be_known(tmp_path: Path) -> None:
    module = foreign(tmp_path / "f.onnx", ending="")
    with pytest.raises(InputError, match="--activation sigmoid or softmax"):
        with_told_facts(tmp_path / "f.onnx", Told(10.0, ("p", "q"), patch=(1, 32, 32)))
    content, facts = with_told_facts(tmp_path / "f.onnx", Told(10.0, ("p", "q"), (1, 32, 32), activation="sigmoid"))
    x = noise(1, 1, 32, 32)
    with torch.inference_mode():
        assert differ(OnnxNet.of(content, "f", facts.activation)(x), module(x)) < 1e-5


def test_a_network_that_shrinks_its_input_is_refused(tmp_path: Path) -> None:
    weights = [numpy_helper.from_array(np.ones((1, 1, 3, 3), "float32"), "w")]
    value = helper.make_tensor_value_info
    nodes = [helper.make_node("Conv", ["in", "w"], ["c"]), helper.make_node("Sigmoid", ["c"], ["out"])]
    ends = value("in", TensorProto.FLOAT, ["b", 1, "y", "x"]), value("out", TensorProto.FLOAT, ["b", 1, "v", "u"])
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "f.onnx")
    with pytest.raises(InputError, match="answer every voxel"):
        with_told_facts(tmp_path / "f.onnx", Told(10.0, ("p",), (1, 32, 32)))


# -- files that must not be trusted -------------------------------------------------------------------------


def changed(path: Path, change: Any) -> Path:
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


def external(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../secret.bin"


def hidden(model: Any) -> None:
    """In a constant inside of a branch."""
    tensor = numpy_helper.from_array(np.zeros(3, "float32"), "deep")
    external_like = TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    tensor.data_location = external_like
    inner = helper.make_graph([helper.make_node("Constant", [], ["k"], value=tensor)], "inner", [], [])
    model.graph.node.append(helper.make_node("If", ["nothing"], ["n"], then_branch=inner, else_branch=inner))


def maker(model: Any) -> None:
    model.graph.node[0].domain = "evil.ops"


def short(model: Any) -> None:
    tensor = model.graph.initializer[0]
    tensor.raw_data = tensor.raw_data[:-8]


def huge(model: Any) -> None:
    model.graph.initializer[0].dims[0] = 2**40


def loop(model: Any) -> None:
    inner = helper.make_graph([helper.make_node("Identity", ["go"], ["on"])], "inner", [], [])
    model.graph.node.append(helper.make_node("Loop", ["", ""], ["n"], body=inner))


def bomb(model: Any) -> None:
    """Terabytes of zeros, added to the answer."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([2**20, 2**20], "int64"), "many"))
    model.graph.node.append(helper.make_node("ConstantOfShape", ["many"], ["zeros"]))
    model.graph.node.append(helper.make_node("ReduceMax", ["zeros"], ["one"]))
    model.graph.node.append(helper.make_node("Add", ["probabilities", "one"], ["final"]))
    model.graph.output[0].name = "final"


def two_outputs(model: Any) -> None:
    model.graph.output.append(model.graph.output[0])


def integers(model: Any) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64


def bad_facts(model: Any) -> None:
    next(p for p in model.metadata_props if p.key == "volengine").value = '{"network": 3'


def other_channels(model: Any) -> None:
    entry = next(p for p in model.metadata_props if p.key == "volengine")
    entry.value = entry.value.replace('"features": ["a"]', '"features": ["a", "b"]')


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (external, "keeps the weights .* in another file, which is not opened"),
        (hidden, "keeps the weights 'deep' in another file"),
        (maker, "operator evil.ops.Conv"),
        (short, "is damaged or no valid ONNX"),
        (huge, "is damaged or no valid ONNX"),
        (loop, "has a Loop, which may never end"),
        (bomb, r"needs \d+ bytes for an input of \(1, 1, 64, 64, 64\); it is not run"),
        (two_outputs, "has 2 outputs|is damaged"),
        (integers, "only floating numbers|is damaged"),
        (bad_facts, "the facts in its metadata cannot be read"),
        (other_channels, "its facts say 2"),
    ],
)
def test_bad_files_are_refused_with_one_message(tmp_path: Path, change: Any, message: str) -> None:
    _, _, path = small(tmp_path)
    with pytest.raises(FormatError, match=message) as refused:
        load_facts(changed(path, change))
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)


def broken_mode(model: Any) -> None:
    node = next(n for n in model.graph.node if n.op_type == "Resize")
    next(a for a in node.attribute if a.name == "mode").s = b"nearer"


def broken_window(model: Any) -> None:
    node = next(n for n in model.graph.node if n.op_type == "Conv")
    next(a for a in node.attribute if a.name == "kernel_shape").ints[0] = 77


@pytest.mark.parametrize("change", [broken_mode, broken_window])
def test_what_onnxruntime_refuses_is_one_message(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], change: Any
) -> None:
    """It prints nothing of its own."""
    _, _, path = small(tmp_path)
    with pytest.raises(InputError, match=r"onnxruntime cannot|contradict|damaged") as refused:
        load_onnx(changed(path, change))[0](noise(1, 1, 16, 16, 16))
    assert "\n" not in str(refused.value)
    assert capfd.readouterr() == ("", "")


@settings(max_examples=40, deadline=None)
@given(st.floats(0, 0.999))
def test_a_file_that_is_cut_off_is_refused(tmp_path_factory: pytest.TempPathFactory, share: float) -> None:
    folder = tmp_path_factory.getbasetemp()
    whole = folder / "whole.onnx"
    if not whole.exists():
        small(folder)
        (folder / "m.onnx").rename(whole)
    content = whole.read_bytes()
    cut = folder / "cut.onnx"
    cut.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError) as refused:
        load_facts(cut)
    assert "\n" not in str(refused.value)


def test_missing_large_and_other_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingError, match="no such model file"):
        load_facts(tmp_path / "none.onnx")
    (tmp_path / "x.onnx").write_bytes(b"PK\x03\x04 no model" * 10)
    with pytest.raises(FormatError, match="is no ONNX file"):
        load_facts(tmp_path / "x.onnx")
    monkeypatch.setattr("volengine.nets.formats.onnx_graph.LARGEST", 10)
    with pytest.raises(FormatError, match="at most 10"):
        load_facts(tmp_path / "x.onnx")
    monkeypatch.setattr("volengine.nets.formats.onnx_write.LARGEST", 10)
    with pytest.raises(InputError, match="holds at most 10"):
        onnx_bytes(build("unet3d", SMALL), facts_of("unet3d", (2, 2, 2)))


def test_without_the_extra_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, path = small(tmp_path)
    net, _ = load_onnx(path)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(DependencyError, match=r"volengine\[onnx\]"):
        net(noise(1, 1, 8, 8, 8))
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(DependencyError, match=r"volengine\[onnx\]"):
        load_facts(path)
