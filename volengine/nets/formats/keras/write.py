"""Write networks as Keras models, in the whole-model HDF5 layout that Keras 2 and 3 open.

This is the counterpart of :mod:`volengine.nets.formats.keras.read`. A description
(:func:`volengine.nets.architectures.trace.describe`) is written as a functional model with channels last. Keras assigns
weights in the order in which it sorts the layers, by their distance to the output, so the layers are written in that
order.

>>> from pathlib import Path
>>> from volengine.nets.architectures.trace import describe
>>> from volengine.nets.registry import build
>>> layers, state = describe(build("unet"), torch.zeros(1, 1, 64, 64))
>>> size = Path("unet.h5").write_bytes(write_keras(layers, state, (64, 64, 1)))
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from volengine.core.errors import InputError

Layer = Mapping[str, Any]
Weights = list[tuple[str, NDArray[np.float32]]]
VERSION = "2.15.0"
"""Version of Keras whose layout is written."""
JOINS = {"concatenate": "Concatenate", "add": "Add", "multiply": "Multiply", "average": "Average", "maximum": "Maximum"}
KERAS_NAMES = {"silu": "swish"}
REFUSED = ("hard_sigmoid", "relu6")
"""Activations that differ between versions of Keras, or have no name in all of them."""


def write_keras(
    layers: Sequence[Layer], state: Mapping[str, torch.Tensor], shape: Sequence[int | None], axes: str = "zyx"
) -> bytes:
    """Write a Keras model as the bytes of an HDF5 file.

    Parameters
    ----------
    layers, state
        The description of a network, and its weights.
    shape
        Shape of the input in Keras: sizes in space (``None``: free), then channels.
    axes
        For 3D networks: the order of the axes in Keras (Ais: ``yxz``).

    Raises
    ------
    InputError
        The network has a layer that Keras does not have.
    """
    import h5py

    writer = _Writer(layers, state, axes)
    config = writer.config(shape)
    stream = BytesIO()
    with h5py.File(stream, "w") as file:
        file.attrs["backend"] = "tensorflow"
        file.attrs["keras_version"] = VERSION
        file.attrs["model_config"] = json.dumps(config)
        root = file.create_group("model_weights")
        root.attrs["backend"] = "tensorflow"
        root.attrs["keras_version"] = VERSION
        names = [layer["config"]["name"] for layer in config["config"]["layers"]]
        root.attrs["layer_names"] = np.array([n.encode() for n in names])
        for name in names:
            group = root.create_group(name)
            weights = writer.weights.get(name, [])
            stored = [f"{name}/{key}:0".encode() for key, _ in weights]
            group.attrs["weight_names"] = np.array(stored) if stored else np.zeros(0, "S1")
            for key, value in weights:
                group[f"{name}/{key}:0"] = value
    return stream.getvalue()


class _Writer:
    """Translates layers of a graph into Keras layers."""

    def __init__(self, layers: Sequence[Layer], state: Mapping[str, torch.Tensor], axes: str):
        self.source, self.state, self.axes = layers, state, axes
        self.layers: list[dict[str, Any]] = []
        self.weights: dict[str, Weights] = {}
        self.names: dict[str, str] = {}
        self.ndim = 2

    def config(self, shape: Sequence[int | None]) -> dict[str, Any]:
        """Return ``model_config``, and fill :attr:`weights`."""
        self.ndim = len(shape) - 1
        for number, layer in enumerate(self.source):
            inputs = [self.names[name] for name in layer["inputs"]]
            self.names[layer["name"]] = self._layer(number, layer, inputs, shape)
        answer = self.names[self.source[-1]["name"]]
        ordered = _sorted(self.layers, answer)
        first = next(layer["name"] for layer in ordered if layer["class_name"] == "InputLayer")
        for layer in ordered:
            inputs = layer.pop("inputs")
            layer["inbound_nodes"] = [[[name, 0, 0, {}] for name in inputs]] if inputs else []
        inner = {
            "name": "volengine",
            "trainable": True,
            "layers": ordered,
            "input_layers": [[first, 0, 0]],
            "output_layers": [[answer, 0, 0]],
        }
        return {"class_name": "Functional", "config": inner}

    def _add(self, kind: str, inputs: Sequence[str], weights: Weights | None = None, **config: Any) -> str:
        name = f"{kind.lower()}_{len(self.layers)}"
        config = {"name": name, "dtype": "float32", **config}
        self.layers.append({"class_name": kind, "name": name, "config": config, "inputs": list(inputs)})
        if weights:
            self.weights[name] = weights
        return name

    def _turn(self, values: Sequence[Any]) -> list[Any]:
        """Reorder values from z, y, x to Keras's axes."""
        return list(values) if len(values) == 2 else [values["zyx".index(axis)] for axis in self.axes]

    def _tensor(self, number: int, key: str) -> NDArray[np.float32]:
        return self.state[f"layers.{number}.{key}"].detach().cpu().numpy().astype(np.float32)

    def _layer(self, number: int, layer: Layer, inputs: list[str], shape: Sequence[int | None]) -> str:
        kind = str(layer["kind"])
        if kind == "input":
            return self._add("InputLayer", [], batch_input_shape=[None, *shape], sparse=False, ragged=False)
        if kind in ("conv", "conv_transpose"):
            return self._conv(number, layer, inputs, kind == "conv")
        if kind == "pool":
            name = f"{'Max' if layer.get('function', 'max') == 'max' else 'Average'}Pooling{self.ndim}D"
            return self._add(
                name,
                inputs,
                pool_size=self._turn(layer["size"]),
                strides=self._turn(layer["stride"]),
                padding=layer.get("padding", "valid"),
                data_format="channels_last",
            )
        if kind == "upsample":
            return self._upsample(layer, inputs)
        if kind in ("norm", "group_norm"):
            return self._norm(number, layer, inputs)
        if kind == "activation":
            return self._activation(layer, inputs)
        if kind == "slope":
            slopes = self._tensor(number, "weight").reshape(*(1,) * self.ndim, -1)
            return self._add("PReLU", inputs, [("alpha", slopes)], shared_axes=list(range(1, self.ndim + 1)))
        if kind == "frame":
            return self._frame(layer, inputs)
        if kind == "join":
            extra: dict[str, Any] = {"axis": -1} if layer["function"] == "concatenate" else {}
            return self._add(JOINS[layer["function"]], inputs, **extra)
        raise InputError(f"Keras has no layer of the kind {kind!r} ({layer['name']!r}).")

    def _conv(self, number: int, layer: Layer, inputs: list[str], forward: bool) -> str:
        kernel = self._tensor(number, "conv.weight")
        order = [2 + n for n in self._turn(range(self.ndim))]
        weights: Weights = [("kernel", np.ascontiguousarray(kernel.transpose(*order, 1, 0)))]
        if layer.get("bias", True):
            weights.append(("bias", self._tensor(number, "conv.bias")))
        ones = [1] * self.ndim
        stride, dilation = list(layer.get("stride") or ones), list(layer.get("dilation") or ones)
        if max(stride) > 1 and max(dilation) > 1:
            raise InputError(f"Keras has no convolution with stride and dilation ({layer['name']!r}).")
        return self._add(
            f"Conv{self.ndim}D" if forward else f"Conv{self.ndim}DTranspose",
            inputs,
            weights,
            filters=int(layer["channels"][1]),
            kernel_size=self._turn(layer["kernel"]),
            strides=self._turn(stride),
            padding=layer.get("padding", "same"),
            data_format="channels_last",
            dilation_rate=self._turn(dilation),
            activation="linear",
            use_bias=bool(layer.get("bias", True)),
            **({"groups": int(layer.get("groups", 1))} if forward else {}),
        )

    def _upsample(self, layer: Layer, inputs: list[str]) -> str:
        linear = layer.get("mode", "nearest") == "linear"
        if linear and self.ndim == 3:
            raise InputError(f"Keras has no linear upsampling in 3D ({layer['name']!r}).")
        extra: dict[str, Any] = {"interpolation": "bilinear" if linear else "nearest"} if self.ndim == 2 else {}
        factor = self._turn(layer["factor"])
        return self._add(f"UpSampling{self.ndim}D", inputs, size=factor, data_format="channels_last", **extra)

    def _norm(self, number: int, layer: Layer, inputs: list[str]) -> str:
        weights: Weights = [("gamma", self._tensor(number, "weight")), ("beta", self._tensor(number, "bias"))]
        extra: dict[str, Any] = {"axis": -1, "epsilon": float(layer["epsilon"]), "center": True, "scale": True}
        if layer["kind"] == "group_norm":
            return self._add("GroupNormalization", inputs, weights, groups=int(layer["groups"]), **extra)
        weights += [
            ("moving_mean", self._tensor(number, "mean")),
            ("moving_variance", self._tensor(number, "variance")),
        ]
        return self._add("BatchNormalization", inputs, weights, momentum=0.99, **extra)

    def _activation(self, layer: Layer, inputs: list[str]) -> str:
        function = str(layer["function"])
        if function == "leaky_relu":
            return self._add("LeakyReLU", inputs, alpha=float(layer.get("slope", 0.0)))
        if function in REFUSED:
            raise InputError(f"Keras has no activation {function!r} shared by its versions ({layer['name']!r}).")
        return self._add("Activation", inputs, activation=KERAS_NAMES.get(function, function))

    def _frame(self, layer: Layer, inputs: list[str]) -> str:
        widths = [[int(n) for n in pair] for pair in self._turn(layer["widths"])]
        name = inputs[0]
        for sign, kind, key in ((-1, "Cropping", "cropping"), (1, "ZeroPadding", "padding")):
            part = [[max(0, sign * n) for n in pair] for pair in widths]
            if any(map(any, part)):
                extra: dict[str, Any] = {key: part}
                name = self._add(f"{kind}{self.ndim}D", [name], data_format="channels_last", **extra)
        return name


def _sorted(layers: Sequence[dict[str, Any]], answer: str) -> list[dict[str, Any]]:
    """The layers in Keras's order: the longest path to the output first; ties in the order of a walk back from it."""
    known = {layer["name"]: layer for layer in layers}
    met: list[str] = []
    stack = [answer]
    while stack:
        name = stack.pop()
        if name not in met:
            met.append(name)
            stack += reversed(known[name]["inputs"])
    depth = dict.fromkeys(met, 0)
    for layer in reversed(layers):
        if layer["name"] in depth:
            for name in layer["inputs"]:
                depth[name] = max(depth[name], depth[layer["name"]] + 1)
    return [known[name] for name in sorted(met, key=lambda name: (-depth[name], met.index(name)))]
