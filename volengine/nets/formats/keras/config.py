"""The configuration of a Keras model as a flat list of layers: nested models are replaced by their layers.

Keras 1 to 3 write the layers of a model and their inputs as JSON, in several spellings. :func:`flatten` takes a
``Sequential`` or functional model with nested models of any depth, and returns :class:`Node` objects in an order in
which each reads only earlier ones. This module does not interpret the layers. A layer or model of a custom class is
refused by name, because its code would have to be run.

:func:`share_out` assigns the weights to the nodes, in both of Keras's layouts.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import FormatError
from volengine.nets.formats.keras.h5_apart import H5Content, Weight

Config = Mapping[str, Any]
MODELS = ("Functional", "Model", "Sequential")
MAX_DEPTH = 20
SEPARATOR = "::"
"""Separator between names of models and layers; the names may contain slashes."""
KERAS = re.compile(r"(tf_|tensorflow\.(python\.)?)?keras(\.|$)")
"""Pattern of the modules that hold Keras's own classes."""
OPERATIONS = {name: name for name in ("Add", "Multiply", "Maximum", "Concatenate", "Softmax")} | {
    "LeakyRelu": "LeakyReLU",
    "Elu": "ELU",
}
"""Functions of Keras 3 on tensors (``x + y``), and the layers that compute the same with the same settings."""
FUNCTIONS = ("Relu", "Relu6", "Selu", "Sigmoid", "HardSigmoid", "Silu", "Softplus", "Softsign", "Tanh")
"""Functions of Keras 3 on tensors that are activations."""


@dataclass(frozen=True)
class Node:
    """A layer that is not itself a model.

    Parameters
    ----------
    name
        Its name, after the names of the models that contain it: ``encoder::conv2d``.
    kind, config
        Its class and settings.
    inputs
        Names of the nodes that it reads, in order.
    path
        Path of its weights in Keras 3's layout: ``layers/functional/layers/conv2d``.
    """

    name: str
    kind: str
    config: Config
    inputs: list[str]
    path: str

    @property
    def own_name(self) -> str:
        """Its name without those of the models that contain it."""
        return self.name.rpartition(SEPARATOR)[2]

    @property
    def outermost(self) -> str:
        """Name of the layer of the outermost model that it is, or that contains it."""
        return self.name.partition(SEPARATOR)[0]


@dataclass
class Flat:
    """A model without nested models.

    Parameters
    ----------
    where
        Name of the file in messages.
    nodes
        Its layers.
    output
        Name of the node that is the model's output.
    """

    where: str
    nodes: list[Node] = field(default_factory=list)
    output: str = ""

    def model(self, config: Config, prefix: str, path: str, given: Sequence[str] | None) -> str:
        """Add the layers of a model that reads ``given`` (``None``: the outermost model); return its output's name."""
        if path.count("/") > 2 * MAX_DEPTH:
            raise FormatError(f"{self.where}: model_config is nested too deeply.")
        layers = layers_of(config, self.where)
        paths = _paths(config, layers, path)
        if config.get("class_name") == "Sequential":
            return self._chain(config, layers, prefix, paths, given)
        inner = config["config"]
        stands_for: dict[str, str] = {}
        inputs: list[str] = []
        if given is not None:
            inputs = list(histories(inner.get("input_layers", [])))
            if len(inputs) != len(given):
                raise FormatError(
                    f"{self.where}: {prefix.removesuffix(SEPARATOR)!r} has {len(inputs)} inputs and reads {len(given)}."
                )
            stands_for = dict(zip(inputs, given, strict=True))
        for layer, where in zip(layers, paths, strict=True):
            name = name_of(layer)
            if name in inputs:
                continue
            reads = []
            for other in _inbound(layer, self.where):
                if other not in stands_for:
                    raise FormatError(
                        f"{self.where}: layer {prefix + name!r} ({layer['class_name']}) reads {other!r}, which is not "
                        "before it."
                    )
                reads.append(stands_for[other])
            stands_for[name] = self._layer(layer, prefix + name, where, reads)
        found = list(histories(inner.get("output_layers", [])))
        if len(found) != 1:
            raise FormatError(f"{self.where}: the model has {len(found)} answers; one is supported.")
        if found[0] not in stands_for:
            raise FormatError(f"{self.where}: the model's answer {found[0]!r} is no layer of it.")
        return stands_for[found[0]]

    def _chain(
        self, config: Config, layers: list[Config], prefix: str, paths: list[str], given: Sequence[str] | None
    ) -> str:
        if given is not None and len(given) != 1:
            raise FormatError(
                f"{self.where}: {prefix.removesuffix(SEPARATOR)!r} is a chain of layers, but reads {len(given)} others."
            )
        before = given[0] if given else ""
        if not before and layers[0]["class_name"] != "InputLayer":
            first = layers[0]["config"]
            shape = first.get("batch_input_shape") or first.get("batch_shape") or _built_for(config)
            before = f"{prefix}input"
            self.nodes.append(Node(before, "InputLayer", {"batch_shape": shape}, [], ""))
        for layer, where in zip(layers, paths, strict=True):
            if layer["class_name"] == "InputLayer" and before:
                continue
            before = self._layer(layer, prefix + name_of(layer), where, [before] if before else [])
        return before

    def _layer(self, layer: Config, name: str, path: str, inputs: list[str]) -> str:
        kind = str(layer["class_name"])
        refuse_own(layer, name, self.where)
        if kind in MODELS:
            return self.model(layer, name + SEPARATOR, path, inputs)
        settings = layer["config"]
        if _is_operation(layer):
            kind, settings = self._operation(layer, name, len(inputs))
        self.nodes.append(Node(name, kind, settings, inputs, path))
        return name

    def _operation(self, layer: Config, name: str, inputs: int) -> tuple[str, Config]:
        """The layer that computes the same as a function on tensors."""
        kind = str(layer["class_name"])
        if kind in FUNCTIONS and inputs == 1:
            return "Activation", {"activation": snake_case(kind)}
        wanted = {"Softmax": 1, "LeakyRelu": 1, "Elu": 1, "Concatenate": max(2, inputs)}.get(kind, 2)
        if kind not in OPERATIONS or inputs != wanted:
            raise FormatError(
                f"{self.where}: layer {name!r} is the function {kind} of {inputs} tensors, which is not supported; a "
                "layer would be."
            )
        return OPERATIONS[kind], layer["config"]


