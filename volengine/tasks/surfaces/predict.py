"""What a trained network says of the vertices of surfaces."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.surface import Surface
from volengine.nets.surface_model import SurfaceModelFacts, load_surface_model, probabilities
from volengine.ops.surfaces.patches import Cylinder, places_around
from volengine.ops.surfaces.sampling import poisson_disc
from volengine.tasks.surfaces.sampler import Sampler
from volengine.tasks.surfaces.scored import Score, Scored, patches

Floats = NDArray[np.float64]
STATISTICS_SPACING = 50.0
"""Distance, angstrom, of the points from whose patches mean and deviation are taken."""
LEAST_SEEN = 0.5
"""Share of a patch that must lie in the tomogram."""


def grid_of_model(facts: SurfaceModelFacts) -> Cylinder:
    """The cylinder that a network sees."""
    return Cylinder(facts.heights, facts.radii, facts.angles)


def sums_around(surface: Surface, grid: Cylinder, sample: Sampler) -> Floats:
    """(n, 3) number, sum and sum of squares of the values around points of a surface, for 512 of them each."""
    points = poisson_disc(surface, STATISTICS_SPACING, np.random.default_rng(surface.number))
    found = []
    for first in range(0, len(points), 512):
        part = points[slice(first, first + 512)]
        values = sample(places_around(part.place, part.normal, grid))
        values = values[np.isfinite(values)]
        found.append((values.size, values.sum(), (values**2).sum()))
    return np.array(found, np.float64).reshape(-1, 3)


def spread_of(sums: Iterable[Floats], where: str) -> tuple[float, float]:
    """Mean and standard deviation from the sums around each surface, which are added in their order.

    Raises
    ------
    InputError
        The tomogram (``where``) is the same everywhere there, or does not reach there.
    """
    count, total, squares = 0, 0.0, 0.0
    for number, one, two in (row for part in sums for row in part.tolist()):
        count, total, squares = count + int(number), total + one, squares + two
    mean = total / max(1, count)
    deviation = float(np.sqrt(max(0.0, squares / max(1, count) - mean**2)))
    if not deviation > 1e-12 * abs(mean):
        raise InputError(f"{where}: has no contrast around the surfaces ({count} values); do they lie in it?")
    return float(mean), deviation


def statistics(surfaces: Iterable[Surface], grid: Cylinder, sample: Sampler) -> tuple[float, float]:
    """Mean and standard deviation of the tomogram around surfaces, which patches are normalised with.

    They are taken at points of 5 nm distance (the same for any mesh of the same surface, but for chance).

    Raises
    ------
    InputError
        The tomogram is the same everywhere there, or does not reach there.
    """
    return spread_of((sums_around(surface, grid, sample) for surface in surfaces), sample.volume.where)


def normalised(values: Floats, mean: float, deviation: float) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Patches for the network, 0 beyond the tomogram, and which of them lie in it by half at least."""
    known = np.isfinite(values)
    seen = known.mean(axis=(1, 2, 3)) >= LEAST_SEEN
    return np.where(known, (values - mean) / deviation, 0).astype(np.float32), seen


def network_score(
    path: str, sample: Sampler, surfaces: Iterable[Surface], known: tuple[float, float] | None = None
) -> tuple[Score, float, str, float]:
    """The score of a network: a function of a surface, its threshold, its feature, the height of particles.

    Mean and deviation of the tomogram around all surfaces are computed, unless they are ``known``.
    """
    network, facts = load_surface_model(path)
    grid = grid_of_model(facts)
    mean, deviation = statistics(surfaces, grid, sample) if known is None else known

    def score(surface: Surface) -> Scored:
        found = np.full(len(surface.vertices), np.nan)
        for part, values in patches(surface, grid, sample):
            given, seen = normalised(values, mean, deviation)
            found[part] = np.where(seen, probabilities(network, given), np.nan)
        return Scored(found)

    return score, facts.threshold, facts.feature, facts.height
