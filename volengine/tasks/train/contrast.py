"""Images without contrast: nothing can be learned from them, and most normalisations make them 0 without a word."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from numpy.typing import NDArray

from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.io.names import Source
from volengine.tasks.train.samples import SCAN_SLAB


def check_contrast(parts: Iterable[NDArray[Any]], where: str) -> None:
    """Refuse an image whose voxels are all equal.

    Parameters
    ----------
    parts
        The image in parts; they are asked for until two voxels differ, which is usually in the first part. NaN differs
        from everything: what is not finite is refused elsewhere.
    where
        How the message names the image.

    Raises
    ------
    InputError
        All voxels have one value.

    Examples
    --------
    >>> import numpy as np
    >>> check_contrast([np.zeros((2, 2, 2)), np.ones((2, 2, 2))], "a.mrc")
    >>> check_contrast([np.zeros((2, 2, 2)), np.zeros((2, 2, 2))], "a.mrc")
    Traceback (most recent call last):
    volengine.core.errors.InputError: a.mrc: all 16 voxels are 0, so there is nothing to learn from. Is this the ...
    """
    first, count = None, 0
    for part in parts:
        if not part.size:
            continue
        first = part.flat[0] if first is None else first
        if not (part == first).all():
            return
        count += part.size
    if first is not None:
        raise InputError(
            f"{where}: all {count} voxels are {float(first):g}, so there is nothing to learn from. Is this the right "
            "file? Give the tomogram that belongs to the truth, or leave the sample out."
        )


def slabs(source: Source, region: Box) -> Iterator[NDArray[Any]]:
    """The voxels of a region, some slices at a time."""
    return map(source.read, region.slabs(SCAN_SLAB))
