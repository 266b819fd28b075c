"""What a training tells: its log, its pictures, the columns of its history; reports never end a training."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_fits import CPU, SMALL, VALIDATION, Explodes, draw, facts_of, fit_of, network, short

from volengine.core.errors import InputError, VolengineError
from volengine.nets.training.fit import report, reporter
from volengine.nets.training.fit.account import Account, Seen
from volengine.nets.training.fit.logfile import TrainingLog
from volengine.nets.training.fit.progress import Steps
from volengine.nets.training.fit.report import Look, colours, panels, sheet
from volengine.nets.training.fit.state import load_state, save_state
from volengine.nets.training.losses.pooled import Score

STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d "


def lines_of(folder: Path) -> list[str]:
    lines = (folder / "training.log").read_text().splitlines()
    assert all(re.match(STAMP, line) for line in lines)
    return [re.sub(STAMP, "", line, count=1) for line in lines]


def two(rng: np.random.Generator) -> Any:
    """A sample of two features; the second is where the first is not counted."""
    image, labels, name = draw(rng)
    return image, np.concatenate([labels, (labels == 2).astype(np.uint8)]), name


# -- the log -------------------------------------------------------------------------------------------------------


def test_the_log_says_what_is_trained_and_how_each_epoch_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = ({"recipe": {"epochs": 2, "loss": "bce"}, "data": {"a b.mrc": "012ab"}},)
    fit = fit_of(tmp_path, short(), facts=facts_of().with_(history=told), notes=["the points are few"])
    fit.run(progress=False)
    assert capsys.readouterr().err == ""
    lines = lines_of(fit.folder)
    for wanted in (
        r"volengine \S+, Python 3\S+, PyTorch \S+",
        r"host \S+, device cpu, \d+ threads",
        rf"network unet3d .*, {sum(p.numel() for p in network().parameters()):,} weights",
        r"recipe: epochs: 2",
        r'recipe: loss: "bce"',
        r'data: "a b.mrc": "012ab"',
        r"the points are few",
        r"epoch 1/2: loss \d\.\d{4}, validation loss \d\.\d{4}, Dice \d\.\d{3}, learning rate 0.001, \d+\.\d s, with "
        r"validation \d+\.\d s, CPU \d+\.\d s, becomes the model",
        r"finished after 2 epochs; the model is epoch \d \(.*\)",
    ):
        assert sum(bool(re.fullmatch(wanted, line)) for line in lines) == 1, wanted
    again = fit_of(tmp_path, short(), facts=facts_of().with_(history=told))
    again.run(progress=False)
    more = lines_of(fit.folder)
    assert more[: len(lines)] == lines
    assert more[len(lines)] == "goes on after epoch 2"
    assert not any(line.startswith("epoch ") for line in more[len(lines) :])


def test_an_error_is_in_the_log(tmp_path: Path) -> None:
    fit = fit_of(tmp_path, short(epochs=3), Explodes())
    with pytest.raises(VolengineError):
        fit.run(progress=False)
    assert lines_of(fit.folder)[-1].startswith("ended by VolengineError: Epoch 2, step 1 of 4: the loss is nan.")


def test_a_training_with_another_recipe_leaves_the_log_alone(tmp_path: Path) -> None:
    fit = fit_of(tmp_path, short(epochs=1))
    fit.run(progress=False)
    before = (fit.folder / "training.log").read_bytes()
    with pytest.raises(InputError, match="another recipe"):
        fit_of(tmp_path, short(epochs=1), facts=facts_of().with_(voxel_size=(9, 9, 9))).run(progress=False)
    assert (fit.folder / "training.log").read_bytes() == before


def test_a_full_disk_and_a_folder_that_is_gone_lose_lines_only(tmp_path: Path) -> None:
    path, warned = tmp_path / "folder" / "training.log", list[str]()
    log = TrainingLog(path, warned.append)
    log("first")
    path.unlink()
    path.symlink_to("/dev/full")
    log("second")
    log("third")
    assert len(warned) == 1
    assert "No space left on device" in warned[0]
    path.unlink()
    path.parent.rmdir()
    log("fourth\nEpoch 9")
    lines = lines_of(path.parent)
    assert lines == ["(2 lines before this one could not be written)", "fourth\\nEpoch 9"]


def test_a_full_disk_for_the_log_does_not_change_a_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit = fit_of(tmp_path, short())
    fit.folder.mkdir()
    (fit.folder / "training.log").symlink_to("/dev/full")
    history = fit.run(progress=True)
    assert capsys.readouterr().err.count("training.log cannot be written (No space left on device)") == 1
    assert [row["loss"] for row in history] == [
        row["loss"] for row in fit_of(tmp_path, short(), name="other").run(progress=False)
    ]


def test_lines_come_while_an_epoch_runs_and_while_it_is_validated(capsys: pytest.CaptureFixture[str]) -> None:
    said: list[str] = []
    with Steps(2, 3, 0, show=False, every_s=0.0, log=said.append) as steps:
        for _ in range(3):
            steps.step(0.5)
        assert list(steps.validating(["a", "b"])) == ["a", "b"]
    assert [re.sub(r", \d+ s left", "", line) for line in said] == [
        "training: epoch 1/2, 1/6 steps, loss 0.5000",
        "training: epoch 1/2, 2/6 steps, loss 0.5000",
        "training: epoch 1/2, 3/6 steps, loss 0.5000",
        "training: epoch 1/2, validation 0/2",
        "training: epoch 1/2, validation 1/2",
    ]
    assert capsys.readouterr().err == ""
    said.clear()
    with Steps(2, 3, 0, show=False, every_s=1e9, log=said.append) as steps:
        steps.step(0.5)
    assert said == []


def test_the_fit_logs_the_steps_of_its_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = reporter.Steps
    monkeypatch.setattr(reporter, "Steps", lambda *args, **more: made(*args, **more, every_s=0.0))
    fit = fit_of(tmp_path, short(epochs=1))
    fit.run(progress=False)
    lines = lines_of(fit.folder)
    assert sum("/4 steps, loss" in line for line in lines) == 4
    assert sum("validation " in line and "/5" in line for line in lines) == 5


def test_only_the_first_process_writes(tmp_path: Path) -> None:
    values = (tmp_path / "f", network(), facts_of(), short(), VALIDATION, None, CPU)
    other = reporter.Reporter(*values, first=False)  # type: ignore[arg-type]
    with other.run(progress=True):
        other.begin([])
        other.say("something")
        other.drew(torch.as_tensor(VALIDATION[0][1])[None])
    assert not (tmp_path / "f").exists()


# -- the history ---------------------------------------------------------------------------------------------------


def test_dice_precision_and_recall_of_each_feature_are_columns(tmp_path: Path) -> None:
    how = short(epochs=2, steps=6)
    some = [two(np.random.default_rng((4, k))) for k in range(3)]
    facts = facts_of().with_(features=("_膜", "odd, =$name$"), arguments={"channels": 2, **SMALL})
    fit = fit_of(tmp_path, how, network(channels=2), draw=two, validation=some, facts=facts)
    history = fit.run(progress=False)
    with (fit.folder / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [f"validation_{what}_{f}" for what in ("dice", "precision", "recall") for f in facts.features]
    assert list(rows[0])[-6:] == names
    assert float(rows[1]["learning_rate"]) == pytest.approx(how.rate(6))
    drawn = (fit.folder / "curve.svg").read_text()
    assert all(f">{name}<" in drawn for name in (" _膜", "odd, =$name$"))
    counts = np.zeros((3, 2))
    for image, labels, _ in some:
        with fit.average.shown(), torch.no_grad():
            answer = fit.module.eval()(torch.as_tensor(image)[None, None])[0].numpy() > 0
        mask = labels != 2
        for n, part in enumerate((answer & (labels == 1), answer & mask, labels == 1)):
            counts[n] += part.sum((1, 2, 3))
    both, found, truth = counts
    with np.errstate(invalid="ignore"):
        want = [*(2 * both / (found + truth)), *(both / found), *(both / truth)]
    got = [history[-1][name] for name in names]
    np.testing.assert_allclose(got, want)


def test_a_feature_that_the_set_lacks_has_no_scores() -> None:
    shares = Score(0.1, 0.2, truth=[10, 0, 6], found=[8, 3, 0], both=[4, 0, 0]).shares()
    np.testing.assert_equal(shares["dice"], [8 / 18, math.nan, 0.0])
    np.testing.assert_equal(shares["precision"], [0.5, math.nan, math.nan])
    np.testing.assert_equal(shares["recall"], [0.4, math.nan, 0.0])
    assert Score(0.1, math.nan, []).shares() == {"dice": [], "precision": [], "recall": []}


def test_a_history_whose_first_epochs_have_fewer_columns_is_a_table(tmp_path: Path) -> None:
    save_state(tmp_path, {"module": {}}, [{"epoch": 1}, {"epoch": 2, "new": 0.5}], {})
    assert (tmp_path / "history.csv").read_text().splitlines() == ["epoch,new", "1,nan", "2,0.5"]
    assert load_state(tmp_path, {}) == ({}, [{"epoch": 1}, {"epoch": 2, "new": 0.5}])


# -- pictures ------------------------------------------------------------------------------------------------------


def look(features: int, side: int = 8) -> Look:
    rng = np.random.default_rng(1)
    truth = np.zeros((features, side, side), np.uint8)
    answer = np.zeros((features, side, side), np.float32)
    for k in range(features):
        truth[k, k * 2 : k * 2 + 2, :4] = 1
        answer[k, k * 2 : k * 2 + 2, 4:] = 1
    truth[:, -1] = 2
    return Look(rng.normal(size=(side, side)).astype(np.float32), answer, truth)


@pytest.mark.parametrize("features", [("ball",), ("shell", "core"), ("a", "b", "c")])
def test_each_feature_is_drawn_in_its_own_colour(features: tuple[str, ...]) -> None:
    one = look(len(features))
    above, below = panels(one, features)
    chosen = colours(features)
    assert len({*chosen}) == len(features)
    for k, (mark, tint) in enumerate(chosen):
        rows = slice(k * 48, k * 48 + 48)
        assert (above[rows, :96] == mark).all(-1).any()
        assert not (above[rows, 96:] == mark).all(-1).any()
        right = below[rows, 96:].astype(int).reshape(-1, 3)
        grey = panels(Look(one.image, 0 * one.answer, one.truth), features)[1][rows, 96:].astype(int).reshape(-1, 3)
        np.testing.assert_allclose(right, 0.2 * grey + 0.8 * np.array(tint), atol=1)
    ignored = above[-20:].astype(int)
    assert (ignored[..., 2] > ignored[..., 1]).all()


def test_features_with_the_same_colour_get_others_and_dark_ones_are_made_lighter() -> None:
    same = ["ribosome", "Ribosomes"]
    assert len({mark for mark, _ in colours(same)}) == 2
    assert all(sum(mark) / 3 > 90 for mark, _ in colours(["vesicle", "ferritin", "spliceosome", "carbon"]))


def test_many_columns_are_in_rows_of_six() -> None:
    pictures = [[np.full((4, 5, 3), k, np.uint8)] * 2 for k in range(8)]
    drawn = sheet(pictures)
    assert drawn.shape == (4 * 4 + 3 * 6, 6 * 5 + 5 * 6, 3)
    assert (drawn[20:24, :5] == 6).all()
    assert (drawn[20:24, 22:] == 255).all()


def test_the_plot_has_a_curve_for_each_of_several_features() -> None:
    rows = [{"epoch": e, "loss": 1 / e, "validation_loss": 1 / e, "validation_dice": 0.1 * e} for e in (1, 2, 3)]
    for row in rows:
        row |= {report.column("dice", f): 0.2 * row["epoch"] for f in ("shell", "core")} | {"learning_rate": 0.1}
    from volengine.ops.figures import figure_files

    drawn = figure_files(report.curve(rows, ("shell", "core"), model=1))["svg"].decode()
    for text in ("Loss", "Dice coefficient", "Learning rate", "shell", "core", "all", "Epoch (dashed: the model, 2)"):
        assert f">{text}<" in drawn
    del rows[0]["learning_rate"], rows[0]["validation_dice"]  # an older epoch
    report.curve(rows, ("shell", "core"))


# -- the account ---------------------------------------------------------------------------------------------------


def test_the_page_gets_what_was_seen_and_cannot_end_the_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    accounts: list[Account] = []

    def page(account: Account) -> None:
        accounts.append(account)
        raise OSError(28, "No space left on device")

    fit = fit_of(tmp_path, short(epochs=3), page=page)
    history = fit.run(progress=True)
    assert len(history) == 3
    assert capsys.readouterr().err.count("The page of the training cannot be written") == 1
    last = accounts[-1]
    assert last.ended
    assert [row["epoch"] for row in last.history] == [1, 2, 3]
    assert last.drawn.patches == 3 * 4 * 2
    truth = sum(int((labels == 1).sum()) for _, labels, _ in VALIDATION)
    counted = sum(int((labels != 2).sum()) for _, labels, _ in VALIDATION)
    assert last.seen == Seen(5, (truth,), (counted,))
    assert last.seen.shares == [truth / counted]
    assert 0 < last.drawn.shares[0] < 1  # type: ignore[operator]
    assert len(last.looks) == 5
    assert all(len(pictures) == 2 for _, pictures in last.looks)
    assert {text.split(",")[0] for text, _ in last.looks} <= {"one", "two"}
    assert b"<svg" in last.curve
