"""Two runs that write one image: the second is refused while the first lives, and the first never writes into it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import mrcfile
import numpy as np
import pytest
from engine_plans import result, simple, stored

import volengine
from volengine.core.errors import BusyError, ChangedError, InputError
from volengine.engine.driver_lock import only_driver
from volengine.engine.ledger import RunFolder
from volengine.engine.options import RunOptions
from volengine.engine.run import run_plan
from volengine.engine.state import PlanState
from volengine.engine.work import Bundle, run_units
from volengine.io.omezarr import image as omezarr
from volengine.io.omezarr.nodes import read_node

QUIET = RunOptions(progress=False)
OVER = QUIET.with_(overwrite=True)
ARRAY = np.arange(8 * 4 * 4, dtype="int32").reshape(8, 4, 4)


def prepared(tmp_path: Path, run: Path):
    """A plan whose image was created by a run in another folder, and of which nothing was written yet."""
    plan = simple(
        tmp_path, stored(tmp_path, ARRAY), "copy_and_act", (4, 4, 4), params={"at": -1, "marker": "", "moves": []}
    )
    folder = RunFolder(run).plan("t")
    PlanState(plan, folder, QUIET, QUIET.limit_bytes()).prepare()
    return plan, folder


def test_an_image_that_a_living_run_writes_is_not_overwritten(tmp_path: Path) -> None:
    plan, _ = prepared(tmp_path, tmp_path / "first")
    with only_driver(tmp_path / "first", None), pytest.raises(BusyError, match=r"t\.ome\.zarr is being written.*first"):
        run_plan(plan, str(tmp_path / "second"), OVER)
    assert np.count_nonzero(result(plan)) == 0
    run_plan(plan, str(tmp_path / "second"), OVER).check()
    assert np.array_equal(result(plan), ARRAY)


def test_an_image_whose_run_folder_was_removed_says_so(tmp_path: Path) -> None:
    plan, _ = prepared(tmp_path, tmp_path / "first")
    for run in ("first", "second"):
        shutil.rmtree(tmp_path / "first", ignore_errors=True)
        with pytest.raises(InputError, match=r"t\.ome\.zarr exists\. What the run .* into .*first is not there any"):
            run_plan(plan, str(tmp_path / run), QUIET)


def test_a_run_that_made_the_image_once_does_not_overwrite_the_one_that_makes_it_now(tmp_path: Path) -> None:
    plan, _ = prepared(tmp_path, tmp_path / "first")
    run_plan(plan, str(tmp_path / "first"), QUIET).check()
    folder = RunFolder(tmp_path / "second").plan("t")
    PlanState(plan, folder, OVER, OVER.limit_bytes()).prepare()
    with only_driver(tmp_path / "second", None), pytest.raises(BusyError, match="is being written by another run"):
        run_plan(plan, str(tmp_path / "first"), OVER)
    assert read_node(plan.images[0].url).ours["token"] == folder.token()


def test_a_complete_image_does_not_name_its_run(tmp_path: Path) -> None:
    plan, _ = prepared(tmp_path, tmp_path / "first")
    url = plan.images[0].url
    assert read_node(url).ours["run"] == str(tmp_path / "first")
    run_plan(plan, str(tmp_path / "first"), QUIET).check()
    assert "run" not in read_node(url).ours
    with only_driver(tmp_path / "first", None):  # it works on something else
        run_plan(plan, str(tmp_path / "second"), OVER).check()


def test_a_late_unit_does_not_write_into_the_image_of_another_run(tmp_path: Path) -> None:
    plan, folder = prepared(tmp_path, tmp_path / "first")
    (stage,) = plan.stages
    bundle = Bundle(str(folder.path), stage, plan.identities[stage.name], (0,), 10**12)
    omezarr.create_image(plan.images[0], token="another", overwrite=True)
    with pytest.raises(ChangedError, match="overwritten by another run"):
        run_units(bundle)
    assert list(folder.receipts) == []
    assert np.count_nonzero(result(plan)) == 0


@pytest.mark.slow
@pytest.mark.chaos
def test_two_commands_that_overwrite_each_other_give_one_result_or_an_error(tmp_path: Path) -> None:
    voxels, running = [], []
    out, small = tmp_path / "A.ome.zarr", ("--shard", "16,16,16", "--chunk", "16,16,16", "--block", "16,16,16")
    for seed in (1, 2):
        voxels.append(np.random.default_rng(seed).integers(-99, 99, (64, 96, 96)).astype(np.int8))
        path = tmp_path / str(seed) / "A.mrc"
        path.parent.mkdir()
        mrcfile.write(path, voxels[-1], voxel_size=10)
        given = ("convert", path, "--out", out, "--run-dir", tmp_path / f"run{seed}", "--overwrite", *small)
        command = [sys.executable, "-c", "from volengine.cli.main import main; main()", *map(str, given)]
        running.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    codes = [process.wait(120) for process in running]
    if 0 in codes:
        found = np.asarray(volengine.open_volume(out))
        assert any(np.array_equal(found, one) for one, code in zip(voxels, codes, strict=True) if code == 0)
    else:
        assert not omezarr.is_complete(str(out))
