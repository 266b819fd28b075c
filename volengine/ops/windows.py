"""Blend windows, and the share of each patch in each voxel.

Patches overlap. The blended value of voxel v is ``sum_i w_i(v) p_i(v) / W(v)`` with ``W(v) = sum_i w_i(v)`` over *all*
patches of the lattice. :func:`share` computes ``w_i / W`` on the box of one patch. It depends only on the positions of
the patch's neighbours relative to it (:meth:`volengine.core.lattice.Lattice.neighbours`). So a volume has only few
different shares (interior, first, last along each axis), no count map of the volume is needed, and blocks do not
matter.

=============  =======================================================================================
``gaussian``   MONAI's importance map: exp(-x²/2σ²) per axis with σ = 0.125 · patch, multiplied, and not below
               max(smallest value, 0.001) (``monai.data.utils.compute_importance_map``)
``hann``       sin²(π (i + ½) / patch) per axis, multiplied: no zeros, smooth at the border
``constant``   1: the plain mean of overlapping patches
``crop``       1 or 0: each overlap is cut in its middle, so that each voxel is taken from one patch only; at the
               volume's ends the outermost patch counts up to its end
=============  =======================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError

Window = Literal["gaussian", "hann", "constant", "crop"]
_Real = TypeVar("_Real", np.float32, np.float64)
Neighbours = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]

SIGMA = 0.125
FLOOR = 1e-3


def importance(window: Window, patch: Sequence[int]) -> NDArray[np.float32]:
    """Compute a window: float32 weights of the patch's shape.

    The window ``crop`` depends on the neighbours of a patch, so it has weights only in :func:`share`.

    Raises
    ------
    InputError
        The window is unknown, or ``crop``.
    """
    if window == "constant":
        return np.ones(tuple(patch), np.float32)
    if window == "hann":
        product = _outer([_hann(n) for n in patch])
        return product.astype(np.float32)
    if window == "gaussian":
        product32 = _outer([_gaussian(n) for n in patch])
        return np.maximum(product32, np.float32(max(float(product32.min()), FLOOR)))
    raise InputError(f"There is no importance map for the window {window!r}.")


def share(window: Window, patch: Sequence[int], neighbours: Neighbours) -> NDArray[np.float64]:
    """Compute the share ``w_i / W`` of one patch in the voxels of its box.

    Parameters
    ----------
    window
        Name of the window.
    patch
        Shape of the patch, voxels z, y, x.
    neighbours
        Per axis, the starts of all patches that overlap with this one, relative to its own start, which is included
        (0).

    Returns
    -------
    float64 array of the patch's shape, values from 0 to 1. The shares of all patches that cover a voxel add up to 1, up
    to rounding (2^-52).

    Raises
    ------
    InputError
        The window is unknown.
    """
    if window not in get_args(Window):
        raise InputError(f"There is no window {window!r}; use one of {', '.join(get_args(Window))}.")
    if window == "gaussian":
        return _share_by_sum(_gaussian_window(tuple(patch)), neighbours)
    profile = {"hann": _share_hann, "constant": _share_constant, "crop": _share_crop}[window]
    return _outer([profile(n, near) for n, near in zip(patch, neighbours, strict=True)])


@lru_cache(maxsize=2)
def _gaussian_window(patch: tuple[int, ...]) -> NDArray[np.float64]:
    """Return the importance map in double precision, read-only and cached, since many shares are computed from it."""
    window = importance("gaussian", patch).astype(np.float64)
    window.flags.writeable = False
    return window


def _gaussian(n: int) -> NDArray[np.float32]:
    x = np.arange(n, dtype=np.float32) - np.float32((n - 1) / 2)
    profile: NDArray[np.float32] = np.exp(x * x / np.float32(-2 * (SIGMA * n) ** 2)).astype(np.float32)
    return profile


def _hann(n: int) -> NDArray[np.float64]:
    profile: NDArray[np.float64] = np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2
    return profile


def _outer(profiles: Sequence[NDArray[_Real]]) -> NDArray[_Real]:
    z, y, x = profiles
    product: NDArray[_Real] = z[:, None, None] * y[None, :, None] * x[None, None, :]
    return product


def _shifted(n: int, by: int) -> tuple[slice, slice]:
    """Return the slices of this patch and of a patch that is shifted ``by`` voxels in which the two overlap."""
    return slice(max(0, by), min(n, n + by)), slice(max(0, -by), min(n, n - by))


def _share_by_sum(window: NDArray[np.float64], neighbours: Neighbours) -> NDArray[np.float64]:
    """Divide the window by the sum over all neighbours; for windows that are not a product of profiles per axis.

    The neighbours lie on a grid. So the window is summed over its shifted copies along x, the sum along y, that along
    z.
    """
    total = window
    for axis in (2, 1, 0):
        part, total = total, total.copy()
        before = (slice(None),) * axis
        for by in neighbours[axis]:
            if by:
                here, there = _shifted(window.shape[axis], by)
                total[(*before, here)] += part[(*before, there)]
    return np.divide(window, total, out=total)


def _share_hann(n: int, near: Sequence[int]) -> NDArray[np.float64]:
    return _share_of_profile(_hann(n), near)


def _share_constant(n: int, near: Sequence[int]) -> NDArray[np.float64]:
    return _share_of_profile(np.ones(n), near)


def _share_of_profile(profile: NDArray[np.float64], near: Sequence[int]) -> NDArray[np.float64]:
    total = np.zeros_like(profile)
    for by in near:
        here, there = _shifted(len(profile), by)
        total[here] += profile[there]
    return profile / total


def _share_crop(n: int, near: Sequence[int]) -> NDArray[np.float64]:
    """Return 1 between the middles of the overlaps with the nearest patch below and the nearest above, else 0."""
    below = [by for by in near if by < 0]
    above = [by for by in near if by > 0]
    first = (n + max(below)) // 2 if below else 0
    stop = min(above) + (n - min(above)) // 2 if above else n
    share_1d = np.zeros(n)
    share_1d[first:stop] = 1.0
    return share_1d
