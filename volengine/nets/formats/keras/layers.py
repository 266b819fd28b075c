"""Translate layers of Keras 1 to 3 into layers of a graph.

:class:`Reader` takes the ``model_config`` of a file and the weights by layer name
(:mod:`volengine.nets.formats.keras.read`). A layer that contains code (``Lambda``), or that is unknown, is refused by
name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from volengine.core.errors import FormatError, InputError
from volengine.nets.architectures.graph import ACTIVATIONS, GraphNet
from volengine.nets.formats.keras.config import flatten, refuse_own, share_out
from volengine.nets.formats.keras.h5_apart import H5Content

Array = NDArray[np.float32]
FINAL = {"sigmoid": "sigmoid", "softmax": "softmax", "linear": "none"}
IDENTITY = (
    "Dropout",
    "SpatialDropout2D",
    "SpatialDropout3D",
    "AlphaDropout",
    "GaussianNoise",
    "GaussianDropout",
    "ActivityRegularization",
    "Identity",
)
JOINS = {"Concatenate": "concatenate", "Add": "add", "Multiply": "multiply", "Average": "average", "Maximum": "maximum"}


@dataclass(frozen=True)
class KerasModel:
    """A Keras model as a graph.

    Parameters
    ----------
    layers, state
        Layers and weights for a :class:`~volengine.nets.architectures.graph.GraphNet`, without the last activation.
    activation
        The last activation: ``sigmoid``, ``softmax`` or ``none``.
    slices, channels
        Input channels of a 2D network; output channels.
    box
        Size of the input in training, z, y, x (2D: y, x); 0: free.
    volumetric
        Whether the network is 3D.
    where
        Name of the file in messages.
    """

    layers: list[dict[str, Any]]
    state: dict[str, torch.Tensor]
    activation: str
    slices: int
    channels: int
    box: tuple[int, ...]
    volumetric: bool
    where: str = ""

    def module(self) -> GraphNet:
        """Build the network with its weights.

        Raises
        ------
        FormatError
            The weights do not fit the layers.
        """
        try:
            net = GraphNet(self.layers)
            net.load_state_dict(self.state)
        except (RuntimeError, TypeError, ValueError, LookupError) as error:
            text = str(error).strip().splitlines()[-1].strip()
            raise FormatError(f"{self.where}: the layers and the weights do not fit together: {text}") from error
        return net.eval()


@dataclass
class Reader:
    """Translates layers of Keras into layers of a graph.

    Parameters
    ----------
    where
        Name of the file in messages.
    axes
        Order of the axes of a 3D network, for example ``yxz``.
    content, version
        The weights, and the version of Keras that wrote them.
    same_save
        Whether configuration and weights were saved together.
    """

    where: str
    axes: str
    content: H5Content
    version: str = ""
    same_save: bool = True
    weights: dict[str, list[Array]] = field(default_factory=dict)
    layers: list[dict[str, Any]] = field(default_factory=list)
    state: dict[str, torch.Tensor] = field(default_factory=dict)
    channels: dict[str, int] = field(default_factory=dict)
    stands_for: dict[str, str] = field(default_factory=dict)
    box: tuple[int, ...] = ()
    dims: int = 2

    def read(self, config: Mapping[str, Any]) -> KerasModel:
        """Translate the model of a file's ``model_config``.

        Raises
        ------
        FormatError
            A layer is unknown, has unsupported settings, or does not fit its weights.
        """
        try:
            return self._read(config)
        except InputError:
            raise
        except (AttributeError, LookupError, TypeError, ValueError, OverflowError, StopIteration) as error:
            raise FormatError(f"{self.where}: model_config cannot be read ({error!r}).") from error

    def _read(self, config: Mapping[str, Any]) -> KerasModel:
        flat = flatten(config, self.where)
        self.weights = share_out(flat, self.content, same_save=self.same_save)
        for node in flat.nodes:
            self._layer(node.name, node.kind, node.config, [self.stands_for.get(i, i) for i in node.inputs])
        return self._model(self.stands_for.get(flat.output, flat.output))

    def _model(self, output: str) -> KerasModel:
        names = [layer["name"] for layer in self.layers]
        if output not in names:
            raise FormatError(f"{self.where}: the model's answer {output!r} is no layer of it.")
        activation, output = self._final(output)
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
            kept, state, activation, self.channels[first], self.channels[output], self.box, self.dims == 3, self.where
        )

    def _final(self, output: str) -> tuple[str, str]:
        """Return the last activation, and the layer whose answer it is applied to.

        Layers behind it that only repeat or cut off values, as the up-sampling of Ais's EMAN2 network, are put before
        it, which changes no value: each value of the answer is the activation of one place.
        """
        layers = {layer["name"]: layer for layer in self.layers}
        chain: list[dict[str, Any]] = []
        layer = layers[output]
        while _only_places(layer):
            chain.append(layer)
            layer = layers[layer["inputs"][0]]
        if layer["kind"] != "activation" or layer["function"] not in FINAL:
            return "none", output
        if not chain:
            return FINAL[layer["function"]], layer["inputs"][0]
        used = [name for other in self.layers for name in other["inputs"]]
        if any(used.count(one["name"]) != 1 for one in (*chain[1:], layer)) or chain[0]["name"] in used:
            return "none", output  # another branch needs the values behind the activation
        chain[-1]["inputs"] = list(layer["inputs"])
        return FINAL[layer["function"]], output

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
        """Reorder values per axis of Keras to z, y, x (2D: unchanged)."""
        if len(values) == 2:
            return list(values)
        return [values[self.axes.index(axis)] for axis in "zyx"]

    def _add(self, name: str, kind: str, inputs: Sequence[str], **extra: Any) -> None:
        self.layers.append({"name": name, "kind": kind, "inputs": list(inputs), **extra})
        if inputs and name not in self.channels:
            self.channels[name] = self.channels[inputs[0]]

    def _keep(self, name: str, key: str, value: Array) -> None:
        self.state[f"{name}\0{key}"] = torch.from_numpy(np.array(value, np.float32, order="C"))

    def _layer(self, name: str, kind: str, config: Mapping[str, Any], inputs: list[str]) -> None:
        unknown = [i for i in inputs if i not in self.channels]
        if unknown:
            raise FormatError(f"{self.where}: layer {name!r} ({kind}) reads {unknown[0]!r}, which is not before it.")
        if config.get("data_format") == "channels_first":
            raise FormatError(f"{self.where}: layer {name!r} ({kind}) has its channels first, which is not supported.")
        try:
            self._known(name, kind, config, inputs)
        except (AttributeError, LookupError, TypeError, ValueError, OverflowError, StopIteration) as error:
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
        elif kind in ("DepthwiseConv2D", "SeparableConv2D"):
            self._depthwise(name, config, inputs, separable=kind == "SeparableConv2D")
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
        elif kind == "GroupNormalization":
            self._group_norm(name, config, inputs)
        elif kind == "Rescaling":
            self._rescaled(name, config, inputs)
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
        elif kind == "Softmax" and config.get("axis", -1) in (-1, self.dims + 1, [-1]):
            self._add(name, "activation", inputs, function="softmax")
        elif kind == "Activation":
            self._activated(name, config, inputs, own=True)
        else:
            raise FormatError(
                f"{self.where}: layer {name!r} is a {kind}, which is not supported"
                + (": it holds code, which is never run." if kind == "Lambda" else " with these settings.")
            )

    def _activated(self, name: str, config: Mapping[str, Any], inputs: Sequence[str], *, own: bool = False) -> None:
        """Add the activation of a layer under the layer's name; the layer itself is then called ``name/linear``."""
        function, slope = self._activation(name, config)
        if function != "linear" or own:
            self._add(name, "activation", inputs, function=function, slope=slope)

    def _activation(self, name: str, config: Mapping[str, Any]) -> tuple[str, float]:
        """The function of an activation, and its slope; Keras writes a name, or a layer as an object."""
        given = config.get("activation", "linear") or "linear"
        inner: Mapping[str, Any] = {}
        if isinstance(given, Mapping):
            refuse_own(given, name, self.where)
            inner = given["config"] if isinstance(given.get("config"), Mapping) else {}
            given = {"LeakyReLU": "leaky_relu", "ReLU": "relu", "ELU": "elu", "Softmax": "softmax"}.get(
                str(given.get("class_name")), str(inner.get("config") or given.get("config"))
            )
        function = {"swish": "silu"}.get(str(given), str(given))
        if function not in (*ACTIVATIONS, "leaky_relu", "linear"):
            raise FormatError(
                f"{self.where}: layer {name!r} has the activation {given!r}, which is not supported; code is never run."
            )
        slope = float(inner.get("negative_slope", inner.get("alpha", 0.2))) if function == "leaky_relu" else 0.0
        odd = inner.get("max_value"), inner.get("threshold"), function == "relu" and inner.get("negative_slope")
        if any(odd) or (function == "elu" and inner.get("alpha", 1.0) != 1.0) or inner.get("axis", -1) != -1:
            raise FormatError(f"{self.where}: layer {name!r} has an activation {given!r} with unusual settings.")
        if function == "hard_sigmoid" and not self.version.startswith("3"):
            raise FormatError(
                f"{self.where}: layer {name!r} has the hard_sigmoid of Keras 2, which is not supported (that of 3 is)."
            )
        return function, slope

    def _weights(self, name: str, number: int) -> list[Array]:
        given = self.weights.get(name, [])
        if len(given) != number:
            raise FormatError(f"{self.where}: layer {name!r} has {len(given)} weights in the file; it needs {number}.")
        return given

    def _conv(self, name: str, config: Mapping[str, Any], inputs: list[str]) -> None:
        kernel, *bias = self._weights(name, 1 + bool(config.get("use_bias", True)))
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

    def _depthwise(self, name: str, config: Mapping[str, Any], inputs: list[str], *, separable: bool) -> None:
        kernel, *rest = self._weights(name, 1 + separable + bool(config.get("use_bias", True)))
        height, width, channels, times = kernel.shape
        turned = kernel.transpose(2, 3, 0, 1).reshape(channels * times, 1, height, width)
        extra = {
            "channels": [channels, channels * times],
            "kernel": [height, width],
            "stride": list(config["strides"]),
            "dilation": list(config.get("dilation_rate") or (1, 1)),
            "groups": channels,
        }
        if not separable:
            self._weighted(name, "conv", config, inputs, turned, rest, extra)
            return
        alone = {"padding": config["padding"], "activation": "linear"}
        self._weighted(f"{name}/depthwise", "conv", alone, inputs, turned, [], extra)
        pointwise, *bias = rest
        outputs = int(pointwise.shape[-1])
        extra = {"channels": [channels * times, outputs], "kernel": [1, 1], "stride": [1, 1]}
        self._weighted(name, "conv", config, [f"{name}/depthwise"], pointwise.transpose(3, 2, 0, 1), bias, extra)

    def _transpose(self, name: str, config: Mapping[str, Any], inputs: list[str]) -> None:
        if config.get("output_padding") is not None or set(config.get("dilation_rate") or [1]) != {1}:
            raise FormatError(
                f"{self.where}: layer {name!r} has an output padding or a dilation, which is not supported."
            )
        kernel, *bias = self._weights(name, 1 + bool(config.get("use_bias", True)))
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
        linear = self._activation(name, config)[0] == "linear"
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
        given = iter(self._weights(name, 2 + bool(config.get("scale", True)) + bool(config.get("center", True))))
        channels = self.channels[inputs[0]]
        self._add(name, "norm", inputs, channels=channels, epsilon=float(config["epsilon"]))
        weight = next(given) if config.get("scale", True) else np.ones(channels, np.float32)
        bias = next(given) if config.get("center", True) else np.zeros(channels, np.float32)
        for key, value in (("weight", weight), ("bias", bias), ("mean", next(given)), ("variance", next(given))):
            self._keep(name, key, value)

    def _group_norm(self, name: str, config: Mapping[str, Any], inputs: list[str]) -> None:
        if config.get("axis", -1) not in (-1, self.dims + 1):
            raise FormatError(f"{self.where}: layer {name!r} normalises along axis {config['axis']}, not the channels.")
        given = iter(self._weights(name, bool(config.get("scale", True)) + bool(config.get("center", True))))
        channels, groups = self.channels[inputs[0]], int(config["groups"])
        groups = channels if groups == -1 else groups
        self._add(name, "group_norm", inputs, channels=channels, groups=groups, epsilon=float(config["epsilon"]))
        self._keep(name, "weight", next(given) if config.get("scale", True) else np.ones(channels, np.float32))
        self._keep(name, "bias", next(given) if config.get("center", True) else np.zeros(channels, np.float32))

    def _rescaled(self, name: str, config: Mapping[str, Any], inputs: list[str]) -> None:
        channels = self.channels[inputs[0]]
        self._add(name, "norm", inputs, channels=channels, epsilon=0.0)
        zeros, ones = np.zeros(channels, np.float32), np.ones(channels, np.float32)
        self._keep(name, "weight", ones * np.asarray(config["scale"], np.float32))
        self._keep(name, "bias", zeros + np.asarray(config.get("offset", 0.0), np.float32))
        self._keep(name, "mean", zeros)
        self._keep(name, "variance", ones)

    def _join(self, name: str, kind: str, config: Mapping[str, Any], inputs: list[str]) -> None:
        if kind == "Concatenate":
            if config["axis"] not in (-1, self.dims + 1):
                raise FormatError(f"{self.where}: layer {name!r} joins along axis {config['axis']}, not the channels.")
            self.channels[name] = sum(self.channels[i] for i in inputs)
        elif len(inputs) < 2:
            raise FormatError(f"{self.where}: layer {name!r} ({kind}) joins {len(inputs)} inputs; it needs two.")
        else:
            self.channels[name] = max(self.channels[i] for i in inputs)
        self._add(name, "join", inputs, function=JOINS[kind])

    def _slopes(self, name: str, config: Mapping[str, Any], inputs: list[str]) -> None:
        (slopes,) = self._weights(name, 1)
        if slopes.size != slopes.shape[-1]:
            raise FormatError(f"{self.where}: layer {name!r} (PReLU) has a slope per voxel; share them over space.")
        self._add(name, "slope", inputs, channels=int(slopes.size))
        self._keep(name, "weight", slopes.ravel())


def _only_places(layer: Mapping[str, Any]) -> bool:
    """Whether a layer changes where values are, and no value: it repeats them, or cuts off a frame."""
    if layer["kind"] == "frame":
        return all(n <= 0 for pair in layer["widths"] for n in pair)
    return bool(layer["kind"] == "upsample" and layer["mode"] == "nearest")
