"""The stack on which the handlers of signals run, kept while a library is loaded.

OpenVINO replaces this stack of the thread that loads its plug-in for CPUs with processors of large registers (AMX) by
one that has room for the registers alone, and later frees it. A handler that runs there, of Ctrl-C for example, ends
the process by a segmentation fault (seen with OpenVINO 2026.4.1 and Python's ``faulthandler``, system call by system
call). See ``sigaltstack(2)``.

>>> with kept_signal_stack():
...     pass
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator


class _Stack(ctypes.Structure):
    """``stack_t`` of Linux."""

    _fields_ = (("place", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextlib.contextmanager
def kept_signal_stack() -> Iterator[None]:
    """Context after which the thread's stack for handlers of signals is the one that it was before; only on Linux."""
    if not sys.platform.startswith("linux"):
        yield
        return
    system, former = ctypes.CDLL(None), _Stack()
    known = system.sigaltstack(None, ctypes.byref(former)) == 0
    try:
        yield
    finally:
        if known:  # a stack that is too small for the registers is refused by the system, and the new one stays
            system.sigaltstack(ctypes.byref(former), None)
