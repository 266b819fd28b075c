"""The rows of the table of objects, which are made when they are asked for: there may be millions."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from volengine.ops.stats_points import Clusters
from volengine.tasks.stats.objects import Objects

Row = dict[str, Any]
NAN = float("nan")


@dataclass(frozen=True, eq=False)
class ObjectColumns:
    """The objects of one class in one tomogram, as columns.

    Parameters
    ----------
    tomogram, name
        Names of the tomogram and of the class.
    objects
        Places and sizes.
    nearest_nm
        (n,) distance to the nearest object of the same class, nanometres.
    clusters
        The cluster of each.
    """

    tomogram: str
    name: str
    objects: Objects
    nearest_nm: NDArray[np.float64]
    clusters: Clusters

    def __len__(self) -> int:
        return len(self.objects)

    def row(self, k: int) -> Row:
        """The row of object ``k``."""
        z, y, x = self.objects.position_nm[k].tolist()
        voxels = int(self.objects.voxels[k])
        return {
            "tomogram": self.tomogram,
            "class": self.name,
            "object": k + 1,
            "z_nm": z,
            "y_nm": y,
            "x_nm": x,
            "voxels": voxels if voxels >= 0 else NAN,
            "volume_nm3": float(self.objects.volume_nm3[k]),
            "nearest_nm": float(self.nearest_nm[k]),
            "cluster": int(self.clusters.label[k]),
            "core": bool(self.clusters.core[k]),
        }


class ObjectRows(Sequence[Row]):
    """The rows of several classes and tomograms, one after the other; a slice of them is a tuple.

    Parameters
    ----------
    parts
        Their objects.
    """

    def __init__(self, parts: Sequence[ObjectColumns]) -> None:
        self._parts = tuple(parts)
        self._starts = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @overload
    def __getitem__(self, at: int) -> Row: ...

    @overload
    def __getitem__(self, at: slice) -> tuple[Row, ...]: ...

    def __getitem__(self, at: int | slice) -> Row | tuple[Row, ...]:
        if isinstance(at, slice):
            return tuple(self[k] for k in range(*at.indices(len(self))))
        k = operator.index(at)
        k = k + len(self) if k < 0 else k
        if not 0 <= k < len(self):
            raise IndexError(f"There are {len(self)} objects; there is no row {at}.")
        part = int(np.searchsorted(self._starts, k, side="right")) - 1
        return self._parts[part].row(k - int(self._starts[part]))

    def __iter__(self) -> Iterator[Row]:
        return itertools.chain.from_iterable(map(part.row, range(len(part))) for part in self._parts)

    def __repr__(self) -> str:
        return repr(tuple(self))
