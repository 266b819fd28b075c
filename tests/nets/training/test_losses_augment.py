"""Losses against plain NumPy; augmentation moves the label with the image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.nets.training.augment.apply import augmented
from volengine.nets.training.augment.recipe import Augmentation
from volengine.nets.training.losses.losses import IGNORE, bce_dice, masked_bce, masked_dice


def draw_case(seed: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 3, shape), rng.integers(0, 3, shape).astype(np.uint8)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32), features=st.integers(1, 3), sides=st.lists(st.integers(1, 5), min_size=2, max_size=3)
)
def test_losses_are_these_formulas(seed: int, features: int, sides: list[int]) -> None:
    logits, labels = draw_case(seed, (2, features, *sides))
    p = 1 / (1 + np.exp(-logits))
    counted = labels != 2
    each = -np.where(labels == 1, np.log(p), np.log1p(-p))
    bce = each[counted].mean() if counted.any() else 0.0
    dice = []
    for k in range(features):
        c, q, t = counted[:, k], p[:, k], labels[:, k] == 1
        dice.append(1 - (2 * q[c & t].sum() + 1) / (q[c].sum() + t[c].sum() + 1))
    x, y = torch.tensor(logits), torch.tensor(labels)
    assert float(masked_bce(x, y)) == pytest.approx(bce, rel=1e-9, abs=1e-12)
    assert float(masked_dice(x, y)) == pytest.approx(np.mean(dice), rel=1e-9)
    assert float(bce_dice(x, y)) == pytest.approx(bce + np.mean(dice), rel=1e-9)


def test_ignored_voxels_have_no_say() -> None:
    logits, labels = draw_case(0, (2, 1, 6, 6))
    x, y = torch.tensor(logits, requires_grad=True), torch.tensor(labels)
    loss = bce_dice(x, y)
    (gradient,) = torch.autograd.grad(loss, x)
    assert (gradient[y == IGNORE] == 0).all()
    assert (gradient[y != IGNORE] != 0).all()
    other = torch.where(y == IGNORE, 50.0, x.detach())
    assert float(bce_dice(other, y)) == pytest.approx(float(loss.detach()), rel=1e-12)


def test_losses_of_nothing_and_of_everything_are_finite() -> None:
    x = torch.tensor([[[[1000.0, -1000.0]]]], requires_grad=True)
    for label in (0, 1, IGNORE):
        loss = bce_dice(x, torch.full((1, 1, 1, 2), label))
        (gradient,) = torch.autograd.grad(loss, x)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32), shape=st.sampled_from([(6, 6, 6), (4, 6, 6), (3, 4, 8), (1, 5, 5)]))
def test_the_label_moves_with_the_image(seed: int, shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(1).permutation(np.prod(shape)).reshape(shape).astype(np.float32)
    labels = np.stack([image % 3, image % 2]).astype(np.uint8)
    moved, moved_labels = augmented(Augmentation(), image, labels, np.random.default_rng(seed))
    assert moved.shape == shape
    assert moved.dtype == np.float32
    np.testing.assert_array_equal(np.sort(moved, axis=None), np.sort(image, axis=None))
    np.testing.assert_array_equal(moved_labels, np.stack([moved % 3, moved % 2]))


def test_all_sixteen_ways_of_looking_appear() -> None:
    image = np.arange(27, dtype=np.float32).reshape(3, 3, 3)
    labels = image[None].astype(np.uint8)
    seen = {augmented(Augmentation(), image, labels, np.random.default_rng(s))[0].tobytes() for s in range(400)}
    assert len(seen) == 16


@pytest.mark.parametrize("context", [3, 4])
def test_context_keeps_its_middle(context: int) -> None:
    """The slice that is answered for stays the one at context // 2."""
    image = np.zeros((context, 4, 4), np.float32)
    image[context // 2] = 1
    labels = np.ones((1, 1, 4, 4), np.uint8)
    for seed in range(50):
        moved, _ = augmented(Augmentation(), image, labels, np.random.default_rng(seed))
        assert moved[context // 2].all()


def test_grey_values_change_within_their_bounds_and_labels_never() -> None:
    image = np.random.default_rng(0).normal(size=(8, 16, 16)).astype(np.float32)
    kept = image.copy()
    labels = np.random.default_rng(1).integers(0, 3, (1, 8, 16, 16)).astype(np.uint8)
    still = Augmentation(flips=False, turns=False, noise=0.5, contrast=0.2, brightness=0.3)
    for seed in range(20):
        changed, same = augmented(still, image, labels, np.random.default_rng(seed))
        np.testing.assert_array_equal(same, labels)
        slope, offset = np.polyfit(image.ravel(), changed.ravel(), 1)
        assert 0.75 < slope < 1.25
        assert abs(offset) < 0.35
        assert 0 < np.std(changed - slope * image) < 0.55
    np.testing.assert_array_equal(image, kept)
