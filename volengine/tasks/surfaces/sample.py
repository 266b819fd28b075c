"""surfaces sample: points on surfaces at a spacing, with their normals, as seeds for averaging.

>>> made = sample_surfaces("vesicles.surfaces", "seeds.star", {"spacing_nm": 5})                     # doctest: +SKIP
>>> len(made.picks), made.counts                                                                     # doctest: +SKIP
(1320, {1: 700, 2: 620})
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from volengine.core.paths import PathLike, path_text
from volengine.core.surface import Surface
from volengine.core.units import NM_TO_ANGSTROM as NM
from volengine.tasks.surfaces.picking_recipes import SurfacesSampleRecipe
from volengine.tasks.surfaces.writing import Found, Picked, check_out, grid_of, write_found


def sample_surfaces(
    source: PathLike, out: PathLike, recipe: SurfacesSampleRecipe | Mapping[str, Any] | None = None
) -> Picked:
    """Put points on the faces of surfaces, as dense as a smallest distance allows (Poisson disc), and write them.

    Parameters
    ----------
    source
        A set of surfaces, or a file of a mesh.
    out
        The table of picks, in the format that its ending or ``to`` names.
    recipe
        Spacing, offset and the rest.

    Returns
    -------
    Picked
        The file and its picks: normals (interpolated), Euler angles, and the number of the surface (``surface``). The
        smallest distance holds within each surface; ``picks filter --spacing-nm`` makes it hold between surfaces.

    Raises
    ------
    MissingError, FormatError
        The surfaces do not exist, or are damaged.
    InputError
        Something exists at ``out``, or nothing states the voxel size.
    """
    from volengine.tasks.surfaces.reading import beside

    recipe = SurfacesSampleRecipe.of(recipe)
    where, file = path_text(source), path_text(out)
    check_out(file, recipe.overwrite, recipe.to, where, recipe.tomogram)
    surfaces, volume, notes = beside(where, recipe.tomogram, recipe.any_origin)
    size, facts = grid_of(where, surfaces, volume)
    parts = [_sampled(surface, recipe) for surface in surfaces]
    feature = recipe.feature if recipe.feature is not None else facts.feature
    picks, counts, more = write_found(file, parts, size, facts, feature, recipe.to)
    return Picked(file, picks, counts, (*notes, *more))


def _sampled(surface: Surface, recipe: SurfacesSampleRecipe) -> Found:
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
