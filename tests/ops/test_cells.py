"""The tree of cells gives the picks and labels of :func:`resolve`, which sees all tables at once."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from few_blocks import in_blocks_at_most
from hypothesis import given, settings
from hypothesis import strategies as st
from predictions import make_prediction, rules_for

from volengine.core.boxes import Box, neighbours
from volengine.core.tiling import Tiling
from volengine.ops.axes import axes_of
from volengine.ops.basins import block_basins
from volengine.ops.cell_middles import named, nearest, plateaus_of_block
from volengine.ops.cells import NODE_BYTES, PASS_BYTES, join, labelled, labels_of_block, leaf, size_of
from volengine.ops.heights import BasinRules
from volengine.ops.plateaus import block_middles, plateaus
from volengine.ops.regions import RegionRules, block_labels, join_seams, resolve
from volengine.ops.spacing import candidates, labels_of, numbered, space
from volengine.ops.suppress import suppress


def seams_of(prediction, tiling, basins):
    """The tables of all blocks, and their local regions; the halo is the whole volume."""
    shape = prediction.shape
    whole = Tiling(shape, shape).box(0)
    found = {n: block_basins(prediction, whole, core, shape, basins) for n, core in enumerate(tiling)}
    tables = {n: table for n, (_, table) in found.items()}
    seams = {}
    for number, core in enumerate(tiling):
        around = [number, *(tiling.number(i) for i in neighbours(tiling.index(number), tiling.grid))]
        seams[number] = join_seams(number, {n: tables[n] for n in around}, core, shape, basins)
    return seams, {n: basin for n, (basin, _) in found.items()}


def levels_of(tiling, factors):
    """Tilings of growing cells up to the whole volume."""
    cells, core = [], tiling.core
    for factor in factors:
        core = tuple(c * f for c, f in zip(core, factor, strict=True))
        cells.append(Tiling(tiling.shape, core))
    core = tuple(-(-n // c) * c for n, c in zip(tiling.shape, core, strict=True))
    return [*cells, Tiling(tiling.shape, core)]


def parts_in(cell, finer):
    return [n for n, box in enumerate(finer) if cell.contains(box)]


def by_tree(seams, tiling, factors, regions, local=None, prediction=None):
    """Picks and labels of local regions by block, by the tree; and the largest number of rows of a cell."""
    shape, levels = tiling.shape, levels_of(tiling, factors)
    parts, finer = {n: leaf(n, table) for n, table in seams.items()}, tiling
    joined = []
    for cells in levels:
        found = {}
        for number, cell in enumerate(cells):
            here = np.zeros(len(tiling), bool)
            here[parts_in(cell, tiling)] = True
            mine = {n: parts[n] for n in parts_in(cell, finer)}
            found[number] = join(mine, lambda n, here=here: here[n], shape, regions)
        joined.append(found)
        parts, finer = {n: nodes for n, (_, nodes, _) in found.items()}, cells
    (_, left, _) = joined[-1][0]
    assert all(not column.size for column in left.values())

    placed = [{n: columns for n, (columns, _, _) in found.items()} for found in joined]
    if regions.position == "maximum":
        placed = at_maxima(tiling, levels, joined, regions, local, prediction)
    holding = [[owner(box, cells) for box in levels[0]] for cells in levels]
    picks = {}
    for number, cell in enumerate(levels[0]):
        mine = [candidates(placed[k][holding[k][number]], cell) for k in range(len(levels))]
        picks[number] = space(mine, [], cell, Box.of_shape(shape), regions)
    for finer, cells in itertools.pairwise(levels):
        inner = {c: parts_in(cell, finer) for c, cell in enumerate(cells)}
        picks = {
            c: space(
                [picks[n][0] for n in inner[c]], [picks[n][1] for n in inner[c]], cell, Box.of_shape(shape), regions
            )
            for c, cell in enumerate(cells)
        }
    assert not picks[0][0]["index"].size
    numbers = numbered(picks[0][1], regions.min_picks)

    lookups, rows = [], []
    for found, at in zip(joined, placed, strict=True):
        lookups.append({})
        for number, (_, _, lookup) in found.items():
            columns = at[number]
            labels = labels_of(columns["index"], numbers)
            lookups[-1][number] = labelled(lookup, labels)
            rows.append({key: column[labels > 0] for key, column in {**columns, "label": labels}.items()})
    local = {}
    for number, core in enumerate(tiling):
        local[number] = labels_of_block(
            number,
            [(owner(core, cells), found[owner(core, cells)]) for cells, found in zip(levels, lookups, strict=True)],
        )
    table = {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}
    order = np.argsort(table["label"])
    return {key: column[order] for key, column in table.items()}, local, numbers


def at_maxima(tiling, levels, joined, regions, local, prediction):
    """The regions of all levels with their positions where the prediction is highest."""
    rows = {}
    for number, core in enumerate(tiling):
        holds = [owner(core, cells) for cells in levels]
        lookups = [(n, found[n][2]) for n, found in zip(holds, joined, strict=True)]
        columns = [found[n][0] for n, found in zip(holds, joined, strict=True)]
        found, names = plateaus_of_block(number, lookups, columns)
        values = prediction[core.slices]
        rows[number] = named(block_middles(number, local[number], values, core, tiling.shape, found, regions), names)
    placed, finer = [], tiling
    for level, (cells, found) in enumerate(zip(levels, joined, strict=True)):
        made = {
            n: nearest([rows[i] for i in parts_in(cell, finer)], level, found[n][0], tiling.shape, regions)
            for n, cell in enumerate(cells)
        }
        placed.append({n: columns for n, (columns, _) in made.items()})
        rows, finer = {n: left for n, (_, left) in made.items()}, cells
    assert not rows[0]["row"].size
    return placed


def owner(box, cells):
    return cells.owner(box.start)


def assert_tree_equals_whole(prediction, block, factors, basins, regions):
    tiling = Tiling(prediction.shape, tuple(min(b, n) for b, n in zip(block, prediction.shape, strict=True)))
    seams, local = seams_of(prediction, tiling, basins)
    middles = []
    if regions.position == "maximum":
        highest = plateaus(seams, prediction.shape, regions)
        middles = [
            block_middles(n, local[n], prediction[core.slices], core, prediction.shape, highest, regions)
            for n, core in enumerate(tiling)
        ]
    picks, lookup = resolve(seams, prediction.shape, regions, middles)
    found, local, numbers = by_tree(seams, tiling, factors, regions, local, prediction)
    assert np.array_equal(found["position"], picks["position_vox"])
    assert np.array_equal(found["weight"] / regions.unit, picks["weight"])
    assert np.array_equal(found["label"], picks["label"])
    assert np.array_equal(found["voxels"], picks["size_vox"])
    assert numbers["left"].tolist() == lookup["left"].tolist()
    if regions.orient != "none":
        axes = axes_of(
            *(found[key] for key in ("voxels", "sums", "products")),
            prediction.shape,
            regions.scale,
            regions.orient,
            regions.orient_sign,
        )
        assert all(np.array_equal(axes[key], picks[key]) for key in axes)
    for number in seams:
        assert np.array_equal(local[number], block_labels(number, lookup))


KINDS = ["noise", "smooth", "blobs", "rods", "plates", "full", "empty"]


@st.composite
def cases(draw, largest):
    kind = draw(st.sampled_from(KINDS))
    shape = draw(st.tuples(st.integers(1, largest), st.integers(2, largest), st.integers(2, largest)))
    dtype = draw(st.sampled_from(["uint8", "float32"]))
    planar, oriented = draw(st.booleans()), draw(st.booleans())
    basins = rules_for(
        dtype,
        connectivity=draw(st.sampled_from([6, 18, 26])),
        planar=planar,
        max_distance_vox=draw(st.sampled_from([2, 64])),
        products=oriented,
    )
    regions = RegionRules(
        unit=255.0,
        split=draw(st.booleans()),
        seed_distance_vox=draw(st.sampled_from([0.0, 2.0, 3.0, 7.5])),
        min_voxels=draw(st.sampled_from([0, 0, 6])),
        margin_vox=draw(st.sampled_from([(0, 0, 0), (0, 1, 2)])),
        spacing_vox=draw(st.sampled_from([0.0, 1.5, 4.0, 9.0, 40.0])),
        scale=draw(st.sampled_from([(1.0, 1.0, 1.0), (2.5, 1.0, 1.2)])),
        planar=planar,
        position=draw(st.sampled_from(["centroid", "maximum"])),
        orient="long-axis" if oriented else "none",
        min_picks=draw(st.sampled_from([0, 0, 0, 4])),
    )
    return make_prediction(kind, shape, draw(st.integers(0, 2**32 - 1)), dtype), basins, regions


side = st.integers(1, 3)


@settings(deadline=None, max_examples=60)
@given(
    cases(largest=16),
    st.tuples(*[st.integers(2, 9)] * 3),
    st.lists(st.tuples(side, side, side), min_size=0, max_size=4),
)
def test_a_tree_of_any_cells_equals_the_whole_table(case, block, factors):
    prediction, basins, regions = case
    assert_tree_equals_whole(prediction, block, factors, basins, regions)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(
    cases(largest=40),
    st.tuples(*[st.integers(2, 9)] * 3),
    st.lists(st.tuples(side, side, side), min_size=0, max_size=5),
)
def test_a_tree_of_any_cells_equals_the_whole_table_many(case, block, factors):
    prediction, basins, regions = case
    block = in_blocks_at_most(500, prediction.shape, block)
    assert_tree_equals_whole(prediction, block, factors, basins, regions)


def test_a_rod_through_all_cells_is_one_region_of_the_last_cell():
    """Its 200 voxels, at z 3, y 4, x 0 to 199: the sum of x is 19,900, so the centroid is at 99.5."""
    prediction = np.zeros((8, 8, 200), np.uint8)
    prediction[3, 4, :] = 255
    tiling = Tiling(prediction.shape, (4, 4, 5))
    regions = RegionRules(unit=255.0, split=False)
    seams, _ = seams_of(prediction, tiling, BasinRules(level=127))
    found, local, _ = by_tree(seams, tiling, [(1, 1, 2), (2, 2, 2), (1, 1, 3)], regions)
    assert found["position"].tolist() == [[3.0, 4.0, 99.5]]
    assert found["voxels"].tolist() == [200]
    assert {tuple(labels) for labels in local.values()} == {(0, 1), (0,)}


def test_what_is_complete_does_not_go_up():
    """Of 64 points, one in each block, and a rod through two blocks, only the rod is left above the cells."""
    prediction = np.zeros((16, 16, 16), np.uint8)
    prediction[1::4, 1::4, 1::4] = 255
    prediction[15, 15, 6:10] = 255  # across x 8, where two cells meet
    tiling = Tiling(prediction.shape, (4, 4, 4))
    seams, _ = seams_of(prediction, tiling, BasinRules(level=127))
    cells = Tiling(prediction.shape, (8, 8, 8))
    open_nodes = {}
    for number, cell in enumerate(cells):
        mine = parts_in(cell, tiling)
        regions, nodes, _ = join(
            {n: leaf(n, seams[n]) for n in mine}, lambda n, mine=mine: np.isin(n, mine), prediction.shape, RegionRules()
        )
        assert regions["voxels"].tolist() == [1] * 8
        open_nodes[number] = int(nodes["voxels"].sum())
    assert [open_nodes[n] for n in sorted(open_nodes)] == [0, 0, 0, 0, 0, 0, 2, 2]


@settings(deadline=None, max_examples=80)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 80),
    st.sampled_from([0.0, 1.0, 2.0, 3.5, 8.0]),
    st.tuples(*[st.integers(1, 6)] * 3),
    st.lists(st.tuples(side, side, side), min_size=0, max_size=3),
    st.booleans(),
)
def test_spacing_by_cells_equals_the_greedy_order_of_the_whole(seed, n, distance, block, factors, planar):
    rng = np.random.default_rng(seed)
    shape = tuple(int(s) for s in rng.integers(1, 20, 3))
    position = rng.uniform(0, 1, (n, 3)) * (np.array(shape) - 1)
    if planar or rng.random() < 0.5:
        position = np.rint(position)
    index = rng.permutation(1000)[:n].astype(np.int64)
    weight = rng.integers(0, 20, n)  # many equal ones
    rules = RegionRules(spacing_vox=distance, scale=(1.0, 1.0, float(rng.choice([1.0, 1.7]))), planar=planar)
    order = np.lexsort((index, -weight))
    group = position[order, 0].astype(np.int64) if planar else None
    expected = index[order][suppress(position[order] * rules.scale, distance, group)]

    levels = levels_of(Tiling(shape, tuple(min(b, s) for b, s in zip(block, shape, strict=True))), factors)
    table = {"index": index, "weight": weight, "position": position}
    picks = {
        c: space([candidates(table, cell)], [], cell, Box.of_shape(shape), rules) for c, cell in enumerate(levels[0])
    }
    for finer, cells in itertools.pairwise(levels):
        inner = {c: parts_in(cell, finer) for c, cell in enumerate(cells)}
        picks = {
            c: space([picks[n][0] for n in inner[c]], [picks[n][1] for n in inner[c]], cell, Box.of_shape(shape), rules)
            for c, cell in enumerate(cells)
        }
    numbers = numbered(picks[0][1], 0)
    assert numbers["index"][np.argsort(numbers["label"])].tolist() == expected.tolist()


def test_a_chain_through_all_cells_is_decided_from_its_strong_end():
    """1,000 picks at x 0 to 999, each weaker than the one before, 1 apart: every second one is kept."""
    index = np.arange(1000)
    position = np.stack([0 * index, 0 * index, index], axis=1).astype(float)
    table = {"index": index, "weight": 1000 - index, "position": position}
    rules, shape = RegionRules(spacing_vox=1.5), (1, 1, 1000)
    cells = Tiling(shape, (1, 1, 10))
    picks = [space([candidates(table, cell)], [], cell, Box.of_shape(shape), rules) for cell in cells]
    assert sum(kept["index"].size for _, kept in picks) == 5  # only the first cell knows the strong end
    open_, kept = space(
        [p[0] for p in picks], [p[1] for p in picks], Tiling(shape, shape).box(0), Box.of_shape(shape), rules
    )
    assert not open_["index"].size
    assert sorted(kept["index"].tolist()) == list(range(0, 1000, 2))


def test_picks_far_from_faces_do_not_go_up():
    rng = np.random.default_rng(2)
    position = rng.uniform(0, 1, (20_000, 3)) * 199
    table = {"index": np.arange(20_000), "weight": rng.integers(0, 10**6, 20_000), "position": position}
    shape = (200, 200, 200)
    cell = Tiling(shape, (100, 100, 100)).box(0)
    open_, kept = space([candidates(table, cell)], [], cell, Box.of_shape(shape), RegionRules(spacing_vox=4))
    assert (open_["position"].max(axis=1) > 100 - 30).all()  # chains of picks end soon
    assert kept["index"].size > 5 * np.count_nonzero(~open_["known"])


def test_joining_takes_the_memory_that_is_stated():
    """Noise, of which every third voxel or so is a local region, and all are one component."""
    rng = np.random.default_rng(0)
    prediction = rng.integers(100, 255, (40, 40, 40)).astype(np.uint8)
    tiling = Tiling(prediction.shape, (20, 20, 20))
    seams, _ = seams_of(prediction, tiling, BasinRules(level=127))
    parts = {number: leaf(number, table) for number, table in seams.items()}
    nodes, passes = size_of(parts)
    join(parts, lambda blocks: np.ones(len(blocks), bool), prediction.shape, RegionRules(unit=255.0))  # imports
    tracemalloc.start()
    try:
        join(parts, lambda blocks: np.ones(len(blocks), bool), prediction.shape, RegionRules(unit=255.0))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    stated = NODE_BYTES * nodes + PASS_BYTES * passes
    rows = sum(column.nbytes for table in parts.values() for column in table.values())
    assert 0.2 * stated < peak + rows < stated
