"""Recipe of a sum of losses."""

from __future__ import annotations

from dataclasses import dataclass

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe


@dataclass(frozen=True)
class Term(Recipe):
    """One term of a sum of losses.

    Parameters
    ----------
    loss
        Name of the loss in the registry of losses.
    weight
        Weight of the term; weights are divided by their sum.
    datasets
        Names of the datasets to whose samples it applies; empty: all.
    """

    loss: str
    weight: float = 1.0
    datasets: tuple[str, ...] = ()

    def check(self) -> None:
        if self.weight <= 0:
            raise InputError(f"The weight of a loss must be positive, not {self.weight} ({self.loss}).")
