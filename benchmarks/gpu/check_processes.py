"""Part ``processes``: two processes predict on one device at the same time: the same bytes as one alone, and how fast.

python benchmarks/gpu/check_processes.py DEVICE TINY FOLDER NAME     # one of the processes
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

from rows import Bench

ROUNDS = 3
START_S = 120


def processes(bench: Bench) -> None:
    """One process alone, then two."""
    folder = bench.out / "processes"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    alone = together(bench, folder, ["alone"])[0]
    both = together(bench, folder, ["first", "second"])
    same = all(one["digest"] == alone["digest"] for one in both)
    bench.equal("two processes, the same bytes", same, f"{[one['digest'] for one in both]}, alone {alone['digest']}")
    slowest = max(one["seconds"] for one in both)
    figures = {"alone_s": alone["seconds"], "both_s": slowest}
    bench.figure("two processes", **figures, work_per_second_against_one=2 * alone["seconds"] / slowest)
    for old in folder.iterdir():
        old.unlink()
    folder.rmdir()


def together(bench: Bench, folder: Path, names: list[str]) -> list[dict]:  # type: ignore[type-arg]
    """Start processes, let them begin at the same time, and read what they say."""
    command = [sys.executable, __file__, str(bench.device), str(int(bench.tiny)), str(folder)]
    children = [subprocess.Popen([*command, name]) for name in names]
    try:
        ends = time.time() + min(START_S, max(10, bench.left))
        while not all((folder / f"{name}.ready").exists() for name in names):
            dead = [child.poll() for child in children if child.poll() is not None]
            if dead or time.time() > ends:
                raise RuntimeError(f"a process ended with {dead}, or did not start in time")
            time.sleep(0.02)
        (folder / f"{names[0]}.go").touch()
        for child in children:
            if child.wait(max(10, bench.left + 10)):
                raise RuntimeError(f"a process ended with {child.returncode}")
    finally:
        for child in children:
            child.kill()
            child.wait()
    return [json.loads((folder / f"{name}.json").read_text()) for name in names]


def main(device: str, tiny: str, place: str, name: str) -> None:
    """One process: be ready, wait for the start, predict a few times."""
    import torch
    from cases import digest, job_of, network

    small, folder = bool(int(tiny)), Path(place)
    torch.set_num_threads(1)
    side = 16 if small else 64
    arguments = {"width": 2 if small else 16, "levels": 2}
    shape = (side * 2, side * 3, side * (3 if small else 8))
    job = job_of(network("unet3d", **arguments), shape, (side,) * 3, device=device, batch=4, tta="flips4")
    job.run()
    (folder / f"{name}.ready").touch()
    starts = [folder / "alone.go"] if name == "alone" else [folder / "first.go"]
    while not any(start.exists() for start in starts):
        time.sleep(0.005)
    began = time.perf_counter()
    found = [digest(job.run()) for _ in range(ROUNDS)]
    seconds = (time.perf_counter() - began) / ROUNDS
    told = found[0] if len(set(found)) == 1 else "differs from run to run"
    (folder / f"{name}.json").write_text(json.dumps({"digest": told, "seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
