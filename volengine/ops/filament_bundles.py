"""Hollow tubes that touch along their length: one component with several lumens, of which each is a filament.

Filled, such tubes are one thick body, whose thinned voxels may be a single line. Their lumens stay apart, because the
walls lie between them; so each voxel of the component goes to the nearest lumen. Lines are those of hollow tubes if
every line runs in a lumen, every lumen has a line, and few voxels lie farther aside than the wall.

>>> z, y, x = np.indices((19, 35, 60))
>>> one, two = np.hypot(z - 9, y - 9), np.hypot(z - 9, y - 25)
>>> parts = lumens_apart(np.argwhere((one <= 5) | (two <= 5)), np.ones(3))
>>> walls = np.argwhere((one <= 8) & (one > 5) | (two <= 8) & (two > 5))
>>> len(parts), np.bincount(nearest_lumen(walls, parts, np.ones(3))).tolist()
(2, [6960, 6900])
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from volengine.ops.filament_walls import FACES, SLENDER, is_long, radius_by_surface

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

IN_LUMEN = 0.6
"""At least this share of a line's samples lies in a lumen; others where the wall has a slit, or debris lies inside."""
WITH_LINE = 0.9
"""At least this share of the lumens lies near a line."""
MOST_ASIDE = 0.08
"""At most this share of the voxels lies farther aside of the lines than the wall: debris and short branches."""
NEAR = 1.5
"""So near to a voxel of a lumen a sample lies in it."""
NARROW, SMALL = 0.5, 0.05
"""What is narrower than this share of the widest lumen, or has less than this share of the voxels of the largest one,
is a groove between tubes, or where single voxels of a wall are missing."""
MOST_FLAT = 1.7
"""A section is at most so many times as wide as high (root mean squares); two tubes side by side are 1.8 or more."""
FLAT_PART = 0.35
"""Along so much of a line they are so flat; at meetings those of any filaments are."""
MOST_GONE = 0.3
"""A branch that was left out reaches at most this share of the longest curve that was kept: else it is its twin."""
DIGITS = 6
"""Distances are compared to so many digits: where two are equal, rounding must not decide."""


def lumens_apart(lumen: Ints, size: Floats) -> list[Ints]:
    """The parts (6 neighbours) of filled voxels that are lumens of tubes: long ones.

    Parameters
    ----------
    lumen
        (n, 3) the voxels z, y, x that were filled.
    size
        Sides of a voxel z, y, x, in units of the shortest one.

    Returns
    -------
    list of ndarray
        (k, 3) voxels of each, in the order of their first voxel.
    """
    from scipy.ndimage import find_objects, label

    if not len(lumen):
        return []
    first = lumen.min(axis=0)
    full = np.zeros(lumen.max(axis=0) - first + 1, bool)
    full[tuple((lumen - first).T)] = True
    parts = np.empty(full.shape, np.int32)
    label(full, output=parts)
    found = []
    for k, box in enumerate(find_objects(parts), 1):
        here = parts[box] == k
        voxels = np.argwhere(here) + [side.start for side in box] + first
        radius = FACES * radius_by_surface(here, size)
        slender = len(voxels) * float(np.prod(size)) >= 2 * SLENDER * np.pi * radius**3
        if slender or is_long(voxels * size):
            found.append((radius, voxels.astype(np.int64)))
    widest = max((radius for radius, _ in found), default=0.0)
    most = max((len(voxels) for _, voxels in found), default=0)
    return [voxels for radius, voxels in found if radius >= NARROW * widest and len(voxels) >= SMALL * most]


def nearest_lumen(voxels: NDArray[np.generic], parts: list[Ints], size: Floats) -> Ints:
    """The number of the lumen (:func:`lumens_apart`) that is nearest to each voxel (n, 3); of equal ones the first."""
    from scipy.spatial import cKDTree

    places = voxels.astype(np.float64) * size
    nearest, owner = np.full(len(places), np.inf), np.zeros(len(places), np.int64)
    for number, part in enumerate(parts):
        away = cKDTree(part * size).query(places)[0].round(DIGITS)
        owner[away < nearest] = number
        nearest = np.minimum(nearest, away)
    return owner


def of_tubes(lines: list[tuple[Floats, Floats]], parts: list[Ints], voxels: NDArray[np.generic], size: Floats) -> bool:
    """Whether lines are those of hollow tubes, and of all that a component has.

    Parameters
    ----------
    lines
        Positions and tangents (m, 3) of each, in units of the shortest side of a voxel.
    parts
        The lumens of the component (:func:`lumens_apart`).
    voxels
        (n, 3) its voxels, without lumens.
    size
        Sides of a voxel z, y, x.
    """
    from scipy.spatial import cKDTree

    if not lines:
        return False
    tree = cKDTree(np.concatenate(parts) * size)
    if any(np.mean(tree.query(at)[0] <= NEAR * size.max()) < IN_LUMEN for at, _ in lines):
        return False
    position, tangent = (np.concatenate(each) for each in zip(*lines, strict=True))
    samples = cKDTree(position)
    for part in parts:
        if np.mean(samples.query(part * size)[0] <= 2 * _radius(part, size) + 3) < WITH_LINE:
            return False
    which = np.repeat(np.arange(len(lines)), [len(at) for at, _ in lines])

    def across(places: Floats) -> tuple[Ints, Floats]:
        near = samples.query(places)[1]
        away = places - position[near]
        away -= np.einsum("ij,ij->i", away, tangent[near])[:, None] * tangent[near]
        return which[near], np.linalg.norm(away, axis=1)

    owner, far = across(_surface([voxels, *parts]) * size)
    # most of a tube's surface is its outside; a median does not see what is attached to it
    outer = np.array([np.median(far[owner == k]) if (owner == k).any() else 0.0 for k in range(len(lines))])
    owner, far = across(voxels.astype(np.float64) * size)
    return bool(np.mean(far > outer[owner] + NEAR * size.max()) <= MOST_ASIDE)


