"""Networks that are ready for prediction.

A :class:`Predictor` is a network on its device, in inference mode, with its activation and its test-time augmentation.
:func:`load_predictor` makes one from a model file, once per process. :mod:`volengine.nets.tiles` applies it to the
patches of a block.

>>> import torch
>>> module = torch.nn.Conv3d(1, 1, 3, padding=1)
>>> predictor = Predictor(module, Traits(features=1, volumetric=True), Execution(tta=8, device="cpu"))
>>> with predictor.running():
...     probabilities = predictor(torch.zeros(2, 1, 8, 8, 8))
>>> probabilities.shape                                         # (batch, features, z, y, x)
torch.Size([2, 1, 8, 8, 8])
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from volengine.core.errors import ChangedError, InputError
from volengine.core.units import WORKER_NUMBER
from volengine.nets.device_memory import fitting, refusal, release
from volengine.nets.tta import Tta, View, mirrored_depth, views
from volengine.ops.blend import PROBABILITY_SCALE, VALUE_LIMIT, VALUE_SCALE

if TYPE_CHECKING:
    import torch

Activation = Literal["sigmoid", "softmax", "none"]
Precision = Literal["float32", "tf32", "bfloat16", "float16"]
MeanOf = Literal["probabilities", "logits"]


@dataclass(frozen=True)
class Traits:
    """Facts about a network that a predictor needs.

    Parameters
    ----------
    features
        Number of output channels.
    volumetric
        Whether the network is 3D: input (batch, 1, z, y, x), output (batch, features, z, y, x). Otherwise it is 2D or
        2.5D: input (batch, slices, y, x), output (batch, features, y, x) for the middle slice.
    activation
        The function that is applied to the network's output; ``none``: the output is not a probability, see
        :mod:`volengine.ops.blend`.
    slices
        Number of input slices of a 2.5D network.
    """

    features: int = 1
    volumetric: bool = True
    activation: Activation = "sigmoid"
    slices: int = 1


@dataclass(frozen=True)
class Execution:
    """How a network is executed.

    Parameters
    ----------
    batch
        Patches per call; 0: see :func:`auto_batch`.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    precision
        ``float32`` (TensorFloat-32 off), ``tf32``, or autocast to ``bfloat16`` or ``float16``.
    channels_last
        Use the channels-last memory order for the network and its input. Measured on one CPU thread: 2D networks then
        take 0.6 to 0.7 of the time, 3D ones 0.3 to 0.7; the tensor cores of a GPU need it, too. On a CPU it is not used
        for networks with instance normalisation, which PyTorch computes in the other order: MemBrain's network takes
        0.9 of the time without it.
    compile
        Use ``torch.compile``, which is worth it for many patches of one shape.
    tta
        Test-time augmentation, see :mod:`volengine.nets.tta`.
    mean_of
        What is averaged over views, and over patches in the blend: ``probabilities``, or the network's ``logits``
        before its sigmoid (as in membrain-seg). Logits are limited to ±1023.
    spread
        Also output the means of the probabilities and of their squares, see :attr:`Predictor.channels`.
    backend
        The library that computes the network on a CPU, with its version, as :func:`volengine.nets.backends.named` says
        it; ``""``: PyTorch. It computes in float32, and knows neither ``channels_last`` nor ``compile``.
    """

    batch: int = 0
    device: str = "auto"
    precision: Precision = "float32"
    channels_last: bool = True
    compile: bool = False
    tta: Tta = 1
    mean_of: MeanOf = "probabilities"
    spread: bool = False
    backend: str = ""

    def __post_init__(self) -> None:
        if self.batch < 0:
            raise InputError(f"A batch holds 1 patch or more (0: chosen by the device), not {self.batch}.")
        if self.backend and self.precision != "float32":
            raise InputError(f"{self.backend} computes in float32 here, not in {self.precision}.")


def auto_batch(shape: Sequence[int], volumetric: bool, *, on_cpu: bool = True) -> int:
    """Number of patches of this shape (z, y, x) per call, if the user gives none.

    On a CPU two small patches, because PyTorch is slow for a single one (32³: 3.5 times slower per voxel, as measured);
    one large patch, because more are not faster. On a GPU as many as have about two million voxels.
    """
    voxels = int(np.prod(shape))
    if on_cpu:
        return 2 if voxels <= (2**17 if volumetric else 2**13) else 1
    return max(1, min(32, 2**21 // voxels))


class Predictor:
    """A network that is ready for prediction.

    Parameters
    ----------
    module
        The network, which outputs logits (see ``traits.activation``). It is changed: moved to the device and set to
        evaluation mode.
    traits, execution
        Facts about the network, and how it is executed.

    Raises
    ------
    InputError
        The device, the precision or the averages that ``execution`` asks for are not possible.
    """

    def __init__(self, module: torch.nn.Module, traits: Traits, execution: Execution | None = None):
        import torch

        from volengine.nets.lean import lean_module, turns_back

        self.traits = traits
        self.execution = execution or Execution()
        self.device = resolve_device(self.execution.device)
        self.views = views(self.execution.tta, mirrored_depth(traits.volumetric, traits.slices))
        if self.execution.precision == "float16" and self.device.type == "cpu":
            raise InputError("Precision float16 needs a GPU; on a CPU use float32 or bfloat16.")
        if self.execution.spread and traits.activation == "none":
            raise InputError("This network predicts values, not probabilities, so they have no spread.")
        if self.execution.mean_of == "logits" and traits.activation == "softmax":
            raise InputError("The mean of logits is for networks with a sigmoid; this one has a softmax.")
        if self.device.type == "cpu" and not traits.volumetric and not self.execution.compile:
            module = lean_module(module, traits.slices)
        with fitting(self.device, "the weights of the network", "Use another device, or --device cpu."):
            module = module.eval().to(self.device)
        self._fits: dict[tuple[int, ...], int] = {}
        if self.execution.backend and self.device.type != "cpu":
            raise InputError(f"{self.execution.backend} computes networks on the CPU, not on {self.device}.")
        plain = getattr(module, "plain_order", False) or (self.device.type == "cpu" and turns_back(module))
        self._last = self.execution.channels_last and not plain
        if self._last:
            module = module.to(memory_format=self._memory_format)  # type: ignore[call-overload]
        compiled = self.execution.compile and getattr(module, "compiles", True)
        self._call: Any = torch.compile(module) if compiled else module

    def prepare(self, lanes: int) -> None:
        """Be ready for so many threads that predict at the same time; a backend makes its graphs for their number."""
        if self.execution.backend and hasattr(self._call, "prepare"):
            self._call.prepare(lanes)

    @property
    def bounded(self) -> bool:
        """Whether the outputs are probabilities (0 to 1)."""
        return self.traits.activation != "none" and self.execution.mean_of == "probabilities"

    @property
    def channels(self) -> int:
        """Number of output channels.

        The features come first. With ``spread`` follow their mean probabilities (if the features are logits) and the
        means of their squared probabilities. All channels have the same :attr:`scale`, so probabilities that follow
        logits are multiplied by ``PROBABILITY_SCALE / VALUE_SCALE``.
        """
        return self.traits.features * ((2 if self.bounded else 3) if self.execution.spread else 1)

    @property
    def scale(self) -> float:
        """Fixed-point scale of the sums of this network's outputs."""
        return PROBABILITY_SCALE if self.bounded else VALUE_SCALE

    @property
    def _memory_format(self) -> torch.memory_format:
        import torch

        return torch.channels_last_3d if self.traits.volumetric else torch.channels_last

    def batch(self, shape: Sequence[int]) -> int:
        """Number of patches of this shape (z, y, x) per call."""
        alone = 1 if self.execution.backend else 0  # a backend computes each patch by itself
        wanted = self.execution.batch or alone
        wanted = wanted or auto_batch(shape, self.traits.volumetric, on_cpu=self.device.type == "cpu")
        return self._fits.get(tuple(shape), wanted)

    def halve(self, shape: Sequence[int], batch: int) -> int:
        """Take half of a batch for patches of this shape from now on; the memory of the device did not suffice for it.

        Convolution libraries choose their algorithm by the batch size, so predictions may change in their last bits.

        Parameters
        ----------
        shape
            Shape of the patches, z, y, x.
        batch
            The number of patches that did not fit.

        Returns
        -------
        int
            The new number of patches.

        Raises
        ------
        MemoryRefusedError
            It was a single patch.
        """
        if batch <= 1:
            lower = "" if self.execution.precision in ("bfloat16", "float16") else " or --precision bfloat16"
            raise refusal(
                self.device,
                f"one patch of {tuple(shape)} voxels (z, y, x)",
                f"Use smaller patches (--patch, if the network is not bound to one){lower}, fewer processes on this "
                "device, or --device cpu.",
            )
        self._fits[tuple(shape)] = min(self._fits.get(tuple(shape), batch), batch // 2)
        release(self.device)
        return self._fits[tuple(shape)]

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Context with inference mode, the device, the precision of ``execution``, and deterministic algorithms."""
        import torch

        from volengine.nets.threads import reproducible

        tf32 = self.execution.precision == "tf32"
        lower = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(self.execution.precision)
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if self.device.type == "cuda":
                stack.enter_context(torch.cuda.device(self.device))  # streams and events are those of this GPU
                stack.enter_context(reproducible(tf32))
            if lower is not None:
                stack.enter_context(torch.autocast(self.device.type, dtype=lower))
            yield

    def __call__(
        self, batch: torch.Tensor, from_views: Sequence[View] | None = None, odd: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Predict a batch: apply the network and its activation to each view, and average.

        Parameters
        ----------
        batch
            (batch, 1, z, y, x) or (batch, slices, y, x), float32, on the device.
        from_views
            The views; default: all views of the test-time augmentation.
        odd
            (2, batch) int64, on the device: the number of values of the network's answers to each patch that are NaN or
            infinite is added to the first row. An activation would hide infinite ones, and they would become
            background. Without an activation, the number of those beyond :data:`~volengine.ops.blend.VALUE_LIMIT`,
            which would be cut off, is added to the second row.

        Returns
        -------
        Tensor, (batch, channels, z, y, x)
            Float32, on the device; for 2D and 2.5D networks with one slice along z.
        """
        total: torch.Tensor | None = None
        looks = self.views if from_views is None else from_views
        for view in looks:
            seen = view.apply(batch)
            if self._last:
                seen = seen.contiguous(memory_format=self._memory_format)
            logits = self._call(seen).float()
            if odd is not None:
                odd[0] += logits.isfinite().logical_not_().flatten(1).sum(1)
                if self.traits.activation == "none":
                    odd[1] += (logits.isfinite() & (logits.abs() > VALUE_LIMIT)).flatten(1).sum(1)
            answer = view.undo(self._answer(logits), self.traits.volumetric)
            total = answer if total is None else total.add_(answer)
        if total is None:
            raise InputError("A prediction needs at least one view; none is given.")
        if len(looks) > 1:
            total = total.div_(len(looks))
        return total if self.traits.volumetric else total.unsqueeze(2)

    def _answer(self, logits: torch.Tensor) -> torch.Tensor:
        """All :attr:`channels` for one view."""
        import torch

        if not self.execution.spread:
            return logits.clamp(-VALUE_LIMIT, VALUE_LIMIT) if not self.bounded else self._activate(logits)
        values = None if self.bounded else logits.clamp(-VALUE_LIMIT, VALUE_LIMIT)
        chance = self._activate(logits)
        square = chance * chance
        if values is None:
            return torch.cat([chance, square], 1)
        factor = PROBABILITY_SCALE / VALUE_SCALE
        return torch.cat([values, chance * factor, square * factor], 1)

    def _activate(self, logits: torch.Tensor) -> torch.Tensor:
        """Apply the activation.

        It is written out because the last bit of PyTorch's sigmoid and softmax depends on a number's place in the
        tensor (vectorised, or among the few numbers at the end), and so on the place of a patch in its batch.
        """
        if self.traits.activation == "sigmoid":
            return logits.neg().exp_().add_(1).reciprocal_()
        if self.traits.activation == "softmax":
            powers = (logits - logits.amax(1, keepdim=True)).exp_()
            total = powers[:, 0].clone()
            for channel in range(1, powers.shape[1]):
                total += powers[:, channel]
            return powers.div_(total.unsqueeze(1))
        return logits.clamp(-VALUE_LIMIT, VALUE_LIMIT)


def resolve_device(device: str) -> torch.device:
    """The torch device for ``auto`` (CUDA, else MPS, else CPU) or for a device's name.

    If a machine has several GPUs, ``auto`` and ``cuda`` choose one by the number of the worker process.

    Raises
    ------
    InputError
        The machine, or this installation of torch, does not have the device.
    """
    import torch

    if device in ("auto", "cuda") and torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get(WORKER_NUMBER, "0")) % torch.cuda.device_count())
    if device == "auto":
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError) as error:
        if "Expected one of" in str(error):  # PyTorch lists twenty, most of which nobody has
            raise InputError(f"There is no device {device!r}; write auto, cpu, cuda, cuda:1 (...) or mps.") from error
        raise InputError(f"The device {device!r} cannot be used here: {str(error).splitlines()[0]}") from error
    return found


