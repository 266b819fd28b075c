"""Masks and raw meshes of shapes whose area and volume are known."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box
from volengine.ops.surfaces.marching import pieces_of
from volengine.ops.surfaces.merge import merge_pieces

Floats = NDArray[np.float64]
Array = NDArray[Any]

OFF = 0.3
"""Shapes are not centred at a voxel."""


def grid(n: int, voxel: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Floats:
    """(3, n_z, n_y, n_x) places of voxels from the middle of a cube of side ``n``, in units of length."""
    sides = [np.arange(round(n / v)) * v - n / 2 + OFF for v in voxel]
    return np.stack(np.meshgrid(*sides, indexing="ij"))


def raw(mask: Array, *, closed: bool = True, **more: Any) -> tuple[Floats, Array]:
    """The raw mesh of a mask, in voxels; closed at the volume's faces or open."""
    shape = mask.shape
    crop = Box((-1, -1, -1), tuple(n + 1 for n in shape)) if closed else Box.of_shape(shape)
    padded = np.pad(mask.astype(np.int32), int(closed))
    if closed and "values" in more:
        more["values"] = np.pad(more["values"], 1)
    return merge_pieces([pieces_of(padded, crop, Box.of_shape(shape), shape, **more)])


def ball(radius: float, voxel: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> tuple[Floats, Array]:
    """The raw mesh of a ball, from its middle."""
    at = grid(int(2 * radius + 8), voxel)
    places, faces = raw((at**2).sum(0) < radius**2)
    return places * voxel - (int(2 * radius + 8) / 2 - OFF), faces


def area(vertices: Floats, faces: Array) -> float:
    a, b, c = (vertices[faces[:, n]] for n in range(3))
    return float(0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1).sum())
