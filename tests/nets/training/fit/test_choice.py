"""Which epoch becomes the model: none by a loss that says nothing. The last one is kept, too; what is lost is made."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_fits import CPU, VALIDATION, Explodes, draw, facts_of, fit_of, network, same, short
from torch import nn

from volengine.core.errors import VolengineError
from volengine.nets.checkpoint import load_facts, load_model
from volengine.nets.training.fit.choice import Choice
from volengine.nets.training.fit.fit import Fit
from volengine.nets.training.fit.progress import Steps
from volengine.nets.training.fit.recipe import Optimiser
from volengine.nets.training.fit.state import Row

EMPTY = [(image, np.where(labels == 1, 0, labels), name) for image, labels, name in VALIDATION]


def rows_of(*values: tuple[float, float, float]) -> list[Row]:
    """Rows from loss, validation loss and noise."""
    names = ("loss", "validation_loss", "validation_noise")
    return [
        {"epoch": k + 1, "validation_dice": 0.5, **dict(zip(names, each, strict=True))} for k, each in enumerate(values)
    ]


NUMBER = st.floats(0, 2)


@given(
    st.lists(st.tuples(NUMBER, NUMBER | st.just(math.nan) | st.just(math.inf), NUMBER | st.just(math.nan)), min_size=1)
)
def test_no_value_that_is_not_finite_is_the_best(values: list[tuple[float, float, float]]) -> None:
    rows = rows_of(*values)
    choice = Choice(rows, validated=True)
    losses = [b for _, b, _ in values]
    finite = [b for b in losses if math.isfinite(b)]
    lowest, last = (losses.index(min(finite)) if finite else len(values) - 1), len(values) - 1
    assert choice.blind is not bool(finite)
    assert choice.lowest == lowest
    alike = math.isfinite(losses[-1]) and losses[-1] - losses[lowest] <= values[-1][2]  # not with an unknown noise
    assert choice.kept == (last if alike or not finite or losses[-1] == losses[lowest] else lowest)
    assert choice.idle(1) is (bool(finite) and lowest < last)
    trained = Choice(rows, validated=False)
    assert trained.kept == trained.lowest == [a for a, _, _ in values].index(min(a for a, _, _ in values))
    assert not trained.blind


@pytest.mark.parametrize(
    ("noise", "kept", "said"),
    [
        (0.05, 0, "(Dice 0.500), a difference of 0.1000 (more than the noise, 0.0500)"),
        (0.2, 1, "(Dice 0.500), a difference of 0.1000 (not more than the noise, 0.2000)"),
        (math.nan, 0, "(Dice 0.500), a difference of 0.1000 (the noise is not known)"),
    ],
)
def test_the_last_epoch_is_kept_unless_it_is_worse_than_the_noise(noise: float, kept: int, said: str) -> None:
    choice = Choice(rows_of((1.0, 0.5, 0.0), (0.9, 0.6, noise)), validated=True)
    assert choice.kept == kept
    assert str(choice.apart) == (
        f"epoch 1 has the lowest validation loss, 0.5000 (Dice 0.500); the last epoch (2) has 0.6000 {said}"
    )
    assert choice.reason.startswith("the lowest validation loss" if kept == 0 else "the last one, as the validation")
    falling = Choice(rows_of((1.0, 0.5, 0.0), (0.9, 0.4, 0.0)), validated=True)
    assert str(falling.apart) == "the last epoch (2) has the lowest validation loss, 0.4000 (Dice 0.500)"


def test_a_validation_without_the_feature_does_not_choose(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A network that answers nothing would be the best for it; the last epoch is kept, and it is said."""
    still = Optimiser(learning_rate=1e-30)
    fit = fit_of(tmp_path, short(epochs=4, patience=1, optimiser=still), validation=EMPTY)
    history = fit.run()
    assert len(history) == 4
    assert all(math.isnan(row["validation_loss"]) and math.isnan(row["validation_dice"]) for row in history)
    entry = load_facts(fit.out).history[-1]
    assert entry["epoch"] == 4
    assert "says nothing" in entry["chosen_by"]
    assert "No sample for validation holds 'ball'" in capsys.readouterr().err
    assert same(load_model(fit.out)[0], fit.module)


