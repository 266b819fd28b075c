"""Skeletons, mean shift and Ripley's functions here and in MemBrain: time, memory, and error against what is true.

    python benchmarks/beside_membrain.py [--points 2000] [--side 128]

The originals are looked for in this environment and below ``$PEERS`` (``$PEERS/membrain/bin/python``, one environment
for all three or one for each: ``$PEERS/membrain_seg`` ...); what is not installed is said. Each side is a process of
its own, start included. The truth is known by formula:

- *skeleton* (membrain-seg): a slab across (1, -1, 0); one voxel in each column (y, x), so the ratio is 1.
- *mean shift* (membrain-pick): points around places of a grid, all with the same score; as many centres as places.
- *Ripley's O* (membrain-stats): points without order on a plane; 1 in each ring. The mean of ten rings of 4 nm.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from measure import run_once

from volengine.core.boxes import Box
from volengine.core.picks import Picks
from volengine.core.surface import Surface
from volengine.io.meshes import write_mesh
from volengine.io.mrc.write import write_mrc
from volengine.io.open import open_source, open_volume
from volengine.io.picks import write_picks
from volengine.io.surfaces import SurfaceFacts, write_surfaces

VOXEL = (10.0, 10.0, 10.0)
PEERS = Path(os.environ.get("PEERS", "no peers"))
RINGS, RING_NM = 10, 4.0

MEAN_SHIFT = {
    "volengine": """
import sys, numpy as np
from volengine.ops.surfaces.mean_shift import mean_shift
at = np.load(sys.argv[1])
np.save(sys.argv[2], mean_shift(at, np.ones(len(at)), 7.0)[0])
""",
    "membrain_pick": """
