"""The loss of a set from sums over its samples equals the loss of the set as one batch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.nets.training.losses.combined import Objective
from volengine.nets.training.losses.losses import LOSSES
from volengine.nets.training.losses.pooled import POOLED, Pool, Score
from volengine.nets.training.losses.recipe import Term
from volengine.nets.training.losses.surface import soft_skeleton, truth_skeleton


def a_set(seed: int, loss: str, count: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and labels of patches; most of the truth is in the first."""
    rng = torch.Generator().manual_seed(seed)
    shape = (count, 2, 4, 6, 6)
    logits = torch.randn((count, 3 if loss == "cross_entropy" else 2, *shape[2:]), generator=rng)
    if loss in ("l1", "l2"):
        target = torch.randn(shape, generator=rng)
        target[torch.rand(shape, generator=rng) < 0.2] = math.nan
        return logits, target
    chance = torch.tensor([0.4, *[0.01] * (count - 1)]).reshape(-1, 1, 1, 1, 1)
    labels = (torch.rand(shape, generator=rng) < chance).to(torch.uint8)
    labels[0, :, 0, 0, 0] = 1
    labels[torch.rand(shape, generator=rng) < 0.1] = 2
    labels[0, :, 0, 0, 1] = 1
    return logits, labels


def pooled(terms: list[Term], logits: torch.Tensor, labels: torch.Tensor, names: Any = None) -> Score:
    pool = Pool(terms)
    names = names or [""] * len(logits)
    return pool.score([pool.sums(logits[k : k + 1], labels[k : k + 1], names[k]) for k in range(len(logits))])


def test_every_loss_can_be_pooled() -> None:
    assert POOLED.keys() == LOSSES.keys()


@pytest.mark.parametrize("loss", sorted(set(LOSSES) - {"surface_dice"}))
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 999))
def test_it_is_the_loss_of_the_whole_set(loss: str, seed: int) -> None:
    logits, labels = a_set(seed, loss)
    whole = float(Objective([Term(loss)])(logits, labels))
    assert pooled([Term(loss)], logits, labels).loss == pytest.approx(whole, rel=1e-5)


def test_surface_dice_pools_its_skeletons() -> None:
    """Precision and recall are those of all patches together, by the formula of the paper."""
    logits, labels = a_set(3, "surface_dice", 3)
    labels[:, :, 2, :, 1:4] = 1
    one = pooled([Term("surface_dice")], logits[:1], labels[:1])
    assert one.loss == pytest.approx(float(Objective([Term("surface_dice")])(logits[:1], labels[:1])), rel=1e-5)
    counts, truth, probability = labels != 2, (labels == 1).float(), logits.sigmoid()
    found, true = soft_skeleton(probability) * counts, truth_skeleton(truth) * counts
    losses = []
    for k in range(2):
        precision = ((found * truth)[:, k].sum() + 3) / (found[:, k].sum() + 3)
        recall = ((true * probability)[:, k].sum() + 3) / (true[:, k].sum() + 3)
        losses.append(1 - 2 / (1 / precision + 1 / recall))
    assert pooled([Term("surface_dice")], logits, labels).loss == pytest.approx(float(sum(losses) / 2), rel=1e-5)


def test_patches_without_the_feature_do_not_raise_dice() -> None:
    """The mean over patches adds about 1 for each of them, whatever the network does; pooled they hardly matter."""
    logits, labels = a_set(0, "dice")
    labels[:] = 0
    labels[0, :, 1:3, 1:4, 1:4] = 1
    logits[:] = torch.where(labels == 1, 8.0, -6.0)
    assert pooled([Term("dice")], logits, labels).loss < 0.1
    mean = np.mean([float(Objective([Term("dice")])(logits[k : k + 1], labels[k : k + 1])) for k in range(5)])
    assert mean > 0.15


def test_dice_counts_all_voxels_and_no_ignored_ones() -> None:
    logits, labels = a_set(1, "bce")
    score = pooled([Term("bce")], logits, labels)
    found, truth, counts = logits > 0, labels == 1, labels != 2
    expected = 2 * (found & truth & counts).sum() / ((found & counts).sum() + truth.sum())
    assert score.dice == pytest.approx(float(expected))
    assert score.truth == truth.sum((0, 2, 3, 4)).tolist()


