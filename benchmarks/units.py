"""What the engine itself costs: units that do nothing, as many as you like.

    python benchmarks/units.py [UNITS] [--plans 1] [--workers 0] [--tables] [--profile]

A unit reads nothing and returns zeros, of which nothing is stored: it leaves a receipt alone. With ``--tables`` it
leaves a small table, which is a file. With ``--plans`` they are the units of so many plans, as of a collection of small
tomograms; then what a plan costs counts, too. Printed for each unit: wall time, the CPU of this process (with workers
that is driver and scheduler together; in process also the unit itself) and of the workers; and how far the memory of
this process has grown, at its peak. What a run of two hundred units takes, which starts the workers and imports
everything, is subtracted. ``--profile`` lists functions of the main thread. UNITS defaults to 10000.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import resource
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from volengine.engine.plan import Plan

SUPPORT = Path(__file__).parents[1] / "tests" / "support"
sys.path.insert(0, str(SUPPORT))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(SUPPORT), os.environ.get("PYTHONPATH", "")]))
FEW = 200


def plan_of(folder: Path, name: str, count: int, tables: bool) -> Plan:
    """Make a plan of one stage with so many units."""
    from volengine.core.image import ImageSpec, Level
    from volengine.core.tiling import Tiling
    from volengine.engine.plan import Plan
    from volengine.engine.stage import Output, Stage

    shape = (count, 1, 1)
    if tables:
        return Plan(name, (Stage("nothing", "engine_kernels:nothing", Tiling(shape, (1, 1, 1)), emits=True),))
    level = Level("0", shape, (1, 1, 1), (1, 1, 1), None)
    spec = ImageSpec(str(folder / f"{name}.ome.zarr"), name, "uint8", "labels", (1.0, 1.0, 1.0), (level,))
    outputs = {"out": Output(spec.volume())}
    return Plan(name, (Stage("zeros", "engine_kernels:zeros", Tiling(shape, (1, 1, 1)), outputs=outputs),), (spec,))


def run_units(folder: Path, count: int, workers: int, tables: bool, plans: int) -> dict[str, float]:
    """Run so many units; return the seconds that it took."""
    from volengine.engine.options import RunOptions
    from volengine.engine.run import Job, run_jobs

    each = -(-count // plans)
    jobs = [Job(f"t{n}", partial(plan_of, folder, f"t{n}", each, tables)) for n in range(plans)]
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    wall, cpu = time.perf_counter(), time.process_time()
    run_jobs(jobs, str(folder / "run"), RunOptions(progress=False, workers=workers, memory_limit="4GB")).check()
    found = {"wall": time.perf_counter() - wall, "this process": time.process_time() - cpu}
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    found["workers"] = now.ru_utime + now.ru_stime - children.ru_utime - children.ru_stime
    return found


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("units", nargs="?", type=int, default=10_000)
    parser.add_argument("--plans", type=int, default=1)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--tables", action="store_true")
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    from volengine.engine.work import peak_rss, reset_peak_rss

    with tempfile.TemporaryDirectory() as place:
        few = run_units(Path(place) / "few", FEW, given.workers, given.tables, 1)
        reset_peak_rss()
        before = peak_rss()
        profiler = cProfile.Profile()
        if given.profile:
            profiler.enable()
        many = run_units(Path(place) / "many", given.units, given.workers, given.tables, given.plans)
        profiler.disable()
        growth = max(peak_rss(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024) - before
    each = ", ".join(f"{what} {(many[what] - few[what]) / (given.units - FEW) * 1e3:.3f}" for what in many)
    print(
        f"{given.units} units, {given.workers} workers{', tables' if given.tables else ''}"
        f"{f', {given.plans} plans' if given.plans > 1 else ''}: {each} ms each; "
        f"wall {many['wall']:.1f} s; memory +{growth / 1e6:.0f} MB"
    )
    if given.profile:
        pstats.Stats(profiler).sort_stats("cumulative").print_stats(45)
        pstats.Stats(profiler).sort_stats("tottime").print_stats(30)


if __name__ == "__main__":
    main()
