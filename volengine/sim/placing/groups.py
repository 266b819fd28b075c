"""Clusters and bundles, which grow around a particle that was placed.

Both functions propose poses one by one to ``admit(template, position, quaternion)``, which places the particle or
refuses it, and return the number of placed particles. The rules are those of CryoTomoSim's ``cluster`` and ``bundle``,
according to its documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from volengine.sim.placing.solids import Solid
from volengine.sim.rotations import multiply, random_circle, random_directions, random_quaternions, spins, turned

Floats = NDArray[np.float64]
Admit = Callable[[int, Floats, Floats], bool]

CLUSTER_MEMBERS = 12
BUNDLE_MEMBERS = 18
_CLUSTER_TRIES = 12
_BUNDLE_FAILURES = 9
_ROUND = 1e-3  # share by which the longest direction must exceed the next to be an axis
_WIDEN = 1.1  # the radius of a bundle after a failure


def grow_cluster(
    rng: np.random.Generator,
    templates: Sequence[int],
    solids: Mapping[int, Solid],
    seed: tuple[int, Floats],
    admit: Admit,
) -> int:
    """Place up to 12 more particles around a seed, with random rotations, at 0.5 to 1.5 times its mean size.

    Parameters
    ----------
    rng
        Source of all random numbers.
    templates, solids
        The templates to choose from, as indices into ``solids``; and the solids.
    seed
        Template and position (3,) of the seed.
    admit
        Places a particle, or refuses it.
    """
    size = float(solids[seed[0]].extent.mean())
    shape = (CLUSTER_MEMBERS, _CLUSTER_TRIES)
    count = CLUSTER_MEMBERS * _CLUSTER_TRIES
    choice = np.asarray(templates)[rng.integers(len(templates), size=shape)]
    reach = size * (0.5 + rng.random(count))
    position = (seed[1] + random_directions(rng, count) * reach[:, None]).reshape(*shape, 3)
    quaternion = random_quaternions(rng, count).reshape(*shape, 4)
    return sum(
        any(admit(int(choice[m, t]), position[m, t], quaternion[m, t]) for t in range(_CLUSTER_TRIES))
        for m in range(CLUSTER_MEMBERS)
    )


def grow_bundle(rng: np.random.Generator, solid: Solid, seed: tuple[int, Floats, Floats], admit: Admit) -> int:
    """Place up to 18 more copies of a particle beside it, parallel to it.

    Each has a random spin about the principal axis, and is shifted along it by up to half its length. The distance from
    the seed's axis starts at the particle's width and grows by a tenth with every failure; nine failures in a row end
    the bundle.

    Parameters
    ----------
    seed
        Template, position (3,) and quaternion (4,) of the seed.
    """
    template, position, quaternion = seed
    axis, length, width = principal_axis(solid)
    along, first, second = turned(np.stack([axis, *_across(axis)]), quaternion)
    spin = spins(rng, axis, BUNDLE_MEMBERS)
    side = random_circle(rng, BUNDLE_MEMBERS)
    slide = (rng.random(BUNDLE_MEMBERS) - 0.5) * length
    placed = failures = 0
    radius = width
    for turn, (a, b), shift in zip(spin, side, slide, strict=True):
        at = position + along * shift + (first * a + second * b) * radius
        if admit(template, at, multiply(quaternion, turn)[0]):
            placed, failures = placed + 1, 0
            continue
        failures, radius = failures + 1, radius * _WIDEN
        if failures == _BUNDLE_FAILURES:
            break
    return placed


def principal_axis(solid: Solid) -> tuple[Floats, float, float]:
    """The longest direction of a solid, and its length and width.

    Returns
    -------
    ndarray, float, float
        Unit vector (z, y, x) whose largest component is positive; the extent along it, angstrom; and the diameter of
        the cylinder with the same variance across it, angstrom. All are rounded (1e-6, 0.01 angstrom), because the last
        bits of an eigenvector differ between machines.
    """
    point = solid.fill.astype(float)
    centred = point - point.mean(0)
    spread = np.array([[(centred[:, i] * centred[:, j]).mean() for j in range(3)] for i in range(3)])
    values, vectors = np.linalg.eigh(np.round(spread, 6))
    if values[2] - values[1] < _ROUND * values[2]:  # no direction is the longest
        vectors[:, 2] = (1.0, 0.0, 0.0)
    axis = vectors[:, 2] * np.sign(vectors[np.abs(vectors[:, 2]).argmax(), 2])
    axis = np.round(axis, 6)
    axis /= np.sqrt(axis[0] * axis[0] + axis[1] * axis[1] + axis[2] * axis[2])
    along = centred[:, 0] * axis[0] + centred[:, 1] * axis[1] + centred[:, 2] * axis[2]
    width = 4 * np.sqrt(max(0.0, float(values[0] + values[1]) / 2))  # a disc of radius r spreads by r / 2 per axis
    return axis, round(float(np.ptp(along)), 2), round(float(width), 2)


def _across(axis: Floats) -> tuple[Floats, Floats]:
    """Two unit vectors at right angles to a unit vector and to each other."""
    least = np.zeros(3)
    least[np.abs(axis).argmin()] = 1.0
    first = np.cross(axis, least)
    first /= np.sqrt(first[0] * first[0] + first[1] * first[1] + first[2] * first[2])
    return first, np.cross(axis, first)
