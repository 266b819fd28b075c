"""Networks from a description: a graph of plain layers as JSON. Imported models are such networks.

Each layer is a mapping with ``name``, ``kind``, ``inputs`` (names of layers) and the settings of its kind; see
:data:`KINDS`. Axes in space have the order z, y, x (2D: y, x) and any length: a graph does not depend on the size of
the volume. ``same`` padding follows Keras and TensorFlow: the output has ``ceil(n / stride)`` voxels, and if the
padding is odd, the larger half is at the end. Such a network is stored like any other (registry name ``graph``), and is
rebuilt from its facts without the program that it came from.

>>> net = GraphNet([
...     {"name": "in", "kind": "input", "inputs": []},
...     {"name": "conv", "kind": "conv", "inputs": ["in"], "channels": [1, 4], "kernel": [3, 3]},
...     {"name": "out", "kind": "activation", "inputs": ["conv"], "function": "relu"},
... ])
>>> net(torch.zeros(1, 1, 8, 12)).shape
torch.Size([1, 4, 8, 12])
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional

from volengine.core.errors import InputError

Layer = Mapping[str, Any]

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": functional.relu,
    "relu6": functional.relu6,
    "elu": functional.elu,
    "selu": functional.selu,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "softplus": functional.softplus,
    "softsign": functional.softsign,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "exponential": torch.exp,
    "softmax": lambda x: torch.softmax(x, 1),
    "hard_sigmoid": functional.hardsigmoid,
}


def same_padding(
    size: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> list[int]:
    """``same`` padding in the order of ``torch.nn.functional.pad``: the last axis first, before and after it."""
    pads: list[int] = []
    for n, k, s, d in zip(reversed(size), reversed(kernel), reversed(stride), reversed(dilation), strict=True):
        total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        pads += [total // 2, total - total // 2]
    return pads


class Conv(nn.Module):
    """Convolution, padded as Keras does; 2D or 3D by the length of ``kernel``."""

    def __init__(
        self,
        channels: Sequence[int],
        kernel: Sequence[int],
        stride: Sequence[int] = (),
        dilation: Sequence[int] = (),
        groups: int = 1,
        padding: str = "same",
        bias: bool = True,
    ):
        super().__init__()
        ones = (1,) * len(kernel)
        self.kernel, self.stride, self.dilation = tuple(kernel), tuple(stride) or ones, tuple(dilation) or ones
        spans = [(k - 1) * d for k, d in zip(self.kernel, self.dilation, strict=True)]
        even = max(self.stride) == 1 and not any(n % 2 for n in spans)  # the convolution pads without a copy
        self.framed = padding == "same" and not even
        pads = tuple(n // 2 if padding == "same" and even else 0 for n in spans)
        make = nn.Conv3d if len(kernel) == 3 else nn.Conv2d
        self.conv = make(channels[0], channels[1], self.kernel, self.stride, pads, self.dilation, groups, bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The convolved input."""
        if self.framed:
            pads = same_padding(x.shape[2:], self.kernel, self.stride, self.dilation)
            if any(pads):
                x = functional.pad(x, pads)
        answer: torch.Tensor = self.conv(x)
        return answer


