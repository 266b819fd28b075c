"""Blocked equals whole, for every way of reading, exchanging and reducing; in any order, run twice, resumed."""

from __future__ import annotations

import numpy as np
import pytest
from engine_kernels import box_sum
from engine_plans import result, simple, spec, stored
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.boxes import Box
from volengine.core.tiling import Tiling
from volengine.engine.ledger import RunFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.engine.reading import read_box
from volengine.engine.run import run_plan
from volengine.engine.stage import ArrayInput, Output, Stage, TableInput
from volengine.engine.work import Bundle, run_units

QUIET = RunOptions(progress=False)
shapes = st.tuples(*[st.integers(1, 13)] * 3)
cores = st.tuples(*[st.sampled_from([4, 8, 12])] * 3)
halos = st.tuples(*[st.integers(0, 5)] * 3)
dtypes = st.sampled_from(["uint8", "int16", "float32", "int8"])
EDGES = {"reflect": "reflect", "edge": "edge", "zero": "constant"}


def random_array(shape, dtype: str, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 100, shape).astype(dtype)


@settings(max_examples=30)
@given(shapes, cores, halos, halos, dtypes, st.sampled_from(sorted(EDGES)), st.integers(0, 99), st.data())
def test_a_window_sum_in_blocks_equals_that_of_the_whole(
    tmp_path_factory, shape, core, low, high, dtype, edge, seed, data
):
    folder = tmp_path_factory.mktemp("exact")
    array = random_array(shape, dtype, seed)
    plan = simple(
        folder,
        stored(folder, array),
        "window_sum",
        core,
        params={"low": low, "high": high},
        inputs={"low": low, "high": high, "edge": edge},
    )
    pads = [(a, b) for a, b in zip(low, high, strict=True)]
    whole = box_sum(np.pad(array, pads, mode=EDGES[edge]), low, high)
    run_plan(plan, str(folder / "run"), QUIET)
    assert np.array_equal(result(plan), whole)

    # any order, each unit twice, as another process would do it
    stage, home = plan.stages[0], RunFolder(folder / "run").plan("t")
    numbers = data.draw(st.permutations(list(range(len(stage.tiling))) * 2))
    run_units(Bundle(str(home.path), stage, plan.identities[stage.name], tuple(numbers), 10**12))
    assert np.array_equal(result(plan), whole)


@settings(max_examples=15)
@given(shapes, cores, st.integers(0, 4), st.integers(0, 99), st.data())
def test_a_killed_run_goes_on_and_equals_the_whole(tmp_path_factory, shape, core, radius, seed, data):
    folder = tmp_path_factory.mktemp("clip")
    array = random_array(shape, "int16", seed)
    halo = (radius,) * 3
    plan = simple(
        folder,
        stored(folder, array),
        "clipped_sum",
        core,
        params={"radius": radius},
        inputs={"low": halo, "high": halo},
    )
    stage = plan.stages[0]
    run_plan(plan, str(folder / "run"), RunOptions(progress=False, keep_scratch=True))
    home = RunFolder(folder / "run").plan("t")
    # a run that was killed: only some receipts are there, the rest of the output is garbage
    kept = data.draw(st.sets(st.integers(0, len(stage.tiling) - 1)))
    receipts = [r for r in home.receipts if r["number"] in kept]
    home.forget([stage.name])
    home.receipts.append(receipts)
    (home.path / "finished.json").unlink()
    from volengine.io.open import open_sink

    for number in range(len(stage.tiling)):
        if number not in kept:
            box = stage.tiling.box(number)
            open_sink(plan.images[0].volume()).write(box, np.full(box.shape, -1, np.int32))
    report = run_plan(plan, str(folder / "run"), QUIET)
    assert report.data["plans"]["t"]["skipped"] == len(kept)
    assert np.array_equal(result(plan), box_sum(np.pad(array, radius), halo, halo))


@settings(max_examples=15)
@given(shapes, cores, st.integers(1, 4), st.integers(0, 99))
def test_pieces_that_a_block_owns_reach_its_neighbour(tmp_path_factory, shape, core, reach, seed):
    folder = tmp_path_factory.mktemp("owned")
    array = random_array(shape, "int16", seed)
    source = stored(folder, array)
    tiling = Tiling(source.shape, core)
    piece = (reach, *(min(c, n) for c, n in zip(core[1:], shape[1:], strict=True)))
    grid = tiling.grid
    own = spec(str(folder / "own.zarr"), shape, "int32", core, scratch=True)
    over = spec(
        str(folder / "over.zarr"), [g * p for g, p in zip(grid, piece, strict=True)], "int32", piece, scratch=True
    )
    out = spec(str(folder / "out.ome.zarr"), shape, "int32", (4, 4, 4))
    plan = Plan(
        "t",
        (
            Stage(
                "scatter",
                "engine_kernels:scatter",
                tiling,
                {"reach": reach},
                arrays={"source": ArrayInput(source)},
                outputs={"own": Output(own.volume()), "over": Output(over.volume(), owned=piece)},
            ),
            Stage(
                "gather",
                "engine_kernels:gather",
                tiling,
                arrays={
                    "own": ArrayInput(own.volume()),
                    "over": ArrayInput(over.volume(), owned=piece, offset=(-1, 0, 0)),
                },
                outputs={"out": Output(out.volume())},
            ),
        ),
        (own, over, out),
    )
    run_plan(plan, str(folder / "run"), RunOptions(progress=False, keep_scratch=True))
    whole = array.astype(np.int64)
    whole[reach:] += array[:-reach] if reach < shape[0] else 0
    assert np.array_equal(result(plan), whole)


