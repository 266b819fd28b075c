"""Refusals, retries, failures, kills, parts: what happens when things go wrong."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from engine_plans import result, simple, spec, stored

from volengine.core.errors import InputError, MemoryRefusedError, PlanError, RunError
from volengine.core.tiling import Tiling
from volengine.engine.ledger import PlanFolder, RunFolder
from volengine.engine.memory import BASELINE_BYTES, HEADROOM, check_stage, choose_core, peak_bytes
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.engine.receipts import read_lines
from volengine.engine.run import Job, run_jobs, run_plan
from volengine.engine.stage import ArrayInput, Output, Stage, TableInput
from volengine.io.omezarr import image as omezarr

QUIET = RunOptions(progress=False)


@pytest.fixture
def array() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 100, (16, 12, 20)).astype("int16")


def test_a_call_from_python_is_no_dry_run(tmp_path):
    with pytest.raises(InputError, match="--dry-run"):
        run_jobs([], str(tmp_path / "run"), RunOptions(dry_run=True))
    assert not (tmp_path / "run").exists()


def test_a_block_that_is_no_multiple_of_the_shard_is_refused(tmp_path, array):
    with pytest.raises(
        PlanError, match=r"Block \(6, 4, 4\) is not a multiple of shard \(4, 4, 4\) on axis z; use 4 or 8"
    ):
        simple(tmp_path, stored(tmp_path, array), "nothing", (6, 4, 4))


def test_a_stage_that_reads_its_own_output_is_refused(tmp_path, array):
    source = stored(tmp_path, array)
    with pytest.raises(PlanError, match="reads its own output"):
        Stage(
            "s", "a:b", Tiling(source.shape, (4, 4, 4)), arrays={"a": ArrayInput(source)}, outputs={"o": Output(source)}
        )


def test_memory_is_refused_while_planning_with_both_numbers(tmp_path, array):
    plan = simple(tmp_path, stored(tmp_path, array), "nothing", (16, 12, 20), kernel_bytes=10**9)
    with pytest.raises(MemoryRefusedError, match=r"needs 1\.26 GB.*a worker has 500 MB"):
        run_plan(plan, str(tmp_path / "run"), RunOptions(progress=False, memory_limit="500MB"))
    assert not (tmp_path / "t.ome.zarr").exists()


def test_a_refusal_says_what_helps(tmp_path, array):
    """More memory, and what it takes, always; smaller blocks or shards only where there are such and they help."""
    source = stored(tmp_path, array)
    options = RunOptions(progress=False)

    def told(core: tuple, limit: str, kernel_bytes: int = 10**9, **more: int) -> str:
        plan = simple(tmp_path, source, "nothing", core, kernel_bytes=kernel_bytes, **more)
        with pytest.raises(MemoryRefusedError) as found:
            run_plan(plan, str(tmp_path / "run"), options.with_(memory_limit=limit))
        return str(found.value)

    least = math.ceil((BASELINE_BYTES + 10**9 + 2 * 16 * 12 * 20 * (2 + 4)) / HEADROOM / 1e6)
    wide = told((16, 12, 20), "500MB")
    assert f"--memory-limit {least}MB" in wide
    assert "or take smaller blocks: --block, in multiples of 4,4,4 voxels." in wide
    one = told((4, 4, 4), "500MB")
    assert "for blocks of (4, 4, 4) voxels" in one
    assert "smaller shards (--shard)" in one
    assert "--block" not in one
    nothing = told((16, 12, 20), "250MB")  # less than a worker without voxels
    assert nothing.endswith("Other blocks would not change it.")
    assert "smaller" not in nothing
    rows = Stage("rows", "a:b", Tiling((3, 1, 1), (1, 1, 1)), emits=True, kernel_bytes=10**9)
    with pytest.raises(MemoryRefusedError) as found:
        check_stage(rows, 500_000_000)
    assert "voxels" not in str(found.value)
    assert "Other blocks would not change it." in str(found.value)
    check_stage(rows, math.ceil((BASELINE_BYTES + 10**9) / HEADROOM / 1e6) * 10**6)  # as the message says


def test_the_planner_takes_the_largest_block_that_fits(tmp_path):
    volume = stored(tmp_path, np.zeros((8, 8, 8), "int16")).with_(shape=(1000, 1000, 1000))
    out = spec("x.ome.zarr", (1000, 1000, 1000), "float32", (64, 64, 64))

    def build(core):
        return Stage(
            "s", "a:b", Tiling((1000,) * 3, core), arrays={"a": ArrayInput(volume)}, outputs={"o": Output(out.volume())}
        )

    sizes = []
    for limit in (400_000_000, 600_000_000, 4_000_000_000):
        core = choose_core((1000,) * 3, (64, 64, 64), limit, build)
        assert peak_bytes(build(core)) <= 0.85 * limit
        sizes.append(int(np.prod(core)))
    assert sizes[0] < sizes[1] <= sizes[2] <= 256**3
    with pytest.raises(MemoryRefusedError):
        choose_core((1000,) * 3, (64, 64, 64), BASELINE_BYTES, build)


def test_a_failing_unit_is_tried_again(tmp_path, array):
    marker = tmp_path / "marker"
    marker.mkdir()
    plan = simple(
        tmp_path, stored(tmp_path, array), "fail_at", (4, 12, 20), params={"numbers": [1, 3], "marker": str(marker)}
    )
    run_plan(plan, str(tmp_path / "run"), QUIET)
    assert np.array_equal(result(plan), array)
    failed = [e for e in read_lines(tmp_path / "run" / "log.jsonl") if e["event"] == "unit failed"]
    assert [e["again"] for e in failed] == [True, True]
    assert "block 1 fails" in failed[0]["traceback"]


def test_a_failing_tomogram_leaves_the_others_going(tmp_path, array):
    source = stored(tmp_path, array)
    good = [
        simple(tmp_path, source, "fail_at", (4, 12, 20), name=n, params={"numbers": [], "marker": ""}) for n in "ac"
    ]
    bad = simple(tmp_path, source, "fail_at", (4, 12, 20), name="b", params={"numbers": [2], "marker": ""})

    def refuse() -> Plan:
        raise InputError("d.mrc: too short")

    jobs = [Job(p.name, lambda p=p: p) for p in (good[0], bad, good[1])]
    report = run_jobs([*jobs, Job("d", refuse)], str(tmp_path / "run"), QUIET)
    assert set(report.failures) == {"b", "d"}
    with pytest.raises(RunError, match=r"2 of 4 failed:\n.*block 2 fails\n.*too short"):
        report.check()
    for plan in good:
        assert np.array_equal(result(plan), array)
        assert omezarr.is_complete(plan.images[0].url)
    assert not omezarr.is_complete(bad.images[0].url)
    saved = json.loads((tmp_path / "run" / "report.json").read_text())
    assert saved["failed"] == {"b": "block 2 fails", "d": "d.mrc: too short"}
    assert saved["plans"]["a"]["stages"][0]["run"] == 4


def test_an_unchanged_plan_is_skipped_and_a_changed_one_is_not(tmp_path, array):
    source = stored(tmp_path, array)
    trace = tmp_path / "trace"

    def calls() -> int:
        return len(trace.read_text().split()) if trace.exists() else 0

    def plan(seconds: float) -> Plan:
        return simple(tmp_path, source, "slow_copy", (4, 12, 20), params={"seconds": seconds, "trace": str(trace)})

    for seconds, total in ((0.0, 4), (0.0, 4), (0.001, 8)):
        run_plan(plan(seconds), str(tmp_path / "run"), QUIET)
        assert calls() == total
    shutil.rmtree(tmp_path / "t.ome.zarr")  # the output was deleted: its receipts prove nothing any more
    run_plan(plan(0.001), str(tmp_path / "run"), QUIET)
    assert calls() == 12
    assert np.array_equal(result(plan(0.001)), array)


def test_outputs_of_another_run_are_not_touched(tmp_path, array):
    source = stored(tmp_path, array)
    params = {"numbers": [], "marker": ""}
    run_plan(simple(tmp_path, source, "fail_at", (4, 12, 20), params=params), str(tmp_path / "run"), QUIET)
    again = simple(tmp_path, source, "fail_at", (4, 12, 20), params=params)
    with pytest.raises(InputError, match="overwrite"):
        run_plan(again, str(tmp_path / "another"), QUIET)
    run_plan(again, str(tmp_path / "another"), RunOptions(progress=False, overwrite=True))
    assert np.array_equal(result(again), array)


def test_a_copied_store_carries_no_progress(tmp_path, array):
    source = stored(tmp_path, array)
    plan = simple(tmp_path, source, "fail_at", (4, 12, 20), params={"numbers": [2], "marker": ""})
    with pytest.raises(RunError):
        run_plan(plan, str(tmp_path / "run"), QUIET)
    shutil.copytree(tmp_path / "t.ome.zarr", tmp_path / "copy.ome.zarr")
    assert not omezarr.is_complete(str(tmp_path / "copy.ome.zarr"))
    copy = simple(tmp_path, source, "fail_at", (4, 12, 20), name="copy", params={"numbers": [], "marker": ""})
    with pytest.raises(InputError):
        run_plan(copy, str(tmp_path / "run2"), QUIET)


def test_a_torn_ledger_line_means_not_done(tmp_path):
    folder = PlanFolder(tmp_path / "p")
    receipt = {"stage": "s", "identity": "i", "wrote": {}}
    folder.receipts.append([{**receipt, "number": 0}, {**receipt, "number": 1}])
    (path,) = (tmp_path / "p" / "ledger").glob("*.jsonl")
    path.write_bytes(path.read_bytes()[:-15])
    assert folder.done({"s": "i"}) == {"s": {0}}
    folder.receipts.append([{**receipt, "number": 2}])
    assert folder.done({"s": "i"}) == {"s": {0, 2}}
    assert folder.done({"s": "other"}) == {"s": set()}


DRIVER = """
import sys, json
from engine_plans import simple
from volengine.core.volume import Volume
from volengine.engine.options import RunOptions
from volengine.engine.run import run_plan
from pathlib import Path
folder, source, options, stage = Path(sys.argv[1]), *map(json.loads, sys.argv[2:5])
kernel, core, params = stage
plan = simple(folder, Volume.from_json(source), kernel, core, params=params)
if __name__ == "__main__":
    run_plan(plan, str(folder / "run"), RunOptions.from_json({"progress": False, **options}))
