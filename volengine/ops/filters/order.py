"""Exact percentiles of a volume from tables of counts, whatever its blocks.

A float32 is turned into a whole number of 32 bits with the same order (:func:`keys`). A first pass counts the upper 16
bits of all keys; that says in which of 65,536 bins a value of a given rank lies. A second pass counts the lower 16 bits
of the keys of these bins alone; that says which value it is. Counts of blocks are added, so nothing is estimated: the
result is that of ``numpy.percentile`` (linear) on the whole volume.

>>> values = np.array([3.0, -1.0, 2.5, 0.0], np.float32)
>>> upper = upper_counts(values)
>>> places = places_of(ranks_of(len(values), (0.0, 50.0)), [upper])
>>> lower = [lower_counts(values, places["bin"])]
>>> percentiles((0.0, 50.0), len(values), places, lower)
[-1.0, 1.25]
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError

Table = dict[str, NDArray[Any]]


def keys(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Whole numbers in the order of the values, flat; -0 and 0 are equal.

    >>> keys(np.array([-1.0, 0.0, 2.0], np.float32)).tolist() == sorted(keys(np.array([2.0, -1.0, -0.0], np.float32)))
    True
    """
    bits = (np.ascontiguousarray(values, np.float32).ravel() + np.float32(0)).view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | np.uint32(2**31))


def values_of(key: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Undo :func:`keys`."""
    key = np.asarray(key, np.uint32)
    return np.where(key >> 31, key & np.uint32(2**31 - 1), ~key).view(np.float32)


def upper_counts(values: NDArray[np.float32]) -> Table:
    """Count the upper 16 bits of the keys: columns ``bin`` and ``count`` of those that occur."""
    return _counted(keys(values) >> 16)


def lower_counts(values: NDArray[np.float32], bins: NDArray[Any]) -> Table:
    """Count the lower 16 bits of the keys in some bins: columns ``bin``, ``low`` and ``count``."""
    key = keys(values)
    upper = key >> 16
    parts = []
    for number in np.unique(np.asarray(bins, np.int64)):
        found = _counted(key[upper == number] & 0xFFFF)
        parts.append((np.full(len(found["bin"]), number), found["bin"], found["count"]))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return dict(zip(("bin", "low", "count"), columns, strict=True))


def _counted(numbers: NDArray[Any]) -> Table:
    counts = np.bincount(numbers.astype(np.int64), minlength=1)
    there = np.flatnonzero(counts)
    return {"bin": there, "count": counts[there]}


def ranks_of(count: int, wanted: Sequence[float]) -> list[int]:
    """The ranks, from 0, of the two values between which each percentile lies.

    >>> ranks_of(4, (50.0,))
    [1, 2]
    """
    found = []
    for percentile in wanted:
        at = percentile / 100 * (count - 1)
        found += [math.floor(at), min(math.floor(at) + 1, count - 1)]
    return found


def places_of(ranks: Sequence[int], tables: Iterable[Mapping[str, NDArray[Any]]]) -> Table:
    """Find the bin of each rank, and its rank in the bin: columns ``bin`` and ``rank``."""
    total = np.zeros(2**16, np.int64)
    for table in tables:
        np.add.at(total, table["bin"], table["count"])
    below = np.cumsum(total)
    bins = np.searchsorted(below, np.asarray(ranks), side="right")
    return {"bin": bins, "rank": np.asarray(ranks) - (below[bins] - total[bins])}


def percentiles(
    wanted: Sequence[float],
    count: int,
    places: Mapping[str, NDArray[Any]],
    tables: Sequence[Mapping[str, NDArray[Any]]],
) -> list[float]:
    """Compute percentiles from the counts of all blocks.

    Parameters
    ----------
    wanted
        Percentiles, 0 to 100.
    count
        Number of voxels.
    places
        What :func:`places_of` has found for the ranks of :func:`ranks_of`.
    tables
        What :func:`lower_counts` has found in each block.

    Returns
    -------
    list of float
        For each percentile the value, linear between the two nearest ones.

    Raises
    ------
    InputError
        A value is not finite.
    """
    total: dict[int, NDArray[np.int64]] = {}
    for table in tables:
        for number in np.unique(table["bin"]):
            mine = table["bin"] == number
            sums = total.setdefault(int(number), np.zeros(2**16, np.int64))
            np.add.at(sums, table["low"][mine], table["count"][mine])
    values = []
    for number, rank in zip(places["bin"].tolist(), places["rank"].tolist(), strict=True):
        low = int(np.searchsorted(np.cumsum(total[number]), rank, side="right"))
        values.append(float(values_of(np.array([number << 16 | low], np.uint32))[0]))
    if not all(map(math.isfinite, values)):
        raise InputError("Voxels are not finite (NaN or infinity); replace them first.")
    found = []
    for k, percentile in enumerate(wanted):
        first, second = values[2 * k : 2 * k + 2]
        at = percentile / 100 * (count - 1)
        found.append(first + (second - first) * (at - math.floor(at)))
    return found
