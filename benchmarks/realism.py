"""How far simulated tomograms are from real ones: the same numbers of each, side by side.

    python benchmarks/realism.py VOLUME [VOLUME ...] [--wall ATLAS] [--box z0:z1,y0:y1,x0:x1] [--json FILE]
    python benchmarks/realism.py --scene OUT [--like VOLUME]

Each ``VOLUME`` is a tomogram (OME-Zarr, MRC, TIFF). Measured are: the product of neighbours over the variance at a
distance of 1 and 2 voxels along each axis; kurtosis and skewness; the power in bands of frequency (3-D Fourier
transform under a Hann window, radial mean), in decibel against that of 0.10 to 0.15 cycles per voxel; and the power
within 20 degrees of each axis at 0.12 to 0.25 cycles per voxel against that of the whole shell, which the missing wedge
makes uneven. ``--wall``: a label volume of the first one; the mean of its non-zero voxels less that of the others, over
the standard deviation of the tomogram, is the contrast. The last ``VOLUME`` is what the others are compared with.

``--scene`` simulates two microtubules at 10.52 A into the folder ``OUT`` with the physics as it was (damage 4 S dose,
ice as thick as the volume) and as it is, measures both, and compares with ``--like``.
"""

from __future__ import annotations

import argparse
import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import scipy.fft
import scipy.stats
from numpy.typing import NDArray

import volengine
from volengine.core.boxes import Box
from volengine.io.open import open_source
from volengine.tasks.simulate.verb import simulate

Floats = NDArray[np.float64]
BANDS = (0.0, 0.02, 0.1, 0.15, 0.23, 0.3, 0.38, 0.45, 0.5)
"""Cycles per voxel between which the power is averaged; the third band is that against which it is given."""
REFERENCE = 2
CONE_DEG, SHELL = 20.0, (0.12, 0.25)
SCENE: dict[str, Any] = {
    "name": "scene",
    "seed": 11,
    "specimen": {
        "shape": [40, 200, 200],
        "voxel_size": 10.52,
        "filaments": [{"kind": "microtubule", "count": 2, "length_nm": [200, 400], "inclination_deg": 3}],
        "classes": {"microtubule": 1},
    },
    "tilts": {"min_deg": -60, "max_deg": 60, "step_deg": 3, "order": "dose-symmetric"},
    "dose": {"total_e_per_a2": 100},
    "exposure": {"optics": {"defocus_um": 4}},
    "keep": {"tilts": False},
}
"""Two microtubules in ice: what is on the real tomogram that they are compared with."""
INNER = Box((2, 4, 36), (38, 196, 164))
"""The part of the scene that is seen in all images: steep rays to voxels near the sides in x miss the volume."""
FORMER_B = 0.088
"""B per dose of the damage before, 4 S with Parakeet's S of 0.022, square angstrom per e/A^2."""
PHYSICS: dict[str, dict[str, Any]] = {
    "before": {"ice": {"thickness_nm": 42.08}, "damage": {"model": "b-factor", "b_factor_a2": FORMER_B}},
    "damage": {"ice": {"thickness_nm": 42.08}, "damage": {}},
    "now": {"ice": {}, "damage": {}},
    "200 nm, 60 e": {"ice": {"thickness_nm": 200}, "damage": {}, "dose": 60},
    "interface": {"ice": {"interface_per_nm2": 0.01}, "damage": {}},
    "weighted": {"ice": {}, "damage": {}, "reconstruct": {"dose_weight": True}},
    "sirt": {"ice": {}, "damage": {}, "reconstruct": {"method": "sirt"}},
    "sirt, 200 nm, 60 e": {
        "ice": {"thickness_nm": 200},
        "damage": {},
        "dose": 60,
        "reconstruct": {"method": "sirt"},
    },
}


def measured(volume: NDArray[np.floating[Any]], wall: NDArray[Any] | None = None) -> dict[str, Any]:
    """The numbers of one tomogram.

    Parameters
    ----------
    volume
        (z, y, x), any grey values; at least 8 voxels along each axis.
    wall
        (z, y, x): voxels that are not 0 belong to the wall, or ``None``.

    Returns
    -------
    dict
        ``lag1`` and ``lag2`` (z, y, x), ``kurtosis``, ``skewness``, ``power_db`` by band, ``cone_db`` (z, y, x), and
        ``wall_sd`` if there is a wall: its mean less that of the rest, in standard deviations of the volume.

    Examples
    --------
    >>> noise = np.random.default_rng(1).standard_normal((24, 32, 32))
    >>> found = measured(noise)
    >>> bool(max(map(abs, found["lag1"] + found["cone_db"])) < 1)
    True
    """
    grey = np.asarray(volume, float)
    if grey.ndim != 3 or min(grey.shape) < 8:
        raise SystemExit(f"A tomogram of {grey.shape} voxels; it takes three axes of 8 or more.")
    if not np.isfinite(grey).all() or grey.std() == 0:
        raise SystemExit("The tomogram has values that are not finite, or is the same everywhere.")
    grey = (grey - grey.mean()) / grey.std()
    found: dict[str, Any] = {f"lag{lag}": [_lag(grey, axis, lag) for axis in range(3)] for lag in (1, 2)}
    found["kurtosis"] = float(scipy.stats.kurtosis(grey, axis=None))
    found["skewness"] = float(scipy.stats.skew(grey, axis=None))
    power, along = _spectrum(grey)
    radius = np.sqrt(sum(k**2 for k in along))
    bands = [float(power[(radius > low) & (radius <= high)].mean()) for low, high in pairwise(BANDS)]
    found["power_db"] = [_db(band / bands[REFERENCE]) for band in bands]
    shell = (radius > SHELL[0]) & (radius <= SHELL[1])
    least = np.cos(np.radians(CONE_DEG))
    cones = (power[shell & (np.abs(k) >= least * radius)].mean() for k in along)
    found["cone_db"] = [_db(float(cone) / float(power[shell].mean())) for cone in cones]
    if wall is not None:
        on = np.asarray(wall) != 0
        if on.shape != grey.shape or not on.any() or on.all():
            raise SystemExit(f"The wall has {on.shape} voxels, {int(on.sum())} of them set; the tomogram {grey.shape}.")
        found["wall_sd"] = float(grey[on].mean() - grey[~on].mean())
    return found


