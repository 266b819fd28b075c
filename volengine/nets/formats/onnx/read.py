"""ONNX models, run by onnxruntime inside a PyTorch module, so that patches, views and blending are the same as always.

A file written by this package (:mod:`volengine.nets.formats.onnx.write`) has all facts in its metadata. A file of
another program is imported once, with ``volengine models import FILE.onnx OUT.onnx --voxel-size ... --features ...``,
which writes a copy with the facts in its metadata (:mod:`volengine.nets.formats.onnx.told`). If the facts name an
activation at the end of the graph, it is removed, so that logits can be averaged as well.

Each patch is computed separately by one thread; the engine computes several patches at a time. On a GPU, the GPU build
of onnxruntime (``onnxruntime-gpu``) computes there; other builds use the CPU.
"""

from __future__ import annotations

import math
import shlex
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from volengine.core.boxes import Index3, index3
from volengine.core.errors import FormatError, InputError, require
from volengine.core.json_text import parse_object
from volengine.core.model import ModelFacts
from volengine.nets.formats.onnx.graph import (
    activation_of,
    check_axes,
    content_of,
    live_bytes,
    ports,
    read_onnx,
    weight_bytes,
    without_activation,
)
from volengine.nets.formats.onnx.words import AXES_KEY, KEY, import_onnx, metadata

NETWORK = "onnx"
"""Name in the registry of :class:`OnnxSizes`, which stands for the network while a run is planned."""
COPIES = 3
"""Half the number of copies of the weights while onnxruntime prepares a network: the plan counts all weights twice.
Measured: 2.4."""
LIBRARY_BYTES = 30_000_000
"""Half of the memory that importing onnx and onnxruntime adds to a worker process, as measured."""
REORDERED = {2: 1.5, 3: 1.0}
"""By the number of axes in space: factor for the memory that onnxruntime's blocked order of channels needs, beyond what
:mod:`volengine.nets.footprint` adds for PyTorch. Measured in 2D with a U-Net of 5 levels: 1.4; 3D needs none."""


