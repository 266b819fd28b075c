"""Settings of PyTorch that belong to the whole process or to a thread, changed for a while and put back.

The number of threads of PyTorch is kept twice: each thread has its own, and the process has one that a thread takes
over when it first computes. ``torch.set_num_threads`` changes both. If two predictions overlap and each of them sets 1
and then puts back what it found, the second one finds 1, and leaves it. So here only the thread's own is changed.

>>> import torch
>>> before = torch.get_num_threads()
>>> with own_threads(1) as found:
...     print(torch.get_num_threads(), found == before)
1 True
>>> torch.get_num_threads() == before
True
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import torch

T = TypeVar("T")

_CHANGING = threading.Lock()


def set_own_threads(count: int) -> None:
    """Set the number of threads with which PyTorch computes what the calling thread asks for, and nobody else's."""
    if _own_number() == count:
        return
    with _CHANGING:
        whole = _asked_by_new_thread()
        torch.set_num_threads(count)
        if whole != count:
            _in_new_thread(whole)


@contextlib.contextmanager
def own_threads(count: int) -> Iterator[int]:
    """Context in which PyTorch computes with ``count`` threads for the calling thread; yields the number before."""
    before = _own_number()
    set_own_threads(count)
    try:
        yield before
    finally:
        set_own_threads(before)


def _own_number() -> int:
    """The calling thread's number; one that has not computed yet takes over the process's here.

    Not while another thread changes its own: the process's number is the other's for that moment.
    """
    with _CHANGING:
        return torch.get_num_threads()


def _asked_by_new_thread() -> int:
    """The number that a thread takes over which has not computed yet."""
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


def _in_new_thread(count: int) -> None:
    thread = threading.Thread(target=torch.set_num_threads, args=(count,))
    thread.start()
    thread.join()


def apart(function: Callable[[threading.Event], T]) -> T:
    """Call a function in a thread of its own, in which numbers below 1e-38 become zero; return its result.

    Gradients become that small if a network is sure of the background, and a CPU then takes four times as long for a
    step. PyTorch computes in helper threads, which it starts once for each thread that computes. Those it has already
    started do not flush. So in the caller's thread the result would depend, in the last bits, on what the process
    computed before; a new thread gets new helpers. It has the caller's number of threads, and the caller's own
    arithmetic is not changed.

    Parameters
    ----------
    function
        The function. Its argument is set if the caller is interrupted (Ctrl-C): then it must end soon.
    """
    stopped, done, threads = threading.Event(), threading.Event(), _own_number()
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            torch.set_flush_denormal(True)
            set_own_threads(threads)
            results.append(function(stopped))
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=work, name="volengine-apart", daemon=True)
    try:
        thread.start()
        done.wait()  # a join that is interrupted takes the thread for finished (Python 3.11)
    except BaseException:
        stopped.set()
        if thread.ident is None:  # interrupted while it began, or before that
            done.wait(1)
        if thread.ident is not None:
            done.wait()
        raise
    if errors:
        raise errors[0]
    return results[0]


@contextlib.contextmanager
def _products(tf32: bool) -> Iterator[None]:
    """Context in which matrix products and convolutions of a GPU take TensorFloat-32, or do not.

    Matrix products have a setting of their own, and since PyTorch 2.9 a setting for everything is followed by what is
    not set itself. So a program that asks for fast products elsewhere would change predictions.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    if hasattr(torch.backends.cudnn, "conv"):
        torch.backends.cudnn.conv.fp32_precision = "tf32" if tf32 else "ieee"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class _Shared:
    """Settings of cuDNN that several computations want at once: the first sets them, the last puts them back."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._users = 0
        self._tf32 = False
        self._flags = contextlib.ExitStack()

    @contextlib.contextmanager
    def __call__(self, tf32: bool) -> Iterator[None]:
        with self._changed:
            while self._users and self._tf32 != tf32:  # those with the other setting end first
                self._changed.wait()
            if not self._users:
                self._tf32 = tf32
                flags = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=tf32)
                self._flags.enter_context(flags)
                self._flags.enter_context(_products(tf32))
            self._users += 1
        try:
            yield
        finally:
            with self._changed:
                self._users -= 1
                if not self._users:
                    self._flags.close()
                    self._changed.notify_all()


reproducible = _Shared()
"""Context ``reproducible(tf32)``: deterministic algorithms of cuDNN, with or without TF32 in convolutions and matrix
products; it may overlap."""
