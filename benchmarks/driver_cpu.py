"""CPU of the driver for each tomogram of a collection: convert, segment with a tiny network, pick.

    python benchmarks/driver_cpu.py [TOMOGRAMS ...] [--workers 0] [--profile]

It writes so many tomograms of 32 x 96 x 96 voxels with four balls each, and runs the recipe on them. Printed: wall
time, the CPU of this process (with workers that is the driver, which plans, gives out and finishes; in process also
what the units compute), the seconds that the units report, and the growth of the driver's memory. Imports are done by a
run of two tomograms first, and are not counted. ``--profile`` lists the functions in which the driver's main thread is.
Numbers of tomograms default to 30 and 100.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
SHAPE = (32, 96, 96)
CENTRES = ((10, 20, 20), (20, 70, 24), (12, 24, 70), (20, 70, 70))


def tomograms(folder: Path, count: int) -> list[str]:
    """Write tomograms with four bright balls of radius 6 voxels; each one has other voxels."""
    from volengine.io.mrc.write import write_mrc

    folder.mkdir()
    array = np.zeros(SHAPE, "float32")
    grid = np.indices(SHAPE)
    for centre in CENTRES:
        array[sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) <= 36] = 1.0
    found = []
    for number in range(count):
        array[0, 0, 0] = number * 1e-5
        found.append(str(folder / f"TS_{number:04d}.mrc"))
        write_mrc(Path(found[-1]), [array], SHAPE, "float32", (10.0, 10.0, 10.0))
    return found


def measure(count: int, workers: int, profile: bool) -> None:
    """Run the recipe on so many tomograms and print what it took."""
    from threshold_net import save_threshold_model

    from volengine.engine.options import RunOptions
    from volengine.tasks.run import RunRecipe, run

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model = save_threshold_model(folder / "ball.safetensors", "ball", patch=(32, 96, 96))
        recipe = RunRecipe.from_json(
            {"segment": {"models": [str(model)]}, "pick": [{"feature": "ball", "spacing_nm": 8}]}
        )
        options = RunOptions(progress=False, workers=workers, memory_limit="4GB")
        run(tomograms(folder / "warm", 2), folder / "first", recipe, options)
        sources = tomograms(folder / "raw", count)
        before = resource.getrusage(resource.RUSAGE_SELF)
        wall, cpu, main = time.perf_counter(), time.process_time(), time.thread_time()
        profiler = cProfile.Profile(time.thread_time)  # CPU, not waiting
        if profile:
            profiler.enable()
        report = run(sources, folder / "out", recipe, options)
        profiler.disable()
        wall, cpu, main = time.perf_counter() - wall, time.process_time() - cpu, time.thread_time() - main
        after = resource.getrusage(resource.RUSAGE_SELF)
        units = sum(s["seconds"] for p in report.data["plans"].values() for s in p["stages"])
        each = {"CPU of this process": cpu, "of its main thread": main, "units": units}
        took = ", ".join(f"{what} {seconds / count * 1e3:.1f} ms" for what, seconds in each.items())
        print(
            f"{count} tomograms, {workers} workers: wall {wall:.1f} s; per tomogram {took}; memory "
            f"+{(after.ru_maxrss - before.ru_maxrss) / 1e3:.0f} MB",
            flush=True,
        )
        if profile:
            pstats.Stats(profiler).sort_stats("cumulative").print_stats(70)
            pstats.Stats(profiler).sort_stats("tottime").print_stats(40)


def main() -> None:
    """Measure each number of tomograms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tomograms", nargs="*", type=int, default=[30, 100])
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    for count in given.tomograms or [30, 100]:
        measure(count, given.workers, given.profile)


if __name__ == "__main__":
    main()
