"""Networks that another library than PyTorch computes on a CPU: OpenVINO or onnxruntime.

A backend computes what PyTorch does up to rounding, in less time for some networks; ``benchmarks/backends.py``
says for which. The network is described by plain layers (:mod:`volengine.nets.architectures.trace`), rewritten as for
PyTorch (:mod:`volengine.nets.lean`), and given to the library as an ONNX graph. Patches, views, activations and
blending stay those of :mod:`volengine.nets.predictor`.

Each patch is computed by itself, in float32, by one thread, and by a graph that was prepared for patches of its shape.
So its prediction depends on nothing but its voxels, the library's version and the type of CPU. The settings matter:

- OpenVINO computes in bfloat16 by default on CPUs that have it; ``INFERENCE_PRECISION_HINT`` is set, and read again.
- OpenVINO computes one patch per *stream*; each has one thread, and none is pinned to a core, because several
  processes may share a machine.
- onnxruntime's threads spin while they wait; here it has none of its own.

>>> named("openvino")                                                                           # doctest: +SKIP
'openvino 2026.4.1'
"""

from __future__ import annotations

import contextlib
import importlib
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from volengine.core.errors import InputError, require
from volengine.nets.signal_stack import kept_signal_stack

if TYPE_CHECKING:
    import torch
    from torch import nn

    from volengine.core.model import ModelFacts

Backend = Literal["torch", "openvino", "onnxruntime"]

OPENVINO_SETTINGS: dict[str, Any] = {
    "INFERENCE_PRECISION_HINT": "f32",
    "EXECUTION_MODE_HINT": "ACCURACY",
    "ENABLE_CPU_PINNING": False,
}
"""Settings of OpenVINO, beside the numbers of streams and threads."""

ONNX = "onnx"
"""Name in the registry of networks that are ONNX files already."""

TOLERANCE, VALUES_TOLERANCE = 1e-5, 5e-5
"""Largest difference from PyTorch's probabilities, and from its values in standard deviations, where float32 itself is
off by 1e-5. OpenVINO's instance normalisation is off by 3e-4."""

KEPT_SHAPES = 2
"""Graphs of OpenVINO that a network keeps: one per shape of patches. A block asks for one shape after the other."""

LIBRARY_BYTES = {"openvino": 130_000_000, "onnxruntime": 60_000_000}
"""Memory that the library, and ``onnx`` for the conversion, add to a worker process, as measured: 110 and 50 MB."""

WEIGHT_COPIES = {"openvino": 6, "onnxruntime": 6}
"""Copies of the weights while a network is prepared, PyTorch's own included. Measured: 4.8 and 4.7."""

WORKSPACE = {("openvino", 4): 1.0, ("openvino", 5): 1.0, ("onnxruntime", 4): 1.8, ("onnxruntime", 5): 1.0}
"""By the rank of the input: peak memory of a patch, relative to what :mod:`volengine.nets.footprint` plans for PyTorch.
Measured: 0.74 and 0.6, 1.5 and 0.8."""


def named(backend: str) -> str:
    """The backend with the version that is installed here, ``openvino 2026.4.1``; ``""`` for PyTorch.

    Raises
    ------
    DependencyError
        It is not installed; the message names the extra.
    """
    if backend == "torch":
        return ""
    try:
        metadata.version("onnx")
        return f"{backend} {metadata.version(backend)}"
    except metadata.PackageNotFoundError as error:
        missing = "onnx" if error.name == "onnx" else backend
        raise require(missing, backend, f"--backend {backend}") from error


def installed_here(told: str) -> str:
    """The backend of a text that :func:`named` has made, if this very version is installed here.

    Raises
    ------
    InputError
        Another version is installed, or none: its predictions would not be those of the run.
    """
    backend, _, version = told.partition(" ")
    try:
        here = metadata.version(backend)
    except metadata.PackageNotFoundError:
        here = "none"
    if here != version:
        raise InputError(
            f"This run computes its networks with {told}, but this process has {backend} {here}. Install "
            f"{backend}=={version} there, or leave out --backend."
        )
    return backend


def planned_bytes(
    module: nn.Module, facts: ModelFacts, shape: Sequence[int], backend: str, path: str
) -> tuple[int, int]:
    """Bytes that a network keeps when a backend computes it, and the peak of a patch in one thread, for the plan.

    Parameters
    ----------
    module
        The network without numbers (device ``meta``), as its facts build it.
    facts
        Its facts.
    shape
        Shape of the input with batch and channels.
    backend
        ``openvino`` or ``onnxruntime``.
    path
        The model's file, for messages.

    Raises
    ------
    InputError
        There is no graph of plain layers for a part of the network; the message names it.
    """
    from volengine.nets.architectures.trace import traced
    from volengine.nets.footprint import forward_bytes

    weights = sum(p.numel() * p.element_size() for p in module.parameters())
    peak = forward_bytes(module, (1, *shape[1:]))
    if facts.network == ONNX:  # its weights here are what onnxruntime needs, which also reads the file
        more = 0 if backend == "onnxruntime" else WEIGHT_COPIES[backend] * int(facts.arguments.get("weight_bytes", 0))
        return 2 * weights + more, peak
    try:
        traced(module, 3 if facts.volumetric else 2)
    except InputError as error:
        raise _unknown(path, backend, error) from error
    return WEIGHT_COPIES[backend] * weights, int(WORKSPACE[backend, len(shape)] * peak)


