"""The slices that a training shows hold the features, and are spread over features and data sets."""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from volengine.nets.training.fit.cuts import MOST, Cut, Holding, choose, evenly, holding, holdings
from volengine.nets.training.fit.pictures import Pictures


def test_the_slice_with_the_feature_and_its_border_is_the_best() -> None:
    labels = np.zeros((2, 4, 3, 4), np.uint8)
    labels[0, 0, 0, 0] = 1  # one voxel
    labels[0, 2, :, :2] = 1  # half of the slice
    labels[0, 3] = 1  # all of it: no border
    labels[1, 1], labels[1, 3, 0] = 2, 1
    found = holding(labels, "TS_01")
    assert found.slices == (2, 3)
    assert found.truth == (1 + 6 + 12, 4)
    assert found.counted == (48, 36)
    assert (found.dataset, found.depth) == ("TS_01", 4)
    assert found.worth[0] > 0 < found.worth[1]
    full = holding(np.ones((1, 2, 3, 3), np.uint8))
    assert full.worth[0] > 0  # better than nothing
    none = holding(np.full((1, 2, 3, 3), 2, np.uint8))
    assert (none.worth, none.truth, none.counted) == ((0.0,), (0,), (0,))


NUMBERS = count()


def held(dataset: str, *truth: int, prints: tuple[int, ...] | None = None) -> Holding:
    """A patch of eight slices: feature k is best in slice 2 + k, and no two patches look the same."""
    own = prints or tuple(next(NUMBERS) for _ in truth)
    slices = tuple(2 + k for k in range(len(truth)))
    return Holding(dataset, truth, (100,) * len(truth), slices, tuple(map(float, truth)), own, 8)


def test_overlapping_patches_do_not_show_the_same_slice() -> None:
    one, other = np.zeros((2, 4, 5, 5), np.uint8), np.zeros((2, 4, 5, 5), np.uint8)
    one[0, 1, :2, :2] = other[0, 3, :2, :2] = 1
    patches = [holding(one, "a"), holding(other, "a"), holding(one, "b"), *[held("a", 0, 0)] * 9]
    cuts = choose(patches, 2)
    assert [c for c in cuts if c.number < 3] == [Cut(0, 1, "a"), Cut(2, 1, "b")]
    assert len(cuts) == MOST


def test_features_and_data_sets_take_turns() -> None:
    """Two features in three data sets of many patches; the second feature is in few of them."""
    patches = [held(name, 5 + k, 9 * (k == 3)) for name in ("a", "b", "c") for k in range(20)]
    cuts = choose(patches, 2)
    assert len(cuts) == MOST
    first = [v for v in cuts if v.z == 2]
    second = [v for v in cuts if v.z == 3]
    assert {v.dataset for v in first} == {v.dataset for v in second} == {"a", "b", "c"}
    assert {v.number for v in second} == {3, 23, 43}
    assert {v.number for v in first} == {19, 39, 59}  # those that hold most


def test_of_very_many_data_sets_those_are_shown_that_are_far_apart() -> None:
    cuts = choose([held(f"TS_{k}", 5) for k in range(300)], 1)
    assert np.diff(sorted(v.number for v in cuts)).max() < 130


def test_patches_without_a_feature_only_fill_up() -> None:
    patches = [held("", 7 * (k == 13)) for k in range(31)]
    cuts = choose(patches, 1)
    assert cuts[0] == Cut(13, 2, "")
    assert [v.z for v in cuts[1:]] == [4] * (MOST - 1)
    assert choose([], 3) == []
    assert len(choose([held("", 0)], 1)) == 1


def test_many_features_get_two_views_each() -> None:
    patches = [held("", *(int(k % 10 == f) for f in range(10))) for k in range(50)]
    cuts = choose(patches, 10)
    assert sorted(v.z for v in cuts) == sorted([*range(2, 12)] * 2)


