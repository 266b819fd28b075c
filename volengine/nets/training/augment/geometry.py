"""Geometric augmentation: flips, quarter turns, exchanged axes, and one resampling for rotation and zoom together."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import grid_sample

from volengine.nets.training.augment.recipe import Augmentation, Geometry
from volengine.nets.training.losses.losses import IGNORE


def rigid(
    how: Augmentation, x: torch.Tensor, y: torch.Tensor, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Flip, turn by quarter turns and exchange axes; no voxel changes its value.

    Parameters
    ----------
    how
        The augmentation.
    x, y
        Image (slices or z, y, x) and labels (features, z, y, x).
    rng
        Source of all random numbers.
    """
    volumetric = x.shape[0] == y.shape[1]
    if how.flips:
        for axis in (-3, -2, -1) if volumetric or x.shape[0] % 2 else (-2, -1):
            if rng.random() < 0.5:
                x, y = x.flip(axis), y.flip(axis)
    if how.turns:
        square = x.shape[-1] == x.shape[-2]
        k = int(rng.integers(4)) if square else 2 * int(rng.integers(2))
        x, y = torch.rot90(x, k, (-2, -1)), torch.rot90(y, k, (-2, -1))
    if how.geometry.shuffles and volumetric and x.shape[0] > 1:
        order = _order(tuple(x.shape), rng)
        x, y = x.permute(order), y.permute(0, *(1 + a for a in order))
    return x, y


def _order(shape: tuple[int, ...], rng: np.random.Generator) -> tuple[int, ...]:
    """A random order of the axes that keeps the shape."""
    order = list(range(len(shape)))
    for length in sorted(set(shape)):
        equal = [a for a in order if shape[a] == length]
        for a, b in zip(equal, rng.permutation(equal), strict=True):
            order[a] = int(b)
    return tuple(order)


def resampled(
    how: Geometry, x: torch.Tensor, y: torch.Tensor, rng: np.random.Generator, volumetric: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotate and zoom about the patch's centre; the sample is unchanged if neither is drawn."""
    turn = how.rotation_probability > 0 and rng.random() < how.rotation_probability and how.rotation_deg > 0
    angles = np.deg2rad(rng.uniform(-how.rotation_deg, how.rotation_deg, 3)) if turn else np.zeros(3)
    scale = 1.0
    if how.zoom_probability > 0 and rng.random() < how.zoom_probability:
        scale = math.exp(rng.uniform(math.log(how.zoom[0]), math.log(how.zoom[1])))
    if not turn and scale == 1.0:
        return x, y
    matrix = rotation(angles)
    if volumetric:
        return move(x, y, matrix / scale)
    plane = rotation(np.array([angles[0], 0.0, 0.0]))[1:, 1:]
    return move(x, y, plane / scale)


def rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrix (3, 3) on (z, y, x) for angles in radians about z, then y, then x."""
    total = np.eye(3)
    for angle, (a, b) in zip(angles, ((1, 2), (0, 2), (0, 1)), strict=True):
        one = np.eye(3)
        one[a, a] = one[b, b] = math.cos(angle)
        one[a, b], one[b, a] = -math.sin(angle), math.sin(angle)
        total = one @ total
    return total


def move(x: torch.Tensor, y: torch.Tensor, matrix: NDArray[np.float64]) -> tuple[torch.Tensor, torch.Tensor]:
    """Resample a sample by a linear map about its centre (n - 1) / 2.

    Parameters
    ----------
    x, y
        Image (slices or z, y, x) and labels (features, z, y, x).
    matrix
        (3, 3) over z, y, x or (2, 2) over y, x: it maps an offset from the centre in the output to one in the input,
        in voxels. With (2, 2) all slices move alike.

    Returns
    -------
    x, y
        The image, linearly interpolated; outside it is mirrored about the centres of its outermost voxels. Labels take
        the nearest voxel, and are 2 outside; float32 labels are interpolated, and NaN outside.
    """
    dims = len(matrix)
    grid = _grid(tuple(x.shape[-dims:]), matrix, x.device)
    planes = x[None, None] if dims == 3 else x[None]
    moved = grid_sample(planes, grid, mode="bilinear", padding_mode="reflection", align_corners=True)
    marks = y[None].float() if dims == 3 else y.reshape(1, -1, *y.shape[-2:]).float()
    if y.is_floating_point():
        inside = ((grid.abs() <= 1 + 1e-5).all(-1))[:, None]
        seen = grid_sample(marks, grid, mode="bilinear", padding_mode="border", align_corners=True)
        seen = torch.where(inside, seen, torch.nan)
    else:
        seen = grid_sample(marks + 1, grid, mode="nearest", padding_mode="zeros", align_corners=True) - 1
        seen = torch.where(seen < 0, IGNORE, seen)
    return moved.reshape(x.shape), seen.reshape(y.shape).to(y.dtype)


def _grid(shape: tuple[int, ...], matrix: NDArray[np.float64], device: torch.device) -> torch.Tensor:
    """The input place of each output voxel for ``grid_sample``: -1 to 1 between outermost centres, x first.

    An axis of one voxel has no extent: a place further than half a voxel away is outside.
    """
    half = [(n - 1) / 2 for n in shape]
    axes = [torch.arange(n, dtype=torch.float64, device=device) - h for n, h in zip(shape, half, strict=True)]
    offsets = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    looked = offsets @ torch.as_tensor(matrix, device=device).T
    columns = [
        looked[..., a] / h if h else torch.where(looked[..., a].abs() <= 0.5, 0.0, 3.0) for a, h in enumerate(half)
    ]
    return torch.stack(columns[::-1], -1).float()[None]