"""


def driver(folder: Path, source, options: dict, stage: tuple) -> subprocess.Popen:
    script = folder / "driver.py"
    if not script.exists():  # one that is started may just read it
        script.write_text(DRIVER)
    args = [
        sys.executable,
        str(script),
        str(folder),
        json.dumps(source.to_json()),
        json.dumps(options),
        json.dumps(stage),
    ]
    return subprocess.Popen(
        args, env=os.environ | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, start_new_session=True
    )


def wait_for_lines(trace: Path, count: int, process: subprocess.Popen) -> None:
    for _ in range(600):
        if trace.exists() and len(trace.read_text().split()) >= count:
            return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise AssertionError(process.stderr.read().decode() if process.poll() is not None else "no progress in 30 s")


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=[pytest.mark.slow, pytest.mark.chaos])])
def test_a_killed_driver_repeats_at_most_what_was_under_way(tmp_path, workers):
    array = np.random.default_rng(1).integers(0, 100, (96, 4, 4)).astype("int16")
    source = stored(tmp_path, array)
    trace = tmp_path / "trace"
    stage = ("slow_copy", (4, 4, 4), {"seconds": 0.15, "trace": str(trace)})
    process = driver(tmp_path, source, {"workers": workers}, stage)
    wait_for_lines(trace, 6, process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(1.0)  # orphaned workers notice that their parent is gone
    process = driver(tmp_path, source, {"workers": workers}, stage)
    assert process.wait(120) == 0, process.stderr.read().decode()
    calls = trace.read_text().split()
    plan = simple(tmp_path, source, *stage[:2], params=stage[2])
    assert np.array_equal(result(plan), array)
    assert set(calls) == {str(n) for n in range(24)}
    in_flight = 3 * max(1, workers)  # per process: one computing, one being written; a worker may die with more read
    assert len(calls) - 24 <= in_flight


@pytest.mark.slow
@pytest.mark.chaos
def test_workers_and_then_the_driver_are_killed(tmp_path):
    """Workers die at random moments; then the driver; the second run ends with the bytes of an undisturbed one."""
    array = np.random.default_rng(2).integers(0, 100, (96, 8, 8)).astype("int16")
    source = stored(tmp_path, array)
    calm = simple(tmp_path, source, "fail_at", (4, 4, 4), name="calm", params={"numbers": [], "marker": ""})
    run_plan(calm, str(tmp_path / "calm-run"), QUIET)
    kills = tmp_path / "kills"
    kills.mkdir()
    stage = ("kill_self", (4, 4, 4), {"share": 0.15, "folder": str(kills), "most": 6, "seconds": 0.05})
    options = {"workers": 2, "retries": 20}
    process = driver(tmp_path, source, options, stage)
    ledger = tmp_path / "run" / "plans" / "t"
    for _ in range(1200):
        if len(list(kills.iterdir())) >= 3 or process.poll() is not None:
            break
        time.sleep(0.05)
    assert process.poll() is None, "the driver ended before three workers had died"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(1.0)
    left = list(PlanFolder(ledger).receipts)
    process = driver(tmp_path, source, options, stage)
    assert process.wait(240) == 0, process.stderr.read().decode()
    assert len(list(kills.iterdir())) >= 5
    plan = simple(tmp_path, source, *stage[:2], params=stage[2])
    assert np.array_equal(result(plan), array)
    assert len({r["number"] for r in left}) < len(plan.stages[0].tiling)
    chunks = [p for p in sorted((tmp_path / "calm.ome.zarr" / "0").rglob("*")) if p.is_file() and p.suffix != ".json"]
    assert len(chunks) == len(plan.stages[0].tiling)
    for path in chunks:
        assert (
            path.read_bytes() == (tmp_path / "t.ome.zarr" / path.relative_to(tmp_path / "calm.ome.zarr")).read_bytes()
        )


@pytest.mark.slow
def test_parts_share_the_work_and_stand_in_for_each_other(tmp_path):
    array = np.random.default_rng(3).integers(0, 100, (64, 4, 4)).astype("int16")
    source = stored(tmp_path, array)
    trace = tmp_path / "trace"
    stage = ("slow_copy", (4, 4, 4), {"seconds": 0.1, "trace": str(trace)})
    # two of three parts are started; the third never comes
    both = [driver(tmp_path, source, {"part": f"{k}/3", "patience_s": 5}, stage) for k in (1, 2)]
    for process in both:
        assert process.wait(120) == 0, process.stderr.read().decode()
    calls = trace.read_text().split()
    assert sorted(calls, key=int) == [str(n) for n in range(16)]  # those of the third part, too, are run once
    plan = simple(tmp_path, source, *stage[:2], params=stage[2])
    assert np.array_equal(result(plan), array)
    assert omezarr.is_complete(plan.images[0].url)


def test_a_missing_part_is_waited_for_once_and_not_in_each_volume(tmp_path, array):
    source = stored(tmp_path, array)
    quick = {"seconds": 0.0, "trace": str(tmp_path / "trace")}
    plans = [simple(tmp_path, source, "slow_copy", (4, 12, 20), name=f"t{n}", params=quick) for n in range(12)]
    jobs = [Job(p.name, lambda p=p: p) for p in plans]
    patience = 6
    began = time.monotonic()
    report = run_jobs(jobs, str(tmp_path / "run"), RunOptions(progress=False, part="1/2", patience_s=patience))
    assert not report.failures
    assert time.monotonic() - began < 10 * patience  # twelve waits would take longer, whatever the machine does
    assert [len(list(RunFolder(tmp_path / "run").plan(p.name).receipts)) for p in plans] == [4] * 12


@pytest.mark.slow
@pytest.mark.chaos
def test_parts_divide_the_units_of_a_missing_one_and_stand_in_for_one_that_is_killed_meanwhile(tmp_path):
    array = np.random.default_rng(4).integers(0, 100, (240, 4, 4)).astype("int16")
    source = stored(tmp_path, array)
    trace = tmp_path / "trace"
    stage = ("slow_copy", (4, 4, 4), {"seconds": 0.2, "trace": str(trace)})
    # three of four parts are started; one of them is killed while it does units of the fourth
    parts = [driver(tmp_path, source, {"part": f"{k}/4", "patience_s": 3}, stage) for k in (1, 2, 3)]
    wait_for_lines(trace, 45 + 4, parts[0])
    os.killpg(parts[0].pid, signal.SIGKILL)
    for process in parts[1:]:
        assert process.wait(120) == 0, process.stderr.read().decode()
    parts[0].wait()
    calls = trace.read_text().split()
    assert set(calls) == {str(n) for n in range(60)}
    # run twice are at most those that the killed part had begun, computed or was about to begin
    assert len(calls) - 60 <= 3, sorted(calls, key=int)
    receipts = list(RunFolder(tmp_path / "run").plan("t").receipts)
    last = sorted(receipts, key=lambda r: r["time"])[-8:]
    assert len({r["pid"] for r in last}) == 2  # both did the rest
    plan = simple(tmp_path, source, *stage[:2], params=stage[2])
    assert np.array_equal(result(plan), array)


@pytest.mark.slow
def test_an_existing_scheduler_is_used(tmp_path, array, monkeypatch):
    from distributed import LocalCluster

    source = stored(tmp_path, array)
    params = {"numbers": [], "marker": ""}
    plan = simple(tmp_path, source, "fail_at", (4, 4, 4), params=params)
    with LocalCluster(n_workers=1, threads_per_worker=1, memory_limit="1GB", dashboard_address=":0") as cluster:
        options = RunOptions(progress=False, scheduler=cluster.scheduler_address)
        assert options.limit_bytes() == 10**9
        run_plan(plan, str(tmp_path / "run"), options)
        receipts = RunFolder(tmp_path / "run").plan("t").receipts
    assert np.array_equal(result(plan), array)
    assert {r["pid"] for r in receipts} != {os.getpid()}
    monkeypatch.setattr("volengine.engine.scheduler.ANSWER_S", 1)
    with pytest.raises(InputError, match="no Dask scheduler answers"):
        RunOptions(scheduler="tcp://127.0.0.1:1").limit_bytes()


def test_wrong_options_of_a_run_are_refused():
    with pytest.raises(InputError, match="Choose one of"):
        RunOptions(workers=2, part="1/2")
    for wrong in ("3/2", "0/2", "x", "1"):
        with pytest.raises(InputError, match="K/N"):
            RunOptions(part=wrong)
    with pytest.raises(InputError, match="--memory-limit: 'many' is not a size"):
        RunOptions(memory_limit="many")
    with pytest.raises(InputError, match="--memory-limit: a size must be positive"):
        RunOptions(memory_limit=0)


def test_the_report_says_what_was_done(tmp_path, array):
    halo = (1, 1, 1)
    plan = simple(
        tmp_path,
        stored(tmp_path, array),
        "window_sum",
        (8, 12, 20),
        params={"low": halo, "high": halo},
        inputs={"low": halo, "high": halo, "edge": "reflect"},
    )
    report = run_plan(plan, str(tmp_path / "run"), QUIET)
    assert report.counts == {"voxels": array.size}
    (stage,) = report.data["plans"]["t"]["stages"]
    assert stage["read_bytes"] == 2 * 10 * 14 * 22 * 2
    assert stage["written_bytes"] == array.size * 4
    assert stage["peak_rss_bytes"] > 0
    assert {"zarr", "numpy", "python"} <= set(report.data["versions"])


def test_what_was_cleaned_is_made_again_only_where_it_is_read(tmp_path, array):
    """Parts -> total -> use: a changed last stage needs the small table of total, but not the tables of the blocks."""
    source = stored(tmp_path, array)
    tiling, one = Tiling(source.shape, (4, 4, 4)), Tiling((1, 1, 1), (1, 1, 1))
    out = spec(str(tmp_path / "out.ome.zarr"), source.shape, "int32", (4, 4, 4))

    def plan(version: int, first: int = 1) -> Plan:
        inputs = {"source": ArrayInput(source)}
        parts = Stage("parts", "engine_kernels:partial", tiling, arrays=inputs, emits=True, version=first)
        total = Stage("total", "engine_kernels:combine", one, tables={"parts": TableInput("parts", "all")}, emits=True)
        use = Stage(
            "use",
            "engine_kernels:subtract",
            tiling,
            arrays=inputs,
            tables={"total": TableInput("total", "all")},
            outputs={"out": Output(out.volume())},
            version=version,
        )
        return Plan("t", (parts, total, use), (out,))

    for version, first, run in ((1, 1, [60, 1, 60]), (2, 1, [0, 0, 60]), (2, 2, [60, 1, 60])):
        report = run_plan(plan(version, first), str(tmp_path / "run"), QUIET)
        assert [s["run"] for s in report.data["plans"]["t"]["stages"]] == run
        assert np.array_equal(result(plan(version)), array - array.max())


def test_a_begun_plan_is_kept_when_only_the_blocks_would_change(tmp_path, array):
    """More workers or other memory: the planner would cut other blocks, but finished units count."""
    source = stored(tmp_path, array)
    trace = tmp_path / "trace"

    def plan(core: tuple[int, int, int], seconds: float = 0.0) -> Plan:
        return simple(tmp_path, source, "slow_copy", core, params={"seconds": seconds, "trace": str(trace)})

    bad = simple(tmp_path, source, "fail_at", (4, 12, 20), params={"numbers": [2], "marker": ""})
    with pytest.raises(RunError):
        run_plan(bad, str(tmp_path / "run"), QUIET)
    run_plan(plan((4, 12, 20)), str(tmp_path / "run"), QUIET)  # another kernel: nothing is kept
    assert len(trace.read_text().split()) == 4
    (tmp_path / "run" / "plans" / "t" / "finished.json").unlink()
    report = run_plan(plan((8, 12, 20)), str(tmp_path / "run"), QUIET)
    assert report.data["plans"]["t"]["skipped"] == 4
    assert len(trace.read_text().split()) == 4
    asked = RunOptions(progress=False, block=(8, 12, 20))
    report = run_plan(plan((8, 12, 20)), str(tmp_path / "run"), asked)  # blocks that were asked for are used
    assert report.data["plans"]["t"]["stages"][0]["run"] == 2
    assert np.array_equal(result(plan((8, 12, 20))), array)


def test_two_inputs_of_one_name_are_refused(tmp_path, array):
    source = stored(tmp_path, array)
    plans = [
        simple(tmp_path / n, source, "fail_at", (4, 12, 20), params={"numbers": [], "marker": ""}) for n in ("a", "b")
    ]
    jobs = [Job(f"{n}/t.mrc", lambda p=p: p) for n, p in zip("ab", plans, strict=True)]
    report = run_jobs(jobs, str(tmp_path / "run"), QUIET)
    assert list(report.failures) == ["b/t.mrc"]
    assert "would write the same files" in str(report.failures["b/t.mrc"])
    assert np.array_equal(result(plans[0]), array)


def test_parts_share_even_single_units(tmp_path, array):
    """Plans of one block each are spread over the parts, instead of all going to the first."""
    from volengine.engine.state import PlanState

    firsts = []
    for number in range(12):
        source = stored(tmp_path, array + number)
        plan = simple(
            tmp_path, source, "fail_at", (16, 12, 20), name=f"t{number}", params={"numbers": [], "marker": ""}
        )
        state = PlanState(plan, PlanFolder(tmp_path / "p" / f"{number}"), RunOptions(part="1/2"), 10**12)
        state.prepare()
        firsts.append(len(state.pending))
    assert 0 < sum(firsts) < 12
