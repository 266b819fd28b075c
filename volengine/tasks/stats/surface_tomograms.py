"""What the tables of ``stats --surface`` are made of: the tomograms with their measured surfaces."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.tasks.stats.surface_measure import Measured
from volengine.tasks.stats.surface_recipe import SurfaceStatsRecipe

Row = dict[str, Any]
NAN = float("nan")
NM2_PER_UM2 = 1e6


@dataclass(frozen=True, eq=False)
class SurfacedTomogram:
    """A tomogram whose particles were measured on its surfaces.

    Parameters
    ----------
    name, group
        Names.
    measured
        Its surfaces.
    classes
        The particles of each class, as counted in space.
    state, whose
        For each class what became of each particle, and on which of the surfaces it lies.
    contacts
        Rows of the table of contacts, without the names.
    """

    name: str
    group: str
    measured: Sequence[Measured]
    classes: Mapping[str, Any]
    state: Mapping[str, NDArray[Any]]
    whose: Mapping[str, NDArray[np.int64]]
    contacts: Sequence[Row]


def place_of(t: SurfacedTomogram, m: Measured) -> Row:
    """The names of a surface."""
    return {"tomogram": t.name, "group": t.group, "set": m.surface.set, "surface": m.surface.number}


def half_of(recipe: SurfaceStatsRecipe) -> float:
    """The share of an area that is the membrane's: half where the surface goes around a slab."""
    return 0.5 if recipe.both_faces else 1.0


def share(a: float, b: float) -> float:
    """A quotient; NaN of nothing."""
    return a / b if b else NAN


def surfaces_of(tomograms: Sequence[SurfacedTomogram]) -> list[Measured]:
    """The surfaces of tomograms."""
    return [m for t in tomograms for m in t.measured]


def seed_of(recipe: SurfaceStatsRecipe, *what: str) -> tuple[int, int]:
    """A seed of its own for each thing that is drawn."""
    return recipe.seed, zlib.crc32("\n".join(what).encode())
