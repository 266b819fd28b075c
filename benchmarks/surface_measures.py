"""Errors and times of curvature, thickness and skeletons on shapes whose measures are known by formula.

    python benchmarks/surface_measures.py

prints three tables. Meshes are clean, or made by marching cubes of a mask, with all its staircases; lengths in voxels.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
from shapes import ball, cylinder, staircase, torus, turned

from volengine.core.surface import Surface
from volengine.ops.skeleton import column_areas, single_layer, surface_skeleton
from volengine.ops.surfaces.curvature import curvature
from volengine.ops.surfaces.thickness import thickness

AXIS = np.array([1.0, 2, 3]) / np.sqrt(14)


def curved() -> Iterator[tuple[str, Surface, Any, Any, Any]]:
    """Name, surface, true k1 and k2, and which vertices count."""
    every = slice(None)
    yield "sphere 20, clean", turned(ball(20.0, 4)), 1 / 20, 1 / 20, every
    stairs = staircase(lambda z, y, x: (z - 25) ** 2 + (y - 25.3) ** 2 + (x - 24.6) ** 2 < 400, (51, 51, 51))
    yield "sphere 20, staircases", stairs, 1 / 20, 1 / 20, every
    tube = cylinder(20.0, 80.0, 1.5)
    yield "cylinder 20, clean", turned(tube), 1 / 20, 0.0, np.abs(tube.vertices[:, 0] - 40) < 25

    def inside(z: Any, y: Any, x: Any) -> Any:
        away = np.stack([z - 35, y - 35, x - 35], -1)
        return (away**2).sum(-1) - (away @ AXIS) ** 2 < 400

    oblique = staircase(inside, (71, 71, 71))
    away = oblique.vertices - 35
    wall = np.abs(np.linalg.norm(away - (away @ AXIS)[:, None] * AXIS, axis=1) - 20) < 1.5
    yield "cylinder 20, staircases", oblique, 1 / 20, 0.0, wall & (np.abs(away).max(axis=1) < 18)
    ring, angle = torus(40.0, 15.0, 1.5)
    yield "torus 40, 15, clean", turned(ring), 1 / 15, np.cos(angle) / (40 + 15 * np.cos(angle)), every


def head(*names: str) -> None:
    print(f"| {' | '.join(names)} |\n{'| --- ' * len(names)}|")


def curvatures() -> None:
    head("shape", "radius", "mean k1 / true", "rms error of k1", "mean error of k2 / true k1", "mean H / true", "s")
    for name, surface, k1, k2, count in curved():
        for radius in (6.0, 10.0):
            begin = time.perf_counter()
            found = curvature(surface, radius)
            took = time.perf_counter() - begin
            size = np.broadcast_to(k1, found.k1.shape)[count].mean()
            right = [(f - t)[count] / size for f, t in ((found.k1, k1), (found.k2, k2), (found.mean, (k1 + k2) / 2))]
            bend = np.broadcast_to((k1 + k2) / 2, found.k1.shape)[count].mean()
            print(
                f"| {name} ({len(surface.vertices)} vertices) | {radius:g} | {1 + right[0].mean():.3f} | "
                f"{np.sqrt((right[0] ** 2).mean()):.3f} | {right[1].mean():+.3f} | "
                f"{1 + right[2].mean() * size / bend:.3f} | {took:.1f} |"
            )


def thicknesses() -> None:
    head("slab of staircases", "true", "mean / true", "standard deviation / true", "none")

    def shell(z: Any, y: Any, x: Any) -> Any:
        return np.abs(np.sqrt((z - 30) ** 2 + (y - 30.3) ** 2 + (x - 29.6) ** 2) - 22) < 3

    flat = staircase(lambda z, y, x: np.abs((z - 30) + 2 * (y - 30) + 3 * (x - 30)) < 3 * np.sqrt(14), (61, 61, 61))
    inner = np.abs(flat.vertices - 30).max(axis=1) < 20
    cases = [
        ("sphere 22", staircase(shell, (61, 61, 61)), 6.0, slice(None)),
        ("sphere 22, voxels 1 x 2 x 1.5", staircase(shell, (61, 31, 41), (1.0, 2.0, 1.5)), 6.0, slice(None)),
        ("plane across (1, 2, 3)", flat, 23 / np.sqrt(14), inner),
    ]
    for name, surface, true, count in cases:
        found = thickness(surface, 20.0, curvature(surface, 6.0).normals).thickness[count] / true
        print(
            f"| {name} | {true:.3f} | {np.nanmean(found):.3f} | {np.nanstd(found):.3f} | {np.isnan(found).mean():.3%} |"
        )


def skeletons() -> None:
    head("skeleton", "one layer", "ridge", "area of one layer / true")
    z, y, x = np.indices((64, 64, 64)) - 31.5
    for thick in (3, 4, 5, 6, 7.3):
        ones, ridges, areas = [], [], []
        for normal in (n for n in itertools.product((-1, 0, 1), repeat=3) if any(n)):
            unit = np.array(normal) / np.linalg.norm(normal)
            mask = np.abs(z * unit[0] + y * unit[1] + x * unit[2] + 0.13) <= thick / 2
            found = single_layer(mask)
            inner = np.linalg.norm(found.place - 31.5, axis=1) <= 20
            ridge = surface_skeleton(mask) & (z * z + y * y + x * x <= 400)
            disc = np.pi * 400
            ones.append(inner.sum() / disc / np.abs(unit).max())
            ridges.append(ridge.sum() / disc / np.abs(unit).max())
            areas.append(column_areas(found.direction[inner], (1, 1, 1)).sum() / disc)
        text = " | ".join(f"{min(v):.2f} to {max(v):.2f}" for v in (ones, ridges, areas))
        print(f"| slabs of {thick:g} voxels in 26 directions | {text} |")
    radius = np.sqrt(z * z + y * y + x * x)
    for large, thick in ((12, 4), (20, 5), (24, 4), (24, 6), (26, 7.3)):
        mask = np.abs(radius - large) <= thick / 2
        found = single_layer(mask)
        columns = 4 * np.pi * large**2 * 0.831  # mean of the largest component of a normal, over all directions
        area = column_areas(found.direction, (1, 1, 1)).sum() / (4 * np.pi * large**2)
        ridge = surface_skeleton(mask).sum() / columns
        print(f"| sphere {large}, {thick:g} voxels | {len(found.place) / columns:.2f} | {ridge:.2f} | {area:.3f} |")


if __name__ == "__main__":
    curvatures()
    print()
    thicknesses()
    print()
    skeletons()
