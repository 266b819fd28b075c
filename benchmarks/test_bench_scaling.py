"""benchmarks/scaling_model.py: limits that can be computed by hand, and the engine's own numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from scaling import burned, predicted
from scaling_model import (
    CASES,
    Case,
    Simulation,
    Stage,
    breaks_at,
    picture,
    shown,
    table,
)

IDEAL = Case(
    plans=1,
    stages=(Stage(32, 1.0, 0, 0),),
    per_unit=0,
    per_bundle=0,
    per_plan=0,
    spread=0,
    slow_share=0,
    start=0,
    start_spread=0,
)


def speedup(case: Case, workers: int) -> float:
    return Simulation(case, workers).run().speedup


@pytest.mark.parametrize("workers", [1, 2, 8, 64])
def test_without_costs_all_workers_are_used(workers):
    assert speedup(IDEAL, workers) == pytest.approx(workers, rel=1e-6)


def test_a_driver_that_works_for_each_plan_is_the_limit():
    case = replace(IDEAL, plans=50, stages=(Stage(1, 0.2, 0, 0),), per_plan=0.05)
    assert speedup(case, 2) == pytest.approx(2, rel=0.05)
    assert speedup(case, 32) == pytest.approx(0.2 / 0.05, rel=0.01)
    assert Simulation(case, 32).run().driver > 0.98


def test_the_bandwidth_of_the_storage_is_the_limit():
    case = replace(IDEAL, stages=(Stage(64, 1.0, 100e6, 0),), bandwidth=1e9, own_bandwidth=500e6)
    assert 4 / 1.4 < speedup(case, 4) < 4 / 1.05  # 0.4 s of reading: for each unit, or hidden but for bundles of four
    outcome = Simulation(replace(case, stages=(Stage(16, 1.0, 100e6, 0),)), 200).run()
    assert outcome.speedup == pytest.approx(10, rel=0.05)
    assert outcome.storage == pytest.approx(1, abs=0.05)


def test_reading_and_writing_are_hidden_but_for_the_ends_of_a_bundle():
    """A bundle of n units of 0.3 s, read in 0.15 s and written in 0.075 s each, takes 0.15 + 0.3 n + 0.075 s."""
    case = replace(IDEAL, stages=(Stage(64, 0.3, 150e6, 75e6),), own_bandwidth=1e9, bandwidth=1e9)
    one, sizes = Simulation(case, 1), []
    give = one._arrived

    def arrived(worker, bundle):
        sizes.append(bundle.units)
        give(worker, bundle)

    one._arrived = arrived
    assert one.run().seconds == pytest.approx(sum(0.15 + 0.3 * n + 0.075 for n in sizes))
    assert sum(sizes) == 64
    assert max(sizes) == 5  # 1.5 s / 0.3 s


def test_a_stage_waits_for_the_one_before_it():
    case = replace(IDEAL, stages=(Stage(1, 3.0, 0, 0), Stage(1, 4.0, 0, 0)))
    assert Simulation(case, 1).run().seconds == pytest.approx(7)
    assert Simulation(replace(case, plans=0.5), 2).run().seconds == pytest.approx(7)  # one plan, two workers


def test_start_up_and_slow_workers_cost_what_they_should():
    assert Simulation(replace(IDEAL, start=8), 1).run().seconds == pytest.approx(40)
    slow = Simulation(replace(IDEAL, slow=2.0, slow_share=1.0), 4).run()
    assert slow.speedup == pytest.approx(2)
    spread = [Simulation(replace(IDEAL, spread=0.3), 1, seed).run().seconds for seed in range(40)]
    assert math.fsum(spread) / len(spread) == pytest.approx(32, rel=0.05)  # the mean is kept


def test_the_same_seed_gives_the_same_outcome_and_a_table(tmp_path):
    cases = {name: replace(case, plans=1) for name, case in CASES.items()}
    found, again = (table(cases, (1, 4), seeds=1) for _ in range(2))
    assert found == again
    text = shown(found, (1, 4)).splitlines()
    assert len(text) == 2 + len(cases)
    assert {line.count("|") for line in text} == {5}
    assert breaks_at(found["network on CPUs"], (1, 4)).startswith(("not up to 4", "4 (driver"))
    picture(found, (1, 4), str(tmp_path / "a.png"))
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_what_is_measured_covers_every_unit(tmp_path, monkeypatch):
    here = str(Path(__file__).parent)
    monkeypatch.syspath_prepend(here)
    monkeypatch.setenv("PYTHONPATH", here)
    spans, driver = burned(tmp_path / "run", 0, 6, loops=10)
    assert [n for n, _ in spans.values()] == [6]
    assert driver > 0
    told = {"worker_s_per_unit_1": 0.25, "driver_s_per_unit_1": 0.0}
    assert predicted(told, 24) == pytest.approx(2, rel=0.15)
