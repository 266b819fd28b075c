"""What there is to tell of a training after an epoch: the facts that its page shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from volengine.core.model import ModelFacts
from volengine.nets.training.fit.choice import Choice
from volengine.nets.training.fit.cuts import Holding
from volengine.nets.training.fit.recipe import FitRecipe
from volengine.nets.training.fit.state import Row
from volengine.ops.pictures import Picture


@dataclass(frozen=True)
class Seen:
    """How much of each feature a number of patches held.

    Parameters
    ----------
    patches
        Number of patches.
    truth, counted
        For each feature the number of its voxels, and of the voxels that count; empty for a regression.
    """

    patches: int = 0
    truth: tuple[int, ...] = ()
    counted: tuple[int, ...] = ()

    @classmethod
    def of(cls, held: Sequence[Holding], patches: int) -> Seen:
        """The sum over patches."""
        truth = zip(*(one.truth for one in held), strict=True)
        counted = zip(*(one.counted for one in held), strict=True)
        return cls(patches, tuple(map(sum, truth)), tuple(map(sum, counted)))

    @property
    def shares(self) -> list[float | None]:
        """For each feature its share of the voxels that count; ``None`` if none does."""
        return [truth / counted if counted else None for truth, counted in zip(self.truth, self.counted, strict=True)]


@dataclass(frozen=True)
class Account:
    """A training after an epoch.

    Parameters
    ----------
    history
        One row per epoch.
    choice
        Which epoch is the model.
    facts, how
        The facts of the model, and the recipe of the fit.
    features
        Names of the features, without a background.
    weights, device
        Number of weights of the network; the device in words.
    ended
        Whether this epoch was the last.
    curve
        The plot, SVG.
    looks
        Slices of validation patches: what each is, and its pictures, to be shown one below the other.
    rows
        What these pictures are.
    seen, drawn
        What the patches for validation hold; and the patches that this process has drawn for training since it began.
    notes
        What was noted about the data and the training.
    """

    history: Sequence[Row]
    choice: Choice
    facts: ModelFacts
    how: FitRecipe
    features: tuple[str, ...]
    weights: int
    device: str
    ended: bool
    curve: bytes
    looks: list[tuple[str, list[Picture]]] = field(default_factory=list)
    rows: tuple[str, ...] = ()
    seen: Seen = Seen()
    drawn: Seen = Seen()
    notes: tuple[str, ...] = ()


Page = Callable[[Account], None]
"""Writes the page of a training."""
