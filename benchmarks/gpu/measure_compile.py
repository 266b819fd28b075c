"""Part ``compile``: ``torch.compile``: whether the answers stay, seconds until it is ready, and what it gains."""

from __future__ import annotations

import time
from typing import Any

import torch
from cases import EXACT, LIMITS, error_of, network, noise, patch_of, seconds_of, traits_of
from rows import Bench

from volengine.nets.predictor import Execution, Predictor

NETWORKS = ("unet", "unet3d", "vggnet")
LAST_S = 40
"""To compile a network takes about this long."""


def compiled(bench: Bench) -> None:
    """Some networks in float32 and bfloat16."""
    if bench.tiny:
        with bench.trying("a convolution, float32"):
            small = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(2, 1, 1))
            one(bench, "a convolution", small, "float32")
        return
    for name in NETWORKS:
        for precision in ("float32", "bfloat16"):
            what = f"{name}, {precision}"
            if bench.left < LAST_S:
                bench.skip(what, "no time left")
                continue
            with bench.trying(what):
                one(bench, name, network(name), precision)


def one(bench: Bench, name: str, module: Any, precision: Any) -> None:
    """One network with and without."""
    import copy

    traits = traits_of(module)
    patch = patch_of(module, bench.size(32, 512), bench.size(16, 128))
    device = str(bench.device)
    both = [
        Predictor(
            copy.deepcopy(module), traits, Execution(device=device, precision=precision, mean_of="logits", compile=c)
        )
        for c in (False, True)
    ]
    batch = noise(traits, patch, both[0].batch(patch)).to(bench.device)

    def call(predictor: Predictor) -> torch.Tensor:
        with predictor.running():
            return predictor(batch)

    wanted = call(both[0])
    began = time.perf_counter()
    found = call(both[1])
    if bench.cuda:
        torch.cuda.synchronize(bench.device)
    ready = time.perf_counter() - began
    plain = seconds_of(bench, lambda: call(both[0]), bench.size(1, 7), bench.size(0, 3))
    fast = seconds_of(bench, lambda: call(both[1]), bench.size(1, 7), bench.size(0, 3))
    limit = 10 * EXACT if precision == "float32" else LIMITS[precision]
    figures = {"ready_s": ready, "eager_ms": plain * 1e3, "compiled_ms": fast * 1e3, "gain": plain / fast}
    bench.check(f"{name}, {precision}", error_of(found, wanted), limit, **figures)
