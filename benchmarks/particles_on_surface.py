"""Time and memory of ``stats --surface`` on a sphere of 4 nm² for each vertex, with particles at random.

    python benchmarks/particles_on_surface.py VERTICES PARTICLES [SIMULATIONS [exact|heat [WORKERS]]]

All other parameters are the defaults: Ripley's functions to 50 nm, the nearest neighbour, clusters, occupancy.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.spatial import ConvexHull

import volengine
from volengine.core.picks import Picks
from volengine.core.surface import Surface
from volengine.io.picks import write_picks
from volengine.io.surfaces import SurfaceFacts, write_surfaces

AREA_NM2 = 4.0


def peak_mb() -> float:
    """The largest resident memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1e3


def sphere(count: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Vertices (angstrom, z, y, x, around 0), faces and radius of a sphere whose vertices lie on a spiral."""
    radius = 10 * (count * AREA_NM2 / (4 * np.pi)) ** 0.5
    k = np.arange(count) + 0.5
    tilt, turn = np.arccos(1 - 2 * k / count), np.pi * (1 + 5**0.5) * k
    at = radius * np.stack([np.cos(tilt), np.sin(turn) * np.sin(tilt), np.cos(turn) * np.sin(tilt)], axis=1)
    faces = ConvexHull(at).simplices
    a, b, c = (at[faces[:, i]] for i in range(3))
    inwards = np.einsum("ij,ij->i", np.cross(b - a, c - a), a) > 0  # seen in z, y, x
    faces[inwards] = faces[inwards][:, ::-1]
    return at, faces, radius


def main() -> None:
    """Make the sphere and the particles, and measure."""
    vertices, count = int(sys.argv[1]), int(sys.argv[2])
    simulations = int(sys.argv[3]) if len(sys.argv) > 3 else 99
    method = sys.argv[4] if len(sys.argv) > 4 else "exact"
    workers = int(sys.argv[5]) if len(sys.argv) > 5 else 0
    at, faces, radius = sphere(vertices)
    normal = np.random.default_rng(0).normal(size=(count, 3))
    places = radius * (1 + normal / np.linalg.norm(normal, axis=1)[:, None])
    side = int(radius / 5) + 1
    with tempfile.TemporaryDirectory() as folder:
        facts = SurfaceFacts("TS_01", "membrane", (10.0, 10.0, 10.0), shape=(side,) * 3)
        write_surfaces(f"{folder}/TS_01.surfaces", [(Surface(at + radius, faces.astype(np.int32)), {})], facts)
        picks = Picks(places / 10, (10.0,) * 3, shape=(side,) * 3, tomogram="TS_01", feature="receptor")
        write_picks(f"{folder}/TS_01__receptor.csv", picks)
        recipe = volengine.SurfaceStatsRecipe.from_json({"simulations": simulations, "geodesic": method})
        wall, cpu = time.perf_counter(), time.process_time()
        found = volengine.stats(
            f"{folder}/TS_01__receptor.csv",
            options=volengine.RunOptions(workers=workers, progress=False),
            surfaces=f"{folder}/TS_01.surfaces",
            surface_recipe=recipe,
        )
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    row = found["ripley_pooled"][-1]
    print(f"{vertices} vertices, {count} particles, {simulations} simulations, {method}, {workers} workers:", end=" ")
    print(f"{cpu:.0f} s of processor time, {wall:.0f} s, {peak_mb():.0f} MB; K at {row['to_nm']:g} nm {row['k']:.3f}")


if __name__ == "__main__":
    main()
