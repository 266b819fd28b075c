"""One place has one writer: products and names that meet are refused while planning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import volengine
from volengine.core.errors import InputError, PlanError
from volengine.core.paths import ignores_case, place_key
from volengine.core.tiling import Tiling
from volengine.engine.options import RunOptions
from volengine.engine.plan import Call, Plan
from volengine.engine.run import Job, run_jobs
from volengine.engine.stage import Stage
from volengine.io.mrc.write import write_mrc
from volengine.tasks.common.layout import feature_named, file_name

WRITE = "volengine.tasks.pick.finish:write_table"
QUIET = RunOptions(progress=False)


@given(st.text(min_size=1), st.text(min_size=1))
def test_file_names_of_features_are_injective(one: str, other: str) -> None:
    assert (file_name(one) == file_name(other)) == (one == other)
    assert feature_named(file_name(one)) == one
    assert "/" not in file_name(one)
    assert "__" not in file_name(one)


def test_what_file_systems_take_for_one_name() -> None:
    assert place_key("caf\u00e9") == place_key("cafe\u0301")
    assert place_key("TS_01") == place_key("ts_01")
    assert place_key("TS_01", case=True) != place_key("ts_01", case=True)
    assert place_key("\u03b1-tubulin") != place_key("\u03b2-tubulin")


def stage(name: str) -> Stage:
    one = Tiling((1, 1, 1), (1, 1, 1))
    return Stage(name, "volengine.tasks.common.blocks:mask_or_not", one, emits=True)


@pytest.mark.parametrize("second", ["out/T1__r.star", "out/t1__R.star"])
def test_a_plan_refuses_two_writers_of_one_product(second: str) -> None:
    calls = (Call(WRITE, {}, ("out/T1__r.star",)), Call(WRITE, {}, (second,)))
    with pytest.raises(PlanError, match="twice"):
        Plan("T1", (stage("a"),), finish=calls)
    plan = Plan("T1", (stage("a"),), finish=calls[:1])
    assert Plan.from_json(plan.to_json()).finish == plan.finish


def test_two_picks_into_one_table_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="capital letters"):
        volengine.RunRecipe.from_json(
            {"segment": {"models": ["m"]}, "pick": [{"feature": "Ribosome"}, {"feature": "ribosome"}]}
        )


def test_names_of_tomograms_that_differ_by_unicode_are_refused(tmp_path: Path) -> None:
    paths = []
    for folder, name in (("a", "caf\u00e9"), ("b", "cafe\u0301"), ("c", "T1"), ("d", "t1")):
        (tmp_path / folder).mkdir()
        paths.append(tmp_path / folder / f"{name}.mrc")
        write_mrc(paths[-1], [np.zeros((8, 8, 8), np.float32)], (8, 8, 8), "float32", (10.0, 10.0, 10.0))
    from volengine.tasks.common.jobs import jobs_of
    from volengine.tasks.convert.recipe import ConvertRecipe
    from volengine.tasks.convert.verb import CONVERT

    jobs, run_dir = jobs_of(CONVERT, [str(p) for p in paths], str(tmp_path / "out"), ConvertRecipe(), QUIET)
    report = run_jobs([Job(str(k), job.plan) for k, job in enumerate(jobs)], run_dir, QUIET)
    refused = {name: str(error) for name, error in report.failures.items()}
    assert "same for the file system" in refused.pop("1")
    assert list(refused) == (["3"] if ignores_case(tmp_path) else [])
