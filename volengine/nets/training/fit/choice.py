"""Which epoch of a training becomes the model, and when a training stops early.

The last epoch becomes the model, unless its validation loss is higher than the lowest one by more than the noise of the
validation; then the epoch with the lowest loss does. A part for validation is a small sample: among epochs that it
cannot tell apart, the one with the lowest loss is there by luck, and the last one has learnt longest, at the smallest
learning rate. (nnU-Net predicts with its last epoch, too.)

>>> rows = [
...     {"epoch": 1, "loss": 1.0, "validation_loss": 0.5, "validation_dice": 0.7, "validation_noise": 0.0},
...     {"epoch": 2, "loss": 0.9, "validation_loss": 0.7, "validation_dice": 0.6, "validation_noise": 0.1},
... ]
>>> Choice(rows, validated=True).kept
0
>>> rows[1]["validation_noise"] = 0.3
>>> Choice(rows, validated=True).kept
1
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from volengine.nets.training.fit.state import Row


@dataclass(frozen=True)
class Apart:
    """How far apart the epoch with the lowest validation loss and the last one are.

    Parameters
    ----------
    lowest, last
        The rows of the two epochs.
    loss, dice
        What the last one has more, of the loss and of Dice (NaN for a regression).
    noise
        Standard error of the difference of the losses over the samples for validation; NaN if it is not known.
    """

    lowest: Row
    last: Row
    loss: float
    dice: float
    noise: float

    @property
    def told_apart(self) -> bool:
        """Whether the difference is larger than the noise; also if the noise is not known."""
        return self.loss > 0 and not self.loss <= self.noise

    def __str__(self) -> str:
        first, last = int(self.lowest["epoch"]), int(self.last["epoch"])
        if first == last:
            return f"the last epoch ({last}) has the lowest validation loss, {_values(self.last)}"
        if math.isnan(self.noise):
            noise = "the noise is not known"
        else:
            noise = f"{'more' if self.told_apart else 'not more'} than the noise, {self.noise:.4f}"
        return (
            f"epoch {first} has the lowest validation loss, {_values(self.lowest)}; the last epoch ({last}) has "
            f"{_values(self.last)}, a difference of {self.loss:.4f} ({noise})"
        )


def _values(row: Row) -> str:
    dice = row["validation_dice"]
    return f"{row['validation_loss']:.4f}" + ("" if math.isnan(dice) else f" (Dice {dice:.3f})")


@dataclass(frozen=True)
class Choice:
    """The choice among the epochs so far.

    By the validation loss, if there are samples for validation that hold a feature; by the training loss, if there are
    no samples for validation. If there are, but none of them holds any feature, their loss says nothing: then the last
    epoch is the model, and nothing stops early. A value that is not finite is never the best. If the noise is not
    known, because the loss rests on a single sample, the lowest loss decides.

    Parameters
    ----------
    history
        One row per epoch.
    validated
        Whether there are samples for validation.
    """

    history: Sequence[Row]
    validated: bool

    @property
    def blind(self) -> bool:
        """Whether there are samples for validation that say nothing."""
        return self.validated and not any(math.isfinite(row["validation_loss"]) for row in self.history)

    @property
    def lowest(self) -> int | None:
        """Index of the epoch with the lowest loss, or of the last one if it says nothing; ``None`` before the first."""
        if not self.history:
            return None
        if self.blind:
            return len(self.history) - 1
        name = "validation_loss" if self.validated else "loss"
        values = [row[name] if math.isfinite(row[name]) else math.inf for row in self.history]
        return values.index(min(values))

    @property
    def apart(self) -> Apart | None:
        """How far apart the lowest and the last epoch are; ``None`` if there is no validation that says something."""
        if self.lowest is None or self.blind or not self.validated:
            return None
        low, last = self.history[self.lowest], self.history[-1]
        loss, dice = (last[name] - low[name] for name in ("validation_loss", "validation_dice"))
        return Apart(low, last, loss, dice, last["validation_noise"])

    @property
    def kept(self) -> int | None:
        """Index of the epoch that becomes the model, the lowest or the last one; ``None`` before the first."""
        apart = self.apart
        return self.lowest if apart is None or apart.told_apart or math.isnan(apart.loss) else len(self.history) - 1

    def idle(self, patience: int) -> bool:
        """Whether the last ``patience`` epochs (0: any number) brought no lower loss."""
        if not patience or self.lowest is None or self.blind:
            return False
        return len(self.history) - 1 - self.lowest >= patience

    @property
    def reason(self) -> str:
        """In words, by what the epoch was chosen."""
        if self.blind:
            return "the last one, as no sample for validation holds a feature, and its loss says nothing"
        if self.kept != self.lowest:
            return "the last one, as the validation does not tell it from the one with the lowest loss"
        return f"the lowest {'validation' if self.validated else 'training'} loss"
