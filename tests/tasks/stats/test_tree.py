"""Counting by a tree of cells: the bytes of the whole, plans of any size, and what a unit refuses."""

from __future__ import annotations

import json
import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine_plans import stored
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sparse_particles import SPACING_VOX, VOXEL, image, store
from stats_inputs import QUIET, mrc

from volengine.core.block import Block
from volengine.core.boxes import Box
from volengine.core.errors import InputError, MemoryRefusedError
from volengine.engine.ledger import RunFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Plan
from volengine.ops.stats_cells import add_ids
from volengine.ops.stats_labels import count_ids, merge_ids
from volengine.tasks.common import cells
from volengine.tasks.pick.recipe import PickRecipe
from volengine.tasks.pick.verb import pick
from volengine.tasks.stats.plan import plan_stats
from volengine.tasks.stats.recipe import StatsRecipe
from volengine.tasks.stats.tree_blocks import ID_BYTES, add_objects
from volengine.tasks.stats.verb import stats

SHAPE = (20, 26, 30)
ATLAS = StatsRecipe(kind="atlas", plots=False)
NUMBERS = StatsRecipe(kind="instances", plots=False)
HOW = [
    ATLAS,
    ATLAS.with_(connectivity=6),
    ATLAS.with_(split=("class_1", "class_3")),
    ATLAS.with_(ids=(2,), classes=("b",)),
    NUMBERS,
]