class OnnxNet(nn.Module):
    """A network that onnxruntime computes, with the input (batch, channels, y, x) or (batch, 1, z, y, x).

    Parameters
    ----------
    model
        The checked model, with its activation as in the file.
    where
        Name of the file in messages.
    axes
        Order of the graph's axes, see :func:`volengine.nets.formats.onnx.graph.check_axes`.
    activation
        The activation of the facts; it is removed from the graph if it is the last operator.
    content
        The bytes of the file, if they are known.
    """

    compiles = False
    """``torch.compile`` cannot speed this module up."""

    def __init__(self, model: Any, where: str, axes: str, activation: str, content: bytes | None = None):
        super().__init__()
        self.where, self.axes = where, axes
        self.input, self.output = ports(model, where)
        self._activation = activation
        self._content: bytes = model.SerializeToString() if content is None else content
        self._sessions: dict[str, Any] = {}
        self._lock = threading.Lock()

    @classmethod
    def of(cls, content: bytes, where: str, activation: str) -> OnnxNet:
        """Make a network from the bytes of a file, with the axes of its metadata."""
        model = read_onnx(content, where)
        told = {p.key: p.value for p in model.metadata_props}
        return cls(
            model, where, check_axes(told.get(AXES_KEY, ""), len(ports(model, where)[0].shape), where), activation
        )

    @property
    def volumetric(self) -> bool:
        """Whether the input has a z axis."""
        return "z" in self.axes

    def with_facts(self, facts: ModelFacts) -> bytes:
        """The bytes of the original file, with these facts in its metadata."""
        model = read_onnx(self._content, self.where)
        kept = {p.key: p.value for p in model.metadata_props}
        if facts.network == NETWORK and KEY in kept:  # the architecture before it became ONNX
            was = ModelFacts.from_json(parse_object(kept[KEY], f"{self.where}: its facts"), where=self.where)
            facts = replace(facts, network=was.network, arguments=was.arguments)
        kept |= metadata(facts, self.axes)
        del model.metadata_props[:]
        import_onnx().helper.set_model_props(model, kept)
        content: bytes = model.SerializeToString()
        return content

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The outputs, float32, on the device of the input.

        Raises
        ------
        InputError
            The graph does not accept patches of this size, or onnxruntime fails; the message contains its error.
        """
        session = self._session(x.device)
        given = x.detach().to("cpu", torch.float32).numpy()
        answers = [self._one(session, patch) for patch in given]
        return torch.from_numpy(np.stack(answers)).to(x.device)

    def _one(self, session: Any, patch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The output for one patch (channels, [z,] y, x)."""
        ours = "czyx" if self.volumetric else "cyx"
        seen = patch[None] if "b" in self.axes else patch
        order = ("b" if "b" in self.axes else "") + ours
        if "c" not in self.axes:
            seen, order = seen.squeeze(order.index("c")), order.replace("c", "")
        turned = np.ascontiguousarray(seen.transpose([order.index(a) for a in self.axes]), dtype=self.input.dtype)
        for have, wanted, axis in zip(turned.shape, self.input.shape, self.axes, strict=True):
            if wanted not in (None, have):
                raise InputError(f"{self.where} takes patches of {wanted} along {axis} only, not {have}.")
        try:
            (answer,) = session.run([self.output.name], {self.input.name: turned})
        except Exception as error:
            raise InputError(f"{self.where}: onnxruntime cannot compute it: {_first(error)}") from error
        if answer.ndim != len(self.axes):
            raise FormatError(f"{self.where} answers with {answer.ndim} axes for an input of {len(self.axes)}.")
        back = answer.transpose([self.axes.index(a) for a in order]).astype(np.float32, copy=False)
        if "b" in order:
            back = back[0]
        result: NDArray[np.float32] = back if "c" in order else back[None]
        return result

    def _session(self, device: torch.device) -> Any:
        with self._lock:
            if device.type not in self._sessions:
                self._sessions[device.type] = _session(self.logits(), device, self.where)
            return self._sessions[device.type]

    def logits(self) -> bytes:
        """The bytes of the file without its last activation, if it is the one that the facts name."""
        model = read_onnx(self._content, self.where)
        found, number = activation_of(model, self.axes.find("c"))
        if number < 0 or found != self._activation:
            return self._content
        content: bytes = without_activation(model, number).SerializeToString()
        return content


def _session(content: bytes, device: torch.device, where: str) -> Any:
    """A session of onnxruntime that uses one thread and frees its memory after each patch."""
    try:
        import onnxruntime
    except ImportError as error:
        raise require("onnxruntime", "onnx", "A model as an ONNX file") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    options.log_severity_level = 4  # errors are raised, and not also printed
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0, "use_tf32": 0}))
    try:
        return onnxruntime.InferenceSession(content, options, providers=providers, enable_fallback=0)
    except Exception as error:
        raise FormatError(f"{where}: onnxruntime cannot run it: {_first(error)}") from error


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


