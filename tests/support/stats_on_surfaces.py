"""Sets of surfaces and tables of particles around the middle of a tomogram, and their statistics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from stats_inputs import QUIET
from surface_shapes import sphere

from volengine.core.picks import Picks
from volengine.core.surface import Surface
from volengine.io.picks import write_picks
from volengine.io.surfaces import SurfaceFacts, write_surfaces
from volengine.tasks.stats.recipe import StatsRecipe
from volengine.tasks.stats.surface_recipe import SurfaceStatsRecipe
from volengine.tasks.stats.tables import Stats
from volengine.tasks.stats.verb import stats

VOXEL = (13.0, 9.0, 7.0)
ORIGIN = (500.0, -300.0, 120.0)
SHAPE = (200, 300, 400)
CENTRE = np.array([130.0, 135.0, 140.0])
"""The middle of the shapes, nm from the first voxel's centre; the tomogram measures 260 x 270 x 280 nm."""

RECIPE = StatsRecipe(plots=False, eps_nm=6, min_points=2)
FEW = SurfaceStatsRecipe(ripley_nm=20, bin_nm=5, simulations=0, occupancy_nm=0, max_distance_nm=5)


def surfaces_of(folder: Path, *meshes: Any, tomogram: str = "TS_01", columns: Any = None, **facts: Any) -> str:
    """A set of surfaces of meshes around 0 in nm, put around the tomogram's middle."""
    path = folder / f"{tomogram}__membrane.surfaces"
    grid = {"voxel_size": VOXEL, "origin": ORIGIN, "shape": SHAPE}
    known: dict[str, Any] = {"tomogram": tomogram, "feature": "membrane", **grid, **facts}
    every = [(Surface((v + CENTRE) * 10, f.astype(np.int32), columns=columns or {}), {}) for v, f in meshes]
    write_surfaces(path, every, SurfaceFacts(**known))
    return str(path)


def picks_of(folder: Path, at: Any, name: str = "receptor", *, tomogram: str = "TS_01", **more: Any) -> str:
    """A table of particles at places around 0 in nm."""
    known = {"voxel_size": VOXEL, "origin": ORIGIN, "shape": SHAPE, **more}
    index = (np.asarray(at, float).reshape(-1, 3) + CENTRE) * 10 / np.asarray(known["voxel_size"])
    path = folder / f"{tomogram}__{name}.csv"
    write_picks(path, Picks(index, tomogram=tomogram, feature=name, **known))
    return str(path)


def run(picks: Any, surfaces: Any, recipe: SurfaceStatsRecipe = FEW, out: Any = None, **more: Any) -> Stats:
    return stats(picks, out, more.pop("stats_recipe", RECIPE), QUIET, surfaces=surfaces, surface_recipe=recipe, **more)


def column(found: Stats, table: str, name: str, **where: Any) -> list[Any]:
    return [r[name] for r in found[table] if all(r[k.rstrip("_")] == v for k, v in where.items())]


def three(folder: Path, seed: int = 0) -> tuple[list[str], list[str]]:
    """Three tomograms with two spheres each, and particles of two classes on them."""
    rng = np.random.default_rng(seed)
    picks, surfaces = [], []
    ball = sphere(20, 500)
    for k, name in enumerate(("T1", "T2", "T3")):
        meshes = [(ball[0] + [0, 0, -30], ball[1]), (ball[0] * (1 + 0.1 * k) + [0, 0, 30], ball[1])]
        surfaces.append(surfaces_of(folder, *meshes, tomogram=name))
        for cls, n in (("a", 24 + 6 * k), ("b", 9)):
            u = rng.normal(size=(n, 3))
            u *= 20 / np.linalg.norm(u, axis=1)[:, None]
            picks.append(picks_of(folder, u + np.array([0, 0, 30]) * rng.choice([-1, 1], (n, 1)), cls, tomogram=name))
    return picks, surfaces
