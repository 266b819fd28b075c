"""How long a stroke takes until it is on the disk, and a slice of 512 x 512 voxels with 200 strokes of two people.

python benchmarks/annotations.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mrcfile
import numpy as np

import volengine
from volengine.core.boxes import Box

STROKES = 200
SLICE = Box((20, 0, 0), (21, 512, 512))
COLD = """
import sys, time
import volengine
from volengine.core.boxes import Box
with volengine.Annotations(sys.argv[1]) as annotations:
    began = time.perf_counter()
    annotations.labels("membrane", Box((20, 0, 0), (21, 512, 512)))
    print(1000 * (time.perf_counter() - began))
"""


def main() -> None:
    noise = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as given:
        folder = Path(given)
        with mrcfile.new(folder / "TS_01.mrc") as mrc:
            mrc.set_data(np.zeros((40, 512, 512), np.int8))
            mrc.voxel_size = 10.0
        place, drawn, read = folder / "TS_01.annotations", [], []
        with volengine.new_annotations(folder / "TS_01.mrc", place, ("membrane",)) as annotations:
            for number in range(STROKES):
                points = np.clip(noise.normal(256, 90, 2) + np.cumsum(noise.normal(0, 8, (30, 2)), axis=0), 0, 511)
                stroke = {"op": "brush", "feature": "membrane", "slice": 20, "points": points.tolist(), "radius": 6}
                began = time.perf_counter()
                annotations.do(stroke, ("ada", "bob")[number % 2])
                drawn.append(1000 * (time.perf_counter() - began))
                began = time.perf_counter()
                annotations.labels("membrane", SLICE)
                read.append(1000 * (time.perf_counter() - began))
        cold = [
            float(
                subprocess.run(
                    [sys.executable, "-c", COLD, str(place)], capture_output=True, text=True, check=True
                ).stdout
            )
            for _ in range(5)
        ]
    for what, times in (("stroke", drawn), ("slice after it", read), ("slice in a new program", cold)):
        print(f"{what}: median {statistics.median(times):.1f} ms, at most {max(times):.1f} ms")


if __name__ == "__main__":
    main()
