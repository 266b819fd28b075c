"""The last step of ``stats``: distances, clusters and tables of many objects of one class, its time and memory.

    python benchmarks/objects_described.py 1000000 [NEIGHBOURS]

Objects are at random places; NEIGHBOURS (default 10) is how many lie within the radius of clusters, on average.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from volengine.tasks.stats.objects import Objects, Tomogram
from volengine.tasks.stats.recipe import StatsRecipe
from volengine.tasks.stats.tables import Stats, count_tomograms, tables_of


def peak_mb() -> float:
    """The largest resident memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1e3


def main() -> None:
    """Make the objects, and describe them."""
    count, near = int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 10.0
    recipe = StatsRecipe(plots=False)
    side = (count * 4 / 3 * math.pi * recipe.eps_nm**3 / near) ** (1 / 3)
    rng = np.random.default_rng(0)
    voxels = rng.integers(100, 5000, count)
    objects = Objects("labels", rng.random((count, 3)) * side, voxels, voxels.astype(float))
    before, started = peak_mb(), time.perf_counter()
    counted = count_tomograms([Tomogram("TS_01", (side,) * 3, {"any": objects})], recipe)
    tables = Stats(tables_of(counted, grouped=False))
    described = time.perf_counter() - started
    with tempfile.TemporaryDirectory(dir=".") as folder:
        tables.write(folder)
        size = (Path(folder) / "objects.csv").stat().st_size
    took = time.perf_counter() - started
    print(
        f"{count} objects, {len(tables['clusters'])} clusters: {described:.0f} s, with tables {took:.0f} s "
        f"({size / 1e6:.0f} MB); memory {before:.0f} -> {peak_mb():.0f} MB"
    )


if __name__ == "__main__":
    main()
