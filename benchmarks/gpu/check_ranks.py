"""Part ``ranks``: two processes of torchrun train one network, each on a GPU of its own, as one process does.

torchrun --nproc-per-node 2 benchmarks/gpu/check_ranks.py DEVICE TINY FOLDER       # what the part starts
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import torch
from rows import Bench

NEAR = 1e-3
"""Largest difference of the losses of two trainings: float32 and TF32, sums in another order, some steps."""


def ranks(bench: Bench) -> None:
    """One process, then two; the losses of all epochs."""
    if bench.cuda and torch.cuda.device_count() < 2:
        bench.skip("two processes that train one network", "NCCL needs a GPU for each, and there is one")
        return
    folder = bench.out / "ranks"
    alone = start(bench, 1, folder)
    both = start(bench, 2, folder)
    apart = max(abs(a - b) for a, b in zip(alone, both, strict=True))
    bench.check("two processes that train one network", apart, NEAR, epochs=len(alone))
    folder.rmdir()


def start(bench: Bench, count: int, folder: Path) -> list[float]:
    """Train with so many processes; the losses."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)] if count > 1 else []
    device = "cuda" if bench.cuda else "cpu"
    command = [sys.executable, *launch, __file__, device, str(int(bench.tiny)), str(folder)]
    done = subprocess.run(command, timeout=max(30, bench.left), check=False)
    if done.returncode:
        raise RuntimeError(f"{count} processes ended with {done.returncode}; see log.txt")
    told = folder / "losses.json"
    losses: list[float] = json.loads(told.read_text())
    told.unlink()
    return losses


def main(device: str, tiny: str, place: str) -> None:
    """One of the processes."""
    import shutil

    from check_training import fit_of

    from volengine.nets.predictor import resolve_device
    from volengine.nets.training.fit.ranks import Ranks, leave

    rank, folder = Ranks.from_environment(), Path(place)
    bench = Bench("ranks", resolve_device(device), bool(int(tiny)), folder, time.time() + 60)
    fit = fit_of(bench, folder / "m.safetensors", epochs=2, batch=4)
    rows = fit.run(progress=False)
    del fit
    leave()
    if rank.first:
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / "losses.json").write_text(json.dumps([row["loss"] for row in rows]))


if __name__ == "__main__":
    main(*sys.argv[1:])
