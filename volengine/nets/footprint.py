"""The memory that a forward pass or a training step of a network needs, found without running it.

The network is called with *meta* tensors (shapes without numbers); every tensor is counted from its creation until it
is freed. The work space of convolutions does not show up this way; :func:`forward_bytes` and :func:`step_bytes` add a
share for it.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

WORKSPACE = {4: 1.5, 5: 2.5}
"""Ratio of peak memory to activations, by the rank of the input. Measured with oneDNN: 1.3 for 2D convolutions, 2.2 for
3D ones, which copy input and output into another memory order."""
STEP_WORKSPACE = {4: 1.6, 5: 1.4}
NORMALISED_WORKSPACE = 2.9
"""The same for a training step, and for a 3D network that normalises over its patch. Measured by the peak of the
process: 1.4 to 1.6 in 2D (``unet2d``, ``unet``), 1.1 to 1.3 for ``unet3d``, 2.7 for ``residual3d``."""
LOSS_ARRAYS = 6
"""Arrays of the labels' size, float32, that loss and gradient need at a time."""


def forward_bytes(module: torch.nn.Module, input_shape: Sequence[int]) -> int:
    """Peak bytes of all activations (float32) of a forward pass, for an input of this shape with batch and channels."""
    import torch

    hollow = copy.deepcopy(module).to("meta").eval()
    given = torch.empty(tuple(input_shape), device="meta")
    with torch.inference_mode(), _counter() as counter:
        hollow(given)
    return int((counter.peak + given.nbytes) * WORKSPACE[given.ndim])


def step_bytes(module: torch.nn.Module, input_shape: Sequence[int], labels: int = 1) -> int:
    """Peak bytes of a training step (float32) with an optimiser that keeps two numbers for each weight, as Adam does.

    Counted are the activations of the forward pass that the backward pass needs, the gradients, weights and optimiser,
    the samples of this step and of the next one, and some arrays of the size of the labels for the loss.

    Parameters
    ----------
    module
        The network; it is not changed.
    input_shape
        Shape of the input with batch and channels.
    labels
        Number of features.

    Examples
    --------
    >>> from volengine.nets.registry import build
    >>> net = build("unet3d", {"width": 2, "levels": 2})
    >>> 1.8 < step_bytes(net, (4, 1, 16, 16, 16)) / step_bytes(net, (2, 1, 16, 16, 16)) < 2.2
    True
    """
    import torch

    hollow = copy.deepcopy(module).to("meta").train()
    given = torch.empty(tuple(input_shape), device="meta")
    with torch.enable_grad(), _counter() as counter:
        answers = hollow(given)
        several = [answers] if isinstance(answers, torch.Tensor) else list(answers)
        torch.stack([answer.sum() for answer in several]).sum().backward()  # type: ignore[no-untyped-call]
    weights = sum(p.nbytes for p in hollow.parameters())
    voxels = given[:, 0].numel()
    samples = 2 * (given.nbytes + labels * voxels)
    kinds = {type(part).__name__ for part in hollow.modules()}
    whole = given.ndim == 5 and not kinds.isdisjoint(("InstanceNorm3d", "GroupNorm"))
    work = counter.peak * (NORMALISED_WORKSPACE if whole else STEP_WORKSPACE[given.ndim])
    return int(work + 3 * weights + samples + LOSS_ARRAYS * 4 * labels * voxels)


def _counter() -> Any:
    """A mode that counts the bytes of the tensors that are alive, from their creation until they are freed."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
        live = 0
        peak = 0

        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.seen: set[int] = set()

        def _free(self, key: int, size: int) -> None:
            self.seen.discard(key)
            self.live -= size

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            for tensor in result if isinstance(result, (tuple, list)) else (result,):
                if isinstance(tensor, torch.Tensor):
                    storage = tensor.untyped_storage()
                    key, size = storage._cdata, storage.nbytes()
                    if key not in self.seen:
                        self.seen.add(key)
                        self.live += size
                        weakref.finalize(storage, self._free, key, size)
            self.peak = max(self.peak, self.live)
            return result

    return Counter()
