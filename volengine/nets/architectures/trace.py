"""Describe a network of plain layers, of any class, as a list of layers from which ``GraphNet`` can be built.

The description is needed to write the network in the formats of other programs
(:mod:`volengine.nets.formats.keras.write`, :mod:`volengine.nets.formats.onnx.write`). It is found by tracing a symbolic
input through the network (``torch.fx``), and is checked: its outputs must equal those of the network.

>>> layers, state = describe(nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU()), torch.zeros(1, 1, 8, 8))
>>> [layer["kind"] for layer in layers]
['input', 'conv', 'activation']
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from volengine.core.errors import InputError
from volengine.nets.architectures.graph import GraphNet
from volengine.nets.architectures.layers import SameConv

Description = tuple[list[dict[str, Any]], dict[str, torch.Tensor]]
TOLERANCE = 1e-4
"""Largest difference between the outputs of description and network, relative to the largest output."""

FUNCTIONS: dict[Any, str] = {
    torch.relu: "relu",
    functional.relu: "relu",
    functional.relu_: "relu",
    functional.relu6: "relu6",
    functional.selu: "selu",
    functional.gelu: "gelu",
    functional.silu: "silu",
    functional.softplus: "softplus",
    functional.softsign: "softsign",
    torch.tanh: "tanh",
    torch.sigmoid: "sigmoid",
    functional.sigmoid: "sigmoid",
    torch.exp: "exponential",
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.SELU: "selu",
    nn.SiLU: "silu",
    nn.Softsign: "softsign",
    nn.Tanh: "tanh",
    nn.Sigmoid: "sigmoid",
    nn.Hardsigmoid: "hard_sigmoid",
}
METHODS = {"relu": "relu", "relu_": "relu", "tanh": "tanh", "sigmoid": "sigmoid", "exp": "exponential"}
JOINS: dict[Any, str] = {
    operator.add: "add",
    operator.iadd: "add",
    torch.add: "add",
    "add": "add",
    "add_": "add",
    operator.mul: "multiply",
    operator.imul: "multiply",
    torch.mul: "multiply",
    "mul": "multiply",
    "mul_": "multiply",
    torch.maximum: "maximum",
}
SKIPPED = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)


def describe(module: nn.Module, sample: torch.Tensor) -> Description:
    """Layers and weights of a network in evaluation mode.

    Parameters
    ----------
    module
        The network; it is not changed.
    sample
        An input, (batch, channels, y, x) or (batch, channels, z, y, x), of a size that the network accepts; the
        description is checked on random numbers of this shape.

    Returns
    -------
    layers, state
        ``GraphNet(layers)`` with this state computes the network's outputs. For a ``GraphNet`` these are its own.

    Raises
    ------
    InputError
        A part of the network has no kind of layer, or a padding that no other program has; the message names it.
    """
    module = module.eval()
    if isinstance(module, GraphNet):
        return module.description, {k: v.detach().cpu() for k, v in module.state_dict().items()}
    description = traced(module, sample.ndim - 2)
    net = GraphNet(description[0])
    net.load_state_dict(description[1])
    device = next(module.parameters()).device
    trial = torch.rand(sample.shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted = module(trial.to(device)).cpu()
        difference = float((net.eval()(trial) - wanted).abs().max())
    if not difference <= TOLERANCE * max(1e-3, float(wanted.abs().max())):
        raise InputError(
            f"{type(module).__name__} cannot be described by plain layers: the description's answers differ by "
            f"{difference:.2g}. Does it change a tensor in place that it reads again?"
        )
    return description


def traced(module: nn.Module, ndim: int) -> Description:
    """Layers and weights of a network with so many axes in space, not checked; it may be on the device ``meta``.

    Raises
    ------
    InputError
        As in :func:`describe`.
    """
    if isinstance(module, GraphNet):
        return module.description, dict(module.state_dict())
    return _Tracing(module, ndim).description()


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, SameConv) or super().is_leaf_module(m, module_qualified_name)


class _Tracing:
    """The graph of a module, layer by layer."""

    def __init__(self, module: nn.Module, ndim: int):
        self.module, self.ndim, self.what = module, ndim, type(module).__name__
        self.layers: list[dict[str, Any]] = []
        self.state: dict[str, torch.Tensor] = {}
        self.names: dict[fx.Node, str] = {}
        try:
            self.graph = _Tracer().trace(module)
        except Exception as error:  # tracing runs the network's own code, which may raise anything
            raise InputError(f"{self.what} cannot be described by plain layers: {error}") from error

    def description(self) -> Description:
        for node in self.graph.nodes:
            if node.op == "placeholder":
                if not self.layers:
                    self.names[node] = self._add("input", [])
            elif node.op == "output":
                return self._ending(node.args[0])
            elif node.op == "call_module":
                self.names[node] = self._module(self.module.get_submodule(str(node.target)), node)
            else:
                self.names[node] = self._function(node)
        raise InputError(f"{self.what} answers nothing.")

    def _ending(self, answer: Any) -> Description:
        if answer not in self.names or answer.op == "placeholder":
            raise InputError(f"{self.what} cannot be described by plain layers: it answers with more than one array.")
        wanted = {self.names[answer]}
        for layer in reversed(self.layers):
            if layer["name"] in wanted:
                wanted.update(layer["inputs"])
        kept = [layer for layer in self.layers if layer["name"] in wanted]
        kept.sort(key=lambda layer: layer["name"] == self.names[answer])
        numbers = {layer["name"]: n for n, layer in enumerate(kept)}
        parts = ((key.partition("."), value) for key, value in self.state.items())
        state = {f"layers.{numbers[name]}.{rest}": value for (name, _, rest), value in parts if name in numbers}
        return kept, state

    def _add(self, kind: str, inputs: Sequence[str], **extra: Any) -> str:
        name = f"{kind}_{len(self.layers)}"
        self.layers.append({"name": name, "kind": kind, "inputs": list(inputs), **extra})
        return name

    def _keep(self, name: str, **tensors: torch.Tensor | None) -> str:
        for key, tensor in tensors.items():
            if tensor is not None:
                value = tensor.detach().float()
                self.state[f"{name}.{key.replace('__', '.')}"] = value if value.is_meta else value.cpu()
        return name

    def _refuse(self, what: object, why: str = "no kind of layer stands for it") -> InputError:
        return InputError(f"{self.what} cannot be described by plain layers: {what}: {why}.")

    def _input(self, value: Any, what: object) -> str:
        if isinstance(value, fx.Node) and value in self.names:
            return self.names[value]
        raise self._refuse(what, f"it takes {value!r}, which is no answer of a layer")

    def _sizes(self, value: Any) -> list[int]:
        return [value] * self.ndim if isinstance(value, int) else [int(v) for v in value]

    # -- modules --------------------------------------------------------------------------------------------

    def _module(self, module: nn.Module, node: fx.Node) -> str:
        before = self._input(node.args[0], node.target)
        if isinstance(module, SKIPPED):
            return before
        for kinds, make in self._makers():
            if isinstance(module, kinds):
                return make(module, before)
        if type(module) in FUNCTIONS:
            return self._add("activation", [before], function=FUNCTIONS[type(module)])
        if isinstance(module, nn.LeakyReLU):
            return self._add("activation", [before], function="leaky_relu", slope=module.negative_slope)
        if isinstance(module, nn.ELU) and module.alpha == 1:
            return self._add("activation", [before], function="elu")
        if isinstance(module, nn.Softmax) and module.dim == 1:
            return self._add("activation", [before], function="softmax")
        if isinstance(module, nn.GELU) and module.approximate == "none":
            return self._add("activation", [before], function="gelu")
        if isinstance(module, nn.PReLU):
            weight = module.weight if module.num_parameters > 1 else None
            if weight is not None:
                return self._keep(self._add("slope", [before], channels=weight.numel()), weight=weight)
        raise self._refuse(f"{node.target} ({type(module).__name__})")

    def _makers(self) -> list[tuple[Any, Callable[[Any, str], str]]]:
        return [
            (SameConv, self._same_conv),
            ((nn.Conv2d, nn.Conv3d), self._conv),
            ((nn.ConvTranspose2d, nn.ConvTranspose3d), self._transpose),
            ((nn.MaxPool2d, nn.MaxPool3d, nn.AvgPool2d, nn.AvgPool3d), self._pool),
            (nn.Upsample, self._upsample),
            ((nn.BatchNorm2d, nn.BatchNorm3d), self._norm),
            ((nn.GroupNorm, nn.InstanceNorm2d, nn.InstanceNorm3d), self._group_norm),
        ]

    def _same_conv(self, module: SameConv, before: str) -> str:
        return self._convolution(module.conv, before, "same")

    def _conv(self, module: Any, before: str) -> str:
        if module.padding_mode != "zeros":
            raise self._refuse(type(module).__name__, f"it pads with {module.padding_mode!r}")
        pads = module.padding if isinstance(module.padding, tuple) else None
        reach = [d * (k - 1) for k, d in zip(module.kernel_size, module.dilation, strict=True)]
        if module.padding == "valid" or (pads is not None and not any(pads)):
            return self._convolution(module, before, "valid")
        if pads is None or (max(module.stride) == 1 and all(2 * p == r for p, r in zip(pads, reach, strict=True))):
            return self._convolution(module, before, "same")
        framed = self._add("frame", [before], widths=[[p, p] for p in pads])
        return self._convolution(module, framed, "valid")

    def _convolution(self, conv: Any, before: str, padding: str) -> str:
        name = self._add(
            "conv",
            [before],
            channels=[conv.in_channels, conv.out_channels],
            kernel=list(conv.kernel_size),
            stride=list(conv.stride),
            dilation=list(conv.dilation),
            groups=conv.groups,
            padding=padding,
            bias=conv.bias is not None,
        )
        return self._keep(name, conv__weight=conv.weight, conv__bias=conv.bias)

    def _transpose(self, module: Any, before: str) -> str:
        axes = list(zip(module.kernel_size, module.stride, module.padding, strict=True))
        whole = all(k - 2 * p == s for k, s, p in axes)
        if (
            any(module.output_padding)
            or module.groups > 1
            or max(module.dilation) > 1
            or not (whole or all(p == 0 and k >= s for k, s, p in axes))
        ):
            raise self._refuse(type(module).__name__, "its padding, groups or dilation are unusual")
        name = self._add(
            "conv_transpose",
            [before],
            channels=[module.in_channels, module.out_channels],
            kernel=list(module.kernel_size),
            stride=list(module.stride),
            padding="same" if whole else "valid",
            bias=module.bias is not None,
        )
        return self._keep(name, conv__weight=module.weight, conv__bias=module.bias)

    def _pool(self, module: Any, before: str) -> str:
        size = self._sizes(module.kernel_size)
        stride = self._sizes(module.stride or module.kernel_size)
        pads = self._sizes(module.padding)
        largest = isinstance(module, nn.MaxPool2d | nn.MaxPool3d)
        same = max(stride) == 1 and all(2 * p == k - 1 for p, k in zip(pads, size, strict=True))
        if (
            module.ceil_mode
            or (largest and max(self._sizes(module.dilation)) > 1)
            or (any(pads) and not (same and (largest or not module.count_include_pad)))
        ):
            raise self._refuse(type(module).__name__, "its padding or dilation are unusual")
        function, padding = "max" if largest else "average", "same" if any(pads) else "valid"
        return self._add("pool", [before], size=size, stride=stride, function=function, padding=padding)

    def _upsample(self, module: nn.Upsample, before: str) -> str:
        given = module.scale_factor
        factor = [given] * self.ndim if isinstance(given, int | float) else list(given or ())
        mode = {"nearest": "nearest", "bilinear": "linear", "trilinear": "linear"}.get(module.mode)
        if mode is None or not factor or any(f != int(f) for f in factor) or module.align_corners:
            raise self._refuse("Upsample", "only whole factors, nearest or linear between centres")
        return self._add("upsample", [before], factor=[int(f) for f in factor], mode=mode)

    def _norm(self, module: Any, before: str) -> str:
        if module.running_mean is None:
            raise self._refuse(type(module).__name__, "it stores no statistics")
        channels = module.num_features
        name = self._add("norm", [before], channels=channels, epsilon=module.eps)
        weight = torch.ones(channels) if module.weight is None else module.weight
        bias = torch.zeros(channels) if module.bias is None else module.bias
        return self._keep(name, weight=weight, bias=bias, mean=module.running_mean, variance=module.running_var)

    def _group_norm(self, module: Any, before: str) -> str:
        if getattr(module, "track_running_stats", False):
            raise self._refuse(type(module).__name__, "it has statistics of its own")
        groups = module.num_groups if isinstance(module, nn.GroupNorm) else module.num_features
        channels = module.num_channels if isinstance(module, nn.GroupNorm) else module.num_features
        name = self._add("group_norm", [before], channels=channels, groups=groups, epsilon=module.eps)
        weight = torch.ones(channels) if module.weight is None else module.weight
        bias = torch.zeros(channels) if module.bias is None else module.bias
        return self._keep(name, weight=weight, bias=bias)

    # -- functions ------------------------------------------------------------------------------------------

    def _function(self, node: fx.Node) -> str:
        target: Any = node.target
        if node.op == "get_attr":
            raise self._refuse(target, "it is a tensor of its own")
        if target in (torch.cat, torch.concat):
            items = node.args[0] if node.args else node.kwargs["tensors"]
            axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
            if axis != 1 or not isinstance(items, list | tuple):
                raise self._refuse(target, "only channels are joined")
            return self._add("join", [self._input(i, target) for i in items], function="concatenate")
        if target in JOINS and not node.kwargs:
            return self._add("join", [self._input(i, target) for i in node.args], function=JOINS[target])
        function = METHODS.get(target) if node.op == "call_method" else FUNCTIONS.get(target)
        if function is not None and len(node.args) == 1 and set(node.kwargs) <= {"inplace"}:
            return self._add("activation", [self._input(node.args[0], target)], function=function)
        if target in (functional.leaky_relu, functional.leaky_relu_):
            slope: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("negative_slope", 0.01)
            before = self._input(node.args[0], target)
            return self._add("activation", [before], function="leaky_relu", slope=float(slope))
        raise self._refuse(getattr(target, "__name__", target))
