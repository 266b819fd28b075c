"""Surfaces whose measures are known by formula, in any orientation, z, y, x."""

from __future__ import annotations

import numpy as np
import trimesh
from numpy.typing import NDArray

from volengine.core.surface import Surface

TURNS = [np.eye(3), np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]]
TURNS[1] = TURNS[1] * np.sign(np.linalg.det(TURNS[1]))


def ball(radius: float, centre=(0.0, 0.0, 0.0), level: int = 4, number: int = 1) -> Surface:
    """A sphere of faces."""
    made = trimesh.creation.icosphere(level, radius=radius)
    return Surface(np.asarray(made.vertices)[:, ::-1] + centre, made.faces, number=number)


def sheet(
    height: float, width: float, steps: int = 10, turn: NDArray = TURNS[0], centre=(0.0, 0.0, 0.0), number: int = 1
) -> Surface:
    """A flat rectangle across the first axis of ``turn``, in ``steps`` x ``steps`` pairs of triangles."""
    y, x = np.meshgrid(np.linspace(0, height, steps + 1), np.linspace(0, width, steps + 1), indexing="ij")
    flat = np.stack([np.zeros(y.size), y.ravel() - height / 2, x.ravel() - width / 2], axis=1)
    at = np.arange(y.size).reshape(y.shape)
    a, b, c, d = (at[i : i + steps, j : j + steps].ravel() for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)))
    faces = np.concatenate([np.stack([a, b, d], 1), np.stack([a, d, c], 1)])
    return Surface(flat @ turn + centre, faces, number=number)


def torus(major: float, minor: float) -> Surface:
    """A torus about z."""
    made = trimesh.creation.torus(major, minor, major_sections=80, minor_sections=40)
    return Surface(np.asarray(made.vertices)[:, ::-1], made.faces, number=1)


def dense(surface: Surface, number: int, seed: int = 0) -> NDArray[np.float64]:
    """Random places on the faces, drawn by trimesh."""
    made = trimesh.Trimesh(surface.vertices[:, ::-1], surface.faces, process=False)
    return np.asarray(trimesh.sample.sample_surface(made, number, seed=seed)[0])[:, ::-1]
