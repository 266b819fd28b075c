"""Time and memory of ``volengine convert --montage`` against the floor: reading the pieces and writing the picture.

    python benchmarks/montage.py --grid 3 --side 1000 --sections 3 --shifts correlate

A montage of a smoothed random picture is made (pieces with overlaps of 15 %, each up to 4 voxels off), converted in a
process of its own, and compared with the time in which numpy reads the file and writes as many bytes as the store
holds at all levels. The peak is that of the process (``/usr/bin/time`` would say the same).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mrcfile
import numpy as np


def make(folder: Path, grid: int, side: int, sections: int) -> Path:
    """Write the montage and its list of pieces."""
    from scipy.ndimage import zoom

    rng = np.random.default_rng(0)
    step = int(side * 0.85)
    whole = step * (grid - 1) + side + 20
    coarse = zoom(rng.normal(size=(whole // 4 + 2,) * 2).astype("f4"), 4, order=1)[:whole, :whole]
    picture = (coarse * 300 + rng.normal(0, 100, coarse.shape)).astype("i2")
    places = [(x * step, y * step) for y in range(grid) for x in range(grid)]
    path = folder / "m.st"
    shape = (len(places) * sections, side, side)
    low = high = 0
    with mrcfile.new_mmap(path, shape, mrc_mode=1) as file:
        for n in range(shape[0]):
            x, y = places[n % len(places)]
            dx, dy = rng.integers(5, 14, 2)
            file.data[n] = picture[y + dy : y + dy + side, x + dx : x + dx + side]
            low, high = min(low, int(file.data[n].min())), max(high, int(file.data[n].max()))
        file.voxel_size = 10.0
        file.header.dmin, file.header.dmax, file.header.dmean = low, high, 0
    lines = [f"{x} {y} {s}" for s in range(sections) for x, y in places]
    (folder / "m.pl").write_text("\n".join(lines))
    return path


CHILD = """
import json, sys, time
import volengine
from volengine.engine.run import run_jobs
from volengine.engine.work import peak_rss, reset_peak_rss
from volengine.tasks.common.jobs import jobs_of
from volengine.tasks.convert.montage import MONTAGE, sections_of
recipe = volengine.ConvertRecipe(montage=True, pieces=sys.argv[2], montage_shifts=sys.argv[3])
options = volengine.RunOptions(progress=False, workers=int(sys.argv[4]))
reset_peak_rss()
began, cpu = time.perf_counter(), time.process_time()
jobs, folder = jobs_of(MONTAGE, sections_of([sys.argv[1]], recipe), sys.argv[5], recipe, options)
before = peak_rss()
report = run_jobs(jobs, folder, options).check()
took = {"wall_s": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}
print(json.dumps({**took, "before": before, "peak": peak_rss()}))
"""


def floor(path: Path, out: Path, count: int) -> float:
    """Seconds in which the file is read and so many bytes are written, in pieces of 8 MB."""
    began = time.perf_counter()
    data = np.memmap(path, "i2", mode="r", offset=1024)
    block = 4 * 2**20
    for start in range(0, data.size, block):
        np.array(data[start : start + block])
    written = np.zeros(block, "i2").tobytes()
    with out.open("wb") as file:
        for _ in range(0, count, len(written)):
            file.write(written)
        file.flush()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grid", type=int, default=3)
    parser.add_argument("--side", type=int, default=1000)
    parser.add_argument("--sections", type=int, default=3)
    parser.add_argument("--shifts", default="none")
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--folder", default=None)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=told.folder) as name:
        folder = Path(name)
        path = make(folder, told.grid, told.side, told.sections)
        arguments = [str(path), str(folder / "m.pl"), told.shifts, str(told.workers), str(folder / "out")]
        done = subprocess.run([sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        side = int(told.side * 0.85) * (told.grid - 1) + told.side
        written = told.sections * side * side * 2
        found |= {"read_mb": path.stat().st_size / 1e6, "written_mb": written / 1e6}
        found["floor_s"] = floor(path, folder / "floor", written)
        found |= {"ns_per_voxel": 1e9 * found["cpu_s"] / (written / 2), "peak_mb": found.pop("peak") / 1e6}
        found["before_mb"] = found.pop("before") / 1e6
    print(json.dumps({key: round(value, 2) for key, value in found.items()}, indent=1))


if __name__ == "__main__":
    main()
