"""Write models as ONNX files: the network as plain operators, with all facts of the model in the file's metadata.

The network's description (:mod:`volengine.nets.architectures.trace`) is written operator by operator, so the sizes of
batch and space stay free: paddings that depend on the size are ONNX's own ``SAME_UPPER``. The function that turns
logits into probabilities is the last operator, so that every program that runs ONNX gets probabilities;
:mod:`volengine.nets.formats.onnx.read` removes it again. Every file is tested before it is returned: the outputs of
onnxruntime must equal those of PyTorch.

>>> from volengine.nets.checkpoint import load_model
>>> content, difference = onnx_bytes(*load_model("membrane.safetensors"))
>>> difference < TOLERANCE
True
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from volengine.core.errors import InputError
from volengine.core.model import ModelFacts
from volengine.nets.formats.onnx.words import LARGEST, OPSET, described, import_onnx, metadata

if TYPE_CHECKING:
    import torch
    from torch import nn

IR_VERSION = 8
TOLERANCE = 1e-4
"""Largest difference between outputs of onnxruntime and PyTorch, relative to the largest output."""
NEARLY_ZERO = 1e-38
"""Value for padding an array that is pooled; zeros would become the pool's own padding, which has no value."""
INPUT, OUTPUT = "image", {"none": "values"}

_SIMPLE = {
    "relu": "Relu",
    "elu": "Elu",
    "selu": "Selu",
    "softplus": "Softplus",
    "softsign": "Softsign",
    "tanh": "Tanh",
    "sigmoid": "Sigmoid",
    "exponential": "Exp",
    "linear": "Identity",
}
_JOINS = {"add": "Sum", "maximum": "Max", "average": "Mean"}


def onnx_bytes(module: nn.Module, facts: ModelFacts) -> tuple[bytes, float]:
    """Write a model as the bytes of an ONNX file.

    The graph's input ``image`` is float32, (batch, slices, y, x) or (batch, 1, z, y, x). Its output ``probabilities``
    (``values`` for a network without activation) has one channel per feature. Axes in space must be multiples of the
    facts' ``stride``.

    Parameters
    ----------
    module
        The network, which outputs logits; one that was read from an ONNX file is written unchanged.
    facts
        The facts, which become the metadata ``volengine``, as JSON.

    Returns
    -------
    content, difference
        The bytes of the file; and the largest difference between outputs of onnxruntime and PyTorch, relative to the
        largest output, for random numbers of two sizes.

    Raises
    ------
    DependencyError
        The extra ``onnx`` is not installed.
    InputError
        No operator exists for a part of the network, the weights are too large for the format, or the outputs differ by
        more than 1e-4.
    """
    from volengine.nets.formats.onnx.read import OnnxNet

    if isinstance(module, OnnxNet):
        return module.with_facts(facts), 0.0
    from volengine.nets.formats.keras.scnm_write import with_probability

    onnx = import_onnx()
    layers, state = with_probability(module, facts)
    model = _model(layers, state, facts)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content, _compare(module, facts, content)


def graph_bytes(layers: Sequence[Mapping[str, Any]], state: Mapping[str, torch.Tensor], facts: ModelFacts) -> bytes:
    """Write a description as the bytes of an ONNX graph, as it is; nothing is tested.

    Raises
    ------
    DependencyError
        The extra ``onnx`` is not installed.
    InputError
        No operator exists for a layer, or the weights are too large for the format.
    """
    content: bytes = _model(layers, state, facts).SerializeToString()
    return content


def _model(layers: Sequence[Mapping[str, Any]], state: Mapping[str, torch.Tensor], facts: ModelFacts) -> Any:
    size = sum(4 * t.numel() for t in state.values())
    if size > LARGEST:
        raise InputError(f"The model's weights take {size} bytes; an ONNX file holds at most {LARGEST}.")
    return _Writer(import_onnx(), layers, state, facts).model()


def trial_of(facts: ModelFacts, longer: bool) -> torch.Tensor:
    """A random input that the network accepts; ``longer``: one stride more along x."""
    import torch

    from volengine.nets.formats.keras.scnm_write import sample_of

    shape = list(sample_of(facts).shape)
    shape[-1] += longer * facts.stride[2]
    return torch.randn(shape, generator=torch.Generator().manual_seed(int(longer)))


