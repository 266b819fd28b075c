"""The occupancy grid: which cells of the box are taken, and by what.

A particle is tested as a *solid*: points so dense that every cell inside of it contains a point, at every rotation. Two
particles never have points in the same cell. If cells are the volume's voxels (the default from 6 to 16 angstrom), no
voxel belongs to two particles.

>>> from volengine.sim.placing.occupancy import Occupancy
>>> box = Occupancy((50, 50, 50), voxel_size_a=10.0)
>>> ball = [[z, y, x] for z in (-9, 0, 9) for y in (-9, 0, 9) for x in (-9, 0, 9)]
>>> box.place(ball, (200, 200, 200)), box.place(ball, (210, 200, 200)), box.place(ball, (250, 200, 200))
(True, False, True)

Points beyond the box are clamped to a border of one cell, which is taken if the face is a *wall* and free if the face
is open. Coordinates are computed in float32 by single multiplications and additions, so that a point falls into the
same cell on every machine, alone or in a batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.boxes import Index3
from volengine.core.errors import InputError
from volengine.core.specimen import Template, rotation_matrix
from volengine.sim.placing.solids import Solid, solid
from volengine.sim.recipe.specimen import wall_faces
from volengine.sim.rotations import IDENTITY

Floats = NDArray[np.float64]
Points = NDArray[np.float32]

FREE, OPEN, TAKEN = 0, 1, 2  # values above TAKEN are owners: membranes, filaments
HEAD = 64  # points of a solid that screen a batch of candidates

_SMALLEST_CELL = 6.0
_LARGEST_VOXEL = 16.0


class Occupancy:
    """A grid of cells over the box, with the owner of each taken cell.

    Parameters
    ----------
    shape
        Shape of the volume, voxels z, y, x.
    voxel_size_a
        Voxel size, angstrom.
    cell_a
        Desired edge of a cell, angstrom; ``None``: the voxel size, limited to 6 to 16. Cells fill the box exactly, so
        their edges may be slightly larger.
    walls
        Faces that particles do not cross, see :func:`~volengine.sim.recipe.specimen.wall_faces`.
    tolerance_a
        Depth to which particles may overlap taken cells, angstrom; used when solids are made from templates.

    Attributes
    ----------
    shape
        Number of cells, z, y, x.
    edge
        (3,) edges of a cell, angstrom.
    low
        (3,) lower corner of the box, angstrom: half a voxel before the centre of the first voxel.
    taken
        Number of taken cells, including those of membranes.
    void
        Number of cells in the vacuum outside of the ice; they are neither free nor counted as taken.
    """

    def __init__(
        self,
        shape: Sequence[int],
        voxel_size_a: float,
        cell_a: float | None = None,
        walls: str = "none",
        tolerance_a: float = 0.0,
    ):
        if len(shape) != 3 or min(shape) < 1 or not voxel_size_a > 0:
            raise InputError(f"A box has three positive axes and a voxel size above 0: {shape} at {voxel_size_a} A.")
        wished = min(max(voxel_size_a, _SMALLEST_CELL), _LARGEST_VOXEL) if cell_a is None else cell_a
        if wished < _SMALLEST_CELL:
            raise InputError(f"Cells of {wished} A are too fine; use at least {_SMALLEST_CELL:g} A.")
        extent = np.array(shape, float) * voxel_size_a
        count = [max(1, math.floor(side / wished + 1e-9)) for side in extent]
        self.shape = (count[0], count[1], count[2])
        self.edge: Floats = extent / np.array(count, float)
        self.low: Floats = np.full(3, -voxel_size_a / 2)
        self.tolerance_a = tolerance_a
        self.taken = 0
        self.void = 0
        self._padded = tuple(n + 2 for n in self.shape)
        if math.prod(self._padded) >= 2**31:
            raise InputError(f"{self.shape} cells are too many; use cells larger than {wished:g} A.")
        self._owners = TAKEN
        self._grid: NDArray[np.uint8] | NDArray[np.uint16] = np.zeros(math.prod(self._padded), np.uint8)
        self._border(wall_faces(walls))

    def _border(self, faces: tuple[tuple[bool, bool], ...]) -> None:
        grid = self._grid.reshape(self._padded)
        for value in (OPEN, TAKEN):  # walls last: they hold the edges they share with open faces
            for axis, walls in enumerate(faces):
                for side, wall in zip((0, -1), walls, strict=True):
                    if wall == (value == TAKEN):
                        np.moveaxis(grid, axis, 0)[side] = value

    @property
    def cell_a(self) -> float:
        """Smallest edge of a cell, angstrom, as :func:`solid` needs it."""
        return min(float(side) for side in self.edge)

    @property
    def volume(self) -> float:
        """Volume of the box without its vacuum, cubic angstrom."""
        return float(math.prod(self.edge.tolist())) * self._filled

    @property
    def density(self) -> float:
        """Share of the cells, without those in vacuum, that are taken; 1 if all are vacuum."""
        return self.taken / self._filled if self._filled else 1.0

    @property
    def _filled(self) -> int:
        """Number of cells that are not vacuum."""
        return int(math.prod(self.shape)) - self.void

    @property
    def owner(self) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Read-only view (z, y, x) of the cells: 0 free, 2 taken, 3 and more the numbers of :meth:`new_owner`."""
        view = self._grid.reshape(self._padded)[1:-1, 1:-1, 1:-1]
        view.flags.writeable = False
        return view

    def new_owner(self) -> int:
        """A new number for an object (a membrane, a filament) whose cells its own proteins or units may enter."""
        self._owners += 1
        if self._owners == 256:
            self._grid = self._grid.astype(np.uint16)
        if self._owners > 65535:
            raise InputError("At most 65533 membranes and filaments can be told apart in one box.")
        return self._owners

    def solid(self, template: Template) -> Solid:
        """The solid of a template for this grid's cells and tolerance."""
        return solid(template, self.cell_a, self.tolerance_a)

    def clashes(
        self, points: Solid | ArrayLike, position: ArrayLike, quaternion: ArrayLike = IDENTITY, own: int = 0
    ) -> bool:
        """Whether a particle in this pose would meet a taken cell or a wall.

        Parameters
        ----------
        points
            A solid, or points (n, 3) about the pivot, angstrom, z, y, x.
        position
            (3,) position of the pivot, angstrom, z, y, x.
        quaternion
            (4,) unit quaternion w, x, y, z.
        own
            Number of an owner whose cells are ignored.
        """
        points = points.test if isinstance(points, Solid) else points
        return self._free_cells(_by_axis(points), self._pose(position, quaternion), own) is None

    def take(
        self,
        points: Solid | ArrayLike,
        position: ArrayLike = (0.0, 0.0, 0.0),
        quaternion: ArrayLike = IDENTITY,
        owner: int = TAKEN,
    ) -> int:
        """Take the cells of a particle, including owned ones; return how many were free.

        The parameters are those of :meth:`clashes`; ``owner`` is a number of :meth:`new_owner`, or ``TAKEN``. Cells
        that are ``TAKEN`` do not change.
        """
        points = points.fill if isinstance(points, Solid) else points
        return self._mark(self._cells(_by_axis(points), self._pose(position, quaternion)), owner)

    def place(
        self, points: Solid | ArrayLike, position: ArrayLike, quaternion: ArrayLike = IDENTITY, own: int = 0
    ) -> bool:
        """Take the cells of a particle if it does not clash; return whether it was placed."""
        fill, test = (points.fill, points.test) if isinstance(points, Solid) else (points, points)
        pose = self._pose(position, quaternion)
        cells = self._free_cells(_by_axis(test), pose, own)
        if cells is None:
            return False
        self._mark(cells if test is fill else self._cells(_by_axis(fill), pose), TAKEN)
        return True

    def take_mask(self, mask: NDArray[np.bool_], owner: int = TAKEN, corner: Index3 | None = None) -> int:
        """Take the cells for which a mask is true; return how many were free.

        Parameters
        ----------
        mask
            (z, y, x) bool, of the grid's shape or of a piece of it.
        owner
            A number of :meth:`new_owner`, or ``TAKEN``.
        corner
            First cell of a piece.

        Raises
        ------
        InputError
            The mask has another shape than the grid, or a piece leaves the grid.
        """
        if corner is None and mask.shape != self.shape:
            raise InputError(f"The mask has {mask.shape} cells and the grid {self.shape}.")
        corner = corner or (0, 0, 0)
        last = [c + n for c, n in zip(corner, mask.shape, strict=True)]
        if min(corner) < 0 or any(b > n for b, n in zip(last, self.shape, strict=True)):
            raise InputError(f"A mask of {mask.shape} cells at {corner} leaves the grid of {self.shape}.")
        window = tuple(slice(c + 1, b + 1) for c, b in zip(corner, last, strict=True))
        inner = self._grid.reshape(self._padded)[window]
        free = 0
        for layer, wanted in zip(inner, mask, strict=True):
            free += int(np.count_nonzero(wanted & (layer == FREE)))
            layer[wanted & (layer != TAKEN)] = owner
        self.taken += free
        return free

    def empty_mask(self, mask: NDArray[np.bool_], corner: Index3) -> None:
        """Make the free cells for which a mask is true vacuum, where nothing is placed; as :meth:`take_mask`."""
        free = self.take_mask(mask, corner=corner)
        self.taken -= free
        self.void += free

    def screen(
        self, heads: NDArray[np.float32], position: ArrayLike, quaternion: ArrayLike, own: ArrayLike = 0
    ) -> NDArray[np.bool_]:
        """Test n candidates with a few points each; true for those that clash for certain.

        Parameters
        ----------
        heads
            (n, m, 3) points of each candidate, angstrom.
        position, quaternion
            (n, 3) and (n, 4): poses of the candidates.
        own
            (n,) or one number, as in :meth:`clashes`.
        """
        pose = self._poses(position, quaternion)
        cells = self._cells(np.moveaxis(heads, -1, 0), pose[..., None])
        value = self._grid[cells]
        clash: NDArray[np.bool_] = ((value > OPEN) & (value != np.reshape(own, (-1, 1)))).any(-1)
        return clash

    def is_free(self, cell: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether cells are free; they are given by their index in the flattened grid."""
        z, y, x = np.unravel_index(cell, self.shape)
        free: NDArray[np.bool_] = self._grid[((z + 1) * self._padded[1] + y + 1) * self._padded[2] + x + 1] == FREE
        return free

    def centres(self, z: int, window: tuple[slice, slice, slice] | None = None) -> Floats:
        """Positions (y, x, 3) of the cells of one layer, in a window of cells (all by default), angstrom."""
        rows, columns = (window or (slice(None),) * 3)[1:]
        y = (np.arange(self.shape[1])[rows] + 0.5) * self.edge[1] + self.low[1]
        x = (np.arange(self.shape[2])[columns] + 0.5) * self.edge[2] + self.low[2]
        return np.stack(np.broadcast_arrays((z + 0.5) * self.edge[0] + self.low[0], y[:, None], x), axis=-1)

    def _poses(self, position: ArrayLike, quaternion: ArrayLike) -> NDArray[np.float32]:
        """Affine maps to padded cell coordinates, (3, 4, n): per axis the row of the rotation, and the shift."""
        turn = rotation_matrix(quaternion)[:, ::-1, ::-1] / self.edge[:, None]
        shift = (np.asarray(position, float).reshape(-1, 3) - self.low) / self.edge + 1
        return np.concatenate([turn, shift[:, :, None]], axis=2).transpose(1, 2, 0).astype(np.float32)

    def _pose(self, position: ArrayLike, quaternion: ArrayLike) -> NDArray[np.float32]:
        """One pose as in :meth:`_poses`, (3, 4), with the same bits; much faster for a single one."""
        w, x, y, z = map(float, np.asarray(quaternion, float).reshape(4))
        turn = (
            (1 - 2 * (x * x + y * y), 2 * (y * z + x * w), 2 * (x * z - y * w)),
            (2 * (y * z - x * w), 1 - 2 * (x * x + z * z), 2 * (x * y + z * w)),
            (2 * (x * z + y * w), 2 * (x * y - z * w), 1 - 2 * (y * y + z * z)),
        )
        at = map(float, np.asarray(position, float).reshape(3))
        frame = zip(turn, at, self.low.tolist(), self.edge.tolist(), strict=True)
        rows = [(a / edge, b / edge, c / edge, (p - low) / edge + 1) for (a, b, c), p, low, edge in frame]
        return np.array(rows, np.float32)

    def _cells(self, points: Points, pose: NDArray[np.float32]) -> NDArray[np.int32]:
        """Flat padded indices (..., m) of points (3, ..., m); those beyond the box fall into the border."""
        flat: NDArray[np.int32] | None = None
        for axis, count in enumerate(self._padded):
            row = pose[axis]
            at = points[0] * row[0]
            at += points[1] * row[1]
            at += points[2] * row[2]
            at += row[3]
            np.maximum(at, np.float32(0), out=at)
            np.minimum(at, np.float32(count - 0.5), out=at)
            index = at.astype(np.int32)
            if flat is None:
                flat = index
            else:
                flat *= np.int32(count)
                flat += index
        assert flat is not None
        return flat

    def _free_cells(self, points: Points, pose: NDArray[np.float32], own: int) -> NDArray[np.int32] | None:
        """All cells of the points, or None as soon as one is taken."""
        parts = []
        start, size = 0, HEAD
        while start < points.shape[1]:
            cells = self._cells(points[:, start : start + size], pose)
            value = self._grid[cells]
            if ((value > OPEN) & (value != own)).any() if own else (value > OPEN).any():
                return None
            parts.append(cells)
            start, size = start + size, size * 8
        return np.concatenate(parts)

    def _mark(self, cells: NDArray[np.int32], owner: int) -> int:
        cells = np.sort(cells)
        first = np.ones(len(cells), bool)
        np.not_equal(cells[1:], cells[:-1], out=first[1:])
        cells = cells[first]
        value = self._grid[cells]
        free = int(np.count_nonzero(value == FREE))
        self._grid[cells[(value != OPEN) & (value != TAKEN)]] = owner
        self.taken += free
        return free


def _by_axis(points: ArrayLike) -> Points:
    """(3, n) float32 of points (n, 3)."""
    return np.asarray(points, np.float32).reshape(-1, 3).T
