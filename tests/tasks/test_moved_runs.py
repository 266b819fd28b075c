"""Runs that are moved with the files that they read: nothing is computed again, and nothing wrong is believed."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threshold_net import save_threshold_model

import volengine
from volengine import ConvertRecipe, RunOptions, SegmentRecipe
from volengine.core.digest import digest_of
from volengine.core.fields import fields_of
from volengine.engine.ledger import PlanFolder
from volengine.engine.plan import Plan
from volengine.io.mrc.write import write_mrc
from volengine.tasks.run import RunRecipe
from volengine.tasks.verify.verb import verify

SHAPE = (8, 24, 24)
QUIET = RunOptions(progress=False, durable=False)


def tomogram(path: Path, peak: float = 1.0) -> None:
    array = np.zeros(SHAPE, "float32")
    grid = np.indices(SHAPE)
    array[sum((g - c) ** 2 for g, c in zip(grid, (4, 12, 12), strict=True)) <= 9] = peak
    write_mrc(path, [array], SHAPE, "float32", (10.0,) * 3)


def project(folder: Path) -> Path:
    """Files: a tomogram, also compressed, and a model."""
    folder.mkdir()
    tomogram(folder / "a.mrc")
    (folder / "z.mrc.gz").write_bytes(gzip.compress((folder / "a.mrc").read_bytes()))
    save_threshold_model(folder / "ball.safetensors", "ball", patch=SHAPE)
    return folder


def everything(place: Path, options: RunOptions, model: str = "") -> dict[str, int]:
    """All of it, whose files are named by absolute paths; return the units that were run."""
    model = model or str(place / "ball.safetensors")
    recipe = {"segment": {"models": [model], "levels": 1}, "convert": {"levels": 1}, "pick": [{"feature": "ball"}]}
    found = {}
    volengine.run(place / "a.mrc", place / "res", RunRecipe.from_json(recipe), options)
    volengine.convert(place / "z.mrc.gz", place / "z.ome.zarr", ConvertRecipe(levels=1), options)
    volengine.segment(place / "a.mrc", place / "pred", SegmentRecipe(models=(model,), levels=1), options)
    volengine.pick(place / "pred" / "a__ball.ome.zarr", place / "picks.star", options=options)
    for path in place.rglob("report.json"):
        if path.parent.name == "report.run":  # pages are looked at only if something has changed
            continue
        plans = json.loads(path.read_text())["plans"]
        found[str(path.parent.relative_to(place))] = sum(
            stage["run"] for plan in plans.values() for stage in plan["stages"]
        )
    return found


def content(place: Path) -> dict[str, bytes]:
    files = [path for path in place.rglob("*") if path.is_file() and ("/c/" in str(path) or path.suffix == ".star")]
    return {str(path.relative_to(place)): path.read_bytes() for path in files}


def copied(before: Path, now: Path) -> None:
    """As by rsync to another machine: other inodes, other times."""
    shutil.copytree(before, now, copy_function=shutil.copyfile)
    shutil.rmtree(before)


@pytest.mark.parametrize(
    ("identity", "move"),
    [("quick", os.rename), ("content", os.rename), ("content", copied)],
    ids=["quick-renamed", "content-renamed", "content-copied"],
)
def test_nothing_is_computed_again(tmp_path: Path, identity: Any, move: Callable[[Path, Path], None]) -> None:
    options = QUIET.with_(identity=identity)
    first = everything(project(tmp_path / "one"), options)
    assert all(first.values())
    before = content(tmp_path / "one")
    for there, here in (("one", "two"), ("two", "three")):
        (tmp_path / there / "picks.star").touch()
        move(tmp_path / there, tmp_path / here)
        assert everything(tmp_path / here, options) == dict.fromkeys(first, 0)
        assert content(tmp_path / here) == before
        assert everything(tmp_path / here, options) == dict.fromkeys(first, 0)
        assert verify(tmp_path / here, options=QUIET)


def test_a_model_by_another_path_of_it_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = project(tmp_path / "one")
    first = everything(place, QUIET)
    monkeypatch.chdir(place)
    assert everything(place, QUIET, "ball.safetensors") == dict.fromkeys(first, 0)
    shutil.copy(place / "ball.safetensors", tmp_path / "copy.safetensors")
    assert everything(place, QUIET, str(tmp_path / "copy.safetensors")) == dict.fromkeys(first, 0)


def test_an_unfinished_run_goes_on_at_another_place(tmp_path: Path) -> None:
    """It is computed with the model at its new place, and says by which path the first units were."""
    options = QUIET.with_(identity="content", block=(4, 8, 24))
    place = project(tmp_path / "one")
    how = SegmentRecipe(models=(str(place / "ball.safetensors"),), levels=1, patch=(4, 8, 24))
    small = ConvertRecipe(levels=1, chunk=(4, 8, 24), shard=(4, 8, 24))
    volengine.convert(place / "a.mrc", place / "a.ome.zarr", small, options)
    volengine.segment(place / "a.ome.zarr", place / "pred", how, options)
    right = content(place)
    folder = place / "pred" / "segment.run" / "plans" / "a"
    ledger = next((folder / "ledger").glob("*.jsonl"))
    lines = ledger.read_text().splitlines(keepends=True)
    ledger.write_text("".join(lines[: len(lines) // 2]))
    (folder / "finished.json").unlink()
    copied(place, tmp_path / "two")
    place = tmp_path / "two"
    how = how.with_(models=(str(place / "ball.safetensors"),))
    other_blocks = QUIET.with_(identity="content")
    volengine.segment(place / "a.ome.zarr", place / "pred", how, other_blocks)
    report = json.loads((place / "pred" / "segment.run" / "report.json").read_text())
    ran = sum(stage["run"] for stage in report["plans"]["a"]["stages"])
    assert 0 < ran < len(lines)
    assert content(place) == right


def test_what_has_other_bytes_is_computed_again(tmp_path: Path) -> None:
    options = QUIET.with_(identity="content")
    first = everything(project(tmp_path / "one"), options)
    copied(tmp_path / "one", tmp_path / "two")
    place = tmp_path / "two"
    save_threshold_model(place / "ball.safetensors", "ball", patch=SHAPE, overlap=0.5)
    ran = everything(place, options)
    assert ran["pred/segment.run"]
    assert ran["res/run"]
    assert ran["z.ome.zarr.run"] == 0
    tomogram(place / "a.mrc", 0.2)
    copied(place, tmp_path / "three")
    ran = everything(tmp_path / "three", options)
    assert ran["res/run"] == first["res/run"]


def test_models_that_change_places_are_not_mixed_up(tmp_path: Path) -> None:
    place = project(tmp_path / "one")
    save_threshold_model(place / "other.safetensors", "other", patch=SHAPE, normalisation="per_patch")
    names = ("ball.safetensors", "other.safetensors")

    def predicted() -> dict[str, bytes]:
        how = SegmentRecipe(models=tuple(str(place / name) for name in names), levels=1)
        volengine.segment(place / "a.mrc", place / "pred", how, QUIET)
        return content(place)

    before = predicted()
    (place / names[0]).rename(place / "x")
    (place / names[1]).rename(place / names[0])
    (place / "x").rename(place / names[1])
    assert predicted() == before


def test_results_of_before_are_recognised(tmp_path: Path) -> None:
    """Plans without places of now, and records of calls with absolute paths."""
    place = project(tmp_path / "one")
    first = everything(place, QUIET)
    for path in place.rglob("plan.json"):
        data = json.loads(path.read_text())
        for stage in data["stages"]:
            del stage["moved"]
        path.write_text(json.dumps(data))
        plan = Plan.former(PlanFolder(path.parent), ("volengine",))
        assert plan is not None
        finished = json.loads((path.parent / "finished.json").read_text())
        finished["calls"] = digest_of([fields_of(call) for call in plan.finish])
        (path.parent / "finished.json").write_text(json.dumps(finished))
    times = {path: path.stat().st_mtime_ns for path in place.rglob("*.star")}
    assert everything(place, QUIET) == dict.fromkeys(first, 0)
    assert {path: path.stat().st_mtime_ns for path in place.rglob("*.star")} == times


def test_a_run_folder_that_is_moved_alone_says_what_is_made_again(tmp_path: Path) -> None:
    """Of images alone nothing is; a table is looked for beside the folder, and so made again with its labels."""
    tomogram(tmp_path / "a.mrc")

    def call(run_dir: str) -> str:
        options = QUIET.with_(run_dir=str(tmp_path / run_dir / "convert"))
        volengine.convert(tmp_path / "a.mrc", tmp_path / "a.ome.zarr", ConvertRecipe(levels=1), options)
        options = options.with_(run_dir=str(tmp_path / run_dir / "pick"))
        volengine.pick(tmp_path / "a.mrc", tmp_path / "picks.star", options=options)
        return "".join((tmp_path / run_dir / verb / "log.jsonl").read_text() for verb in ("convert", "pick"))

    call("one")
    before = content(tmp_path)
    (tmp_path / "far").mkdir()
    (tmp_path / "one").rename(tmp_path / "far" / "two")
    for _ in range(2):  # once for all
        said = call("far/two")
        assert said.count("the run folder was moved") == 1
        assert "picks.star.ome.zarr was not moved with it: it is made again" in said
        assert content(tmp_path) == before
        for verb in ("convert", "pick"):
            assert [str(one) for one in verify(str(tmp_path / "far" / "two" / verb)).problems] == []
