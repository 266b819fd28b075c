"""Whether a volume that is given as a tomogram can be one: its densities are about to be read."""

from __future__ import annotations

from itertools import product

import numpy as np

from volengine.core.boxes import Box, index3
from volengine.core.errors import InputError
from volengine.core.volume import Volume
from volengine.io.names import is_copied_first
from volengine.io.open import open_source

WHAT = {"labels": "labels", "probability": "a prediction"}
"""Kinds of volumes that are no tomograms, in words."""

SIDE, PLACES = 16, 3
"""Side of the boxes that are looked at, voxels, and their number along each axis."""


def check_densities(volume: Volume, option: str = "--tomogram") -> list[str]:
    """Refuse a volume that is no tomogram by its own words, and say it if a file looks like a mask.

    Parameters
    ----------
    volume
        What is given.
    option
        The option that names it, for messages.

    Returns
    -------
    list of str
        A line for the user if the file has two values only where it was looked at, in a few small boxes; else empty.

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
    found = _values(volume)
    if len(found) != 2:
        return []
    values = " and ".join(f"{value:g}" for value in found)
    return [
        f"{volume.where} holds nothing but {values} where it was looked at: is it a mask? {option} is the tomogram, "
        "whose densities are read."
    ]


def _values(volume: Volume) -> list[float]:
    """The values in some boxes of a file; at most three of them."""
    source, found = open_source(volume), np.zeros(0)
    sides = [min(SIDE, n) for n in volume.shape]
    starts = [
        sorted({(n - side) * k // (PLACES - 1) for k in range(PLACES)})
        for n, side in zip(volume.shape, sides, strict=True)
    ]
    for start in product(*starts):
        box = Box(index3(start), index3(a + side for a, side in zip(start, sides, strict=True)))
        found = np.unique(np.concatenate([found, np.asarray(source.read(box), float).ravel()]))
        if len(found) > 2:
            break
    return [float(v) for v in found[:3]]