USUAL = 8
"""Predictors that a process keeps at least."""
_kept: OrderedDict[tuple[str, str, Execution, str | None], Predictor] = OrderedDict()
_keeping = threading.RLock()


def load_predictor(
    path: str, digest: str, execution: Execution, network: str | None = None, together: int = 1
) -> Predictor:
    """Load a model file as a predictor; it is kept, so that a process loads it once.

    Of more than :data:`USUAL` predictors, or of more than ``together`` if that is larger, those that were not used for
    the longest time are given up. Threads wait for each other, so that none is loaded twice.

    Parameters
    ----------
    path
        The model file (:mod:`volengine.nets.checkpoint`).
    digest
        Its :func:`~volengine.nets.checkpoint.identity` when the run was planned.
    execution
        How the network is executed.
    network
        The user's own architecture that may be run, see :func:`volengine.nets.registry.build`.
    together
        Number of predictors that are used in turn, as those of an ensemble; the memory of all their weights must be
        planned.

    Raises
    ------
    ChangedError
        The file has changed since the run was planned.
    InputError
        The device cannot be used.
    """
    key = path, digest, execution, network
    with _keeping:
        found = _kept.pop(key, None)
        while len(_kept) >= max(USUAL, together):  # before another one is loaded: its weights take their place
            _kept.popitem(last=False)
        _kept[key] = found or _loaded(path, digest, execution, network)
        return _kept[key]


def _loaded(path: str, digest: str, execution: Execution, network: str | None) -> Predictor:
    from volengine.nets.checkpoint import identity, load_model

    def check() -> None:
        found = identity(path)
        if found != digest:
            raise ChangedError(
                f"{path} has changed since this run was planned (digest {digest}, now {found}). Run the same command "
                "again: it makes everything anew that was made from it."
            )

    check()
    module, facts = load_model(path, network=network)
    check()  # it may have been replaced between the two readings
    if execution.backend:
        from volengine.nets.backends import converted

        module = converted(module, facts, execution.backend, path)
    traits = Traits(len(facts.features), facts.volumetric, facts.activation, facts.context)
    return Predictor(module, traits, execution)
