"""Bad tomograms of a collection are named, and the good ones among them are done as if alone, on workers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ball_tomograms import SHAPE, products, tomogram
from threshold_net import save_threshold_model

import volengine
from volengine.engine.options import RunOptions
from volengine.engine.run import run_jobs
from volengine.tasks.run import RunRecipe, run_jobs_of


@pytest.mark.slow
def test_bad_tomograms_are_named_and_the_others_are_done_as_if_alone(tmp_path):
    model = save_threshold_model(tmp_path / "ball.safetensors", "ball", patch=SHAPE)
    recipe = RunRecipe.from_json({"segment": {"models": [str(model)]}, "pick": [{"feature": "ball", "spacing_nm": 8}]})
    raw = tmp_path / "raw"
    raw.mkdir()
    sources = [tomogram(raw / f"TS_{n:02d}.mrc", n) for n in range(12)]
    cut, nan, gone = (Path(sources[n]) for n in (2, 5, 8))
    cut.write_bytes(cut.read_bytes()[:-1000])
    nan.write_bytes(nan.read_bytes()[:-4] + np.float32(np.nan).tobytes())

    options = RunOptions(progress=False, workers=2, memory_limit="4GB")
    jobs, run_dir, _ = run_jobs_of(sources, str(tmp_path / "out"), recipe, options)
    gone.unlink()
    report = run_jobs(jobs, run_dir, options)

    assert {Path(name).stem for name in report.failures} == {"TS_02", "TS_05", "TS_08"}
    said = {Path(name).stem: str(error) for name, error in report.failures.items()}
    assert "TS_02.mrc" in said["TS_02"]
    assert "bytes" in said["TS_02"]
    assert "NaN" in said["TS_05"] or "nan" in said["TS_05"]
    assert "TS_08.mrc" in said["TS_08"]

    good = [n for n in range(12) if n not in (2, 5, 8)]
    for n in good:
        assert len(volengine.read_picks(tmp_path / "out" / "picks" / f"TS_{n:02d}__ball.star")) == 1 + n % 3
    assert not list((tmp_path / "out" / "picks").glob("TS_0[258]*"))

    alone = RunOptions(progress=False, memory_limit="4GB")
    volengine.run([sources[n] for n in good], tmp_path / "alone", recipe, alone)
    made, expected = products(tmp_path / "out"), products(tmp_path / "alone")
    assert {path: made.get(path) for path in expected} == expected

    again = run_jobs(run_jobs_of(sources[:2] + sources[3:5], str(tmp_path / "out"), recipe, alone)[0], run_dir, alone)
    assert not again.failures
    assert sum(stage["run"] for plan in again.data["plans"].values() for stage in plan["stages"]) == 0
