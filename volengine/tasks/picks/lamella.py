"""Depth of picks in the lamella: faces from the tomogram, from a mask of the slab, or from its surfaces."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.core.surface import Surface
from volengine.core.units import NM_TO_ANGSTROM as NM
from volengine.core.volume import Volume
from volengine.io.cached import ChunkCache
from volengine.io.open import open_source
from volengine.io.surfaces import SurfaceSet
from volengine.ops.lamella import Heights, faces_of_mask, faces_of_variance, fit_face
from volengine.tasks.common.lying import Grid
from volengine.tasks.picks.recipe import PicksMeasureRecipe
from volengine.tasks.picks.voxels import CACHE_BYTES, Voxels

Columns = dict[str, NDArray[Any]]
Floats = NDArray[np.float64]

MOST_CELLS = 64
"""Cells along y and along x, at most; cells of large tomograms are larger."""

LEAST_SIDE = 8
"""Voxels along a side of a cell, at least."""

STEEPEST = 0.5
"""Slope of a face, at most, up to which its planes are told apart within a cell; lamellae are tilted by 0.1 to 0.3."""

SLAB = 64
"""Planes that are read at a time."""


class Slab(NamedTuple):
    """What shows the slab: a volume with its grid, or surfaces; ``where`` it is; ``tomogram``, whose it is; ``is_mask``
    of a prediction as of :class:`~volengine.tasks.picks.voxels.Voxels`."""

    source: Volume | SurfaceSet
    where: str
    tomogram: str
    grid: Grid | None = None
    is_mask: bool = False


def lamella_columns(places: Floats, slab: Slab, recipe: PicksMeasureRecipe) -> tuple[Columns, str]:
    """Depth of places below the faces of a slab.

    Parameters
    ----------
    places
        (n, 3) z, y, x, angstrom.
    slab
        The slab.
    recipe
        Side of the columns, and threshold.

    Returns
    -------
    ``lamella.depth_nm`` (negative outside), ``lamella.low_nm``, ``lamella.high_nm``, ``lamella.thickness_nm``, (n,)
    each; the last three NaN if the slab is one closed surface. And a sentence on the faces, empty for surfaces.

    Raises
    ------
    InputError
        The slab has no faces that can be found, or is neither one closed surface nor two open ones.
    """
    if isinstance(slab.source, SurfaceSet):
        return _named(*_from_surfaces(places, slab.source, slab.where)), ""
    assert slab.grid is not None
    grid, volume = slab.grid, slab.source
    heights, y, x = _heights(volume, slab, grid, recipe)
    offset = np.asarray(grid.offset)
    faces = [
        fit_face(height, y, x, grid.voxel_size, f"{slab.where}, face of {what} z")
        for height, what in ((heights.low, "low"), (heights.high, "high"))
    ]
    low, high = faces[0].above(places - offset), -faces[1].above(places - offset)
    spread = max(face.spread for face in faces) / NM
    used, seen = min(face.used for face in faces), heights.low.size
    said = (
        f"{slab.tomogram}: the faces of the slab were fitted through {used} of {seen} columns, within {spread:.2g} "
        f"nm; at the picks it is {np.median(low + high) / NM if len(places) else np.nan:.3g} nm thick."
    )
    return _named(np.minimum(low, high), low, high), said


def _named(depth: Floats, low: Floats, high: Floats) -> Columns:
    made = {"depth_nm": depth, "low_nm": low, "high_nm": high, "thickness_nm": low + high}
    return {f"lamella.{name}": column / NM for name, column in made.items()}


def _heights(volume: Volume, slab: Slab, grid: Grid, recipe: PicksMeasureRecipe) -> tuple[Heights, Floats, Floats]:
    """Heights of the faces in each cell, and the middles of the cells along y and along x, voxels."""
    side = [
        max(LEAST_SIDE, round(recipe.lamella_cell_nm * NM / size), -(-n // MOST_CELLS))
        for n, size in zip(volume.shape[1:], grid.voxel_size[1:], strict=True)
    ]
    edges = [np.arange(0, max(1, n // s) + 1) * s for n, s in zip(volume.shape[1:], side, strict=True)]
    for edge, n in zip(edges, volume.shape[1:], strict=True):
        edge[-1] = n  # what is left belongs to the last cell
    threshold = recipe.threshold if volume.kind == "probability" else None
    voxels = Voxels(volume, slab.where, threshold, is_mask=slab.is_mask) if volume.kind != "intensity" else None
    source = ChunkCache(CACHE_BYTES).over(open_source(volume), volume)
    profile = np.empty((volume.shape[0], len(edges[0]) - 1, len(edges[1]) - 1))
    share, binary = np.empty_like(profile), True
    for row in range(profile.shape[1]):
        for column in range(profile.shape[2]):
            y, x = edges[0][row : row + 2].tolist(), edges[1][column : column + 2].tolist()
            for box in Box((0, y[0], x[0]), (volume.shape[0], y[1], x[1])).slabs(SLAB):
                part = (slice(box.start[0], box.stop[0]), row, column)
                if voxels is None:
                    values = source.read(box).astype(np.float64)
                    if odd := int(np.count_nonzero(~np.isfinite(values))):
                        raise InputError(
                            f"{slab.where}: {odd} of {values.size} values in voxels {box.start} to {box.stop} are NaN "
                            "or infinite; replace them, or give a mask of the slab with --lamella."
                        )
                    profile[part], share[part] = values.var(axis=(1, 2)), values.mean(axis=(1, 2))
                    binary = binary and bool(((values == 0) | (values == 1)).all())
                else:
                    share[part] = voxels.mask(box).mean(axis=(1, 2))
    widest = max(s * size for s, size in zip(side, grid.voxel_size[1:], strict=True))
    ramp = round(STEEPEST * widest / 2 / grid.voxel_size[0])
    mask = voxels is not None or binary  # many formats do not say that a volume is a mask
    found = faces_of_mask(share) if mask else faces_of_variance(profile, ramp)
    y, x = ((edge[:-1] + edge[1:] - 1) / 2 for edge in edges)
    return found, y, x


def _from_surfaces(places: Floats, surfaces: SurfaceSet, where: str) -> tuple[Floats, Floats, Floats]:
    """Depth below one closed surface, or below two open ones that face each other."""
    from volengine.ops.surfaces.signs import welded

    found = [welded(one) for one in surfaces if len(one.faces)] if len(surfaces) <= 2 else []
    closed = [one for one in found if one.closed]
    if len(found) == 1 and closed:
        depth = -_signed(places, found[0], 1)
        nothing = np.full(len(places), np.nan)
        return depth, nothing, nothing
    if len(found) != 2 or closed:
        raise InputError(
            f"{where}: a slab is one closed surface or two open ones; there are {len(surfaces)} surfaces, "
            f"{len(closed)} of them closed."
        )
    low, high = sorted(found, key=lambda one: float(one.vertices[:, 0].mean()))
    to_low, to_high = _signed(places, low, _towards(low, high)), _signed(places, high, _towards(high, low))
    return np.minimum(to_low, to_high), to_low, to_high


def _signed(places: Floats, surface: Surface, sign: int) -> Floats:
    from volengine.ops.surfaces.signs import side_of
    from volengine.ops.surfaces.triangles import nearest_on

    near = nearest_on(places, surface.vertices, surface.faces)
    found: Floats = near.distance * side_of(places, surface, near.face) * sign
    return found


def _towards(surface: Surface, other: Surface) -> int:
    """The side of a surface on which another one lies."""
    return 1 if np.sign(_signed(other.vertices, surface, 1)).sum() >= 0 else -1
