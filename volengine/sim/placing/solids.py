"""Solids: points of a template so dense that they mark every cell that it fills, at every rotation.

>>> import numpy as np
>>> one = np.ones(3, np.float32)
>>> line = Template("line", ("line",), np.array([[0, 0, 0], [0, 0, 4], [0, 0, 8]], np.float32), one, one * 0, 1.0)
>>> rod = solid(line, cell_a=6.0)
>>> [round(float(side)) for side in rod.extent], rod.test is rod.fill
([2, 2, 9], True)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.specimen import Template
from volengine.sim.seeds import stream

Floats = NDArray[np.float64]
Points = NDArray[np.float32]

_ATOM = 1.9  # angstrom: van der Waals radius of a protein's atom with its hydrogens
_CLOSE = 4.0  # angstrom: half the width of gaps between atoms that count as filled
_FINE = 2.3  # angstrom: about the step at which a template is looked at
_FINE_VOXELS = 4e7


@dataclass(frozen=True, eq=False)
class Solid:
    """The space that a template fills, as points.

    Parameters
    ----------
    fill
        (n, 3) float32, angstrom, z, y, x, about the pivot: a cell that contains one of these belongs to the particle.
        Points of the surface come first, in shuffled order, so that a few points find most clashes.
    test
        (m, 3) float32: the points of ``fill`` that lie deeper than the tolerance; these must not meet a taken cell.
    volume
        Volume, cubic angstrom.
    """

    fill: Points
    test: Points
    volume: float

    @property
    def extent(self) -> Floats:
        """(3,) angstrom: of the bounding box, z, y, x."""
        spread: Floats = np.ptp(self.fill, axis=0).astype(float)
        return spread


def solid(template: Template, cell_a: float, tolerance_a: float = 0.0) -> Solid:
    """The solid of a template, for cells of at least ``cell_a``.

    The template's points are marked on a fine lattice (about 2.3 A) anchored at the pivot, gaps between them are closed
    (8 A wide for atoms; wider for points of a coarser lattice, as from a density map), and the surface is put one van
    der Waals radius (1.9 A; half a spacing where that is more) from the outermost points. So a particle with a hollow
    stays hollow. One point is kept in each cube of edge cell / sqrt(3): the lattice of those has covering radius
    cell / 2, therefore every cell inside the solid holds a point at every rotation.

    Parameters
    ----------
    template
        Points of weight 0 are left out.
    cell_a
        Smallest edge of the grid's cells, angstrom.
    tolerance_a
        Depth to which neighbours may overlap, angstrom, 0 or more.

    Raises
    ------
    InputError
        The cell is not positive, the tolerance is negative, or all weights of the template are 0.
    """
    if not cell_a > 0 or tolerance_a < 0:
        raise InputError(f"A cell is positive and a tolerance from 0, not {cell_a} A and {tolerance_a} A.")
    at = template.point[template.weight != 0].astype(float)
    if len(at) == 0:
        raise InputError(f"Template {template.name!r}: all weights are 0, so that it fills no space.")
    spacing = _spacing(at)
    skin, reach = max(_ATOM, spacing / 2), max(_CLOSE, 0.9 * spacing)
    edge = cell_a / math.sqrt(3)
    volume = float(np.prod(np.ptp(at, axis=0) + 2 * reach))
    split = max(1, min(round(edge / _FINE), int(edge / (volume / _FINE_VOXELS) ** (1 / 3))))
    fine = edge / split
    index, depth = _inside(at, fine, reach, skin)
    kept = _thinned(index, split)
    point = ((index[kept] + 0.5) * fine).astype(np.float32)
    order = _surface_first(depth[kept], edge)
    fill, deep = np.ascontiguousarray(point[order]), depth[kept][order]
    test = fill if tolerance_a == 0 else fill[deep >= min(tolerance_a, float(deep.max()))]
    return Solid(fill, test, len(index) * fine**3)


def _spacing(at: Floats) -> float:
    """Typical distance from a point to its six neighbours, angstrom, to 0.1: the voxel size for a map, 2.2 for atoms.

    The nearest alone would say too little of atoms that were gathered into cells: two centroids may lie side by side.
    """
    from scipy.spatial import cKDTree

    if len(at) < 2:
        return 0.0
    tree = cKDTree(at, balanced_tree=False, compact_nodes=False)
    neighbours = tree.query(at[:: max(1, len(at) // 1000)], k=min(7, len(at)))[0][:, 1:]
    return round(float(np.median(neighbours.mean(1))), 1)


def _inside(at: Floats, fine: float, reach: float, skin: float) -> tuple[NDArray[np.int64], Floats]:
    """Lattice indices (n, 3) of the solid, and how deep each lies below the surface, angstrom."""
    import edt

    index = np.floor(at / fine).astype(np.int64)
    margin = math.ceil(reach / fine) + 2
    low = index.min(0) - margin
    empty = np.ones(index.max(0) + margin + 1 - low, np.uint8)
    empty[tuple((index - low).T)] = 0
    near = edt.edtsq(empty, parallel=1) <= (reach / fine) ** 2
    depth = np.sqrt(edt.edtsq(near.astype(np.uint8), parallel=1)) * fine - fine / 2 - (reach - skin)
    filled = (depth > 0) | (empty == 0)
    return np.argwhere(filled) + low, np.maximum(depth[filled].astype(float), 0.0)


def _thinned(index: NDArray[np.int64], split: int) -> NDArray[np.int64]:
    """Rows to keep: of each cube of ``split`` lattice points the one nearest to its centre, the first of equals."""
    cube, within = np.divmod(index, split)
    cube -= cube.min(0)
    span = cube.max(0) + 1
    key = (cube[:, 0] * span[1] + cube[:, 1]) * span[2] + cube[:, 2]
    off = ((2 * within - (split - 1)) ** 2).sum(1)
    order = np.argsort(key * (3 * split * split) + off, kind="stable")
    return order[np.flatnonzero(np.diff(key[order], prepend=-1))]


def _surface_first(depth: Floats, edge: float) -> NDArray[np.int64]:
    """Rows in the order to test them: those within ``edge`` of the surface, then the others, each lot shuffled."""
    order = stream(0, "solid").permutation(len(depth))
    return order[np.argsort(depth[order] > edge, kind="stable")]
