"""Whether a volume that is given as a tomogram can be one: its densities are about to be read."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, index3
from volengine.core.errors import InputError
from volengine.core.volume import Volume
from volengine.io.names import is_copied_first
from volengine.io.open import open_source

WHAT = {"labels": "labels", "probability": "a prediction"}
"""Kinds of volumes that are no tomograms, in words."""

SIDE, PLACES = 16, 3
"""Side of the boxes that are looked at, voxels, and their number along each axis."""
MOST_LABELS, MOST_SHOWN = 64, 4
"""A file of labels has at most this many values there; so many of them are said."""
LEAST_ALIKE = 0.7
"""And this share of neighbours have the same one: 0.85 or more do even in walls that are 2 voxels thick."""


def check_densities(volume: Volume, option: str = "--tomogram") -> list[str]:
    """Refuse a volume that is no tomogram by its own words, and say it if a file looks like a mask or labels.

    Parameters
    ----------
    volume
        What is given.
    option
        The option that names it, for messages.

    Returns
    -------
    list of str
        A line for the user if the file has two values only where it was looked at, in a few small boxes, or a few
        whole numbers in patches, as labels; else empty.

    Raises
    ------
    InputError
        It is a store of labels or of a prediction.
    """
    if volume.kind in WHAT:
        said = f"holds {WHAT[volume.kind]} by its own words, and no densities"
        raise InputError(f"{volume.where}: {said}; give the tomogram ({option}).")
    if volume.stored or is_copied_first(volume.url):
        return []
    found, alike = _looked_at(volume)
    if len(found) == 2:
        values, like = " and ".join(f"{value:g}" for value in found), "a mask"
    elif 2 < len(found) <= MOST_LABELS and alike >= LEAST_ALIKE and (found % 1 == 0).all():
        shown = ", ".join(f"{value:g}" for value in found[:MOST_SHOWN])
        more = ", ..." if len(found) > MOST_SHOWN else ""
        values, like = f"{len(found)} whole numbers ({shown}{more}) in patches of equal voxels", "a label volume"
    else:
        return []
    return [
        f"{volume.where} holds nothing but {values} where it was looked at: is it {like}? {option} is the tomogram, "
        "whose densities are read."
    ]


def _looked_at(volume: Volume) -> tuple[NDArray[np.float64], float]:
    """The values in some boxes of a file, at most one more than labels have; and how many neighbours are alike.

    That is a share of those along x, in boxes that have more than one value. The density of a tomogram that is stored
    in few steps goes up and down from voxel to voxel; a label is that of its neighbour, but for the border.
    """
    source, found = open_source(volume), np.zeros(0)
    alike = pairs = 0
    sides = [min(SIDE, n) for n in volume.shape]
    starts = [
        sorted({(n - side) * k // (PLACES - 1) for k in range(PLACES)})
        for n, side in zip(volume.shape, sides, strict=True)
    ]
    for start in product(*starts):
        box = Box(index3(start), index3(a + side for a, side in zip(start, sides, strict=True)))
        values = np.asarray(source.read(box), float)
        found = np.unique(np.concatenate([found, values.ravel()]))
        if len(found) > MOST_LABELS:
            break
        if values.min() < values.max():
            alike += int(np.count_nonzero(np.diff(values, axis=2) == 0))
            pairs += values[..., 1:].size
    return found[: MOST_LABELS + 1], alike / max(pairs, 1)
