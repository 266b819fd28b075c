"""Whole processes, measured from outside: wall time and peak memory, in turn, so that ratios hold on noisy machines."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """Medians of some runs of one command."""

    wall_s: float
    cpu_s: float
    peak_bytes: int


def run_once(command: list[str]) -> Measured:
    """Run a command to its end; peak memory is that of its largest process."""
    script = (
        "import resource, subprocess, sys, json\n"
        "code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)\n"
        "u = resource.getrusage(resource.RUSAGE_CHILDREN)\n"
        "errors = code.stderr.decode()[-2000:]\n"
        "print(json.dumps([code.returncode, u.ru_utime + u.ru_stime, u.ru_maxrss * 1024, errors]))\n"
    )
    began = time.perf_counter()
    out = subprocess.run([sys.executable, "-c", script, *command], capture_output=True, check=True, text=True)
    wall = time.perf_counter() - began
    code, cpu, peak, errors = json.loads(out.stdout)
    if code:
        raise RuntimeError(f"{command} ended with {code}: {errors}")
    return Measured(wall, cpu, peak)


def in_turn(commands: dict[str, list[str]], rounds: int, reset: Callable[[], None]) -> dict[str, Measured]:
    """Medians of several commands, run A B C A B C ...; ``reset`` before each run."""
    found: dict[str, list[Measured]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            reset()
            found[name].append(run_once(command))
    return {
        name: Measured(
            statistics.median(m.wall_s for m in runs),
            statistics.median(m.cpu_s for m in runs),
            max(m.peak_bytes for m in runs),
        )
        for name, runs in found.items()
    }


def size(name: str, small: int, large: int) -> int:
    """A benchmark's size: small as a test, large with VOLENGINE_BENCH=full (``make bench``)."""
    return int(os.environ.get(name, large if os.environ.get("VOLENGINE_BENCH") == "full" else small))


__all__ = ["Measured", "in_turn", "run_once", "size"]
