"""The two leaflets of membranes in a tomogram: profiles along the normals of surfaces, averaged on the surface.

Profiles are read by :class:`volengine.tasks.surfaces.reading.Sampler`, box by box, and held for one surface.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.surface import Surface
from volengine.core.units import NM_TO_ANGSTROM as NM
from volengine.ops.surfaces.neighbourhood import Links, discs
from volengine.ops.surfaces.profiles import Bilayer, bilayer
from volengine.tasks.surfaces.measure_recipe import SurfacesMeasureRecipe
from volengine.tasks.surfaces.reading import Sampler

Floats = NDArray[np.float64]


def distances_of(recipe: SurfacesMeasureRecipe) -> Floats:
    """The distances of a profile's values, angstrom."""
    steps = int(np.floor(recipe.reach_nm / recipe.step_nm + 1e-9))
    found: Floats = np.arange(-steps, steps + 1).astype(np.float64) * (recipe.step_nm * NM)
    return found


def leaflets(
    surface: Surface, normals: Floats, links: Links, sample: Sampler, recipe: SurfacesMeasureRecipe
) -> Bilayer:
    """The two leaflets in the density along the normals of each vertex, angstrom."""
    at = distances_of(recipe)
    profiles = sample.along(surface.vertices, normals, at)
    if recipe.average_nm > 0:
        profiles = averaged(surface, normals, links, profiles, recipe.average_nm * NM)
    least, most = recipe.min_bilayer_nm * NM, recipe.max_bilayer_nm * NM
    return bilayer(profiles, at, dark=recipe.contrast == "dark", least=least, most=most)


def averaged(surface: Surface, normals: Floats, links: Links, profiles: Floats, radius: float) -> Floats:
    """Means of the finite profiles in the neighbourhood of each vertex, weighted by areas."""
    out = np.full_like(profiles, np.nan)
    known = np.all(np.isfinite(profiles), axis=1)
    for pairs in discs(surface.vertices, normals, links, radius):
        use = known[pairs.near]
        centre, near = pairs.centre[use], pairs.near[use]
        if not len(centre):
            continue
        centres, first = np.unique(centre, return_index=True)
        weight = surface.vertex_areas[near]
        total = np.add.reduceat(weight, first)
        summed = np.add.reduceat(profiles[near] * weight[:, None], first, axis=0)
        good = total > 0
        out[centres[good]] = summed[good] / total[good, None]
    return out


def check_memory(surface: Surface, recipe: SurfacesMeasureRecipe, limit: int) -> None:
    """Refuse a surface whose profiles do not fit into memory.

    Raises
    ------
    InputError
        They need more than ``limit`` bytes.
    """
    needed = 2 * 8 * len(surface.vertices) * len(distances_of(recipe))
    if needed > limit:
        raise InputError(
            f"{surface.name}: profiles of {len(distances_of(recipe))} values at {len(surface.vertices)} vertices need "
            f"{needed / 1e9:.1f} GB, and {limit / 1e9:.1f} GB are there; raise step_nm, or decimate the surface."
        )
