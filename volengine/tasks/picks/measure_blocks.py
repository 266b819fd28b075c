"""Kernels of ``picks measure``, and the memory that they need: one for each kind of thing that surrounds picks.

They read surfaces and volumes around the picks themselves, because these lie anywhere. Places come from a file in the
plan's folder.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Block, Result, Table
from volengine.core.digest import digest_of
from volengine.core.errors import FormatError
from volengine.core.volume import Volume
from volengine.io.identity import check_unchanged
from volengine.ops.stored import mask_in
from volengine.tasks.common.division import NOTES, Piece, near_rows
from volengine.tasks.common.lying import Grid
from volengine.tasks.common.set_read import READ_BYTES, SetRead
from volengine.tasks.picks.around import Columns, beside_surfaces, beside_voxels, index_in
from volengine.tasks.picks.lamella import Slab, lamella_columns
from volengine.tasks.picks.recipe import PicksMeasureRecipe
from volengine.tasks.picks.voxels import LARGEST, Voxels, values_at

CACHE_BYTES = 192 << 20
"""Chunks of a volume that are kept."""

KEPT_BYTES = 200
"""Memory for each vertex of a surface that is kept."""

NEAREST_BYTES = 700
"""Memory for each vertex of a surface among whose faces the nearest is searched."""

ROW = "row"


def read_places(places: dict[str, str]) -> NDArray[np.float64]:
    """The places of a plan's picks, (n, 3) angstrom, from the file that was written when it was planned.

    Parameters
    ----------
    places
        ``path`` of the file, and the ``digest`` of what it holds.

    Raises
    ------
    FormatError
        The file is gone, or holds other places.
    """
    return _places(places["path"], places["digest"])


@lru_cache(maxsize=2)
def _places(path: str, digest: str) -> NDArray[np.float64]:
    try:
        with Path(path).open("rb") as file:
            found = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise FormatError(f"{path}: the places of the picks cannot be read ({error}); run the same command.") from error
    if digest_of(found) != digest:
        raise FormatError(f"{path}: holds other places than those that were planned; run the same command again.")
    return np.asarray(found, np.float64)


def _mine(block: Block, places: dict[str, str]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Numbers of the picks of a unit, and their places."""
    at = read_places(places)
    rows = near_rows(at, Piece(1, block.number, block.shape[0]))
    return rows, at[rows]


def _table(rows: NDArray[np.int64], columns: Columns) -> Table:
    return {ROW: rows, **columns}


def beside_set(block: Block, surfaces: dict[str, Any], grid: list[list[float]], places: dict[str, str]) -> Result:
    """Kernel: the nearest surface of a set for some picks.

    Parameters
    ----------
    surfaces
        :class:`~volengine.tasks.common.set_read.SetRead` as JSON.
    grid
        How the voxels of their tomogram lie on those of the picks'.
    places
        As of :func:`read_places`.

    Returns
    -------
    Result
        ``row`` (numbers of picks) and the columns of :func:`~volengine.tasks.picks.around.beside_surfaces`.
    """
    rows, at = _mine(block, places)
    columns = beside_surfaces(at - np.asarray(Grid.from_json(grid).offset), SetRead.from_json(surfaces).open())
    return Result(table=_table(rows, columns), counts={"picks": len(rows)})


def beside_set_bytes(largest: int, kept: int, rows: int) -> int:
    """Bytes that :func:`beside_set` needs.

    Parameters
    ----------
    largest, kept
        Vertices of the largest surface, and of all that are kept together.
    rows
        Number of picks.
    """
    return KEPT_BYTES * kept + max(READ_BYTES, NEAREST_BYTES) * largest + 1000 * rows + 2**27


