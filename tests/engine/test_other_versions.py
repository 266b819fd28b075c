"""Run folders of other versions, whose stages have other names, and plans that would write one place twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from engine_plans import result, simple, spec, stored

from volengine.core.errors import PlanError
from volengine.engine.options import RunOptions
from volengine.engine.plan import FORMAT, Plan
from volengine.engine.run import run_plan
from volengine.engine.show import status

QUIET = RunOptions(progress=False)


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize("options", [QUIET, QUIET.with_(block=(4, 12, 20))])
def test_a_run_folder_of_another_version_is_refused_with_what_to_do(
    tmp_path: Path, finished: bool, options: RunOptions
) -> None:
    array = np.random.default_rng(0).integers(0, 100, (16, 12, 20)).astype("int16")
    plan = simple(tmp_path, stored(tmp_path, array), "fail_at", (4, 12, 20), params={"numbers": [], "marker": ""})
    run = tmp_path / "run"
    run_plan(plan, str(run), options)
    folder = run / "plans" / "t"
    written = json.loads((folder / "plan.json").read_text())
    assert written.pop("format") == FORMAT
    (folder / "plan.json").write_text(json.dumps(written))
    if not finished:
        (folder / "finished.json").unlink()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and "log" not in path.name}
    with pytest.raises(PlanError, match=rf"{run} is from another version .* delete that folder and run .* --overwrite"):
        run_plan(plan, str(run), options)
    after = {path: path.read_bytes() for path in before if path.exists()}
    assert {p for p in before if before[p] != after.get(p)} <= {run / "report.json"}
    assert np.array_equal(result(plan), array)
    with pytest.raises(PlanError, match="another version"):
        status(str(run))


def test_two_stages_that_write_one_place_are_refused(tmp_path: Path) -> None:
    source = stored(tmp_path, np.zeros((8, 8, 8), "int16"))
    first = simple(tmp_path, source, "nothing", (8, 8, 8))
    second = simple(tmp_path, source, "fail_at", (8, 8, 8))
    with pytest.raises(PlanError, match=r"Stages 'nothing' and 'fail_at' of 'x' both write .*t\.ome\.zarr/0\."):
        Plan("x", (*first.stages, *second.stages), (spec("t", (8, 8, 8), "int32", (4, 4, 4)),))
