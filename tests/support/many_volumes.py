"""Run folders of a thousand volumes, as a run leaves them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from volengine.engine.options import RunOptions
from volengine.engine.run import run_jobs
from volengine.io.mrc.write import write_mrc
from volengine.tasks.common.jobs import jobs_of
from volengine.tasks.convert.recipe import ConvertRecipe
from volengine.tasks.convert.verb import CONVERT

QUIET = RunOptions(progress=False, durable=False, block=(8, 8, 8))
RECIPE = ConvertRecipe(chunk=(8, 8, 8), shard=(8, 8, 8), levels=1)
MANY = 1000


def finished_one(folder: Path) -> Path:
    """Make the run folder of one finished volume of eight units."""
    write_mrc(folder / "a.mrc", [np.ones((16, 16, 16), "float32")], (16, 16, 16), "float32", (10.0,) * 3)
    jobs, run_dir = jobs_of(CONVERT, [str(folder / "a.mrc")], str(folder / "out"), RECIPE, QUIET)
    run_jobs(jobs, run_dir, QUIET)
    return Path(run_dir)


def many(one: Path, run: Path, finished: int, begun: int, failed: int) -> None:
    """A run folder as a run of many leaves it: some finished, some with half of their receipts, some that failed."""
    plan = one / "plans/a"
    half = next((plan / "ledger").glob("*.jsonl")).read_bytes()
    lines = [line for line in half.splitlines(keepends=True) if line.strip()][:4]
    (run / "plans").mkdir(parents=True)
    log = [{"time": 1.0, "event": "start", "jobs": [f"v{n:04d}" for n in range(MANY)]}]
    for number in range(finished + begun + failed):
        name = f"v{number:04d}"
        there = run / "plans" / name
        there.mkdir()
        for file in ("plan.json", "units.json", "identities.json", *(["finished.json"] if number < finished else [])):
            shutil.copyfile(plan / file, there / file)
        (there / "ledger").mkdir()
        (there / "ledger/h-1.jsonl").write_bytes(half if number < finished else b"".join(lines))
        log.append({"time": 2.0, "event": "plan", "name": name})
        log += [{"time": 2.0, "event": "stage done", "name": name, "stage": "convert"}] * 8
        if number >= finished + begun:
            log.append({"time": 3.0, "event": "plan done", "name": name, "why": f"{name}: is bad"})
    (run / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in log))
