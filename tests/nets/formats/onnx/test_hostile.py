"""ONNX files that must not be trusted: refused with one message, and nothing of theirs is done."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_models import SMALL, facts_of, noise, small

from volengine.core.errors import DependencyError, FormatError, InputError, MissingError
from volengine.nets.checkpoint import load_facts
from volengine.nets.formats.onnx.read import load_onnx
from volengine.nets.formats.onnx.write import onnx_bytes
from volengine.nets.registry import build

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
helper, numpy_helper, TensorProto = onnx.helper, onnx.numpy_helper, onnx.TensorProto


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
    monkeypatch.setattr("volengine.nets.formats.onnx.graph.LARGEST", 10)
    with pytest.raises(FormatError, match="at most 10"):
        load_facts(tmp_path / "x.onnx")
    monkeypatch.setattr("volengine.nets.formats.onnx.write.LARGEST", 10)
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
