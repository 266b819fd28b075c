"""Models as ONNX files, run by onnxruntime inside a PyTorch module: patches, views and blending stay what they are.

A file of ours (:mod:`volengine.nets.onnx_write`) has all facts in its metadata. One of another program is told its
facts once, with ``volengine models import FILE.onnx OUT.onnx --voxel-size ... --features ...``: :func:`with_told_facts`
writes a copy that knows them. An activation at the graph's end is taken off where the facts say that there is one, so
that logits can be averaged too.

A patch is computed by itself and by one thread; the engine computes several at a time. On a GPU, onnxruntime computes
there if it is the GPU build (``onnxruntime-gpu``), else on the CPU.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from volengine.core.boxes import Index3, index3
from volengine.core.errors import FormatError, InputError, require
from volengine.core.model import Activation, ModelFacts, Normalisation
from volengine.nets.onnx_graph import (
    Port,
    activation_of,
    check_axes,
    live_bytes,
    ports,
    read_onnx,
    strides_of,
    weight_bytes,
    without_activation,
)
from volengine.nets.onnx_write import AXES_KEY, KEY, import_onnx, metadata

NETWORK = "onnx"
"""Name in the registry: :class:`OnnxSizes`, which stands for the network while a run is planned."""
COPIES = 3
"""Of the weights, while onnxruntime prepares a network, by half (the plan counts all weights twice). Measured: 2.4."""
LIBRARY_BYTES = 30_000_000
"""Measured, by half: what importing onnx and onnxruntime adds to a worker process."""
REORDERED = {2: 1.5, 3: 1.0}
"""By axes in space: what onnxruntime's blocked order of channels adds to the arrays that are alive, beyond what
:mod:`volengine.nets.footprint` allows for PyTorch's. Measured in 2D, with a U-Net of 5 levels: 1.4; 3D needs less than PyTorch."""


class OnnxNet(nn.Module):
    """A network that onnxruntime computes; (batch, channels, y, x) or (batch, 1, z, y, x), as all others.

    Parameters
    ----------
    model
        Checked, its activation as it is in the file.
    where
        Names the file in messages.
    axes
        The graph's, see :func:`volengine.nets.onnx_graph.check_axes`.
    activation
        Of the facts: taken off the graph if it stands at its end.
    """

    def __init__(self, model: Any, where: str, axes: str, activation: str):
        super().__init__()
        self.where, self.axes = where, axes
        self.input, self.output = ports(model, where)
        self._activation = activation
        self._content: bytes = model.SerializeToString()
        self._sessions: dict[str, Any] = {}
        self._lock = threading.Lock()

    @classmethod
    def of(cls, content: bytes, where: str, activation: str) -> OnnxNet:
        """From a file's content, with the axes of its metadata."""
        model = read_onnx(content, where)
        told = {p.key: p.value for p in model.metadata_props}
        return cls(
            model, where, check_axes(told.get(AXES_KEY, ""), len(ports(model, where)[0].shape), where), activation
        )

    @property
    def volumetric(self) -> bool:
        """Whether its input has an axis z in space."""
        return "z" in self.axes

    def with_facts(self, facts: ModelFacts) -> bytes:
        """The file's content as it was, with these facts in its metadata."""
        model = read_onnx(self._content, self.where)
        kept = {p.key: p.value for p in model.metadata_props}
        if facts.network == NETWORK and KEY in kept:  # what it was before it became ONNX
            was = ModelFacts.from_json(json.loads(kept[KEY]), where=self.where)
            facts = replace(facts, network=was.network, arguments=was.arguments)
        kept |= metadata(facts, self.axes)
        del model.metadata_props[:]
        import_onnx().helper.set_model_props(model, kept)
        content: bytes = model.SerializeToString()
        return content

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The answers, float32, on the input's device.

        Raises
        ------
        InputError
            A patch of a size that the graph does not take; onnxruntime's own words.
        """
        session = self._session(x.device)
        given = x.detach().to("cpu", torch.float32).numpy()
        answers = [self._one(session, patch) for patch in given]
        return torch.from_numpy(np.stack(answers)).to(x.device)

    def _one(self, session: Any, patch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The answer for one patch (channels, [z,] y, x)."""
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
                self._sessions[device.type] = _session(self._logits(), device, self.where)
            return self._sessions[device.type]

    def _logits(self) -> bytes:
        """The file's content without the activation at its end, if it is the one that the facts name."""
        model = read_onnx(self._content, self.where)
        found, number = activation_of(model, self.axes.find("c"))
        if number < 0 or found != self._activation:
            return self._content
        content: bytes = without_activation(model, number).SerializeToString()
        return content


