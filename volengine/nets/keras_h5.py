"""Keras models in HDF5 files, as graphs of plain layers; neither Keras nor TensorFlow is needed.

A whole-model file (``model.save("x.h5")``) holds the layers as JSON and the weights by layer name, the same way since
Keras 2.0; the layers' configurations of Keras 1 to 3 are understood. Nothing in the file is run: a layer that holds
code (``Lambda``), or one that is not known, is refused by name. Sizes along space become free.

Axes: Keras has channels last; here they come first. A 2D network of an input (y, x, slices) becomes one of (slices,
y, x). Of a 3D one ``axes`` says what its three axes are, and its kernels are turned to z, y, x.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from volengine.core.errors import FormatError, InputError, MissingError
from volengine.nets.graph import GraphNet

Array = NDArray[np.float32]
MAX_WEIGHTS = 2**31
"""Bytes of one weight: larger ones are not believed."""

FINAL = {"sigmoid": "sigmoid", "softmax": "softmax", "linear": "none"}
IDENTITY = (
    "Dropout",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "GaussianNoise",
    "GaussianDropout",
    "ActivityRegularization",
)
JOINS = {"Concatenate": "concatenate", "Add": "add", "Multiply": "multiply", "Average": "average", "Maximum": "maximum"}


@dataclass(frozen=True)
class KerasModel:
    """What a file holds.

    Parameters
    ----------
    layers, state
        Of a :class:`~volengine.nets.graph.GraphNet`, its last activation left out.
    activation
        That last activation: ``sigmoid``, ``softmax`` or ``none``.
    slices, channels
        2D: input channels; of the answer.
    box
        Sizes of the input along its axes when it was trained, in their order here; 0: free.
    volumetric
        3D.
    """

    layers: list[dict[str, Any]]
    state: dict[str, torch.Tensor]
    activation: str
    slices: int
    channels: int
    box: tuple[int, ...]
    volumetric: bool

    def module(self) -> GraphNet:
        """The network with its weights."""
        net = GraphNet(self.layers)
        net.load_state_dict(self.state)
        return net.eval()


def read_keras(source: str | Path | bytes, where: str = "", axes: str = "zyx") -> KerasModel:
    """The model of an HDF5 file.

    Parameters
    ----------
    source
        A path, or the file itself.
    where
        Names it in messages.
    axes
        3D networks: what the input's axes are, in their order (Ais: ``yxz``).

    Raises
    ------
    MissingError, FormatError
        No such file, or not a whole Keras model; a layer that is not known; the message names it.
    """
    import h5py

    where = where or str(source)
    if not isinstance(source, bytes) and not Path(source).is_file():
        raise MissingError(f"{where}: no such model file.")
    try:
        with h5py.File(BytesIO(source) if isinstance(source, bytes) else source, "r") as file:
            config = _config(file, where)
            weights = {name: list(_weights(file, name, where)) for name in _names(config, where)}
    except (OSError, RuntimeError) as error:
        raise FormatError(f"{where} is no HDF5 file, or it is damaged or cut off ({error}).") from error
    return _Reader(where, axes, weights).read(config)


def _config(file: Any, where: str) -> dict[str, Any]:
    text = file.attrs.get("model_config")
    if text is None:
        raise FormatError(
            f"{where} holds no model_config: weights alone do not say which network they are of. Save the whole model "
            "(model.save)."
        )
    try:
        config = json.loads(text.decode() if isinstance(text, bytes) else text)
        if not isinstance(config["config"], dict | list):
            raise TypeError("config")
    except (ValueError, KeyError, TypeError) as error:
        raise FormatError(f"{where}: model_config cannot be read ({error}).") from error
    found: dict[str, Any] = config
    return found


def _layers(config: Mapping[str, Any], where: str) -> list[dict[str, Any]]:
    inner = config["config"]
    layers = inner if isinstance(inner, list) else inner.get("layers")
    if not isinstance(layers, list) or not all(isinstance(x, dict) and "class_name" in x for x in layers):
        raise FormatError(f"{where}: model_config has no list of layers.")
    return layers


def _names(config: Mapping[str, Any], where: str) -> list[str]:
    return [_name(layer) for layer in _layers(config, where)]


def _name(layer: Mapping[str, Any]) -> str:
    return str(layer.get("name") or layer["config"].get("name"))


def _weights(file: Any, layer: str, where: str) -> Iterator[Array]:
    import h5py

    root = file["model_weights"] if file.get("model_weights", getclass=True) is h5py.Group else file
    if (
        root.get(layer, getclass=True) is not h5py.Group
        or root.get(layer, getlink=True, getclass=True) is not h5py.HardLink
    ):
        return
    group = root[layer]
    for name in group.attrs.get("weight_names", []):
        key = name.decode() if isinstance(name, bytes) else str(name)
        node = group
        for part in key.split("/"):
            if not isinstance(node.get(part, getlink=True), h5py.HardLink):
                raise FormatError(f"{where}: the weight {key!r} of {layer!r} is missing or lies in another file.")
            node = node[part]
        if not isinstance(node, h5py.Dataset) or node.external or node.is_virtual or node.nbytes > MAX_WEIGHTS:
            raise FormatError(
                f"{where}: the weight {key!r} of {layer!r} is no plain array of at most {MAX_WEIGHTS} bytes."
            )
        yield np.asarray(node, np.float32)


@dataclass
class _Reader:
    """Turns layers of Keras into layers of a graph."""

    where: str
    axes: str
    weights: dict[str, list[Array]]
    layers: list[dict[str, Any]] = field(default_factory=list)
    state: dict[str, torch.Tensor] = field(default_factory=dict)
    channels: dict[str, int] = field(default_factory=dict)
    stands_for: dict[str, str] = field(default_factory=dict)
    box: tuple[int, ...] = ()
    dims: int = 2

    def read(self, config: Mapping[str, Any]) -> KerasModel:
        listed = _layers(config, self.where)
        sequential = config.get("class_name") == "Sequential"
        before: str | None = None
        if sequential and listed[0]["class_name"] != "InputLayer":
            shape = listed[0]["config"].get("batch_input_shape") or listed[0]["config"].get("batch_shape")
            self._input("input", shape)
            before = "input"
        for layer in listed:
            name = _name(layer)
            inputs = ([before] if before else []) if sequential else _inbound(layer, self.where)
            self._layer(name, layer, [self.stands_for.get(i, i) for i in inputs])
            before = name
        output = before or "" if sequential else _output(config, self.where)
        return self._model(self.stands_for.get(output, output))

    def _model(self, output: str) -> KerasModel:
        names = [layer["name"] for layer in self.layers]
        if output not in names:
            raise FormatError(f"{self.where}: the model's answer {output!r} is no layer of it.")
        activation = "none"
        last = self.layers[names.index(output)]
        if last["kind"] == "activation" and last["function"] in FINAL:
            activation, output = FINAL[last["function"]], last["inputs"][0]
        wanted = {output}
        for layer in reversed(self.layers):
            if layer["name"] in wanted:
                wanted.update(layer["inputs"])
        kept = [layer for layer in self.layers if layer["name"] in wanted]
        kept.sort(key=lambda layer: layer["name"] == output)
        numbers = {layer["name"]: n for n, layer in enumerate(kept)}
        state = {
            f"layers.{numbers[name]}.{rest}": tensor
            for (name, _, rest), tensor in ((key.partition("\0"), t) for key, t in self.state.items())
            if name in numbers
        }
        first = next(layer["name"] for layer in kept if layer["kind"] == "input")
        return KerasModel(
            kept, state, activation, self.channels[first], self.channels[output], self.box, self.dims == 3
        )

    def _input(self, name: str, shape: Sequence[int | None] | None) -> None:
        if self.box or shape is None or len(shape) not in (4, 5) or not shape[-1]:
            raise FormatError(f"{self.where}: the input {name!r} of shape {shape} is no picture (y, x, c) nor volume.")
        self.dims = len(shape) - 2
        if self.dims == 3 and sorted(self.axes) != ["x", "y", "z"]:
            raise InputError(f"axes must be an order of z, y and x, not {self.axes!r}.")
        self.box = tuple(int(n or 0) for n in self._turn([s or 0 for s in shape[1:-1]]))
        self.channels[name] = int(shape[-1])
        self._add(name, "input", [])

    def _turn(self, values: Sequence[Any]) -> list[Any]:
        """Values per axis of Keras, in the order z, y, x (2D: as they are)."""
        if len(values) == 2:
            return list(values)
        return [values[self.axes.index(axis)] for axis in "zyx"]

    def _add(self, name: str, kind: str, inputs: Sequence[str], **extra: Any) -> None:
        self.layers.append({"name": name, "kind": kind, "inputs": list(inputs), **extra})
        if inputs and name not in self.channels:
            self.channels[name] = self.channels[inputs[0]]

    def _keep(self, name: str, key: str, value: Array) -> None:
        self.state[f"{name}\0{key}"] = torch.from_numpy(np.array(value, np.float32, order="C"))

    def _layer(self, name: str, layer: Mapping[str, Any], inputs: list[str]) -> None:
        kind, config = str(layer["class_name"]), layer["config"]
        unknown = [i for i in inputs if i not in self.channels]
        if unknown:
            raise FormatError(f"{self.where}: layer {name!r} ({kind}) reads {unknown[0]!r}, which is not before it.")
        if config.get("data_format") == "channels_first":
            raise FormatError(f"{self.where}: layer {name!r} ({kind}) has its channels first, which is not supported.")
        try:
            self._known(name, kind, config, inputs)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise FormatError(f"{self.where}: layer {name!r} ({kind}) cannot be read: {error!r}.") from error

    def _known(self, name: str, kind: str, config: Mapping[str, Any], inputs: list[str]) -> None:
        if kind == "InputLayer":
            self._input(name, config.get("batch_input_shape") or config.get("batch_shape"))
        elif kind in IDENTITY:
            self.stands_for[name] = inputs[0]
            self.channels[name] = self.channels[inputs[0]]
        elif kind in ("Conv2D", "Conv3D"):
            self._conv(name, config, inputs)
        elif kind in ("Conv2DTranspose", "Conv3DTranspose"):
            self._transpose(name, config, inputs)
        elif kind in ("MaxPooling2D", "MaxPooling3D", "AveragePooling2D", "AveragePooling3D"):
            size = self._turn(config["pool_size"])
            stride = self._turn(config.get("strides") or config["pool_size"])
            function = "max" if kind.startswith("Max") else "average"
            self._add(name, "pool", inputs, size=size, stride=stride, function=function, padding=config["padding"])
        elif kind in ("UpSampling2D", "UpSampling3D"):
            mode = {"nearest": "nearest", "bilinear": "linear"}[config.get("interpolation", "nearest")]
            self._add(name, "upsample", inputs, factor=self._turn(config["size"]), mode=mode)
        elif kind == "BatchNormalization":
            self._norm(name, config, inputs)
        elif kind in JOINS:
            self._join(name, kind, config, inputs)
        elif kind == "PReLU":
            self._slopes(name, config, inputs)
        elif kind.startswith(("ZeroPadding", "Cropping")):
            sign = 1 if kind.startswith("Zero") else -1
            widths = config["padding" if sign > 0 else "cropping"]
            pairs = [[w, w] if isinstance(w, int) else list(w) for w in widths]
            self._add(name, "frame", inputs, widths=self._turn([[sign * n for n in pair] for pair in pairs]))
        else:
            self._function(name, kind, config, inputs)

    def _function(self, name: str, kind: str, config: Mapping[str, Any], inputs: list[str]) -> None:
        if kind == "LeakyReLU":
            slope = float(config.get("alpha", config.get("negative_slope", 0.3)))
            self._add(name, "activation", inputs, function="leaky_relu", slope=slope)
        elif kind == "ReLU" and config.get("max_value") is None and not config.get("threshold"):
            slope = float(config.get("negative_slope") or 0.0)
            self._add(name, "activation", inputs, function="leaky_relu", slope=slope)
        elif kind == "ELU" and float(config.get("alpha", 1.0)) == 1.0:
            self._add(name, "activation", inputs, function="elu")
        elif kind == "Softmax":
            self._add(name, "activation", inputs, function="softmax")
        elif kind == "Activation":
            self._activated(name, config, inputs, own=True)
        else:
            raise FormatError(
                f"{self.where}: layer {name!r} is a {kind}, which is not supported"
                + (": it holds code, which is never run." if kind == "Lambda" else " with these settings.")
            )

    def _activated(self, name: str, config: Mapping[str, Any], inputs: Sequence[str], *, own: bool = False) -> None:
        """The activation of a layer, under the layer's name; the layer itself is then ``name/linear``."""
        given = config.get("activation", "linear")
        function = given if isinstance(given, str) else str((given or {}).get("class_name", "linear")).lower()
        function = {"swish": "silu", "leakyrelu": "leaky_relu", None: "linear"}.get(function, function)
        if function != "linear" or own:
            slope = 0.2 if function == "leaky_relu" else 0.0
            self._add(name, "activation", inputs, function=function, slope=slope)

    def _conv(self, name: str, config: Mapping[str, Any], inputs: list[str]) -> None:
        kernel, *bias = self.weights[name]
        turned = np.transpose(kernel, (kernel.ndim - 1, kernel.ndim - 2, *self._turn(range(kernel.ndim - 2))))
        groups = int(config.get("groups", 1))
        extra = {
            "channels": [kernel.shape[-2] * groups, kernel.shape[-1]],
            "kernel": list(turned.shape[2:]),
            "stride": self._turn(config["strides"]),
            "dilation": self._turn(config.get("dilation_rate") or [1] * (kernel.ndim - 2)),
            "groups": groups,
        }
        self._weighted(name, "conv", config, inputs, turned, bias, extra)

    def _transpose(self, name: str, config: Mapping[str, Any], inputs: list[str]) -> None:
        if config.get("output_padding") is not None or set(config.get("dilation_rate") or [1]) != {1}:
            raise FormatError(
                f"{self.where}: layer {name!r} has an output padding or a dilation, which is not supported."
            )
        kernel, *bias = self.weights[name]
        turned = np.transpose(kernel, (kernel.ndim - 1, kernel.ndim - 2, *self._turn(range(kernel.ndim - 2))))
        extra = {
            "channels": [kernel.shape[-1], kernel.shape[-2]],
            "kernel": list(turned.shape[2:]),
            "stride": self._turn(config["strides"]),
        }
        self._weighted(name, "conv_transpose", config, inputs, turned, bias, extra)

    def _weighted(
        self,
        name: str,
        kind: str,
        config: Mapping[str, Any],
        inputs: list[str],
        kernel: Array,
        bias: list[Array],
        extra: dict[str, Any],
    ) -> None:
        linear = config.get("activation", "linear") in ("linear", None)
        own = name if linear else f"{name}/linear"
        if self.channels[inputs[0]] != extra["channels"][0]:
            raise FormatError(f"{self.where}: layer {name!r} takes {extra['channels'][0]} channels, not what it reads.")
        self.channels[own] = self.channels[name] = int(extra["channels"][1])
        self._add(own, kind, inputs, padding=config["padding"], bias=bool(bias), **extra)
        self._keep(own, "conv.weight", kernel)
        if bias:
            self._keep(own, "conv.bias", bias[0])
        if not linear:
            self._activated(name, config, [own])

    def _norm(self, name: str, config: Mapping[str, Any], inputs: list[str]) -> None:
        axis = config.get("axis", -1)
        last = axis[0] if isinstance(axis, list) else axis
        if last not in (-1, self.dims + 1):
            raise FormatError(f"{self.where}: layer {name!r} normalises along axis {axis}, not along the channels.")
        given = iter(self.weights[name])
        channels = self.channels[inputs[0]]
        self._add(name, "norm", inputs, channels=channels, epsilon=float(config["epsilon"]))
        weight = next(given) if config.get("scale", True) else np.ones(channels, np.float32)
        bias = next(given) if config.get("center", True) else np.zeros(channels, np.float32)
        for key, value in (("weight", weight), ("bias", bias), ("mean", next(given)), ("variance", next(given))):
            self._keep(name, key, value)

    def _join(self, name: str, kind: str, config: Mapping[str, Any], inputs: list[str]) -> None:
        if kind == "Concatenate":
            if config.get("axis", -1) not in (-1, self.dims + 1):
                raise FormatError(f"{self.where}: layer {name!r} joins along axis {config['axis']}, not the channels.")
            self.channels[name] = sum(self.channels[i] for i in inputs)
        self._add(name, "join", inputs, function=JOINS[kind])

    def _slopes(self, name: str, config: Mapping[str, Any], inputs: list[str]) -> None:
        slopes = self.weights[name][0]
        if slopes.size != slopes.shape[-1]:
            raise FormatError(f"{self.where}: layer {name!r} (PReLU) has a slope per voxel; share them over space.")
        self._add(name, "slope", inputs, channels=int(slopes.size))
        self._keep(name, "weight", slopes.ravel())


def _inbound(layer: Mapping[str, Any], where: str) -> list[str]:
    """Names of the layers that a layer reads, in their order."""
    nodes = layer.get("inbound_nodes") or []
    if len(nodes) > 1:
        raise FormatError(f"{where}: layer {_name(layer)!r} is used {len(nodes)} times, which is not supported.")
    return list(_histories(nodes))


def _histories(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        history = node.get("config", {}).get("keras_history") if node.get("class_name") == "__keras_tensor__" else None
        if history is not None:
            yield str(history[0])
        else:
            for key in ("args", "kwargs"):
                yield from _histories(node.get(key, []) if isinstance(node.get(key), list | tuple) else [])
    elif isinstance(node, list | tuple):
        if len(node) >= 3 and isinstance(node[0], str) and isinstance(node[1], int):
            yield node[0]
        else:
            for item in node:
                yield from _histories(item)


def _output(config: Mapping[str, Any], where: str) -> str:
    found = list(_histories(config["config"].get("output_layers", [])))
    if len(found) != 1:
        raise FormatError(f"{where}: the model has {len(found)} answers; one is supported.")
    return found[0]
