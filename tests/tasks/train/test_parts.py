"""The slab for validation lies where the features are; nothing of it is seen in training; each feature is drawn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.boxes import Box, index3
from volengine.core.picks import Picks
from volengine.core.volume import Volume
from volengine.io.mrc.write import write_mrc
from volengine.io.picks import write_picks
from volengine.tasks.train.parts import FAIR, Marks, split
from volengine.tasks.train.samples import PatchRules, TrainSample
from volengine.tasks.train.sources import open_sources
from volengine.tasks.train.volumes import Patches


def volume_of(shape: tuple[int, int, int]) -> Volume:
    return Volume(url="x.mrc", shape=shape, dtype="float32", voxel_size=(10.0, 10.0, 10.0))


def write(path: Path, array: np.ndarray) -> str:
    write_mrc(path, [array], array.shape, str(array.dtype), (10.0, 10.0, 10.0))
    return str(path)


def marks_of(*masks: np.ndarray) -> list[Marks]:
    return [Marks.voxels(np.argwhere(mask)) for mask in masks]


def slab(held: Box) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return held.start, held.stop


RULES = PatchRules(("a",), (16, 16, 16), validation="slab")
ENDS = PatchRules(("a",), (16, 16, 16))


def test_the_end_of_the_longest_axis_is_taken_if_it_is_fair() -> None:
    mask = np.zeros((48, 96, 48), bool)
    mask[::7, ::7, ::7] = True
    parts = split(Box.of_shape(mask.shape), RULES, volume_of(mask.shape), "both", lambda: marks_of(mask))
    assert [slab(box) for box in parts.held_out] == [((0, 80, 0), (48, 96, 48))]
    assert [slab(box) for box in parts.training] == [((0, 0, 0), (48, 80, 48))]


@pytest.mark.parametrize(
    ("length", "share", "held"),
    [
        (96, 0.15, [(0, 16), (80, 96)]),  # two patches are a third of the axis
        (94, 0.15, [(78, 94)]),  # and here they are more
        (70, 0.5, [(0, 18), (52, 70)]),  # unless as much is asked for
        (300, 0.15, [(0, 23), (277, 300)]),  # half of the share each: 22.5
        (300, 0.0, []),
    ],
)
def test_slabs_at_both_ends_leave_most_for_training(length: int, share: float, held: list[tuple[int, int]]) -> None:
    region = Box((3, 5, 0), (43, 5 + length, 40))
    mask = np.zeros((43, 5 + length, 40), bool)
    mask[::7, ::7, ::7] = True
    rules = replace(ENDS, validation_share=share)
    parts = split(region, rules, volume_of(mask.shape), "both", lambda: marks_of(mask))
    assert [slab(box) for box in parts.held_out] == [((3, 5 + a, 0), (43, 5 + b, 40)) for a, b in held]
    low, high = (held[0][1] if len(held) == 2 else 0), (held[-1][0] if held else length)
    assert [slab(box) for box in parts.training] == [((3, 5 + low, 0), (43, 5 + high, 40))]


def test_it_is_said_where_the_part_for_validation_lies() -> None:
    region, volume = Box.of_shape((40, 300, 40)), volume_of((40, 300, 40))
    assert split(region, ENDS, volume, "both").place(region) == "y 0 to 22 and 277 to 299 (15 % of the region)"
    assert split(region, RULES, volume, "both").place(region) == "y 255 to 299 (15 % of the region)"
    assert split(region, ENDS, volume, "train").place(region) == ""


def test_slabs_at_both_ends_keep_context_slices_apart() -> None:
    """Along z: a 2.5D network sees two slices beyond its own on either side."""
    rules = PatchRules(("a",), (1, 8, 8), context=5)
    parts = split(Box.of_shape((200, 20, 20)), rules, volume_of((200, 20, 20)), "both")
    assert [(box.start[0], box.stop[0]) for box in parts.held_out] == [(0, 13), (187, 200)]
    assert [(box.start[0], box.stop[0]) for box in parts.training] == [(17, 183)]


def test_a_feature_that_lies_in_the_middle_only_gets_one_slab_there() -> None:
    mask = np.zeros((40, 200, 40), bool)
    mask[10:30, 90:130, 10:30] = True
    parts = split(Box.of_shape(mask.shape), ENDS, volume_of(mask.shape), "both", lambda: marks_of(mask))
    assert parts.worth(marks_of(mask), Box.of_shape(mask.shape))[0] >= FAIR
    assert len(parts.held_out) == 1


@pytest.mark.parametrize("where", ["start of y", "start of x", "middle"])
def test_another_place_is_taken_if_it_is_not(where: str) -> None:
    mask = np.zeros((64, 96, 64), bool)
    if where == "start of y":
        mask[5:60:9, 6:60:3, 5:60:9] = True
    elif where == "start of x":
        mask[5:60:9, 6:60:3, 5:20:9] = True
    else:
        mask[20:44, 36:60, 20:44] = True
    parts = split(Box.of_shape(mask.shape), RULES, volume_of(mask.shape), "both", lambda: marks_of(mask))
    held = mask.copy()
    (one,) = parts.held_out
    inside = mask[one.slices].sum()
    trained = sum(mask[box.slices].sum() for box in parts.training)
    share = one.size / held.size
    assert inside / mask.sum() >= FAIR * share
    assert trained / mask.sum() >= FAIR * (1 - share)


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(*[st.integers(20, 60)] * 3),
    st.sampled_from([((8, 8, 8), 1), ((1, 8, 8), 3), ((1, 8, 8), 4)]),
    st.floats(0.05, 0.4),
    st.sampled_from(["ends", "slab"]),
    st.data(),
)
def test_parts_do_not_touch_and_the_choice_is_the_best(shape, patch, share, kind, data) -> None:  # type: ignore[no-untyped-def]
    """No place of the slab that is compared is fairer than the one that is taken, unless the usual one is fair."""
    rules = PatchRules(("a", "b"), patch[0], context=patch[1], validation_share=share, validation=kind)
    low = [data.draw(st.integers(0, n // 4)) for n in shape]
    region = Box(index3(low), shape)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    masks = []
    for _ in range(2):  # features in a part of the volume, or nowhere
        first = [int(rng.integers(0, n)) for n in shape]
        mask = np.zeros(shape, bool)
        mask[tuple(slice(a, a + int(rng.integers(2, 30))) for a in first)] = True
        masks.append(mask & (rng.random(shape) < 0.1))
    marks = [Marks.voxels(np.argwhere(m[region.slices]) + region.start) for m in masks]
    parts = split(region, rules, volume_of(shape), "both", lambda: marks)
    again = split(region, rules, volume_of(shape), "both", lambda: marks)
    assert parts == again
    assert parts.held_out
    count = np.zeros(shape, int)
    below, above = patch[1] // 2, patch[1] - 1 - patch[1] // 2
    for box in (*parts.training, *parts.held_out):
        assert region.contains(box)
        assert all(n >= p for n, p in zip(box.shape, rules.patch, strict=True))
        count[box.grow((below, 0, 0), (above, 0, 0)).clip(shape).slices] += 1
    assert count.max() == 1
    usual = split(region, rules, volume_of(shape), "both")
    assert parts == usual or parts.worth(marks, region) > usual.worth(marks, region)
    assert parts == usual or usual.worth(marks, region)[0] < FAIR


def test_a_slab_in_the_middle_leaves_two_parts_that_are_both_drawn_from(tmp_path: Path) -> None:
    """A voxel tells its place; so one sees what is read, and from where."""
    shape = (20, 96, 20)
    truth = np.zeros(shape, np.int8)
    truth[8:12, 40:56, 8:12] = 1
    index = np.broadcast_to(np.arange(96, dtype=np.float32)[:, None], shape)
    volume = write(tmp_path / "v.mrc", np.ascontiguousarray(index))
    labels = write(tmp_path / "l.mrc", truth)
    rules = PatchRules(("a",), (16, 16, 16), normalisation="none", positive_share=0.5, validation_share=0.1)
    patches = Patches(TrainSample(volume=volume, labels=(labels,)), rules)
    assert len(patches.training) == 2
    (one,) = patches.held_out
    held = set(range(one.start[1], one.stop[1]))
    seen: set[int] = set()
    positive = 0
    for k in range(300):
        image, got = patches.draw(np.random.default_rng(k))
        seen |= set(image.astype(int).ravel().tolist())
        positive += bool((got == 1).any())
    assert not seen & held
    assert min(seen) == 0
    assert max(seen) == 95
    assert positive >= 140
    assert any((got == 1).any() for _, got in patches.validation())


@pytest.mark.parametrize("kind", ["labels", "points", "boxes", "targets"])
def test_training_never_sees_the_slabs_at_both_ends(tmp_path: Path, kind: str) -> None:
    """A voxel tells its place. Patches for validation lie in both slabs, and hold no voxel of training patches."""
    shape = (24, 120, 24)
    truth = np.zeros(shape, np.int8)
    truth[8:16, 4:116:12, 8:16] = 1
    volume = write(tmp_path / "v.mrc", np.arange(truth.size, dtype=np.float32).reshape(shape))
    given: dict[str, Any] = {"labels": (write(tmp_path / "l.mrc", truth),)}
    patch = (8, 8, 8)
    if kind == "points":
        picks = Picks([[12, y, 12] for y in range(4, 120, 8)], voxel_size=(10, 10, 10), shape=shape)
        write_picks(tmp_path / "p.csv", picks)
        given = {"points": (str(tmp_path / "p.csv"),), "radius_nm": (3.0,)}
    elif kind == "targets":
        given = {"targets": (volume,)}
    elif kind == "boxes":
        given |= {"slices": (10, 12), "boxes": "auto", "box_vox": 8, "copies": 4}
        patch = (1, 8, 8)
    rules = PatchRules(("a",), patch, context=3 if kind == "boxes" else 1, normalisation="none")
    (source,) = open_sources([TrainSample(volume, **given)], rules)
    ys = [(box.start[1], box.stop[1]) for box in source.held_out]  # type: ignore[attr-defined]
    assert ys == [(0, 9), (111, 120)]

    def places(image: np.ndarray) -> set[int]:
        return set(np.unravel_index(image.astype(int).ravel(), shape)[1].tolist())

    trained = set().union(*(places(source.draw(np.random.default_rng(k))[0]) for k in range(200)))
    held = [places(image) for image, _ in source.validation()]
    assert min(trained) >= 9
    assert max(trained) < 111
    for low, high in ys:
        assert any(low <= min(one) and max(one) < high for one in held)
    assert not trained & set().union(*held)
    if kind != "targets":
        assert any((labels == 1).any() for _, labels in source.validation())


def test_of_many_patches_some_with_the_feature_are_among_those_for_validation(tmp_path: Path) -> None:
    shape = (200, 32, 32)
    truth = np.zeros(shape, np.int8)
    truth[:150:10, 4, 4] = 1
    truth[173, 20, 20] = 1  # one voxel of 40 x 16 patches of one slice
    volume, labels = write(tmp_path / "v.mrc", truth.astype(np.float32)), write(tmp_path / "l.mrc", truth)
    for use in ("validate", "both"):
        rules = PatchRules(("a",), (1, 8, 8), validation_share=0.2)
        source = Patches(TrainSample(volume=volume, labels=(labels,), use=use), rules, use)  # type: ignore[arg-type]
        held = source.validation()
        assert len(held) < 200
        assert any((got == 1).any() for _, got in held)


@pytest.mark.parametrize("names", [("r",), ("m", "r"), ("m", "r", "a", "t")])
@pytest.mark.parametrize("share", [0.3, 1.0])
def test_the_share_of_positive_patches_holds_for_samples_that_know_some_features(
    tmp_path: Path, names: tuple[str, ...], share: float
) -> None:
    truth = np.zeros((24, 48, 24), np.int8)
    truth[3:9, 5:9, 4] = truth[12, 40, 12] = truth[3, 42, 3] = 1
    volume, labels = write(tmp_path / "v.mrc", truth.astype(np.float32)), write(tmp_path / "l.mrc", truth)
    sample = TrainSample(volume, labels=(labels,), features=("r",))
    rules = PatchRules(names, (2, 2, 2), positive_share=share)
    (source,) = open_sources([sample], rules)
    found = np.mean([(source.draw(np.random.default_rng(k))[1] == 1).any() for k in range(400)])
    assert found == pytest.approx(share, abs=0.07 if share < 1 else 0)