def _unknown(path: str, backend: str, error: object) -> InputError:
    return InputError(f"{path} cannot be computed by {backend}: {error} Leave out --backend for this model.")


def converted(module: nn.Module, facts: ModelFacts, told: str, path: str) -> nn.Module:
    """The network, computed by a backend.

    Parameters
    ----------
    module
        The network, which outputs logits, on the CPU.
    facts
        Its facts.
    told
        The backend with its version, see :func:`named`.
    path
        The model's file, for messages.

    Returns
    -------
    Module
        It takes and answers the same tensors, float32, on the CPU.

    Raises
    ------
    InputError
        This process has another version of the library, the library cannot compute the network, or its answers to a
        trial are not those of PyTorch.
    DependencyError
        A package is missing.
    """
    import torch

    from volengine.nets.formats.keras.scnm_write import sample_of
    from volengine.nets.formats.onnx.read import OnnxNet

    backend = installed_here(told)
    if isinstance(module, OnnxNet):
        if backend == "onnxruntime":
            return module  # which it is computed by anyway
        if module.axes not in ("bcyx", "bczyx"):
            raise InputError(
                f"{path} has the axes {module.axes!r}; {backend} is given patches as bcyx or bczyx only. Leave out "
                "--backend for this model: onnxruntime computes it."
            )
        content = module.logits()
        y, x = facts.patch[1:]
        shape: tuple[int, ...] = (1, 1, *facts.patch) if facts.volumetric else (1, facts.context, y, x)
    else:
        content = graph_of(module, facts, path, backend)
        shape = tuple(sample_of(facts).shape)
    net = backend_net(content, backend, path)
    trial = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        _compare(net(trial), module.eval()(trial), facts, path, backend)
    return net


def _compare(found: torch.Tensor, wanted: torch.Tensor, facts: ModelFacts, path: str, backend: str) -> None:
    """Refuse answers (logits) whose probabilities differ from those of PyTorch's by more than :data:`TOLERANCE`.

    Values without an activation are compared in units of their standard deviation.
    """
    import torch

    if found.shape != wanted.shape:
        raise InputError(f"{path} answers in {backend} with the shape {tuple(found.shape)}, not {tuple(wanted.shape)}.")
    if facts.activation == "none":
        difference = float((found - wanted).abs().max() / wanted.std().clamp(min=1e-30))
        allowed = VALUES_TOLERANCE
    else:
        allowed = TOLERANCE
        as_told = torch.sigmoid if facts.activation == "sigmoid" else (lambda logits: torch.softmax(logits, 1))
        difference = float((as_told(found) - as_told(wanted)).abs().max())
    if not difference <= allowed:
        raise InputError(
            f"{path} has other answers in {backend}: they differ from PyTorch's by {difference:.1g} on a trial "
            f"(allowed: {allowed:g}). Leave out --backend for this model."
        )


def graph_of(module: nn.Module, facts: ModelFacts, path: str, backend: str) -> bytes:
    """The bytes of an ONNX graph of the network, without its activation, for patches of any size."""
    from volengine.nets.architectures.trace import describe
    from volengine.nets.formats.keras.scnm_write import sample_of
    from volengine.nets.formats.onnx.write import graph_bytes
    from volengine.nets.lean import lean_module

    module = module.eval()
    try:
        if not facts.volumetric:
            module = lean_module(module, facts.context, fans=False)
        return graph_bytes(*describe(module, sample_of(facts)), replace(facts, activation="none"))
    except (InputError, RuntimeError, TypeError, ValueError) as error:  # or what a user's own network says to a trial
        raise _unknown(path, backend, error) from error


def backend_net(content: bytes, backend: str, path: str) -> nn.Module:
    """A PyTorch module that lets a backend compute an ONNX graph; it has one input and one output, channels first.

    Parameters
    ----------
    content
        The bytes of the graph.
    backend
        ``openvino`` or ``onnxruntime``.
    path
        The model's file, for messages.
    """
    import torch

    engine = _OpenVino(content, path) if backend == "openvino" else _OnnxRuntime(content, path)

    class BackendNet(torch.nn.Module):
        compiles = False  # torch.compile cannot speed it up
        plain_order = True  # and another memory order of its input neither

        def prepare(self, lanes: int) -> None:
            """Be ready for so many threads that ask for patches at the same time."""
            engine.prepare(lanes)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            given = x.detach().to(torch.float32).contiguous().numpy()
            return torch.from_numpy(np.concatenate([engine(patch[None]) for patch in given]))

    return BackendNet()