def flatten(config: Config, where: str) -> Flat:
    """Flatten a model and its nested models into a list of layers.

    Parameters
    ----------
    config
        ``model_config`` of a file.
    where
        Name of the file in messages.

    Raises
    ------
    FormatError
        The configuration is damaged, contains a custom class, uses a layer several times, or has several outputs.
    """
    kind = str(config.get("class_name"))
    refuse_own(config, str(config["config"].get("name", "model")) if kind != "Sequential" else kind, where)
    if kind not in MODELS:
        raise FormatError(f"{where}: the model is a {kind}, which is not supported: only {', '.join(MODELS)} are.")
    flat = Flat(where)
    flat.output = flat.model(config, "", "", None)
    double = next((n for n, times in Counter(node.name for node in flat.nodes).items() if times > 1), None)
    if double is not None:
        raise FormatError(f"{where}: two layers are called {double!r}.")
    return flat


def refuse_own(layer: Config, name: str, where: str) -> None:
    """Refuse a layer, model or activation of a class that is not Keras's own."""
    module, registered = layer.get("module"), str(layer.get("registered_name") or "")
    if ">" in registered or (module is not None and not KERAS.match(str(module))):
        raise FormatError(
            f"{where}: layer {name!r} is a {registered or layer['class_name']}, which is not supported: it is no class "
            "of Keras's own, and its code is never run."
        )


def _is_operation(layer: Config) -> bool:
    """Whether a layer is a function on tensors; ``.h5`` files do not name modules, but no layer has these names."""
    return "ops" in str(layer.get("module") or "").split(".") or layer["class_name"] in (*FUNCTIONS, "LeakyRelu", "Elu")


def _built_for(config: Config) -> Any:
    inner = config["config"]
    shape = inner.get("build_input_shape") if isinstance(inner, Mapping) else None
    built = config.get("build_config")
    return shape or (built.get("input_shape") if isinstance(built, Mapping) else None)


def _paths(config: Config, layers: Sequence[Config], path: str) -> list[str]:
    """Path of each layer's weights in Keras 3's layout: its class, and a number from the second layer of a class on."""
    seen: Counter[str] = Counter()
    found = []
    for layer in layers:
        kind = str(layer["class_name"])
        if _is_operation(layer) or (kind == "InputLayer" and config.get("class_name") == "Sequential"):
            found.append("")
            continue
        snake = snake_case("Functional" if kind == "Model" else kind)
        found.append(f"{path}/layers/{snake}_{seen[snake]}" if seen[snake] else f"{path}/layers/{snake}")
        seen[snake] += 1
    return [p.lstrip("/") for p in found]


def snake_case(name: str) -> str:
    """The name of a class as Keras writes it in paths.

    >>> [snake_case(name) for name in ("Conv2DTranspose", "PReLU", "MaxPooling3D")]
    ['conv2d_transpose', 'p_re_lu', 'max_pooling3d']
    """
    apart = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", apart).lower()


def layers_of(config: Config, where: str) -> list[Config]:
    """The configurations of a model's layers, in order."""
    inner = config["config"]
    layers = inner if isinstance(inner, list) else inner.get("layers")
    if not isinstance(layers, list) or not layers or not all(isinstance(x, dict) and "class_name" in x for x in layers):
        raise FormatError(f"{where}: model_config has no list of layers.")
    return layers


