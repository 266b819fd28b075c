"""Weak scaling from one to two workers, in CPU seconds, and what the simulation says of it.

    python benchmarks/scaling.py --units 24

A kernel that only computes (0.25 s, in cache) runs on real worker processes. CPU seconds are counted and not wall
seconds: those of each worker between its first and its last unit, with everything that the engine does there, and those
of the driver with Dask's scheduler, as the slope between a short run and a long one. So the figures hold on a machine
with other work on it. Two workers with twice the units would take ``max(worker 1, worker 2)`` on free cores: the
speed-up is 2 x (one worker's seconds per unit) / (that, per unit). *With the driver on the same cores* adds its seconds
to both sides.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from scaling_model import Case, Simulation, Stage


def burn(block: Any, loops: int) -> Any:
    """Kernel that computes for about 0.25 s in cache; it says who did, and its CPU seconds before and after."""
    import numpy as np

    from volengine.core.block import Result

    before = time.process_time()
    values = np.linspace(0, 1, 4096)
    for _ in range(loops):
        values = np.sqrt(values * values + 1e-3)
    after = time.process_time()
    return Result(table={"pid": np.array([os.getpid()]), "began": np.array([before]), "ended": np.array([after])})


def burned(folder: Path, workers: int, units: int, loops: int) -> tuple[dict[int, tuple[int, float]], float]:
    """Run so many units: for each worker process its units and CPU seconds from the first to the last; the driver's."""
    import numpy as np

    from volengine.core.tiling import Tiling
    from volengine.engine.options import RunOptions
    from volengine.engine.plan import Plan
    from volengine.engine.run import run_plan
    from volengine.engine.stage import Stage as EngineStage

    stage = EngineStage("burn", "scaling:burn", Tiling((units, 1, 1), (1, 1, 1)), params={"loops": loops}, emits=True)
    options = RunOptions(progress=False, workers=workers, memory_limit="1GB", keep_scratch=True)
    began = time.process_time()
    run_plan(Plan("t", (stage,)), str(folder), options)
    driver = time.process_time() - began
    rows: dict[int, list[tuple[float, float]]] = {}
    for file in folder.rglob("*.npz"):
        with np.load(file) as told:
            rows.setdefault(int(told["pid"][0]), []).append((float(told["began"][0]), float(told["ended"][0])))
    if sum(map(len, rows.values())) != units:
        raise RuntimeError(f"{sum(map(len, rows.values()))} tables of {units} units were found in {folder}.")
    spans = {pid: (len(seen), max(e for _, e in seen) - min(b for b, _ in seen)) for pid, seen in rows.items()}
    return spans, driver


def measure(units: int, loops: int) -> dict[str, float]:
    """Speed-up of two workers with twice the units, from CPU seconds (see the top of this file)."""
    with tempfile.TemporaryDirectory() as place:
        runs = {}
        for workers, count in ((1, 4), (1, units), (2, 8), (2, 2 * units)):
            runs[workers, count] = burned(Path(place) / f"{workers}-{count}", workers, count, loops)
    one, two = runs[1, units][0], runs[2, 2 * units][0]
    per_unit = {1: max(s / n for n, s in one.values()), 2: max(s / n for n, s in two.values())}
    drivers = {
        1: max(0.0, runs[1, units][1] - runs[1, 4][1]) / (units - 4),
        2: max(0.0, runs[2, 2 * units][1] - runs[2, 8][1]) / (2 * units - 8),
    }
    return {
        "worker_s_per_unit_1": per_unit[1],
        "worker_s_per_unit_2": per_unit[2],
        "driver_s_per_unit_1": drivers[1],
        "driver_s_per_unit_2": drivers[2],
        "speedup": 2 * per_unit[1] / per_unit[2],
        "speedup_with_driver": 2 * (per_unit[1] + drivers[1]) / (per_unit[2] + drivers[2]),
    }


def predicted(found: dict[str, float], units: int) -> float:
    """The simulation's speed-up of two workers for what was measured."""
    case = Case(
        plans=1,
        stages=(Stage(units, found["worker_s_per_unit_1"], 0, 0),),
        per_unit=found["driver_s_per_unit_1"],
        per_bundle=0.0,
        spread=0.0,
        slow_share=0.0,
        start=0.0,
        start_spread=0.0,
    )
    return 2 * Simulation(case, 1).run().seconds / Simulation(case, 2).run().seconds


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=24)
    parser.add_argument("--loops", type=int, default=70_000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    here = str(Path(__file__).parent)
    os.environ["PYTHONPATH"] = os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])  # for the workers
    rounds = [measure(given.units, given.loops) for _ in range(given.rounds)]
    medians = {name: statistics.median(r[name] for r in rounds) for name in rounds[0]}
    for name, value in medians.items():
        print(f"{name}: {value:.4g}")
    print(f"simulated: {predicted(medians, given.units):.4g}")


if __name__ == "__main__":
    main()
