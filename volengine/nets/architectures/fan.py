"""Several 1x1 convolutions of one map, computed row by row.

Inception modules begin with four of them, one after a maximum over 3x3 voxels. Layer by layer each reads the whole map
from memory, does little with it, and writes another one; PyTorch has a slow code path for 1x1 convolutions in one
thread, and its maximum also stores where each is. Here a few rows are read into the cache; all convolutions, the
maximum and ReLU follow at once. A map that was only joined for them is not joined: each part is multiplied by its share
of the weights.

Whole modules are computed otherwise (:mod:`volengine.nets.architectures.rows`); this is for what looks different, such
as 1x1 convolutions whose outputs several layers read. With InceptionNet in one thread it took 0.35 to 0.4 of the time.

>>> fan = Fan([{"width": 2, "pooled": False, "relu": True}, {"width": 3, "pooled": True, "relu": False}], 4)
>>> [part.shape for part in fan(torch.zeros(1, 1, 5, 6), torch.zeros(1, 3, 5, 6))]
[torch.Size([1, 2, 5, 6]), torch.Size([1, 3, 5, 6])]
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

Layers = list[dict[str, Any]]
STRIP = 2**18
"""Numbers of the input that are worked on at a time: 1 MB, about the second cache of a core."""


class Fan(nn.Module):
    """1x1 convolutions of maps that belong together; it answers with one map for each part.

    Parameters
    ----------
    parts
        For each convolution ``width`` (output channels), whether it reads the maximum over 3x3 voxels (``pooled``), and
        whether ``relu`` follows.
    channels
        Number of channels of all input maps together.
    """

    def __init__(self, parts: Sequence[Mapping[str, Any]], channels: int):
        super().__init__()
        self.parts = [dict(part) for part in parts]
        total = sum(part["width"] for part in parts)
        self.weight = nn.Parameter(torch.zeros(total, channels))
        self.bias = nn.Parameter(torch.zeros(total))

    def forward(self, *maps: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """A map for each part, (batch, width, y, x), channels last; the inputs are (batch, channels, y, x)."""
        batch, _, height, width = maps[0].shape
        kind = self.weight.dtype
        rows = [m.to(kind).permute(0, 2, 3, 1).contiguous() for m in maps]
        found = [torch.empty((batch, height, width, part["width"]), dtype=kind) for part in self.parts]
        step = max(1, STRIP // (width * self.weight.shape[1]))
        for n in range(batch):
            for pooled in (False, True):
                chosen = [number for number, part in enumerate(self.parts) if part["pooled"] == pooled]
                if chosen:
                    taken = self._rows_of(chosen)
                    weight = self.weight.detach()[taken].t().contiguous()
                    mine = [found[number][n] for number in chosen]
                    reads = [_Largest(r[n]) if pooled else r[n] for r in rows]
                    self._strips(reads, weight, self.bias.detach()[taken], chosen, mine, step)
        return tuple(f.permute(0, 3, 1, 2) for f in found)

    def _rows_of(self, chosen: Sequence[int]) -> list[int]:
        """The rows of the weights that belong to some parts."""
        starts = [sum(part["width"] for part in self.parts[:number]) for number in range(len(self.parts))]
        return [starts[number] + row for number in chosen for row in range(self.parts[number]["width"])]

    def _strips(
        self,
        maps: Sequence[Any],
        weight: torch.Tensor,
        bias: torch.Tensor,
        chosen: Sequence[int],
        found: Sequence[torch.Tensor],
        step: int,
    ) -> None:
        height, width, _ = found[0].shape
        sums = torch.empty((step * width, len(bias)), dtype=bias.dtype)
        given = torch.empty((step, width, len(weight)), dtype=bias.dtype)
        for first in range(0, height, step):
            last = min(first + step, height)
            total, seen = sums[: (last - first) * width], given[: last - first]
            torch.cat([part[first:last] for part in maps], 2, out=seen)
            torch.addmm(bias, seen.view(-1, len(weight)), weight, out=total)
            start = 0
            for number, out in zip(chosen, found, strict=True):
                one = total[:, start : start + out.shape[2]].view(last - first, width, out.shape[2])
                if self.parts[number]["relu"]:
                    torch.clamp_min(one, 0, out=out[first:last])
                else:
                    out[first:last] = one
                start += out.shape[2]


class _Largest:
    """Rows of the maximum over 3x3 voxels of a map (y, x, channels); voxels outside of it do not count."""

    def __init__(self, rows: torch.Tensor):
        self._rows = rows

    def __getitem__(self, which: slice) -> torch.Tensor:
        first, last = which.start, which.stop
        height = len(self._rows)
        near = self._rows[max(first - 1, 0) : min(last + 1, height)]
        along = near.clone()
        torch.maximum(along[:, 1:], near[:, :-1], out=along[:, 1:])
        torch.maximum(along[:, :-1], near[:, 1:], out=along[:, :-1])
        start = first - max(first - 1, 0)
        found = along[start : start + last - first].clone()
        if start:
            torch.maximum(found, along[start - 1 : start - 1 + last - first], out=found)
        else:
            torch.maximum(found[1:], along[: last - first - 1], out=found[1:])
        below = along[start + 1 : start + 1 + last - first]
        torch.maximum(found[: len(below)], below, out=found[: len(below)])
        return found


class Part(nn.Module):
    """One of the maps that a fan answers with."""

    def __init__(self, index: int):
        super().__init__()
        self.index = index

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """The map."""
        return maps[self.index]


def with_fans(layers: Layers, state: Mapping[str, torch.Tensor]) -> tuple[Layers, dict[str, torch.Tensor]]:
    """Rewrite a description (2D) so that 1x1 convolutions of one map are computed together.

    It changes nothing if no map is read by two of them.
    """
    if not fans_in(layers):
        return list(layers), dict(state)
    found = _fans(layers)
    known = {layer["name"]: layer for layer in layers}
    numbers = {layer["name"]: n for n, layer in enumerate(layers)}
    own = {
        n: {k.removeprefix(f"layers.{n}."): v for k, v in state.items() if k.startswith(f"layers.{n}.")}
        for n in range(len(layers))
    }
    gone: set[str] = set()
    made: dict[str, list[tuple[dict[str, Any], dict[str, torch.Tensor]]]] = {}
    for source, members in found.items():
        inputs = [source]
        if joins(known[source]) and _only(source, members, layers):
            inputs = list(known[source]["inputs"])
            gone.add(source)
        weights = [own[numbers[m.conv]] for m in members]
        fan = {
            "name": f"{source}/fan",
            "kind": "fan",
            "inputs": inputs,
            "parts": [{"width": known[m.conv]["channels"][1], "pooled": bool(m.pool), "relu": m.relu} for m in members],
            "channels": known[members[0].conv]["channels"][0],
        }
        values = {
            "weight": torch.cat([w["conv.weight"].flatten(1) for w in weights]),
            "bias": torch.cat([w.get("conv.bias", torch.zeros(len(w["conv.weight"]))) for w in weights]),
        }
        first = min((m.conv for m in members), key=lambda name: numbers[name])
        parts: list[tuple[dict[str, Any], dict[str, torch.Tensor]]] = [
            ({"name": m.name, "kind": "part", "inputs": [fan["name"]], "index": n}, {}) for n, m in enumerate(members)
        ]
        made[first] = [(fan, values), *parts]
        gone |= {name for m in members for name in (m.conv, m.pool, m.name) if name}
    new: Layers = []
    kept: dict[str, torch.Tensor] = {}
    for number, layer in enumerate(layers):
        several = made.get(layer["name"], [] if layer["name"] in gone else [(layer, own[number])])
        for each, tensors in several:
            kept |= {f"layers.{len(new)}.{key}": value for key, value in tensors.items()}
            new.append(each)
    return new, kept


def fans_in(layers: Sequence[Mapping[str, Any]]) -> bool:
    """Whether two 1x1 convolutions of a description read one map; no, if it is no description of a network."""
    try:
        return any(len(members) > 1 for members in _fans(list(layers)).values())
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):  # building the network says what is wrong
        return False


class _Member:
    """A 1x1 convolution of a fan: its name, that of the pooling before it ("": none), and of the ReLU behind it."""

    def __init__(self, conv: str, pool: str, after: str):
        self.conv, self.pool, self.relu, self.name = conv, pool, bool(after), after or conv


def _fans(layers: Sequence[Mapping[str, Any]]) -> dict[str, list[_Member]]:
    """For each map the 1x1 convolutions that read it; for a single one only if the map was joined of several."""
    known = {layer["name"]: layer for layer in layers}
    readers: dict[str, list[Mapping[str, Any]]] = {layer["name"]: [] for layer in layers}
    for layer in layers:
        for name in layer["inputs"]:
            readers[name].append(layer)
    found: dict[str, list[_Member]] = {}
    for layer in layers:
        if not pointwise(layer):
            continue
        source, pool = layer["inputs"][0], ""
        if pools_around(known[source]) and len(readers[source]) == 1:
            pool, source = source, known[source]["inputs"][0]
        after = readers[layer["name"]]
        relu = len(after) == 1 and after[0]["kind"] == "activation" and after[0]["function"] == "relu"
        found.setdefault(source, []).append(_Member(layer["name"], pool, after[0]["name"] if relu else ""))
    return {name: members for name, members in found.items() if len(members) > 1 or joins(known[name])}


def _only(source: str, members: Sequence[_Member], layers: Layers) -> bool:
    """Whether nothing but the members of a fan reads a map."""
    readers = Counter(name for layer in layers for name in layer["inputs"])
    return readers[source] == len({m.pool or m.conv for m in members}) and layers[-1]["name"] != source


def pointwise(layer: Mapping[str, Any]) -> bool:
    """Whether a layer is a plain 1x1 convolution."""
    steps = (layer.get("stride"), layer.get("dilation"))
    return (
        layer["kind"] == "conv"
        and tuple(layer["kernel"]) == (1, 1)
        and layer.get("groups", 1) == 1
        and all(tuple(n or (1, 1)) == (1, 1) for n in steps)
    )


def pools_around(layer: Mapping[str, Any]) -> bool:
    """Whether a layer is the maximum over 3x3 pixels around each one."""
    return (
        layer["kind"] == "pool"
        and layer.get("function", "max") == "max"
        and layer.get("padding") == "same"
        and tuple(layer["size"]) == (3, 3)
        and tuple(layer["stride"]) == (1, 1)
    )


def joins(layer: Mapping[str, Any]) -> bool:
    """Whether a layer joins maps by their channels."""
    return bool(layer["kind"] == "join" and layer["function"] == "concatenate")
