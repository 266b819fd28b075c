"""Fitting: every optimiser goes on bit for bit, stops where it should, and several processes equal one."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_fits import CPU, SMALL, VALIDATION, Explodes, draw, facts_of, fit_of, network, same, short
from torch import nn

from volengine.core.errors import DependencyError, InputError, VolengineError
from volengine.nets.checkpoint import load_facts, load_model
from volengine.nets.registry import build
from volengine.nets.training.fit import report as fit_report
from volengine.nets.training.fit.finetune import start_from
from volengine.nets.training.fit.fit import Fit
from volengine.nets.training.fit.optimise import Descent, make_optimiser
from volengine.nets.training.fit.ranks import Ranks
from volengine.nets.training.fit.recipe import FitRecipe, Optimiser
from volengine.nets.training.losses.combined import Objective
from volengine.nets.training.losses.recipe import Term

MODELS = {"best-epoch.safetensors", "last-epoch.safetensors"}


class Deep(nn.Module):
    """Answers at two resolutions while it learns."""

    def __init__(self, channels: int = 1):
        super().__init__()
        self.body = build("unet3d", {"channels": channels, **SMALL})
        self.coarse = nn.Conv3d(1, channels, 2, 2)
        self.drop = nn.Dropout(0.2)

    def forward(self, x: torch.Tensor) -> Any:
        full = self.body(self.drop(x))
        return [full, self.coarse(x)] if self.training else full


def numbers(history: list[dict[str, float]]) -> list[tuple[float, ...]]:
    return [tuple(v for k, v in row.items() if k != "seconds") for row in history]


# -- optimisers ----------------------------------------------------------------------------------------------


def test_rates_are_these_formulas() -> None:
    for schedule, want in (
        ("constant", lambda s: 0.5),
        ("polynomial", lambda s: 0.5 * (1 - s) ** 0.9),
        ("cosine", lambda s: 0.5 * (0.01 + 0.495 * (1 + math.cos(math.pi * s)))),
    ):
        how = FitRecipe(epochs=4, steps=5, optimiser=Optimiser(schedule=schedule, learning_rate=0.5))
        for step in range(20):
            assert how.rate(step) == pytest.approx(want(step / 20))


@pytest.mark.parametrize("kind", ["adam", pytest.param("adamw", marks=pytest.mark.slow), "sgd", "adadelta"])
def test_optimisers_learn_and_go_on_to_the_bit(tmp_path: Path, kind: Any) -> None:
    rate = {"sgd": 0.05, "adadelta": 10.0}.get(kind, 0.01)
    optimiser = Optimiser(kind=kind, learning_rate=rate, weight_decay=1e-4, schedule="polynomial", momentum=0.9)
    how = short(epochs=4, steps=8, optimiser=optimiser)
    whole = fit_of(tmp_path, how)
    history = whole.run(progress=False)
    assert history[-1]["validation_loss"] < history[0]["validation_loss"]
    step = Fit._step

    class Stop(Exception):
        pass

    stopped = fit_of(tmp_path, how, name="stopped")

    def stopping(number: int, samples: Any) -> float:
        if number == 19:
            raise Stop
        return step(stopped, number, samples)

    stopped._step = stopping  # type: ignore[method-assign]
    with pytest.raises(Stop):
        stopped.run(progress=False)
    again = fit_of(tmp_path, how, network(seed=5), name="stopped")
    assert numbers(again.run(progress=False)) == numbers(history)
    assert same(again.module, whole.module)


def test_optimisers_are_what_they_say() -> None:
    net = nn.Linear(2, 2)
    sgd = make_optimiser(Optimiser(kind="sgd", learning_rate=0.1, weight_decay=3e-5), net).param_groups[0]
    assert (sgd["momentum"], sgd["nesterov"], sgd["weight_decay"]) == (0.99, True, 3e-5)
    adam = make_optimiser(Optimiser(kind="adam", momentum=0.5), net)
    assert type(adam) is torch.optim.Adam
    assert adam.param_groups[0]["betas"] == (0.5, 0.999)
    assert type(make_optimiser(Optimiser(kind="adamw"), net)) is torch.optim.AdamW
    assert type(make_optimiser(Optimiser(kind="adadelta"), net)) is torch.optim.Adadelta


@pytest.mark.parametrize("clip", [0.0, 0.5])
def test_gradients_are_clipped(clip: float) -> None:
    net = nn.Linear(1, 1, bias=False)
    before = net.weight.detach().clone()
    descent = Descent(net, Optimiser(kind="sgd", clip=clip, momentum=1e-9), "float32", CPU)
    assert descent.step(net(torch.full((1, 1), 4.0)).sum(), rate=1.0, where="here") == pytest.approx(4.0)
    assert float(before - net.weight.detach()) == pytest.approx(clip or 4.0, rel=1e-5)


def test_senseless_recipes_are_refused(tmp_path: Path) -> None:
    for make, message in (
        (lambda: Optimiser(learning_rate=0.0), "--learning-rate must be positive"),
        (lambda: Optimiser(clip=-1.0), "--clip must be 0 or more"),
        (lambda: Optimiser(momentum=1.0), "--momentum must be between"),
        (lambda: FitRecipe(patience=-1), "--patience must be 0 or more"),
        (lambda: fit_of(tmp_path, short(precision="float16")), "float16 needs a CUDA GPU"),
        (lambda: fit_of(tmp_path, short(terms=(Term("x"),))), "no loss 'x'"),
    ):
        with pytest.raises(InputError, match=message):
            make()


def test_half_precision_learns_and_goes_on_to_the_bit(tmp_path: Path) -> None:
    how = short(epochs=3, precision="bfloat16")
    whole = fit_of(tmp_path, how)
    history = whole.run(progress=False)
    assert history[-1]["loss"] < history[0]["loss"]
    assert numbers(history) != numbers(fit_of(tmp_path, short(epochs=3), name="full").run(progress=False))
    again = fit_of(tmp_path, how, network(seed=3))
    assert numbers(again.run(progress=False)) == numbers(history)
    assert same(again.module, whole.module)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_float16_scales_its_loss_and_goes_on(tmp_path: Path) -> None:
    how = short(precision="float16")
    values = {"facts": facts_of(), "draw": draw, "validation": VALIDATION, "how": how, "device": torch.device("cuda")}
    fit = Fit(network(), out=tmp_path / "m.safetensors", **values)
    fit.run(progress=False)
    again = Fit(network(seed=2), out=tmp_path / "m.safetensors", **values)
    again.run(progress=False)
    assert again.descent.scaler.get_scale() == fit.descent.scaler.get_scale() > 1
    assert same(again.module, fit.module)


# -- stopping ------------------------------------------------------------------------------------------------


def test_no_number_stops_and_what_was_good_stays(tmp_path: Path) -> None:
    how = short(epochs=3)
    fit = fit_of(tmp_path, how, Explodes())
    with pytest.raises(VolengineError, match=r"Epoch 2, step 1 of 4: the loss is nan\. Lower the.* \(0\.001\)"):
        fit.run(progress=False)
    assert len(fit.history) == 1
    assert load_facts(fit.out).history[-1]["epoch"] == 1
    assert (fit.folder / "last.safetensors").exists()
    assert all(torch.isfinite(p).all() for p in fit.module.parameters())


def test_an_infinite_gradient_stops_and_leaves_the_weights() -> None:
    net = nn.Linear(1, 1, bias=False)
    before = net.weight.detach().clone()
    descent = Descent(net, Optimiser(), "float32", CPU)
    root = (net.weight - before).sum().abs().sqrt()  # 0, with the slope of a vertical
    with pytest.raises(VolengineError, match=r"Step 7: the gradient is (inf|nan)"):
        descent.step(root, rate=0.1, where="Step 7")
    assert torch.equal(net.weight, before)


def test_a_fit_stops_when_nothing_became_better_for_its_patience(tmp_path: Path) -> None:
    """Nothing gets better after the first epoch; three more are awaited, also by a fit that goes on."""
    still = Optimiser(learning_rate=1e-30)
    fit = fit_of(tmp_path, short(epochs=20, patience=3, optimiser=still))
    assert len(fit.run(progress=False)) == 4
    assert len(fit_of(tmp_path, short(epochs=20, patience=3, optimiser=still)).run(progress=False)) == 4
    assert len(fit_of(tmp_path, short(epochs=6, optimiser=still), name="n").run(progress=False)) == 6


# -- losses --------------------------------------------------------------------------------------------------


def test_deep_supervision_trains_the_coarse_answers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    fit = fit_of(tmp_path, short(epochs=1), Deep())
    before = fit.module.coarse.weight.detach().clone()  # type: ignore[union-attr]
    (row,) = fit.run(progress=False)
    assert not torch.equal(before, fit.module.coarse.weight)  # type: ignore[union-attr]
    assert math.isfinite(row["validation_dice"])


def test_features_that_exclude_each_other(tmp_path: Path) -> None:
    how = short(epochs=4, steps=20, terms=(Term("cross_entropy"),), optimiser=Optimiser(learning_rate=0.02))
    facts = facts_of(activation="softmax").with_(features=("background", "ball"), arguments={"channels": 2, **SMALL})
    history = fit_of(tmp_path, how, network(channels=2), facts=facts).run(progress=False)
    assert max(row["validation_dice"] for row in history) > 0.6


def test_a_regression_learns_to_remove_noise(tmp_path: Path) -> None:
    """Noisy to ideal: the loss falls below that of the noise."""

    def pair(rng: np.random.Generator) -> Any:
        image, labels, _ = draw(rng)
        return image, (labels == 1).astype(np.float32) * 2.0

    some = [pair(np.random.default_rng((9, k))) for k in range(4)]
    noise = np.mean([((x - y[0]) ** 2).mean() for x, y in some])
    how = short(epochs=4, steps=25, batch=4, terms=(Term("l2"),), optimiser=Optimiser(learning_rate=0.02))
    facts = facts_of(activation="none")
    history = fit_of(tmp_path, how, draw=pair, validation=some, facts=facts).run(progress=False)
    assert history[-1]["validation_loss"] < 0.7 * noise
    assert math.isnan(history[-1]["validation_dice"])


def test_losses_of_datasets_reach_the_fit(tmp_path: Path) -> None:
    """A loss for a data set that no sample is of changes nothing."""
    optimiser = Optimiser(weight_decay=0.0)
    nobody = short(terms=(Term("bce", datasets=("three",)),), optimiser=optimiser)
    fit = fit_of(tmp_path, nobody)
    history = fit.run(progress=False)
    assert same(fit.module, network())
    assert history[0]["loss"] == 0
    some = fit_of(tmp_path, short(terms=(Term("bce", datasets=("two",)),)), name="some")
    assert some.run(progress=False)[0]["loss"] > 0
    assert not same(some.module, network())


class Judge(nn.Module):
    """A discriminator of few weights."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(2, 1, 3)

    def forward(self, x: torch.Tensor, answer: torch.Tensor) -> torch.Tensor:
        return self.body(torch.cat([x, answer], 1))


