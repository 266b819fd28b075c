"""The measuring itself."""

from __future__ import annotations

import sys

import pytest
from measure import run_once

FORGETS = """
import pathlib, time
held = bytearray(b"1") * 200_000_000
time.sleep(0.2)
del held
pathlib.Path("/proc/self/clear_refs").write_text("5")
time.sleep(0.2)
"""
STARTS = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], check=True)"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets processes forget their peaks")
def test_a_peak_that_is_forgotten_was_seen():
    for command in ([FORGETS], [STARTS, FORGETS]):
        found = run_once([sys.executable, "-c", *command])
        assert 200_000_000 < found.peak_bytes < 300_000_000
        assert 0 < found.system_s < found.cpu_s


def test_what_fails_says_why():
    with pytest.raises(RuntimeError, match=r"ended with 1: .*no such thing"):
        run_once([sys.executable, "-c", "raise SystemExit('no such thing')"])