def side_by_side(lines: list[tuple[Floats, Floats]], voxels: NDArray[np.generic], size: Floats) -> list[bool]:
    """Whether the section across each line is flat along :data:`FLAT_PART` of it: as of filaments side by side.

    Parameters
    ----------
    lines
        Positions and tangents (m, 3) of each, in units of the shortest side of a voxel.
    voxels
        (n, 3) those of the component.
    size
        Sides of a voxel z, y, x.

    Examples
    --------
    >>> z, y, x = np.indices((9, 16, 60))
    >>> one, two = (np.argwhere((z - 4) ** 2 + (y - at) ** 2 <= 9) for at in (4, 10))
    >>> line = np.stack([np.full(60, 4.0), np.full(60, 7.0), np.arange(60.0)], 1), np.eye(3)[[2] * 60]
    >>> side_by_side([line], np.concatenate([one, two]), np.ones(3)), side_by_side([line], one + [0, 3, 0], np.ones(3))
    ([True], [False])
    """
    from scipy.spatial import cKDTree

    if not lines:
        return []
    which = np.repeat(np.arange(len(lines)), [len(at) for at, _ in lines])
    places = voxels.astype(np.float64) * size
    owner = which[cKDTree(np.concatenate([at for at, _ in lines])).query(places)[1]]
    return [_flat(*line, places[owner == k]) for k, line in enumerate(lines)]


def _flat(position: Floats, tangent: Floats, places: Floats) -> bool:
    from scipy.spatial import cKDTree

    if not len(places):
        return False
    near = cKDTree(position).query(places)[1]
    away = places - position[near]
    height = np.einsum("ij,ij->i", away, tangent[near])
    here = np.abs(height) <= 1
    near, across = near[here], (away - height[:, None] * tangent[near])[here]
    count = np.bincount(near, minlength=len(position))
    mean, square = np.zeros((len(position), 3)), np.zeros((len(position), 3, 3))
    np.add.at(mean, near, across)
    np.add.at(square, near, across[:, :, None] * across[:, None])
    full = count >= 3
    if not full.any():
        return False
    mean = mean[full] / count[full, None]
    spread = np.linalg.eigvalsh(square[full] / count[full, None, None] - mean[:, :, None] * mean[:, None])
    # a quarter: what is one or two voxels thick is not flat
    flat = np.sqrt((spread[:, 2] + 0.25) / (spread[:, 1].clip(0) + 0.25)) > MOST_FLAT
    return bool(flat.mean() >= FLAT_PART)


def has_twin(thin: Floats, kept: list[Ints], radius: float) -> bool:
    """Whether a branch was left out that is about as long as what was kept, so that another could have been.

    Parameters
    ----------
    thin
        (n, 3) places of the thinned component's voxels, in units of the shortest side.
    kept
        The voxels of each curve that was kept, as rows of ``thin``.
    radius
        Of the tubes; bridges that became one meeting are no longer than twice that, and were not left out.
    """
    from scipy.spatial import cKDTree

    inside = np.concatenate(kept)
    gone = np.delete(thin, inside, axis=0)
    if not len(gone):
        return False
    longest = max(float(np.linalg.norm(np.diff(thin[one], axis=0), axis=1).sum()) for one in kept)
    return float(cKDTree(thin[inside]).query(gone)[0].max()) > max(MOST_GONE * longest, 1.2 * radius)


def in_a_row(one: Floats, two: Floats, radius: float) -> bool:
    """Whether a line (m, 3) goes on in another: they are one filament, whose lumen is not open all along.

    ``radius`` is that of the lumen: the end of one lies within it of the straight line on which the other one goes on.
    """
    for a, b in ((one, two), (two, one)):
        for line in (a, a[::-1]):
            way = line[0] - line[min(len(line) - 1, 10)]
            way /= max(float(np.linalg.norm(way)), 1e-12)
            for end in (b[0], b[-1]):
                apart = end - line[0]
                ahead = float(apart @ way)
                if ahead > -2 * radius and np.linalg.norm(apart - ahead * way) <= radius:
                    return True
    return False


def lumen_radius(parts: list[Ints], size: Floats) -> float:
    """The radius of the widest lumen, by its volume and surface."""
    return max(_radius(part, size) for part in parts)


def _surface(bodies: list[NDArray[np.generic]]) -> Ints:
    """The voxels of bodies together that have a face outside."""
    from scipy.ndimage import binary_erosion

    first = np.min([body.min(axis=0) for body in bodies], axis=0).astype(np.int64)
    last = np.max([body.max(axis=0) for body in bodies], axis=0).astype(np.int64)
    full = np.zeros(last - first + 1, bool)
    for body in bodies:
        full[tuple((body.astype(np.int64) - first).T)] = True
    found: Ints = np.argwhere(full & ~binary_erosion(full)).astype(np.int64) + first
    return found


def _radius(part: Ints, size: Floats) -> float:
    full = np.zeros(np.ptp(part, axis=0) + 1, bool)
    full[tuple((part - part.min(axis=0)).T)] = True
    return FACES * radius_by_surface(full, size)
