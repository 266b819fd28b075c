"""A run that could not begin, and a failed one, leave nothing behind that looks like a result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from engine_plans import result, simple, spec, stored

from volengine.core.errors import InputError, VolengineError
from volengine.core.image import ImageSpec
from volengine.core.new_folders import NewFolders
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.hello import hello
from volengine.engine.ledger import RunFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.engine.run import Job, run_jobs, run_plan
from volengine.engine.stage import ArrayInput, Output, Stage
from volengine.io.omezarr import image as omezarr
from volengine.io.omezarr.node_files import group_files, put_node
from volengine.io.open import open_volume

QUIET = RunOptions(progress=False, durable=False)
NOTHING = {"numbers": [], "marker": ""}


@pytest.fixture
def unreachable(tmp_path: Path) -> RunOptions:
    """A cluster none of whose workers can be started."""
    pytest.importorskip("asyncssh")
    file = tmp_path / "cluster.yaml"
    connect = {"port": 1, "known_hosts": None}
    file.write_text(yaml.safe_dump({"kind": "ssh", "hosts": ["127.0.0.1"], "memory": "1GB", "connect": connect}))
    return QUIET.with_(cluster=str(file))


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_without_workers_a_new_run_leaves_nothing(tmp_path: Path, unreachable: RunOptions) -> None:
    source = stored(tmp_path, np.zeros((8, 4, 4), "int16"))
    out = tmp_path / "results" / "deep"
    plans = [simple(out, source, "fail_at", (4, 4, 4), name=n, params=NOTHING) for n in "ab"]
    before = files(tmp_path)
    with pytest.raises(InputError, match="workers could not be started"):
        run_jobs([Job(p.name, lambda p=p: p) for p in plans], str(out / "run"), unreachable)
    assert files(tmp_path) == before
    with pytest.raises(InputError, match="workers could not be started"):
        hello(unreachable, str(tmp_path / "far" / "hello"))
    assert files(tmp_path) == before


def test_without_workers_what_an_earlier_run_has_done_stays(tmp_path: Path, unreachable: RunOptions) -> None:
    array = np.arange(32 * 16, dtype="int16").reshape(32, 4, 4)
    plan = simple(tmp_path, stored(tmp_path, array), "fail_at", (4, 4, 4), params={"numbers": [6], "marker": ""})
    report = run_jobs([Job("t", lambda: plan)], str(tmp_path / "run"), QUIET.with_(retries=0))
    assert list(report.failures) == ["t"]
    folder = RunFolder(tmp_path / "run").plan("t")
    done = {r["number"] for r in folder.receipts}
    assert done
    with pytest.raises(InputError, match="workers could not be started"):
        run_plan(plan, str(tmp_path / "run"), unreachable)
    assert {r["number"] for r in RunFolder(tmp_path / "run").plan("t").receipts} == done
    assert omezarr.store_token(plan.images[0].url) == folder.token()


def test_folders_are_removed_only_if_they_are_new_and_empty(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    new = NewFolders()
    for name in ("old", "a/b/c", "d/e", "never"):
        new.note(tmp_path / name)
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "d/mine.txt").write_text("")
    assert tmp_path / "a" in new
    assert tmp_path / "old" not in new
    new.remove_empty()
    assert files(tmp_path) == {"old", "d", "d/mine.txt"}


# -- label images in stores ----------------------------------------------------------------------------------


def label_plan(url: str, volume: Volume, numbers: list[int]) -> Plan:
    """A plan that writes the label image ``labels/core`` of a store."""
    top = spec(url, (8, 4, 4), "int32", (4, 4, 4))
    image = ImageSpec(url, "t", "int32", "labels", (10.0,) * 3, top.levels, group="labels/core")
    stage = Stage(
        "s", "engine_kernels:fail_at", Tiling((8, 4, 4), (4, 4, 4)), {"numbers": numbers, "marker": ""},
        {"source": ArrayInput(volume)}, outputs={"out": Output(image.volume())},
    )  # fmt: skip
    return Plan("t", (stage,), (image,))


@pytest.mark.parametrize("where", ["alone", "beside an image", "in a group of somebody", "memory"])
def test_a_failed_label_image_leaves_no_groups(tmp_path: Path, where: str) -> None:
    url = "memory://leaves/t.ome.zarr" if where == "memory" else str(tmp_path / "t.ome.zarr")
    if where == "beside an image":
        array = np.ones((8, 4, 4), "int16")
        plan = simple(tmp_path, stored(tmp_path, array), "fail_at", (4, 4, 4), params=NOTHING)
        run_plan(plan, str(tmp_path / "run1"), QUIET)
    if where == "in a group of somebody":
        put_node(url, "", group_files(3, {"of": "somebody"}))
    source = stored(tmp_path, np.zeros((8, 4, 4), "int16"))
    before = files(tmp_path)
    jobs = [Job("t", lambda: label_plan(url, source, [0, 1]))]
    report = run_jobs(jobs, str(tmp_path / "run"), QUIET.with_(retries=0))
    assert list(report.failures) == ["t"]
    left = {name for name in files(tmp_path) - before if not name.startswith("run")}
    assert left == set()
    if where == "memory":
        assert omezarr.read_node(url) is None
    if where == "beside an image":
        assert np.array_equal(result(plan), array)
    run_plan(label_plan(url, source, []), str(tmp_path / "run"), QUIET)  # and the same command goes on
    assert omezarr.is_complete(url, "labels/core")


@pytest.mark.parametrize("metadata", ["kept", "lost"])
def test_an_image_that_was_complete_outlives_an_attempt_that_fails(tmp_path: Path, metadata: str) -> None:
    """Its only unit is made again, because one of its objects is lost; then that unit fails, twice."""
    array = np.arange(8 * 16, dtype="int16").reshape(8, 4, 4) + 1
    marker = tmp_path / "marker"
    marker.mkdir()
    (marker / "0").touch()
    params = {"numbers": [0], "marker": str(marker)}
    plan = simple(tmp_path, stored(tmp_path, array), "fail_at", (8, 4, 4), params=params)
    jobs = [Job("t", lambda: plan)]
    run_jobs(jobs, str(tmp_path / "run"), QUIET)
    out = Path(plan.images[0].url)
    good = {path: path.read_bytes() for path in (out / "0" / "c").rglob("*") if path.is_file()}
    lost = sorted(good)[0]
    for _ in range(2):
        lost.unlink(missing_ok=True)
        if metadata == "lost":
            (out / "zarr.json").write_text("{")
        (marker / "0").unlink()
        assert list(run_jobs(jobs, str(tmp_path / "run"), QUIET.with_(retries=0)).failures) == ["t"]
        assert {path: path.read_bytes() for path in good if path.exists()} == {p: good[p] for p in good if p != lost}
        assert not omezarr.is_complete(str(out))  # nobody takes it for a result
        with pytest.raises(VolengineError, match="is not finished"):
            open_volume(str(out))
    assert run_jobs(jobs, str(tmp_path / "run"), QUIET).failures == {}
    assert np.array_equal(result(plan), array)


def test_an_image_that_replaces_another_recipes_and_fails_is_not_left(tmp_path: Path) -> None:
    array = np.ones((8, 4, 4), "int16")
    source = stored(tmp_path, array)
    run_plan(simple(tmp_path, source, "fail_at", (8, 4, 4), params=NOTHING), str(tmp_path / "run"), QUIET)
    made = simple(tmp_path, source, "fail_at", (8, 4, 4), params={"numbers": [0], "marker": ""})
    changed = replace(made, images=(replace(made.images[0], facts={"recipe": "another"}),))
    report = run_jobs([Job("t", lambda: changed)], str(tmp_path / "run"), QUIET.with_(retries=0))
    assert list(report.failures) == ["t"]
    assert not Path(changed.images[0].url).exists()  # the voxels of the former recipe are not there under the new one
