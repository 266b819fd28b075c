"""The recipe of ``sweep``: which values of a run's recipe are tried."""

from __future__ import annotations

import math
from dataclasses import dataclass

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.core.slices import Slice

MOST_SETTINGS = 1000
"""More are a mistake in a range, not a choice that anybody looks at."""


@dataclass(frozen=True)
class SweepRecipe(Recipe):
    """What is tried, and how the answers are compared.

    Parameters
    ----------
    vary
        Fields and their values: ``pick.FEATURE.FIELD=0.3,0.5,0.7``, ``rules.1.FIELD=5:20:5`` (from, to, step; both ends
        included), ``rules.2=on,off`` (with and without the rule). Rules count from 1. All combinations are tried. In a
        list, what has no ``=`` is one more value of the field before it.
    truth
        Known positions: a table of picks, or a folder of tables named ``TOMOGRAM__FEATURE``.
    radius_nm
        A pick is right if it lies within this distance of a known position that no other pick is paired with.
    pictures
        Draw a slice for each setting, of the first tomogram.
    slice
        The slice that is drawn: ``z=40``, ``z=120nm``, ``z=middle``.
    tomogram
        The volume that is drawn; default: the prediction of the first feature that is picked.
    pick_radius_nm
        Radius of the rings that are drawn around picks.

    Examples
    --------
    >>> SweepRecipe(vary="pick.ribosome.threshold=0.5").vary
    ('pick.ribosome.threshold=0.5',)
    """

    vary: tuple[str, ...]
    truth: str = ""
    radius_nm: float = 10.0
    pictures: bool = True
    slice: str = "z=middle"
    tomogram: str = ""
    pick_radius_nm: float = 10.0

    def check(self) -> None:
        object.__setattr__(self, "vary", _rejoined(self.vary))
        if not self.vary:
            raise InputError("There is nothing to try: give vary, for example pick.ribosome.threshold=0.5,0.7,0.9.")
        for name, value in (("radius_nm", self.radius_nm), ("pick_radius_nm", self.pick_radius_nm)):
            if not 0 < value < math.inf:
                raise InputError(f"{name} is {value:g}; it must be positive.")
        Slice.parse(self.slice)


def _rejoined(given: tuple[str, ...]) -> tuple[str, ...]:
    """The fields with all of their values, also where a comma has divided them as it divides lists."""
    found: list[str] = []
    for text in given:
        if "=" in text or not found:
            found.append(text)
        else:
            found[-1] += f",{text}"
    return tuple(found)
