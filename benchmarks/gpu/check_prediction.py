"""Part ``prediction``: patches of a volume on the device: as on the CPU, and the same bytes from any blocks."""

from __future__ import annotations

import numpy as np
import torch
from cases import Job, job_of, network, traits_of
from rows import Bench

from volengine.core.boxes import Box
from volengine.nets.predictor import Execution, Predictor, Traits
from volengine.nets.tiles import PatchJob, predict_patches
from volengine.ops.blend import Shares

NEAR = 1e-5
"""Largest difference of a probability in float32."""
VARIANTS = {
    "one view": {},
    "16 views of quarter turns and mirrors": {"tta": 16},
    "mirrors": {"tta": "flips"},
    "half of the mirrors": {"tta": "flips4"},
    "means and squares of probabilities": {"spread": True, "tta": "flips4"},
    "logits": {"mean_of": "logits"},
}


def prediction(bench: Bench) -> None:
    """A 3D and a 2D network in each kind of prediction; then what belongs to several devices."""
    side = bench.size(16, 64)
    solid = ("unet3d", {"width": bench.size(2, 16), "levels": 2}, (side * 2, side * 2, side * 3 // 2), (side,) * 3)
    flat = ("unet2d", {}, (3, side * 4, side * 3), (1, side * 2, side * 2))
    for name, arguments, shape, patch in (solid, flat):
        for what, changes in VARIANTS.items():
            if name == "unet2d" and changes.get("tta") == 16:
                changes = {"tta": 8}
            with bench.trying(f"{name}, {what}"):
                variant(bench, name, arguments, shape, patch, what, changes)
    with bench.trying("sums of another pass"):
        continued(bench)
    if bench.cuda and torch.cuda.device_count() > 1:
        with bench.trying("the last GPU"):
            last_device(bench)
    elif bench.cuda:
        bench.skip("the last GPU, while the first is current", "there is one GPU")


def pair(name: str, arguments: dict, shape: tuple, patch: tuple, device: str, **changes: object) -> tuple[Job, Job]:  # type: ignore[type-arg]
    """The same prediction on the CPU and on a device."""
    module = network(name, **arguments)
    jobs = [
        job_of(network(name, **arguments), shape, patch, traits_of(module), device=d, **changes)
        for d in ("cpu", device)
    ]
    return jobs[0], jobs[1]


def variant(bench: Bench, name: str, arguments: dict, shape: tuple, patch: tuple, what: str, changes: dict) -> None:  # type: ignore[type-arg]
    """Compare with the CPU; then twice, and in two blocks, the same bytes."""
    cpu, gpu = pair(name, arguments, shape, patch, str(bench.device), batch=3, **changes)
    wanted, found = cpu.run() / cpu.predictor.scale, gpu.run()
    scale = max(1.0, float(np.abs(wanted).max()))
    error = float(np.abs(found / gpu.predictor.scale - wanted).max())
    bench.check(f"{name}, {what}", error / scale, NEAR, patches=len(gpu.indices))
    bench.equal(f"{name}, {what}: twice", bool((gpu.run() == found).all()), "another run gave other bytes")
    axis = 0 if shape[0] > 3 else 2
    middle = shape[axis] // 2
    low = Box.of_shape((*shape[:axis], middle, *shape[axis + 1 :]))
    start = tuple(middle if a == axis else 0 for a in range(3))
    blocks = gpu.whole_in_blocks((low, Box(start, shape)))
    bench.equal(f"{name}, {what}: two blocks", bool((blocks == found).all()), "blocks gave other bytes than the whole")


def continued(bench: Bench) -> None:
    """Sums that are added to those of a pass before, and networks with a softmax over several features."""
    shape, patch = (16, 24, 32), (8, 8, 16)
    values = (network("unet3d", width=2, levels=2, channels=3), Traits(3, True, "softmax"))
    predictor = Predictor(*values, Execution(batch=2, device=str(bench.device)))
    plain = job_of(network("unet3d", width=2, levels=2), shape, patch, device="cpu")
    lattice, box = plain.job.lattice, plain.box
    job = PatchJob(lattice, plain.job.reader, Shares(lattice, "hann", predictor.scale), weights=(1.0, 0.5, 0.25))
    indices = list(lattice.owned(box))
    once = predict_patches(predictor, job, indices, box)
    first = predict_patches(predictor, job, indices[:5], box)
    both = predict_patches(predictor, job, indices[5:], box, before=first)
    bench.equal("sums of another pass", bool((both == once).all()), "two passes gave other bytes than one")


def last_device(bench: Bench) -> None:
    """With buffers, streams and events of a GPU that is not the current one."""
    where = f"cuda:{torch.cuda.device_count() - 1}"
    torch.cuda.set_device(0)
    values = ("unet3d", {"width": 8, "levels": 2}, (96, 96, 96), (32, 32, 32))
    _, here = pair(*values, "cuda:0", batch=2)
    _, there = pair(*values, where, batch=2)
    found = [there.run() for _ in range(5)]
    near = float(np.abs(found[0] / there.predictor.scale - here.run() / here.predictor.scale).max())
    bench.check(f"{where}, while cuda:0 is current", near, NEAR)
    same = all((f == found[0]).all() for f in found)
    bench.equal(f"{where}, five times", same, "runs gave other bytes: was a buffer filled before it was copied?")
