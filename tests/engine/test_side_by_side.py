"""Calls side by side: the same results in the same order here and on workers, errors as they are, and signs of life."""

from __future__ import annotations

import operator
import re

import pytest

from volengine.engine import side_by_side as module
from volengine.engine.options import RunOptions
from volengine.engine.side_by_side import side_by_side

PARTS = [list(range(k)) for k in (3, 1, 0, 4, 2, 5, 1)]
QUIET = RunOptions(progress=False)


@pytest.fixture(autouse=True)
def workers_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "worth_s", lambda workers: -1.0)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_come_in_the_order_of_the_parts(workers: int) -> None:
    options = QUIET.with_(workers=workers, memory_limit="1GB")
    assert list(side_by_side(operator.mul, 2, PARTS, options, "numbers")) == [part * 2 for part in PARTS]


def test_nothing_is_nothing() -> None:
    assert list(side_by_side(operator.mul, 2, [], QUIET, "numbers")) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_is_the_same(workers: int) -> None:
    found = side_by_side(operator.getitem, {0: "a"}, [(), (1,)], QUIET.with_(workers=workers), "keys")
    with pytest.raises(KeyError):
        list(found)


def test_a_line_now_and_then_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("volengine.engine.progress.EVERY_S", 0.0)
    list(side_by_side(operator.mul, 2, PARTS, RunOptions(), "numbers"))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(PARTS)
    assert re.fullmatch(r"numbers: 3/16, about \d+ s left", lines[0])
    assert lines[-1].startswith("numbers: 16/16")
    list(side_by_side(operator.mul, 2, PARTS, QUIET, "numbers"))
    assert capsys.readouterr().err == ""