class _OnnxRuntime:
    """A session of onnxruntime, which computes each patch in the thread that asks."""

    def __init__(self, content: bytes, path: str):
        try:
            import onnxruntime
        except ImportError as error:
            raise require("onnxruntime", "onnxruntime", "--backend onnxruntime") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.use_deterministic_compute = True
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
        options.log_severity_level = 4  # errors are raised, and not also printed
        self._path = path
        with _refused(path, "onnxruntime"):
            self._session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        self._input = self._session.get_inputs()[0].name

    def prepare(self, lanes: int) -> None:
        """Nothing: any number of threads may ask."""

    def __call__(self, patch: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        with _refused(self._path, "onnxruntime"):
            (answer,) = self._session.run(None, {self._input: patch})
        found: np.ndarray[Any, Any] = answer
        return found


class _OpenVino:
    """Graphs of OpenVINO, one for each shape of patches, with a stream of one thread for each thread that asks."""

    def __init__(self, content: bytes, path: str):
        self._library, self._core = import_openvino(), _core()
        self._content, self._path = content, path
        self._lock = threading.Lock()
        self._lanes = 1
        self._graphs: dict[tuple[int, ...], Any] = {}
        self._local = threading.local()

    def prepare(self, lanes: int) -> None:
        """Be ready for so many threads; graphs for fewer of them are made anew, those for more are kept."""
        with self._lock:
            if lanes > self._lanes:
                self._lanes = lanes
                self._graphs.clear()

    def __call__(self, patch: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        graph = self._graph(patch.shape)
        with _refused(self._path, "openvino"):
            if getattr(self._local, "graph", None) is not graph:
                self._local.graph, self._local.request = graph, graph.create_infer_request()
            request = self._local.request
            request.infer({0: patch}, share_inputs=True)
            found: np.ndarray[Any, Any] = request.get_output_tensor(0).data.copy()
        return found

    def _graph(self, shape: tuple[int, ...]) -> Any:
        """The graph for patches of this shape; of more than :data:`KEPT_SHAPES` the one that was made first goes."""
        with self._lock:
            if shape not in self._graphs:
                while len(self._graphs) >= KEPT_SHAPES:
                    del self._graphs[next(iter(self._graphs))]
                self._graphs[shape] = self._made(shape)
            return self._graphs[shape]

    def _made(self, shape: tuple[int, ...]) -> Any:
        settings = {**OPENVINO_SETTINGS, "NUM_STREAMS": self._lanes, "INFERENCE_NUM_THREADS": self._lanes}
        with _refused(self._path, "openvino"):
            model = self._core.read_model(self._content, b"")
            model.reshape(list(shape))
            graph = self._core.compile_model(model, "CPU", settings)
            kind = graph.get_property("INFERENCE_PRECISION_HINT").to_string()
        if kind not in ("f32", "float32"):
            raise InputError(f"OpenVINO would compute {self._path} in {kind}, not in float32; leave out --backend.")
        return graph


def import_openvino() -> Any:
    """Import OpenVINO without its telemetry.

    Importing it writes an identifier into the user's home folder and sends an event over the network, unless the user
    has opted out. It does neither if its package ``openvino_telemetry`` cannot be imported.

    Raises
    ------
    DependencyError
        It is not installed; the message names the extra.
    """
    with _IMPORTING, _hidden("openvino_telemetry"):
        try:
            return importlib.import_module("openvino")
        except ImportError as error:
            raise require("openvino", "openvino", "--backend openvino") from error


_IMPORTING = threading.Lock()


def _core() -> Any:
    """OpenVINO's core, one for this process; its plug-in for CPUs is loaded, and the stack for signals is kept."""
    with _CREATING:
        if "core" not in _CORES:
            with kept_signal_stack():
                core = import_openvino().Core()
                core.get_versions("CPU")  # loads the plug-in
            _CORES["core"] = core
        return _CORES["core"]


_CREATING = threading.Lock()
_CORES: dict[str, Any] = {}


@contextlib.contextmanager
def _hidden(package: str) -> Iterator[None]:
    """Context in which a package that was not imported yet cannot be."""
    known = package in sys.modules
    if not known:
        sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if not known:
            del sys.modules[package]


@contextlib.contextmanager
def _refused(path: str, backend: str) -> Iterator[None]:
    """Context that turns the errors of a library, which have many kinds, into one for the user."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        said = re.sub(r"\s+", " ", lines[-1])[:300]
        raise _unknown(path, backend, f"{said}.") from error
