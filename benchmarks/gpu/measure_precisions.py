"""Part ``precisions``: voxels per second and error of networks with eight views, by precision and memory order."""

from __future__ import annotations

import math
from typing import Any

from cases import LIMITS, error_of, logits_of, network, noise, patch_of, reference, seconds_of, traits_of
from rows import Bench

from volengine.core.errors import DependencyError
from volengine.nets.predictor import Execution, Predictor

NETWORKS = ("unet", "vggnet", "dynunet")
STAND_IN = {"dynunet": "unet_membrain"}
"""Easymode's network like MemBrain's, if MONAI is not here."""
ORDERS = ((True, "channels last"), (False, "channels first"))
LAST_S = 6


def precisions(bench: Bench) -> None:
    """All networks, precisions and orders."""
    for name in ("unet2d", "unet3d") if bench.tiny else NETWORKS:
        with bench.trying(name):
            try:
                module = network(name)
            except DependencyError as error:
                bench.skip(name, str(error))
                name = STAND_IN[name]
                module = network(name)
            one(bench, name, module)


def one(bench: Bench, name: str, module: Any) -> None:
    """One network: the error for a small patch against float64, the speed for a large one."""
    traits = traits_of(module)
    views: dict[str, Any] = {"tta": "flips" if traits.volumetric else 8, "mean_of": "logits"}
    small = noise(traits, patch_of(module, bench.size(32, 128), bench.size(16, 64)), 1)
    patch = patch_of(module, bench.size(32, 512), bench.size(16, 128))
    plain = Predictor(network(name), traits, Execution(device="cpu", **views))
    wanted = reference(module, small, plain)
    device = {"device": str(bench.device), **views}
    for precision in ("float32", "tf32", "bfloat16", *["float16"][: bench.cuda]):
        for last, order in ORDERS:
            what = f"{name}, {precision}, {order}"
            if bench.left < (0.5 if bench.tiny else LAST_S):
                bench.skip(what, "no time left")
                continue
            with bench.trying(what):
                how = {"precision": precision, "channels_last": last, **device}
                error = error_of(logits_of(module, traits, small, **how), wanted)
                predictor = Predictor(network(name), traits, Execution(**how))
                size = predictor.batch(patch)
                batch = noise(traits, patch, size).to(predictor.device)

                def run(predictor: Predictor = predictor, batch: Any = batch) -> None:
                    with predictor.running():
                        predictor(batch)

                seconds = seconds_of(bench, run, bench.size(1, 7), bench.size(0, 3), bench.left / 6)
                rate = size * math.prod(patch) / seconds / 1e6
                figures = {"Mvoxel_per_s": rate, "ms_per_batch": seconds * 1e3, "batch": size, "error_rms": error}
                bench.figure(what, **figures)
                if not error <= LIMITS.get(precision, 1e-4):
                    bench.check(f"{what}: error", error, LIMITS.get(precision, 1e-4))