def test_features_that_validation_lacks_are_named_and_the_others_decide(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def both(sample: Any) -> Any:
        image, labels, name = sample
        return image, np.concatenate([labels, np.zeros_like(labels)]), name

    fit = Fit(
        network(2),
        facts_of().with_(features=("ball", "rod"), arguments={"channels": 2, "width": 2, "levels": 2}),
        lambda rng: both(draw(rng)),
        [both(sample) for sample in VALIDATION],
        short(),
        tmp_path / "m.safetensors",
        CPU,
    )
    history = fit.run()
    assert all(math.isfinite(row["validation_loss"]) for row in history)
    assert "No sample for validation holds 'rod'; the others decide" in capsys.readouterr().err


class ExplodesLater(nn.Module):
    """Good in training; no number for some of the samples for validation."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv3d(1, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> Any:
        return self.body(x) * (1.0 if self.training else torch.nan)


@pytest.mark.parametrize("validation", [VALIDATION, EMPTY])
def test_no_number_in_the_validation_stops_with_the_epoch(tmp_path: Path, validation: Any) -> None:
    fit = fit_of(tmp_path, short(), ExplodesLater(), validation=validation)
    with pytest.raises(VolengineError, match=r"Epoch 1: the loss of validation patch 1 is NaN.*Lower the"):
        fit.run(progress=False)
    assert not fit.out.exists()


def test_best_and_last_epoch_are_kept(tmp_path: Path) -> None:
    """A learning rate that grows too large: an earlier epoch is the best, and both can be used."""
    fit = fit_of(tmp_path, short(epochs=5, optimiser=Optimiser(learning_rate=0.3, clip=0)))
    history = fit.run(progress=False)
    best = int(np.argmin([row["validation_loss"] for row in history]))
    assert fit.out.read_bytes() == (fit.folder / "best-epoch.safetensors").read_bytes()
    assert load_facts(fit.out).history[-1]["epoch"] == best + 1
    module, facts = load_model(fit.folder / "last-epoch.safetensors")
    assert facts.history[-1]["epoch"] == 5
    assert same(module, fit.module)


@pytest.mark.parametrize("how", ["removed", "replaced", "torn"])
def test_a_model_that_was_removed_is_written_again(tmp_path: Path, how: str) -> None:
    fit = fit_of(tmp_path, short(epochs=3))
    history = fit.run(progress=False)
    made = fit.out.read_bytes()
    if how == "removed":
        fit.out.unlink()
    else:
        fit.out.write_bytes(b"another" if how == "replaced" else made[:-100])
    again = fit_of(tmp_path, short(epochs=3))
    assert again.run(progress=False) == history
    assert fit.out.read_bytes() == made


def test_without_the_best_epoch_it_is_trained_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit = fit_of(tmp_path, short(epochs=3))
    fit.run(progress=False)
    made, module = fit.out.read_bytes(), load_model(fit.out)[0]
    fit.out.unlink()
    (fit.folder / "best-epoch.safetensors").unlink()
    fit_of(tmp_path, short(epochs=3)).run()
    assert "begins anew" in capsys.readouterr().err
    assert same(load_model(fit.out)[0], module)
    assert len(made) > 0


def test_a_model_of_a_stopped_training_is_no_older_than_its_state(tmp_path: Path) -> None:
    """The next run begins after the state's epoch, and leaves the model of the best one."""
    fit = fit_of(tmp_path, short(epochs=3), Explodes())
    with pytest.raises(VolengineError):
        fit.run(progress=False)
    assert fit.out.read_bytes() == (fit.folder / "best-epoch.safetensors").read_bytes()


def test_without_a_terminal_it_writes_lines(capsys: pytest.CaptureFixture[str]) -> None:
    for show, every_s, lines in ((True, 0.0, 4), (True, 3600.0, 0), (False, 0.0, 0)):
        with Steps(2, 4, 4, show=show, every_s=every_s) as steps:
            for k in range(4):
                steps.step(0.5 + k)
        said = capsys.readouterr().err.splitlines()
        assert len(said) == lines
        if lines:
            assert said[0].startswith("training: epoch 2/2, 5/8 steps, loss 0.5000, ")
            assert said[0].endswith(" s left")
            assert said[-1] == "training: epoch 2/2, 8/8 steps, loss 3.5000, 0 s left"
