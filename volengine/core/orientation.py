"""Orientations of particles: Euler angles, rotation matrices and normals.

A particle's *Euler angles* are RELION's rot, tilt, psi in degrees (Heymann, Chagoyen, Belnap, J. Struct. Biol. 151,
2005, 196: ZYZ). As a matrix they are::

    A(rot, tilt, psi) = (Rz(rot) Ry(tilt) Rz(psi))ᵀ

with right-handed rotations of column vectors (x, y, z). ``A @ v`` turns a vector ``v`` of the reference (the average)
into the tomogram. The particle's own z axis therefore points to ``(-cos psi sin tilt, sin psi sin tilt, cos tilt)``
(x, y, z): that is the *normal* of a particle on a membrane. A normal does not determine the rotation about itself; its
Euler angles have rot = 0.

Matrices act on x, y, z, as is usual in the field; normals are z, y, x, like all other vectors of this package.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_UPRIGHT = 1e-12  # sine of the tilt below which rot and psi cannot be told apart


def euler_to_matrix(euler: ArrayLike) -> Floats:
    """Rotation matrices of Euler angles: from the reference into the tomogram.

    Parameters
    ----------
    euler
        (n, 3), rot, tilt, psi in degrees.

    Returns
    -------
    (n, 3, 3) float64, acting on column vectors x, y, z.

    >>> euler_to_matrix([[0, 90, 0]])[0].round(6) @ [0, 0, 1]  # the particle's z axis points along -x
    array([-1.,  0.,  0.])
    """
    rot, tilt, psi = np.radians(np.asarray(euler, float).reshape(-1, 3)).T
    cr, ct, cp = np.cos(rot), np.cos(tilt), np.cos(psi)
    sr, st, sp = np.sin(rot), np.sin(tilt), np.sin(psi)
    rows = [
        [cp * ct * cr - sp * sr, cp * ct * sr + sp * cr, -cp * st],
        [-sp * ct * cr - cp * sr, -sp * ct * sr + cp * cr, sp * st],
        [st * cr, st * sr, ct],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def matrix_to_euler(matrix: ArrayLike) -> Floats:
    """Euler angles of rotations, the inverse of :func:`euler_to_matrix`.

    Parameters
    ----------
    matrix
        (n, 3, 3), acting on column vectors x, y, z.

    Returns
    -------
    (n, 3) float64, rot, tilt, psi in degrees, with tilt in [0, 180] and the others in [-180, 180]. Where the tilt is
    0 or 180 only one turn is determined; rot is 0 there.
    """
    m = np.asarray(matrix, float).reshape(-1, 3, 3)
    sine = np.hypot(m[:, 2, 0], m[:, 2, 1])
    upright = sine < _UPRIGHT
    tilt = np.arctan2(sine, m[:, 2, 2])
    rot = np.where(upright, 0.0, np.arctan2(m[:, 2, 1], m[:, 2, 0]))
    psi = np.where(
        upright,
        np.arctan2(m[:, 0, 1], np.sign(m[:, 2, 2]) * m[:, 0, 0]),
        np.arctan2(m[:, 1, 2], -m[:, 0, 2]),
    )
    euler: Floats = np.degrees(np.stack([rot, tilt, psi], axis=-1))
    return euler


def no_rotations(matrix: ArrayLike, tolerance: float) -> NDArray[np.int64]:
    """Numbers of the matrices that stretch, shear or mirror, and so are no rotations.

    Parameters
    ----------
    matrix
        (n, 3, 3).
    tolerance
        How far the products of two rows may be from those of a rotation; files may have few digits.
    """
    m = np.asarray(matrix, float).reshape(-1, 3, 3)
    off = np.abs(m @ m.transpose(0, 2, 1) - np.eye(3)).max(axis=(1, 2)) > tolerance
    return np.flatnonzero(off | (np.linalg.det(m) < 0))


def normal_to_euler(normal: ArrayLike) -> Floats:
    """Euler angles (rot = 0) that turn the reference's z axis into each normal.

    Parameters
    ----------
    normal
        (n, 3), z, y, x; of any length but 0.

    Returns
    -------
    (n, 3) float64, rot, tilt, psi in degrees.
    """
    z, y, x = np.asarray(normal, float).reshape(-1, 3).T
    tilt = np.arctan2(np.hypot(y, x), z)
    psi = np.where((x == 0) & (y == 0), 0.0, np.arctan2(y, -x))
    euler: Floats = np.degrees(np.stack([np.zeros_like(z), tilt, psi], axis=-1))
    return euler
