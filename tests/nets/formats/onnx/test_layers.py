"""ONNX: every kind of layer, in every spelling, answers there as here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from onnx_models import facts_of, noise, plain_run, trained

from volengine.core.errors import InputError
from volengine.nets.architectures.graph import GraphNet
from volengine.nets.formats.onnx import write as onnx_write
from volengine.nets.formats.onnx.write import onnx_bytes

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

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


def check_answers(ndim: int, layers: list[dict[str, Any]], more: int = 0) -> None:
    """The network of these layers answers the same in PyTorch and in ONNX Runtime."""
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


@settings(max_examples=25, deadline=None)
@given(graphs(), st.integers(0, 5))
def test_every_kind_of_layer_answers_the_same_in_onnxruntime(
    drawn: tuple[int, list[dict[str, Any]]], more: int
) -> None:
    check_answers(*drawn, more)


@pytest.mark.parametrize("ndim", [2, 3])
def test_every_activation_answers_the_same_in_onnxruntime(ndim: int) -> None:
    """All of them side by side, behind one layer."""
    layers: list[dict[str, Any]] = [
        {"name": "in", "kind": "input", "inputs": []},
        {"name": "first", "kind": "conv", "inputs": ["in"], "channels": [1, 4], "kernel": [1] * ndim},
    ]
    for function in FUNCTIONS:
        slope = {"slope": 0.3} if function == "leaky_relu" else {}
        layers.append({"name": function, "kind": "activation", "inputs": ["first"], "function": function, **slope})
    last = {"kind": "conv", "channels": [4 * len(FUNCTIONS), 2], "kernel": [1] * ndim}
    layers += [
        {"name": "join", "kind": "join", "inputs": FUNCTIONS, "function": "concatenate"},
        {"name": "last", "inputs": ["join"], **last},
    ]
    check_answers(ndim, layers)


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
