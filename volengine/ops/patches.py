"""Cutting patches out of a block, with the edge rule of the volume and its normalisation.

A :class:`PatchReader` holds a block's voxels in the volume's dtype (it makes no floating-point copy of the block) and
writes one patch after the other into the network's input. An edge rule per axis defines the voxels outside of the
volume:
``reflect`` (mirrored without repeating the border voxel, as often as needed), ``edge`` (the border voxel repeated) or
``zero`` (zeros *after* normalisation, like the padding of a convolution).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3, index3
from volengine.core.lattice import EdgeRule
from volengine.ops.normalise import Normalisation, standardise, standardise_itself


def source_index(start: int, stop: int, n: int, edge: EdgeRule) -> NDArray[np.int64]:
    """Return, for each position in ``start .. stop``, the index in ``0 .. n`` from which its voxel is copied."""
    at = np.arange(start, stop)
    if edge == "reflect" and n > 1:
        period = 2 * (n - 1)
        mirrored: NDArray[np.int64] = np.abs((at + n - 1) % period - (n - 1))
        return mirrored
    return np.clip(at, 0, n - 1)


@dataclass(frozen=True)
class PatchReader:
    """Reads normalised patches from a block.

    Parameters
    ----------
    image
        The block's voxels z, y, x, any real dtype.
    box
        The box that they cover, inside of the volume.
    shape
        Shape of the volume, z, y, x.
    edges
        Edge rule along z, y, x.
    normalisation
        See :mod:`volengine.ops.normalise`.
    mean, std
        ``volume`` and ``global_mad``: two numbers. ``per_slice``: arrays with one number per slice of the *volume*.
    inverted
        Negate the normalised voxels, as if the contrast of the volume were inverted.
    epsilon
        Number that is added to ``std``, see :func:`~volengine.ops.normalise.standardise`.
    """

    image: NDArray[np.generic]
    box: Box
    shape: Index3
    edges: tuple[EdgeRule, EdgeRule, EdgeRule]
    normalisation: Normalisation = "none"
    mean: NDArray[np.float64] | float = 0.0
    std: NDArray[np.float64] | float = 1.0
    inverted: bool = False
    epsilon: float = 0.0

    def fill(self, want: Box, out: NDArray[np.float32]) -> None:
        """Write the normalised voxels of the box ``want`` to ``out``.

        Parameters
        ----------
        want
            A box; it may reach outside of the volume.
        out
            float32, of the shape of the box.
        """
        part, target = want, out
        for axis, (edge, n) in enumerate(zip(self.edges, self.shape, strict=True)):
            if edge == "zero" and (want.start[axis] < 0 or want.stop[axis] > n):
                part = _clip_axis(part, axis, n)
        if part != want:
            out[...] = 0
            target = out[part.slices_in(want)]
        self._normalise(self._raw(part), part, target)

    def _raw(self, want: Box) -> NDArray[np.generic]:
        """Return the stored voxels of a box; a view if the box lies inside of the volume."""
        if want.clip(self.shape) == want:
            return self.image[want.slices_in(self.box)]
        z, y, x = (
            source_index(a, b, n, edge) - first
            for a, b, n, edge, first in zip(want.start, want.stop, self.shape, self.edges, self.box.start, strict=True)
        )
        return self.image[np.ix_(z, y, x)]

    def _normalise(self, raw: NDArray[np.generic], want: Box, out: NDArray[np.float32]) -> None:
        if self.normalisation in ("volume", "global_mad"):
            standardise(raw, self.mean, self.std, out, self.epsilon)
        elif self.normalisation == "per_slice":
            at = source_index(want.start[0], want.stop[0], self.shape[0], self.edges[0])
            standardise(raw, np.asarray(self.mean)[at], np.asarray(self.std)[at], out, self.epsilon)
        else:
            out[...] = raw
            if self.normalisation == "per_patch":
                standardise_itself(out, self.epsilon)
        if self.inverted:
            np.negative(out, out=out)


def _clip_axis(box: Box, axis: int, n: int) -> Box:
    start, stop = list(box.start), list(box.stop)
    start[axis], stop[axis] = max(start[axis], 0), min(stop[axis], n)
    return Box(index3(start), index3(stop))
