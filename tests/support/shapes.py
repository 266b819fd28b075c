"""Surfaces whose measures are known by formula, as clean meshes and as meshes of masks with staircases."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import trimesh
from numpy.typing import NDArray

from volengine.core.surface import Surface

Floats = NDArray[np.float64]
TURNED = np.linalg.qr(np.array([[1.0, 2, 3], [0.5, -1, 2], [2, 0.3, -1]]))[0]
"""A turn (or turn and mirror) that leaves no axis where it was."""


def ball(radius: float, steps: int = 5) -> Surface:
    """A sphere about the origin, normals outwards."""
    mesh = trimesh.creation.icosphere(steps, radius)
    return Surface(mesh.vertices[:, ::-1], mesh.faces)


def grid(u: Floats, v: Floats, place: Callable[[Floats, Floats], Floats], wrap_u: bool, wrap_v: bool) -> Surface:
    """The mesh of a parametrised surface; ``place`` gives x, y, z; normals along ``d/du x d/dv`` (x, y, z)."""
    nu, nv = len(u), len(v)
    at = place(*(a.ravel() for a in np.meshgrid(u, v, indexing="ij")))
    i, j = np.meshgrid(np.arange(nu - (not wrap_u)), np.arange(nv - (not wrap_v)), indexing="ij")
    i, j = i.ravel(), j.ravel()
    a, b = i * nv + j, (i + 1) % nu * nv + j
    c, d = (i + 1) % nu * nv + (j + 1) % nv, i * nv + (j + 1) % nv
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    return Surface(at[:, ::-1], faces)


def cylinder(radius: float, length: float, step: float) -> Surface:
    """An open cylinder along x, y, z = z axis, normals outwards."""
    u = np.arange(n := round(2 * np.pi * radius / step)) * 2 * np.pi / n
    v = np.linspace(0, length, round(length / step) + 1)
    return grid(u, v, lambda a, b: np.stack([radius * np.cos(a), radius * np.sin(a), b], 1), True, False)


def torus(large: float, small: float, step: float) -> tuple[Surface, Floats]:
    """A torus, normals outwards, and the angle of each vertex about the tube (0: outermost)."""
    u = np.arange(n := round(2 * np.pi * large / step)) * 2 * np.pi / n
    v = np.arange(m := round(2 * np.pi * small / step)) * 2 * np.pi / m

    def place(a: Floats, b: Floats) -> Floats:
        far = large + small * np.cos(b)
        return np.stack([far * np.cos(a), far * np.sin(a), small * np.sin(b)], 1)

    return grid(u, v, place, True, True), np.tile(v, len(u))


def staircase(
    inside: Callable[[Floats, Floats, Floats], NDArray[np.bool_]],
    shape: tuple[int, int, int],
    voxel_size: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> Surface:
    """Marching cubes at 0.5 of a mask: all its staircases. ``inside`` of places z, y, x, normals outwards."""
    from skimage.measure import marching_cubes

    places = np.meshgrid(*(np.arange(n) * s for n, s in zip(shape, voxel_size, strict=True)), indexing="ij")
    at, faces, _, _ = marching_cubes(inside(*places).astype(np.float32), 0.5, spacing=voxel_size)
    made = Surface(at, faces[:, ::-1])
    a, b, c = (made.vertices[made.faces[:, k]][:, ::-1] for k in range(3))
    volume = np.einsum("ij,ij->i", a - a.mean(0), np.cross(b - a, c - a)).sum()
    return made if volume > 0 else Surface(at, faces)


def turned(
    surface: Surface, matrix: Floats = TURNED, shift: tuple[float, float, float] = (7.0, -30.0, 120.0)
) -> Surface:
    """A surface turned and moved; a mirror turns the faces as well."""
    faces = surface.faces if np.linalg.det(matrix) > 0 else surface.faces[:, ::-1]
    return Surface(surface.vertices @ matrix.T + np.array(shift), faces)
