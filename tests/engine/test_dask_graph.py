"""A plan as a Dask graph: the same results, receipts and run folder as a run, under any scheduler."""

from __future__ import annotations

from pathlib import Path

import dask
import numpy as np
import pytest
from engine_plans import result, simple, spec, stored

import volengine
from volengine.core.errors import InputError, PlanError
from volengine.core.tiling import Tiling
from volengine.engine import dask_graph
from volengine.engine.ledger import RunFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.engine.run import run_plan
from volengine.engine.stage import ArrayInput, Output, Stage
from volengine.io.omezarr import image as omezarr
from volengine.tasks.common.jobs import jobs_of
from volengine.tasks.pick.recipe import PickRecipe
from volengine.tasks.pick.verb import PICK

QUIET = RunOptions(progress=False)
WINDOW = {"low": (2, 1, 3), "high": (1, 2, 0)}


@pytest.fixture
def array() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 100, (16, 12, 20)).astype("int16")


@pytest.fixture
def plan(tmp_path: Path, array: np.ndarray) -> Plan:
    return simple(
        tmp_path, stored(tmp_path, array), "window_sum", (8, 4, 8), params=WINDOW, inputs=WINDOW | {"edge": "edge"}
    )


def _expected(plan: Plan, folder: Path) -> np.ndarray:
    """What a run writes."""
    image = plan.images[0]
    other = spec(str(folder / "run.ome.zarr"), image.levels[0].shape, image.dtype, image.levels[0].chunks)
    stage = plan.stages[0]
    outputs = {"out": Output(other.volume())}
    again = Plan(
        "r", (Stage(stage.name, stage.kernel, stage.tiling, stage.params, stage.arrays, outputs=outputs),), (other,)
    )
    run_plan(again, str(folder / "by-run"), QUIET)
    return result(again)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads", "processes"])
def test_results_and_receipts_are_those_of_a_run(plan: Plan, tmp_path: Path, scheduler: str) -> None:
    receipts = plan.to_dask(tmp_path / "graph").compute(scheduler=scheduler, num_workers=2)
    np.testing.assert_array_equal(result(plan), _expected(plan, tmp_path))
    assert omezarr.is_complete(plan.images[0].url)
    folder = RunFolder(tmp_path / "graph").plan(plan.name)
    assert {r["number"] for r in receipts} == set(range(18))
    assert folder.done(plan.identities) == {plan.stages[0].name: set(range(18))}
    assert len(list(folder.receipts)) == len(receipts) == 18


def test_nothing_is_written_before_it_is_computed(plan: Plan, tmp_path: Path) -> None:
    graph = plan.to_dask(tmp_path / "graph")
    assert not (tmp_path / "graph").exists()
    assert not Path(plan.images[0].url).exists()
    assert len(graph.dask) == 18 + 3


def test_a_graph_goes_on_where_a_run_stopped_and_a_run_where_a_graph_did(plan: Plan, tmp_path: Path) -> None:
    place = tmp_path / "graph"
    plan.to_dask(str(place)).compute(scheduler="synchronous")
    folder = RunFolder(place).plan(plan.name)
    kept = [r for r in folder.receipts if r["number"] < 7]
    (folder.path / "finished.json").unlink()
    folder.forget([plan.stages[0].name])
    folder.receipts.append(kept)
    again = plan.to_dask(place).compute(scheduler="synchronous")
    assert sorted(r["number"] for r in again) == list(range(7, 18))
    report = run_plan(plan, str(place), QUIET)
    assert report.data["plans"][plan.name]["skipped"] == 18
    assert plan.to_dask(place).compute(scheduler="synchronous") == []


def test_stages_wait_for_those_that_they_read_and_for_no_others(plan: Plan, tmp_path: Path, array: np.ndarray) -> None:
    def copy(name: str, source, target) -> Stage:
        inputs = {"low": (0, 0, 0), "high": (0, 0, 0)}
        return Stage(
            name,
            "engine_kernels:window_sum",
            Tiling(array.shape, (8, 12, 20)),
            params=inputs,
            arrays={"source": ArrayInput(source)},
            outputs={"out": Output(target.volume())},
        )

    source = stored(tmp_path, array)
    images = [spec(str(tmp_path / f"{n}.ome.zarr"), array.shape, "int32", (4, 4, 4)) for n in "abc"]
    a, b, c = images
    stages = (copy("a", source, a), copy("b", source, b), copy("c", a.volume(), c))
    graph = Plan("chain", stages, tuple(images)).to_dask(tmp_path / "graph")
    needs = {key.rpartition("-")[0]: set() for key in graph.dask.layers}
    for key, before in graph.dask.dependencies.items():
        needs[key.rpartition("-")[0]] = {other.rpartition("-")[0] for other in before}
    assert needs["end-a"] == needs["end-b"] == {"prepare"}
    assert needs["end-c"] == {"prepare", "end-a"}
    assert needs["finish"] == {"end-a", "end-b", "end-c"}
    graph.compute(scheduler="threads")
    np.testing.assert_array_equal(result(Plan("chain", stages, tuple(images))), array)


