"""The page of a training: ``index.html`` in its folder, with its curves, validation patches, scores, recipe and data.

It is written by the fit after some of its epochs, and complete at any time, also if the training is killed.
``recipe.yaml`` beside it holds the recipe with all values, as ``volengine train`` reads it.
"""

from __future__ import annotations

import base64
import dataclasses
import math
import shlex
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from volengine import __version__
from volengine.core.atomic import write_atomic
from volengine.core.paths import path_text
from volengine.core.recipe import Recipe
from volengine.core.volume import Vector3
from volengine.core.yaml_recipes import yaml_text
from volengine.nets.registry import is_own
from volengine.nets.training.fit.account import Account, Seen
from volengine.nets.training.fit.report import colours, column, ignored
from volengine.nets.training.fit.state import Row
from volengine.nets.training.place import folder_of
from volengine.ops.pictures import BLUE
from volengine.tasks.common.html import Page

if TYPE_CHECKING:
    from volengine.tasks.train.recipe import TrainRecipe
    from volengine.tasks.train.samples import SampleSource

NAME, RECIPE = "index.html", "recipe.yaml"
NOTHING = "-"


class TrainingPage:
    """Writes the page of a training.

    Parameters
    ----------
    recipe
        The recipe of the training.
    data
        Identity of everything that is read, by its name in the recipe.
    sources
        The open samples.
    out
        The model file.
    """

    def __init__(self, recipe: TrainRecipe, data: Mapping[str, str], sources: Sequence[SampleSource], out: str | Path):
        self.recipe, self.data, self.sources, self.out = recipe, dict(data), list(sources), Path(out)

    def __call__(self, account: Account) -> None:
        """Write page and recipe; each file appears when it is complete."""
        folder = folder_of(self.out)
        write_atomic(folder / RECIPE, self.recipe_text)
        Page("training.html", self.values(account)).write(folder / NAME)

    @cached_property
    def recipe_text(self) -> str:
        """The recipe as YAML."""
        return yaml_text(recipe_values(self.recipe))

    @cached_property
    def samples(self) -> list[tuple[str, ...]]:
        """Rows of a table: each sample, its voxel size, the known places of each feature, patches for validation."""
        return [
            (
                path_text(source.name),
                size_text(source.voxel_size),
                " / ".join(f"{n:,}" for n in source.positives) if source.weight else "no training",
                f"{len(source.validation()):,}",
            )
            for source in self.sources
        ]

    def values(self, account: Account) -> dict[str, Any]:
        """What the template shows."""
        choice, history = account.choice, account.history
        kept = history[choice.kept or 0]
        return {
            "name": self.out.name,
            "state": _state(account),
            "features": account.features,
            "numbers": _numbers(account, kept),
            "curve": base64.b64encode(account.curve).decode(),
            "looks": account.looks,
            "look_rows": " and ".join((", ".join(account.rows[:-1]), account.rows[-1])) if account.rows else "",
            "key": self._key(account),
            "regression": self.recipe.regression,
            "validated": account.seen.patches > 0,
            "blind": choice.blind,
            "kept_epoch": f"{kept['epoch']:.0f}",
            "reason": choice.reason,
            "apart": str(choice.apart) if choice.apart is not None else "",
            "epochs_head": EPOCHS_HEAD[: 5 if self.recipe.regression else 6],
            "epochs": epoch_rows(account, regression=self.recipe.regression),
            "features_head": FEATURES_HEAD,
            "feature_rows": feature_rows(account),
            "command": self.command(),
            "samples": self.samples,
            "shares": self._shares(account),
            "digests": sorted(self.data.items()),
            "recipe": self.recipe_text,
            "again": f"volengine train {shlex.quote(str(folder_of(self.out) / RECIPE))} --out ANOTHER.safetensors",
            "network": _network(account),
            "notes": account.notes,
            "written": f"volengine {__version__}, {time.strftime('%Y-%m-%d %H:%M:%S %z')}",
        }

    def command(self) -> str:
        """The command that applies the model."""
        words = ["volengine", "segment", "TOMOGRAM.mrc", "--models", str(self.out), "--out", "predictions"]
        if self.recipe.regression:
            words += ["--dtype", "float32"]
        if is_own(self.recipe.network):
            words += ["--network-files", self.recipe.network]
        return shlex.join(words)

    def _key(self, account: Account) -> list[tuple[tuple[int, int, int], str]]:
        if self.recipe.regression:
            return [(BLUE, "not known")]
        drawn = list(zip(account.features, colours(account.features), strict=True))
        if len(drawn) == 1:
            (name, (mark, tint)) = drawn[0]
            found = [(mark, f"{name}, truth (outlined)"), (tint, f"{name}, prediction")]
        else:
            found = [(mark, f"{name} (truth outlined, prediction tinted)") for name, (mark, _) in drawn[:1]]
            found += [(mark, name) for name, (mark, _) in drawn[1:]]
        return [*found, (ignored(account.features), "does not count")]

    def _shares(self, account: Account) -> list[tuple[str, ...]]:
        """Rows of a table: each feature, and its share of the voxels of patches for training and for validation."""
        if self.recipe.regression:
            return []
        return [
            (feature, share_text(account.drawn, k), share_text(account.seen, k))
            for k, feature in enumerate(account.features)
        ]


