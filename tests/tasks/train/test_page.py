"""The page of a training: complete, escaped, right, and there whatever happens to the training."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from train_cases import SHAPE, case_in, recipe, write

from volengine.core.yaml_recipes import read_yaml
from volengine.nets.checkpoint import load_facts
from volengine.tasks.train.page import recipe_values
from volengine.tasks.train.recipe import TrainRecipe
from volengine.tasks.train.samples import TrainSample
from volengine.tasks.train.verb import train

VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Checks that tags are closed in order; collects the rows of tables, texts and addresses."""

    def __init__(self, page: str):
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.rows: list[list[str]] = []
        self.addresses: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data
        elif self.open and self.open[-1] != "style":
            self.words.append(data.strip())

    def row(self, *begin: str, cells: int = 2) -> list[str]:
        """The only row of this many cells that begins with these."""
        (found,) = [row for row in self.rows if tuple(row[: len(begin)]) == begin and len(row) == cells]
        return found


@pytest.fixture
def case(tmp_path: Path) -> dict[str, str]:
    return case_in(tmp_path)


def page_of(folder: Path, name: str = "m") -> tuple[str, Reader]:
    text = (folder / f"{name}.safetensors.training" / "index.html").read_text()
    return text, Reader(text)


def test_two_features_with_odd_names(tmp_path: Path, case: dict[str, str]) -> None:
    odd = ('<b>shell</b> & "co"', "=1+1 {{ x }}")
    second = np.zeros(SHAPE, np.int8)
    second[::2, 5:35, 3:8] = 1
    labels = (case["labels"], write(tmp_path / "<i>odd & 'name'.mrc", second))
    how = recipe(case, features=odd, sample={"labels": labels}, epochs=2, learning_rate=1e-5, arguments={"width": 2})
    history = train(how, tmp_path / "a & b <m>.safetensors", progress=False)
    folder = tmp_path / "a & b <m>.safetensors.training"
    text, page = page_of(tmp_path, "a & b <m>")
    assert not {"i", "m", "script", "link"} & set(page.tags)
    assert "<b>shell" not in text
    outside = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    assert not re.search(r"https?:|//|url\(|@import|<script|<link", outside)
    assert {a for a in page.addresses if not a.startswith("data:")} == {"history.csv", "training.log", "recipe.yaml"}
    assert "Training of a & b <m>.safetensors" in page.words
    assert any(odd[0] in word and odd[1] in word for word in page.words)
    for feature in odd:
        last = history[-1]
        want = [
            f"{v:.3f}" if v == v else "-"
            for v in (last[f"validation_{k}_{feature}"] for k in ("dice", "precision", "recall"))
        ]
        assert page.row(feature, "2", cells=5)[2:] == want
    assert TrainRecipe.from_json(read_yaml(folder / "recipe.yaml")) == how.resolved()
    assert yaml.safe_load((folder / "recipe.yaml").read_text())["learning_rate"] == 1e-5  # also for other readers
    assert any(word.startswith("samples:") and "\nfeatures:" in word for word in page.words)
    card = (folder / "card.md").read_text()  # the same words as of the model, and none of them is markup
    assert (folder / "validation.png").is_file()
    assert "](validation.png)" in card
    assert r"\<b\>shell\</b\>" in card
    assert "<b>" not in card
    assert f"| dice of =1+1 {{{{ x }}}} | {history[-1][f'validation_dice_{odd[1]}']:.3f} |" in card
    assert str(tmp_path) not in card
    digests = load_facts(tmp_path / "a & b <m>.safetensors").history[-1]["data"]
    for name, digest in digests.items():
        assert page.row(name) == [name, digest]
    command = next(word for word in page.words if word.startswith("volengine segment"))
    assert f"--models '{tmp_path}/a & b <m>.safetensors'" in command
    assert page.row("voxel size") == ["voxel size", "10 Å"]
    assert "The training is finished after 2 epochs." in " ".join(page.words)