def name_of(layer: Config) -> str:
    """The name of a layer from its configuration."""
    return str(layer.get("name") or layer["config"].get("name"))


def _inbound(layer: Config, where: str) -> list[str]:
    """Names of the layers that a layer reads, in order."""
    nodes = layer.get("inbound_nodes") or []
    if len(nodes) > 1:
        raise FormatError(f"{where}: layer {name_of(layer)!r} is used {len(nodes)} times, which is not supported.")
    odd = next(_constants(nodes), None)
    if odd is not None:
        raise FormatError(
            f"{where}: layer {name_of(layer)!r} ({layer['class_name']}) is called with {odd} beside other "
            "layers' answers, which is not supported."
        )
    return list(histories(nodes))


def _says_nothing(value: Any) -> bool:
    return value is None or value is False or (isinstance(value, list) and all(map(_says_nothing, value)))


def _constants(node: Any) -> Iterator[str]:
    """Arguments of a layer's call other than outputs of layers; ``None`` and ``False`` are left out."""
    if isinstance(node, Mapping):
        if node.get("class_name") == "__keras_tensor__":
            return
        if "class_name" in node:
            yield f"a {node['class_name']}"
        for key, value in node.items():
            if key in ("args", "kwargs"):
                yield from _constants(value)
            elif not _says_nothing(value):
                yield f"{key}={repr(value)[:40]}"
    elif isinstance(node, list | tuple):
        refers = len(node) >= 3 and isinstance(node[0], str) and isinstance(node[1], int)
        for item in node[3:] if refers else node:
            yield from _constants(item)
    elif node is not None:
        yield repr(node)[:40]


def histories(node: Any) -> Iterator[str]:
    """Names of the layers that a part of a configuration refers to: lists in Keras 2, objects in Keras 3."""
    if isinstance(node, Mapping):
        history = node.get("config", {}).get("keras_history") if node.get("class_name") == "__keras_tensor__" else None
        if history is not None:
            yield str(history[0])
        else:
            for key in ("args", "kwargs"):
                yield from histories(node.get(key, []) if isinstance(node.get(key), list | tuple) else [])
    elif isinstance(node, list | tuple):
        if len(node) >= 3 and isinstance(node[0], str) and isinstance(node[1], int):
            yield node[0]
        else:
            for item in node:
                yield from histories(item)


def share_out(flat: Flat, content: H5Content, *, same_save: bool) -> dict[str, list[NDArray[np.float32]]]:
    """Assign the weights of a file to the nodes of a model.

    Parameters
    ----------
    flat, content
        The layers, and the content of the file.
    same_save
        Configuration and weights were saved together: then the names of layers in both must agree.

    Returns
    -------
    dict
        The weights of each node, float32, in Keras's order.

    Raises
    ------
    FormatError
        The weights cannot be assigned uniquely.
    """
    if content.numbered:
        found = {node.name: content.weights.get(node.path, []) for node in flat.nodes}
        for node in flat.nodes:
            told = {weight.shown for weight in found[node.name]} - {""}
            if same_save and told - {node.own_name}:
                raise FormatError(
                    f"{flat.where}: the weights of {node.name!r} are not at {node.path!r}: those are {min(told)!r}'s."
                )
        _none_left(flat, content, found)
        return {name: [weight.values for weight in weights] for name, weights in found.items()}
    named: dict[str, list[Weight]] = {}
    for outer in dict.fromkeys(node.outermost for node in flat.nodes):
        inner = [node for node in flat.nodes if node.outermost == outer]
        given = content.weights.get(outer, [])
        if [node.name for node in inner] == [outer]:
            named[outer] = given
        else:
            named |= _by_name(flat, outer, inner, given)
    return {name: [weight.values for weight in weights] for name, weights in named.items()}


def _none_left(flat: Flat, content: H5Content, found: Mapping[str, Sequence[Weight]]) -> None:
    taken = {node.path for node in flat.nodes if found[node.name]}
    left = next((path for path in content.weights if path not in taken and not path.endswith("/seed_generator")), None)
    if left is not None:
        raise FormatError(f"{flat.where}: the weights at {left!r} belong to no layer of the model.")


def _by_name(flat: Flat, outer: str, nodes: Sequence[Node], given: Sequence[Weight]) -> dict[str, list[Weight]]:
    """Assign the weights of a nested model, which are one list with names ``[MODEL/]LAYER/kernel[:0]``."""
    times = Counter(node.own_name for node in nodes)
    found: dict[str, list[Weight]] = {}
    for node in nodes:
        whole = node.name.replace(SEPARATOR, "/").split("/")
        tail = node.own_name if times[node.own_name] == 1 else "/".join(whole[-2:])
        found[node.name] = [w for w in given if f"/{w.key.rpartition('/')[0]}".endswith(f"/{tail}")]
    if sum(map(len, found.values())) != len(given):
        raise FormatError(f"{flat.where}: it cannot be told which weights in {outer!r} are which layer's.")
    return found
