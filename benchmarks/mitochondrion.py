"""Labels of a whole mitochondrion to watertight surfaces, with two workers of 2 GB.

    python benchmarks/mitochondrion.py LABELS.mrc.gz

For each number in the labels (`mito_TE1`, 312 x 928 x 960 voxels: three membranes) a set of surfaces is made, with
25 nm² for each vertex. Each surface must be a manifold whose borders lie in the volume's faces. Printed are objects,
surfaces, area, wall time, processor time, and the largest resident memory of any process.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from measure import run_once

import volengine
from volengine.io.surfaces import open_surfaces
from volengine.ops.surfaces.topology import shape_of

SURFACE = ("--workers", "2", "--memory-limit", "2GB", "--no-progress", "--smooth-nm", "10")


def check(folder: Path, shape: tuple[int, int, int], voxel: float) -> int:
    """The number of surfaces; each is a manifold, whose borders lie in the volume's faces."""
    found = open_surfaces(folder)
    for one in found:
        assert shape_of(one.vertices, one.faces)["manifold"]
        at = one.vertices[one.borders.reshape(-1)] / voxel
        on = (np.abs(at) < 1e-3) | (np.abs(at - (np.array(shape) - 1)) < 1e-3)
        assert on.any(axis=1).all()
    return len(found)


def main(labels: str) -> None:
    """Convert the labels, make the surfaces of each number, and print a table."""
    with tempfile.TemporaryDirectory() as where:
        store = f"{where}/mito.ome.zarr"
        volume = volengine.convert(labels, store, volengine.ConvertRecipe(kind="labels"))
        program = [sys.executable, "-c", "from volengine.cli.main import main; main()"]
        print("| number | surfaces | closed | area, nm² | vertices | wall, s | processor, s | largest process, MB |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for number in (1, 2, 3):
            out = Path(where) / f"{number}.surfaces"
            what = [
                "--ids",
                str(number),
                "--feature",
                f"m{number}",
                "--vertex-area-nm2",
                "25",
                "--min-volume-nm3",
                "1000",
            ]
            took = run_once([*program, "surface", store, "--out", str(out), *what, *SURFACE])
            count = check(out, volume.shape, volume.voxel_size[0])
            rows = open_surfaces(out).rows
            area, vertices = (sum(row[name] for row in rows) for name in ("area_nm2", "vertices"))
            closed = sum(row["closed"] for row in rows)
            cost = f"{took.wall_s:.0f} | {took.cpu_s:.0f} | {took.peak_bytes / 1e6:.0f}"
            print(f"| {number} | {count} | {closed} | {area:,.0f} | {vertices:,} | {cost} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