def _session(content: bytes, device: torch.device, where: str) -> Any:
    """onnxruntime, ready to run: one thread, and memory given back after each patch."""
    try:
        import onnxruntime
    except ImportError as error:
        raise require("onnxruntime", "onnx", "A model as an ONNX file") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    options.log_severity_level = 3
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0, "use_tf32": 0}))
    try:
        return onnxruntime.InferenceSession(content, options, providers=providers)
    except Exception as error:
        raise FormatError(f"{where}: onnxruntime cannot run it: {_first(error)}") from error


def _first(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


class OnnxSizes(nn.Module):
    """Stands for an ONNX network while a run is planned: as many bytes, nothing to compute.

    Parameters
    ----------
    weight_bytes, bytes_per_voxel
        Of the weights, and of what is alive at once per voxel of input.
    features
        Channels of the answer.
    sizes
        Patches z, y, x that the graph takes; 0: any.
    network
        What the network was before it became ONNX.
    """

    def __init__(
        self, weight_bytes: int, bytes_per_voxel: float, features: int, sizes: tuple[int, ...] = (), network: str = ""
    ):
        super().__init__()
        self.weights = nn.Parameter(torch.empty((COPIES * weight_bytes + LIBRARY_BYTES) // 4, device="meta"))
        self.bytes_per_voxel, self.features, self.sizes, self.network = bytes_per_voxel, features, tuple(sizes), network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """An empty answer, on the device ``meta`` alone."""
        if x.device.type != "meta":
            raise InputError("This model's network is an ONNX file; use the .onnx file itself.")
        space = tuple(x.shape[2:])
        for wanted, have in zip(self.sizes[-len(space) :], space, strict=False):
            if wanted not in (0, have):
                raise InputError(
                    f"The ONNX network takes patches of {self.sizes} voxels (z, y, x) only; leave out --patch."
                )
        work = torch.empty(math.ceil(self.bytes_per_voxel * math.prod(space) / 4), device=x.device)
        answer = torch.empty((x.shape[0], self.features, *space), device=x.device)
        del work
        return answer


def load_onnx(path: str | Path) -> tuple[nn.Module, ModelFacts]:
    """A model from an ONNX file that knows its facts.

    Raises
    ------
    MissingError, FormatError, DependencyError
        As :func:`volengine.nets.onnx_graph.read_onnx`.
    InputError
        The file does not say its facts; the message says how to tell it.
    """
    where = str(path)
    model = read_onnx(path)
    told = {p.key: p.value for p in model.metadata_props}
    if KEY not in told:
        raise InputError(
            f"{where} does not say its voxel size nor what it finds. Import it once: volengine models import {where} "
            "OUT.onnx --voxel-size ANGSTROM --features NAME,..."
        )
    try:
        facts = ModelFacts.from_json(json.loads(told[KEY]), where=where)
    except ValueError as error:
        raise FormatError(f"{where}: the facts in its metadata cannot be read ({error}).") from error
    given = ports(model, where)[0]
    axes = check_axes(told.get(AXES_KEY, ""), len(given.shape), where)
    net = OnnxNet(model, where, axes, facts.activation)
    _check_fit(net, facts, where)
    return net, _with_sizes(model, facts, net, where)


def _check_fit(net: OnnxNet, facts: ModelFacts, where: str) -> None:
    if net.volumetric != facts.volumetric:
        raise FormatError(f"{where}: patches of {facts.patch} voxels do not fit the graph's axes {net.axes!r}.")
    for port, wanted in ((net.input, 1 if facts.volumetric else facts.context), (net.output, len(facts.features))):
        have = port.shape[net.axes.index("c")] if "c" in net.axes and len(port.shape) == len(net.axes) else None
        if have not in (None, wanted):
            raise FormatError(f"{where}: {port.name!r} has {have} channels; its facts say {wanted}.")


def _with_sizes(model: Any, facts: ModelFacts, net: OnnxNet, where: str) -> ModelFacts:
    """The facts for use here: the network is onnxruntime's, and its arguments are what it needs."""
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
    """Sizes z, y, x that the graph takes; 0: any."""
    found = {axis: size or 0 for axis, size in zip(net.axes, net.input.shape, strict=True)}
    return index3(found.get(axis, 1) for axis in "zyx")


@dataclass(frozen=True)
class Told:
    """What somebody says of an ONNX file that does not know it.

    Parameters
    ----------
    voxel_size
        Angstrom.
    features
        Names of the channels; with a softmax over one more, the first one is the background.
    patch
        Voxels z, y, x; needed where the graph's sizes are free.
    normalisation
        Of the input; default ``volume``.
    axes
        Order of the graph's axes; default: PyTorch's.
    activation
        What turns the answers into predictions; default: what stands at the graph's end.
    """

    voxel_size: float | None = None
    features: tuple[str, ...] = ()
    patch: tuple[int, ...] = ()
    normalisation: str = ""
    axes: str = ""
    activation: str = ""


def with_told_facts(path: str | Path, told: Told) -> tuple[bytes, ModelFacts]:
    """The content of an ONNX file that knows its facts, made from one that need not.

    The file is tried on random numbers.

    Raises
    ------
    MissingError, FormatError, DependencyError
        As :func:`volengine.nets.onnx_graph.read_onnx`.
    InputError
        A fact that is needed is missing or does not fit; the network cannot be run, or its answer has another size
        than its input.
    """
    where = str(path)
    model = read_onnx(path)
    kept = {p.key: p.value for p in model.metadata_props}
    if KEY in kept and not told.axes:
        net, facts = load_onnx(path)
        stored = ModelFacts.from_json(json.loads(kept[KEY]), where=where)
        changed = _changed(replace(facts, network=stored.network, arguments=stored.arguments), told)
        net = OnnxNet(model, where, cast(OnnxNet, net).axes, changed.activation)
    else:
        axes = check_axes(told.axes, len(ports(model, where)[0].shape), where)
        changed = _new_facts(model, axes, told, where)
        net = OnnxNet(model, where, axes, changed.activation)
    _check_fit(net, changed, where)
    _try(net, changed, where)
    return net.with_facts(changed), changed


def _changed(facts: ModelFacts, told: Told) -> ModelFacts:
    values: dict[str, Any] = {}
    if told.voxel_size is not None:
        values["voxel_size"] = (told.voxel_size,) * 3
    if told.features:
        more = len(facts.features) == len(told.features) + 1
        values["features"] = ("background", *told.features) if more else told.features
    values |= {k: getattr(told, k) for k in ("patch", "normalisation", "activation") if getattr(told, k)}
    return ModelFacts.from_json({**facts.to_json(), **values})


def _new_facts(model: Any, axes: str, told: Told, where: str) -> ModelFacts:
    given, answer = ports(model, where)
    if told.voxel_size is None or not told.features:
        load_onnx(where)  # says what is missing
    found = activation_of(model, axes.find("c"))[0]
    activation = told.activation or found
    if not activation:
        raise InputError(
            f"{where} ends with neither a sigmoid nor a softmax over its channels; say what its answers are: "
            "--activation sigmoid or softmax (they are logits), or none (values that are no probabilities)."
        )
    volumetric = "z" in axes
    channel = axes.find("c")
    slices = 1 if volumetric or channel < 0 else given.shape[channel] or 1
    channels = answer.shape[channel] if channel >= 0 and len(answer.shape) == len(axes) else 1
    names = told.features
    if activation == "softmax" and channels == len(names) + 1:
        names = ("background", *names)
    if channels not in (None, len(names)):
        raise InputError(f"{where} answers with {channels} channels, but {len(told.features)} features are named.")
    patch, stride = _patch_and_stride(model, axes, given, told, where)
    size = float(told.voxel_size or 0)
    return ModelFacts(
        network=NETWORK,
        features=names,
        voxel_size=(size, size, size),
        patch=patch,
        context=slices,
        normalisation=cast(Normalisation, told.normalisation or "volume"),
        activation=cast(Activation, activation),
        stride=stride,
        history=({"imported": f"ONNX, {model.producer_name or 'unknown program'} {model.producer_version}".strip()},),
    )


def _patch_and_stride(model: Any, axes: str, given: Port, told: Told, where: str) -> tuple[Index3, Index3]:
    space = [a for a in axes if a in "zyx"]
    steps = {"z": 1} | dict(zip(space, strides_of(model, len(space)), strict=True))
    fixed = {a: n for a, n in zip(axes, given.shape, strict=True) if a in "zyx" and n is not None}
    patch = dict(zip("zyx", told.patch, strict=True)) if told.patch else {"z": 1, **fixed}
    for axis in "zyx":
        if axis not in patch:
            raise InputError(f"{where} takes patches of any size; say which one it was trained with: --patch Z,Y,X.")
        if fixed.get(axis, patch[axis]) != patch[axis]:
            raise InputError(f"{where} takes patches of {fixed[axis]} along {axis} only, not {patch[axis]}.")
    stride = index3(fixed.get(axis, steps[axis]) for axis in "zyx")
    return index3(patch[axis] for axis in "zyx"), stride


def _try(net: OnnxNet, facts: ModelFacts, where: str) -> None:
    from volengine.nets.onnx_write import trial_of

    x = trial_of(facts, longer=False)
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        answer = net(x)
    wanted = (1, len(facts.features), *x.shape[2:])
    if tuple(answer.shape) != wanted:
        raise InputError(
            f"{where} answers {tuple(answer.shape)} for an input of {tuple(x.shape)}; with the facts that are given it "
            f"should be {wanted}. Only networks that answer every voxel of their input can be used."
        )
    if not bool(torch.isfinite(answer).all()):
        raise InputError(f"{where} answers with numbers that are not finite for an input of random numbers.")
