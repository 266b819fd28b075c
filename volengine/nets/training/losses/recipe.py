"""Which losses are added, with which weights."""

from __future__ import annotations

from dataclasses import dataclass

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe


@dataclass(frozen=True)
class Term(Recipe):
    """One of several losses.

    Parameters
    ----------
    loss
        Its name in the registry of losses.
    weight
        Its share; the weights are divided by their sum.
    datasets
        Names of the datasets whose samples it looks at; empty: all.
    """

    loss: str
    weight: float = 1.0
    datasets: tuple[str, ...] = ()

    def check(self) -> None:
        if self.weight <= 0:
            raise InputError(f"The weight of a loss must be positive, not {self.weight} ({self.loss}).")
