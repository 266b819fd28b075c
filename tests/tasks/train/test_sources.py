"""Sources of samples: every kind gives what it holds, keeps its validation apart, and reads only what it needs."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from engine_plans import stored
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scnt_write import ScntSample, write_scnt

from volengine.core.errors import InputError
from volengine.core.picks import Picks
from volengine.io.cached import ChunkCache
from volengine.io.picks import write_picks
from volengine.tasks.train.boxes import BoxPatches, turn
from volengine.tasks.train.samples import PatchRules, TrainSample
from volengine.tasks.train.sets import whole_depth
from volengine.tasks.train.sources import Draw, open_sources, validation_of
from volengine.tasks.train.volumes import Patches

SHAPE = (12, 40, 96)
PLAIN = PatchRules(("f",), (4, 8, 8), normalisation="none")


def write(path: Path, array: np.ndarray, voxel_size: float = 10.0) -> str:
    with mrcfile.new(path, data=array, overwrite=True) as mrc:
        mrc.voxel_size = voxel_size
    return str(path)


@pytest.fixture
def index(tmp_path: Path) -> str:
    """A volume whose voxels are their own numbers, so that one sees what was read."""
    return write(tmp_path / "index.mrc", np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.float32))


def place(value: float) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(int(value), SHAPE))


@pytest.fixture
def labels(tmp_path: Path) -> str:
    return write(tmp_path / "labels.mrc", (np.random.default_rng(0).random(SHAPE) < 0.02).astype(np.int8))


def rngs(count: int) -> list[np.random.Generator]:
    return [np.random.default_rng(k) for k in range(count)]


# -- volumes -------------------------------------------------------------------------------------------------


def test_use_decides_what_a_volume_is_for(index: str, labels: str) -> None:
    both = TrainSample(volume=index, labels=(labels,))
    train, validate = both.with_(use="train"), both.with_(use="validate")
    sources = open_sources([train, validate], PLAIN)
    assert [bool(s.weight) for s in sources] == [True, False]
    assert not len(sources[0].validation())
    seen = {place(v) for image, _ in sources[1].validation() for v in image.ravel()}
    assert len(seen) == 90 * 256  # 3 x 5 x 12 patches cover it; of more than 128 every second one is left
    assert all(Draw(sources).source(rng) is sources[0] for rng in rngs(20))
    with pytest.raises(InputError, match="nothing is left to train on"):
        open_sources([validate], PLAIN)
    with pytest.raises(InputError, match="for validation only"):
        sources[1].draw(np.random.default_rng(0))


def test_validation_by_tomogram_keeps_samples_of_one_together(tmp_path: Path, labels: str) -> None:
    array = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    samples = []
    for name in ("a", "b", "c", "d"):
        path = write(tmp_path / f"{name}.mrc", array)
        samples += [TrainSample(volume=path, labels=(labels,)), TrainSample(volume=path, labels=(labels,), weight=2)]
    rules = PatchRules(("f",), (4, 8, 8), validation="tomogram", validation_share=0.25)
    sources = open_sources(samples, rules)
    held = {s.name for s in sources if not s.weight}
    assert len(held) == 1
    assert all((s.name in held) == bool(len(s.validation())) for s in sources)
    others = {
        s.name
        for seed in range(40)
        for s in open_sources(samples, PatchRules(**{**rules.__dict__, "seed": seed}))
        if not s.weight
    }
    assert others == {"a", "b", "c", "d"}
    with pytest.raises(InputError, match="there is only 'a'"):
        open_sources(samples[:2], rules)


def test_weights_are_shares_of_the_draws(index: str, labels: str) -> None:
    one = TrainSample(volume=index, labels=(labels,))
    sources = open_sources([one, one.with_(weight=3.0)], PLAIN)
    draw = Draw(sources)
    share = np.mean([draw.source(rng) is sources[1] for rng in rngs(2000)])
    assert share == pytest.approx(0.75, abs=0.04)
    equal = Draw(open_sources([one, one, one], PLAIN))
    counts = [sum(equal.source(rng) is s for rng in rngs(900)) for s in equal.sources]
    assert min(counts) > 240


def test_features_that_a_sample_does_not_know_do_not_count(index: str, labels: str) -> None:
    rules = PatchRules(("g", "f"), (4, 8, 8))
    sample = TrainSample(volume=index, labels=(labels,), features=("f",))
    _, got = open_sources([sample], rules)[0].draw(np.random.default_rng(1))
    assert (got[0] == 2).all()
    assert set(np.unique(got[1])) <= {0, 1}
    with pytest.raises(InputError, match="'h' is not one of the features g, f"):
        open_sources([sample.with_(features=("h",))], rules)
    with pytest.raises(InputError, match="truth of 1 for 2 features"):
        open_sources([sample.with_(features=())], rules)


def test_only_annotated_slices_count(index: str, labels: str) -> None:
    sample = TrainSample(volume=index, labels=(labels,), slices=(3, 7))
    source = Patches(sample, PLAIN)
    for rng in rngs(20):
        image, got = source.draw(rng)
        zs = [place(v)[0] for v in image[:, 0, 0]]
        assert [bool((got[0, k] != 2).all()) for k in range(4)] == [z in (3, 7) for z in zs]
        assert {3, 7} & {int(z) for z in zs}  # no draw is wasted on what nobody annotated
    with pytest.raises(InputError, match="slice 99"):
        Patches(sample.with_(slices=(99,)), PLAIN)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32))
def test_the_cache_changes_nothing(tmp_path_factory: Any, seed: int) -> None:
    folder = tmp_path_factory.mktemp("cache")
    rng = np.random.default_rng(seed)
    image = stored(folder, rng.normal(size=(16, 24, 24)).astype(np.float32), (4, 8, 8)).url
    truth = stored(folder, rng.integers(0, 3, (16, 24, 24)).astype(np.uint8), (4, 8, 8)).url
    sample = TrainSample(volume=image, labels=(truth,))
    plain, cached = Patches(sample, PLAIN), Patches(sample, PLAIN, cache=ChunkCache(4 * 8 * 8 * 4 * 3))
    for a, b in zip(rngs(5), rngs(5), strict=True):
        for one, two in zip(plain.draw(a), cached.draw(b), strict=True):
            np.testing.assert_array_equal(one, two)


def test_the_data_is_never_in_memory_whole(tmp_path: Path) -> None:
    shape = (96, 256, 512)
    grey = np.zeros(shape, np.float32)
    grey[-1, -1, -1] = 1  # the search for contrast reads all of it, too
    image = stored(tmp_path, grey, (32, 64, 64))  # 50 MB, empty chunks take no disk
    del grey
    truth = np.zeros(shape, np.uint8)
    truth[::9, ::31, ::31] = 1
    labels = stored(tmp_path, truth, (32, 64, 64))
    del truth
    rules = PatchRules(("f",), (32, 32, 32))
    tracemalloc.start()
    try:
        sources = open_sources([TrainSample(volume=image.url, labels=(labels.url,))], rules, cache=4_000_000)
        for rng in rngs(40):
            Draw(sources)(rng)
        for _ in validation_of(sources):
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 36e6  # slabs of 16 slices for statistics and positions are 8 MB, twice; the volume has 50 MB


# -- boxes in slices -----------------------------------------------------------------------------------------


BOXES = PatchRules(("f",), (1, 16, 16), normalisation="none", validation_share=0.3)


def box_sample(tmp_path: Path, index: str, centres: list[list[int]], **changes: Any) -> TrainSample:
    truth = np.zeros(SHAPE, np.int8)
    truth[3, 16:20, 14:18] = truth[3, 20, 80:84] = 1
    path = write(tmp_path / "truth.mrc", truth)
    write_picks(tmp_path / "boxes.csv", Picks(np.array(centres, float), voxel_size=(10, 10, 10), shape=SHAPE))
    values = {"labels": (path,), "boxes": str(tmp_path / "boxes.csv"), "box_vox": 16, **changes}
    return TrainSample(volume=index, **values)


CENTRES = [[3, 18, 16], [3, 20, 40], [3, 20, 82], [3, 20, 66]]  # with, without, held out, on the border between both


def test_boxes_are_sorted_by_what_they_hold_and_where_they_lie(tmp_path: Path, index: str) -> None:
    source = BoxPatches(box_sample(tmp_path, index, CENTRES), BOXES)
    assert source.with_feature == [(3, 10, 8)]
    assert source.without == [(3, 12, 32)]
    assert source.held_out_boxes == [(3, 12, 74)]
    assert source.positives == (1,)
    (image, got), *more = source.validation()
    assert not more
    assert place(image[0, 0, 0]) == (3, 12, 74)
    np.testing.assert_array_equal(np.argwhere(got[0, 0] == 1), [[8, 6], [8, 7], [8, 8], [8, 9]])


def test_positives_are_turned_negatives_are_not_and_both_in_proportion(tmp_path: Path, index: str) -> None:
    source = BoxPatches(box_sample(tmp_path, index, CENTRES), BOXES)
    upright = source._patch((3, 12, 32), 0.0, (0, 0), source.training[0])[0]
    first = source._patch((3, 10, 8), 0.0, (0, 0), source.training[0])[0]
    negatives = right = others = corners = 0
    for rng in rngs(1500):
        image, got = source.draw(rng)
        assert image.shape == (1, 16, 16)
        if np.array_equal(image, upright):
            negatives += 1
            assert not (got == 1).any()
        elif any(np.array_equal(image, np.rot90(first, k, (1, 2))) for k in range(4)):
            right += 1
            assert (got == 1).sum() == 16
        else:
            others += 1
            assert 9 <= (got == 1).sum() <= 25
            corners += bool((got == 2).any())  # they lie outside of the box
    assert corners > 0.8 * others
    assert negatives / 1500 == pytest.approx(1.3 / 2.3, abs=0.04)
    assert right / (right + others) == pytest.approx(0.4, abs=0.06)


def test_nothing_of_the_held_out_part_is_seen_in_training(tmp_path: Path, index: str) -> None:
    sample = box_sample(tmp_path, index, [[3, 20, 58], [3, 18, 16]])
    rules = PatchRules(("f",), (1, 16, 16), context=3, normalisation="none", validation_share=0.3)
    source = BoxPatches(sample, rules)
    (training,) = source.training
    last = training.stop[2]
    columns = np.broadcast_to(np.arange(SHAPE[2], dtype=np.float32), SHAPE)
    path = write(tmp_path / "columns.mrc", np.ascontiguousarray(columns))
    source = BoxPatches(sample.with_(volume=path), rules)
    for angle in (0.0, 37.0, 45.0, 90.0, 211.0):
        image, _ = source._patch((3, 12, last - 16), angle, (0, 0), training)
        assert image.max() <= last - 1


def test_boxes_that_are_larger_or_smaller_than_the_patch(tmp_path: Path, index: str) -> None:
    large = BoxPatches(box_sample(tmp_path, index, [[3, 20, 30]], box_vox=24, copies=1), BOXES)
    starts = {place(large.draw(rng)[0][0, 0, 0]) for rng in rngs(400)}
    assert {y for _, y, _ in starts} == set(range(8, 17))
    assert {x for _, _, x in starts} == set(range(18, 27))
    small = BoxPatches(box_sample(tmp_path, index, [[3, 20, 30]], box_vox=8, copies=1), BOXES)
    image, got = small.draw(np.random.default_rng(0))
    assert place(image[0, 0, 0]) == (3, 12, 22)
    assert (got[0, 0] != 2).sum() == 64
    assert (got[0, 0, 4:12, 4:12] != 2).all()


def test_boxes_side_by_side_in_the_slices_that_are_marked(tmp_path: Path, index: str) -> None:
    sample = box_sample(tmp_path, index, CENTRES, boxes="auto")
    source = BoxPatches(sample, BOXES)
    (training,) = source.training
    assert {z for z, _, _ in source.training_boxes + source.held_out_boxes} == {3}
    covered = np.zeros(SHAPE[1:], bool)
    for _, y, x in source.training_boxes:
        covered[y : y + 16, x : x + 16] = True
    own = slice(training.start[2], training.stop[2])  # the slabs for validation lie at both ends
    assert covered[:, own].all()
    covered[:, own] = False
    assert not covered.any()
    explicit = BoxPatches(sample.with_(slices=(1, 5)), BOXES)
    assert {z for z, _, _ in explicit.training_boxes} == {1, 5}
    assert explicit.positives == (0,)


def test_boxes_that_do_not_fit_are_refused(tmp_path: Path, index: str) -> None:
    with pytest.raises(InputError, match="slice 5, which is not annotated"):
        BoxPatches(box_sample(tmp_path, index, [[5, 20, 20]], slices=(3,)), BOXES)
    with pytest.raises(InputError, match="must be square"):
        BoxPatches(box_sample(tmp_path, index, CENTRES), PatchRules(("f",), (1, 16, 24)))
    with pytest.raises(InputError, match="none of the 1 boxes"):
        BoxPatches(box_sample(tmp_path, index, [[3, 20, 90]]), BOXES)
    with pytest.raises(InputError, match="do not fit"):
        BoxPatches(box_sample(tmp_path, index, CENTRES, box_vox=50), BOXES)


@settings(max_examples=25)
@given(angle=st.floats(-360, 360, allow_subnormal=False), seed=st.integers(0, 99))
def test_turning_moves_labels_with_the_image(angle: float, seed: int) -> None:
    y, x = np.random.default_rng(seed).integers(-6, 7, 2)
    image = np.zeros((1, 41, 41), np.float32)
    image[0, 20 + y, 20 + x] = 1
    blurred = gaussian_filter(image, (0, 1.5, 1.5))
    labels = (blurred > 0.3 * blurred.max()).astype(np.uint8)
    grey, mask = turn(blurred, angle, (21, 21), 1)[0], turn(labels, angle, (21, 21), 0)[0]
    t = np.radians(angle)
    want = (10 + y * np.cos(t) - x * np.sin(t), 10 + y * np.sin(t) + x * np.cos(t))  # counter-clockwise, y down
    middle = np.array(np.nonzero(mask == 1)).mean(1)
    np.testing.assert_allclose(middle, want, atol=0.5)
    np.testing.assert_allclose(np.unravel_index(grey.argmax(), grey.shape), want, atol=1.0)


def test_a_turn_by_a_right_angle_is_rot90() -> None:
    values = np.random.default_rng(0).normal(size=(2, 9, 9)).astype(np.float32)
    for k in range(4):
        np.testing.assert_allclose(turn(values, 90.0 * k, (9, 9), 1), np.rot90(values, k, (1, 2)), atol=1e-5)


# -- training sets -------------------------------------------------------------------------------------------


def boxes_of(count: int, depth: int, side: int, tomograms: int = 1) -> list[ScntSample]:
    rng = np.random.default_rng(0)
    made = []
    for k in range(count):
        truth = np.zeros((side, side), np.uint8)
        truth[side // 2, side // 2] = k % 2
        image = rng.normal(k % tomograms * 100, 1 + k % tomograms, (depth, side, side)).astype(np.float32)
        made.append(ScntSample(image, truth, f"TS_{k % tomograms}.mrc", "ribosome", (k, 0, 0)))
    return made


def test_scnt_samples_are_cut_and_filled(tmp_path: Path) -> None:
    path = str(tmp_path / "set.scnt")
    write_scnt(path, boxes_of(6, 5, 20), 10.0)
    sample = TrainSample(volume=path, use="train")
    for patch, context in (((1, 16, 16), 1), ((1, 32, 32), 5), ((4, 20, 20), 1), ((8, 24, 16), 1)):
        source = open_sources([sample], PatchRules(("ribosome",), patch, context, validation_share=0))[0]
        for rng in rngs(25):
            image, got = source.draw(rng)
            assert image.shape == (patch[0] + context - 1, *patch[1:])
            assert got.shape == (1, *patch)
            assert (got != 2).any()  # the annotated slice is always in it
            assert (got != 2).sum() == min(20, patch[1]) * min(20, patch[2])
            if patch[1] > 20:
                assert (image[:, 0] == 0).all()
                assert (got[:, :, 0] == 2).all()
    assert source.positives == (3,)
    assert source.voxel_size == (10.0, 10.0, 10.0)


def test_a_set_without_contrast_is_refused_and_a_constant_box_is_not(tmp_path: Path) -> None:
    path = str(tmp_path / "set.scnt")
    boxes = boxes_of(4, 5, 20)
    rules = PatchRules(("ribosome",), (1, 16, 16), validation_share=0)
    flat = [replace(box, image=np.full_like(box.image, 7)) for box in boxes]
    write_scnt(path, [*flat[:2], *boxes[2:]], 10.0)
    assert open_sources([TrainSample(volume=path)], rules)[0].weight
    write_scnt(path, flat, 10.0)
    with pytest.raises(InputError, match=r"set\.scnt: all 8000 voxels are 7, .*nothing to learn from"):
        open_sources([TrainSample(volume=path)], rules)


def test_positive_share_of_a_set(tmp_path: Path) -> None:
    path = str(tmp_path / "set.scnt")
    write_scnt(path, boxes_of(40, 1, 16)[:21], 10.0)
    rules = PatchRules(("f",), (1, 8, 8), validation_share=0, positive_share=1.0)
    source = open_sources([TrainSample(volume=path)], rules)[0]
    assert all((source.draw(rng)[1] == 1).sum() == 1 for rng in rngs(30))


def test_sets_keep_tomograms_apart_and_are_normalised_by_them(tmp_path: Path) -> None:
    path = str(tmp_path / "set.scnt")
    write_scnt(path, boxes_of(12, 1, 16, tomograms=3), 10.0)
    rules = PatchRules(("f",), (1, 16, 16), validation_share=0.3)
    source: Any = open_sources([TrainSample(volume=path)], rules)[0]
    names = source.stored.tomograms
    assert len(source.held_out) == 4
    assert len({names[n] for n in source.held_out}) == 1
    assert not {names[n] for n in source.held_out} & {names[n] for n in source.training}
    drawn = np.concatenate([source.draw(rng)[0].ravel() for rng in rngs(40)])
    assert abs(drawn.mean()) < 0.1
    assert drawn.std() == pytest.approx(1, abs=0.1)
    together = PatchRules(("f",), (1, 16, 16), validation="tomogram", validation_share=0.3)
    again: Any = open_sources([TrainSample(volume=path)], together)[0]
    assert len(again.held_out) == 4


def test_sets_that_cannot_be_used_as_asked_are_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "set.scnt")
    write_scnt(path, boxes_of(4, 1, 16), 10.0)
    one = TrainSample(volume=path)
    rules = PatchRules(("f",), (1, 16, 16))
    for sample, changes, message in (
        (one, {}, "no part that could be kept for validation"),
        (one, {"context": 3, "validation_share": 0.0}, "too thin for 3 slices"),
        (one, {"normalisation": "per_slice", "validation_share": 0.0}, "per_slice"),
        (one, {"normalisation": "global_mad", "validation_share": 0.0}, "global_mad"),
        (one, {"features": ("a", "b"), "validation_share": 0.0}, "labels are of 'ribosome', which is none of a, b"),
        (one.with_(features=("c",)), {"validation_share": 0.0}, "'c' is not one of"),
    ):
        with pytest.raises(InputError, match=message):
            open_sources([sample], PatchRules(**{**rules.__dict__, **changes}))
    for changes in ({"boxes": "auto"}, {"labels": (), "volume": "a.mrc"}, {"weight": 0.0}, {"slices": (1,)}):
        with pytest.raises(InputError):
            one.with_(**changes)


def test_names_of_features_find_their_row(tmp_path: Path) -> None:
    path = str(tmp_path / "set.scnt")
    write_scnt(path, boxes_of(4, 1, 16), 10.0)
    rules = PatchRules(("membrane", "Ribosome"), (1, 16, 16), validation_share=0)
    source = open_sources([TrainSample(volume=path)], rules)[0]
    assert source.positives == (0, 2)
    _, got = source.draw(np.random.default_rng(0))
    assert (got[0] == 2).all()
    assert (got[1] != 2).all()


def test_folders_of_nifti_files_are_sources(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel", reason="nibabel is not installed")
    rng = np.random.default_rng(0)
    for part, name in (("Tr", "ds1_a"), ("Tr", "ds1_b"), ("Tr", "ds2_c"), ("Val", "ds1_d")):
        image = rng.normal(50, 9, (10, 12, 14)).astype(np.float32)
        truth = rng.integers(0, 3, image.shape).astype(np.uint8)
        for kind, array, end in (("images", image, "_0000"), ("labels", truth, "")):
            (tmp_path / f"{kind}{part}").mkdir(exist_ok=True)
            nibabel.save(nibabel.Nifti1Image(array.T, np.eye(4)), tmp_path / f"{kind}{part}" / f"{name}{end}.nii.gz")
    sample = TrainSample(volume=str(tmp_path), voxel_size=10.0, weight=3.0)
    sources = open_sources([sample], PatchRules(("membrane",), (16, 8, 8)))
    assert [(s.token, s.weight, len(s.validation())) for s in sources] == [("ds1", 2.25, 1), ("ds2", 0.75, 0)]
    for rng_ in rngs(10):
        image, got = sources[0].draw(rng_)
        assert image.shape == (16, 8, 8)
        assert (image[:3] == 0).all()
        assert (got[:, :3] == 2).all()
        assert np.abs(image[3:13].mean()) < 0.5
    with pytest.raises(InputError, match="voxel_size"):
        open_sources([sample.with_(voxel_size=None)], PLAIN)


def test_labels_of_the_middle_slices() -> None:
    one = np.ones((1, 2, 2), np.uint8)
    assert [int(v) for v in whole_depth(one, 5)[:, 0, 0]] == [2, 2, 1, 2, 2]
    assert [int(v) for v in whole_depth(one, 4)[:, 0, 0]] == [2, 2, 1, 2]
    assert [int(v) for v in whole_depth(np.ones((3, 2, 2), np.uint8), 5)[:, 0, 0]] == [2, 1, 1, 1, 2]


def test_sources_of_several_kinds_are_mixed(tmp_path: Path, index: str, labels: str) -> None:
    path = str(tmp_path / "set.scnt")
    write_scnt(path, boxes_of(12, 1, 20, tomograms=3), 10.0)
    rules = PatchRules(("f",), (1, 16, 16))
    samples = [
        TrainSample(volume=index, labels=(labels,), token="real"),
        box_sample(tmp_path, index, CENTRES),
        TrainSample(volume=path, weight=2.0),
    ]
    sources = open_sources(samples, rules)
    assert [s.token for s in sources] == ["real", "index", "set"]
    held = validation_of(sources)
    assert len(held) == sum(len(s.validation()) for s in sources)
    assert all(image.shape == (1, 16, 16) and got.shape == (1, 1, 16, 16) for image, got, _ in held)
    assert {token for *_, token in held} == {"real", "index", "set"}  # each slab lies where a box with the feature is
    assert len(held[:3]) == 3
    drawn = [Draw(sources)(rng) for rng in rngs(30)]
    assert all(image.shape == (1, 16, 16) for image, *_ in drawn)
    assert {token for *_, token in drawn} == {"real", "index", "set"}