@settings(max_examples=15)
@given(shapes, cores, st.integers(0, 99))
def test_a_reduction_over_all_blocks_is_used_by_a_later_stage(tmp_path_factory, shape, core, seed):
    folder = tmp_path_factory.mktemp("reduce")
    array = random_array(shape, "int16", seed)
    source = stored(folder, array)
    tiling, one = Tiling(source.shape, core), Tiling((1, 1, 1), (1, 1, 1))
    out = spec(str(folder / "out.ome.zarr"), shape, "int32", (4, 4, 4))
    around = spec(str(folder / "around.ome.zarr"), shape, "int64", (4, 4, 4))
    plan = Plan(
        "t",
        (
            Stage("parts", "engine_kernels:partial", tiling, arrays={"source": ArrayInput(source)}, emits=True),
            Stage("total", "engine_kernels:combine", one, tables={"parts": TableInput("parts", "all")}, emits=True),
            Stage(
                "use",
                "engine_kernels:subtract",
                tiling,
                arrays={"source": ArrayInput(source)},
                tables={"total": TableInput("total", "all")},
                outputs={"out": Output(out.volume())},
            ),
            Stage(
                "around",
                "engine_kernels:neighbour_sum",
                tiling,
                tables={"parts": TableInput("parts", "neighbours")},
                outputs={"out": Output(around.volume())},
            ),
        ),
        (out, around),
    )
    run_plan(plan, str(folder / "run"), QUIET)
    assert np.array_equal(result(plan, 0), array.astype(np.int64) - array.max())
    box = tiling.box(0)
    reach = Box(box.start, tuple(2 * c for c in core)).clip(shape)
    assert result(plan, 1)[0, 0, 0] == array[reach.slices].astype(np.int64).sum()


@settings(max_examples=15)
@given(shapes, cores, st.integers(1, 9), st.integers(0, 99))
def test_a_kernel_may_ask_for_a_wider_halo(tmp_path_factory, shape, core, radius, seed):
    folder = tmp_path_factory.mktemp("wider")
    array = random_array(shape, "int16", seed)
    plan = simple(folder, stored(folder, array), "needs_more", core, params={"radius": radius})
    run_plan(plan, str(folder / "run"), QUIET)
    found = result(plan)
    for box in plan.stages[0].tiling:
        wide = box.grow((radius,) * 3).clip(shape)
        assert found[box.start] == array[wide.slices].max()


@given(st.integers(1, 6), st.integers(-20, 20), st.integers(1, 25), st.sampled_from(sorted(EDGES)))
def test_read_box_fills_as_numpy_pads(size, start, length, edge):
    array = np.arange(1, size + 1).reshape(1, 1, size)

    class Source:
        shape = array.shape
        dtype = array.dtype

        @staticmethod
        def read(box):
            assert Box.of_shape(array.shape).contains(box)
            return array[box.slices]

    box = Box((0, 0, start), (1, 1, start + length))
    before, behind = max(0, -start), max(0, start + length - size)
    padded = np.pad(array, [(0, 0), (0, 0), (before, behind)], mode=EDGES[edge])
    offset = start + before
    assert np.array_equal(read_box(Source(), box, edge), padded[:, :, offset : offset + length])


@pytest.mark.slow
def test_any_number_of_workers_writes_the_same_bytes(tmp_path):
    array = random_array((40, 33, 50), "int16", 3)
    source = stored(tmp_path, array, (8, 8, 8))
    halo = (2, 2, 2)
    found = []
    for name, options in {
        "here": RunOptions(progress=False),
        "one": RunOptions(progress=False, workers=1),
        "two": RunOptions(progress=False, workers=2),
    }.items():
        plan = simple(
            tmp_path,
            source,
            "window_sum",
            (8, 16, 8) if name == "two" else (16, 8, 24),
            chunk=(8, 8, 8),
            name=name,
            params={"low": halo, "high": halo},
            inputs={"low": halo, "high": halo, "edge": "reflect"},
        )
        run_plan(plan, str(tmp_path / "run"), options)
        root = tmp_path / f"{name}.ome.zarr" / "0"
        found.append(
            {
                str(p.relative_to(root)): p.read_bytes()
                for p in sorted(root.rglob("*"))
                if p.is_file() and p.name != "zarr.json"
            }
        )
    assert found[0] == found[1] == found[2]
    assert len(found[0]) > 10
