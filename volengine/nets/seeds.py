"""Random numbers of PyTorch that depend on a seed alone, also if several threads of the process draw some.

PyTorch has one generator for all of a process, which layers such as dropout and the first weights of a network use.

>>> import torch
>>> before = torch.get_rng_state()
>>> with seeded(7):
...     first = torch.rand(2)
>>> with seeded(7):
...     print(torch.equal(first, torch.rand(2)))
True
>>> torch.equal(before, torch.get_rng_state())
True
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch

_DRAWING = threading.RLock()


@contextlib.contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Context in which the generators (the CPU's, and that of a CUDA device) begin at a seed, and are then put back.

    Only one thread at a time is in such a context.
    """
    devices = [device] if device is not None and device.type == "cuda" else []
    with _DRAWING, torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
