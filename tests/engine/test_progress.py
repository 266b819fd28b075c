"""What a run says on its way: volumes, stage, units, time left; without a terminal in lines."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from volengine import ConvertRecipe
from volengine.core.errors import InputError
from volengine.engine import progress
from volengine.engine.options import RunOptions
from volengine.engine.progress import Progress
from volengine.engine.report import named
from volengine.engine.run import run_jobs
from volengine.io.mrc.write import write_mrc
from volengine.tasks.common.jobs import jobs_of
from volengine.tasks.convert.verb import CONVERT

LINE = re.compile(
    r"(?:\[(?P<closed>\d+) of (?P<volumes>\d+) volumes done\] )?(?P<name>TS_\d+) convert: (?P<done>\d+)/(?P<units>\d+)"
    r" units(?:, (?P<left>\d+ s) left)?"
)


def lines(tmp_path: Path, capsys: pytest.CaptureFixture[str], sides: list[int]) -> list[re.Match[str]]:
    """The lines of a conversion of cubes in blocks of 16³."""
    paths = []
    for number, side in enumerate(sides):
        data = np.zeros((side, side, side), np.float32)
        paths.append(str(write_mrc(tmp_path / f"TS_{number}.mrc", [data], data.shape, data.dtype, (10.0,) * 3)))
    recipe = ConvertRecipe(chunk=(8, 8, 8), shard=(16, 16, 16), levels=1)
    jobs, run_dir = jobs_of(CONVERT, paths, str(tmp_path / "out"), recipe, RunOptions(block=(16, 16, 16)))
    run_jobs(jobs, run_dir, RunOptions(block=(16, 16, 16)))
    said = [line for line in capsys.readouterr().err.splitlines() if " units" in line]
    found = [LINE.fullmatch(line) for line in said]
    assert None not in found, said
    return [match for match in found if match]


def test_lines_count_volumes_and_the_units_of_the_present_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    found = lines(tmp_path, capsys, [32, 48, 16])
    assert {match["volumes"] for match in found} == {"3"}
    assert [int(m["closed"]) for m in found] == sorted(int(m["closed"]) for m in found)
    for name, units in (("TS_0", 8), ("TS_1", 27), ("TS_2", 1)):
        mine = [match for match in found if match["name"] == name]
        assert {int(match["units"]) for match in mine} == {units}
        done = [int(match["done"]) for match in mine]
        assert done == sorted(set(done))  # a line is about one unit or about several that have ended since
        assert done[-1] == units
    assert found[0]["left"] is None  # the first unit also loads what others find loaded
    assert found[-1]["left"] == "0 s"


def test_a_single_volume_is_not_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    found = lines(tmp_path, capsys, [32])
    assert int(found[-1]["done"]) == int(found[-1]["units"]) == 8
    assert {match["volumes"] for match in found} == {None}


def test_lines_are_fifteen_seconds_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lines(tmp_path, capsys, [32]) == []


def test_a_bar_shows_no_time_of_its_own(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar of tqdm would take the units that are known for all."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    bar = Progress(10, 0, show=True)
    bar.show("[2 of 10 volumes done] TS_03 predict: 4/64 units", 2.5, "12 min left")
    bar.close()
    shown = capsys.readouterr().err.split("\r")[-1]
    assert "[2 of 10 volumes done] TS_03 predict: 4/64 units  25%" in shown
    assert "12 min left]" in shown
    assert "<" not in shown


def test_nothing_is_shown_when_nothing_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    bar = Progress(10, 0, show=False)
    bar.step("reading")
    bar.say("hello")
    bar.close()
    assert capsys.readouterr() == ("", "")
    assert not bar.due


def test_a_short_name_is_not_taken_for_a_part_of_a_word() -> None:
    assert named("t", InputError("the volume is empty")) == "t: the volume is empty"
    assert named("TS_01", InputError("TS_01.mrc is empty")) == "TS_01.mrc is empty"
