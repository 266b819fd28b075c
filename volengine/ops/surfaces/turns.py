"""The angle of particles about the normal, from correlations over all rotations, and whether it is known at all.

The correlation of a patch with a reference for every rotation comes from
:func:`volengine.ops.surfaces.patches.correlations`. Its maximum between two steps is that of the parabola through the
three highest values.

An angle is *known* if the reference fits better than one whose rings have lost their angles to each other: each ring
(one height, one radius) of the reference is turned by a random angle, which leaves the power of every ring and takes
away the particle. What is the same at all angles is taken out of both before, because it says nothing of the angle. If
one of 39 such references fits as well, the angle could be chance (one-sided level 1/40).

>>> turn, value = best_turn(np.array([[0.0, 0.9, 1.0, 0.9, 0.0, -1, -1, -1]]))
>>> turn.tolist(), value.tolist()
([90.0], [1.0])
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from volengine.ops.surfaces.patches import correlations

Floats = NDArray[np.float64]
SCRAMBLED = 39
"""References with turned rings that the true one must exceed."""
LEAST_SHARE = 1e-3
"""Share of the contrast of a reference that must depend on the angle."""
LEAST_ORDER = 0.5
"""Length of the mean of unit vectors at the errors (times the symmetry) from which on angles count as found."""
MOST_FOLD = 8


def best_turn(values: Floats) -> tuple[Floats, Floats]:
    """Angles of the highest correlations, and these, between the steps.

    Parameters
    ----------
    values
        (n, k) correlations at k angles that go around; NaN: not known.

    Returns
    -------
    Angles (n,) in degrees, -180 to 180 (0 where nothing is known), and the values (n,) there; of equally high ones the
    first.
    """
    rows, count = np.arange(len(values)), values.shape[1]
    known = np.where(np.isfinite(values), values, -np.inf)
    top = np.argmax(known, axis=1)
    here = values[rows, top]
    if count < 3:
        turn = top * (360.0 / count)
        return np.where(np.isfinite(here), (turn + 180) % 360 - 180, 0.0), here
    before, after = values[rows, top - 1], values[rows, (top + 1) % count]
    bend = before - 2 * here + after
    curved = np.isfinite(bend) & (bend < 0)
    shift = np.where(curved, 0.5 * (before - after) / np.where(curved, bend, 1), 0.0)
    turn = ((top + shift) * (360.0 / count) + 180) % 360 - 180
    return np.where(np.isfinite(here), turn, 0.0), here - 0.25 * np.where(curved, (before - after) * shift, 0.0)


def angular(patches: Floats) -> Floats:
    """Patches (..., angles) without what is the same at all angles."""
    found: Floats = patches - patches.mean(axis=-1, keepdims=True)
    return found


def angular_share(reference: Floats, weights: Floats) -> float:
    """Share of the contrast of a reference (heights, radii, angles) that depends on the angle, 0 to 1."""
    middle = (weights * reference).sum() / weights.sum()
    whole = (weights * (reference - middle) ** 2).sum()
    return float((weights * angular(reference) ** 2).sum() / whole) if whole > 0 else 0.0


def scrambled(reference: Floats, number: int, seed: int = 0) -> Floats:
    """(number, heights, radii, angles) references whose rings are turned by random whole steps."""
    heights, radii, angles = reference.shape
    moves = np.random.default_rng(seed).integers(0, angles, (number, heights, radii, 1))
    index = (np.arange(angles) + moves) % angles
    return np.take_along_axis(np.broadcast_to(reference, (number, *reference.shape)), index, axis=3)


def turn_is_known(patches: Floats, reference: Floats, weights: Floats, seed: int = 0) -> NDArray[np.bool_]:
    """Whether the angle of each patch is known.

    Parameters
    ----------
    patches
        (n, heights, radii, angles), centred on the particles.
    reference, weights
        (heights, radii, angles), as :func:`volengine.ops.surfaces.patches.correlations` takes them.
    seed
        Seed of the random angles.
    """
    if angular_share(reference, weights) < LEAST_SHARE or reference.shape[2] < 4:
        return np.zeros(len(patches), bool)
    mine = angular(patches)
    best = correlations(mine, angular(reference), weights).max(axis=1)
    other = np.full(len(patches), -np.inf)
    for one in scrambled(angular(reference), SCRAMBLED, seed):
        other = np.fmax(other, correlations(mine, one, weights).max(axis=1))
    known: NDArray[np.bool_] = np.isfinite(best) & (best > other)
    return known


def fold_of(errors_deg: Floats) -> tuple[int, float]:
    """The symmetry with which angles were found, and their error.

    Parameters
    ----------
    errors_deg
        (n,) differences of angles that were found and true ones.

    Returns
    -------
    The smallest fold n (1 to 8) for which the errors gather at multiples of 360 / n degrees, and the median of their
    absolute values modulo 360 / n; (0, nan) if they gather nowhere.

    >>> fold_of(np.array([1.0, -3, 2, 0, 5, -1, 0, 2]))
    (1, 1.5)
    >>> fold_of(np.array([181.0, -3, 2, 180, 5, 179, 0, 182]))
    (2, 1.5)
    >>> fold_of(np.linspace(0, 360, 50, endpoint=False))[0]
    0
    """
    n = len(errors_deg)
    for fold in range(1, MOST_FOLD + 1):
        order = abs(np.exp(1j * np.radians(fold * errors_deg)).mean()) if n else 0.0
        # n order² has mean 1 by chance (Rayleigh); 7 is exceeded once in a thousand times
        if order >= LEAST_ORDER and n * order**2 >= 7:
            half = 180 / fold
            return fold, float(np.median(np.abs((errors_deg + half) % (2 * half) - half)))
    return 0, float("nan")
