"""The moving average of weights: what it is, that it goes on to the bit, and that it is what is validated and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_fits import draw, fit_of, network, same, short
from torch import nn

from volengine.core.errors import FormatError, InputError
from volengine.nets.checkpoint import load_facts, load_model
from volengine.nets.training.fit.average import Average
from volengine.nets.training.fit.recipe import Optimiser


class Normed(nn.Module):
    """A network with batch normalisation, and a buffer that is not part of its state; its weights can be tied."""

    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        self.first = nn.Conv3d(1, 2, 3, padding=1)
        self.norm = nn.BatchNorm3d(2)
        self.body = nn.Conv3d(2, 2, 3, padding=1)
        self.again = self.body if tied else nn.Conv3d(2, 2, 3, padding=1)
        self.out = nn.Conv3d(2, 1, 1)
        self.register_buffer("scale", torch.ones(()), persistent=False)

    def forward(self, x: torch.Tensor) -> Any:
        return self.out(self.again(self.body(self.norm(self.first(x)).relu())).relu() * self.scale)


def normed(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Normed()


@given(st.floats(0.01, 0.999), st.lists(st.floats(-5, 5), min_size=1, max_size=12))
def test_it_is_the_mean_with_these_weights(decay: float, values: list[float]) -> None:
    net = nn.Linear(1, 1, bias=False).double()
    average = Average(net, decay)
    for step, value in enumerate(values):
        net.weight.data.fill_(value)
        average.add(step)
    weights = decay ** np.arange(len(values))[::-1]
    with average.shown():
        assert float(net.weight.detach()) == pytest.approx(float(np.average(values, weights=weights)), abs=1e-9)
    assert float(net.weight.detach()) == values[-1]


def test_statistics_are_averaged_and_counters_are_the_last() -> None:
    net = Normed(tied=True).train()
    average = Average(net, 0.5)
    means, x = [], torch.arange(2 * 64.0).reshape(2, 1, 4, 4, 4)
    for step in range(3):
        net(x / (step + 1))
        average.add(step)
        means.append(net.norm.running_mean.clone())  # type: ignore[union-attr, operator]
    assert average.state().keys() == net.state_dict().keys() - {"again.weight", "again.bias"}
    before = {k: v.clone() for k, v in net.state_dict().items()}
    with average.shown():
        want = (means[0] + 2 * means[1] + 4 * means[2]) / 7
        torch.testing.assert_close(net.norm.running_mean, want)  # type: ignore[union-attr]
        assert int(net.norm.num_batches_tracked) == 3  # type: ignore[union-attr, arg-type]
        assert net.again is net.body
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())


def test_the_network_is_its_own_again_after_an_error() -> None:
    net = network()
    average = Average(net, 0.5)
    next(net.parameters()).data += 1
    before = {k: v.clone() for k, v in net.state_dict().items()}

    def fails() -> None:
        with average.shown():
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert all(torch.equal(before[k], v) for k, v in net.state_dict().items())


def test_without_a_decay_there_is_none() -> None:
    average = Average(network(), 0)
    average.add(0)
    assert average.state() == {}
    with pytest.raises(FormatError, match="average of other weights"):
        average.load({"weight": torch.zeros(1)})
    for decay in (-0.1, 1.0):
        with pytest.raises(InputError, match="--average must be 0 or more and less than 1"):
            short(average=decay)


@pytest.mark.parametrize("make", [network, normed])
def test_a_fit_goes_on_to_the_bit(tmp_path: Path, make: Any) -> None:
    how = short(epochs=3, average=0.8, optimiser=Optimiser(learning_rate=0.02))
    whole = fit_of(tmp_path, how, make())
    history = whole.run(progress=False)
    begun = fit_of(tmp_path, how, make(), name="stopped")
    step = begun._step

    class Stop(Exception):
        pass

    def stopping(number: int, samples: Any) -> float:
        if number == 6:  # in the middle of an epoch
            raise Stop
        return step(number, samples)

    begun._step = stopping  # type: ignore[method-assign]
    with pytest.raises(Stop):
        begun.run(progress=False)
    again = fit_of(tmp_path, how, make(seed=7), name="stopped")
    found = again.run(progress=False)
    assert [{**row, "seconds": 0} for row in found] == [{**row, "seconds": 0} for row in history]
    assert same(again.module, whole.module)
    one, two = whole.average.state(), again.average.state()
    assert all(torch.equal(one[k], two[k]) for k in one)


def test_the_average_is_what_is_validated_and_kept(tmp_path: Path) -> None:
    how = short(epochs=3, average=0.8, optimiser=Optimiser(learning_rate=0.05))
    fit = fit_of(tmp_path, how)
    history = fit.run(progress=False)
    plain = fit_of(tmp_path, how.with_(average=0.0), name="plain")
    without = plain.run(progress=False)
    assert same(fit.module, plain.module)  # the steps are the same
    assert [row["loss"] for row in history] == [row["loss"] for row in without]
    assert history[0]["validation_loss"] != without[0]["validation_loss"]
    kept = load_model(fit.folder / "last-epoch.safetensors")[0]
    with fit.average.shown():
        assert same(kept, fit.module)
        score, _ = fit.validation.judge(fit._sums, 4)
    assert (score.loss, score.dice) == (history[-1]["validation_loss"], history[-1]["validation_dice"])
    assert not same(kept, fit.module)
    assert load_facts(fit.out).history[-1]["epochs"][-1]["validation_loss"] == history[-1]["validation_loss"]


def test_averages_of_a_network_with_batch_normalisation_answer_well(tmp_path: Path) -> None:
    """Its statistics fit its weights: with those of a whole pass over new samples it is hardly better."""
    how = short(epochs=4, steps=25, batch=4, average=0.9, optimiser=Optimiser(learning_rate=0.02))
    fit = fit_of(tmp_path, how, normed())
    history = fit.run(progress=False)
    assert history[-1]["validation_loss"] < 0.7 * history[0]["validation_loss"]
    samples = [draw(np.random.default_rng((5, k))) for k in range(64)]
    with fit.average.shown():
        norm: Any = fit.module.norm
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean
        fit.module.train()
        with torch.no_grad():
            for k in range(0, 64, 4):
                fit.module(fit._batch(samples[k : k + 4]).images)
        fit.module.eval()
        anew, _ = fit.validation.judge(fit._sums, 5)
    assert history[-1]["validation_loss"] == pytest.approx(anew.loss, rel=0.1)