def _lag(grey: Floats, axis: int, lag: int) -> float:
    moved = np.moveaxis(grey, axis, 0)
    return float((moved[lag:] * moved[:-lag]).mean())


def _db(ratio: float) -> float:
    return float(10 * np.log10(max(ratio, 1e-12)))


def _spectrum(grey: Floats) -> tuple[Floats, list[Floats]]:
    """Power under a Hann window, and the frequency along each axis, cycles per voxel, in arrays that broadcast."""
    for axis, count in enumerate(grey.shape):
        shape = [1, 1, 1]
        shape[axis] = count
        grey = grey * (0.5 - 0.5 * np.cos(2 * np.pi * (np.arange(count) + 0.5) / count)).reshape(shape)
    power = np.abs(scipy.fft.fftn(grey - grey.mean())) ** 2
    along = np.meshgrid(*(scipy.fft.fftfreq(n) for n in grey.shape), indexing="ij", sparse=True)
    return power, list(along)


def read(path: str, box: Box | None = None, voxel_size: float | None = None) -> NDArray[Any]:
    """A tomogram, or a box of it; ``STORE#labels/NAME`` for labels in a store."""
    store, _, group = path.partition("#")
    volume = volengine.open_volume(store, group=group, voxel_size=voxel_size)
    return np.asarray(open_source(volume).read(box or Box.of_shape(volume.shape)))


def box_of(text: str) -> Box:
    """``z0:z1,y0:y1,x0:x1`` as a box."""
    try:
        (z0, z1), (y0, y1), (x0, x1) = (map(int, part.split(":")) for part in text.split(","))
    except ValueError:
        raise SystemExit(f"--box {text}: write z0:z1,y0:y1,x0:x1, whole numbers.") from None
    return Box((z0, y0, x0), (z1, y1, x1))


def scenes(out: Path) -> dict[str, dict[str, Any]]:
    """Simulate the scene with each physics, and measure it."""
    found = {}
    for name, physics in PHYSICS.items():
        recipe = {
            **SCENE,
            "specimen": {**SCENE["specimen"], "ice": physics["ice"]},
            "dose": {"total_e_per_a2": physics.get("dose", SCENE["dose"]["total_e_per_a2"])},
            "exposure": {**SCENE["exposure"], "damage": physics["damage"]},
            "reconstruct": physics.get("reconstruct", {}),
        }
        folder = out / name.replace(" ", "_").replace(",", "")
        simulate(recipe, str(folder), 1, volengine.RunOptions(progress=False))
        store = f"{folder}/tomograms/scene_0001.ome.zarr"
        grey, atlas = (read(place, INNER) for place in (store, f"{store}#labels/atlas"))
        found[name] = measured(-grey, atlas)  # molecules bright, as in the real one
    return found


def table(rows: dict[str, dict[str, Any]]) -> str:
    """The numbers as a Markdown table; the last row is what the others are compared with."""
    head = ["volume", "lag-1 z y x", "lag-2 z y x", "kurtosis, skew", "wall, sd", "dB by band", "cone z y x, dB"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for name, one in rows.items():
        numbers = [
            " ".join(f"{v:.2f}" for v in one["lag1"]),
            " ".join(f"{v:.2f}" for v in one["lag2"]),
            f"{one['kurtosis']:.2f}, {one['skewness']:+.2f}",
            f"{one['wall_sd']:.2f}" if "wall_sd" in one else "",
            " ".join(f"{v:+.0f}" for v in one["power_db"]),
            " ".join(f"{v:+.0f}" for v in one["cone_db"]),
        ]
        lines.append(f"| {name} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("volumes", nargs="*", help="tomograms")
    parser.add_argument("--wall", help="label volume of the first tomogram")
    parser.add_argument("--box", type=box_of, help="z0:z1,y0:y1,x0:x1 of each tomogram")
    parser.add_argument("--voxel-size", type=float, default=10.0, help="of files that do not state it, angstrom")
    parser.add_argument("--scene", type=Path, help="simulate two microtubules into this folder")
    parser.add_argument("--like", help="a real tomogram that the scene is compared with")
    parser.add_argument("--json", type=Path, help="write the numbers to this file as well")
    given = parser.parse_args()
    if not given.volumes and given.scene is None:
        parser.error("give tomograms, or --scene OUT")
    rows = scenes(given.scene) if given.scene else {}
    for number, path in enumerate([*given.volumes, *([given.like] if given.like else [])]):
        wall = read(given.wall, given.box, given.voxel_size) if given.wall and number == 0 else None
        rows[Path(path.partition("#")[0]).name] = measured(read(path, given.box, given.voxel_size), wall)
    sys.stdout.write(table(rows) + "\n")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