import sys, numpy as np
from membrain_pick.clustering.mean_shift_inference import mean_shift_for_scores
at = np.load(sys.argv[1])
np.save(sys.argv[2], np.asarray(mean_shift_for_scores(at, np.ones(len(at)), 7.0, 150, 0.0, "cpu")[0]))
""",
}


@dataclass(frozen=True)
class Case:
    """A comparison: commands of both sides with an empty folder, what they found, and what is true."""

    name: str
    package: str
    ours: list[str]
    theirs: list[str]
    found: Callable[[Path], float]
    truth: float


def interpreter(package: str) -> str | None:
    """A Python that can import the package and what it needs; ``None`` if there is none."""
    for python in (PEERS / package / "bin/python", PEERS / "membrain" / "bin/python", Path(sys.executable)):
        if not python.exists():
            continue
        module = {"membrain_stats": ".membrain_stats_cli", "membrain_pick": ".clustering.mean_shift_inference"}
        code = f"import {package}{module.get(package, '.segmentation.cli')}"
        if subprocess.run([str(python), "-c", code], capture_output=True, check=False).returncode == 0:
            return str(python)
    return None


def skeleton(folder: Path, side: int) -> Case:
    """A slab whose normal has components of both signs."""
    z, y, _ = np.indices((side, side, side))
    mask = (np.abs(z - y) / np.sqrt(2) <= 3).astype(np.float32)
    write_mrc(folder / "slab.mrc", [mask], mask.shape, "float32", VOXEL)
    inner = slice(side // 4, side - side // 4)

    def found(out: Path) -> float:
        file = next(path for path in sorted(out.iterdir()) if path.suffix == ".mrc" or path.name.endswith(".ome.zarr"))
        thin = open_source(open_volume(str(file))).read(Box.of_shape((side, side, side))) > 0
        return float(thin[:, inner, inner].sum() / (thin[0, inner, inner].size))

    ours = ["skeleton", str(folder / "slab.mrc"), "--input", "mask", "--out", "OUT/slab.ome.zarr", "--no-progress"]
    call = "from membrain_seg.segmentation.cli import cli; cli()"
    theirs = ["-c", call, "skeletonize", "--label-path", str(folder / "slab.mrc"), "--out-folder", "OUT"]
    return Case("skeleton, voxels in a column", "membrain_seg", ["-m", "volengine.cli.main", *ours], theirs, found, 1.0)


def mean_shift(folder: Path, points: int) -> Case:
    """Points around places of a grid that is much wider than the bandwidth."""
    places = 30.0 * np.stack(np.meshgrid(*[np.arange(5)] * 2, [0, 1], indexing="ij"), -1).reshape(-1, 3)
    rng = np.random.default_rng(1)
    near = places[np.arange(points) % len(places)] + rng.normal(0, 1.0, (points, 3))
    np.save(folder / "points.npy", near)

    def sides(name: str) -> list[str]:
        return ["-c", MEAN_SHIFT[name], str(folder / "points.npy"), "OUT/centres.npy"]

    def found(out: Path) -> float:
        return float(len(np.load(out / "centres.npy")))

    name = f"mean shift of {points:,} points, centres"
    return Case(name, "membrain_pick", sides("volengine"), sides("membrain_pick"), found, float(len(places)))


def ripley(folder: Path, points: int) -> Case:
    """A plane of 400 x 400 nm with points without order."""
    count, step = 81, 50.0
    row, column = np.indices((count, count)).reshape(2, -1)
    at = np.stack([np.full(row.size, 100.0), row * step, column * step], axis=1)
    first = (np.arange(count - 1)[:, None] * count + np.arange(count - 1)).ravel()
    faces = np.concatenate(
        [np.stack([first, first + 1, first + count], 1), np.stack([first + 1, first + count + 1, first + count], 1)]
    )
    width = (count - 1) * step
    rng = np.random.default_rng(2)
    place = np.concatenate([np.full((points, 1), 100.0), rng.uniform(0, width, (points, 2))], axis=1)
    shape = (21, count * 5, count * 5)
    facts = SurfaceFacts("plane", "membrane", VOXEL, (0.0, 0.0, 0.0), shape)
    write_surfaces(folder / "plane.surfaces", [(Surface(at, faces, number=1), {})], facts)
    picks = Picks(place / 10, voxel_size=VOXEL, shape=shape, tomogram="plane", feature="point")
    write_picks(folder / "plane__point.star", picks)
    (folder / "plane").mkdir()
    write_mesh(folder / "plane" / "plane.obj", at, faces)
    head = "data_\n\nloop_\n_rlnCoordinateX #1\n_rlnCoordinateY #2\n_rlnCoordinateZ #3\n"
    rows = "".join(f"{x:.3f} {y:.3f} {z:.3f}\n" for z, y, x in place)
    (folder / "plane" / "plane_clusters.star").write_text(head + rows)

    def found(out: Path) -> float:
        if (out / "ripley_pooled.csv").exists():
            with (out / "ripley_pooled.csv").open(newline="") as file:
                values = [float(row["o"]) for row in csv.DictReader(file)]
        else:  # x_values, y_values in angstrom, of as many rings
            lines = [line.split() for line in (out / "ripleysO.star").read_text().splitlines()]
            values = [float(words[2]) for words in lines if len(words) == 3 and words[0] == "O"]
        return float(np.mean(values[:RINGS]))

    reach = RINGS * RING_NM
    ours = ["stats", str(folder / "plane__point.star"), "--surface", str(folder / "plane.surfaces"), "--out", "OUT"]
    ours += ["--ripley-nm", f"{reach:g}", "--bin-nm", f"{RING_NM:g}", "--simulations", "0", "--no-progress"]
    call = "from membrain_stats.membrain_stats_cli import cli; cli()"
    theirs = ["-c", call, "geodesic_ripley", "--in-folder", str(folder / "plane"), "--out-folder", "OUT"]
    theirs += ["--ripley-type", "O", "--num-bins", str(RINGS), "--bin-size", f"{RING_NM * 10:g}", "--method", "exact"]
    name = f"Ripley's O of {points:,} points"
    return Case(name, "membrain_stats", ["-m", "volengine.cli.main", *ours], theirs, found, 1.0)


def measured(case: Case, name: str, python: str, words: list[str], folder: Path) -> str:
    """A row of the table."""
    out = folder / f"{case.package}_{name}"
    out.mkdir()
    took = run_once([python, *(word.replace("OUT", str(out), 1) if word.startswith("OUT") else word for word in words)])
    value = case.found(out)
    cost = f"{took.wall_s:.1f} | {took.cpu_s:.1f} | {took.peak_bytes / 1e6:.0f}"
    return f"| {case.name} | {name} | {cost} | {value:.3f} | {case.truth:g} | {value / case.truth - 1:+.1%} |"


def main() -> None:
    """Run all, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=2000, help="of mean shift; a third of them for Ripley's O")
    parser.add_argument("--side", type=int, default=128, help="of the volume with the slab, voxels")
    given = parser.parse_args()
    print("| what | program | wall, s | processor, s | largest process, MB | found | true | error |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    missing = []
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where)
        for case in (
            skeleton(folder, given.side),
            mean_shift(folder, given.points),
            ripley(folder, given.points // 3),
        ):
            print(measured(case, "volengine", sys.executable, case.ours, folder), flush=True)
            python = interpreter(case.package)
            if python is None:
                missing.append(case.package)
                continue
            try:
                print(measured(case, case.package, python, case.theirs, folder), flush=True)
            except RuntimeError as error:  # their installation may lack something
                last = str(error).strip().splitlines()[-1]
                print(f"| {case.name} | {case.package} | failed: {last} | | | | | |", flush=True)
    if missing:
        print(f"\nNot installed, so not measured: {', '.join(missing)}. Set PEERS to the folder of their environments.")


if __name__ == "__main__":
    main()
