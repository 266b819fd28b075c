"""Draw free cells at random from the whole box or from a region."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from volengine.sim.placing.occupancy import FREE, Occupancy
from volengine.sim.placing.regions import Regions

Floats = NDArray[np.float64]

REGIONS = ("anywhere", "vesicle", "cytosol")
_ROUNDS = 32


class FreeCells:
    """Draws positions, uniformly over the free cells of a region.

    Cells are drawn from the whole box and rejected if they are taken or outside of the region. Only if hardly any cell
    is accepted (a small vesicle, a full box), the free cells of the region are listed, and listed again when most of
    them are taken. Whether this happens depends only on the draws.

    Parameters
    ----------
    occupancy, regions
        The occupied cells, and what membranes enclose.
    region
        ``"anywhere"``; ``"vesicle"``: inside a vesicle; ``"cytosol"``: outside of all vesicles. Without vesicles all
        three mean anywhere.
    """

    def __init__(self, occupancy: Occupancy, regions: Regions, region: str):
        self._occupancy = occupancy
        inside = regions.inside if region != "anywhere" else None
        self._inside = None if inside is None else inside.reshape(-1)
        self._wanted = region == "vesicle"
        self._listed: NDArray[np.int64] | None = None
        self._size = math.prod(occupancy.shape)

    @property
    def volume(self) -> float:
        """Volume of the region, cubic angstrom; it includes taken cells, and cells of membranes count as cytosol."""
        whole = self._occupancy.volume
        if self._inside is None:
            return whole
        inner = np.count_nonzero(self._inside) * float(np.prod(self._occupancy.edge))
        return inner if self._wanted else whole - inner

    def holds(self, position: Floats) -> bool:
        """Whether a position (3,) is in the box and in the region."""
        frame = zip(position.tolist(), self._occupancy.low.tolist(), self._occupancy.edge.tolist(), strict=True)
        index = [math.floor((at - low) / edge) for at, low, edge in frame]
        if not all(0 <= i < n for i, n in zip(index, self._occupancy.shape, strict=True)):
            return False
        _, rows, columns = self._occupancy.shape
        flat = (index[0] * rows + index[1]) * columns + index[2]
        return self._inside is None or bool(self._inside[flat]) == self._wanted

    def draw(self, rng: np.random.Generator, count: int) -> Floats:
        """Draw positions (n, 3), angstrom, uniform within free cells; fewer than ``count`` only if no cell is free."""
        found: list[NDArray[np.int64]] = []
        missing = self._draw(rng, count, found)
        if missing and (self._listed is None or len(self._listed)):
            self._list()
            while missing and self._listed is not None and len(self._listed):
                missing = self._draw(rng, missing, found)
        cell = np.concatenate(found) if found else np.zeros(0, np.int64)
        index = np.stack(np.unravel_index(cell, self._occupancy.shape), axis=-1)
        return self._occupancy.low + (index + rng.random((len(cell), 3))) * self._occupancy.edge

    def _draw(self, rng: np.random.Generator, count: int, found: list[NDArray[np.int64]]) -> int:
        """Add up to ``count`` cells to ``found`` in a limited number of rounds; return how many are missing."""
        for _ in range(_ROUNDS):
            if count == 0:
                break
            if self._listed is None:
                cell = rng.integers(self._size, size=2 * count)
                fits = self._occupancy.is_free(cell)
                if self._inside is not None:
                    fits &= self._inside[cell] == self._wanted
            elif len(self._listed):
                cell = self._listed[rng.integers(len(self._listed), size=2 * count)]
                fits = self._occupancy.is_free(cell)
            else:
                break
            found.append(cell[fits][:count])
            count -= len(found[-1])
        return count

    def _list(self) -> None:
        free = self._occupancy.owner == FREE
        if self._inside is not None:
            free &= self._inside.reshape(self._occupancy.shape) == self._wanted
        self._listed = np.flatnonzero(free)