def _compare(module: nn.Module, facts: ModelFacts, content: bytes) -> float:
    """Largest difference of onnxruntime's logits for two sizes, and of its probabilities for one."""
    import torch

    from volengine.nets.formats.onnx.read import OnnxNet

    device = next(module.parameters()).device
    module = module.eval().cpu()
    read, whole = (OnnxNet.of(content, "the ONNX file", a) for a in (facts.activation, ""))
    activate: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "sigmoid": torch.sigmoid,
        "softmax": lambda x: torch.softmax(x, 1),
    }
    short, long = trial_of(facts, longer=False), trial_of(facts, longer=True)
    with torch.inference_mode():
        logits = read(short)
        pairs = [(logits, module(short)), (read(long), module(long))]
        parts = [(answer - wanted).abs().max() / wanted.abs().max().clamp(min=1e-3) for answer, wanted in pairs]
        if facts.activation != "none":  # from the same logits, as rounding of large ones would change probabilities
            parts.append((whole(short) - activate[facts.activation](logits)).abs().max())
    module.to(device)
    worst = float(torch.stack(parts).max())
    if not worst <= TOLERANCE:
        raise InputError(
            f"onnxruntime's answers differ from PyTorch's by {worst:.2g} of the largest one (allowed: {TOLERANCE:g}); "
            "the file is not written."
        )
    return worst


