"""volengine stats as a user meets it: the text, the files, one message for what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from volengine.cli.main import cli
from volengine.core.errors import VolengineError
from volengine.core.picks import Picks
from volengine.io.mrc.write import write_mrc
from volengine.io.picks import write_picks


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, ["stats", *args])


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    labels = np.zeros((8, 16, 16), np.int8)
    labels[2:4, 2:4, 2:4] = 1
    labels[5:7, 9:12, 9:12] = 1
    labels[6, 2, 13] = 2
    write_mrc(tmp_path / "T1.mrc", [labels], labels.shape, "int8", (10.0, 10.0, 10.0))
    Path("picks").mkdir()
    for name, at in (("T1", [[2.5, 2.5, 2.5], [5.5, 10, 10]]), ("T2", [[1, 1, 1]])):
        picks = Picks(at, (10.0,) * 3, shape=labels.shape, tomogram=name, feature="ribosome")
        write_picks(f"picks/{name}__ribosome.star", picks)
    return tmp_path


def test_picks_are_counted_without_a_run(files: Path) -> None:
    done = run("picks", "--min-points", "2", "--eps-nm", "20")
    assert done.exit_code == 0, done.output
    rows = [line.split() for line in done.output.splitlines() if line.startswith(("class", "ribosome"))]
    pooled = dict(zip(rows[0], rows[1], strict=True))
    assert (pooled["objects"], pooled["tomograms"], pooled["clusters"]) == ("3", "2", "1")
    assert {p.name for p in files.iterdir()} == {"T1.mrc", "picks"}


def test_without_out_nothing_is_kept(files: Path) -> None:
    done = run("T1.mrc", "--no-progress")
    assert done.exit_code == 0, done.output
    assert "run folder" not in done.output
    assert [line.split()[3] for line in done.output.splitlines() if line.startswith("class_")][:2] == ["2", "1"]
    assert {p.name for p in files.iterdir()} == {"T1.mrc", "picks"}


def test_an_atlas_against_known_picks(files: Path) -> None:
    Path("groups.csv").write_text("tomogram,group\nT1,core\n")
    args = ["T1.mrc", "--classes", "ribosome,debris", "--ids", "1,2", "--min-voxels", "2", "--no-progress"]
    more = ["--truth", "picks/T1__ribosome.star", "--groups", "groups.csv", "--out", "out", "--radius-nm", "1"]
    done = run(*args, *more)
    assert done.exit_code == 0, done.output
    last = done.output.strip().splitlines()
    assert last[-1] == "tables: out"
    assert last[-2].split()[:6] == ["ribosome", "2", "2", "0", "0", "2"]
    names = {p.name for p in Path("out").iterdir()}
    assert {"classes.csv", "pooled.csv", "counting.csv", "stats.json", "counts.png", "stats.run"} <= names
    again = run(*args, *more)
    assert again.exit_code == 0
    assert again.output.splitlines()[-4:] == done.output.splitlines()[-4:]


def test_parts_pool_when_the_last_is_done(files: Path) -> None:
    args = ["T1.mrc", "--out", "out", "--block", "8,8,16", "--no-progress", "--no-plots", "--patience-s", "0"]
    assert run(*args[:3]).exit_code == 0
    whole = Path("out/classes.csv").read_text()
    args[2] = "parts"
    for _ in range(4):
        for k in "12":
            run(*args, "--part", f"{k}/2")
    assert Path("parts/classes.csv").read_text() == whole


def test_a_dry_run_shows_the_plan_and_writes_nothing(files: Path) -> None:
    before = {str(p) for p in files.rglob("*")}
    done = run("T1.mrc", "--out", "out", "--dry-run")
    assert done.exit_code == 0, done.output
    assert "stats-objects" in done.output
    assert {str(p) for p in files.rglob("*")} == before


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nowhere.star"], "no such file"),
        (["T1.mrc", "--ids", "1,2"], "--ids has 2 values for 0 --classes"),
        (["T1.mrc", "--classes", "ribosome"], "give --ids"),
        (["T1.mrc", "--groups", "none.csv"], "none.csv: no such file"),
        (["picks", "--truth", "T1.mrc"], "no truth of tomogram T2"),
        (["picks", "--out", "s3://a/b"], "a folder of this machine"),
    ],
)
def test_what_is_wrong_is_said_once(files: Path, args: list[str], message: str) -> None:
    done = run(*args)
    assert isinstance(done.exception, VolengineError)
    assert message in str(done.exception)
    assert not Path("out").exists()
