"""Part ``networks``: every network of the registry against float64 on the CPU, in each precision."""

from __future__ import annotations

import torch
from cases import EXACT, LIMITS, error_of, logits_of, network, noise, patch_of, reference, traits_of
from rows import Bench

from volengine.nets.registry import NETWORKS

LAST_S = 5
"""A network is begun if so many seconds are left."""
HEAVY = 3_000_000
"""Weights; with ``--tiny`` larger networks are left out."""


def networks(bench: Bench) -> None:
    """All networks."""
    for name in NETWORKS:
        if name == "onnx":
            bench.skip(name, "an ONNX file is computed by onnxruntime, not by PyTorch")
        elif bench.left < (1 if bench.tiny else LAST_S):
            bench.skip(name, "no time left")
        else:
            with bench.trying(name):
                one(bench, name)


def one(bench: Bench, name: str) -> None:
    """One network: the error of the CPU's float32, and of the device in each precision."""
    if bench.tiny and heavy(name):
        bench.skip(name, f"more than {HEAVY:,} weights, with --tiny")
        return
    module = network(name)
    traits = traits_of(module)
    patch = patch_of(module, bench.size(32, 64), bench.size(16, 32))
    batch = noise(traits, patch, 2)
    wanted = reference(module, batch)
    device = {"device": str(bench.device), "batch": 2}
    own = error_of(logits_of(module, traits, batch, device="cpu", batch=2), wanted)
    found = error_of(logits_of(module, traits, batch, **device), wanted)
    errors = {}
    for precision, limit in LIMITS.items():
        if precision == "float16" and not bench.cuda:
            continue  # the predictor refuses it
        errors[precision] = error_of(logits_of(module, traits, batch, precision=precision, **device), wanted)
        if not errors[precision] <= limit:
            bench.check(f"{name}, {precision}", errors[precision], limit)
    bench.check(name, found, max(EXACT, 10 * own), cpu=own, **errors)


def heavy(name: str) -> bool:
    """Whether a network has many weights; none is made to find out."""
    if name == "graph":
        return False
    from volengine.nets.registry import build

    with torch.device("meta"):
        return sum(p.numel() for p in build(name).parameters()) > HEAVY