class _Writer:
    """Translates a description into operators."""

    def __init__(
        self, onnx: Any, layers: Sequence[Mapping[str, Any]], state: Mapping[str, torch.Tensor], facts: ModelFacts
    ):
        self.onnx, self.facts, self.layers = onnx, facts, layers
        self.state = {name: tensor.numpy() for name, tensor in state.items()}
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.ndim = 3 if facts.volumetric else 2

    def model(self) -> Any:
        """The whole model, with metadata."""
        from volengine import __version__

        last = self.layers[-1]["name"]
        answer = OUTPUT.get(self.facts.activation, "probabilities")
        names: dict[str, str] = {}
        for number, layer in enumerate(self.layers):
            if layer["kind"] == "input":
                names[layer["name"]] = INPUT
                continue
            result = answer if layer["name"] == last else f"layer_{number}"
            names[layer["name"]] = result
            make: Callable[..., None] = getattr(self, f"_{layer['kind']}")
            make(layer, [names[name] for name in layer["inputs"]], result, f"layers.{number}")
        axes = ["z", "y", "x"][-self.ndim :]
        channels = 1 if self.facts.volumetric else self.facts.context
        helper, kind = self.onnx.helper, self.onnx.TensorProto.FLOAT
        graph = helper.make_graph(
            self.nodes,
            self.facts.network,
            [helper.make_tensor_value_info(INPUT, kind, ["batch", channels, *axes])],
            [helper.make_tensor_value_info(answer, kind, ["batch", len(self.facts.features), *axes])],
            self.weights,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="volengine",
            producer_version=__version__,
            doc_string=described(self.facts),
        )
        helper.set_model_props(model, metadata(self.facts))
        return model

    def _weight(self, name: str, array: Any, dtype: str = "float32") -> str:
        value = np.ascontiguousarray(array, dtype=dtype)
        self.weights.append(self.onnx.numpy_helper.from_array(value, name))
        return name

    def _node(self, operator: str, inputs: Sequence[str], output: str, **attributes: Any) -> None:
        self.nodes.append(self.onnx.helper.make_node(operator, list(inputs), [output], output, **attributes))

    def _stored(self, key: str, *names: str) -> list[str]:
        return [self._weight(f"{key}.{n}", self.state[f"{key}.{n}"]) for n in names if f"{key}.{n}" in self.state]

    # -- layers ---------------------------------------------------------------------------------------------

    def _window(
        self, layer: Mapping[str, Any], inputs: list[str], output: str, kernel: Sequence[int], dilation: Sequence[int]
    ) -> tuple[list[str], dict[str, Any]]:
        """The inputs of a layer with a moving window, and its kernel, stride and padding.

        Along an axis with stride 1, or with a window of at most 2 voxels below the stride, the padding is the same for
        every size; otherwise it is ONNX's ``SAME_UPPER``. onnxruntime refuses ``SAME_UPPER`` for windows smaller than
        the stride; if the window is one voxel, the input is subsampled instead.
        """
        stride = list(layer.get("stride") or [1] * self.ndim)
        found: dict[str, Any] = {"kernel_shape": list(kernel), "strides": stride}
        if layer.get("padding", "same") != "same":
            return inputs, found
        axes = list(zip(kernel, stride, dilation, strict=True))
        if all(s == 1 or k <= min(2, s - 1) for k, s, _ in axes):
            totals = [d * (k - 1) for k, _, d in axes]
            before = [t // 2 if s == 1 else 0 for t, s in zip(totals, stride, strict=True)]
            found["pads"] = before + [t - b for t, b in zip(totals, before, strict=True)]
            return inputs, found
        if max(dilation) > 1 or any(1 < k < s for k, s, _ in axes):
            raise InputError(f"Layer {layer['name']!r}: stride and dilation, or a stride larger than the window.")
        skipped = [n for n, (k, s, _) in enumerate(axes) if k < s]
        if skipped:
            inputs = [self._every(inputs[0], output, [stride[n] if n in skipped else 1 for n in range(self.ndim)])]
            found["strides"] = [1 if n in skipped else s for n, s in enumerate(stride)]
        found["auto_pad"] = "SAME_UPPER"
        return inputs, found

    def _every(self, name: str, output: str, steps: list[int]) -> str:
        """Subsample an array: take every n-th voxel along each axis, beginning with the first."""
        self._node(
            "Slice",
            [
                name,
                self._weight(f"{output}.starts", [0] * self.ndim, "int64"),
                self._weight(f"{output}.ends", [2**62] * self.ndim, "int64"),
                self._weight(f"{output}.axes", range(2, 2 + self.ndim), "int64"),
                self._weight(f"{output}.steps", steps, "int64"),
            ],
            f"{output}.every",
        )
        return f"{output}.every"

    def _conv(self, layer: Mapping[str, Any], inputs: list[str], output: str, key: str) -> None:
        dilation = list(layer.get("dilation") or [1] * self.ndim)
        inputs, window = self._window(layer, inputs, output, layer["kernel"], dilation)
        weights = self._stored(key, "conv.weight", "conv.bias")
        self._node(
            "Conv", [*inputs, *weights], output, dilations=dilation, group=int(layer.get("groups") or 1), **window
        )

    def _conv_transpose(self, layer: Mapping[str, Any], inputs: list[str], output: str, key: str) -> None:
        kernel, stride = list(layer["kernel"]), list(layer["stride"])
        over = [
            max(k - s, 0) if layer.get("padding", "same") == "same" else 0 for k, s in zip(kernel, stride, strict=True)
        ]
        self._node(
            "ConvTranspose",
            [*inputs, *self._stored(key, "conv.weight", "conv.bias")],
            output,
            kernel_shape=kernel,
            strides=stride,
            pads=[o // 2 for o in over] + [o - o // 2 for o in over],
            output_padding=[max(s - k, 0) for k, s in zip(kernel, stride, strict=True)],
        )

    def _pool(self, layer: Mapping[str, Any], inputs: list[str], output: str, key: str) -> None:
        layer = {"padding": "valid", **layer}
        inputs, window = self._window(layer, inputs, output, layer["size"], [1] * self.ndim)
        if layer.get("function", "max") == "max":
            self._node("MaxPool", inputs, output, **window)
        else:
            self._node("AveragePool", inputs, output, count_include_pad=0, **window)

    def _upsample(self, layer: Mapping[str, Any], inputs: list[str], output: str, key: str) -> None:
        scales = self._weight(f"{key}.scales", [1, 1, *layer["factor"]])
        how: dict[str, Any] = {
            "mode": "nearest",
            "nearest_mode": "floor",
            "coordinate_transformation_mode": "asymmetric",
        }
        if layer.get("mode", "nearest") == "linear":
            how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        self._node("Resize", [*inputs, "", scales], output, **how)

    def _norm(self, layer: Mapping[str, Any], inputs: list[str], output: str, key: str) -> None:
        weights = self._stored(key, "weight", "bias", "mean", "variance")
        self._node("BatchNormalization", [*inputs, *weights], output, epsilon=float(layer.get("epsilon", 1e-3)))

    def _group_norm(self, layer: Mapping[str, Any], inputs: list[str], output: str, key: str) -> None:
        """Group normalisation as an instance normalisation of groups; ONNX's own operator is newer."""
        channels, groups, epsilon = layer["channels"], layer["groups"], float(layer.get("epsilon", 1e-5))
        if channels == groups:
            weights = self._stored(key, "weight", "bias")
            self._node("InstanceNormalization", [*inputs, *weights], output, epsilon=epsilon)
            return
        shape, parts = f"{output}.shape", [f"{output}.{n}" for n in ("grouped", "normal", "again", "scaled")]
        self._node("Shape", inputs, shape)
        self._node("Reshape", [inputs[0], self._weight(f"{key}.groups", [0, groups, -1], "int64")], parts[0])
        ones = self._weight(f"{key}.ones", np.ones(groups))
        zeros = self._weight(f"{key}.zeros", np.zeros(groups))
        self._node("InstanceNormalization", [parts[0], ones, zeros], parts[1], epsilon=epsilon)
        self._node("Reshape", [parts[1], shape], parts[2])
        wide = (channels, *[1] * self.ndim)
        weight = self._weight(f"{key}.weight", self.state[f"{key}.weight"].reshape(wide))
        bias = self._weight(f"{key}.bias", self.state[f"{key}.bias"].reshape(wide))
        self._node("Mul", [parts[2], weight], parts[3])
        self._node("Add", [parts[3], bias], output)

    def _activation(self, layer: Mapping[str, Any], inputs: list[str], output: str, key: str) -> None:
        function = layer["function"]
        if function in _SIMPLE:
            self._node(_SIMPLE[function], inputs, output)
        elif function == "softmax":
            self._node("Softmax", inputs, output, axis=1)
        elif function == "leaky_relu":
            self._node("LeakyRelu", inputs, output, alpha=float(layer.get("slope", 0.0)))
        elif function == "hard_sigmoid":
            self._node("HardSigmoid", inputs, output, alpha=1 / 6, beta=0.5)
        elif function == "relu6":
            self._node("Clip", [*inputs, self._weight(f"{key}.low", 0.0), self._weight(f"{key}.high", 6.0)], output)
        elif function == "silu":
            self._node("Sigmoid", inputs, f"{output}.gate")
            self._node("Mul", [*inputs, f"{output}.gate"], output)
        elif function == "gelu":  # x / 2 (1 + erf(x / sqrt 2))
            steps = [f"{output}.{n}" for n in ("scaled", "erf", "raised", "half")]
            self._node("Mul", [*inputs, self._weight(f"{key}.root", 0.5**0.5)], steps[0])
            self._node("Erf", steps[:1], steps[1])
            self._node("Add", [steps[1], self._weight(f"{key}.one", 1.0)], steps[2])
            self._node("Mul", [*inputs, self._weight(f"{key}.half", 0.5)], steps[3])
            self._node("Mul", [steps[3], steps[2]], output)
        else:
            raise InputError(f"Layer {layer['name']!r}: the activation {function!r} cannot be written as ONNX.")

    def _slope(self, layer: Mapping[str, Any], inputs: list[str], output: str, key: str) -> None:
        slope = self.state[f"{key}.weight"].reshape(-1, *[1] * self.ndim)
        self._node("PRelu", [*inputs, self._weight(f"{key}.weight", slope)], output)

    def _frame(self, layer: Mapping[str, Any], inputs: list[str], output: str, key: str) -> None:
        before, behind = zip(*layer["widths"], strict=True)
        widths = self._weight(f"{key}.widths", [0, 0, *before, 0, 0, *behind], "int64")
        more = []
        if any(other["kind"] == "pool" and layer["name"] in other["inputs"] for other in self.layers):
            more = [self._weight(f"{key}.value", NEARLY_ZERO)]
        self._node("Pad", [*inputs, widths, *more], output)

    def _join(self, layer: Mapping[str, Any], inputs: list[str], output: str, key: str) -> None:
        function = layer["function"]
        if function == "concatenate":
            self._node("Concat", inputs, output, axis=1)
        elif function in _JOINS:
            self._node(_JOINS[function], inputs, output)
        else:
            for number, name in enumerate(inputs[1:], 1):
                result = output if number == len(inputs) - 1 else f"{output}.{number}"
                self._node("Mul", [inputs[0] if number == 1 else f"{output}.{number - 1}", name], result)
