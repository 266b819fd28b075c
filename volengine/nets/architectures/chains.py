"""Find chains of inception modules in a description of a network, and replace each by one layer.

A module is recognised by what it does, whatever its layers are called: all that reads a map are 1x1 convolutions, some
of its maximum over 3x3 pixels; each with or without ReLU and a second convolution; one layer joins them. The next
module is all that reads this. :mod:`volengine.nets.architectures.rows` computes such a chain.

>>> from volengine.nets.architectures.trace import describe
>>> from volengine.nets.registry import build
>>> layers, state = with_rows(*describe(build("inceptionnet"), torch.zeros(1, 1, 64, 64)))
>>> [layer["kind"] for layer in layers], len(layers[1]["chain"])
(['input', 'rows'], 4)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from volengine.nets.architectures.fan import joins, pointwise, pools_around

Layer = Mapping[str, Any]
Layers = list[dict[str, Any]]


class _Branch:
    """Layers of a branch by name, "": none: pooling, first convolution and ReLU, second convolution and ReLU."""

    def __init__(self, pool: str, conv: str):
        self.pool, self.conv, self.relu, self.then, self.then_relu = pool, conv, "", "", ""

    @property
    def names(self) -> list[str]:
        """The layers that there are, in their order."""
        return [n for n in (self.pool, self.conv, self.relu, self.then, self.then_relu) if n]


class _Graph:
    """A description, with the readers of each layer."""

    def __init__(self, layers: Sequence[dict[str, Any]]):
        self.known = {layer["name"]: layer for layer in layers}
        self.output = layers[-1]["name"]
        self.readers: dict[str, list[Layer]] = {layer["name"]: [] for layer in layers}
        for layer in layers:
            for name in layer["inputs"]:
                self.readers[name].append(layer)

    def only(self, name: str) -> Layer | None:
        """The layer that reads an output, if it is the only one that needs it."""
        readers = self.readers[name]
        return readers[0] if len(readers) == 1 and name != self.output else None

    def relu_after(self, name: str) -> str:
        """The ReLU that alone reads an output; "": there is none."""
        after = self.only(name)
        relu = after is not None and after["kind"] == "activation" and after["function"] == "relu"
        return str(after["name"]) if relu and after else ""

    def branch(self, reader: Layer) -> _Branch | None:
        """The branch that begins with a reader of a map, up to what is joined."""
        pool = ""
        if pools_around(reader):
            pool, after = str(reader["name"]), self.only(reader["name"])
            if after is None:
                return None
            reader = after
        if not pointwise(reader):
            return None
        found = _Branch(pool, reader["name"])
        found.relu = self.relu_after(found.conv)
        second = self.only(found.names[-1])
        if second is not None and _pads(second):
            found.then = second["name"]
            found.then_relu = self.relu_after(found.then)
        return found

    def module(self, source: str) -> tuple[str, list[_Branch]] | None:
        """The module that reads a map: the layer that joins it, and its branches in the order in which it does so."""
        if source == self.output:
            return None
        branches: dict[str, _Branch] = {}
        for reader in self.readers[source]:
            branch = self.branch(reader)
            if branch is None:
                return None
            branches[branch.names[-1]] = branch
        ends = {str(after["name"]) if (after := self.only(name)) else "" for name in branches}
        if len(ends) != 1 or len(branches) != len(self.readers[source]):
            return None
        join = self.known.get(ends.pop(), {"kind": "", "inputs": []})
        if len(branches) < 2 or not joins(join) or sorted(join["inputs"]) != sorted(branches):
            return None
        return join["name"], [branches[name] for name in join["inputs"]]


def with_rows(
    layers: Sequence[dict[str, Any]], state: Mapping[str, torch.Tensor]
) -> tuple[Layers, dict[str, torch.Tensor]]:
    """Rewrite a description (2D) so that each chain of inception modules is one layer; without any, nothing changes.

    A 1x1 convolution that alone reads the last module becomes part of the chain.
    """
    graph = _Graph(layers)
    modules = {name: found for name in graph.known if (found := graph.module(name))}
    behind = {join for join, _ in modules.values()}
    numbers = {layer["name"]: n for n, layer in enumerate(layers)}
    made: dict[str, tuple[dict[str, Any], dict[str, torch.Tensor]]] = {}
    gone: set[str] = set()
    for source in modules:
        if source in behind:
            continue  # in the middle of a chain
        chain, end = [], source
        while end in modules:
            join, branches = modules[end]
            chain.append(branches)
            gone |= {join, *(name for branch in branches for name in branch.names)}
            end = join
        last = graph.only(end)
        if last is not None and pointwise(last):
            head = _Branch("", last["name"])
            head.relu = graph.relu_after(head.conv)
            chain.append([head])
            gone |= set(head.names)
            end = head.names[-1]
        made[end] = _layer(source, end, chain, graph.known, numbers, state)
    new: Layers = []
    kept: dict[str, torch.Tensor] = {}
    for number, layer in enumerate(layers):
        name = layer["name"]
        if name in gone and name not in made:
            continue
        old = f"layers.{number}."
        own = {key.removeprefix(old): value for key, value in state.items() if key.startswith(old)}
        each, values = made.get(name, (layer, own))
        kept |= {f"layers.{len(new)}.{key}": value for key, value in values.items()}
        new.append(each)
    return new, kept


def rows_in(layers: Sequence[dict[str, Any]]) -> bool:
    """Whether a description has a module; no, if it is no description of a network."""
    try:
        graph = _Graph(layers)
        return any(graph.module(name) for name in graph.known)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):  # building the network says what is wrong
        return False


def _layer(
    source: str,
    name: str,
    chain: Sequence[Sequence[_Branch]],
    known: Mapping[str, Layer],
    numbers: Mapping[str, int],
    state: Mapping[str, torch.Tensor],
) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The layer of a chain, and its weights."""
    described, values = [], dict[str, torch.Tensor]()
    count = 0
    for module in chain:
        parts = []
        for branch in module:
            then = None
            if branch.then:
                layer = known[branch.then]
                then = {"kernel": list(layer["kernel"]), "width": layer["channels"][1], "relu": bool(branch.then_relu)}
            width = known[branch.conv]["channels"][1]
            parts.append({"width": width, "pooled": bool(branch.pool), "relu": bool(branch.relu), "then": then})
            for conv in filter(None, (branch.conv, branch.then)):
                weight = state[f"layers.{numbers[conv]}.conv.weight"]
                bias = state.get(f"layers.{numbers[conv]}.conv.bias", torch.zeros(len(weight)))
                values |= {f"convs.{count}.weight": weight, f"convs.{count}.bias": bias}
                count += 1
        described.append(parts)
    channels = known[chain[0][0].conv]["channels"][0]
    return {"name": name, "kind": "rows", "inputs": [source], "chain": described, "channels": channels}, values


def _pads(layer: Layer) -> bool:
    """Whether a layer is a convolution with an odd kernel that pads with zeros: stride 1, no dilation, one group."""
    steps = (layer.get("stride"), layer.get("dilation"))
    return (
        layer["kind"] == "conv"
        and layer.get("padding", "same") == "same"
        and layer.get("groups", 1) == 1
        and all(n % 2 for n in layer["kernel"])
        and all(tuple(n or (1, 1)) == (1, 1) for n in steps)
    )