class OnnxSizes(nn.Module):
    """Stands for an ONNX network while a run is planned: it has the same memory, and computes nothing.

    Parameters
    ----------
    weight_bytes, bytes_per_voxel
        Bytes of the weights, and peak bytes of all arrays per voxel of input.
    features
        Number of output channels.
    sizes
        Patch z, y, x that the graph accepts; 0: any length.
    network
        The architecture before it became ONNX.
    """

    def __init__(
        self, weight_bytes: int, bytes_per_voxel: float, features: int, sizes: tuple[int, ...] = (), network: str = ""
    ):
        super().__init__()
        self.weights = nn.Parameter(torch.empty((COPIES * weight_bytes + LIBRARY_BYTES) // 4, device="meta"))
        self.bytes_per_voxel, self.features, self.sizes, self.network = bytes_per_voxel, features, tuple(sizes), network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """An output without numbers; only on the device ``meta``."""
        if x.device.type != "meta":
            raise self._refuse()
        space = tuple(x.shape[2:])
        for wanted, have in zip(self.sizes[-len(space) :], space, strict=False):
            if wanted not in (0, have):
                raise InputError(
                    f"The ONNX file takes patches of {self.sizes} voxels (z, y, x) only; leave out --patch, --compat."
                )
        work = torch.empty(math.ceil(self.bytes_per_voxel * math.prod(space) / 4), device=x.device)
        answer = torch.empty((x.shape[0], self.features, *space), device=x.device)
        del work
        return answer

    def _load_from_state_dict(self, *args: Any) -> None:
        """Refuse weights, because only an ONNX file can hold such a network."""
        raise self._refuse()

    def _refuse(self) -> InputError:
        return InputError("This model's network is an ONNX file; use the .onnx file itself.")


def load_onnx(path: str | Path) -> tuple[nn.Module, ModelFacts]:
    """Load a model from an ONNX file whose metadata contains its facts.

    Raises
    ------
    MissingError, FormatError, DependencyError
        As in :func:`volengine.nets.formats.onnx.graph.read_onnx`.
    InputError
        The metadata has no facts; the message tells how to import the file.
    """
    where = str(path)
    content = content_of(Path(path), where)
    model = read_onnx(content, where)
    told = {p.key: p.value for p in model.metadata_props}
    if KEY not in told:
        raise InputError(
            f"{where} does not say its voxel size nor what it finds. Import it once: volengine models import "
            f"{shlex.quote(where)} "
            "OUT.onnx --voxel-size ANGSTROM --features NAME,..."
        )
    try:
        facts = ModelFacts.from_json(parse_object(told[KEY], f"{where}: its facts"), where=where)
    except ValueError as error:
        raise FormatError(f"{where}: the facts in its metadata cannot be read ({error}).") from error
    given = ports(model, where)[0]
    axes = check_axes(told.get(AXES_KEY, ""), len(given.shape), where)
    net = OnnxNet(model, where, axes, facts.activation, content)
    check_fit(net, facts, where)
    return net, with_sizes(model, facts, net, where)


def check_fit(net: OnnxNet, facts: ModelFacts, where: str) -> None:
    """Refuse facts that contradict the graph: axes in space, channels."""
    if net.volumetric != facts.volumetric:
        raise FormatError(f"{where}: patches of {facts.patch} voxels do not fit the graph's axes {net.axes!r}.")
    for port, wanted in ((net.input, 1 if facts.volumetric else facts.context), (net.output, len(facts.features))):
        have = port.shape[net.axes.index("c")] if "c" in net.axes and len(port.shape) == len(net.axes) else None
        if have not in (None, wanted):
            raise FormatError(f"{where}: {port.name!r} has {have} channels; its facts say {wanted}.")


def with_sizes(model: Any, facts: ModelFacts, net: OnnxNet, where: str) -> ModelFacts:
    """The facts with :class:`OnnxSizes` as network, and the graph's need of memory as its arguments.

    Raises
    ------
    FormatError
        The sizes of the graph contradict each other, or need an unreasonable amount of memory.
    """
    length = {"b": 1, "c": 1 if facts.volumetric else facts.context}
    length |= dict(zip("zyx", facts.patch, strict=True))
    live = live_bytes(model, where, [length[axis] for axis in net.axes])
    more = REORDERED[3 if facts.volumetric else 2]
    arguments = {
        "weight_bytes": weight_bytes(model),
        "bytes_per_voxel": round(more * live / math.prod(facts.patch), 3),
        "features": len(facts.features),
        "sizes": list(_fixed(net)),
        "network": facts.network,
    }
    return replace(facts, network=NETWORK, arguments=arguments)


def _fixed(net: OnnxNet) -> Index3:
    """Patch z, y, x that the graph accepts; 0: any length."""
    found = {axis: size or 0 for axis, size in zip(net.axes, net.input.shape, strict=True)}
    return index3(found.get(axis, 1) for axis in "zyx")
