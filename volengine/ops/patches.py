"""Cutting patches out of a block: what a network sees, with the volume's edge rule and its normalisation.

A :class:`PatchReader` holds a block's voxels (in the volume's dtype, no float copy of the block is made) and fills
one patch after the other into the network's input. Voxels outside of the volume follow a rule per axis: ``reflect``
(mirrored, the border voxel not repeated, as often as needed), ``edge`` (the border voxel repeated) or ``zero`` (zeros
*after* normalisation, as the padding of a convolution).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3, index3
from volengine.core.lattice import EdgeRule
from volengine.ops.normalise import Normalisation, standardise, standardise_itself


def source_index(start: int, stop: int, n: int, edge: EdgeRule) -> NDArray[np.int64]:
    """For each position in ``start .. stop`` the index inside of ``0 .. n`` that its voxel comes from."""
    at = np.arange(start, stop)
    if edge == "reflect" and n > 1:
        period = 2 * (n - 1)
        mirrored: NDArray[np.int64] = np.abs((at + n - 1) % period - (n - 1))
        return mirrored
    return np.clip(at, 0, n - 1)


@dataclass(frozen=True)
class PatchReader:
    """Fills patches from a block.

    Parameters
    ----------
    image
        The block's voxels z, y, x, any real dtype.
    box
        The box they cover, inside of the volume.
    shape
        Shape of the volume.
    edges
        Rule outside of the volume, per axis.
    normalisation
        See :mod:`volengine.ops.normalise`.
    mean, std
        For ``volume`` two numbers; for ``per_slice`` one of each per slice of the *volume*.
    inverted
        Normalised voxels are negated: as if the volume's contrast were the other way round.
    """

    image: NDArray[np.generic]
    box: Box
    shape: Index3
    edges: tuple[EdgeRule, EdgeRule, EdgeRule]
    normalisation: Normalisation = "none"
    mean: NDArray[np.float64] | float = 0.0
    std: NDArray[np.float64] | float = 1.0
    inverted: bool = False

    def fill(self, want: Box, out: NDArray[np.float32]) -> None:
        """Write the normalised voxels of ``want`` (it may leave the volume) to ``out``, of the same shape."""
        part, target = want, out
        for axis, (edge, n) in enumerate(zip(self.edges, self.shape, strict=True)):
            if edge == "zero" and (want.start[axis] < 0 or want.stop[axis] > n):
                part = _clip_axis(part, axis, n)
        if part != want:
            out[...] = 0
            target = out[part.slices_in(want)]
        self._normalise(self._raw(part), part, target)

    def _raw(self, want: Box) -> NDArray[np.generic]:
        """The voxels as they are; a view where the box lies inside of the volume."""
        if want.clip(self.shape) == want:
            return self.image[want.slices_in(self.box)]
        z, y, x = (
            source_index(a, b, n, edge) - first
            for a, b, n, edge, first in zip(want.start, want.stop, self.shape, self.edges, self.box.start, strict=True)
        )
        return self.image[np.ix_(z, y, x)]

    def _normalise(self, raw: NDArray[np.generic], want: Box, out: NDArray[np.float32]) -> None:
        if self.normalisation in ("volume", "global_mad"):
            standardise(raw, self.mean, self.std, out)
        elif self.normalisation == "per_slice":
            at = source_index(want.start[0], want.stop[0], self.shape[0], self.edges[0])
            standardise(raw, np.asarray(self.mean)[at], np.asarray(self.std)[at], out)
        else:
            out[...] = raw
            if self.normalisation == "per_patch":
                standardise_itself(out)
        if self.inverted:
            np.negative(out, out=out)


def _clip_axis(box: Box, axis: int, n: int) -> Box:
    start, stop = list(box.start), list(box.stop)
    start[axis], stop[axis] = max(start[axis], 0), min(stop[axis], n)
    return Box(index3(start), index3(stop))
