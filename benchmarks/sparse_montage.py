"""Picking a sparse montage of 16,384 x 16,384 x 256 voxels whole, with particles that are known by construction.

    python benchmarks/sparse_montage.py --side 16384 --sections 256 --count 100000 --folder /disk

Every eighth particle has a weaker neighbour that is too close to be kept. The picks must be those that were drawn, in
the same order, with the same weights. Time, processor time and the peak of the largest process are those of one command
``volengine pick``; the picture that it reads is made before. Last, 10^12 voxels are planned for workers of 4 GB.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from measure import run_once

import volengine
from volengine.io.omezarr.image import finish_image

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
from sparse_particles import SPACING_VOX, VOXEL, image, store

LARGE = (3720, 16384, 16384)


def words_of(source: str, out: Path, *more: str) -> list[str]:
    """The command that picks a prediction."""
    spacing = ["--spacing-nm", str(SPACING_VOX * VOXEL / 10), "--no-labels"]
    program = str(Path(sys.executable).with_name("volengine"))
    return [program, "pick", source, "--out", str(out), *spacing, "--no-progress", *more]


def main() -> None:
    """Make the prediction, pick it, compare, and say what it took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=16384)
    parser.add_argument("--sections", type=int, default=256)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--folder", help="where there is room; default: a temporary folder")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        place = Path(folder)
        shape = (asked.sections, asked.side, asked.side)
        source, known = store(place, shape, asked.count, chunk=(128, 128, 128))
        took = run_once(words_of(source, place / "picks.csv"))
        picks = volengine.read_picks(place / "picks.csv")
        if not np.array_equal(picks.position_vox, known.position) or not np.array_equal(picks.weight, known.weight):
            raise SystemExit("the picks are not those that were drawn")
        print(
            f"{np.prod(shape) / 1e9:.1f} thousand million voxels, {len(picks):,} picks, as drawn: {took.wall_s:.0f} s,"
        )
        print(f"{took.cpu_s:.0f} s of processor time, peak {took.peak_bytes / 1e6:.0f} MB")
        empty = image(str(place / "large.ome.zarr"), LARGE, (128, 128, 128))
        finish_image(empty)
        words = words_of(empty.url, place / "large.csv", "--memory-limit", "4GB", "--dry-run")
        print(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


if __name__ == "__main__":
    main()
