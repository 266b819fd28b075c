"""Checks that the recipes of a specimen share."""

from __future__ import annotations

import math
import re

from volengine.core.errors import InputError

Range = tuple[float, float]
"""The smallest and the largest value of what is drawn."""


def named(where: str, name: str) -> None:
    """Refuse a class name that files cannot be called by."""
    if not is_name(name):
        raise InputError(f"{where}: name {name!r}: use letters, digits, '_', '-', '+' and '.'; files are called by it.")


def is_name(name: str) -> bool:
    """Whether files can be called by a class name."""
    return re.fullmatch(r"[\w.+-]+", name) is not None


def positive(where: str, *values: float | None) -> None:
    """Refuse values that are not above 0, or infinite; None passes."""
    for value in values:
        if value is not None and not 0 < value < math.inf:
            raise InputError(f"{where} must be positive, not {value}.")


def ordered(where: str, values: Range, least: float = 0.0) -> None:
    """Refuse a range that is the wrong way round or begins below ``least``."""
    low, high = values
    if not least <= low <= high < math.inf:
        raise InputError(f"{where} is {list(values)}; it needs two numbers from {least:g} on, the smaller one first.")
