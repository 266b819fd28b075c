"""A tomogram with particles on a ball whose places and angles are known, and the ball as a set of surfaces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import mrcfile
import numpy as np
from numpy.typing import NDArray
from oriented_surfaces import ball

from volengine.core.orientation import euler_to_matrix, normal_to_euler
from volengine.core.picks import Picks
from volengine.io.picks import write_picks
from volengine.io.surfaces import SurfaceFacts, write_surfaces

SIZE = 10.0
SHAPE = (44, 48, 52)
CENTRE = np.array([210.0, 240.0, 270.0])
RADIUS = 130.0
ORIGIN = (100.0, -30.0, 20.0)
BLOBS = (((0, 0, 0), 18.0, 1.0), ((26, 0, 14), 12.0, 1.0), ((0, 22, -10), 10.0, -0.7))
"""Place in the particle's frame (x, y, z, angstrom), width, height."""


def density(xyz: NDArray) -> NDArray:
    """A particle without symmetry."""
    return sum(w * np.exp(-((xyz - np.array(c, float)) ** 2).sum(-1) / (2 * s * s)) for c, s, w in BLOBS)


def directions(number: int, seed: int = 0, least_deg: float = 38.0) -> NDArray:
    """Unit vectors z, y, x that are far from each other."""
    rng = np.random.default_rng(seed)
    found: list[NDArray] = []
    while len(found) < number:
        one = rng.normal(size=3)
        one /= np.linalg.norm(one)
        if all(one @ other < np.cos(np.radians(least_deg)) for other in found):
            found.append(one)
    return np.array(found)


def write_case(
    folder: Path,
    name: str = "TS_01",
    number: int = 12,
    seed: int = 0,
    noise: float = 0.0,
    dark: bool = False,
    any_turn: bool = False,
    particle: Callable[[NDArray], NDArray] | None = None,
) -> Picks:
    """Write ``NAME.mrc``, ``NAME.surfaces`` and ``NAME.star``; return the particles.

    Angles about the normal are multiples of 15 degrees, or with ``any_turn`` any; ``particle`` is another density.
    """
    normal = directions(number, seed)
    euler = normal_to_euler(normal)
    rng = np.random.default_rng(seed + 1)
    euler[:, 0] = rng.uniform(-180, 180, number) if any_turn else rng.integers(-11, 12, number) * 15
    place = CENTRE + RADIUS * normal
    grid = np.moveaxis(np.indices(SHAPE), 0, -1) * SIZE
    volume = np.zeros(SHAPE)
    for at, matrix in zip(place, euler_to_matrix(euler), strict=True):
        volume += (particle or density)((grid - at)[..., ::-1] @ matrix)
    volume += noise * np.random.default_rng(seed + 2).normal(size=SHAPE)
    with mrcfile.new(folder / f"{name}.mrc", overwrite=True) as file:
        file.set_data((-volume if dark else volume).astype("f4"))
        file.voxel_size = SIZE
        file.header.origin = ORIGIN[::-1]
    facts = SurfaceFacts(name, "membrane", (SIZE,) * 3, ORIGIN, SHAPE)
    write_surfaces(folder / f"{name}.surfaces", [(ball(RADIUS, CENTRE), {"area_nm2": 1.0})], facts)
    picks = Picks(
        place / SIZE, (SIZE,) * 3, ORIGIN, SHAPE, name, "receptor", euler=euler, weight=np.ones(number), normal=normal
    )
    write_picks(folder / f"{name}.star", picks)
    return picks


def write_template(path: Path, side: int = 15, particle: Callable[[NDArray], NDArray] | None = None) -> None:
    """The particle upright, its middle at the voxel ``side // 2``."""
    grid = (np.moveaxis(np.indices((side,) * 3), 0, -1) - side // 2) * SIZE
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data((particle or density)(grid[..., ::-1]).astype("f4"))
        file.voxel_size = SIZE
