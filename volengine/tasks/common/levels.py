"""The levels of a block: what a kernel returns for an image with a pyramid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from volengine.core.block import is_nothing, nothing
from volengine.core.boxes import index3
from volengine.core.volume import Kind


def levels_of(
    array: NDArray[Any], factors: Sequence[Sequence[int]], kind: Kind, name: str = ""
) -> dict[str, NDArray[Any]]:
    """Compute the coarser levels of a block.

    Parameters
    ----------
    array
        The block at level 0, (z, y, x). Its core must begin at a multiple of every factor.
    factors
        Per level, how many voxels of level 0 one voxel spans, z, y, x.
    kind
        Means for ``intensity`` and ``probability``, modes for ``labels``.
    name
        Name of the image.

    Returns
    -------
    dict
        For each level its array, named ``name@level``.
    """
    from volengine.ops.pyramid import pyramid

    if is_nothing(array):  # so are all levels
        shapes = ([-(-n // f) for n, f in zip(array.shape, factor, strict=True)] for factor in factors)
        return {f"{name}@{number}": nothing(shape, array.dtype) for number, shape in enumerate(shapes)}
    coarser = pyramid(array, [index3(f) for f in factors], kind)
    return {f"{name}@{number}": level for number, level in enumerate(coarser)}