def beside_volume(
    block: Block,
    volume: dict[str, Any],
    where: str,
    threshold: float | None,
    labels: list[int],
    grid: list[list[float]],
    reach_nm: float,
    places: dict[str, str],
    scale: float | None = None,
) -> Result:
    """Kernel: the nearest voxel of labels, or of a prediction, for some picks.

    The table ``kind``, if there is one, says whether a prediction is a mask (:mod:`~volengine.tasks.common.readings`).

    Parameters
    ----------
    volume
        The volume as JSON.
    where
        How messages name it.
    threshold, labels, scale
        Which voxels count, as of :class:`~volengine.tasks.picks.voxels.Voxels`.
    grid
        Voxel size, and place of the first voxel, angstrom.
    reach_nm
        Largest distance that is looked for.
    places
        As of :func:`read_places`.

    Returns
    -------
    Result
        ``row`` and the columns of :func:`~volengine.tasks.picks.around.beside_voxels`.
    """
    rows, at = _mine(block, places)
    read = Volume.from_json(volume)
    voxels = Voxels(read, where, threshold, tuple(labels), mask_in(block.tables), scale, CACHE_BYTES)
    columns = beside_voxels(at, voxels, Grid.from_json(grid), reach_nm)
    check_unchanged(read, full=False)
    return Result(table=_table(rows, columns), counts={"picks": len(rows)})


def beside_volume_bytes(itemsize: int, rows: int) -> int:
    """Bytes that :func:`beside_volume` needs for voxels of so many bytes, and so many picks."""
    return (3 * itemsize + 24) * LARGEST + CACHE_BYTES + 1000 * rows + 2**26


def value_of_volume(block: Block, volume: dict[str, Any], grid: list[list[float]], places: dict[str, str]) -> Result:
    """Kernel: the values of a volume at some picks; parameters are those of :func:`beside_volume`.

    Returns
    -------
    Result
        ``row`` and ``value``.
    """
    rows, at = _mine(block, places)
    read = Volume.from_json(volume)
    value = values_at(read, index_in(at, Grid.from_json(grid)), CACHE_BYTES)[0]
    check_unchanged(read, full=False)
    return Result(table=_table(rows, {"value": value}), counts={"picks": len(rows)})


def value_of_volume_bytes(itemsize: int, rows: int) -> int:
    """Bytes that :func:`value_of_volume` needs for voxels of so many bytes, and so many picks."""
    return itemsize * LARGEST + CACHE_BYTES + 500 * rows + 2**26


def depth_in_slab(
    block: Block,
    volume: dict[str, Any] | None,
    surfaces: dict[str, Any] | None,
    where: str,
    tomogram: str,
    grid: list[list[float]],
    recipe: dict[str, Any],
    places: dict[str, str],
) -> Result:
    """Kernel: the depth of all picks below the faces of the slab.

    Parameters
    ----------
    volume, surfaces
        The volume, or the set, that shows the slab.
    where, tomogram
        How messages name both.
    grid, places
        As of :func:`beside_volume`.
    recipe
        Side of the columns and threshold.

    Returns
    -------
    Result
        ``row``, the columns of :func:`~volengine.tasks.picks.lamella.lamella_columns`, and ``notes``.
    """
    at = read_places(places)
    if surfaces is not None:
        at = at - np.asarray(Grid.from_json(grid).offset)
        slab = Slab(SetRead.from_json(surfaces).open(), where, tomogram)
    else:
        assert volume is not None
        slab = Slab(Volume.from_json(volume), where, tomogram, Grid.from_json(grid), mask_in(block.tables))
    columns, said = lamella_columns(at, slab, PicksMeasureRecipe.from_json(recipe))
    return Result(table={**_table(np.arange(len(at)), columns), NOTES: np.array([said], str)})


def depth_in_slab_bytes(itemsize: int, vertices: int, rows: int) -> int:
    """Bytes that :func:`depth_in_slab` needs for voxels of so many bytes, or surfaces of so many vertices."""
    return (3 * itemsize + 16) * LARGEST + 2 * CACHE_BYTES + 2000 * vertices + 1000 * rows
