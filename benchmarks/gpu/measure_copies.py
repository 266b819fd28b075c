"""Part ``copies``: whether copies to the device are hidden behind the network; keeps a trace of PyTorch's profiler.

``trace.json.gz`` can be opened at ui.perfetto.dev.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import torch
from cases import job_of, network
from rows import Bench

Interval = tuple[float, float]
BATCHES = 12
HIDDEN = 0.9
"""Goal: this share of the time of copies to the device lies within that of kernels."""
LARGE = 1 << 16
"""Bytes; smaller copies (weights of channels, counts) do not matter."""


def copies(bench: Bench) -> None:
    """Profile a prediction of a 3D network, and read the trace."""
    side = bench.size(16, 64)
    shape = (side * 2, side * 4, side * 4)
    arguments = {"width": bench.size(2, 16), "levels": 2}
    batch = bench.size(2, 8)
    device = str(bench.device)
    job = job_of(network("unet3d", **arguments), shape, (side,) * 3, device=device, batch=batch, most=BATCHES * batch)
    job.run()
    activity = torch.profiler.ProfilerActivity
    kinds = [activity.CPU, *[activity.CUDA][: bench.cuda]]
    with torch.profiler.profile(activities=kinds) as profile:
        job.run()
    place = bench.out / "trace.json.gz"
    profile.export_chrome_trace(str(place))
    bench.figure("trace", patches=len(job.indices), bytes=place.stat().st_size, file=place.name)
    if not bench.cuda:
        bench.skip("copies to the device", "there is no device")
        return
    told = read_trace(events_of(place))
    hidden, figures = told.pop("hidden"), told
    bench.figure("a prediction on the device", **figures)
    bench.goal("time of copies that is not hidden", 1 - hidden, 1 - HIDDEN)
    bench.equal("copies to the device are from pinned memory", not figures["pageable"], "large pageable copies")


def events_of(path: Path) -> list[dict[str, Any]]:
    """The events of a trace."""
    with gzip.open(path, "rt") as file:
        events: list[dict[str, Any]] = json.load(file)["traceEvents"]
    return events


def read_trace(events: list[dict[str, Any]]) -> dict[str, Any]:
    """What a trace says about kernels and copies.

    Returns
    -------
    dict
        ``kernels_ms``: time in which a kernel ran; ``idle``: share of the time from the first to the last kernel in
        which none ran; ``copies_ms``: time of copies to the device; ``hidden``: share of it in which a kernel ran (1
        without copies); ``pageable``: number of large copies to the device from memory that is not pinned.
    """
    kernels = merged([span(e) for e in events if e.get("cat") == "kernel" and "dur" in e])
    sent = [e for e in events if e.get("cat") == "gpu_memcpy" and "HtoD" in e["name"]]
    total = sum(e["dur"] for e in sent)
    behind = sum(common(span(e), kernels) for e in sent)
    busy = sum(b - a for a, b in kernels)
    whole = kernels[-1][1] - kernels[0][0] if kernels else 0.0
    large = [e for e in sent if e.get("args", {}).get("bytes", 0) > LARGE]
    return {
        "kernels_ms": busy / 1e3,
        "idle": 1 - busy / whole if whole else 0.0,
        "copies_ms": total / 1e3,
        "pageable": sum("Pageable" in e["name"] for e in large),
        "hidden": behind / total if total else 1.0,
    }


def span(event: dict[str, Any]) -> Interval:
    """Begin and end of an event, microseconds."""
    return float(event["ts"]), float(event["ts"]) + float(event["dur"])


def merged(spans: list[Interval]) -> list[Interval]:
    """Intervals that do not overlap, in order, and cover the same."""
    found: list[Interval] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((begin, end))
    return found


def common(one: Interval, others: list[Interval]) -> float:
    """Length of the part of an interval that lies within others, which do not overlap."""
    return sum(max(0.0, min(one[1], end) - max(one[0], begin)) for begin, end in others)
