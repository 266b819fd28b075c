"""Rewrite networks so that prediction computes less; outputs are the same up to rounding.

A 3x3 convolution of a feature map that was enlarged twofold by repeating voxels reads the same voxel up to four times.
If the weights of equal voxels are added beforehand, it becomes a transposed convolution of the small map with a 4x4
kernel and stride 2, which needs 4 multiply-adds per output instead of 9 and no large map. If the enlarged map is first
joined with another one (U-Nets), the convolution is split into one for each map. Ais's UNet then takes 0.65 of its
time. In addition, ReLU is moved behind maximum pooling, where the map is smaller, inception modules are computed row by
row (:mod:`volengine.nets.architectures.rows`), and other 1x1 convolutions of one map together
(:mod:`volengine.nets.architectures.fan`).

>>> from volengine.nets.registry import build
>>> layers, state = lean(*describe(build("unet"), torch.zeros(1, 1, SAMPLE, SAMPLE)))
>>> "conv_transpose" in [layer["kind"] for layer in layers]
True
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import nn

from volengine.core.errors import InputError
from volengine.nets.architectures.chains import with_rows
from volengine.nets.architectures.fan import Fan, Part, fans_in, with_fans
from volengine.nets.architectures.graph import KINDS, GraphNet
from volengine.nets.architectures.rows import Rows
from volengine.nets.architectures.trace import Description, describe

Layers = list[dict[str, Any]]
_GAINS = (nn.Upsample, nn.MaxPool2d)
SAMPLE = 64
"""Side of the input with which a network is traced; the strides of all 2D networks divide it."""


class LeanNet(GraphNet):
    """A rewritten network; it has layers that no file can ask for."""

    kinds: ClassVar[Mapping[str, type[nn.Module]]] = {**KINDS, "fan": Fan, "part": Part, "rows": Rows}


def lean_module(module: nn.Module, slices: int, *, fans: bool = True) -> nn.Module:
    """Rewrite a 2D network so that it computes less; if that is not possible, return the network itself.

    Parameters
    ----------
    module
        The network, with the input (batch, slices, y, x); it is not changed.
    slices
        Number of input slices.
    fans
        Compute inception modules row by row (:mod:`volengine.nets.architectures.rows`), and other 1x1 convolutions of
        one map together (:mod:`volengine.nets.architectures.fan`). No other program has such layers.
    """
    if not isinstance(module, GraphNet) and not any(isinstance(part, _GAINS) for part in module.modules()):
        return module
    try:
        described = describe(module, torch.zeros(1, slices, SAMPLE, SAMPLE))
    except (InputError, RuntimeError, TypeError, ValueError):  # it has other layers, or refuses this sample
        return module
    layers, state = lean(*described)
    if fans and fans_in(layers):
        layers, state = with_fans(*with_rows(layers, state))
    pools = any(layer["kind"] == "pool" for layer in layers)
    if layers is described[0] and (isinstance(module, GraphNet) or not pools):
        return module
    found = LeanNet(layers)
    found.load_state_dict(state)
    return found.eval()


def lean(layers: Layers, state: dict[str, torch.Tensor]) -> Description:
    """Rewrite a description so that it computes less.

    Convolutions of maps that were enlarged only for them become transposed convolutions of the small maps, and ReLU
    before maximum pooling moves behind it. Other layers stay unchanged.
    """
    layers = _pool_first(layers)
    readers = Counter(name for layer in layers for name in layer["inputs"])
    known = {layer["name"]: layer for layer in layers}
    pairs: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    for layer in layers:
        join = known[layer["inputs"][0]] if _plain(layer) else layer
        if join["kind"] != "join" or join["function"] != "concatenate" or len(join["inputs"]) != 2 or join is layer:
            continue
        large = known[join["inputs"][0]]
        alone = readers[join["name"]] == readers[large["name"]] == 1
        if alone and _doubles(large) and _channels(large["inputs"][0], known):
            pairs[layer["name"]] = join, large
    if not pairs:
        return layers, state
    gone = {part["name"] for pair in pairs.values() for part in pair}
    made: Layers = []
    values: dict[str, torch.Tensor] = {}
    for number, layer in enumerate(layers):
        if layer["name"] in gone:
            continue
        old = f"layers.{number}."
        own = {key.removeprefix(old): value for key, value in state.items() if key.startswith(old)}
        new, weights = [layer], [own]
        if layer["name"] in pairs:
            join, large = pairs[layer["name"]]
            small = large["inputs"][0]
            width = _channels(small, known)
            new, weights = _split(layer, own["conv.weight"], own.get("conv.bias"), small, join["inputs"][1], width)
        for each, tensors in zip(new, weights, strict=True):
            values |= {f"layers.{len(made)}.{key}": value for key, value in tensors.items()}
            made.append(each)
    return made, values


def _pool_first(layers: Layers) -> Layers:
    """Move each ReLU that only a maximum pooling reads behind the pooling; the numbers stay the same."""
    readers = Counter(name for layer in layers for name in layer["inputs"])
    swapped = dict[int, dict[str, Any]]()
    for number, (layer, after) in enumerate(itertools.pairwise(layers)):
        relu = layer["kind"] == "activation" and layer["function"] == "relu" and readers[layer["name"]] == 1
        pools = after["kind"] == "pool" and after.get("function", "max") == "max" and after["inputs"] == [layer["name"]]
        if relu and pools:
            inner = f"{after['name']}/relu"
            swapped[number] = {**after, "name": inner, "inputs": layer["inputs"]}
            swapped[number + 1] = {**layer, "name": after["name"], "inputs": [inner]}
    return [swapped.get(n, layer) for n, layer in enumerate(layers)] if swapped else layers


def _plain(layer: dict[str, Any]) -> bool:
    """Whether a layer is a plain 3x3 convolution: stride 1, same padding, no dilation, one group."""
    once = (layer.get("stride"), layer.get("dilation"))
    return (
        layer["kind"] == "conv"
        and tuple(layer["kernel"]) == (3, 3)
        and layer.get("padding", "same") == "same"
        and layer.get("groups", 1) == 1
        and all(tuple(n or (1, 1)) == (1, 1) for n in once)
    )


def _doubles(layer: dict[str, Any]) -> bool:
    return (
        layer["kind"] == "upsample" and tuple(layer["factor"]) == (2, 2) and layer.get("mode", "nearest") == "nearest"
    )


def _split(
    layer: dict[str, Any], weight: torch.Tensor, bias: torch.Tensor | None, small: str, fine: str, width: int
) -> tuple[Layers, list[dict[str, torch.Tensor]]]:
    """Split a convolution of a joined map into one for each part, and a sum; ``width``: channels of the small map."""
    name, (inputs, outputs) = layer["name"], layer["channels"]
    first = {
        "name": f"{name}/small",
        "kind": "conv_transpose",
        "inputs": [small],
        "channels": [width, outputs],
        "kernel": [4, 4],
        "stride": [2, 2],
        "bias": False,
    }
    second = {**layer, "name": f"{name}/fine", "inputs": [fine], "channels": [inputs - width, outputs]}
    total = {"name": name, "kind": "join", "inputs": [second["name"], first["name"]], "function": "add"}
    own = {"conv.weight": weight[:, width:]} | ({} if bias is None else {"conv.bias": bias})
    return [first, second, total], [{"conv.weight": enlarging(weight[:, :width])}, own, {}]


def enlarging(weight: torch.Tensor) -> torch.Tensor:
    """The kernel of the transposed convolution that replaces a convolution of a twofold enlarged map.

    Parameters
    ----------
    weight
        (outputs, inputs, 3, 3): kernel of a convolution that pads with zeros.

    Returns
    -------
    Tensor, (inputs, outputs, 4, 4)
        Kernel for a stride of 2 and a padding of 1.
    """
    for axis in (2, 3):
        a, b, c = weight.double().unbind(axis)
        weight = torch.stack([c, b + c, a + b, a], axis)
    return weight.transpose(0, 1).float().contiguous()


def _channels(name: str, known: dict[str, dict[str, Any]]) -> int:
    """Number of output channels of a layer; 0 if it depends on the network's input."""
    layer = known[name]
    if layer["kind"] in ("conv", "conv_transpose"):
        return int(layer["channels"][1])
    before = [_channels(source, known) for source in layer["inputs"]]
    joined = layer["kind"] == "join" and layer["function"] == "concatenate"
    if joined:
        return sum(before) if all(before) else 0
    return before[0] if before else 0


def turns_back(module: nn.Module) -> bool:
    """Whether a network has instance normalisation, for which PyTorch copies activations into the plain order.

    In the channels-last memory order such a network takes more time on a CPU, and more memory in training.
    """
    from torch.nn.modules.instancenorm import _InstanceNorm

    return any(isinstance(part, _InstanceNorm) for part in module.modules())