EPOCHS_HEAD = ("", "epoch", "training loss", "validation loss", "learning rate", "Dice")
FEATURES_HEAD = ("feature", "epoch", "Dice", "precision", "recall")


def epoch_rows(account: Account, *, regression: bool = False) -> list[tuple[str, ...]]:
    """The epochs that matter as rows of a table: the one with the lowest loss, the last one, and which is the model."""
    rows = []
    for index, what in _told(account):
        row = account.history[index]
        names = ("loss", "validation_loss", "learning_rate", *(() if regression else ("validation_dice",)))
        rows.append((what, f"{row['epoch']:.0f}", *(number(row, name) for name in names)))
    return rows


def feature_rows(account: Account) -> list[tuple[str, ...]]:
    """Dice, precision and recall of each feature in these epochs, as rows of a table."""
    rows = []
    for feature in account.features:
        for index, _ in _told(account):
            row = account.history[index]
            names = [column(what, feature) for what in ("dice", "precision", "recall")]
            if any(name in row for name in names):
                rows.append((feature, f"{row['epoch']:.0f}", *(number(row, name) for name in names)))
    return rows


def _told(account: Account) -> list[tuple[int, str]]:
    """Indices of the epoch with the lowest loss and of the last one, and what they are."""
    choice, last = account.choice, len(account.history) - 1
    lowest = last if choice.lowest is None else choice.lowest
    found = {lowest: ["lowest loss"]} if not choice.blind else {}
    found.setdefault(last, []).append("last")
    found.setdefault(choice.kept or 0, []).append("the model")
    return [(index, ", ".join(words)) for index, words in sorted(found.items())]


def number(row: Row, name: str) -> str:
    """A value of the history as text."""
    value = row.get(name, math.nan)
    if not math.isfinite(value):
        return NOTHING
    return f"{value:.3g}" if name == "learning_rate" else f"{value:.3f}" if "loss" not in name else f"{value:.4f}"


def share_text(seen: Seen, k: int) -> str:
    """The share of a feature in per cent, with two digits."""
    share = seen.shares[k] if k < len(seen.shares) else None
    return NOTHING if share is None else f"{100 * share:.2g} %"


def size_text(size: Vector3) -> str:
    """A voxel size, one number if all sides are equal."""
    sides = size[:1] if len({*size}) == 1 else size
    return " x ".join(f"{side:.4g}" for side in sides) + " Å"


def recipe_values(recipe: TrainRecipe) -> dict[str, Any]:
    """The values of a recipe; what is not set is left out, of the samples also what has its default."""
    values = recipe.to_json()
    values["samples"] = [_set_values(sample) for sample in recipe.samples]
    return {name: value for name, value in values.items() if value not in (None, "", [], {})}


def _set_values(one: Recipe) -> dict[str, Any]:
    """The fields of a recipe that differ from their defaults."""
    values = one.to_json()
    return {
        f.name: values[f.name]
        for f in dataclasses.fields(one)
        if f.default is dataclasses.MISSING or getattr(one, f.name) != f.default
    }


def _state(account: Account) -> str:
    done, planned = len(account.history), account.how.epochs
    if not account.ended:
        return f"This page was written after epoch {done} of {planned}; the training goes on, or has been stopped."
    early = f" of {planned}, as nothing became better for {account.how.patience}" if done < planned else ""
    return f"The training is finished after {done} epochs{early}."


def _numbers(account: Account, kept: Row) -> list[tuple[str, str]]:
    """The numbers to see first."""
    found = [("Dice of the model", number(kept, "validation_dice"))] if "validation_dice" in kept else []
    loss = "validation_loss" if math.isfinite(kept["validation_loss"]) else "loss"
    found.append((f"{loss.replace('_', ' ')} of the model", number(kept, loss)))
    found.append(("epoch of the model", f"{kept['epoch']:.0f} of {len(account.history)}"))
    seconds = sum(row.get("seconds", 0.0) for row in account.history)
    found.append(("training time", f"{seconds / 60:.1f} min" if seconds >= 60 else f"{seconds:.0f} s"))
    return [entry for entry in found if entry[1] != NOTHING]


def _network(account: Account) -> list[tuple[str, str]]:
    facts, how = account.facts, account.how
    arguments = ", ".join(f"{name} = {value}" for name, value in facts.arguments.items())
    patch, field = (" x ".join(map(str, size)) if size else "" for size in (facts.patch, facts.receptive_field))
    drawn = account.drawn.patches
    rows = [
        ("network", f"{facts.network} ({arguments})" if arguments else facts.network),
        ("weights", f"{account.weights:,}"),
        ("voxel size", size_text(facts.voxel_size)),
        ("patch, voxels", patch),
        ("receptive field, voxels", field),
        ("patches for training", f"{how.epochs} epochs of {how.steps} steps of {how.batch}, each drawn anew"),
        ("drawn since the run began, by this process", f"{drawn:,}" if drawn else ""),
        ("patches for validation", f"{account.seen.patches:,}"),
        ("device", account.device),
    ]
    return [(name, text) for name, text in rows if text]