def test_adversarial_steps_alternate_and_go_on_to_the_bit(tmp_path: Path) -> None:
    def flat(rng: np.random.Generator) -> Any:
        image, labels, _ = draw(rng)
        return image[4:5], labels[:, 4:5]

    def fit_(epochs: int, name: str) -> Fit:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module, judge = build("unet", {"channels": 1}), Judge()
        how = FitRecipe(epochs=epochs, steps=3, batch=2, optimiser=Optimiser(schedule="constant", momentum=0.5))
        out = tmp_path / f"{name}.safetensors"
        return Fit(module, facts_of(volumetric=False), flat, [], how, out, CPU, discriminator=judge)

    fit = fit_(2, "a")
    before = {k: v.clone() for k, v in fit.adversary.judge.state_dict().items()}  # type: ignore[union-attr]
    history = fit.run(progress=False)
    assert not torch.equal(before["body.weight"], fit.adversary.judge.body.weight)  # type: ignore
    assert all(p.requires_grad for p in fit.adversary.judge.parameters())  # type: ignore[union-attr]
    stopped = fit_(2, "b")
    stopped.how = stopped.how.with_(epochs=1)
    stopped.run(progress=False)
    again = fit_(2, "b")
    again.run(progress=False)
    assert numbers(again.history) == numbers(history)
    assert same(again.module, fit.module)
    assert same(again.adversary.judge, fit.adversary.judge)  # type: ignore[union-attr]


