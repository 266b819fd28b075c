"""Receipts: appended by many, read bit by bit, withdrawn; and sets of numbers that take a byte each."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from engine_parts import LIMIT
from engine_plans import simple, stored
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.receipts import Numbers, Receipts
from volengine.engine.state import PlanState

QUIET = RunOptions(progress=False, durable=False)


@given(st.lists(st.tuples(st.sampled_from(["add", "discard"]), st.integers(0, 300))))
def test_numbers_are_a_set(actions):
    ours, right = Numbers(), set()
    for what, number in actions:
        getattr(ours, what)(number)
        getattr(right, what)(number)
    assert ours == right
    assert list(ours) == sorted(right)
    assert len(ours) == len(right)
    assert [n in ours for n in range(-1, 302)] == [n in right for n in range(-1, 302)]


def receipt(number: int, stage: str = "s") -> dict:
    return {"stage": stage, "number": number, "identity": "i", "wrote": {}}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 9), st.sampled_from(["news", "torn", "withdraw"])), max_size=40))
def test_what_is_followed_is_what_is_there(tmp_path_factory, actions):
    folder = tmp_path_factory.mktemp("r") / "ledger"
    ours, other = Receipts(folder), Receipts(folder)
    known: set[int] = set()

    def follow() -> None:
        afresh, new = ours.news()
        if afresh:
            known.clear()
        known.update(r["number"] for r in new)

    for action in [*actions, "news"]:
        if action == "news":
            follow()
            assert known == {r["number"] for r in other}
        elif action == "torn":
            folder.mkdir(exist_ok=True)
            with (folder / "another.jsonl").open("ab") as file:
                file.write(b'\n{"stage": "s", "number": 77, "iden')
        elif action == "withdraw":
            other.keep(lambda r: r["number"] % 2 == 0, durable=False)
            assert all(r["number"] % 2 == 0 for r in other)
        else:
            other.append([receipt(action)], durable=False)
            assert action in {r["number"] for r in other}


def test_processes_append_at_the_same_time(tmp_path):
    script = (
        "import sys; from pathlib import Path; from volengine.engine.receipts import Receipts\n"
        "r = Receipts(Path(sys.argv[1]))\n"
        "for n in range(int(sys.argv[2]), 200, 4):\n"
        "    one = {'stage': 's', 'number': n, 'identity': 'i', 'wrote': {'out': {'c/0': [n, n]}}}\n"
        "    r.append([one], durable=False)\n"
    )
    folder = tmp_path / "ledger"
    writers = [subprocess.Popen([sys.executable, "-c", script, str(folder), str(k)]) for k in range(4)]
    follower, found = Receipts(folder), []
    while any(w.poll() is None for w in writers):
        found += follower.news()[1]
    found += follower.news()[1]
    assert [w.returncode for w in writers] == [0] * 4
    assert sorted(r["number"] for r in found) == list(range(200))
    assert len(list(folder.glob("*.jsonl"))) == 4


def test_receipts_that_do_not_say_what_was_written_do_not_count(tmp_path):
    """Those of earlier versions; their units are run again."""
    folder = PlanFolder(tmp_path)
    folder.receipts.append([receipt(0)])
    with (tmp_path / "ledger" / "old.jsonl").open("w") as file:
        file.write(json.dumps({"stage": "s", "number": 1, "identity": "i", "written": 8}) + "\n[1]\n7\n")
    assert folder.done({"s": "i"}) == {"s": {0}}


@pytest.mark.parametrize(
    "changed",
    [
        {"wrote": []},
        {"wrote": {"@0": 5}},
        {"wrote": {"@0": {"c/0": [1]}}},
        {"wrote": {"@0": {"c/0": ["a", 1]}}},
        {"table": "x"},
        {"table": [1, None]},
        {"files": 3},
        {"files": {"a": "b"}},
        {"halo": 1},
        {"halo": [1, 2, -1]},
        {"counts": None},
        {"counts": {"voxels": "many"}},
    ],
)
def test_receipts_with_values_of_another_kind_do_not_count(tmp_path, changed):
    """A damaged line is no error: its unit is not done."""
    folder = PlanFolder(tmp_path)
    folder.receipts.append([receipt(0), {**receipt(1), **changed}])
    assert folder.done({"s": "i"}) == {"s": {0}}


def test_the_driver_needs_less_than_100_bytes_for_a_unit(tmp_path):
    volume = stored(tmp_path, np.zeros((4, 4, 4), "int16")).with_(shape=(400, 400, 400), chunks=(4, 4, 4))
    plan = simple(tmp_path, volume, "nothing", (8, 8, 8), emits=True)
    folder = PlanFolder(tmp_path / "run" / "plans" / "t")
    facts = {"identity": plan.identities["nothing"], "seconds": 0.01, "read": 1024, "written": 2048, "peak_rss": 10**8}
    rest = {"counts": {"patches": 12}, "time": 1e9, "host": "node", "pid": 1}
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    state = PlanState(plan, folder, QUIET, LIMIT)
    state.prepare()
    units = len(plan.stages[0].tiling)
    while bundle := state.next_bundle(2):
        state.received([{"stage": "nothing", "number": n, **facts, **rest} for n in bundle.numbers])
        state.under_way -= 1
    state.advance()
    held = (tracemalloc.get_traced_memory()[0] - before) / units
    tracemalloc.stop()
    assert state.at_end
    assert units == 125_000
    assert state.tallies["nothing"].to_json()["counts"] == {"patches": 12 * units}
    assert held < 100


def test_a_unit_that_fails_does_not_slow_the_others(tmp_path):
    """The others stay in bundles, and a unit that kills its worker is found by halves."""
    volume = stored(tmp_path, np.zeros((4, 4, 4), "int16")).with_(shape=(64, 64, 64), chunks=(4, 4, 4))
    plan = simple(tmp_path, volume, "nothing", (4, 4, 4), emits=True)
    state = PlanState(plan, PlanFolder(tmp_path / "run" / "plans" / "t"), RunOptions(retries=2, durable=False), LIMIT)
    state.prepare()
    facts = {"identity": plan.identities["nothing"], "seconds": 0.001, "read": 1, "written": 1, "peak_rss": 1}
    bundles = deaths = 0
    while bundle := state.next_bundle(1):
        bundles += 1
        state.under_way -= 1
        if 700 in bundle.numbers and deaths < 20 and len(bundle.numbers) > 1:
            deaths += 1  # the whole bundle dies with its worker, and nothing of it was flushed
            assert state.failed(bundle, RuntimeError("the worker died"), False)
            continue
        done = [{"stage": "nothing", "number": n, **facts, "counts": {}, "time": 1.0} for n in bundle.numbers]
        state.received(done)
    assert len(state.done["nothing"]) == 4096
    assert deaths < 12
    assert bundles < 80
