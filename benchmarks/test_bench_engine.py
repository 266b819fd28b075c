"""What the engine itself costs: units that do nothing (goal: at most 1 ms each, flat driver memory)."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from volengine.core.tiling import Tiling
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.engine.run import run_plan
from volengine.engine.stage import Stage
from volengine.engine.work import peak_rss, reset_peak_rss

SUPPORT = Path(__file__).parents[1] / "tests" / "support"
UNITS = int(os.environ.get("VOLENGINE_BENCH_UNITS", "400"))


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_units_that_do_nothing(benchmark, tmp_path, monkeypatch, workers):
    monkeypatch.syspath_prepend(str(SUPPORT))
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT))
    stage = Stage("nothing", "engine_kernels:nothing", Tiling((UNITS, 1, 1), (1, 1, 1)), emits=True)
    options = RunOptions(progress=False, workers=workers)
    numbers = iter(range(1000))

    def once() -> None:
        run_plan(Plan("t", (stage,)), str(tmp_path / f"run{next(numbers)}"), options)

    reset_peak_rss()
    before = peak_rss()
    began = time.perf_counter()
    benchmark.pedantic(once, rounds=1)
    benchmark.extra_info["ms_per_unit"] = 1000 * (time.perf_counter() - began) / UNITS
    benchmark.extra_info["units"] = UNITS
    benchmark.extra_info["driver_growth_bytes"] = peak_rss() - before
    print(benchmark.extra_info, file=sys.stderr)