def labels_of(seed: int) -> np.ndarray:
    """Balls, sheets through the volume, and specks of a few classes, some touching others."""
    rng = np.random.default_rng(seed)
    grid = np.indices(SHAPE)
    made = np.zeros(SHAPE, np.uint8)
    made[np.abs(grid[0] + grid[1] // 3 - rng.integers(5, 25)) < 2] = rng.integers(0, 6)
    for centre in rng.uniform(0, 1, (25, 3)) * SHAPE:
        ball = sum((a - c) ** 2 for a, c in zip(grid, centre, strict=True)) < rng.uniform(1, 5) ** 2
        made[ball] = rng.integers(1, 6)
    specks = rng.random(SHAPE) < 0.02
    made[specks] = rng.integers(0, 6, int(specks.sum()))
    return made


def counted(path: str, out: Path, recipe: StatsRecipe, block: Any, **options: Any) -> tuple[bytes, list[str]]:
    """The bytes of the file of objects, and the names of the stages that found them."""
    stats(path, out, recipe, QUIET.with_(block=block, **options))
    (plan,) = (out / "stats.run" / "plans").iterdir()
    (file,) = (out / "stats.run" / "counted").iterdir()
    stages = [stage["name"] for stage in json.loads((plan / "plan.json").read_text())["stages"]]
    return file.read_bytes(), stages


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 3),
    parts=st.sampled_from([2, 4, 8]),
    block=st.sampled_from([(5, 8, 8), (20, 4, 7), (7, 26, 6), (6, 9, 11)]),
    how=st.sampled_from(HOW),
    roi=st.sampled_from(["", "3:17,2:25,4:29", ":,9:,:21"]),
)
def test_a_tree_gives_the_bytes_of_the_whole(
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    parts: int,
    block: Any,
    how: Any,
    roi: str,
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    path = mrc(folder / "TS_01.mrc", labels_of(seed).view(np.int8))
    recipe = how.with_(roi=roi)
    whole, stages = counted(path, folder / "whole", recipe, SHAPE)
    assert stages[-1] == "stats-join"
    with monkeypatch.context() as small:
        small.setattr(cells, "CELL_PARTS", parts)
        tree, stages = counted(path, folder / "tree", recipe, block)
    assert stages[-1] in ("stats-join-2", "stats-join-3", "stats-join-4", "stats-join-5", "stats-join-6") or (
        how is NUMBERS and stages[-1].startswith("stats-add-")
    )
    assert tree == whole
    for name in ("classes", "objects", "neighbours", "clusters", "pooled"):
        file = f"{name}.csv"
        assert (folder / "tree" / file).read_bytes() == (folder / "whole" / file).read_bytes()


@pytest.mark.parametrize("roi", ["3:17,2:25,4:29", ":,9:,:21", "5:6,:,:"])
@pytest.mark.parametrize("how", [ATLAS, NUMBERS])
def test_a_part_is_counted_as_the_volume_of_it_alone(tmp_path: Path, roi: str, how: StatsRecipe) -> None:
    """Positions are those of the whole; sizes, distances and the volume that is counted those of the part."""
    labels = labels_of(1).view(np.int8)
    ends = [[int(v) if v else None for v in axis.split(":")] for axis in roi.split(",")]
    part = labels[tuple(slice(*pair) for pair in ends)]
    shift = [pair[0] or 0 for pair in ends]
    of_part = stats(
        mrc(tmp_path / "TS_01.mrc", labels), recipe=how.with_(roi=roi), options=QUIET.with_(block=(8, 8, 8))
    )
    alone = stats(mrc(tmp_path / "TS_02.mrc", np.ascontiguousarray(part)), recipe=how, options=QUIET)
    assert len(of_part["objects"]) == len(alone["objects"]) > 0
    for mine, other in zip(of_part["objects"], alone["objects"], strict=True):
        assert [mine[k] for k in ("class", "voxels", "cluster")] == [other[k] for k in ("class", "voxels", "cluster")]
        for axis, first in zip("zyx", shift, strict=True):
            assert mine[f"{axis}_nm"] == pytest.approx(other[f"{axis}_nm"] + first)
    for mine, other in zip(of_part["classes"], alone["classes"], strict=True):
        assert mine["tomogram_um3"] == pytest.approx(other["tomogram_um3"]) == pytest.approx(part.size * 1e-9)
        assert mine["per_um3"] == pytest.approx(other["per_um3"])


@pytest.mark.parametrize(("how", "dtype"), [(ATLAS.with_(split=("class_1",)), "uint8"), (NUMBERS, "uint32")])
@pytest.mark.parametrize("roi", ["", "10:3700,1000:16000,777:16001"])
def test_a_volume_of_1e12_voxels_is_planned_with_workers_of_4_gb(
    tmp_path: Path, how: StatsRecipe, dtype: str, roi: str
) -> None:
    made = image(str(tmp_path / "sparse.ome.zarr"), (3720, 16384, 16384), (64, 64, 64))
    volume = made.volume(identity="sparse").with_(dtype=dtype, kind="labels")
    options = RunOptions(progress=False, workers=8, memory_limit="4GB")
    folder = RunFolder(str(tmp_path / "run")).plan("sparse")
    plan = plan_stats(volume, how.with_(roi=roi), str(tmp_path / "out.npz"), folder, options)
    plan.check(options.limit_bytes())
    assert plan.peak_bytes() <= 0.85 * 4e9
    for stage in plan.stages:
        for table in stage.tables.values():
            assert table.scope != "all"
            assert len(table.numbers(len(stage.tiling) // 2, stage.tiling)) <= 64
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))).fingerprint == plan.fingerprint


