"""Checks that the recipes of a specimen share."""

from __future__ import annotations

import math
import re

from volengine.core.errors import InputError

Range = tuple[float, float]
"""The smallest and the largest value of a number that is drawn."""


def named(where: str, name: str) -> None:
    """Refuse a class name that is not valid in file names."""
    if not is_name(name):
        raise InputError(f"{where}: name {name!r}: use letters, digits, '_', '-', '+' and '.'; files are called by it.")


def is_name(name: str) -> bool:
    """Whether a class name is valid in file names."""
    return re.fullmatch(r"[\w.+-]+", name) is not None


def positive(where: str, *values: float | None) -> None:
    """Refuse values that are 0, negative or infinite; ``None`` is accepted."""
    for value in values:
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"{where} must be positive, not {value}.")


def ordered(where: str, values: Range, least: float = 0.0) -> None:
    """Refuse a range whose first number exceeds the second, or is below ``least``."""
    low, high = values
    if not least <= low <= high < math.inf:
        raise InputError(f"{where} is {list(values)}; it needs two numbers from {least:g} on, the smaller one first.")
