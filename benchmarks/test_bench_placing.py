"""Placement: particles of a ribosome's, Rubisco's and Hsp70's size. Goals: 400 iterations in a box of 400x400x50 voxels
at 12 A in 5 s, and 20,000 particles in one of 1000x1000x300 at 10 A in 60 s, on one core.
"""

from __future__ import annotations

import time

import numpy as np
import pytest
from measure import size

from volengine.core.specimen import Template
from volengine.sim.placing.fill import fill
from volengine.sim.placing.layers import Layer, Species
from volengine.sim.placing.occupancy import Occupancy
from volengine.sim.seeds import stream

GOAL_S = {"iterations": 5.0, "many": 60.0}


def blob(name, radius, lobes):
    """A stand-in: a union of balls with an atom in each 20 cubic angstrom."""
    rng = stream(1, name)
    side = np.arange(-1.4 * radius, 1.4 * radius, 2.7)
    at = np.stack(np.meshgrid(side, side, side, indexing="ij"), -1).reshape(-1, 3)
    centre = (rng.random((lobes, 3)) - 0.5) * radius
    at = at[np.any([((at - c) ** 2).sum(1) < (0.8 * radius) ** 2 for c in centre], axis=0)].astype("f4")
    return Template(name, (name,), at, np.ones(len(at), "f4"), np.zeros(len(at), "u1"), 1.0)


@pytest.mark.parametrize("what", GOAL_S)
def test_placing(benchmark, what):
    templates = [blob("ribosome", 78.0, 8), blob("rubisco", 48.0, 5), blob("hsp70", 28.0, 3)]
    species = [Species(t.name, (i,)) for i, t in enumerate(templates)]
    if what == "iterations":
        side, depth, voxel = size("VOLENGINE_BENCH_SIDE", 100, 400), 50, 12.0
        layer = Layer(tuple(species), iterations=size("VOLENGINE_BENCH_PLACE", 40, 400), density=0.4)
    else:
        side, depth, voxel = size("VOLENGINE_BENCH_SIDE", 100, 1000), 300, 10.0
        half = size("VOLENGINE_BENCH_PLACE", 50, 10000)
        layer = Layer(tuple(Species(s.name, s.templates, count=half) for s in species[:2]))

    def run():
        box = Occupancy((depth, side, side), voxel, walls="z")
        began = time.process_time()  # imports and solids count: they are part of every specimen
        rows, _ = fill(box, templates, [layer], stream(1, "placing"))
        return len(rows), box.density, time.process_time() - began

    placed, density, cpu = benchmark.pedantic(run, rounds=1)
    benchmark.extra_info.update(
        placed=placed, density=round(density, 3), per_s=round(placed / cpu), goal_s=GOAL_S[what]
    )
    assert placed > 20
    assert cpu <= GOAL_S[what]
