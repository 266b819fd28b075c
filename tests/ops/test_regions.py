"""Basins, passes, forest: blocks equal the whole, and the whole equals a flood written out voxel by voxel."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from few_blocks import in_blocks_at_most
from hypothesis import given, settings
from hypothesis import strategies as st
from predictions import make_prediction, rules_for

from volengine.core.boxes import Box, neighbours
from volengine.core.errors import InputError, WiderHaloError
from volengine.core.tiling import Tiling
from volengine.ops.basins import block_basins, weight_unit
from volengine.ops.heights import BasinRules, squared_distance
from volengine.ops.passes import INDEX_BITS, index_of_key, key_of
from volengine.ops.plateaus import block_middles, plateaus
from volengine.ops.region_sums import WEIGHT_ONE
from volengine.ops.regions import RegionRules, block_labels, check_size, join_seams, pick_array, relabel, resolve


def attempt(prediction, core: Box, halo, basins: BasinRules):
    """Basins of a block read with this halo, or the wish for a wider one."""
    crop = core.grow(halo).clip(prediction.shape)
    try:
        return block_basins(prediction[crop.slices].copy(), crop, core, prediction.shape, basins)
    except WiderHaloError as wish:
        return wish


def run_blocks(prediction, block, basins: BasinRules, regions: RegionRules, halo: int = 2):
    """Every step over all blocks, as the engine does it; returns labels, picks and the halos that were asked for."""
    shape = prediction.shape
    tiling = Tiling(shape, tuple(min(b, n) for b, n in zip(block, shape, strict=True)))
    local, tables, asked = [], {}, []
    for number, core in enumerate(tiling):
        wide = (0 if basins.planar else halo, halo, halo)
        while True:
            result = attempt(prediction, core, wide, basins)
            if not isinstance(result, WiderHaloError):
                break
            assert any(a > b for a, b in zip(result.halo_vox, wide, strict=True))
            assert all(a <= b for a, b in zip(result.halo_vox, basins.halo_vox, strict=True))
            wide = result.halo_vox
            asked.append(wide)
        basin, table = result
        local.append(basin)
        tables[number] = table
    seams = {}
    for number, core in enumerate(tiling):
        around = [tiling.number(i) for i in neighbours(tiling.index(number), tiling.grid)]
        seams[number] = join_seams(number, {n: tables[n] for n in [number, *around]}, core, shape, basins)
    middles = []
    if regions.position == "maximum":
        found = plateaus(seams, shape, regions)
        middles = [
            block_middles(n, local[n], prediction[core.slices], core, shape, found, regions)
            for n, core in enumerate(tiling)
        ]
    picks, lookup = resolve(seams, shape, regions, middles)
    labels = np.zeros(shape, np.uint32)
    for number, core in enumerate(tiling):
        labels[core.slices] = relabel(local[number], block_labels(number, lookup))
    return labels, picks, asked


def flood_voxels(mask, d2, offsets, seed_distance: float, split: bool):
    """Seeded flooding by Kruskal over single voxels: (component, seed's index or component's root) per voxel."""
    shape = mask.shape
    voxels = [tuple(int(v) for v in at) for at in np.argwhere(mask)]
    key = {v: (int(d2[v]), int(np.ravel_multi_index(v, shape))) for v in voxels}
    near = {v: [w for o in offsets if (w := tuple(a + b for a, b in zip(v, o, strict=True))) in key] for v in voxels}
    edges = sorted(
        ((min(key[v], key[w]), max(key[v], key[w]), v, w) for v in voxels for w in near[v] if v < w), reverse=True
    )

    def forest(seeds):
        parent = {v: v for v in voxels}
        seed_of = {v: v if v in seeds else None for v in voxels}

        def top(v):
            while parent[v] != v:
                parent[v] = v = parent[parent[v]]
            return v

        for _, _, v, w in edges:
            a, b = top(v), top(w)
            if a != b and (seed_of[a] is None or seed_of[b] is None):
                parent[b] = a
                seed_of[a] = seed_of[a] or seed_of[b]
        return {v: (top(v), seed_of[top(v)]) for v in voxels}

    component = {v: group for v, (group, _) in forest(set()).items()}
    roots = sorted((v for v in voxels if all(key[w] < key[v] for w in near[v])), key=key.get, reverse=True)
    seeds: list = []
    taken = set()
    for v in roots:
        others = [s for s in seeds if component[s] == component[v]]
        if split and all(np.linalg.norm(np.subtract(s, v)) >= seed_distance for s in others):
            seeds.append(v)
        elif not split and component[v] not in taken:
            taken.add(component[v])
            seeds.append(v)
    return {v: seed for v, (_, seed) in forest(set(seeds)).items()}


def expected(prediction, basins: BasinRules, rules: RegionRules):
    """Labels and picks by the definition, in plain Python."""
    mask = prediction > basins.level
    d2 = brute_distance(mask, basins)
    seed_of = flood_voxels(mask, d2, basins.offsets, rules.seed_distance_vox, rules.split)
    regions: dict = {}
    for v, seed in seed_of.items():
        regions.setdefault(seed, []).append(v)
    floating = prediction.dtype.kind == "f"
    rows = []
    for members in regions.values():
        values = [float(prediction[v]) for v in members]
        whole = [round(v * WEIGHT_ONE) if floating else int(v) for v in values]
        if rules.position == "centroid":
            position = [sum(v[a] for v in members) / len(members) for a in range(3)]
        else:
            tops = [v for v, p in zip(members, values, strict=True) if p == max(values)]
            centre = [sum(v[a] for v in tops) / len(tops) for a in range(3)]
            far = {v: sum(((a - c) * s) ** 2 for a, c, s in zip(v, centre, rules.scale, strict=True)) for v in tops}
            position = [float(a) for a in min(tops, key=lambda v: (far[v], v))]
        root = max((int(d2[v]), int(np.ravel_multi_index(v, mask.shape))) for v in members)[1]
        inside = all(m <= p < n - m for p, n, m in zip(position, mask.shape, rules.margin_vox, strict=True))
        if len(members) >= rules.min_voxels and inside:
            rows.append((-sum(whole), root, position, members))
    kept: list = []
    for row in sorted(rows, key=lambda r: r[:2]):
        rivals = [k for k in kept if not rules.planar or k[2][0] == row[2][0]]
        if all(np.linalg.norm(np.subtract(k[2], row[2]) * rules.scale) >= rules.spacing_vox for k in rivals):
            kept.append(row)
    if len(kept) < rules.min_picks:
        kept = []
    labels = np.zeros(mask.shape, np.uint32)
    for number, (_, _, _, members) in enumerate(kept, 1):
        for v in members:
            labels[v] = number
    unit = WEIGHT_ONE if floating else 255
    return labels, [(r[2], -r[0] / unit, len(r[3])) for r in kept]


def brute_distance(mask, basins: BasinRules):
    """Squared distances by looking at every background voxel."""
    limit = basins.max_distance_vox**2
    d2 = np.zeros(mask.shape, int)
    dark = np.argwhere(~mask)
    for v in np.argwhere(mask):
        far = dark[dark[:, 0] == v[0]] if basins.planar else dark
        d2[tuple(v)] = min([limit, *((far - v) ** 2).sum(axis=1).tolist()])
    return d2


def assert_equal_results(left, right):
    assert np.array_equal(left[0], right[0])
    assert left[1].keys() == right[1].keys()
    for name in left[1]:
        assert np.array_equal(left[1][name], right[1][name]), name


KINDS = st.sampled_from(["blobs", "rods", "plates", "noise", "smooth", "full", "empty"])


@st.composite
def cases(draw, largest: int):
    planar = draw(st.booleans())
    shape = tuple(draw(st.integers(4, largest)) for _ in range(3))
    basins = {
        "connectivity": draw(st.sampled_from([6, 18, 26])),
        "planar": planar,
        "max_distance_vox": draw(st.sampled_from([1, 3, 6, 64])),
    }
    orient = draw(st.sampled_from(["none", "none", "long-axis", "normal"]))
    basins["products"] = orient != "none"
    dtype = draw(st.sampled_from(["uint8", "uint8", "float32", "float16"]))
    regions = RegionRules(
        unit=weight_unit(dtype),
        split=draw(st.sampled_from([True, True, True, False])),
        seed_distance_vox=draw(st.sampled_from([0.0, 2.0, 3.0, 4.5])),
        min_voxels=draw(st.sampled_from([0, 4])),
        margin_vox=draw(st.sampled_from([(0, 0, 0), (0, 1, 2)])),
        spacing_vox=draw(st.sampled_from([0.0, 3.0, 5.0])),
        position=draw(st.sampled_from(["centroid", "maximum"])),
        planar=planar,
        orient=orient,
        orient_sign=draw(st.sampled_from(["z", "in", "out"])),
        min_picks=draw(st.sampled_from([0, 0, 0, 3])),
    )
    prediction = make_prediction(draw(KINDS), shape, draw(st.integers(0, 2**32 - 1)), dtype)
    return prediction, rules_for(dtype, **basins), regions


@settings(deadline=None, max_examples=60)
@given(cases(largest=9))
def test_whole_volume_equals_the_voxel_by_voxel_flood(case):
    prediction, basins, regions = case
    labels, picks = pick_array(prediction, basins, regions)
    want, rows = expected(prediction, basins, regions)
    assert np.array_equal(labels, want)
    assert picks["position_vox"].tolist() == [r[0] for r in rows]
    assert picks["weight"].tolist() == [r[1] for r in rows]
    assert picks["size_vox"].tolist() == [r[2] for r in rows]


@settings(deadline=None, max_examples=80)
@given(cases(largest=26), st.tuples(*[st.integers(4, 13)] * 3), st.integers(0, 5))
def test_blocks_equal_the_whole(case, block, halo):
    prediction, basins, regions = case
    labels, picks, _ = run_blocks(prediction, block, basins, regions, halo)
    assert_equal_results((labels, picks), pick_array(prediction, basins, regions))


HARD = {
    "one block is the volume": ("blobs", (20, 20, 20), 0, {}, {}),
    "blocks of one voxel along z, no halo": ("smooth", (1, 9, 20), 0, {}, {"seed_distance_vox": 3.0}),
    "blocks of one voxel along x, all voxels bright": ("full", (20, 20, 1), 0, {"connectivity": 6}, {}),
    "plates with holes across all blocks": ("plates", (5, 7, 6), 1, {"connectivity": 18}, {"spacing_vox": 3.0}),
    "rods, parts not split": ("rods", (7, 5, 20), 2, {}, {"split": False, "position": "maximum"}),
    "noise, every second voxel": ("noise", (6, 6, 6), 1, {}, {"min_voxels": 4, "seed_distance_vox": 2.0}),
    "distances cut off at once": ("blobs", (8, 8, 8), 1, {"max_distance_vox": 1}, {"seed_distance_vox": 4.5}),
    "slice by slice": ("smooth", (3, 8, 8), 0, {"planar": True}, {"planar": True, "spacing_vox": 5.0}),
    "nothing": ("empty", (8, 8, 8), 5, {}, {"margin_vox": (0, 1, 2)}),
}


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
@pytest.mark.parametrize("name", HARD)
def test_blocks_equal_the_whole_where_it_is_hard(name, dtype):
    kind, block, halo, basins, regions = HARD[name]
    prediction = make_prediction(kind, (20, 20, 20), 3, dtype)
    rules = rules_for(dtype, **basins), RegionRules(unit=weight_unit(dtype), **regions)
    labels, picks, _ = run_blocks(prediction, block, *rules, halo)
    assert_equal_results((labels, picks), pick_array(prediction, *rules))


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(cases(largest=32), st.tuples(*[st.integers(1, 16)] * 3), st.integers(0, 9))
def test_blocks_equal_the_whole_many(case, block, halo):
    prediction, basins, regions = case
    block = in_blocks_at_most(500, prediction.shape, block)
    labels, picks, _ = run_blocks(prediction, block, basins, regions, halo)
    assert_equal_results((labels, picks), pick_array(prediction, basins, regions))


@pytest.mark.parametrize("dense", [0.0, 2.0])  # all voxels of a piece are computed; only those of the foreground
@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize("kind", ["smooth", "noise"])
def test_the_pieces_of_a_block_do_not_matter(monkeypatch, kind, connectivity, dense):
    """A block is worked on in pieces; here of some voxels each, with a whole pick of the default ones as the answer."""
    prediction = make_prediction(kind, (9, 22, 25), 3, "float32")
    rules = BasinRules(0.5, connectivity=connectivity, products=True)
    core, whole = Box((2, 5, 0), (8, 19, 20)), Box.of_shape(prediction.shape)
    wanted = block_basins(prediction, whole, core, prediction.shape, rules)
    monkeypatch.setattr("volengine.ops.basins._CHUNK", 11)
    monkeypatch.setattr("volengine.ops.basins._DENSE", dense)
    found = block_basins(prediction, whole, core, prediction.shape, rules)
    assert wanted[1]["pass_a"].size > 3
    assert np.array_equal(found[0], wanted[0])
    for name, column in wanted[1].items():
        assert found[1][name].dtype == column.dtype
        assert np.array_equal(found[1][name], column), name


def test_truth_values_are_picked_like_ones():
    mask = make_prediction("blobs", (9, 20, 20), 1, "uint8") > 127
    rules = BasinRules(0), RegionRules(unit=1.0)
    assert mask.any()
    assert_equal_results(pick_array(mask, *rules), pick_array(mask.astype(np.uint8), *rules))


def test_a_component_that_spans_many_blocks_widens_the_halo_and_stays_exact():
    shape = (40, 60, 60)
    z, y, x = np.indices(shape)
    prediction = np.where(np.hypot(z - 20, np.hypot(y - 30, x - 30)) < 19, 255, 0).astype(np.uint8)
    prediction[18:22] = 200  # a slab across the whole volume
    basins, regions = BasinRules(level=127), RegionRules(unit=255, seed_distance_vox=8)
    labels, picks, asked = run_blocks(prediction, (16, 16, 16), basins, regions)
    assert max(h[0] for h in asked) > 16
    assert_equal_results((labels, picks), pick_array(prediction, basins, regions))
    assert (labels > 0).sum() == (prediction > 127).sum()
    assert picks["size_vox"].sum() == (prediction > 127).sum()


def test_results_depend_on_the_volume_and_not_on_a_mirror_of_the_blocks():
    prediction = make_prediction("smooth", (20, 30, 30), 5, "uint8")
    basins, regions = BasinRules(level=127), RegionRules(unit=255, min_voxels=3, spacing_vox=4)
    runs = [run_blocks(prediction, b, basins, regions)[:2] for b in itertools.product((7, 20), (8, 30), (9, 30))]
    assert len(runs[0][1]["label"]) > 5
    for other in runs[1:]:
        assert_equal_results(runs[0], other)


def test_two_touching_balls_are_parted_where_they_touch():
    at = np.indices((21, 21, 40))
    left = sum((a - c) ** 2 for a, c in zip(at, (10, 10, 12), strict=True)) <= 64
    right = sum((a - c) ** 2 for a, c in zip(at, (10, 10, 26), strict=True)) <= 64
    prediction = np.where(left | right, 1.0, 0.0).astype(np.float32)
    labels, picks = pick_array(prediction, BasinRules(level=0.5), RegionRules(unit=weight_unit("float32")))
    found = sorted(picks["position_vox"].tolist(), key=lambda p: p[2])
    assert np.allclose(found, [[10, 10, 12], [10, 10, 26]], atol=0.3)
    assert picks["weight"].sum() == (left | right).sum()
    whole = RegionRules(unit=weight_unit("float32"), split=False)
    assert len(pick_array(prediction, BasinRules(level=0.5), whole)[1]["label"]) == 1
    assert labels[10, 10, 5] != labels[10, 10, 33]


def test_agrees_with_skimage_watershed_under_the_same_total_order():
    from skimage.segmentation import watershed

    prediction = make_prediction("smooth", (24, 40, 40), 11, "uint8")
    mask = prediction > 127
    basins, regions = BasinRules(level=127), RegionRules(unit=255, seed_distance_vox=4)
    labels, picks = pick_array(prediction, basins, regions)
    d2 = squared_distance(mask, 64).astype(np.float64)
    key = d2 * mask.size + np.arange(mask.size).reshape(mask.shape)
    seeds = np.zeros(mask.shape, np.int32)
    for label in picks["label"]:  # the seed is the highest voxel of all but those few regions that hold a better root
        seeds.flat[int(np.where(labels == label, key, -1).argmax())] = label
    flooded = watershed(-key, seeds, connectivity=np.ones((3, 3, 3)), mask=mask)
    assert len(picks["label"]) > 20
    # skimage fixes a label when a voxel enters its queue, not when it leaves it, so borders differ by a few voxels.
    assert (flooded == labels)[mask].mean() > 0.97


def test_connectivity_decides_what_touches():
    prediction = np.zeros((4, 8, 8), np.uint8)
    prediction[1, 2, 2] = prediction[1, 3, 3] = prediction[2, 4, 4] = 255
    rules = RegionRules(unit=255, seed_distance_vox=9)
    count = [len(pick_array(prediction, BasinRules(127, c), rules)[1]["label"]) for c in (6, 18, 26)]
    assert count == [3, 2, 1]
    planar = RegionRules(unit=255, seed_distance_vox=9, planar=True)
    assert len(pick_array(prediction, BasinRules(127, 26, planar=True), planar)[1]["label"]) == 2


def test_anisotropic_voxels_count_in_the_spacing():
    prediction = np.zeros((9, 9, 9), np.uint8)
    prediction[1, 4, 4] = prediction[4, 4, 4] = 255
    flat = RegionRules(unit=255, spacing_vox=4)
    tall = RegionRules(unit=255, spacing_vox=4, scale=(2.0, 1.0, 1.0))
    assert len(pick_array(prediction, BasinRules(127), flat)[1]["label"]) == 1
    assert len(pick_array(prediction, BasinRules(127), tall)[1]["label"]) == 2


def test_distances_are_cut_off_and_the_border_is_no_background():
    mask = np.ones((5, 6, 40), bool)
    assert (squared_distance(mask, 7) == 49).all()
    mask[:, :, 0] = False
    assert squared_distance(mask, 64)[2, 3].tolist() == [i * i for i in range(40)]
    mask[0] = False
    assert squared_distance(mask, 64)[3, 3, 20] == 9
    assert squared_distance(mask, 64, planar=True)[3, 3, 20] == 400


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 7, 9), (3, 1, 1)])
def test_thin_volumes_are_one_region(shape):
    prediction = np.full(shape, 255, np.uint8)
    labels, picks = pick_array(prediction, BasinRules(127), RegionRules(unit=255, seed_distance_vox=99))
    assert (labels == 1).all()
    assert picks["position_vox"].tolist() == [[(n - 1) / 2 for n in shape]]


def test_not_a_number_is_background_and_infinity_is_refused():
    prediction = np.zeros((3, 3, 3), np.float32)
    prediction[1, 1, 1], prediction[0, 0, 0] = 0.75, np.nan
    _, picks = pick_array(prediction, BasinRules(0.5), RegionRules(unit=WEIGHT_ONE))
    assert picks["weight"].tolist() == [0.75]
    prediction[2, 2, 2] = np.inf
    with pytest.raises(InputError, match="infinite"):
        pick_array(prediction, BasinRules(0.5), RegionRules(unit=WEIGHT_ONE))


def test_what_cannot_be_is_refused():
    with pytest.raises(InputError, match="6, 18 or 26"):
        BasinRules(127, connectivity=4)
    with pytest.raises(InputError, match="from 1 to 4095"):
        BasinRules(127, max_distance_vox=5000)
    with pytest.raises(InputError, match="up to"):
        check_size((20000, 20000, 20000))
    prediction, whole = np.full((4, 4, 9), 255, np.uint8), Box.of_shape((4, 4, 9))
    _, left = block_basins(prediction, whole, Box((0, 0, 0), (4, 4, 5)), (4, 4, 9), BasinRules(127))
    _, right = block_basins(prediction * 0, whole, Box((0, 0, 5), (4, 4, 9)), (4, 4, 9), BasinRules(127))
    with pytest.raises(KeyError, match="do not hold"):
        join_seams(0, {0: left, 1: right}, Box((0, 0, 0), (4, 4, 5)), (4, 4, 9), BasinRules(127))


def test_keys_order_by_distance_then_index():
    d2, index = np.array([1, 1, 4095**2, 2]), np.array([7, 2**40 - 1, 0, 3])
    key = key_of(d2, index)
    assert (key >> np.uint64(INDEX_BITS)).tolist() == d2.tolist()
    assert index_of_key(key).tolist() == index.tolist()
    assert np.argsort(key).tolist() == [0, 1, 3, 2]
