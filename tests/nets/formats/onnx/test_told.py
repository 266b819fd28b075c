"""ONNX files of other programs: they are told their facts, and tried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx_models import differ, noise, small
from torch import nn
from torch.nn import functional

from volengine.core.errors import InputError
from volengine.nets.checkpoint import load_facts, load_model
from volengine.nets.formats.onnx.read import OnnxNet
from volengine.nets.formats.onnx.told import Told, with_told_facts

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
helper, numpy_helper, TensorProto = onnx.helper, onnx.numpy_helper, onnx.TensorProto


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
