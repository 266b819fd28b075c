"""PyTorch's number of threads, changed for a while.

``torch.set_num_threads`` has two effects: it sets the number of the calling thread, and that with which all threads
begin that have not used PyTorch yet. So two threads that each remember, change and restore it may restore what the
other one has set. Here the first one to come in remembers what the process had, and everybody goes back to that.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_guard = threading.Lock()
_inside = 0
_outside = 1
_depth = threading.local()


@contextmanager
def torch_threads(count: int) -> Iterator[int]:
    """Let PyTorch use ``count`` threads in this thread, in the block.

    Yields
    ------
    int
        The number that it had before.
    """
    import torch

    global _inside, _outside
    depth: int = getattr(_depth, "value", 0)
    with _guard:
        here = torch.get_num_threads()
        if _inside == 0:
            _outside = here
        before = here if depth else _outside
        _inside += 1
        torch.set_num_threads(count)
    _depth.value = depth + 1
    try:
        yield before
    finally:
        _depth.value = depth
        with _guard:
            _inside -= 1
            torch.set_num_threads(before)


def settle_threads(count: int) -> None:
    """Let PyTorch use ``count`` threads in this thread from now on: for those that begin in :func:`torch_threads`.

    Without asking first, PyTorch would set the thread to the number of the process when it is next used.
    """
    import torch

    torch.get_num_threads()
    torch.set_num_threads(count)
