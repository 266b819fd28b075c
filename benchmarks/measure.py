"""Whole processes, measured from outside: wall time and peak memory, in turn, so that ratios hold on noisy machines.

The peak is that of the largest process of a command: what the system tells of those that have ended, and what each
process says of itself while it runs, asked :data:`EVERY_S`. The second is needed because volengine's workers forget
their peak at the beginning of every task; only one that rises and is forgotten between two questions is missed.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

EVERY_S = 0.02
"""Between two questions for the peaks of all processes."""
TREE_S = 0.2
"""Between two questions for the processes."""


@dataclass(frozen=True)
class Measured:
    """Medians of some runs of one command. ``system_s`` is the part of ``cpu_s`` that the kernel took."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    system_s: float = 0.0


def run_once(command: list[str]) -> Measured:
    """Run a command to its end; peak memory is that of its largest process."""
    began = time.perf_counter()
    out = subprocess.run([sys.executable, __file__, *command], capture_output=True, check=True, text=True)
    wall = time.perf_counter() - began
    code, user, system, peak, errors = json.loads(out.stdout)
    if code:
        raise RuntimeError(f"{command} ended with {code}: {errors}")
    return Measured(wall, user + system, peak, system)


def watched(command: list[str]) -> tuple[int, float, float, int, str]:
    """Run a command from this small process: exit code, user and system seconds, peak bytes, last error lines.

    Processor seconds are those of the command and of all processes that it waited for.
    """
    peak, asked, tree = 0, 0.0, []
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        while process.poll() is None:
            if time.monotonic() - asked > TREE_S or not tree:
                asked, tree = time.monotonic(), descendants(process.pid)
            peak = max([peak, *map(peak_of, tree)])
            time.sleep(EVERY_S)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        errors.seek(0, os.SEEK_END)
        errors.seek(max(0, errors.tell() - 2000))
        last = errors.read().decode(errors="replace")
    return process.returncode, used.ru_utime, used.ru_stime, max(peak, used.ru_maxrss * 1024), last


def descendants(pid: int) -> list[int]:
    """A process and all that it has started, and they."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):  # it has ended
            for children in Path(f"/proc/{parent}/task").glob("*/children"):
                found += map(int, children.read_text().split())
    return found


def peak_of(pid: int) -> int:
    """Peak resident memory of a process since it forgot the last one, bytes; 0 of one that has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


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
            statistics.median(m.system_s for m in runs),
        )
        for name, runs in found.items()
    }


def size(name: str, small: int, large: int) -> int:
    """A benchmark's size: small as a test, large with VOLENGINE_BENCH=full (``make bench``)."""
    return int(os.environ.get(name, large if os.environ.get("VOLENGINE_BENCH") == "full" else small))


def noisy_mrc(path: Path, slices: int) -> Path:
    """Write an MRC file of float32 noise, 1.6 MB per slice of 640 x 641 voxels; it hardly shrinks, as tomograms do."""
    import numpy as np

    from volengine.io.mrc.write import write_mrc

    shape, rng = (slices, 640, 641), np.random.default_rng(0)
    voxels = (rng.standard_normal((1, *shape[1:]), "float32") for _ in range(slices))
    write_mrc(path, voxels, shape, "float32", (14, 12, 10))
    return path


def best_of(benchmark: Any, function: Callable[..., Any], *args: Any, rounds: int) -> tuple[Any, float]:
    """What a function returns and its shortest time in seconds, also where benchmarks are off (``pytest -n``)."""
    times = []

    def timed() -> Any:
        began = time.perf_counter()
        found = function(*args)
        times.append(time.perf_counter() - began)
        return found

    return benchmark.pedantic(timed, rounds=rounds, warmup_rounds=1), min(times)


__all__ = ["Measured", "best_of", "in_turn", "run_once", "size"]

if __name__ == "__main__":
    print(json.dumps(watched(sys.argv[1:])))