def test_the_shares_are_those_of_the_validation_part(tmp_path: Path, case: dict[str, str]) -> None:
    """The validation is a volume of its own, an eighth of which is the feature."""
    truth = np.zeros(SHAPE, np.int8)
    truth[:, :5] = 1
    held = TrainSample(volume=case["image"], labels=(write(tmp_path / "held.mrc", truth),), use="validate")
    own = TrainSample(volume=case["image"], labels=(case["labels"],), use="train")
    train(recipe(case, epochs=1).with_(samples=(own, held)), tmp_path / "m.safetensors", progress=False)
    _, page = page_of(tmp_path)
    assert page.row("block", cells=3)[2] == "12 %"
    assert page.row("patches for validation")[1] == "30"
    assert page.row("drawn since the run began, by this process")[1] == "8"
    assert [row[-1] for row in page.rows if row[0] == "image" and len(row) == 4] == ["0", "30"]


@pytest.mark.parametrize("kind", ["none", "blind", "regression"])
def test_other_trainings_have_a_page_that_says_what_they_lack(tmp_path: Path, case: dict[str, str], kind: str) -> None:
    how = recipe(case, epochs=1)
    if kind == "none":
        how = how.with_(validation_share=0.0)
    elif kind == "blind":
        empty = write(tmp_path / "empty.mrc", np.zeros(SHAPE, np.int8))
        other = TrainSample(volume=case["image"], labels=(empty,), use="validate")
        how = how.with_(samples=(*(s.with_(use="train") for s in how.samples), other))
    else:
        target = TrainSample(volume=case["image"], targets=(case["image"],))
        how = how.with_(samples=(target,), loss="l2")
    train(how, tmp_path / "m.safetensors", progress=False)
    text, page = page_of(tmp_path)
    said = " ".join(page.words)
    assert ("There are no samples for validation" in said) is (kind == "none")
    assert ("No sample for validation holds a feature" in said) is (kind == "blind")
    assert (tmp_path / "m.safetensors.training" / "validation.png").exists() is (kind != "none")
    assert text.count("data:image/png") == {"none": 0, "blind": 2 * 6, "regression": 3 * 6}[kind]
    assert ("--dtype float32" in said) is (kind == "regression")
    assert any("Dice" in row for row in page.rows) is (kind != "regression")


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from train_cases import recipe
from volengine.nets.training.fit import fit, reporter
from volengine.tasks.train.verb import train
reporter.SHOW_EVERY_S, reporter.SHARE = 0.0, 0
save = fit.Fit._save
def killed(self):
    if len(self.history) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    save(self)
fit.Fit._save = killed
train(recipe({"image": sys.argv[2], "labels": sys.argv[3]}), sys.argv[4], progress=False)
"""


def test_a_killed_training_leaves_a_page_and_goes_on_with_its_log(tmp_path: Path, case: dict[str, str]) -> None:
    support, out = Path(__file__).parents[2] / "support", tmp_path / "m.safetensors"
    arguments = [str(support), case["image"], case["labels"], str(out)]
    environment: dict[str, Any] = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    _, page = page_of(tmp_path)
    assert "This page was written after epoch 2 of 3; the training goes on, or has been stopped." in " ".join(
        page.words
    )
    train(recipe(case), out, progress=False)
    _, page = page_of(tmp_path)
    assert "The training is finished after 3 epochs." in " ".join(page.words)
    log = (tmp_path / "m.safetensors.training" / "training.log").read_text()
    numbers = re.findall(r"(?:epoch (\d)/3: loss|(goes on) after epoch 2)", log)
    assert numbers == [("1", ""), ("2", ""), ("", "goes on"), ("3", "")]


def test_a_recipe_is_written_short_and_read_equal(tmp_path: Path) -> None:
    sample = TrainSample(volume="1e9", points=("012.star",), radius_nm=(12,), token="yes", region=(0, 0, 0, -1, -1, 62))
    how = TrainRecipe(samples=(sample,), features=("null",), augment="ais", momentum=0.5, learning_rate=1e-07)
    assert recipe_values(how)["samples"] == [
        {"volume": "1e9", "points": ["012.star"], "radius_nm": [12.0], "region": [0, 0, 0, -1, -1, 62], "token": "yes"}
    ]
    from volengine.core.yaml_recipes import yaml_text

    (tmp_path / "r.yaml").write_text(yaml_text(recipe_values(how)))
    assert TrainRecipe.from_json(read_yaml(tmp_path / "r.yaml")) == how
