"""Kernel of ``surfaces sample``, and the memory that it needs."""

from __future__ import annotations

from typing import Any

import numpy as np

from volengine.core.block import Block, Result
from volengine.core.surface import Surface
from volengine.core.units import NM_TO_ANGSTROM as NM
from volengine.tasks.common.division import whole_units_of
from volengine.tasks.common.set_read import GEODESIC_BYTES, READ_BYTES, SetRead, errors_name
from volengine.tasks.surfaces.found import Found, table_of
from volengine.tasks.surfaces.picking_recipes import SurfacesSampleRecipe

POINT_BYTES = 2000
"""Memory for each vertex of a surface while points are put on it."""


def sample_points(block: Block, given: dict[str, Any], rows: int) -> Result:
    """Kernel: points on some surfaces; each surface has random numbers of its own.

    Parameters
    ----------
    given
        Of :meth:`~volengine.tasks.surfaces.given.BesideGiven.described`.
    rows
        Vertices of a unit.

    Returns
    -------
    Result
        :func:`~volengine.tasks.surfaces.found.table_of` the points.
    """
    recipe, mine = SurfacesSampleRecipe.from_json(given["recipe"]), SetRead.from_json(given["set"])
    surfaces = mine.open()
    units = whole_units_of(mine.counts, rows)[block.number]
    with errors_name(given):
        found = [sampled(surfaces.read(piece.number), recipe) for piece in units]
    return Result(table=table_of(found), counts={"points": sum(len(one.place) for one in found)})


def sample_points_bytes(vertices: int, open_: int = 0) -> int:
    """Bytes that :func:`sample_points` needs for a surface of so many vertices, and one with a border of ``open_``."""
    return (READ_BYTES + POINT_BYTES) * vertices + GEODESIC_BYTES * open_ + 2**27


def sampled(surface: Surface, recipe: SurfacesSampleRecipe) -> Found:
    """Points on one surface."""
    from volengine.ops.surfaces.border import from_border
    from volengine.ops.surfaces.sampling import BORDER_PARTS, poisson_disc, poisson_disc_geodesic

    rng = np.random.default_rng([recipe.seed, surface.number])
    allowance = None
    if recipe.edge_exclusion_nm:
        edge = recipe.edge_exclusion_nm * NM
        away = from_border(surface.vertices, surface.faces, apart=edge / BORDER_PARTS, name=surface.name)
        allowance = np.where(np.isfinite(away), away - edge, 1e30)
    draw = poisson_disc if recipe.distance == "space" else poisson_disc_geodesic
    points = draw(surface, recipe.spacing_nm * NM, rng, allowance)
    rot = 360 * rng.random(len(points)) - 180 if recipe.in_plane == "random" else np.zeros(len(points))
    return Found(surface.number, points.place + recipe.offset_nm * NM * points.normal, points.normal, rot)
