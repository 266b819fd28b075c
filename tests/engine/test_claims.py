"""Claims: parts that take over share the units of a missing one, and leave alone what living parts have begun."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from engine_plans import simple, stored

from volengine.engine import lock as locks
from volengine.engine.claims import FOLDER, Claims, Living
from volengine.engine.ledger import PlanFolder
from volengine.engine.lock import Lock
from volengine.engine.options import RunOptions
from volengine.engine.state import PlanState
from volengine.engine.work import run_units

STAGE = "1234"


class Part:
    """A part that is alive as long as its lock stands."""

    def __init__(self, run: Path, k: int, n: int = 3, patience_s: float = 60.0):
        self.lock = Lock(run / f"driver-{k}-of-{n}.lock")
        assert self.lock.create()
        self.folder = run / "plans" / "t"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.claims = Claims(self.folder, Living(run, patience_s), self.lock.nonce)

    def end(self) -> None:
        self.lock.release()


@pytest.fixture
def parts(tmp_path):
    found = [Part(tmp_path, k) for k in (1, 2, 3)]
    yield found
    for part in found:
        part.end()


def test_what_a_living_part_has_begun_is_not_taken_over(parts):
    first, second, _ = parts
    assert first.claims.begin(STAGE, [0, 3]) == [0, 3]
    assert second.claims.take(STAGE, [0, 1, 2, 3]) == [1, 2]
    assert second.claims.take("another stage", [0, 3]) == [0, 3]


def test_what_was_taken_over_is_not_begun_by_its_own_part(parts):
    first, second, third = parts
    assert not first.claims.shared(STAGE)
    assert second.claims.take(STAGE, [0, 3]) == [0, 3]
    assert first.claims.shared(STAGE)
    assert first.claims.begin(STAGE, [0, 3, 6]) == [6]
    assert third.claims.take(STAGE, [0, 3, 6, 9]) == [9]


def test_what_a_dead_part_has_begun_is_free(parts, monkeypatch):
    _, second, third = parts
    second.claims.take(STAGE, [0, 1])
    assert third.claims.take(STAGE, [0, 1]) == []
    second.end()
    monkeypatch.setattr("volengine.engine.claims.LOOK_S", 0.0)
    assert third.claims.take(STAGE, [0, 1]) == [0, 1]
    assert third.claims.parts == 2


def test_a_heartbeat_that_stands_still_is_that_of_a_dead_part(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("volengine.engine.claims.now_s", lambda: clock[0])
    monkeypatch.setattr("volengine.engine.lock.now_s", lambda: clock[0])
    one, two = Part(tmp_path, 1, 2, 0.0), Part(tmp_path, 2, 2, 0.0)
    one.claims.begin(STAGE, [0])
    assert two.claims.held(STAGE) == {0}
    clock[0] += 3 * locks.BEAT_S - 1
    assert two.claims.held(STAGE) == {0}
    one.lock._beat()
    two.lock._beat()
    clock[0] += 2
    assert two.claims.held(STAGE) == {0}  # it has moved meanwhile
    clock[0] += 3 * locks.BEAT_S + 1
    assert two.claims.held(STAGE) == set()
    one.end(), two.end()


def test_claims_that_were_given_up_are_free(parts):
    first, second, _ = parts
    first.claims.begin(STAGE, [0])
    first.claims.close()
    assert second.claims.take(STAGE, [0]) == [0]


def test_damaged_claims_claim_nothing(parts):
    first, second, _ = parts
    first.claims.begin(STAGE, [0])
    file = first.folder / FOLDER / f"{first.lock.nonce}.jsonl"
    with file.open("ab") as out:
        out.write(
            b'[1]\n{"identity": 5}\n\xff\n{"identity": "1234", "begun": ["x"], "left": []}\n{"identity": "1234", "beg'
        )
    assert second.claims.held(STAGE) == {0}
    with file.open("ab") as out:
        out.write(b'un": [7], "left": []}\n')  # the rest of the torn line
    assert second.claims.held(STAGE) == {0, 7}


def test_many_takers_at_once_get_each_unit_once(parts):
    got, own = ([[], [], []] for _ in range(2))

    def take(k: int) -> None:
        for number in range(0, 60, 4):
            got[k] += parts[k].claims.take(STAGE, range(number, number + 4))
            own[k] += parts[k].claims.begin(STAGE, [100 + 60 * k + number])

    threads = [threading.Thread(target=take, args=(k,)) for k in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(n for one in got for n in one) == list(range(60))
    assert [len(one) for one in own] == [15, 15, 15]


def test_marks_and_claims_of_earlier_runs_are_removed_only_if_nobody_else_is_alive(parts, monkeypatch):
    monkeypatch.setattr("volengine.engine.claims.LOOK_S", 0.0)
    first, second, third = parts
    first.claims.take(STAGE, [0])
    second.claims.clear()
    assert second.claims.shared(STAGE)
    first.end(), third.end()
    second.claims.clear()
    assert not second.claims.shared(STAGE)


def test_a_state_takes_over_what_nobody_has_begun(tmp_path, parts):
    """The third part never does anything: the first two run its units, each once, and not what the other has begun."""
    first, second, _ = parts
    array = np.zeros((48, 4, 4), "int16")
    plan = simple(tmp_path, stored(tmp_path, array), "fail_at", (4, 4, 4), params={"numbers": [], "marker": ""})
    options = [RunOptions(part=f"{k}/3", progress=False) for k in (1, 2)]
    states = [
        PlanState(plan, PlanFolder(part.folder), o, 10**12, part.claims)
        for part, o in zip((first, second), options, strict=True)
    ]
    for state in states:
        state.prepare()
    begun = []
    while bundle := states[0].next_bundle(1):  # all but the last bundle of the first part are done
        begun.append(bundle)
        states[0].under_way -= 1
    for bundle in begun[:-1]:
        run_units(bundle)
    ran: list[int] = []
    states[1].catch_up()
    for _ in range(100):
        bundle = states[1].next_bundle(1)
        if bundle is None and not states[1].take_over():
            break
        if bundle is not None:
            ran += bundle.numbers
            states[1].received(run_units(bundle))
            states[1].under_way -= 1
    done = [n for bundle in begun for n in bundle.numbers]
    assert sorted(done + ran) == list(range(12))
    assert not states[1].take_over()
    assert states[1].take_over(all_of_them=True)
    assert list(states[1].pending) == sorted(begun[-1].numbers)
