"""Part ``simulation``: projection and reconstruction on the device, against scipy's on the CPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from cases import seconds_of
from rows import Bench

from volengine.sim.imaging.projector import Projector, TorchProjector
from volengine.sim.imaging.reconstruct import sirt, wbp

NEAR = 1e-5
"""Largest difference, in units of the largest value: the sums of float32 in another order."""
ITERATIONS = 3


def simulation(bench: Bench) -> None:
    """Projection, its adjoint, both reconstructions; the adjoint identity; repeated runs; seconds."""
    nz, ny, nx = (bench.size(12, 50), bench.size(40, 256), bench.size(32, 400))
    angles = np.arange(-60, 61, bench.size(10, 2))
    shift = np.random.default_rng(1).normal(0, 20, len(angles))
    geometry: dict[str, Any] = {"voxel_size": 12.0, "shift_x": shift}
    plain = Projector((nz, nx), angles, **geometry)
    other = TorchProjector((nz, nx), angles, **geometry, device=str(bench.device))
    volume = np.random.default_rng(0).normal(size=(nz, ny, nx)).astype(np.float32)
    images = plain.project(volume)
    steps: dict[str, tuple[Callable[[Any], Any], Any]] = {
        "project": (lambda p: p.project(volume), NEAR),
        "back-project": (lambda p: p.back(images), NEAR),
        "weighted back-projection": (lambda p: wbp(images, p), NEAR),
        f"SIRT, {ITERATIONS} iterations": (lambda p: sirt(images, p, ITERATIONS), 10 * NEAR),
    }
    for what, (call, limit) in steps.items():
        with bench.trying(what):
            compare(bench, what, call, plain, other, limit)
    with bench.trying("adjoint"):
        rng = np.random.default_rng(2)
        some = rng.normal(size=images.shape).astype(np.float32)
        left = float(np.vdot(other.project(volume).astype(float), some.astype(float)))
        right = float(np.vdot(volume.astype(float), other.back(some).astype(float)))
        size = float(np.linalg.norm(other.project(volume).astype(float)) * np.linalg.norm(some.astype(float)))
        bench.check("adjoint: <A v, p> - <v, A' p>", abs(left - right) / size, 1e-6)


def compare(bench: Bench, what: str, call: Callable[[Any], Any], plain: Any, other: Any, limit: float) -> None:
    """One step on the CPU and on the device."""
    call(plain)  # makes the matrices
    began = time.perf_counter()
    wanted = call(plain)
    cpu = time.perf_counter() - began
    found = call(other)
    error = float(np.abs(found - wanted).max() / np.abs(wanted).max())
    again = all((call(other) == found).all() for _ in range(3))
    seconds = seconds_of(bench, lambda: call(other), 3, warm=0, most_s=bench.left / 4)
    bench.check(what, error, limit, same_bytes_again=bool(again), cpu_s=cpu, device_s=seconds)
