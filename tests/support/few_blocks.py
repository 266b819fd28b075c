"""Blocks of drawn sides that do not become thousands.

>>> in_blocks_at_most(500, (32, 32, 32), (1, 9, 1))
(4, 9, 4)
"""

from __future__ import annotations

import math


def in_blocks_at_most(count: int, shape: tuple[int, ...], block: tuple[int, ...]) -> tuple[int, ...]:
    """Double the shortest sides of a block until a volume has at most so many."""
    sides = list(block)
    while math.prod(-(-n // side) for n, side in zip(shape, sides, strict=True)) > count:
        shortest = min((k for k, n in enumerate(shape) if sides[k] < n), key=sides.__getitem__)
        sides[shortest] *= 2
    return tuple(sides)
