"""Tables that are read again come from memory, and the memory is bounded."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from volengine.core.errors import DamagedError
from volengine.engine.ledger import PlanFolder
from volengine.engine.recent import RecentTables


def test_a_table_is_read_once_until_others_take_its_place(tmp_path):
    folder = PlanFolder(tmp_path)
    for number in range(4):
        folder.write_table("s", number, {"a": np.full(100, number), "none": np.zeros((0, 3))})
    recent = RecentTables(folder, most=1600)  # two tables of 800 bytes
    for number in (0, 1):
        assert recent.read("s", number)["a"][0] == number
    folder.remove_tables("s")  # what follows is in memory
    assert recent.read("s", 1)["a"][0] == 1
    assert recent.read("s", 0)["a"].tolist() == [0] * 100
    assert recent.read("s", 0)["none"].shape == (0, 3)
    folder.write_table("s", 2, {"a": np.full(100, 2)})
    assert recent.read("s", 2)["a"][0] == 2
    assert recent.read("s", 0)["a"][0] == 0
    with pytest.raises(DamagedError, match="unit 1"):
        recent.read("s", 1)  # it was used least recently


def test_tables_of_two_stages_are_two_tables(tmp_path):
    folder = PlanFolder(tmp_path)
    for stage in ("s", "t"):
        folder.write_table(stage, 0, {"name": np.array([stage])})
    recent = RecentTables(folder)
    assert [recent.read(stage, 0)["name"].tolist() for stage in ("s", "t", "s")] == [["s"], ["t"], ["s"]]


def test_several_threads_read_at_the_same_time(tmp_path):
    """A bundle reads ahead in a thread. If two counted the same table, its bytes would never be given back."""
    folder = PlanFolder(tmp_path)
    for number in range(6):
        folder.write_table("s", number, {"a": np.full(100, number)})
    recent = RecentTables(folder, most=1600)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda n: int(recent.read("s", n)["a"][0]), list(range(6)) * 100))
    assert found == list(range(6)) * 100
    assert recent._bytes == sum(t["a"].nbytes for t in recent._kept.values()) <= 1600
