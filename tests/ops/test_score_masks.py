"""Scores of masks as sums of whole numbers, against the formulas voxel by voxel."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.errors import InputError
from volengine.ops.score import dice
from volengine.ops.score_masks import (
    UNIT,
    confusion,
    count,
    count_skeletons,
    labels_of,
    labels_of_ids,
    mask_of,
    probabilities,
    scores,
)


def drawn(seed: int, integers: bool) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, (3, 5, 7)).astype(np.uint8)
    if integers:
        return rng.integers(0, 256, labels.shape).astype(np.uint8), labels
    return rng.choice([0, 1, 0.25, 0.5, 0.75, rng.random()], labels.shape).astype(np.float32), labels


@settings(max_examples=60)
@given(seed=st.integers(0, 2**32), integers=st.booleans(), threshold=st.sampled_from([0.0, 0.3, 0.5, 0.8]))
def test_scores_follow_their_formulas(seed: int, integers: bool, threshold: float) -> None:
    values, labels = drawn(seed, integers)
    got = scores(count(values, labels, threshold))
    share = values / 255 if integers else values.astype(float)
    sure = 0.5 / 255 if integers else 1e-7
    both = found = truth = 0
    losses = []
    for p, label in zip(share.ravel(), labels.ravel(), strict=True):
        if label == 2:
            continue
        both += p > threshold and label == 1
        found += p > threshold
        truth += label == 1
        p = min(max(p, sure), 1 - sure)
        losses.append(-math.log(p if label == 1 else 1 - p))
    assert got["dice"] == (2 * both / (found + truth) if found + truth else 1)
    assert got["dice"] == dice(share > threshold, labels == 1, labels == 2)
    assert (math.isnan(got["precision"]) and not found) or got["precision"] == both / found
    assert (math.isnan(got["recall"]) and not truth) or got["recall"] == both / truth
    assert got["bce"] == pytest.approx(np.mean(losses), abs=2 / UNIT, rel=1e-6)


@settings(max_examples=30)
@given(seed=st.integers(0, 2**32), integers=st.booleans(), at=st.integers(1, 6))
def test_sums_of_parts_are_the_sums_of_the_whole(seed: int, integers: bool, at: int) -> None:
    values, labels = drawn(seed, integers)
    whole = count(values, labels, 0.5)
    parts = [count(values[..., s], labels[..., s], 0.5) for s in (slice(0, at), slice(at, None))]
    assert whole == {k: parts[0][k] + parts[1][k] for k in whole}


def test_what_cannot_be_said_is_nan() -> None:
    empty = np.zeros((2, 2, 2), np.uint8)
    got = scores(count(empty, empty, 0.5))
    assert got["dice"] == 1
    assert math.isnan(got["precision"])
    assert math.isnan(got["recall"])
    nothing = scores(count(empty, empty + 2, 0.5))
    assert all(math.isnan(v) for v in nothing.values())
    assert math.isnan(scores(count(empty, empty, None), entropy=False)["bce"])


def test_surface_dice_by_hand() -> None:
    line = np.zeros((1, 1, 10), bool)
    found, skeleton, truth, ours = (line.copy() for _ in range(4))
    found[..., 0:6] = skeleton[..., 1:5] = True
    truth[..., 2:8] = ours[..., 3:7] = True
    labels = truth.astype(np.uint8)
    labels[..., 4] = 2
    counts = count(found, labels, None) | count_skeletons(found, skeleton, labels, ours)
    got = scores(counts)
    assert got["surface_precision"] == pytest.approx(2 / 3, abs=1e-5)  # 1, 2, 3 count; 2 and 3 are true
    assert got["surface_recall"] == pytest.approx(2 / 3, abs=1e-5)  # 3, 5, 6 count; 3 and 5 are found
    assert got["surface_dice"] == pytest.approx(2 / 3, abs=1e-5)


@settings(max_examples=40)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 3))
def test_confusion_voxel_by_voxel(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    shape = (2, 3, 4)
    values = [rng.integers(0, 256, shape).astype(np.uint8) for _ in range(n)]
    labels = [rng.choice([0, 0, 1, 2], shape).astype(np.uint8) for _ in range(n)]
    want = np.zeros((n + 1, n + 1), int)
    for at in np.ndindex(shape):
        if any(t[at] == 2 for t in labels):
            continue
        strong = [int(v[at]) if v[at] > 127 else 0 for v in values]
        row = 1 + int(np.argmax(strong)) if any(strong) else 0
        column = next((k for k, t in enumerate(labels, 1) if t[at] == 1), 0)
        want[row, column] += 1
    np.testing.assert_array_equal(confusion(values, labels, [0.5] * n), want)


def test_a_mask_beats_nothing_and_ties_go_to_the_first() -> None:
    ones, truth = np.ones((1, 1, 2), bool), np.zeros((1, 1, 2), np.uint8)
    assert confusion([ones, ones], [truth, truth], [None, None]).tolist() == [[0, 0, 0], [2, 0, 0], [0, 0, 0]]


def test_thresholds_of_integers_mean_the_step_they_name() -> None:
    values = np.array([127, 128], np.uint8)
    assert mask_of(values, 127 / 255).tolist() == [False, True]
    assert mask_of(values, 0.5).tolist() == [False, True]
    assert mask_of(values, None).tolist() == [True, True]


def test_classes_of_one_volume_are_told_apart_by_their_ids() -> None:
    values = np.array([[[0, 3, 7, 9]]])
    three, seven = labels_of_ids(values, (3, 7), 9)
    assert three.ravel().tolist() == [0, 1, 0, 2]
    assert seven.ravel().tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_probabilities_may_be_rounded_a_little_beyond_0_and_1(dtype: type) -> None:
    labels = np.array([[[0, 1, 0, 1]]], np.uint8)
    exact = np.array([[[0, 1, 0.25, 0.75]]], dtype)
    rounded = np.array([[[-1e-9, 1.0000001, 0.25, 0.75]]], dtype)
    assert count(rounded, labels, 0.5) == count(exact, labels, 0.5)
    with pytest.raises(InputError, match=r"from -0\.01 to 1"):
        count(np.array([[[-0.01, 1, 0, 1]]], np.float64), labels, 0.5)


def test_wrong_values_are_refused() -> None:
    labels = np.zeros((1, 1, 2), np.uint8)
    with pytest.raises(InputError, match=r"truth\.mrc.* holds 7.*ids"):
        labels_of(np.array([[[0, 7]]]), "truth.mrc")
    with pytest.raises(InputError, match=r"p\.mrc: holds values from -1 to 2"):
        count(np.array([[[-1.0, 2.0]]]), labels, 0.5, "p.mrc")
    with pytest.raises(InputError, match="nan"):
        probabilities(np.array([0.5, np.nan]), "p")
    with pytest.raises(InputError, match="0 to 300"):
        probabilities(np.array([0, 300], np.uint16), "p")
    with pytest.raises(InputError, match="shape"):
        count(np.zeros((1, 1, 3)), labels, 0.5)
