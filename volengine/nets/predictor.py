"""Networks, ready to run.

A :class:`Predictor` is a network on its device, in inference mode, with its activation and its test-time
augmentation; :func:`load_predictor` makes one from a model file, once per process. ``volengine.nets.tiles`` runs it
over the patches of a block.

>>> predictor = Predictor(module, Traits(features=1, volumetric=True), Execution(tta=8))
>>> with predictor.running():
...     probabilities = predictor(batch)                        # (batch, features, z, y, x)
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from volengine.core.errors import InputError
from volengine.core.units import WORKER_NUMBER
from volengine.nets.tta import Tta, View, views
from volengine.ops.blend import PROBABILITY_SCALE, VALUE_LIMIT, VALUE_SCALE

if TYPE_CHECKING:
    import torch

Activation = Literal["sigmoid", "softmax", "none"]
Precision = Literal["float32", "tf32", "bfloat16", "float16"]
MeanOf = Literal["probabilities", "logits"]


@dataclass(frozen=True)
class Traits:
    """What the predictor must know of a network.

    Parameters
    ----------
    features
        Number of output channels.
    volumetric
        3D: input (batch, 1, z, y, x), answer (batch, features, z, y, x). Otherwise 2D or 2.5D: input
        (batch, slices, y, x), answer (batch, features, y, x) for the slice in the middle.
    activation
        Applied to the network's answer. ``none``: the answer is no probability; see :mod:`volengine.ops.blend`.
    slices
        2.5D: slices as channels.
    """

    features: int = 1
    volumetric: bool = True
    activation: Activation = "sigmoid"
    slices: int = 1


@dataclass(frozen=True)
class Execution:
    """How a network is run.

    Parameters
    ----------
    batch
        Patches per call; 0: see :func:`auto_batch`.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``.
    precision
        ``float32`` (TensorFloat-32 off), ``tf32``, or autocast to ``bfloat16`` or ``float16``.
    channels_last
        Memory order for the network and its input. Measured on a CPU, one thread: 2D networks take 0.6 to 0.7 of the
        time with it, 3D ones 0.3 to 0.7; the tensor cores of a GPU want it too. Left out on a CPU for networks with
        instance normalisation, which PyTorch computes in the other order: MemBrain's then takes 0.9 of the time.
    compile
        ``torch.compile`` the network (pays for many patches of one shape).
    tta
        See :mod:`volengine.nets.tta`.
    mean_of
        What is averaged over views, and by the blend over patches: ``probabilities``, or the network's ``logits``
        before its sigmoid (as membrain-seg does). Logits are cut off at ±1023.
    spread
        Answer the means of the probabilities and of their squares besides: see :attr:`Predictor.channels`.
    """

    batch: int = 0
    device: str = "auto"
    precision: Precision = "float32"
    channels_last: bool = True
    compile: bool = False
    tta: Tta = 1
    mean_of: MeanOf = "probabilities"
    spread: bool = False

    def __post_init__(self) -> None:
        if self.batch < 0:
            raise InputError(f"A batch holds 1 patch or more (0: chosen by the device), not {self.batch}.")


def auto_batch(shape: Sequence[int], volumetric: bool, *, on_cpu: bool = True) -> int:
    """Patches of this shape per call, where the user does not say.

    On a CPU two small patches (PyTorch takes a slow path for a single one: 32³ measured 3.5 times slower per voxel),
    else one: more are no faster. On a GPU about two million voxels.
    """
    voxels = int(np.prod(shape))
    if on_cpu:
        return 2 if voxels <= (2**17 if volumetric else 2**13) else 1
    return max(1, min(32, 2**21 // voxels))


class Predictor:
    """A network, ready to run.

    Parameters
    ----------
    module
        Gives logits (see ``traits.activation``); changed: moved to the device and to evaluation mode.
    traits, execution
        What it is and how to run it.
    """

    def __init__(self, module: torch.nn.Module, traits: Traits, execution: Execution | None = None):
        import torch

        from volengine.nets.lean import lean_module

        self.traits = traits
        self.execution = execution or Execution()
        self.device = resolve_device(self.execution.device)
        self.views = views(self.execution.tta, _depth(traits))
        if self.execution.precision == "float16" and self.device.type == "cpu":
            raise InputError("Precision float16 needs a GPU; on a CPU use float32 or bfloat16.")
        if self.execution.spread and traits.activation == "none":
            raise InputError("This network predicts values, not probabilities, so they have no spread.")
        if self.execution.mean_of == "logits" and traits.activation == "softmax":
            raise InputError("The mean of logits is for networks with a sigmoid; this one has a softmax.")
        if self.device.type == "cpu" and not traits.volumetric and not self.execution.compile:
            module = lean_module(module, traits.slices)
        module = module.eval().to(self.device)
        self._last = self.execution.channels_last and not (self.device.type == "cpu" and _turns_back(module))
        if self._last:
            module = module.to(memory_format=self._memory_format)  # type: ignore[call-overload]
        compiled = self.execution.compile and getattr(module, "compiles", True)
        self._call: Any = torch.compile(module) if compiled else module

    @property
    def bounded(self) -> bool:
        """Whether the answers are probabilities."""
        return self.traits.activation != "none" and self.execution.mean_of == "probabilities"

    @property
    def channels(self) -> int:
        """Channels of the answers: the features; with ``spread`` for each its mean probability (where the features
        are logits), and for each the mean of the squared probability. All channels have :attr:`scale`, so the
        probabilities beside logits come times ``PROBABILITY_SCALE / VALUE_SCALE``."""
        return self.traits.features * ((2 if self.bounded else 3) if self.execution.spread else 1)

    @property
    def scale(self) -> float:
        """Fixed-point scale of this network's sums."""
        return PROBABILITY_SCALE if self.bounded else VALUE_SCALE

    @property
    def _memory_format(self) -> torch.memory_format:
        import torch

        return torch.channels_last_3d if self.traits.volumetric else torch.channels_last

    def batch(self, shape: Sequence[int]) -> int:
        """Patches of this shape per call."""
        return self.execution.batch or auto_batch(shape, self.traits.volumetric, on_cpu=self.device.type == "cpu")

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Inference mode, the precision asked for, and the same algorithms every time."""
        import torch

        tf32 = self.execution.precision == "tf32"
        lower = {"bfloat16": torch.bfloat16, "float16": torch.float16}.get(self.execution.precision)
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.inference_mode())
            if self.device.type == "cuda":
                flags = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=tf32)
                stack.enter_context(flags)
            if lower is not None:
                stack.enter_context(torch.autocast(self.device.type, dtype=lower))
            yield

    def __call__(self, batch: torch.Tensor, from_views: Sequence[View] | None = None) -> torch.Tensor:
        """Answers of the network, activation applied, mean over the views; float32 on the device.

        Parameters
        ----------
        batch
            (batch, 1, z, y, x) or (batch, slices, y, x), float32, on the device.
        from_views
            The views; default: all of the augmentation.

        Returns
        -------
        Tensor, (batch, channels, z, y, x)
            With one slice along z for 2D and 2.5D networks.
        """
        total: torch.Tensor | None = None
        looks = self.views if from_views is None else from_views
        for view in looks:
            seen = view.apply(batch)
            if self._last:
                seen = seen.contiguous(memory_format=self._memory_format)
            answer = view.undo(self._answer(self._call(seen).float()), self.traits.volumetric)
            total = answer if total is None else total.add_(answer)
        if total is None:
            raise InputError("There is no view to look at.")
        if len(looks) > 1:
            total = total.div_(len(looks))
        return total if self.traits.volumetric else total.unsqueeze(2)

    def _answer(self, logits: torch.Tensor) -> torch.Tensor:
        """All :attr:`channels` of one view."""
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
        """Written out, because PyTorch's own sigmoid and softmax differ in the last bit between the vectors of a
        tensor and the few numbers left at its end, and so by a patch's place in its batch."""
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
    """A torch device from ``auto`` (CUDA, else MPS, else CPU) or its name.

    Where a machine has several GPUs, ``auto`` and ``cuda`` take the one of the worker process's number.

    Raises
    ------
    InputError
        This machine or this torch has no such device.
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
        raise InputError(f"The device {device!r} cannot be used here: {str(error).splitlines()[0]}") from error
    return found


def _turns_back(module: torch.nn.Module) -> bool:
    """Whether a network normalises by instance, for which its activations are copied into the plain memory order."""
    from torch.nn.modules.instancenorm import _InstanceNorm

    return any(isinstance(part, _InstanceNorm) for part in module.modules())


def _depth(traits: Traits) -> int:
    """Slices the network sees (for augmentation along z): more than one for 3D networks."""
    return 2 if traits.volumetric else traits.slices


@lru_cache(maxsize=8)
def load_predictor(path: str, digest: str, execution: Execution, network: str | None = None) -> Predictor:
    """A model file as a predictor; loaded once per process.

    Parameters
    ----------
    path
        A native model file (:mod:`volengine.nets.checkpoint`).
    digest
        Its :func:`~volengine.nets.checkpoint.identity` when the run was planned.
    network
        Allows an own architecture, see :func:`volengine.nets.registry.build`.

    Raises
    ------
    InputError
        The file has changed since, or the device cannot be used.
    """
    from volengine.nets.checkpoint import identity, load_model

    found = identity(path)
    if found != digest:
        raise InputError(f"{path} has changed since the run was planned ({digest}, now {found}); plan again.")
    module, facts = load_model(path, network=network)
    traits = Traits(len(facts.features), facts.volumetric, facts.activation, facts.context)
    return Predictor(module, traits, execution)
