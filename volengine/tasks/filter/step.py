"""What all steps of ``filter`` have in common."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import ClassVar

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe


@dataclass(frozen=True)
class Step(Recipe):
    """Base of the steps; ``name`` is how recipes call it, ``shown`` are values for it on the command line."""

    name: ClassVar[str] = ""
    shown: ClassVar[tuple[str, ...]] = ()

    def said(self) -> str:
        """The step as one line, for people."""
        own = self.to_json()
        given = {f.name: own[f.name] for f in fields(self) if own[f.name] != f.default and own[f.name] is not None}
        return " ".join([self.name, *(f"{key}={value}" for key, value in given.items())])

    def positive(self, **values: float | None) -> None:
        for key, value in values.items():
            if value is not None and not (math.isfinite(value) and value > 0):
                raise InputError(f"{self.name}: {key} must be a positive number, not {value:g}.")

    def share(self, **values: float) -> None:
        for key, value in values.items():
            if not 0 <= value <= 1:
                raise InputError(f"{self.name}: {key} must be from 0 to 1, not {value:g}.")
