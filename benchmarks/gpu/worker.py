"""A worker: runs parts one after the other."""

from __future__ import annotations

import gc
import importlib
import json
import time
from pathlib import Path

from rows import PARTS, Bench


def work(names: list[str], device: str, tiny: bool, out: Path, ends: str) -> None:
    """Run the parts; each row, and the end of each part, is written at once."""
    import torch

    from volengine.nets.predictor import resolve_device

    where = resolve_device(device)
    if where.type == "cuda" and where.index is None:
        where = torch.device("cuda", torch.cuda.current_device())
    deadlines = json.loads(ends)
    for name in names:
        bench = Bench(name, where, tiny, out, deadlines[name])
        print(f"-- {name}, {bench.left:.0f} s", flush=True)
        began = time.time()
        with bench.trying("the part itself"):
            module, _, function = (PARTS[name].target if name in PARTS else name).partition(":")
            getattr(importlib.import_module(module), function)(bench)
        gc.collect()
        if where.type == "cuda":
            torch.cuda.empty_cache()
        with (out / "rows.jsonl").open("a") as file:
            file.write(json.dumps({"ended": name, "seconds": time.time() - began}) + "\n")
