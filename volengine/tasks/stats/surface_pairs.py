"""Pairs of particles on a surface, gathered within a memory: what grows with the square of the particles."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.units import format_bytes

PER_PAIR = 96
"""Bytes for each pair of particles: 16 as it is gathered, the rest where pairs are chosen by class and sorted."""
PER_SIMULATED = 40
"""Bytes for each pair of simulated particles: 10 as it is gathered."""


class Pairs:
    """Gathers pairs.

    Parameters
    ----------
    per_pair
        Bytes that a pair takes at the most, :data:`PER_PAIR` or :data:`PER_SIMULATED`.
    limit
        Bytes that all may take.
    what
        How messages call them: ``T1, membrane 1: simulated particles within 50 nm``.
    """

    def __init__(self, per_pair: int, limit: int, what: str):
        self._per_pair, self._limit, self._what, self._count = per_pair, limit, what, 0
        self._parts: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[Any]]] = []

    def add(self, first: int, second: NDArray[np.int64], value: NDArray[Any]) -> None:
        """Add the pairs of one particle: those with which it makes pairs, and a number for each.

        Raises
        ------
        InputError
            They need more memory than there is.
        """
        self._count += len(second)
        needed = self._count * self._per_pair
        if needed > self._limit:
            raise InputError(
                f"{self._what} make {self._count} pairs so far, which take {format_bytes(needed)} of memory; "
                f"--memory-limit is {format_bytes(self._limit)}. Give more, or a smaller --ripley-nm or "
                "--occupancy-nm, or --simulations 0, or choose --classes."
            )
        self._parts.append((np.full(len(second), first, np.int32), second.astype(np.int32), value))

    def joined(self, dtype: Any) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[Any]]:
        """All pairs, and their numbers as a type; they are gathered here no more."""
        parts, self._parts = self._parts, []
        first, second = (np.concatenate([np.zeros(0, np.int32), *(p[i] for p in parts)]) for i in (0, 1))
        return first, second, np.concatenate([np.zeros(0, dtype), *(p[2] for p in parts)]).astype(dtype, copy=False)
