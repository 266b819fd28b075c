"""Nearest neighbours, DBSCAN and objects of label volumes: against their definitions, in any order and any blocks."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from volengine.core.boxes import Box, index3
from volengine.core.errors import InputError
from volengine.core.tiling import Tiling
from volengine.ops import stats_points
from volengine.ops.stats_labels import (
    ClassRules,
    class_basins,
    count_ids,
    join_classes,
    merge_ids,
    resolve_classes,
    whole_ids,
)
from volengine.ops.stats_points import cluster_table, dbscan, nearest

BRIEF = settings(deadline=None, max_examples=60)
POINTS = hnp.arrays(np.int64, st.tuples(st.integers(0, 25), st.just(3)), elements=st.integers(0, 6)).map(
    lambda a: a.astype(float)
)
"""Small whole numbers: with points at the same place and distances that are exactly eps."""


@contextmanager
def few_pairs(pairs: int) -> Iterator[None]:
    """Find clusters with this many pairs at a time."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(stats_points, "RUN_PAIRS", pairs)
        yield


def table(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(a[:, None] - b[None]).sum(-1))


@BRIEF
@given(POINTS, POINTS)
def test_nearest_is_the_least_of_all_distances(a: np.ndarray, b: np.ndarray) -> None:
    own = table(a, a)
    np.fill_diagonal(own, np.inf)
    np.testing.assert_array_equal(nearest(a), own.min(axis=1, initial=np.inf))
    np.testing.assert_array_equal(nearest(a, b), table(a, b).min(axis=1, initial=np.inf))


@BRIEF
@given(POINTS, st.sampled_from([1.0, np.sqrt(2), 2.0, 3.0]), st.integers(1, 5), st.integers(0, 99))
def test_dbscan_is_its_definition(points: np.ndarray, eps: float, least: int, seed: int) -> None:
    found = dbscan(points, eps, least)
    with few_pairs(1 + seed % 40):
        some = dbscan(points, eps, least)
    np.testing.assert_array_equal(some.label, found.label)
    np.testing.assert_array_equal(some.core, found.core)
    near = table(points, points) <= eps
    core = near.sum(axis=1) >= least
    np.testing.assert_array_equal(found.core, core)
    n = len(points)
    # density-connected: the transitive closure of "neighbour", over core points
    reach = near & core[:, None] & core[None]
    for _ in range(n):
        reach = reach | (reach.astype(int) @ reach.astype(int) > 0)
    same = found.label[:, None] == found.label[None]
    np.testing.assert_array_equal(same[np.ix_(core, core)], (reach | np.eye(n, dtype=bool))[np.ix_(core, core)])
    assert (found.label[core] > 0).all()
    for k in np.flatnonzero(~core):
        cores = np.flatnonzero(near[k] & core)
        assert (found.label[k] > 0) == (len(cores) > 0)
        if len(cores):
            apart = table(points[[k]], points[cores])[0]
            first = min(zip(apart, points[cores].tolist(), cores, strict=True))[2]
            assert found.label[k] == found.label[first]
    assert sorted(set(found.label) - {0}) == list(range(1, found.count + 1))
    assert (np.diff(found.sizes) <= 0).all()
    order = np.random.default_rng(seed).permutation(n)
    again = dbscan(points[order], eps, least)
    np.testing.assert_array_equal(again.label, found.label[order])
    one, two = cluster_table(points, found), cluster_table(points[order], again)
    for name, column in one.items():
        np.testing.assert_array_equal(column, two[name])


def test_a_border_point_goes_to_its_nearest_core() -> None:
    line = np.zeros((9, 3))
    line[:, 2] = [0, 0.5, 1, 2, 4.5, 7, 8, 8.5, 9]  # the one in the middle has three neighbours: itself, 2 and 7
    found = dbscan(line, 2.5, 4)
    assert found.core.tolist() == [True] * 4 + [False] + [True] * 4
    assert found.label.tolist() == [1] * 5 + [2] * 4  # equally near: the cluster of the core that comes first
    line[4, 2] = 4.75
    found = dbscan(line, 2.75, 4)
    assert found.label.tolist() == [2] * 4 + [1] * 5
    rows = cluster_table(line, found)
    assert rows["points"].tolist() == [5, 4]
    assert rows["cores"].tolist() == [4, 4]
    assert rows["centre"][1].tolist() == [0, 0, 0.875]
    assert rows["radius_of_gyration"][1] == pytest.approx(np.std([0, 0.5, 1, 2]))
    assert dbscan(line, 0.4, 2).count == 0


def test_numbers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match="positive distance"):
        dbscan(np.zeros((3, 3)), 0, 3)
    with pytest.raises(InputError, match="at least 1"):
        dbscan(np.zeros((3, 3)), 5, 0)
    with pytest.raises(InputError, match="finite"):
        nearest([[0.0, np.nan, 0.0]])


def objects(labels: np.ndarray, core: tuple[int, int, int], rules: ClassRules) -> dict[str, np.ndarray]:
    """Objects through blocks of this core, with a halo that is as wide as can be asked for."""
    shape = index3(labels.shape)
    tiling = Tiling(shape, core)
    boxes = [tiling.box(n) for n in range(len(tiling))]
    crops = [b.grow((rules.max_distance_vox if rules.split else 0,) * 3).clip(shape) for b in boxes]
    tables = {
        n: class_basins(labels[crop.slices_in(Box.of_shape(shape))], crop, box, shape, rules)
        for n, (box, crop) in enumerate(zip(boxes, crops, strict=True))
    }
    joined = {n: join_classes(n, tables, box, shape, rules) for n, box in enumerate(boxes)}
    return resolve_classes(joined, shape, rules)


