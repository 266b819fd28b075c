"""Random rotations and directions, and products of quaternions, with the same bits on every machine.

The last bit of sines and cosines differs between processors, and one placement that is rounded differently changes all
later placements. The functions of this module therefore use only + - * / and the square root, whose results IEEE 754
defines to the last bit. Random points in the unit disc are drawn by rejection (G. Marsaglia, Ann. Math. Stat. 43, 1972,
645).

>>> import numpy as np
>>> q = random_quaternions(np.random.default_rng(1), 3)
>>> q.shape, np.allclose((q * q).sum(1), 1)
((3, 4), True)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.specimen import rotation_matrix

Floats = NDArray[np.float64]

IDENTITY = (1.0, 0.0, 0.0, 0.0)
_TINY = 1e-12


def _disc(rng: np.random.Generator, count: int) -> tuple[Floats, Floats]:
    """Uniform points (count, 2) in the unit disc, except at its centre, and their squared radii (count,)."""
    kept = [np.zeros((0, 2))]
    missing = count
    while missing > 0:
        point = rng.random((missing + missing // 2 + 8, 2)) * 2 - 1
        radius = point[:, 0] * point[:, 0] + point[:, 1] * point[:, 1]
        kept.append(point[(radius < 1) & (radius > _TINY)][:missing])
        missing -= len(kept[-1])
    point = np.concatenate(kept)
    return point, point[:, 0] * point[:, 0] + point[:, 1] * point[:, 1]


def random_quaternions(rng: np.random.Generator, count: int) -> Floats:
    """Draw uniform rotations: unit quaternions w, x, y, z, (count, 4) float64 (Marsaglia 1972, points on the 3-sphere).

    Parameters
    ----------
    rng
        The random generator.
    count
        Number of rotations.
    """
    first, r1 = _disc(rng, count)
    second, r2 = _disc(rng, count)
    return np.concatenate([first, second * np.sqrt((1 - r1) / r2)[:, None]], axis=1)


def random_directions(rng: np.random.Generator, count: int) -> Floats:
    """Draw uniform unit vectors z, y, x, (count, 3) float64 (Marsaglia 1972, points on the 2-sphere)."""
    point, radius = _disc(rng, count)
    return np.concatenate([1 - 2 * radius[:, None], point * (2 * np.sqrt(1 - radius))[:, None]], axis=1)


def random_circle(rng: np.random.Generator, count: int) -> Floats:
    """Draw uniform points on the unit circle, (count, 2) float64."""
    point, radius = _disc(rng, count)
    return point / np.sqrt(radius)[:, None]


def multiply(first: ArrayLike, second: ArrayLike) -> Floats:
    """Multiply quaternions: the result rotates by ``second`` and then by ``first``.

    Parameters
    ----------
    first, second
        (n, 4) or (4,): quaternions w, x, y, z.

    Returns
    -------
    (n, 4) float64; unit quaternions, normalised again after the product.
    """
    a, b, c, d = np.moveaxis(np.asarray(first, float).reshape(-1, 4), -1, 0)
    w, x, y, z = np.moveaxis(np.asarray(second, float).reshape(-1, 4), -1, 0)
    product = np.stack(
        [
            a * w - b * x - c * y - d * z,
            a * x + b * w + c * z - d * y,
            a * y - b * z + c * w + d * x,
            a * z + b * y - c * x + d * w,
        ],
        axis=-1,
    )
    return product / _length(product)


def turned(points: ArrayLike, quaternion: ArrayLike) -> Floats:
    """Rotate points by one quaternion.

    Parameters
    ----------
    points
        (n, 3), z, y, x.
    quaternion
        (4,): unit quaternion w, x, y, z.

    Returns
    -------
    (n, 3) float64, z, y, x.
    """
    z, y, x = np.asarray(points, float).reshape(-1, 3).T
    rows = rotation_matrix(quaternion)[0][::-1]
    return np.stack([row[0] * x + row[1] * y + row[2] * z for row in rows], axis=-1)


def spins(rng: np.random.Generator, axis: ArrayLike, count: int) -> Floats:
    """Draw rotations by uniform angles about one axis (unit vector z, y, x): quaternions w, x, y, z, (count, 4)."""
    half = random_circle(rng, count)  # a uniform half angle over the full circle is a uniform angle
    z, y, x = np.asarray(axis, float)
    return np.stack([half[:, 0], half[:, 1] * x, half[:, 1] * y, half[:, 1] * z], axis=-1)


def towards(normal: ArrayLike) -> Floats:
    """The shortest rotations that take +z to unit vectors.

    Parameters
    ----------
    normal
        (n, 3) or (3,): unit vectors z, y, x.

    Returns
    -------
    (n, 4) float64, unit quaternions w, x, y, z. For -z: half a turn about x.
    """
    z, y, x = np.moveaxis(np.asarray(normal, float).reshape(-1, 3), -1, 0)
    quaternion = np.stack([1 + z, -y, x, np.zeros_like(z)], axis=-1)
    opposite = z < -1 + 1e-9  # half a turn about any axis perpendicular to z is equally short: take x
    quaternion[opposite] = (0.0, 1.0, 0.0, 0.0)
    return quaternion / _length(quaternion)


def _length(quaternion: Floats) -> Floats:
    w, x, y, z = np.moveaxis(quaternion, -1, 0)
    length: Floats = np.sqrt(w * w + x * x + y * y + z * z)[:, None]
    return length
