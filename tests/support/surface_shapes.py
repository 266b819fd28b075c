"""Surfaces whose distances and areas are known by formula, for the tests of methods on surfaces."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, Delaunay

Mesh = tuple[NDArray[np.float64], NDArray[np.int64]]


def rotation(seed: int) -> NDArray[np.float64]:
    """A rotation at random."""
    matrix, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return matrix * np.sign(np.linalg.det(matrix))


def plane(side: float, step: float, seed: int = 0, *, turned: bool = True, holes: tuple[float, ...] = ()) -> Mesh:
    """A flat square of irregular triangles with its middle at 0, turned at random; with holes of these radii there."""
    rng = np.random.default_rng(seed)
    n = round(side / step) + 1
    line = np.linspace(-side / 2, side / 2, n)
    at = np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)
    inner = np.abs(at).max(axis=1) < side / 2 - step / 2
    at[inner] += rng.uniform(-0.3 * step, 0.3 * step, (inner.sum(), 2))
    faces = Delaunay(at).simplices.astype(np.int64)
    a, b, c = (at[faces[:, i]] for i in range(3))
    cross = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    faces = faces[np.abs(cross) > 1e-9 * step**2]
    middle = np.linalg.norm(at[faces].mean(axis=1), axis=1)
    for radius in holes:
        faces = faces[middle > radius]
        middle = middle[middle > radius]
    vertices = np.concatenate([np.zeros((len(at), 1)), at], axis=1)
    return (vertices @ rotation(seed).T if turned else vertices), faces


def on_plane(
    at: NDArray[np.float64], seed: int = 0, *, turned: bool = True, height: float = 0.0
) -> NDArray[np.float64]:
    """Points (n, 2) of that plane in space, at a height above it."""
    points = np.concatenate([np.full((len(at), 1), height), at], axis=1)
    return points @ rotation(seed).T if turned else points


def sphere(radius: float, count: int) -> Mesh:
    """A sphere with its vertices on a spiral, faces counterclockwise from outside in x, y, z; z, y, x."""
    k = np.arange(count) + 0.5
    tilt, turn = np.arccos(1 - 2 * k / count), np.pi * (1 + 5**0.5) * k
    at = radius * np.stack([np.cos(turn) * np.sin(tilt), np.sin(turn) * np.sin(tilt), np.cos(tilt)], axis=1)
    faces = ConvexHull(at).simplices.astype(np.int64)
    a, b, c = (at[faces[:, i]] for i in range(3))
    inward = np.einsum("ij,ij->i", np.cross(b - a, c - a), a) < 0
    faces[inward] = faces[inward][:, ::-1]
    return at[:, ::-1], faces


def torus(wide: float, thin: float, around: int, across: int) -> Mesh:
    """A torus about the z axis: radius of the circle of its middle, radius of the tube; z, y, x."""
    u, v = (2 * np.pi * np.arange(n) / n for n in (around, across))
    u, v = np.meshgrid(u, v, indexing="ij")
    vertices = on_torus(u.ravel(), v.ravel(), wide, thin)
    i, j = np.meshgrid(np.arange(around), np.arange(across), indexing="ij")
    a, b = (i * across + j).ravel(), (((i + 1) % around) * across + j).ravel()
    c, d = (i * across + (j + 1) % across).ravel(), (((i + 1) % around) * across + (j + 1) % across).ravel()
    return vertices, np.concatenate([np.stack([a, b, d], 1), np.stack([a, d, c], 1)])


def on_torus(u: NDArray[np.float64], v: NDArray[np.float64], wide: float, thin: float) -> NDArray[np.float64]:
    """Points of the torus at angles around and across (0: the outer equator)."""
    ring = wide + thin * np.cos(v)
    return np.stack([thin * np.sin(v), ring * np.sin(u), ring * np.cos(u)], axis=1)


def cube(side: float) -> Mesh:
    """A cube with a corner at 0, two faces on each side."""
    at = np.array([[z, y, x] for z in (0, side) for y in (0, side) for x in (0, side)], float)
    faces = ConvexHull(at).simplices.astype(np.int64)
    middle = at.mean(axis=0)[::-1]
    a, b, c = (at[faces[:, i]][:, ::-1] for i in range(3))
    inward = np.einsum("ij,ij->i", np.cross(b - a, c - a), a - middle) < 0
    faces[inward] = faces[inward][:, ::-1]
    return at, faces


def area(mesh: Mesh) -> float:
    """Area of a mesh."""
    a, b, c = (mesh[0][mesh[1][:, i]] for i in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)