# -- what it shows -------------------------------------------------------------------------------------------


def test_files_of_a_fit(tmp_path: Path) -> None:
    from PIL import Image

    fit = fit_of(tmp_path, short(epochs=3))
    fit.run(progress=False)
    names = {"last.safetensors", "history.csv", "training.log", "curve.svg", "curve.png", "validation.png", *MODELS}
    assert {p.name for p in fit.folder.iterdir()} == names
    curve = np.asarray(Image.open(fit.folder / "curve.png"))[..., :3]
    for _, colour in fit_report.LOSS.values():
        assert (curve == colour).all(-1).sum() > 30
    drawn = (fit.folder / "curve.svg").read_text()
    assert all(
        f">{text}<" in drawn for text in ("Loss", "Dice coefficient", "Learning rate", "training", "validation", "3")
    )
    patches = np.asarray(Image.open(fit.folder / "validation.png"))
    assert patches.shape == (2 * 192 + 6, 5 * 192 + 4 * 6, 3)
    assert (patches[:192] == fit_report.GREEN).all(-1).any()


def test_pictures_of_a_regression_show_noisy_answer_and_target() -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(3, 8, 8)).astype(np.float32) for _ in range(4)]
    arrays[1][2][:2] = np.nan
    arrays[2][1] = arrays[2][2]
    arrays[3][2][:] = np.nan
    looks = [fit_report.Look(a, b[None], c[None]) for a, b, c in arrays]
    picture = fit_report.sheet([fit_report.numbers_panels(look) for look in looks])
    assert picture.shape == (3 * 192 + 2 * 6, 4 * 192 + 3 * 6, 3)
    rows = [picture[k * 198 : k * 198 + 192].astype(int) for k in range(3)]
    columns = [[row[:, k * 198 : k * 198 + 192] for row in rows] for k in range(4)]
    assert (columns[2][1] == columns[2][2]).all()  # the same numbers look the same
    assert (columns[0][1] != columns[0][2]).any()
    blue = [(column[2][..., 2] > column[2][..., 0]).mean() for column in columns]
    assert blue == [0, 0.25, 0, 1]  # nan is tinted, and nothing else


