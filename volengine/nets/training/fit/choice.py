"""Which epoch of a training becomes the model, and when a training stops early.

>>> rows = [{"loss": 1.0, "validation_loss": 0.5}, {"loss": 0.9, "validation_loss": 0.7}]
>>> Choice(rows, validated=True).kept
0
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from volengine.nets.training.fit.state import Row


@dataclass(frozen=True)
class Choice:
    """The choice among the epochs so far.

    By the validation loss, if there are samples for validation that hold a feature; by the training loss, if there are
    no samples for validation. If there are, but none of them holds any feature, their loss says nothing: then the last
    epoch is the model, and nothing stops early. A value that is not finite is never the best.

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
    def kept(self) -> int | None:
        """Index of the epoch that becomes the model; ``None`` before the first."""
        if not self.history:
            return None
        if self.blind:
            return len(self.history) - 1
        name = "validation_loss" if self.validated else "loss"
        values = [row[name] if math.isfinite(row[name]) else math.inf for row in self.history]
        return values.index(min(values))

    def idle(self, patience: int) -> bool:
        """Whether the last ``patience`` epochs (0: any number) brought no improvement."""
        if not patience or self.kept is None or self.blind:
            return False
        return len(self.history) - 1 - self.kept >= patience

    @property
    def reason(self) -> str:
        """In words, by what the epoch was chosen."""
        if self.blind:
            return "the last one, as no sample for validation holds a feature, and its loss says nothing"
        return f"the lowest {'validation' if self.validated else 'training'} loss"
