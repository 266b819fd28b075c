"""Cost of filters: time and memory per voxel through the engine, beside scipy's transform of the whole volume.

``python benchmarks/filtering.py 200 400 400`` writes a volume of noise of this shape into a temporary folder and
applies each filter, in a process of its own with ``--memory-limit`` (2 GB). Printed are seconds, ns of processor time
per voxel, and the largest resident memory of the process; all include the start of Python. The last line is
``scipy.fft`` of the whole volume in memory, in single precision, with the gain of ``deconvolve``.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

HELD = {"defocus_um": 5, "highpass": 0.2, "strength": 0.7, "falloff": 1.2}
CASES: dict[str, list[object]] = {
    "deconvolve": [{"deconvolve": 5}],
    "deconvolve, nothing added": [{"deconvolve": 5}],
    "deconvolve short": [{"deconvolve": HELD}],
    "deconvolve short, in blocks": [{"deconvolve": HELD}],
    "low_pass 90": [{"low_pass": {"resolution_a": 90, "edge": 1}}],
    "low_pass 90, in blocks": [{"low_pass": {"resolution_a": 90, "edge": 1}}],
    "match_voxel_size 15 -> 10": [{"match_voxel_size": 10}],
    "match_voxel_size area": [{"match_voxel_size": {"to": 10, "method": "area"}}],
    "normalise": ["normalise"],
    "median": [{"median": 1}],
    "diffusion": [{"diffusion": {"kappa": 1.0, "iterations": 5}}],
    "bilateral": [{"bilateral": {"sigma_value": 1.0}}],
    "nlm": [{"nlm": {"strength": 1.0, "search": 2}}],
}
HOW: dict[str, dict[str, object]] = {"nothing added": {"faces": "periodic"}, "in blocks": {"transform": "blocks"}}
"""Other parameters of the recipe, by what a case's name says after the comma."""


def whole(path: str) -> None:
    """The same deconvolution with one transform of the whole volume; prints seconds and the process's peak."""
    import mrcfile
    import scipy.fft as fft

    from volengine.ops.filters.ctf import Lens, Ratio, wiener_gain

    volume = mrcfile.read(path)
    start = time.perf_counter()
    spectrum = fft.rfftn(volume)
    f = [fft.fftfreq(n, 15.0) for n in volume.shape[:2]] + [fft.rfftfreq(volume.shape[2], 15.0)]
    radius = np.sqrt(f[0][:, None, None] ** 2 + f[1][:, None] ** 2 + f[2] ** 2)
    spectrum *= wiener_gain(radius, 15.0, Lens((5.0,)), Ratio()).astype(np.float32)
    fft.irfftn(spectrum, s=volume.shape, overwrite_x=True)
    said(start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def said(start: float, peak: int) -> None:
    """Print the wall time since the start, and the processor time and largest resident memory of the process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(time.perf_counter() - start, used.ru_utime + used.ru_stime, peak)


def one(path: str, name: str, limit: str) -> None:
    """One filter in this process; prints seconds and the process's peak."""
    import volengine as ve

    with tempfile.TemporaryDirectory(dir=Path(path).parent) as folder:
        options = ve.RunOptions(progress=False, memory_limit=limit, durable=False)
        recipe = ve.FilterRecipe.from_json({"steps": CASES[name], **HOW.get(name.partition(", ")[2], {})})
        start = time.perf_counter()
        ve.filter(path, f"{folder}/out.ome.zarr", recipe, options)
        report = json.loads(Path(f"{folder}/out.ome.zarr.run/report.json").read_text())
        stages = next(iter(report["plans"].values()))["stages"]
        said(start, max(stage["peak_rss_bytes"] for stage in stages))  # the engine begins each stage's peak anew


def main() -> None:
    """Measure all cases, each in a process of its own."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("shape", type=int, nargs="*", default=[200, 400, 400])
    asked.add_argument("--memory-limit", default="2GB")
    asked.add_argument("--only", default="")
    asked.add_argument("--run", nargs=2)
    given = asked.parse_args()
    if given.run:
        path, name = given.run
        whole(path) if name == "scipy" else one(path, name, given.memory_limit)
        return
    import mrcfile

    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/noise.mrc"
        rng = np.random.default_rng(0)
        with mrcfile.new_mmap(path, tuple(given.shape), 2) as file:
            for plane in file.data:
                plane[:] = rng.normal(size=plane.shape)
            file.voxel_size = 15.0
        voxels = int(np.prod(given.shape))
        for name in (*CASES, "scipy"):
            if given.only not in name:
                continue
            words = [sys.executable, __file__, "--memory-limit", given.memory_limit, "--run", path, name]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            wall, cpu, peak = map(float, done.stdout.split()[-3:])
            per = f"{1e9 * cpu / voxels:5.0f} ns of processor per voxel, peak {peak / 1e6:5.0f} MB"
            print(f"{name:36s} {wall:7.1f} s, {per} ({peak / voxels:.1f} bytes per voxel)", flush=True)


if __name__ == "__main__":
    main()
