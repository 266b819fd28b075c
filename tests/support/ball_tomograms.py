"""Small tomograms of bright balls, each with voxels of its own, and what a run makes of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from volengine.io.mrc.write import write_mrc

SHAPE = (32, 96, 96)
CENTRES = ((10, 20, 20), (20, 70, 24), (12, 24, 70))


def tomogram(path: Path, number: int) -> str:
    """Balls of radius 6; each tomogram has another number of them, and other voxels."""
    array, grid = np.zeros(SHAPE, "float32"), np.indices(SHAPE)
    for centre in CENTRES[: 1 + number % 3]:
        array[sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) <= 36] = 1.0
    array[0, 0, 0] = number * 1e-5
    write_mrc(path, [array], SHAPE, "float32", (10.0, 10.0, 10.0))
    return str(path)


def products(out: Path) -> dict[str, str]:
    """Digests of the tables of picks and of all stored voxels, by path."""
    files = [*(out / "picks").glob("*.star")]
    for folder in ("tomograms", "predictions"):
        files += [f for f in (out / folder).rglob("*") if f.is_file() and f.suffix != ".json"]
    return {str(f.relative_to(out)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}
