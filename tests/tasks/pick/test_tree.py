"""Picking by the tree of cells: the bytes of a whole table, plans of any size, and what a unit refuses."""

from __future__ import annotations

import json
import math
import tracemalloc
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sparse_particles import SPACING_VOX, VOXEL, image, store

from volengine.core.block import Block
from volengine.core.boxes import Box
from volengine.core.errors import MemoryRefusedError, PlanError
from volengine.core.image import ImageSpec, Level
from volengine.core.tiling import Tiling
from volengine.core.volume import Volume
from volengine.engine.ledger import RunFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.engine.stage import Stage, TableInput
from volengine.io.omezarr import image as omezarr
from volengine.io.omezarr.arrays import ZarrSink
from volengine.io.open import open_source, open_volume
from volengine.io.picks import write_picks
from volengine.io.picks.parts import PART_BYTES, PART_PICKS
from volengine.ops.heights import BasinRules
from volengine.ops.regions import RegionRules, pick_array
from volengine.ops.spacing import KEPT_BYTES, PICK_BYTES
from volengine.tasks.common import cells
from volengine.tasks.common.cells import cells_of
from volengine.tasks.pick.description import SPAN, PickOutputs
from volengine.tasks.pick.finish import picks_of, write_table
from volengine.tasks.pick.plan import plan_pick
from volengine.tasks.pick.recipe import PickRecipe
from volengine.tasks.pick.tree_blocks import join_cell, space_cell
from volengine.tasks.pick.verb import pick

SHAPE = (40, 50, 60)
QUIET = RunOptions(progress=False, block=(16, 16, 16))
RECIPE = PickRecipe(spacing_nm=6, min_volume_nm3=20, seed_distance_nm=5)
REGIONS = RegionRules(unit=255, spacing_vox=6.0, min_voxels=20, seed_distance_vox=5.0)


