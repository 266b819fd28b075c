"""Inputs that are replaced, removed or rewritten while a run reads them: never a mixture that is marked complete."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

import mrcfile
import numpy as np
import pytest
import zarr
from engine_plans import result, simple

from volengine.core.errors import ChangedError, InputError, PlanError, RunError
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.engine.run import run_plan
from volengine.engine.stage import Stage
from volengine.io.omezarr import image as omezarr
from volengine.io.open import open_volume

SHAPE = (16, 16, 16)
OLD = np.random.default_rng(0).integers(0, 100, SHAPE).astype("int16")
NEW = OLD[::-1] + 1000
QUIET = RunOptions(progress=False)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write(path: Path, voxels: np.ndarray) -> Path:
    mrcfile.write(path, voxels, voxel_size=10, overwrite=True)
    return path


def plan_of(folder: Path, source: Path, at: int, moves: list[list[str]], identity: str = "quick") -> Plan:
    """A copy of the source in 8 blocks; block ``at`` replaces files."""
    volume = open_volume(source, identity=identity)  # type: ignore[arg-type]
    params = {"at": at, "marker": str(folder / "done"), "moves": moves}
    return simple(folder, volume, "copy_and_act", (8, 8, 8), chunk=(8, 8, 8), params=params)


def refused(plan: Plan, run: Path, options: RunOptions = QUIET) -> str:
    with pytest.raises((RunError, InputError)) as error:
        run_plan(plan, str(run), options)
    image = plan.images[0]
    assert not Path(image.url).exists() or not omezarr.is_complete(image.url)
    return str(error.value)


@pytest.mark.parametrize("at", [0, 3, 7])
@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_is_replaced_under_a_run_gives_no_mixture(tmp_path, at, workers):
    source = write(tmp_path / "a.mrc", OLD)
    moves = [[str(write(tmp_path / "new.mrc", NEW)), str(source)]]
    options = QUIET.with_(workers=workers)
    said = refused(plan_of(tmp_path, source, at, moves), tmp_path / "run", options)
    assert "a.mrc has changed since" in said
    assert "same command" in said
    again = plan_of(tmp_path, source, at, moves)  # the same command
    run_plan(again, str(tmp_path / "run"), options)
    np.testing.assert_array_equal(result(again), NEW)
    assert omezarr.is_complete(again.images[0].url)


def test_a_file_that_vanishes_under_a_run_can_be_put_back(tmp_path):
    source = write(tmp_path / "a.mrc", OLD)
    shutil.copy2(source, tmp_path / "kept.mrc")
    plan = plan_of(tmp_path, source, 3, [["", str(source)]])
    said = refused(plan, tmp_path / "run")
    assert "a.mrc" in said
    (tmp_path / "kept.mrc").rename(source)
    again = plan_of(tmp_path, source, 3, [["", str(source)]])
    run_plan(again, str(tmp_path / "run"), QUIET)
    np.testing.assert_array_equal(result(again), OLD)


def foreign(path: Path, voxels: np.ndarray) -> Path:
    array = zarr.create_array(str(path), shape=SHAPE, dtype="int16", chunks=(4, 4, 4))
    array.attrs["note"] = "of another program"
    array[:] = voxels
    return path


def test_a_foreign_store_that_is_rewritten_in_place_is_made_anew(tmp_path):
    source = foreign(tmp_path / "a.zarr", OLD)

    def plan() -> Plan:
        volume = open_volume(source, voxel_size=10)
        return simple(tmp_path, volume, "slow_copy", (8, 8, 8), chunk=(8, 8, 8), params=slow)

    slow = {"seconds": 0.0, "trace": str(tmp_path / "trace")}
    first = plan()
    run_plan(first, str(tmp_path / "run"), QUIET)
    zarr.open_array(str(source), mode="r+")[:] = NEW  # with the same metadata
    second = plan()
    assert second.fingerprint != first.fingerprint
    run_plan(second, str(tmp_path / "run"), QUIET)
    np.testing.assert_array_equal(result(second), NEW)


def test_a_foreign_store_that_is_rewritten_under_a_run_is_never_complete(tmp_path):
    source = foreign(tmp_path / "a.zarr", OLD)
    trace = tmp_path / "trace"
    volume = open_volume(source, voxel_size=10)
    params = {"seconds": 0.1, "trace": str(trace)}
    plan = simple(tmp_path, volume, "slow_copy", (8, 8, 8), chunk=(8, 8, 8), params=params)

    def rewrite() -> None:
        while not trace.exists() or len(trace.read_text().splitlines()) < 3:
            time.sleep(0.01)
        zarr.open_array(str(source), mode="r+")[:] = NEW

    thread = threading.Thread(target=rewrite)
    thread.start()
    said = refused(plan, tmp_path / "run")
    thread.join()
    assert "a.zarr has changed since" in said
    volume = open_volume(source, voxel_size=10)
    again = simple(tmp_path, volume, "slow_copy", (8, 8, 8), chunk=(8, 8, 8), params=params)
    run_plan(again, str(tmp_path / "run"), QUIET)
    np.testing.assert_array_equal(result(again), NEW)


def test_a_touched_input_is_the_same_by_its_content(tmp_path):
    source = write(tmp_path / "a.mrc", OLD)
    marks = [plan_of(tmp_path, source, 99, [], how) for how in ("quick", "content")]
    time.sleep(0.03)
    source.touch()
    touched = [plan_of(tmp_path, source, 99, [], how) for how in ("quick", "content")]
    assert touched[0].fingerprint != marks[0].fingerprint
    assert touched[1].fingerprint == marks[1].fingerprint
    run_plan(marks[1], str(tmp_path / "run"), QUIET)  # planned before it was touched
    np.testing.assert_array_equal(result(marks[1]), OLD)


def test_parameters_that_print_alike_are_other_stages(tmp_path):
    source = open_volume(write(tmp_path / "a.mrc", OLD))
    long = np.arange(5000.0)
    other = long.copy()
    other[2500] = -1
    identities = {
        simple(tmp_path, source, "nothing", (8, 8, 8), chunk=(8, 8, 8), params={"weights": weights}).fingerprint
        for weights in (long, other, long.astype("float32"), long.tolist())
    }
    assert len(identities) == 4
    with pytest.raises(PlanError, match="has no digest"):
        _ = simple(tmp_path, source, "nothing", (8, 8, 8), chunk=(8, 8, 8), params={"f": object()}).fingerprint


def test_a_stage_that_came_back_from_json_is_the_same(tmp_path):
    plan = plan_of(tmp_path, write(tmp_path / "a.mrc", OLD), 3, [["a", "b"]])
    (stage,) = plan.stages
    again = Stage.from_json(stage.to_json(), [stage.kernel])
    assert again.arrays["source"].volume.snapshot == stage.arrays["source"].volume.snapshot != {}
    assert Plan.from_json(plan.to_json(), [stage.kernel]).fingerprint == plan.fingerprint


def test_a_packed_file_that_changes_before_it_is_unpacked_is_refused(tmp_path):
    import gzip

    from volengine.tasks.convert.recipe import ConvertRecipe
    from volengine.tasks.convert.verb import CONVERT, convert

    source = tmp_path / "a.mrc.gz"
    source.write_bytes(gzip.compress(write(tmp_path / "a.mrc", OLD).read_bytes()))
    out = str(tmp_path / "a.ome.zarr")
    plan = CONVERT.job("a", str(source), out, ConvertRecipe(), QUIET).plan()
    source.write_bytes(gzip.compress(write(tmp_path / "a.mrc", NEW).read_bytes()))
    assert "a.mrc.gz has changed since" in refused(plan, tmp_path / "a.ome.zarr.run")
    np.testing.assert_array_equal(convert(source, out, None, QUIET)[...], NEW)


def test_an_export_of_a_source_that_is_replaced_leaves_no_file(tmp_path, monkeypatch):
    from volengine.tasks import export as module

    source = write(tmp_path / "a.mrc", OLD.astype("float32"))
    new = write(tmp_path / "new.mrc", NEW.astype("float32"))
    boxes = module._boxes

    def slabs(volume, part):  # slices of their own, and another file in place of the source after the fifth
        for z, box in enumerate(box for whole in boxes(volume, part) for box in _slices(whole)):
            if z == 5:
                new.rename(source)
            yield box

    monkeypatch.setattr(module, "_boxes", slabs)
    with pytest.raises(ChangedError, match=r"a\.mrc has changed"):
        module.export(source, tmp_path / "out.mrc", progress=False)
    assert not (tmp_path / "out.mrc").exists()


def _slices(box):
    from volengine.core.boxes import Box

    (z0, y0, x0), (z1, y1, x1) = box.start, box.stop
    return [Box((z, y0, x0), (z + 1, y1, x1)) for z in range(z0, z1)]


def test_another_input_of_the_same_name_does_not_replace_the_results_of_the_first(tmp_path: Path) -> None:
    """Every session has a TS_01; only where the first one is still there, it is another one."""
    first, second = tmp_path / "a" / "TS_01.mrc", tmp_path / "b" / "TS_01.mrc"
    for path, voxels in ((first, OLD), (second, NEW)):
        path.parent.mkdir()
        write(path, voxels)
    out, run = tmp_path / "out", tmp_path / "run"
    out.mkdir()
    run_plan(plan_of(out, first, -1, []), str(run), QUIET)
    other = plan_of(out, second, -1, [])
    with pytest.raises(InputError, match=r"a/TS_01.mrc, which is still there; .*b/TS_01.mrc has the same name"):
        run_plan(other, str(run), QUIET)
    assert np.array_equal(result(other), OLD)
    assert omezarr.is_complete(other.images[0].url)
    link = tmp_path / "TS_01.mrc"
    link.symlink_to(first)
    run_plan(plan_of(out, link, -1, []), str(run), QUIET)  # the same file by another path
    run_plan(other, str(run), QUIET.with_(overwrite=True))
    assert np.array_equal(result(other), NEW)
    second.rename(tmp_path / "moved.mrc")
    run_plan(plan_of(out, first, -1, []), str(run), QUIET)  # nobody can run the second one again
    assert np.array_equal(result(other), OLD)