def test_more_ids_than_an_atlas_has_are_refused_with_a_tree_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each block has a few of the 120."""
    labels = np.zeros((8, 8, 120), np.uint8)
    labels[4, 4] = np.arange(1, 121)
    monkeypatch.setattr(cells, "CELL_PARTS", 2)
    path = mrc(tmp_path / "TS_01.mrc", labels.astype(np.int16))
    with pytest.raises(InputError, match="120 different labels in the whole volume"):
        stats(path, recipe=ATLAS, options=QUIET.with_(block=(8, 8, 8)))


def test_a_lost_table_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "CELL_PARTS", 4)
    path, out = mrc(tmp_path / "TS_01.mrc", labels_of(2).view(np.int8)), tmp_path / "out"
    before, _ = counted(path, out, ATLAS, (8, 8, 8), keep_scratch=True)
    (plan,) = (out / "stats.run" / "plans").iterdir()
    next((plan / "tables" / "stats-join-1").rglob("*.npz")).unlink()
    (plan / "finished.json").unlink()
    again, _ = counted(path, out, ATLAS, (8, 8, 8), keep_scratch=True)
    assert again == before


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10**6), cuts=st.lists(st.integers(0, 12), max_size=4), most=st.integers(1, 9))
def test_numbers_add_up_in_any_cells(seed: int, cuts: list[int], most: int) -> None:
    labels = np.random.default_rng(seed).integers(0, most + 1, (12, 5, 4))
    ends = sorted({0, *cuts, 12})
    tables = [count_ids(labels[a:b], Box((a, 0, 0), (b, 5, 4))) for a, b in pairwise(ends)]
    once = add_ids(tables)
    twice = add_ids([add_ids(tables[:1]), add_ids(tables[1:])])
    want = merge_ids(tables)
    for found in (once, twice):
        assert np.array_equal(found["id"], want["id"])
        assert np.array_equal(found["voxels"], want["voxels"])
        assert np.array_equal(merge_ids([found])["position_vox"], want["position_vox"])


def ids_block(rows: int, parts: int) -> Block:
    """A cell of ``parts`` parts with ``rows`` rows each, of which every second is in the next part, too."""
    tables = {
        n: {
            "id": np.arange(rows, dtype=np.int64) + n * rows // 2,
            "voxels": np.ones(rows, np.int64),
            "sums": np.ones((rows, 3), np.int64),
        }
        for n in range(parts)
    }
    return Block(0, (0, 0, 0), Box.of_shape((8, 8, 8)), (8, 8, 8), {}, {}, {"parts": tables})


@pytest.mark.parametrize("last", [False, True])
def test_numbers_take_the_memory_that_is_stated_or_are_refused(last: bool) -> None:
    block = ids_block(5000, 16)
    own = sum(column.nbytes for table in block.tables["parts"].values() for column in table.values())
    tracemalloc.start()
    try:
        add_objects(block, last)
        peak = tracemalloc.get_traced_memory()[1] + own
    finally:
        tracemalloc.stop()
    assert 0.3 * ID_BYTES < peak / 80_000 < ID_BYTES
    with pytest.raises(MemoryRefusedError, match=r"80000 rows of numbered objects, which need 0\.02 GB .*--roi"):
        add_objects(block, last, memory_bytes=10_000_000)


def test_a_store_of_few_blocks_has_no_tree(tmp_path: Path) -> None:
    volume = stored(tmp_path, labels_of(0), (8, 8, 16)).with_(kind="labels")
    folder = RunFolder(str(tmp_path / "run")).plan("TS_01")
    plan = plan_stats(volume, ATLAS, str(tmp_path / "out.npz"), folder, QUIET)
    assert [stage.name for stage in plan.stages] == ["stats-objects", "stats-seams", "stats-join"]


def test_labels_of_a_sparse_store_are_the_picks_that_were_written_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Picks and labels are those of a tree, too; all are cubes that were drawn."""
    monkeypatch.setattr(cells, "CELL_PARTS", 8)
    url, known = store(tmp_path, (64, 640, 640), 240)
    options = QUIET.with_(block=(64, 128, 128))
    recipe = PickRecipe(feature="cube", spacing_nm=SPACING_VOX * VOXEL / 10)
    pick(url, tmp_path / "picks.csv", recipe, options)
    labels = f"{url}#labels/cube"
    found = stats(labels, tmp_path / "out", StatsRecipe(plots=False), options)
    (plan,) = (tmp_path / "out" / "stats.run" / "plans").iterdir()
    assert json.loads((plan / "plan.json").read_text())["stages"][-1]["name"] == "stats-add-2"
    rows = np.array([[row[k] for k in ("z_nm", "y_nm", "x_nm", "voxels")] for row in found["objects"]])
    want = np.column_stack([known.position * VOXEL / 10, known.weight])
    assert np.allclose(rows, want[np.lexsort(want.T[::-1])])
    first = StatsRecipe(kind="atlas", plots=False, ids=(1,), classes=("first",))
    assert [row["voxels"] for row in stats(labels, recipe=first, options=options)["objects"]] == [known.weight.max()]