@given(st.data())
def test_choices_are_distinct_and_prefer_the_features(data: st.DataObject) -> None:
    features = data.draw(st.integers(1, 5))
    row = st.tuples(st.sampled_from("abc"), st.lists(st.integers(0, 3), min_size=features, max_size=features))
    patches = [held(name, *truth) for name, truth in data.draw(st.lists(row, max_size=30))]
    cuts = choose(patches, features)
    assert len({*cuts}) == len(cuts)
    assert cuts == choose(patches, features)
    shown = [any(patches[v.number].truth[k] and v.z == 2 + k for k in range(features)) for v in cuts]
    possible = {(n, k) for n, one in enumerate(patches) for k in range(features) if one.truth[k]}
    most = max(MOST, 2 * features)
    assert sum(shown) >= min(len(possible), most)
    assert len(cuts) <= most
    assert shown == sorted(shown, reverse=True)  # those without come last, if there are too few others
    assert len(cuts) >= min(len(patches), MOST)
    there = {k for _, k in possible}
    assert {v.z - 2 for v, yes in zip(cuts, shown, strict=True) if yes} >= there


def test_evenly_takes_both_ends() -> None:
    assert evenly(100, 3) == [0, 49, 99]
    assert evenly(2, 6) == [0, 1]
    assert evenly(1, 1) == [0]
    assert evenly(0, 6) == []


def test_each_patch_is_read_once_and_cuts_stay() -> None:
    """A feature in one slice of one of many patches is found."""
    reads: list[int] = []

    class Some:
        def __len__(self) -> int:
            return 9

        def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray, str]:
            reads.append(number)
            labels = np.zeros((1, 6, 4, 4), np.uint8)
            labels[0, 5, 1:3, 1:3] = number == 7
            return np.zeros((6, 4, 4), np.float32), labels, f"TS_{number}"

    pictures = Pictures(Some(), ("core",), lambda sample: None)  # type: ignore[arg-type, return-value]
    assert pictures.cuts[0] == Cut(7, 5, "TS_7")
    assert pictures.cuts is pictures.cuts
    assert reads == list(range(9))
    assert pictures.held == holdings([Some()[k] for k in range(9)])


@pytest.mark.parametrize("exclusive", [False, True])
def test_a_look_is_of_one_slice_of_image_truth_and_answer(exclusive: bool) -> None:
    """Slice z of the image holds z; the second feature is in slice 3, and the network finds it in slice 3 alone."""
    image = np.repeat(np.arange(6, dtype=np.float32), 16).reshape(6, 4, 4)
    labels = np.zeros((2, 6, 4, 4), np.uint8)
    labels[1, 3, :2] = 1

    def answer(sample: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        logits = torch.full((1, 2 + exclusive, 6, 4, 4), -20.0)
        logits[:, -1, 3] = 20.0
        if exclusive:
            logits[:, 0, :3] = logits[:, 0, 4:] = 20.0
        return torch.as_tensor(sample[0])[None, None], logits, torch.as_tensor(sample[1])[None]

    pictures = Pictures([(image, labels, "TS_01")], ("shell", "core"), answer, exclusive=exclusive)
    (look,) = pictures.looks()
    assert (look.image == 3).all()
    assert look.text == "TS_01, slice 3: core"
    np.testing.assert_array_equal(look.truth, labels[:, 3])
    np.testing.assert_allclose(look.answer, np.array([0, 1])[:, None, None] * np.ones((2, 4, 4)), atol=1e-6)


@pytest.mark.parametrize("context", [1, 3, 4])
def test_of_a_context_the_predicted_slice_is_shown(context: int) -> None:
    image = np.repeat(np.arange(context, dtype=np.float32), 16).reshape(context, 4, 4)
    labels = np.zeros((1, 1, 4, 4), np.uint8)
    labels[0, 0, 1] = 1

    def answer(sample: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        return torch.as_tensor(sample[0])[None], torch.zeros(1, 1, 4, 4), torch.as_tensor(sample[1])[None, :, 0]

    (look,) = Pictures([(image, labels)], ("core",), answer).looks()
    assert (look.image == context // 2).all()
    assert look.text == "patch 1: core"
    assert look.answer.shape == look.truth.shape == (1, 4, 4)
