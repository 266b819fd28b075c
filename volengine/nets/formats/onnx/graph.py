"""Facts of an ONNX graph that are found without running it: input, output, sizes, activation, stride and memory.

Shapes are inferred by ONNX's own rules. A file is refused if it keeps weights in other files, has operators of unknown
domains, or is damaged.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volengine.core.errors import FormatError, InputError, MissingError
from volengine.nets.formats.onnx.words import LARGEST, import_onnx

MAKERS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
"""Domains of the operators that onnxruntime has."""
PASSING = ("Transpose", "Identity", "Cast")
"""Operators that may follow the last activation, because they do not change values."""
LARGEST_SETTING = 4096
"""Largest number of bytes of a stored array that may hold sizes or paddings, on which shapes depend."""
MOST_BYTES = 10**6
"""Largest number of bytes per voxel of input; no real network needs more, so such a file is refused."""
FALLBACK_BYTES = 64
"""Bytes per voxel and channel (of the widest convolution) for a graph whose shapes cannot be inferred."""


@dataclass(frozen=True)
class Port:
    """An input or output: its name, its numpy dtype, and its sizes (``None``: free)."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]


def read_onnx(source: str | Path | bytes, where: str = "") -> Any:
    """Read and check an ONNX file.

    Parameters
    ----------
    source
        A path, or the bytes of the file.
    where
        Name of the file in messages, if ``source`` is not a path.

    Returns
    -------
    onnx.ModelProto
        The checked model.

    Raises
    ------
    DependencyError
        The extra ``onnx`` is not installed.
    MissingError
        The file does not exist.
    FormatError
        The file is too large, truncated or damaged, keeps weights in other files, or has unknown operators or more than
        one input or output.
    """
    where = where or str(source)
    onnx = import_onnx()
    content = source if isinstance(source, bytes) else content_of(Path(source), where)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
        if not model.graph.node or not model.opset_import:
            raise ValueError("there is no graph in it")
    except Exception as error:  # protobuf's errors differ between its implementations
        raise FormatError(f"{where} is no ONNX file, or it is cut off or damaged ({_line(error)}).") from error
    _refuse_strangers(onnx, model, where)
    try:
        for tensor in _tensors(model.graph):
            onnx.numpy_helper.to_array(tensor)
        onnx.checker.check_model(model)
    except Exception as error:
        raise FormatError(f"{where} is damaged or no valid ONNX ({_line(error)}).") from error
    ports(model, where)
    return model


def content_of(path: Path, where: str) -> bytes:
    """The bytes of a file; refuses one that does not exist or is too large."""
    if not path.is_file():
        raise MissingError(f"{where}: no such model file.")
    if path.stat().st_size > LARGEST:
        raise FormatError(f"{where} has {path.stat().st_size} bytes; ONNX files have at most {LARGEST}.")
    return path.read_bytes()


def _line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:200]


def _refuse_strangers(onnx: Any, model: Any, where: str) -> None:
    for tensor in _tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise FormatError(
                f"{where} keeps the weights {tensor.name!r} in another file, which is not opened. Save the model as "
                "one file (onnx.save with save_as_external_data=False)."
            )
    strange = next((n for n in _nodes(model.graph) if n.domain not in MAKERS), None)
    if strange is not None:
        raise FormatError(
            f"{where} has the operator {strange.domain}.{strange.op_type}, which onnxruntime does not have."
        )
    loop = next((n for n in _nodes(model.graph) if n.op_type in ("Loop", "Scan")), None)
    if loop is not None:
        raise FormatError(f"{where} has a {loop.op_type}, which may never end; only plain graphs are read.")
    if model.functions or model.training_info:
        raise FormatError(f"{where} has functions or training steps of its own; only plain graphs are read.")


