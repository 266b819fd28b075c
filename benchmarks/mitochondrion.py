"""Labels of a whole mitochondrion to measured, watertight surfaces, with two workers of 2 GB.

    python benchmarks/mitochondrion.py LABELS.mrc.gz

For each number in the labels (`mito_TE1`, 312 x 928 x 960 voxels: three membranes) a set of surfaces is made, with
25 nm² for each vertex. Each surface must be a manifold whose borders lie in the volume's faces. Then curvatures,
thickness and distances are measured at each vertex. Printed are surfaces, area, median thickness, and of both commands
wall time, processor time, and the largest resident memory of any process.
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

WORKERS = ("--workers", "2", "--memory-limit", "2GB", "--no-progress")
SURFACE = ("--vertex-area-nm2", "25", "--min-volume-nm3", "1000", "--smooth-nm", "10", *WORKERS)


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
        print("| label | surfaces | closed | area, nm² | vertices | thickness, nm | wall, s | CPU, s | largest, MB |")
        print("| --- " * 9 + "|")
        for number in (1, 2, 3):
            out, measured = (str(Path(where) / f"{number}{ending}.surfaces") for ending in ("", "-measured"))
            made = run_once([*program, "surface", store, "--out", out, "--ids", str(number), *SURFACE])
            count = check(Path(out), volume.shape, volume.voxel_size[0])
            took = run_once([*program, "surfaces", "measure", out, "--out", measured, *WORKERS])
            rows = open_surfaces(measured).rows
            area, vertices = (sum(row[name] for row in rows) for name in ("area_nm2", "vertices"))
            closed = sum(row["closed"] for row in rows)
            thick = np.nanmedian(np.concatenate([one.columns["thickness_nm"] for one in open_surfaces(measured)]))
            cost = " | ".join(
                f"{one:.0f} + {two:.0f}"
                for one, two in zip(
                    (made.wall_s, made.cpu_s, made.peak_bytes / 1e6),
                    (took.wall_s, took.cpu_s, took.peak_bytes / 1e6),
                    strict=True,
                )
            )
            print(f"| {number} | {count} | {closed} | {area:,.0f} | {vertices:,} | {thick:.1f} | {cost} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