def test_curves_are_drawn_without_validation(tmp_path: Path) -> None:
    fit = fit_of(tmp_path, short(epochs=1), validation=[])
    fit.run(progress=False)
    names = {"last.safetensors", "history.csv", "training.log", "curve.svg", "curve.png", *MODELS}
    assert {p.name for p in fit.folder.iterdir()} == names
    assert "Dice" not in (fit.folder / "curve.svg").read_text()


def test_tensorboard_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(DependencyError, match=r"pip install 'volengine\[tensorboard\]'"):
        fit_of(tmp_path, short(tensorboard=True))


def test_tensorboard_gets_the_numbers_of_each_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[tuple[str, float, int]] = []

    class Writer:
        def add_scalar(self, name: str, value: float, step: int) -> None:
            written.append((name, value, step))

        def flush(self) -> None: ...

        def close(self) -> None:
            written.append(("closed", 0.0, 0))

    monkeypatch.setattr("volengine.nets.training.fit.reporter.tensorboard_writer", lambda folder: Writer())
    history = fit_of(tmp_path, short(tensorboard=True)).run(progress=False)
    want = [(n, row[n], int(row["epoch"])) for row in history for n in ("loss", "validation_loss", "validation_dice")]
    assert written == [*want, ("closed", 0.0, 0)]


# -- fine-tuning ---------------------------------------------------------------------------------------------


def test_beginning_with_another_model(tmp_path: Path) -> None:
    fit = fit_of(tmp_path, short())
    fit.run(progress=False)
    trained, facts = load_model(fit.out)
    own = network(seed=9)
    assert start_from(own, fit.out) == (facts, [])
    assert same(own, trained)
    other = network(channels=2, seed=9)
    head = other.head.weight.detach().clone()  # type: ignore[union-attr]
    assert start_from(other, fit.out)[1] == ["head.weight", "head.bias"]
    assert torch.equal(other.head.weight, head)  # type: ignore[union-attr]
    assert torch.equal(other.down[0][0].weight, trained.down[0][0].weight)  # type: ignore[index]
    with pytest.raises(InputError, match="another architecture"):
        start_from(build("unet3d", {"width": 2, "levels": 3}), fit.out)
    with pytest.raises(InputError, match="only its last layer may differ"):
        start_from(build("unet3d", {"width": 4, "levels": 2}), fit.out)