def make_prediction():
    """Balls, some touching, one over many blocks, and a sheet across the volume: components that end in all levels."""
    rng = np.random.default_rng(4)
    z, y, x = np.indices(SHAPE)
    mask = (np.abs(z + y // 4 - 25) < 2) & (x > 10) & (x < 40)
    mask |= (z - 20) ** 2 + (y - 25) ** 2 + (x - 30) ** 2 < 14**2
    for centre in rng.uniform(0, 1, (40, 3)) * SHAPE:
        mask |= sum((a - c) ** 2 for a, c in zip((z, y, x), centre, strict=True)) < rng.uniform(2, 4) ** 2
    return np.where(mask, rng.integers(129, 256, SHAPE), rng.integers(0, 100, SHAPE)).astype(np.uint8)


@pytest.fixture(scope="module")
def prediction():
    return make_prediction()


@pytest.fixture
def source(tmp_path, prediction):
    made = ImageSpec(
        str(tmp_path / "in.ome.zarr"),
        "TS_01",
        "uint8",
        "probability",
        (VOXEL,) * 3,
        (Level("0", SHAPE, (1, 1, 1), (16, 16, 16), None),),
    )
    omezarr.create_image(made, token="input")
    ZarrSink(made.volume()).write(Box.of_shape(SHAPE), prediction)
    omezarr.finish_image(made)
    return made.url


def labels_of(url, feature):
    volume = open_volume(url, group=f"labels/{feature}")
    return open_source(volume).read(Box.of_shape(volume.shape))


def stages_of(table: Path) -> list[str]:
    (plan,) = (table.parent / f"{table.name}.run" / "plans").iterdir()
    return [stage["name"] for stage in json.loads((plan / "plan.json").read_text())["stages"]]


@pytest.mark.parametrize(
    ("parts", "changes", "basins", "regions"),
    [
        (2, {}, {}, {}),
        (8, {}, {}, {}),
        (4, {"mode": "2d"}, {"planar": True}, {"planar": True}),
        (4, {"split": False, "connectivity": 6}, {"connectivity": 6}, {"split": False}),
        (2, {"orient": "normal", "orient_sign": "out"}, {"products": True}, {"orient": "normal", "orient_sign": "out"}),
        (4, {"position": "maximum"}, {}, {"position": "maximum"}),
        (2, {"position": "maximum", "margin_vox": (0, 5, 5)}, {}, {"position": "maximum", "margin_vox": (0, 5, 5)}),
        (8, {"min_picks": 1000}, {}, {"min_picks": 1000}),
    ],
)
def test_a_tree_gives_the_bytes_of_the_whole(
    tmp_path, source, prediction, monkeypatch, parts, changes, basins, regions
):
    recipe = RECIPE.with_(feature="whole", **changes)
    pick(source, str(tmp_path / "whole.star"), recipe, QUIET)
    monkeypatch.setattr(cells, "CELL_PARTS", parts)
    picks = pick(source, str(tmp_path / "tree.star"), recipe.with_(feature="tree"), QUIET)
    levels = math.ceil(math.log2(4 * 4 * 4) / math.log2(parts))
    assert sum("-join-" in name for name in stages_of(tmp_path / "tree.star")) == levels > 1
    assert not any("-join-" in name for name in stages_of(tmp_path / "whole.star"))

    want_labels, want = pick_array(prediction, BasinRules(127, **basins), RegionRules(**{**vars(REGIONS), **regions}))
    assert np.array_equal(labels_of(source, "tree"), want_labels)
    assert np.allclose(picks.position_vox, want["position_vox"], atol=1e-4)
    assert len(picks) == len(want["label"]) > 10 or "min_picks" in changes
    texts = [(tmp_path / f"{name}.star").read_text().replace("tree", "whole") for name in ("whole", "tree")]
    assert texts[0] == texts[1]


@pytest.mark.parametrize(
    ("parts", "changes"),
    [
        (2, {}),
        (8, {"mode": "2d"}),
        (4, {"position": "maximum", "margin_vox": (0, 5, 5)}),
        (4, {"split": False, "orient": "normal", "orient_sign": "out"}),
    ],
)
@pytest.mark.parametrize("roi", ["3:37,7:,:55", "12:,:,5:48"])
def test_a_tree_of_a_part_gives_the_bytes_of_the_part_at_once(tmp_path, source, monkeypatch, parts, changes, roi):
    recipe = RECIPE.with_(feature="same", roi=roi, **changes)
    for name, most in (("whole", 1000), ("tree", parts)):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(cells, "CELL_PARTS", most)
        pick(source, str(tmp_path / name / "p.star"), recipe, QUIET)
        assert any("-join-2" in stage for stage in stages_of(tmp_path / name / "p.star")) == (name == "tree")
    texts = [(tmp_path / name / "p.star").read_text() for name in ("whole", "tree")]
    assert texts[0] == texts[1]
    assert texts[0].count("\n") > 20
    one, other = (labels_of(str(tmp_path / name / "p.star.ome.zarr"), "same") for name in ("whole", "tree"))
    assert np.array_equal(one, other)


def test_why_there_is_no_pick_is_said_with_a_tree_too(tmp_path, source, monkeypatch):
    monkeypatch.setattr(cells, "CELL_PARTS", 4)
    for name, recipe, said in (
        ("few", RECIPE.with_(min_picks=1000, labels=False), "fewer than --min-picks"),
        ("small", RECIPE.with_(min_volume_nm3=1e6, labels=False), "the largest value is 1"),
    ):
        assert len(pick(source, str(tmp_path / f"{name}.star"), recipe, QUIET)) == 0
        (plan,) = json.loads((tmp_path / f"{name}.star.run" / "report.json").read_text())["plans"].values()
        assert any(said in line for line in plan["made"]), plan["made"]


@pytest.mark.parametrize("lost", ["pick-tree-join-1", "pick-tree-join-2", "pick-tree-space-2", "pick-tree-label-1"])
def test_a_lost_table_and_what_was_made_of_it_are_made_again(tmp_path, source, monkeypatch, lost):
    """The run goes on after a table is gone, and ends with the same bytes."""
    monkeypatch.setattr(cells, "CELL_PARTS", 8)
    recipe, out = RECIPE.with_(feature="tree"), tmp_path / "tree.star"
    keeps = replace(QUIET, keep_scratch=True)
    pick(source, str(out), recipe, keeps)
    before, labels = out.read_bytes(), labels_of(source, "tree")
    (folder,) = (tmp_path / "tree.star.run" / "plans").iterdir()
    table = next((folder / "tables" / lost).rglob("*.npz"))
    table.unlink()
    (folder / "finished.json").unlink()
    pick(source, str(out), recipe, keeps)
    assert out.read_bytes() == before
    assert np.array_equal(labels_of(source, "tree"), labels)


@pytest.mark.parametrize(("first", "then"), [(8, 4), (4, 8), (64, 8), (8, 64)])
def test_a_run_goes_on_with_a_tree_of_another_height(tmp_path, source, monkeypatch, first, then):
    """As for workers of another size, whose blocks make another tree; 64 parts are all blocks, which need no tree."""
    recipe, out = RECIPE.with_(feature="tree"), tmp_path / "tree.star"
    monkeypatch.setattr("volengine.tasks.pick.plan.LARGEST_BLOCK", 16**3)
    monkeypatch.setattr(cells, "CELL_PARTS", first)
    chosen = replace(QUIET, block=None)
    pick(source, str(out), recipe, chosen)
    before, labels = out.read_bytes(), labels_of(source, "tree")
    (folder,) = (tmp_path / "tree.star.run" / "plans").iterdir()
    (folder / "finished.json").unlink()
    monkeypatch.setattr(cells, "CELL_PARTS", then)
    pick(source, str(out), recipe, chosen)
    assert out.read_bytes() == before
    assert np.array_equal(labels_of(source, "tree"), labels)


def test_cells_grow_to_the_whole_volume():
    shape, core = (4096, 16384, 16384), (256, 192, 192)
    grown = cells_of(shape, core)
    assert all(c >= n for c, n in zip(grown[-1], shape, strict=True))
    for smaller, larger in zip([core, *grown], grown, strict=False):
        assert all(b % a == 0 for a, b in zip(smaller, larger, strict=True))
        assert 1 < math.prod(b // a for a, b in zip(smaller, larger, strict=True)) <= 64
    assert len(cells_of((200, 200, 200), (64, 64, 64))) == 1


def planned(tmp_path, shape, recipe=RECIPE, memory="4GB") -> Plan:
    """The plan for a store of metadata only."""
    made = image(str(tmp_path / "sparse.ome.zarr"), shape, (64, 64, 64))
    folder = RunFolder(str(tmp_path / "run")).plan("sparse")
    options = RunOptions(progress=False, workers=8, memory_limit=memory)
    outputs = PickOutputs(str(tmp_path / "picks.star"), made.url)
    plan = plan_pick(made.volume(identity="sparse"), recipe, outputs, folder, options)
    plan.check(options.limit_bytes())
    return plan


@pytest.mark.parametrize(
    "how",
    [
        RECIPE,
        RECIPE.with_(position="maximum"),
        RECIPE.with_(position="maximum", roi="10:3700,1000:16000,777:16001"),
        PickRecipe(filament=True, spacing_nm=6, min_volume_nm3=20),
    ],
)
def test_a_volume_of_1e12_voxels_is_planned_with_workers_of_4_gb(tmp_path, how):
    plan = planned(tmp_path, (3720, 16384, 16384), how)
    assert 0.99e12 < plan.stages[0].tiling.shape[0] * 16384**2 < 1e12
    assert plan.peak_bytes() <= 0.85 * 4e9
    for stage in plan.stages:
        for table in stage.tables.values():
            every = range(len(plan.stage(table.stage).tiling))
            read = every if table.scope == "all" else table.numbers(len(stage.tiling) // 2, stage.tiling)
            most = 4096 if "spans" in table.stage else 1 if table.scope == "all" else 64  # a span has 16 bytes
            assert len(read) <= most, (stage.name, table.stage)
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))).fingerprint == plan.fingerprint


def test_a_step_that_gathers_a_large_volume_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(MemoryRefusedError, match=r"resolve' reads the tables of all blocks in one unit, \d+ tables"):
        planned(tmp_path, (3720, 16384, 16384), PickRecipe(compat="ais"))


def test_blocks_of_tables_must_be_nested(tmp_path):
    fine = Stage("fine", "engine_kernels:nothing", Tiling((8, 8, 8), (2, 2, 2)), emits=True)
    for core, said in (((3, 2, 2), (2, 2, 2)), ((4, 4, 4), (4, 2, 2))):
        above = Stage(
            "above",
            "engine_kernels:nothing",
            Tiling((8, 8, 8), core),
            tables={"fine": TableInput("fine", "within", said)},
            emits=True,
        )
        with pytest.raises(PlanError, match="multiples of each other"):
            Plan("nested", (fine, above))


def test_a_component_too_large_for_a_worker_is_refused_with_both_numbers():
    """10^6 local regions of 400 bytes need 0.4 GB; 0.1 GB are planned."""
    n, none = 1_000_000, np.zeros(0, np.int64)
    seams = {
        "root": np.arange(n).astype(np.uint64),
        "voxels": np.ones(n, np.int64),
        **dict.fromkeys(("pass_a", "pass_block", "pass_b", "pass_low", "pass_high"), none),
        **dict.fromkeys(("touch_region", "touch_block"), none),
        **dict.fromkeys(("exit_block", "exit_region"), np.full(n, -1)),
        **dict.fromkeys(("weight", "peak", "peak_voxels"), np.ones(n)),
        **dict.fromkeys(("sums", "peak_sums"), np.ones((n, 3))),
    }
    block = Block(0, (0, 0, 0), Box.of_shape((8, 8, 8)), (8, 8, 8), {}, {}, {"seams": {0: seams}})
    rules = {**vars(REGIONS)}
    with pytest.raises(MemoryRefusedError, match=r"1000000 local .* need 0\.40 GB together; 0\.10 GB are planned"):
        join_cell(block, [8, 8, 8], rules, memory_bytes=100_000_000)


@pytest.mark.parametrize("count", [200_000, pytest.param(10**7, marks=pytest.mark.slow)])
def test_the_last_cell_numbers_many_picks_in_the_memory_that_it_states(count):
    """Picks of 64 cells, of which 1 in 1,000 is undecided; numbers equal a sort of all of them."""
    import scipy.spatial  # its import allocates, too

    assert scipy.spatial
    rng = np.random.default_rng(0)
    shape, parts = (1024, 16384, 16384), {}
    index = np.sort(rng.choice(2**38, count + count // 1000, replace=False).astype(np.int64))
    weight = rng.integers(1, 10**6, index.size)
    is_open = np.arange(index.size) % 1001 == 0
    want = np.empty(index.size, np.int64)
    want[np.lexsort((index, -weight))] = np.arange(1, index.size + 1)
    for n, rows in enumerate(np.array_split(rng.permutation(index.size), 64)):
        loose, kept = rows[is_open[rows]], rows[~is_open[rows]]
        position = np.stack(np.unravel_index(index[loose], shape), axis=1).astype(float)
        parts[n] = {
            "open.index": index[loose],
            "open.weight": weight[loose],
            "open.position": position,
            "open.known": np.zeros(loose.size, bool),
            "kept.index": index[kept],
            "kept.weight": weight[kept],
        }
    block = Block(0, (0, 0, 0), Box.of_shape(shape), shape, {}, {}, {"cells": parts})
    own = sum(column.nbytes for table in parts.values() for column in table.values())
    tracemalloc.start()
    try:
        table = space_cell(block, level=2, levels=2, rules={**vars(RegionRules(spacing_vox=2.0))}).table
        peak = tracemalloc.get_traced_memory()[1] + own
    finally:
        tracemalloc.stop()
    assert np.array_equal(table["index"], index)
    assert np.array_equal(table["label"], want)
    assert peak <= KEPT_BYTES * count + PICK_BYTES * (count // 1000 + 1) + 2**22


def test_a_table_of_picks_that_does_not_fit_into_memory_is_refused(tmp_path, source, monkeypatch):
    """If its format is not written by rows; and the run goes on where it fits."""
    monkeypatch.setattr(cells, "CELL_PARTS", 8)
    out, recipe = tmp_path / "picks.tbl", RECIPE.with_(labels=False)
    with monkeypatch.context() as small:
        small.setattr("volengine.tasks.pick.finish.machine_memory", lambda: 1000)
        with pytest.raises(MemoryRefusedError, match=r"picks need [\d.]+ kB to be written as dynamo, .* 1 kB"):
            pick(source, str(out), recipe, QUIET)
        assert not out.exists()
        assert len(pick(source, str(tmp_path / "picks.star"), recipe, QUIET)) > 10
    assert len(pick(source, str(out), recipe, QUIET)) > 10


def picked_as_known(tmp_path, shape, count, block, **store_options):
    url, known = store(tmp_path, shape, count, **store_options)
    recipe = PickRecipe(spacing_nm=SPACING_VOX * VOXEL / 10, labels=False)
    out = tmp_path / "picks.csv"
    picks = pick(url, str(out), recipe, RunOptions(progress=False, block=block))
    assert any("-join-2" in name for name in stages_of(out))
    assert np.array_equal(picks.position_vox, known.position)
    assert np.array_equal(picks.weight, known.weight)


def test_a_sparse_store_gives_what_was_drawn(tmp_path):
    picked_as_known(tmp_path, (64, 640, 640), 240, (64, 64, 64))


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_a_sparse_montage_of_16k_gives_what_was_drawn(tmp_path):
    """16,384 × 16,384 × 256 voxels, 100,000 particles and 12,500 that are too close; minutes of CPU."""
    picked_as_known(tmp_path, (256, 16384, 16384), 100_000, None, chunk=(128, 128, 128))


class Cells(Mapping):
    """The rows of ``count`` picks in 8 cells, as tables that are made when they are read."""

    def __init__(self, count):
        self.count = count

    def __iter__(self):
        return iter(range(8))

    def __len__(self):
        return 8

    def __getitem__(self, cell):
        label = np.arange(cell + 1, self.count + 1, 8)[::-1]
        turned = np.stack([label % 7 / 7, label % 5 / 5, np.ones(label.size)], axis=1)
        return {
            "pick.label": label,
            "pick.position_vox": np.stack([label % 99 / 7, label / 3, label % 1000], axis=1),
            "pick.weight": 1e6 / label,
            "pick.size_vox": label % 500 + 1,
            "pick.normal": turned / np.linalg.norm(turned, axis=1, keepdims=True),
            "to": np.zeros(9, np.int64),
        }


def written(path, count):
    """Write a table of the tree; return the peak of what was allocated, without the numbers of the picks."""
    tables = {
        "space": {0: {"index": np.arange(count), "label": np.arange(1, count + 1), "left": np.array([count])}},
        "span": {0: {SPAN: np.array([[0.0, 1.0]])}},
        "label": Cells(count),
    }
    volume = Volume("in.ome.zarr", (100, 100, 100), "uint8", (10.0,) * 3, path="0", kind="probability", name="TS_01")
    tracemalloc.start()
    try:
        made = write_table(
            None, tables.get, "space", volume.to_json(), "f", str(path), None, 0.5, "", rows=["label"], span="span"
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert made.said[-1] == f"f: {count} picks"
    return peak


@pytest.mark.parametrize("ending", [".star", ".csv"])
def test_writing_a_table_takes_the_memory_of_a_part_for_any_number_of_picks(tmp_path, monkeypatch, ending):
    """A part of 2,000 picks has its share of the stated memory; 20,000 picks together had 1.3 to 1.5 kB each."""
    monkeypatch.setattr("volengine.tasks.pick.finish.PART_PICKS", 2000)
    written(tmp_path / f"warm{ending}", 10)  # for what is imported
    peaks = [written(tmp_path / f"{count}{ending}", count) for count in (4000, 20_000)]
    cell = 20_000 // 8 * 200
    assert max(peaks) < PART_BYTES * 2000 / PART_PICKS + cell
    assert peaks[1] < peaks[0] + cell

    rows = [Cells(20_000)[cell] for cell in range(8)]
    order = np.argsort(np.concatenate([part["pick.label"] for part in rows]))
    table = {key: np.concatenate([part[key] for part in rows])[order] for key in rows[0] if key != "to"}
    volume = Volume("in.ome.zarr", (100, 100, 100), "uint8", (10.0,) * 3, path="0", kind="probability", name="TS_01")
    write_picks(tmp_path / f"whole{ending}", picks_of(table, volume, "f"))
    assert (tmp_path / f"whole{ending}").read_bytes() == (tmp_path / f"20000{ending}").read_bytes()