class ConvTranspose(nn.Module):
    """Transposed convolution with Keras's sizes: ``n * stride``; valid: ``(n - 1) * stride + max(kernel, stride)``."""

    def __init__(
        self,
        channels: Sequence[int],
        kernel: Sequence[int],
        stride: Sequence[int],
        padding: str = "same",
        bias: bool = True,
    ):
        super().__init__()
        self.kernel, self.stride, self.padding = tuple(kernel), tuple(stride), padding
        make = nn.ConvTranspose3d if len(kernel) == 3 else nn.ConvTranspose2d
        self.conv = make(channels[0], channels[1], self.kernel, self.stride, bias=bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The output, cropped or padded to its size."""
        bias = self.conv.bias
        full = self.conv(x)
        for axis, (k, s) in enumerate(zip(self.kernel, self.stride, strict=True), 2):
            n = x.shape[axis]
            wanted = n * s if self.padding == "same" else (n - 1) * s + max(k, s)
            start = max(k - s, 0) // 2 if self.padding == "same" else 0
            short = start + wanted - full.shape[axis]
            if short > 0:  # voxels that no kernel reaches hold only the bias
                shape = [*full.shape]
                shape[axis] = short
                wide = [1, -1, *[1] * (full.ndim - 2)]
                more = full.new_zeros(shape) if bias is None else bias.view(wide).expand(shape)
                full = torch.cat([full, more.to(full.dtype)], axis)
            full = full.narrow(axis, start, wanted)
        answer: torch.Tensor = full
        return answer


class Pool(nn.Module):
    """Maximum or average over windows; voxels that ``same`` padding adds are ignored."""

    def __init__(self, size: Sequence[int], stride: Sequence[int], function: str = "max", padding: str = "valid"):
        super().__init__()
        self.size, self.stride, self.function, self.padding = tuple(size), tuple(stride), function, padding

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The pooled input."""
        volumetric = len(self.size) == 3
        pads = [0] * (2 * len(self.size))
        if self.padding == "same":
            pads = same_padding(x.shape[2:], self.size, self.stride, (1,) * len(self.size))
        if self.function == "max":
            if any(pads):
                x = functional.pad(x, pads, value=float("-inf"))
            if self.size == self.stride == (2, 2) and x.device.type == "cpu" and not torch.is_grad_enabled():
                return _largest_of_four(x)
            pool = functional.max_pool3d if volumetric else functional.max_pool2d
            return pool(x, self.size, self.stride)
        average = functional.avg_pool3d if volumetric else functional.avg_pool2d
        if not any(pads):
            return average(x, self.size, self.stride)
        share = average(functional.pad(torch.ones_like(x[:1, :1]), pads), self.size, self.stride)
        return average(functional.pad(x, pads), self.size, self.stride) / share


def _largest_of_four(x: torch.Tensor) -> torch.Tensor:
    """Twofold maximum pooling; PyTorch's also stores the place of each maximum, and takes twice as long on a CPU."""
    x = x[..., : x.shape[-2] // 2 * 2, : x.shape[-1] // 2 * 2]
    largest = torch.maximum(x[..., ::2, ::2], x[..., ::2, 1::2])
    torch.maximum(largest, x[..., 1::2, ::2], out=largest)
    return torch.maximum(largest, x[..., 1::2, 1::2], out=largest)


class Upsample(nn.Module):
    """Upsampling: repeats voxels (``nearest``), or interpolates between their centres (``linear``)."""

    def __init__(self, factor: Sequence[int], mode: str = "nearest"):
        super().__init__()
        self.factor, self.mode = tuple(factor), mode

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The larger array."""
        if self.mode == "nearest":
            if max(self.factor) <= 2:  # in one pass, in the memory order of x; exact for halves
                return functional.interpolate(x, scale_factor=[float(f) for f in self.factor], mode="nearest")
            for axis, times in enumerate(self.factor, 2):
                if times > 1:
                    x = x.repeat_interleave(times, axis)
            return x
        mode = "trilinear" if len(self.factor) == 3 else "bilinear"
        return functional.interpolate(x, scale_factor=[float(f) for f in self.factor], mode=mode, align_corners=False)


class Norm(nn.Module):
    """Batch normalisation with stored statistics."""

    def __init__(self, channels: int, epsilon: float = 1e-3):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.epsilon = epsilon
        self.mean: torch.Tensor
        self.variance: torch.Tensor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The normalised input; statistics are not updated in training."""
        return functional.batch_norm(x, self.mean, self.variance, self.weight, self.bias, False, 0.0, self.epsilon)


class GroupNorm(nn.GroupNorm):
    """Normalisation over the patch, separately for each group of channels (``groups = channels``: by instance)."""

    def __init__(self, channels: int, groups: int, epsilon: float = 1e-5):
        super().__init__(groups, channels, epsilon)


class Activation(nn.Module):
    """A function of each voxel, or over the channels (softmax)."""

    def __init__(self, function: str, slope: float = 0.0):
        super().__init__()
        self.function, self.slope = function, slope
        self.inplace = False
        if function not in (*ACTIVATIONS, "leaky_relu", "linear"):
            raise InputError(f"There is no activation {function!r}; known are {', '.join(ACTIVATIONS)}.")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The function's values; they overwrite x if no other layer reads it."""
        if self.function == "leaky_relu":
            return functional.leaky_relu(x, self.slope, self.inplace)
        if self.function == "relu" and self.inplace:
            return functional.relu_(x)
        return x if self.function == "linear" else ACTIVATIONS[self.function](x)


class Slope(nn.Module):
    """PReLU: a slope per channel, shared over space."""

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input, with negative values multiplied by their channel's slope."""
        return functional.prelu(x, self.weight)


class Frame(nn.Module):
    """Pad with zeros (positive widths) or crop (negative widths), before and after each axis."""

    def __init__(self, widths: Sequence[Sequence[int]]):
        super().__init__()
        self.pads = [n for pair in reversed(widths) for n in pair]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The larger or smaller array."""
        return functional.pad(x, self.pads)


class Join(nn.Module):
    """Join several inputs: ``concatenate`` along the channels, ``add``, ``multiply``, ``average``, ``maximum``."""

    def __init__(self, function: str):
        super().__init__()
        self.function = function
        self.inplace = False

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """The joined array; a sum overwrites the first input if no other layer reads it."""
        if self.function == "concatenate":
            return torch.cat(inputs, 1)
        total = inputs[0]
        if self.inplace and all(other.shape == total.shape for other in inputs):
            for other in inputs[1:]:
                total += other
            return total
        for other in inputs[1:]:
            if self.function == "multiply":
                total = total * other
            elif self.function == "maximum":
                total = torch.maximum(total, other)
            else:
                total = total + other
        return total / len(inputs) if self.function == "average" else total


KINDS: dict[str, type[nn.Module]] = {
    "conv": Conv,
    "conv_transpose": ConvTranspose,
    "pool": Pool,
    "upsample": Upsample,
    "norm": Norm,
    "group_norm": GroupNorm,
    "activation": Activation,
    "slope": Slope,
    "frame": Frame,
    "join": Join,
}

MAKERS = ("conv", "conv_transpose", "norm", "group_norm")
"""Layers whose output is always a new array that their own gradient does not need."""


class GraphNet(nn.Module):
    """A network of the described layers, computed in the order of the list; its output is that of the last layer.

    Parameters
    ----------
    layers
        The description. One layer is of the kind ``input``.

    Raises
    ------
    InputError
        A layer has an unknown kind, or reads a layer that does not precede it.
    """

    kinds: ClassVar[Mapping[str, type[nn.Module]]] = KINDS

    def __init__(self, layers: Sequence[Layer]):
        super().__init__()
        self.description = [dict(layer) for layer in layers]
        self.layers = nn.ModuleList()
        known: set[str] = set()
        for layer in self.description:
            missing = [name for name in layer["inputs"] if name not in known]
            if missing:
                raise InputError(f"Layer {layer['name']!r} reads {missing[0]!r}, which is not before it.")
            if layer["kind"] == "input":
                self.layers.append(nn.Identity())
            elif layer["kind"] in self.kinds:
                extra = {k: v for k, v in layer.items() if k not in ("name", "kind", "inputs")}
                self.layers.append(self.kinds[layer["kind"]](**extra))
            else:
                raise InputError(f"Layer {layer['name']!r} is of the unknown kind {layer['kind']!r}.")
            known.add(layer["name"])
        self._last = {name: n for n, layer in enumerate(self.description) for name in layer["inputs"]}
        self._reuse()

    def _reuse(self) -> None:
        """Let activations and sums overwrite outputs that no other layer reads, which saves memory and time."""
        kinds = {layer["name"]: layer["kind"] for layer in self.description}
        sums = [layer["name"] for layer in self.description if layer.get("function") == "add" and layer["inputs"][1:]]
        readers = Counter(name for layer in self.description for name in layer["inputs"])
        for layer, module in zip(self.description, self.layers, strict=True):
            if isinstance(module, Activation):
                source = layer["inputs"][0]
                made = kinds[source] in MAKERS or source in sums
                module.inplace = made and readers[source] == 1 and module.slope >= 0
            elif isinstance(module, Join) and module.function == "add":
                source = layer["inputs"][0]
                module.inplace = kinds[source] in MAKERS and readers[source] == 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The output of the last layer."""
        values: dict[str, torch.Tensor] = {}
        for number, (layer, module) in enumerate(zip(self.description, self.layers, strict=True)):
            inputs = [values[name] for name in layer["inputs"]]
            values[layer["name"]] = module(*inputs) if inputs else x
            for name in layer["inputs"]:
                if self._last[name] == number:
                    values.pop(name, None)
        return values[self.description[-1]["name"]]
