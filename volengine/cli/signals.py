"""Ctrl-C and SIGTERM at any moment: they end the command in order, and are never lost.

Python raises ``KeyboardInterrupt`` wherever the program is. In the middle of an import that does harm: modules that try
an import and go on without it, and compiled modules, turn it into another error or into nothing. scipy has such places,
and a command that was stopped there went on to its end. In a destructor or a callback of the garbage collector it is
printed and forgotten. So a signal waits until imports of the main thread are done, and one that was forgotten comes
again.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

SOON_S = 0.02
"""Time after which a signal comes again."""
LONGEST_S = 20.0
"""An import that takes longer is interrupted nevertheless: its file system may not answer."""

_waiting: dict[int, float] = {}
"""Signals that wait for the end of an import, and when they came."""


def take_signals() -> None:
    """Let Ctrl-C and SIGTERM raise ``KeyboardInterrupt`` where nothing swallows it.

    SIGTERM of a batch system has the same effect as Ctrl-C; ``KeyboardInterrupt("terminated")`` says that it was that.
    Ctrl-C stays ignored where it was, as in jobs in the background of a shell.
    """
    signal.signal(signal.SIGTERM, _stop)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _stop)
    if not isinstance(sys.unraisablehook, _Forgotten):
        sys.unraisablehook = _Forgotten(sys.unraisablehook)


def _stop(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if _importing(frame) and now - _waiting.setdefault(number, now) < LONGEST_S:
        _again(number)
        return
    _waiting.pop(number, None)
    raise KeyboardInterrupt(*["terminated"] * (number == signal.SIGTERM))


def _importing(frame: FrameType | None) -> bool:
    """Whether a frame, or one that called it, is that of an import."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _again(number: int) -> None:
    """Send a signal to the main thread again, soon."""
    main = threading.main_thread()

    def send() -> None:
        if main.is_alive() and main.ident is not None:
            signal.pthread_kill(main.ident, number)

    timer = threading.Timer(SOON_S, send)
    timer.daemon = True
    timer.start()


class _Forgotten:
    """Called by Python for an error that nobody can catch; others than a signal's are for the hook that was there."""

    def __init__(self, hook: Callable[[Any], Any]):
        self._hook = hook

    def __call__(self, what: Any) -> None:
        if isinstance(what.exc_value, KeyboardInterrupt):
            _again(signal.SIGTERM if what.exc_value.args else signal.SIGINT)
        else:
            self._hook(what)
