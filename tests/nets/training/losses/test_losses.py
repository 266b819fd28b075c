"""Losses against MONAI and plain formulas; what does not count has no gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from volengine.core.errors import InputError
from volengine.nets.training.losses.combined import Objective, adversarial, discriminating, shown
from volengine.nets.training.losses.losses import (
    IGNORE,
    LOSSES,
    REGRESSION,
    bce_dice,
    class_map,
    cross_entropy,
    focal,
    get_loss,
)
from volengine.nets.training.losses.recipe import Term
from volengine.nets.training.losses.surface import soft_skeleton, surface_dice, truth_skeleton


def case(seed: int, features: int = 1, sides: tuple[int, ...] = (6, 7, 5), batch: int = 2) -> Any:
    rng = np.random.default_rng(seed)
    logits = torch.tensor(rng.normal(0, 2, (batch, features, *sides)))
    return logits, torch.tensor(rng.integers(0, 3, logits.shape).astype(np.uint8))


def given_to(name: str, labels: torch.Tensor) -> torch.Tensor:
    """Labels in the form that this loss takes."""
    return torch.where(labels == IGNORE, torch.nan, labels.double()) if name in REGRESSION else labels


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("sides", [(6, 7, 5), (9, 8)])
def test_ignored_voxels_have_no_gradient_and_others_may(name: str, sides: tuple[int, ...]) -> None:
    logits, labels = case(0, 2, sides)
    gone = (labels == IGNORE).any(1, keepdim=True) if name == "cross_entropy" else labels == IGNORE
    if name == "cross_entropy":
        logits = torch.cat([logits, logits[:, :1] + 1], 1)
        gone = gone.expand_as(logits)
    x = logits.requires_grad_()
    loss = get_loss(name)(x, given_to(name, labels))
    (gradient,) = torch.autograd.grad(loss, x)
    assert (gradient[gone] == 0).all()
    assert (gradient[~gone] != 0).double().mean() > 0.5
    nothing = get_loss(name)(x, given_to(name, torch.full_like(labels, IGNORE)))
    assert torch.isfinite(nothing)
    assert (torch.autograd.grad(nothing, x)[0] == 0).all()


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"surface_dice"}))
def test_values_of_ignored_voxels_do_not_matter(name: str) -> None:
    logits, labels = case(1)
    if name == "cross_entropy":
        logits = torch.cat([logits, -logits], 1)
    other = torch.where((labels == IGNORE).expand_as(logits), 40.0, logits)
    loss = get_loss(name)
    assert float(loss(other, given_to(name, labels))) == pytest.approx(float(loss(logits, given_to(name, labels))))


@pytest.mark.parametrize("name", sorted(set(LOSSES) - REGRESSION))
def test_extreme_logits_are_finite_and_right_is_better(name: str) -> None:
    labels = torch.zeros(1, 1, 12, 12, 12, dtype=torch.uint8)
    labels[:, :, 5:7] = 1
    right = 2000.0 * (labels.float() - 0.5)
    channels = torch.cat([-right, right], 1) if name == "cross_entropy" else right
    loss = get_loss(name)
    x = channels.clone().requires_grad_()
    good, bad = loss(x, labels), loss(-channels, labels)
    assert torch.isfinite(torch.autograd.grad(good, x)[0]).all()
    assert float(good.detach()) < 0.3 < float(bad)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32), features=st.integers(1, 3))
def test_cross_entropy_is_torchs(seed: int, features: int) -> None:
    logits, labels = case(seed, features)
    logits = torch.cat([logits, logits[:, :1] * 0.5 - 1], 1)
    classes = class_map(labels)
    classes[(labels == IGNORE).any(1)] = -100
    if (classes >= 0).any():
        want = torch.nn.functional.cross_entropy(logits, classes)
        assert float(cross_entropy(logits, labels)) == pytest.approx(float(want), rel=1e-9)


def test_cross_entropy_needs_a_background_channel() -> None:
    logits, labels = case(0, 2)
    with pytest.raises(InputError, match=r"needs 3 channels .* the network gives 2"):
        cross_entropy(logits, labels)


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 2**32), gamma=st.sampled_from([0.0, 1.0, 2.0]), alpha=st.sampled_from([None, 0.25, 0.7]))
def test_losses_are_those_of_monai(seed: int, gamma: float, alpha: float | None) -> None:
    losses = pytest.importorskip("monai.losses", reason="needs MONAI (the extra 'membrain')")
    logits, labels = case(seed, 2)
    labels = labels % 2
    got = focal(logits, labels, gamma, alpha)
    want = losses.FocalLoss(gamma=gamma, alpha=alpha)(logits, labels.double())
    assert float(got.detach()) == pytest.approx(float(want.detach()), rel=1e-6)
    dice = losses.DiceLoss(sigmoid=True, batch=True, smooth_nr=1.0, smooth_dr=1.0)
    assert float(get_loss("dice")(logits, labels)) == pytest.approx(float(dice(logits, labels.double())), rel=1e-6)
    # clDice erodes along the axes only, Surface-Dice with all 26 neighbours: a flat sheet is the same for both
    from monai.losses.cldice import soft_skel

    flat = torch.zeros(1, 1, 15, 15, 15)
    flat[:, :, 7] = 1
    torch.testing.assert_close(soft_skeleton(flat, 5), soft_skel(flat, 5))


# -- Surface-Dice --------------------------------------------------------------------------------------------


def plain_skeleton(x: np.ndarray, iterations: int) -> np.ndarray:
    size = 3

    def opened(a: np.ndarray) -> np.ndarray:
        low = ndimage.minimum_filter(a, size, mode="constant", cval=np.inf)
        return ndimage.maximum_filter(low, size, mode="constant", cval=-np.inf)

    total = np.maximum(x - opened(x), 0)
    for _ in range(iterations):
        x = ndimage.minimum_filter(x, size, mode="constant", cval=np.inf)
        more = np.maximum(x - opened(x), 0)
        total = total + np.maximum(more - total * more, 0)
    return total


@pytest.mark.parametrize("sides", [(11, 12, 10), (18, 17)])
def test_surface_dice_is_this_formula(sides: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.normal(size=(2, 1, *sides)), [0, 0, *[1.5] * len(sides)])
    labels = (smooth > 0.05).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.1] = IGNORE
    logits = 6 * smooth + rng.normal(size=labels.shape)
    scores = []
    for x, y in zip(logits[:, 0], labels[:, 0], strict=True):
        p, t, counts = 1 / (1 + np.exp(-x)), (y == 1).astype(float), y != IGNORE
        blurred = 1.5 * ndimage.gaussian_filter(t, 2.0, mode="nearest", truncate=3.5)
        found, true = plain_skeleton(p, 5) * counts, plain_skeleton(blurred, 5) * counts
        precision = ((found * t).sum() + 3) / (found.sum() + 3)
        recall = ((true * p).sum() + 3) / (true.sum() + 3)
        scores.append(1 - 2 * precision * recall / (precision + recall))
    got = surface_dice(torch.tensor(logits), torch.tensor(labels))
    assert float(got) == pytest.approx(np.mean(scores), rel=1e-5)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**32), sides=st.lists(st.integers(1, 7), min_size=2, max_size=3))
def test_skeletons_are_the_same_with_and_without_gradient(seed: int, sides: list[int]) -> None:
    x = torch.tensor(np.random.default_rng(seed).random((2, 1, *sides)))
    learnt = soft_skeleton(x.clone().requires_grad_()).detach()
    with torch.no_grad():
        assert torch.equal(soft_skeleton(x), learnt)
    np.testing.assert_allclose(learnt[1, 0], plain_skeleton(x[1, 0].numpy(), 5), atol=1e-12)


def test_skeletons_of_slabs_are_sheets() -> None:
    for thick in (1, 3, 5, 7, 9, 11):
        slab = torch.zeros(1, 1, 23, 20, 20)
        slab[:, :, 11 - thick // 2 : 12 + thick // 2] = 1
        sheet = soft_skeleton(slab)
        assert (sheet[:, :, 11] == 1).all()
        assert sheet.sum() == sheet[:, :, 11].sum()
    truth = truth_skeleton(slab)
    assert int(truth[0, 0, :, 10, 10].argmax()) == 11
    assert truth.shape == slab.shape


def test_thickness_matters_less_and_holes_matter_more_than_for_dice() -> None:
    truth = torch.zeros(1, 1, 24, 24, 24)
    truth[:, :, 10:15] = 1
    thin, holed = torch.zeros_like(truth), truth.clone()
    thin[:, :, 11:14] = 1
    holed[..., 8:16, 8:16] = 0
    labels = truth.to(torch.uint8)
    found = {}
    for name in ("dice", "surface_dice"):
        loss = get_loss(name)
        found[name] = [float(loss(40 * m - 20, labels)) for m in (thin, holed)]
    assert found["surface_dice"][0] < 0.5 * found["dice"][0]
    assert found["surface_dice"][0] < found["surface_dice"][1]
    assert found["dice"][0] > found["dice"][1]


# -- combinations --------------------------------------------------------------------------------------------


def test_terms_look_at_their_datasets_only() -> None:
    logits, labels = case(3, batch=4)
    logits.requires_grad_()
    names = ("a", "b", "a", "c")
    terms = [Term("bce", datasets=("a",)), Term("dice", weight=3.0, datasets=("b", "x")), Term("focal", weight=2.0)]
    got = Objective(terms)(logits, labels, names)

    def alone(name: str, k: int) -> torch.Tensor:
        return get_loss(name)(logits[k : k + 1].float(), labels[k : k + 1])

    want = (alone("bce", 0) + alone("bce", 2)) / 2 + 3 * alone("dice", 1)
    want = (want + 2 * sum(alone("focal", k) for k in range(4)) / 4) / 6
    assert float(got.detach()) == pytest.approx(float(want.detach()), rel=1e-6)
    only = Objective([Term("bce", datasets=("b",))])
    (gradient,) = torch.autograd.grad(only(logits, labels, names), logits)
    assert [bool((g != 0).any()) for g in gradient] == [False, True, False, False]
    assert float(only(logits, labels, ("a",) * 4).detach()) == 0
    (gradient,) = torch.autograd.grad(only(logits, labels), logits)
    assert not gradient.any()


def test_one_term_is_the_plain_loss_of_the_batch() -> None:
    logits, labels = case(4)
    assert torch.equal(Objective([Term("bce_dice")])(logits.float(), labels), bce_dice(logits.float(), labels))


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([], "no loss"),
        ([Term("cross_entropy"), Term("bce")], "cannot be added"),
        ([Term("l1"), Term("dice")], "cannot be added"),
        ([Term("bxe")], "no loss 'bxe'"),
    ],
)
def test_terms_that_do_not_fit_are_refused(terms: list[Term], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Objective(terms)
    with pytest.raises(InputError, match="must be positive"):
        Term("bce", weight=0.0)


def test_deep_supervision_sees_the_nearest_labels_at_each_resolution() -> None:
    logits, labels = case(5, 1, (8, 8, 8))
    answers = [logits, logits[..., ::2, ::2, ::2], logits[..., ::4, ::4, ::4]]
    truths = [labels, labels[..., ::2, ::2, ::2], labels[..., ::4, ::4, ::4]]
    each = [float(bce_dice(x.float(), y)) for x, y in zip(answers, truths, strict=True)]
    want = each[0] + each[1] / 2 + each[2] / 4
    assert float(Objective([Term("bce_dice")])(answers, labels)) == pytest.approx(want, rel=1e-6)


def test_adversarial_losses_are_these_formulas() -> None:
    rng = np.random.default_rng(0)
    judged, false = (torch.tensor(rng.normal(size=(2, 1, 3, 3))) for _ in range(2))
    p = torch.tensor(rng.random((2, 1, 8, 8)))
    labels = torch.tensor(rng.integers(0, 3, p.shape))
    counted = labels != IGNORE
    l1 = (p - labels).abs()[counted].mean()
    assert float(adversarial(judged, p, labels)) == pytest.approx(float(((judged - 1) ** 2).mean() + 100 * l1))
    want = (((judged - 1) ** 2).mean() + (false**2).mean()) / 2
    assert float(discriminating(judged, false)) == pytest.approx(float(want))
    seen = shown(p, labels)
    assert (seen[~counted] == 0).all()
    assert torch.equal(seen[counted], p[counted].float())
