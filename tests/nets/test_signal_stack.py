"""The stack of signal handlers is that of before, whatever a library sets in between."""

from __future__ import annotations

import subprocess
import sys

import pytest

KEPT = """
import ctypes, faulthandler, mmap, os, signal
from volengine.nets.signal_stack import _Stack, kept_signal_stack

faulthandler.enable()
system = ctypes.CDLL(None)

def now():
    found = _Stack()
    assert system.sigaltstack(None, ctypes.byref(found)) == 0
    return found.place, found.flags, found.size

before = now()
assert before[2] > 0
with kept_signal_stack():
    other = mmap.mmap(-1, 1 << 16)
    place = ctypes.addressof(ctypes.c_char.from_buffer(other))
    assert system.sigaltstack(ctypes.byref(_Stack(place, 0, 1 << 16)), None) == 0
    assert now() != before
assert now() == before
"""

OPENVINO = (
    KEPT.split("with kept")[0]
    + """
from volengine.nets import backends

backends._core()
assert now() == before
got = []
signal.signal(signal.SIGTERM, lambda *_: got.append(1))
os.kill(os.getpid(), signal.SIGTERM)
assert got
"""
)


def ended(script: str) -> int:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert not done.stderr, done.stderr
    return done.returncode


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has this call")
def test_a_stack_that_was_set_in_between_is_not_kept() -> None:
    assert ended(KEPT) == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux has this call")
def test_loading_openvino_leaves_the_stack_of_signals() -> None:
    pytest.importorskip("openvino")
    assert ended(OPENVINO) == 0
