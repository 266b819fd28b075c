"""The rows of picks, brought into the order of labels: any order of cells, and what is lost or there twice."""

from __future__ import annotations

import resource
import signal
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.errors import InputError, RunError
from volengine.tasks.pick.rows import RowFile


def table(label):
    label = np.asarray(label, np.int64)
    return {"label": label, "weight": label / 7, "position": np.stack([label, -label, label**2], axis=1)}


@settings(max_examples=60, deadline=None)
@given(order=st.permutations(range(1, 24)), cuts=st.lists(st.integers(0, 23), max_size=6), part=st.integers(1, 30))
def test_rows_come_back_by_label(tmp_path_factory, order, cuts, part):
    folder = tmp_path_factory.getbasetemp()
    ends = [0, *sorted(cuts), len(order)]
    with RowFile(folder, len(order), part) as rows:
        for a, b in pairwise(ends):
            rows.add(table(order[a:b]))
        parts = list(rows.parts())
    assert [len(one["label"]) for one in parts[:-1]] == [part] * (len(parts) - 1)
    want = table(range(1, 24))
    for key, column in want.items():
        assert np.array_equal(np.concatenate([one[key] for one in parts]), column)
        assert parts[0][key].dtype == column.dtype


def test_no_picks_are_one_part_without_rows(tmp_path):
    with RowFile(tmp_path, 0, 5) as rows:
        rows.add(table([]))
        (only,) = rows.parts()
    assert {key: column.shape for key, column in only.items()} == {"label": (0,), "weight": (0,), "position": (0, 3)}


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([1, 2, 4, 5], "hold 4 picks, not 5"),
        ([1, 2, 3, 4], "hold 4 picks, not 5"),
        ([1, 2, 2, 4, 5], "each of 5 picks once"),
        ([1, 1, 2, 3, 4, 5], "more than 5 picks"),
        ([1, 2, 3, 4, 6], "picks 1 to 6, not 1 to 5"),
        ([0, 1, 2, 3, 4], "picks 0 to 4, not 1 to 5"),
    ],
)
def test_a_row_that_is_lost_or_there_twice_is_refused(tmp_path, labels, said):
    def gathered():
        with RowFile(tmp_path, 5, 3) as rows:
            rows.add(table(labels))
            return list(rows.parts())

    with pytest.raises(RunError, match=said):
        gathered()


def test_tables_with_other_columns_are_refused(tmp_path):
    with RowFile(tmp_path, 5, 3) as rows:
        rows.add(table([1]))
        with pytest.raises(RunError, match="columns"):
            rows.add({"label": np.array([2])})


def test_nothing_is_left_where_it_was(tmp_path):
    with RowFile(tmp_path, 5, 3) as rows:
        rows.add(table([1, 2, 3, 4, 5]))
        assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone: cannot be written \(No such file"), RowFile(tmp_path / "gone", 5, 3):
        pass


def test_a_full_disk_is_named(tmp_path):
    """A limit on the size of files is an error like that of a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    former = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with RowFile(tmp_path, 1000, 100) as rows:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
            with pytest.raises(OSError, match=str(tmp_path)):
                rows.add(table(range(1, 1001)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, former)