def _tensors(graph: Any) -> Iterator[Any]:
    """All stored arrays, including those of branches and loops."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    for node in graph.node:
        for attribute in node.attribute:
            yield from attribute.tensors
            if attribute.HasField("t"):
                yield attribute.t
            for sparse in (
                *attribute.sparse_tensors,
                *([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []),
            ):
                yield sparse.values
                yield sparse.indices
            for part in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _tensors(part)


def _nodes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for part in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
                yield from _nodes(part)


def ports(model: Any, where: str) -> tuple[Port, Port]:
    """The input and the output of a graph; refuses a graph with several."""
    onnx = import_onnx()
    stored = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in stored]
    for what, values in (("inputs", inputs), ("outputs", model.graph.output)):
        if len(values) != 1:
            names = ", ".join(v.name for v in values) or "none"
            raise FormatError(f"{where} has {len(values)} {what} ({names}); only networks with one are used.")
    found = []
    for value in (inputs[0], model.graph.output[0]):
        kind = value.type.tensor_type
        try:
            dtype = str(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
        except KeyError:
            dtype = "unknown"
        if dtype not in ("float16", "float32", "float64"):
            raise FormatError(f"{where}: {value.name!r} is of type {dtype}; only floating numbers are used.")
        shape = tuple(d.dim_value or None if d.HasField("dim_value") else None for d in kind.shape.dim)
        found.append(Port(value.name, dtype, shape))
    return found[0], found[1]


def activation_of(model: Any, channel_axis: int) -> tuple[str, int]:
    """The activation at the end of a graph (``sigmoid``, or ``softmax`` over the channels) and its node's number.

    Without an activation they are ``""`` and -1.
    """
    made = {name: number for number, node in enumerate(model.graph.node) for name in node.output}
    used = [name for node in model.graph.node for name in node.input]
    name, axis = model.graph.output[0].name, channel_axis
    rank = len(model.graph.output[0].type.tensor_type.shape.dim)
    while name in made:
        number = made[name]
        node = model.graph.node[number]
        alone = used.count(name) == (0 if name == model.graph.output[0].name else 1)
        if node.op_type == "Sigmoid" and alone:
            return "sigmoid", number
        if node.op_type == "Softmax" and alone:
            return ("softmax", number) if _over(model, node, axis, rank) else ("", -1)
        if node.op_type not in PASSING or not alone:
            break
        if node.op_type == "Transpose":
            order = next((list(a.ints) for a in node.attribute if a.name == "perm"), list(range(rank))[::-1])
            axis = order[axis]
        name = node.input[0]
    return "", -1


def _over(model: Any, node: Any, axis: int, rank: int) -> bool:
    """Whether a softmax is over this axis only; before version 13 it was over all axes from ``axis`` on."""
    version = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 0)
    given = next((a.i for a in node.attribute if a.name == "axis"), -1 if version >= 13 else 1)
    return bool(given % rank == axis and (version >= 13 or axis == rank - 1))


def without_activation(model: Any, number: int) -> Any:
    """A copy of the model whose last activation is replaced by the identity."""
    copy = type(model)()
    copy.CopyFrom(model)
    node = copy.graph.node[number]
    node.op_type = "Identity"
    node.domain = ""
    del node.attribute[:]
    return copy


def strides_of(model: Any, ndim: int) -> tuple[int, ...]:
    """Ratio of the coarsest to the finest grid, for each axis in space in the order of the graph."""
    from onnx import numpy_helper

    stored = {t.name: t for t in model.graph.initializer}
    scale: dict[str, list[float]] = {}
    largest = [1.0] * ndim
    for node in model.graph.node:
        here = next((scale[name] for name in node.input if name in scale), [1.0] * ndim)
        given = {a.name: a for a in node.attribute}
        steps = list(given["strides"].ints) if "strides" in given else []
        if len(steps) == ndim and node.op_type in ("Conv", "MaxPool", "AveragePool", "LpPool"):
            here = [a * b for a, b in zip(here, steps, strict=True)]
        elif len(steps) == ndim and node.op_type == "ConvTranspose":
            here = [a / b for a, b in zip(here, steps, strict=True)]
        elif node.op_type in ("Resize", "Upsample"):
            scales = [stored[n] for n in node.input[1:] if n in stored and stored[n].data_type == 1]
            values = [numpy_helper.to_array(t).tolist() for t in scales]
            factors = next((v for v in values if len(v) == ndim + 2), None)
            if factors is not None:
                here = [a / b for a, b in zip(here, factors[2:], strict=True)]
        for name in node.output:
            scale[name] = here
        largest = [max(a, b) for a, b in zip(largest, here, strict=True)]
    return tuple(max(1, round(v)) for v in largest)


def weight_bytes(model: Any) -> int:
    """Bytes of all stored arrays."""
    return sum(len(t.raw_data) or math.prod(t.dims) * 8 for t in _tensors(model.graph))


def live_bytes(model: Any, where: str, sizes: Sequence[int]) -> int:
    """Peak bytes of all arrays for an input of these sizes, without the input itself; nothing is computed.

    An array whose size cannot be inferred counts as the largest one whose size can be.
    """
    onnx = import_onnx()
    probe = type(model)()
    probe.CopyFrom(model)
    given, _ = ports(probe, where)
    value = next(v for v in probe.graph.input if v.name == given.name)
    for dim, size in zip(value.type.tensor_type.shape.dim, sizes, strict=True):
        dim.dim_value = int(size)
    for tensor in probe.graph.initializer:
        if len(tensor.raw_data) > LARGEST_SETTING:  # weights: only their shape is needed
            tensor.ClearField("raw_data")
    del probe.graph.value_info[:]
    for dim in probe.graph.output[0].type.tensor_type.shape.dim:
        dim.Clear()
    try:
        probe = onnx.shape_inference.infer_shapes(probe, data_prop=True)
    except Exception as error:
        raise FormatError(f"{where}: its sizes contradict each other ({_line(error)}).") from error
    known: dict[str, int] = {}
    for item in (*probe.graph.value_info, *probe.graph.output):
        dims = item.type.tensor_type.shape.dim
        if item.type.tensor_type.HasField("shape") and all(d.HasField("dim_value") for d in dims):
            known[item.name] = 4 * math.prod(d.dim_value for d in dims)
    inside = math.prod(sizes) * 4
    unknown = max([*known.values(), inside * FALLBACK_BYTES // 4])
    last = {name: n for n, node in enumerate(probe.graph.node) for name in node.input}
    last[probe.graph.output[0].name] = len(probe.graph.node)
    live = peak = 0
    alive: dict[str, int] = {}
    for number, node in enumerate(probe.graph.node):
        for name in node.output:
            alive[name] = known.get(name, unknown)
            live += alive[name]
        peak = max(peak, live)
        for name in [*node.input, *node.output]:
            if last.get(name, -1) <= number and name in alive:
                live -= alive.pop(name)
    if peak > MOST_BYTES * math.prod(sizes):
        raise FormatError(f"{where} needs {peak} bytes for an input of {tuple(sizes)}; it is not run.")
    return peak


def check_axes(axes: str, rank: int, where: str) -> str:
    """Check the order of a graph's axes: letters ``b`` (patches), ``c`` (channels), ``z``, ``y``, ``x``.

    If only axes in space are given, patches and channels come before them. ``""`` stands for PyTorch's order.
    """
    plain = {4: "bcyx", 5: "bczyx"}
    found = axes or plain.get(rank, "")
    if set(found) <= {*"zyx"} and len(found) == rank - 2:
        found = f"bc{found}"
    letters = sorted(found)
    if len(found) != rank or len(set(letters)) != rank or not {*"yx"} <= set(letters) <= {*"bczyx"}:
        raise InputError(
            f"{where}: its input has {rank} axes, but they are called {axes or 'nothing'!r}; give --axes with one "
            "letter for each: b (patches), c (channels or slices), z, y, x; for example bczyx, bcyx or byxc."
        )
    return found