def _ball(folder: Path) -> str:
    """A prediction with three balls."""
    z, y, x = np.indices((32, 48, 48))
    voxels = np.zeros(z.shape, np.uint8)
    for centre in ((8, 10, 10), (20, 30, 20), (16, 20, 38)):
        near = sum((a - c) ** 2 for a, c in zip((z, y, x), centre, strict=True))
        voxels[near <= 25] = 255
    return stored(folder, voxels, chunk=(16, 16, 16)).url


def test_a_verb_with_tables_scratch_and_products_gives_the_same_picks(tmp_path: Path) -> None:
    source = _ball(tmp_path)
    recipe = PickRecipe(feature="ball", labels=False, spacing_nm=1)
    wanted = volengine.pick(source, tmp_path / "run.csv", recipe, QUIET)
    out = str(tmp_path / "graph.csv")
    jobs, run_dir = jobs_of(PICK, [source], out, recipe, QUIET.with_(block=(16, 16, 16)))
    receipts = jobs[0].plan().to_dask(run_dir, QUIET.with_(block=(16, 16, 16))).compute(scheduler="threads")
    assert len(wanted) == 3
    assert volengine.read_picks(out) == wanted
    stages = ("spans", "kind", "basins", "seams", "resolve")  # integers: masks are told from bytes first
    assert {r["stage"] for r in receipts} == {f"pick-ball-{stage}" for stage in stages}


def test_a_distributed_cluster_runs_it(plan: Plan, tmp_path: Path) -> None:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        receipts = client.compute(plan.to_dask(tmp_path / "graph")).result()
    assert len(receipts) == 18
    np.testing.assert_array_equal(result(plan), _expected(plan, tmp_path))


def test_an_error_of_a_unit_ends_the_computation_and_keeps_what_is_done(tmp_path: Path, array: np.ndarray) -> None:
    marker = tmp_path / "marker"
    marker.mkdir()
    plan = simple(
        tmp_path, stored(tmp_path, array), "fail_at", (8, 12, 20), params={"numbers": [1], "marker": str(marker)}
    )
    with pytest.raises(RuntimeError, match="block 1 fails"):
        plan.to_dask(tmp_path / "graph").compute(scheduler="synchronous")
    assert not omezarr.is_complete(plan.images[0].url)
    plan.to_dask(tmp_path / "graph").compute(scheduler="synchronous")
    assert omezarr.is_complete(plan.images[0].url)


def test_units_that_need_a_gpu_say_so_to_the_scheduler(tmp_path: Path, array: np.ndarray) -> None:
    plan = simple(tmp_path, stored(tmp_path, array), "nothing", (8, 12, 20), resources={"GPU": 1})
    annotations = [layer.annotations for layer in plan.to_dask(tmp_path / "graph").dask.layers.values()]
    assert {"resources": {"GPU": 1}} in annotations


def test_a_graph_that_is_too_large_is_refused(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_graph, "LARGEST_GRAPH", 17)
    with pytest.raises(PlanError, match="graph of 18 units is too large"):
        plan.to_dask(tmp_path / "graph")


@pytest.mark.parametrize("values", [{"workers": 2}, {"scheduler": "tcp://a:1"}, {"part": "1/2"}], ids=str)
def test_options_that_say_where_to_run_are_refused(plan: Plan, tmp_path: Path, values: dict) -> None:
    with pytest.raises(InputError, match="runs where it is computed"):
        plan.to_dask(tmp_path / "graph", RunOptions(**values))


def test_other_blocks_in_the_folder_since_then_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    source = stored(tmp_path, array)
    coarse, fine = (
        simple(tmp_path, source, "window_sum", core, params=WINDOW, inputs=WINDOW | {"edge": "edge"})
        for core in ((16, 12, 20), (8, 12, 20))
    )
    late = fine.to_dask(tmp_path / "graph")
    coarse.to_dask(tmp_path / "graph").compute(scheduler="synchronous")
    with pytest.raises(PlanError, match="started with other blocks since"):
        late.compute(scheduler="synchronous")
    assert fine.to_dask(tmp_path / "graph").compute(scheduler="synchronous") == []


def test_a_process_runs_one_unit_at_a_time(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    busy: list[int] = []
    most = 0
    real = dask_graph.run_units

    def watched(bundle):
        nonlocal most
        busy.append(1)
        most = max(most, len(busy))
        try:
            return real(bundle)
        finally:
            busy.pop()

    monkeypatch.setattr(dask_graph, "run_units", watched)
    with dask.config.set(scheduler="threads", num_workers=4):
        plan.to_dask(tmp_path / "graph").compute()
    assert most == 1
