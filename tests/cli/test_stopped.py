"""What a command that was stopped says of what is kept, and of how it goes on."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import numpy as np
import pytest

from volengine.cli.main import main
from volengine.io.mrc.write import write_mrc


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Call a command that is interrupted in a function; returns the last line that it says."""
    (tmp_path / "t.csv").write_text("z,y,x\n1,2,3\n4,5,6\n")
    labels = np.zeros((8, 8, 8), np.int16)
    labels[2:4, 2:4, 2:4] = 5
    write_mrc(tmp_path / "t.mrc", [labels], labels.shape, "int16", (10.0, 10.0, 10.0))
    monkeypatch.chdir(tmp_path)

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def call(where: str, *words: str) -> str:
        monkeypatch.setattr(where, stopped)
        monkeypatch.setattr(sys, "argv", ["volengine", *words])
        before = signal.getsignal(signal.SIGTERM)
        try:
            with pytest.raises(SystemExit) as end:
                main()
        finally:
            signal.signal(signal.SIGTERM, before)
        assert end.value.code == 130
        return capsys.readouterr().err.strip().splitlines()[-1]

    return call


LOOP, COUNTING = "volengine.engine.run.Driver._loop", "volengine.tasks.stats.case.count_tomograms"
STATS = ("stats", "t.mrc", "--kind", "instances", "--classes", "a", "--no-progress")


def test_stats_says_which_counts_are_kept(said) -> None:
    line = said(COUNTING, *STATS, "--out", "counted")
    assert line.startswith("Stopped. The same command counts no volume again (run folder ")
    assert line.count("command") == 1
    line = said(COUNTING, "stats", "t.csv", "--voxel-size", "10", "--out", "points")
    assert line == "Stopped. Tables of picks are counted anew by the same command; no table is written in half."


@pytest.mark.parametrize("words", [STATS, ("score", "t.mrc", "t.mrc", "--prediction-kind", "labels", "--instances")])
def test_a_folder_that_is_gone_is_not_named(said, words) -> None:
    assert said(LOOP, *words) == "Stopped. Nothing is kept without --out: the same command begins anew."


def test_train_says_which_epochs_are_kept(said, tmp_path: Path) -> None:
    words = ("train", "--volume", "t.mrc", "--labels", "t.mrc", "--features", "a", "--out", "m.safetensors")
    line = said("volengine.tasks.train.verb.opened", *words, "--device", "cpu")
    assert line == "Stopped. No epoch was finished: the same command begins anew."
    (tmp_path / "m.safetensors.training").mkdir()
    (tmp_path / "m.safetensors.training" / "last.safetensors").touch()
    line = said("volengine.tasks.train.verb.opened", *words, "--device", "cpu")
    assert "kept (m.safetensors.training); the same command goes on" in line