# -- several processes ---------------------------------------------------------------------------------------

WORKER = """
import sys
from pathlib import Path
import torch
sys.path.insert(0, sys.argv[1])
from test_fit import SHARED, fit_of, short, network
from volengine.nets.training.fit.recipe import Optimiser
from volengine.nets.training.fit.ranks import Ranks, leave
torch.set_num_threads(1)
rank = Ranks.from_environment().rank
for kind, terms in SHARED.items():
    folder = Path(sys.argv[2]) / kind
    how = short(epochs=3, batch=4, terms=terms, optimiser=Optimiser(kind="sgd", learning_rate=0.05, momentum=0.5,
        schedule="constant"), average=0.5)
    fit_of(folder, how.with_(epochs=1), network(seed=rank)).run(progress=False)
    fit = fit_of(folder, how, network(seed=5 + rank))
    history = fit.run(progress=False)
    torch.save((fit.module.state_dict(), history, fit.average.state()), folder / f"rank{rank}.pt")
del fit
leave()
"""


SHARED = {
    "plain": (Term("bce_dice"),),
    "datasets": (Term("dice"), Term("bce", datasets=("two",))),
}
"""Losses of fits that several processes share."""


def test_two_processes_equal_one(tmp_path: Path) -> None:
    """Same weights on both, and the steps of one process that sees the whole batch. They begin with different weights
    (those of the first count), and go on from the first epoch in a second run."""
    for kind in SHARED:
        (tmp_path / kind).mkdir()
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "0"]
    command = [*command, "--standalone", str(script), str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for kind, terms in SHARED.items():
        check_equals_one(tmp_path / kind, terms)


def check_equals_one(folder: Path, terms: tuple[Term, ...]) -> None:
    """What two processes left in a folder is what one makes."""
    both = [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    for part in (0, 2):  # the weights, and their average
        assert all(torch.equal(both[0][part][k], both[1][part][k]) for k in both[0][part])
    np.testing.assert_array_equal(numbers(both[0][1]), numbers(both[1][1]))  # without predictions no precision: nan
    optimiser = Optimiser(kind="sgd", learning_rate=0.05, momentum=0.5, schedule="constant")
    how = short(epochs=3, batch=4, terms=terms, optimiser=optimiser, average=0.5)
    alone = fit_of(folder, how, name="alone")
    history = alone.run(progress=False)
    np.testing.assert_allclose(numbers(both[0][1]), numbers(history), rtol=1e-4)
    begun, state = network().state_dict(), alone.module.state_dict()
    moved = max(float((state[k] - begun[k]).abs().max()) for k in state)
    for part, wanted in ((0, state), (2, alone.average.state())):
        for name, tensor in wanted.items():
            assert float((tensor - both[0][part][name]).abs().max()) < 1e-3 * moved
    assert {p.name for p in (folder / "m.safetensors.training").iterdir()} >= {"last.safetensors", "history.csv"}
    log = (folder / "m.safetensors.training" / "training.log").read_text()
    assert re.findall(r" epoch (\d)/\d: loss", log) == ["1", "2", "3"]  # of the first process alone


def test_a_batch_is_shared_in_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [k for rank in range(3) for k in Ranks(rank, 3).share(12)] == list(range(12))
    with pytest.raises(InputError, match="A batch of 4 cannot be shared among 3 processes"):
        Ranks(0, 3).share(4)
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "8")
    monkeypatch.setenv("LOCAL_RANK", "1")
    ranks = Ranks.from_environment()
    assert ranks == Ranks(3, 8, 1)
    assert not ranks.first
    assert ranks.device(torch.device("cuda")) == torch.device("cuda", 1)
    assert ranks.device(CPU) == CPU


def test_recipes_go_through_json() -> None:
    how = short(terms=(Term("dice", 2.0, ("a",)),), optimiser=Optimiser(kind="sgd"), patience=2)
    assert FitRecipe.from_json(json.loads(json.dumps(how.to_json()))) == how
    assert Objective(how.terms).terms == how.terms