ATLAS = hnp.arrays(np.uint8, (7, 8, 9), elements=st.sampled_from([0, 0, 0, 2, 2, 5]))
CORE = st.sampled_from([(7, 8, 9), (4, 4, 4), (7, 3, 5), (2, 8, 9)])


@settings(deadline=None, max_examples=40)
@given(ATLAS, CORE, st.sampled_from([6, 18, 26]))
def test_components_of_an_atlas_in_any_blocks(labels: np.ndarray, core: tuple[int, int, int], near: int) -> None:
    found = objects(labels, core, ClassRules(connectivity=near))
    footprint = ndimage.generate_binary_structure(3, {6: 1, 18: 2, 26: 3}[near])
    expected = []
    for id in (2, 5):
        part, n = ndimage.label(labels == id, footprint)
        for k in range(1, n + 1):
            where = np.argwhere(part == k)
            expected.append((id, len(where), *(where.sum(axis=0) / len(where))))
    rows = zip(found["class"], found["voxels"], found["position_vox"], strict=True)
    assert sorted((int(c), int(v), *p) for c, v, p in rows) == sorted(expected)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), CORE)
def test_the_watershed_of_a_class_is_the_same_in_any_blocks(seed: int, core: tuple[int, int, int]) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(7, 8, 9)), 1)
    labels = np.where(noise > 0, 3, 0).astype(np.uint8)
    rules = ClassRules(split=(3,), max_distance_vox=16, seed_distance_vox=2)
    whole, cut = objects(labels, (7, 8, 9), rules), objects(labels, core, rules)
    for name, column in whole.items():
        np.testing.assert_array_equal(column, cut[name])
    assert whole["voxels"].sum() == np.count_nonzero(labels)


def test_touching_balls_are_one_component_and_two_basins() -> None:
    z, y, x = np.indices((15, 15, 30))
    near = [(z - 7) ** 2 + (y - 7) ** 2 + (x - c) ** 2 <= 36 for c in (8, 19)]
    labels = np.where(near[0] | near[1], 4, 0).astype(np.int16)
    assert len(objects(labels, (15, 15, 30), ClassRules())["voxels"]) == 1
    found = objects(labels, (15, 15, 30), ClassRules(split=(4,)))
    assert sorted(found["position_vox"][:, 2].round().tolist()) == [8, 19]


def test_only_the_ids_that_were_asked_for() -> None:
    labels = np.zeros((2, 3, 4), np.uint8)
    labels[0, 0, 0], labels[1, 2, 3] = 1, 2
    assert objects(labels, (2, 3, 4), ClassRules(ids=(2,)))["class"].tolist() == [2]


def test_numbered_objects_are_no_classes() -> None:
    labels = np.arange(1, 1001, dtype=np.uint16).reshape(10, 10, 10)
    whole = Box.of_shape(labels.shape)
    with pytest.raises(InputError, match=r"1000 different labels.*--kind instances"):
        class_basins(labels, whole, whole, labels.shape, ClassRules())


@settings(deadline=None, max_examples=40)
@given(hnp.arrays(np.uint32, (5, 6, 7), elements=st.integers(0, 9)), st.sampled_from([(5, 6, 7), (2, 3, 4), (5, 1, 7)]))
def test_numbered_objects_in_any_blocks(labels: np.ndarray, core: tuple[int, int, int]) -> None:
    assume(labels.any())
    tiling = Tiling(labels.shape, core)
    boxes = [tiling.box(n) for n in range(len(tiling))]
    whole = Box.of_shape(labels.shape)
    found = merge_ids([count_ids(labels[b.slices_in(whole)], b) for b in boxes])
    for id, voxels, position in zip(found["id"], found["voxels"], found["position_vox"], strict=True):
        where = np.argwhere(labels == id)
        assert voxels == len(where)
        np.testing.assert_array_equal(position, where.sum(axis=0) / len(where))
    assert found["id"].tolist() == sorted(set(labels.ravel()) - {0})
    assert merge_ids([])["id"].size == 0


def test_labels_are_whole_and_not_negative() -> None:
    assert whole_ids(np.array([0.0, 3.0], np.float32), "a").tolist() == [0, 3]
    with pytest.raises(InputError, match=r"a.mrc holds 0\.5"):
        whole_ids(np.array([0.0, 0.5], np.float32), "a.mrc")
    with pytest.raises(InputError, match="holds -1"):
        whole_ids(np.array([0, -1], np.int8), "a.mrc")


def test_clusters_of_dense_points_take_little_memory() -> None:
    """40,000 points with 6 million pairs in all: with 100,000 at a time, a tenth of the memory, and the same answer."""
    points = np.random.default_rng(0).random((40_000, 3)) * 30
    whole = dbscan(points, 2.0, 5)  # for what is imported, too
    peaks = {}
    for pairs in (10**7, 10**5):
        with few_pairs(pairs):
            tracemalloc.start()
            try:
                found = dbscan(points, 2.0, 5)
                peaks[pairs] = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
        np.testing.assert_array_equal(found.label, whole.label)
    assert peaks[10**5] < 150 * len(points) + 300 * 10**5
    assert peaks[10**5] < 0.1 * peaks[10**7]


def test_many_clusters_have_the_sums_of_each_alone() -> None:
    points = np.random.default_rng(1).random((3000, 3)) * 100
    found = dbscan(points, 4.0, 2)
    rows = cluster_table(points, found)
    assert found.count > 100
    for k in range(found.count):
        mine = points[found.label == k + 1]
        mine = mine[np.lexsort(mine.T[::-1])]
        assert (rows["centre"][k] == mine.mean(axis=0)).all()
        assert rows["points"][k] == len(mine)
        assert rows["cores"][k] == found.core[found.label == k + 1].sum()
