"""Statistics of values, part by part: the parts may be of any size and come in any order.

>>> import numpy as np
>>> first, second = ValueStats.of(np.array([1, 0, 3])), ValueStats.of(np.array([0.0, np.nan]))
>>> found = first.merged(second)
>>> found.count, found.nan, found.zero, found.mean
(5, 1, 2, 1.0)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from volengine.ops.sums import sum_of_squares

PIECE = 2**20
"""Values that are looked at at a time; each takes up to 24 bytes besides its own."""


@dataclass(frozen=True)
class ValueStats:
    """What is known of some values.

    Parameters
    ----------
    count, nan, infinite, zero
        Number of values; how many of them are no number, infinite, and 0.
    least, largest
        Smallest and largest finite value, as ``int`` of integers; ``None`` if there is none.
    mean
        Mean of the finite values.
    squares
        Sum of their squared differences from the mean.
    """

    count: int = 0
    nan: int = 0
    infinite: int = 0
    zero: int = 0
    least: float | int | None = None
    largest: float | int | None = None
    mean: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, array: NDArray[Any]) -> Self:
        """Make the statistics of an array of any shape, of booleans, integers or floating-point numbers."""
        flat, found = np.ascontiguousarray(array).reshape(-1), cls()
        for start in range(0, flat.size, PIECE):
            found = found.merged(cls._of_piece(flat[start : start + PIECE]))
        return found

    @classmethod
    def _of_piece(cls, values: NDArray[Any]) -> Self:
        count, nan, infinite = values.size, 0, 0
        zero = count - int(np.count_nonzero(values))
        if values.dtype.kind == "f":
            nan = int(np.count_nonzero(np.isnan(values)))
            finite = np.isfinite(values)
            infinite = count - nan - int(np.count_nonzero(finite))
            if nan or infinite:
                values = values[finite]
        if values.size == 0:
            return cls(count, nan, infinite, zero)
        wide = values.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):  # values beyond 1e150 have no finite square
            mean = float(wide.mean())
            wide -= mean
            squares = sum_of_squares(wide)
        least, largest = values.min().item(), values.max().item()
        return cls(count, nan, infinite, zero, _number(least), _number(largest), mean, squares)

    def merged(self, other: Self) -> Self:
        """Return the statistics of the values of both (Chan, Golub and LeVeque 1979)."""
        mine, its = self.finite, other.finite
        share = its / (mine + its) if mine + its else 0.0
        step = other.mean - self.mean
        return type(self)(
            self.count + other.count,
            self.nan + other.nan,
            self.infinite + other.infinite,
            self.zero + other.zero,
            min((v for v in (self.least, other.least) if v is not None), default=None),
            max((v for v in (self.largest, other.largest) if v is not None), default=None),
            self.mean + step * share,
            self.squares + other.squares + step * step * mine * share,
        )

    @property
    def finite(self) -> int:
        """Number of finite values."""
        return self.count - self.nan - self.infinite

    @property
    def std(self) -> float | None:
        """Standard deviation of the finite values (divided by their number); ``None`` if there is none."""
        return (self.squares / self.finite) ** 0.5 if self.finite else None

    def share(self, number: int) -> float:
        """Return a number of values as a share of all."""
        return number / self.count if self.count else 0.0


def _number(value: Any) -> float | int:
    return int(value) if isinstance(value, bool | int) else float(value)