@pytest.mark.parametrize("loss", sorted(set(LOSSES) - {"l1", "l2"}))
def test_a_set_without_a_feature_says_nothing(loss: str) -> None:
    logits, labels = a_set(1, loss)
    labels[labels == 1] = 0
    score = pooled([Term(loss)], logits, labels)
    assert math.isnan(score.loss)
    assert math.isnan(score.dice)


@pytest.mark.parametrize("loss", ["dice", "bce_dice", "surface_dice"])
def test_a_feature_that_is_missing_is_left_out_of_ratios(loss: str) -> None:
    logits, labels = a_set(2, loss)
    labels[:, 1] = 0
    both = pooled([Term("dice")], logits, labels)
    alone = pooled([Term("dice")], logits[:, :1], labels[:, :1])
    assert both.loss == pytest.approx(alone.loss)


@pytest.mark.parametrize("loss", ["l1", "l2"])
def test_targets_of_which_nothing_is_known_say_nothing(loss: str) -> None:
    logits, labels = a_set(2, loss)
    assert math.isnan(pooled([Term(loss)], logits, torch.full_like(labels, math.nan)).loss)


def test_terms_take_their_data_sets_and_weights() -> None:
    logits, labels = a_set(4, "bce")
    names = ["x", "y", "x", "y", "y"]
    terms = [Term("bce", 1.0), Term("dice", 3.0, ("x",)), Term("focal", 9.0, ("nowhere",))]
    x = [0, 2]
    bce = float(Objective([Term("bce")])(logits, labels))
    dice = float(Objective([Term("dice")])(logits[x], labels[x]))
    assert pooled(terms, logits, labels, names).loss == pytest.approx((bce + 3 * dice) / 4, rel=1e-5)


@pytest.mark.parametrize("loss", ["bce_dice", "cross_entropy", "focal", "l1"])
def test_noise_is_the_jackknife_of_the_difference(loss: str) -> None:
    """Computed by leaving out each patch in turn from sets as a whole; the same network differs by nothing."""
    logits, labels = a_set(4, loss)
    if loss != "l1":
        labels[:, :, 1, 0, 0] = 1  # without the first patch there are features, too
    other = logits + torch.randn(logits.shape, generator=torch.Generator().manual_seed(5))
    pool, objective = Pool([Term(loss)]), Objective([Term(loss)])
    names = [""] * len(logits)
    one, two = ([pool.sums(x[k : k + 1], labels[k : k + 1]) for k in range(len(x))] for x in (logits, other))
    apart = []
    for k in range(len(logits)):
        rest = [n for n in range(len(logits)) if n != k]
        apart.append(float(objective(logits[rest], labels[rest], names) - objective(other[rest], labels[rest], names)))
    want = math.sqrt((len(apart) - 1) * np.mean((np.array(apart) - np.mean(apart)) ** 2))
    assert pool.noise(one, two) == pytest.approx(want, rel=1e-3)
    assert pool.noise(one, one) == 0


@pytest.mark.filterwarnings("error")
def test_noise_is_not_known_from_a_single_patch() -> None:
    pool = Pool([Term("bce_dice")])
    logits = torch.zeros(2, 1, 2, 4, 4)
    labels = torch.zeros(2, 1, 2, 4, 4)
    labels[0, :, 0] = 1
    sums = [pool.sums(logits[k : k + 1], labels[k : k + 1]) for k in range(2)]
    assert math.isnan(pool.noise(sums[:1], sums[:1]))
    assert math.isnan(pool.noise(sums, sums))  # only the first holds the feature


def test_noise_is_the_scatter_of_repeated_validations() -> None:
    """Sets of 40 patches, drawn again and again: the difference scatters as the jackknife of each says."""
    rng = np.random.default_rng(0)
    pool = Pool([Term("bce_dice")])
    found, said = [], []
    for _ in range(40):
        labels = torch.from_numpy(
            (rng.random((40, 1, 1, 4, 4)) < rng.uniform(0, 0.6, (40, 1, 1, 1, 1))).astype(np.uint8)
        )
        good = 3 * (labels.float() - 0.5) + torch.from_numpy(rng.normal(0, 1.0, labels.shape))
        worse = good + torch.from_numpy(rng.normal(0, 1.0, labels.shape))
        one, two = ([pool.sums(x[k : k + 1], labels[k : k + 1]) for k in range(40)] for x in (good, worse))
        found.append(pool.score(two).loss - pool.score(one).loss)
        said.append(pool.noise(two, one))
    assert np.mean(said) == pytest.approx(np.std(found, ddof=1), rel=0.35)
