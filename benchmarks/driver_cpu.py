"""A collection of small tomograms: convert, segment with a tiny network, pick. What do the driver and all of it take?

    python benchmarks/driver_cpu.py [TOMOGRAMS ...] [--workers 0] [--faulty] [--profile]

It writes so many tomograms of 32 x 96 x 96 voxels with four balls each, and runs the recipe on them. Printed for each
tomogram: wall time; the CPU of this process (with workers that is the driver with Dask's scheduler, which plans, gives
out and finishes; in process also what the units compute), of its main thread, and of the workers; the seconds that the
units report, and the wall time as a multiple of these divided by the number of workers. From the second number of
tomograms on the same is printed for each *further* tomogram, without what starting takes. Memory is that of this
process: when the run ends, and at its peak. Imports are done by a run of two tomograms first, and are not counted.

``--faulty``: one tomogram is cut off, one is deleted when the run begins, one has a NaN; the run must name them and do
the rest. ``--profile`` lists the functions in which the driver's main thread is. Numbers default to 30 and 100.
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
from typing import Any

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


def spoil(sources: list[str]) -> list[str]:
    """Make three tomograms useless; return them, the last one is to be deleted when the run begins."""
    cut, nan, gone = (Path(sources[len(sources) * k // 4]) for k in (1, 2, 3))
    cut.write_bytes(cut.read_bytes()[:-100_000])
    data = bytearray(nan.read_bytes())
    data[-4:] = np.float32(np.nan).tobytes()
    nan.write_bytes(data)
    return [str(cut), str(nan), str(gone)]


def resident() -> float:
    """Memory of this process, MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def measure(count: int, workers: int, *, faulty: bool = False, profile: bool = False) -> dict[str, float]:
    """Run the recipe on so many tomograms and print what it took; return seconds of the whole run by what they are."""
    from threshold_net import save_threshold_model

    from volengine.engine.options import RunOptions
    from volengine.engine.run import run_jobs
    from volengine.tasks.run import RunRecipe, run, run_jobs_of

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model = save_threshold_model(folder / "ball.safetensors", "ball", patch=(32, 96, 96))
        recipe = RunRecipe.from_json(
            {"segment": {"models": [str(model)]}, "pick": [{"feature": "ball", "spacing_nm": 8}]}
        )
        options = RunOptions(progress=False, workers=workers, memory_limit="4GB")
        run(tomograms(folder / "warm", 2), folder / "first", recipe, options)
        sources = tomograms(folder / "raw", count)
        spoilt = spoil(sources) if faulty else []
        before, children = resident(), resource.getrusage(resource.RUSAGE_CHILDREN)
        wall, cpu, main = time.perf_counter(), time.process_time(), time.thread_time()
        profiler = cProfile.Profile(time.thread_time)  # CPU, not waiting
        if profile:
            profiler.enable()
        jobs, run_dir, _ = run_jobs_of(sources, str(folder / "out"), recipe, options)
        if spoilt:
            Path(spoilt[-1]).unlink()
        report = run_jobs(jobs, run_dir, options)
        profiler.disable()
        found = {
            "wall": time.perf_counter() - wall,
            "driver": time.process_time() - cpu,
            "its main thread": time.thread_time() - main,
        }
        peak, ended = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, resident()
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        found["workers"] = now.ru_utime + now.ru_stime - children.ru_utime - children.ru_stime
        found["units"] = sum(s["seconds"] for p in report.data["plans"].values() for s in p["stages"])
        assert sorted(report.failures) == sorted(_named(spoilt, report)), report.failures
        done = len(list((folder / "out" / "picks").glob("*.star")))
        print(
            f"{count} tomograms, {workers} workers, {done} done, {len(report.failures)} failed: {said(found, count)}; "
            f"wall {found['wall'] / (found['units'] / max(1, workers)):.2f} x units / workers; memory {before:.0f} MB, "
            f"then {ended:.0f} MB, peak {peak:.0f} MB",
            flush=True,
        )
        if profile:
            pstats.Stats(profiler).sort_stats("cumulative").print_stats(70)
            pstats.Stats(profiler).sort_stats("tottime").print_stats(40)
        return found


def _named(spoilt: list[str], report: Any) -> list[str]:
    """How a report names the tomograms that were spoilt: by their path if they were refused, else by their name."""
    return [path if path in report.failures else Path(path).stem for path in spoilt]


def said(seconds: dict[str, float], count: int) -> str:
    """Milliseconds for each tomogram, as text."""
    return ", ".join(f"{what} {value / count * 1e3:.1f}" for what, value in seconds.items()) + " ms each"


def main() -> None:
    """Measure each number of tomograms."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tomograms", nargs="*", type=int, default=[30, 100])
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--faulty", action="store_true")
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    last: tuple[int, dict[str, float]] | None = None
    for count in given.tomograms or [30, 100]:
        found = measure(count, given.workers, faulty=given.faulty, profile=given.profile)
        if last is not None and count > last[0]:
            more = {what: found[what] - last[1][what] for what in found}
            ratio = more["wall"] / (more["units"] / max(1, given.workers))
            print(f"  further ones: {said(more, count - last[0])}; wall {ratio:.2f} x units / workers", flush=True)
        last = count, found


if __name__ == "__main__":
    main()
