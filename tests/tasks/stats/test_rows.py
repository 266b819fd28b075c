"""Rows of objects that are made when they are asked for: those of a tuple."""

from __future__ import annotations

import csv
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from volengine.ops.stats_points import Clusters
from volengine.tasks.stats.objects import Objects
from volengine.tasks.stats.rows import ObjectColumns, ObjectRows
from volengine.tasks.stats.tables import COLUMNS, Stats


def columns(name: str, n: int) -> ObjectColumns:
    rng = np.random.default_rng(n)
    objects = Objects("a.star", rng.random((n, 3)), rng.integers(-1, 9, n), rng.random(n))
    return ObjectColumns("T1", name, objects, rng.random(n), Clusters(np.arange(n) % 3, np.arange(n) % 2 == 0))


def test_rows_are_a_sequence() -> None:
    rows = ObjectRows([columns("a", 3), columns("b", 0), columns("c", 2)])
    every = list(rows)
    assert len(rows) == len(every) == 5
    assert [(row["class"], row["object"]) for row in every] == [("a", 1), ("a", 2), ("a", 3), ("c", 1), ("c", 2)]
    assert [repr(rows[k]) for k in range(5)] == [repr(row) for row in every]
    assert repr(rows[-1]) == repr(every[-1])
    assert repr(rows[1:4]) == repr(tuple(every[1:4]))
    assert repr(rows) == repr(tuple(every))
    for k in (5, -6):
        with pytest.raises(IndexError, match="5 objects"):
            rows[k]
    assert not len(ObjectRows([]))


def test_the_table_of_objects_is_written_in_bounded_memory(tmp_path: Path) -> None:
    """The rows of 40,000 objects as dictionaries would be about 40 MB."""
    found = Stats({"objects": ObjectRows([columns("a", 15_000), columns("b", 25_000)])})
    found.write(tmp_path / "warm")
    tracemalloc.start()
    try:
        found.write(tmp_path / "out")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 15_000_000
    with (tmp_path / "out" / "objects.csv").open(newline="") as file:
        head, *rows = list(csv.reader(file))
    assert tuple(head) == COLUMNS["objects"]
    assert len(rows) == 40_000
    assert [row[2] for row in rows] == [str(k + 1) for n in (15_000, 25_000) for k in range(n)]


def test_a_notebook_shows_the_pooled_counts_and_notes_as_text() -> None:
    rows = [{"group": "all", "class": "<img src=x>", "objects": 3, "per_um3": float("nan")}]
    shown = Stats({"pooled": rows}, {"notes": ["a < b"]})._repr_html_()
    assert "<img" not in shown
    assert "&lt;img src=x&gt;</td>" in shown
    assert "<td>3</td>" in shown
    assert "a &lt; b" in shown
