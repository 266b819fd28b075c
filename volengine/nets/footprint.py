"""How much memory a network's forward needs, found without running it.

The network is walked with *meta* tensors (shapes without numbers); every tensor that comes into being is counted
until it is freed, as in inference mode. Convolutions may need a work space besides, which is not seen here:
:func:`forward_bytes` adds a share for it.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

WORKSPACE = {4: 1.5, 5: 2.5}
"""Peak over activations by the rank of the input, measured with oneDNN: 2D convolutions 1.3, 3D ones 2.2 (copies of
input and output in another order)."""


def forward_bytes(module: torch.nn.Module, input_shape: Sequence[int]) -> int:
    """Peak bytes of all activations (float32) for an input of this shape (batch and channels included)."""
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

    hollow = copy.deepcopy(module).to("meta").eval()
    given = torch.empty(tuple(input_shape), device="meta")
    with torch.inference_mode(), Counter() as counter:
        hollow(given)
    return int((counter.peak + given.nbytes) * WORKSPACE[given.ndim])
