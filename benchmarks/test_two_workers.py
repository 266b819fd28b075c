"""The comparison of two workers with one process runs, and finds the same results."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import two_workers


@pytest.mark.slow
def test_both_write_the_same(tmp_path, monkeypatch, capsys):
    given = ["--shape", "20,64,64", "--folder", str(tmp_path / "two"), "--verbs", "interact"]
    monkeypatch.setattr(sys, "argv", ["two_workers.py", *given])
    two_workers.main()
    said = capsys.readouterr().out
    assert "2 workers" in said
    assert "ratio" in said


def test_digests_are_those_of_results(tmp_path):
    """Tables and chunks count, also below folders; facts of the run do not."""
    (tmp_path / "a.ome.zarr" / "0" / "c" / "0").mkdir(parents=True)
    chunk = tmp_path / "a.ome.zarr" / "0" / "c" / "0" / "1"
    chunk.write_bytes(b"voxels")
    (tmp_path / "picks.csv.run").mkdir()
    before = two_workers.digest(tmp_path)
    (tmp_path / "picks.csv.run" / "times.csv").write_text("1")
    assert two_workers.digest(tmp_path) == before
    (tmp_path / "picks.csv").write_text("z,y,x")
    with_table = two_workers.digest(tmp_path)
    chunk.write_bytes(b"others")
    assert len({before, with_table, two_workers.digest(tmp_path)}) == 3


def test_shells_have_all_classes():
    assert np.unique(two_workers.shells((24, 80, 80))).tolist() == [0, 1, 2, 3]
