"""The two leaflets of membranes in a tomogram: profiles along the normals of surfaces, averaged on the surface.

Profiles are read by :class:`volengine.tasks.surfaces.sampler.Sampler`, box by box, and held for some vertices.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from volengine.core.surface import Surface
from volengine.core.units import NM_TO_ANGSTROM as NM
from volengine.ops.surfaces.neighbourhood import Links, cut_out, discs
from volengine.ops.surfaces.profiles import Bilayer, bilayer
from volengine.tasks.surfaces.measure_recipe import SurfacesMeasureRecipe
from volengine.tasks.surfaces.sampler import Sampler

Floats = NDArray[np.float64]


def distances_of(recipe: SurfacesMeasureRecipe) -> Floats:
    """The distances of a profile's values, angstrom."""
    steps = int(np.floor(recipe.reach_nm / recipe.step_nm + 1e-9))
    found: Floats = np.arange(-steps, steps + 1).astype(np.float64) * (recipe.step_nm * NM)
    return found


def rows_read(surface: Surface, rows: NDArray[np.int64], recipe: SurfacesMeasureRecipe) -> NDArray[np.int64]:
    """Vertices whose profiles are averaged at some vertices: those that are near them, whatever their normals are.

    Parameters
    ----------
    surface
        The surface.
    rows
        Numbers of the vertices, ascending.
    recipe
        Lengths.

    Returns
    -------
    Numbers of vertices, ascending, with ``rows`` among them.
    """
    radius = recipe.average_nm * NM
    if not radius > 0:
        return rows
    part, links = cut_out(surface.vertices, surface.faces, rows, radius)
    found = np.zeros(len(part), bool)
    alike = np.broadcast_to(np.array([1.0, 0.0, 0.0]), (len(part), 3))
    for pairs in discs(surface.vertices[part], alike, links, radius, np.searchsorted(part, rows)):
        found[pairs.near] = True
    return part[found]


def leaflets(
    surface: Surface,
    rows: NDArray[np.int64],
    wide: NDArray[np.int64],
    normals: Floats,
    sample: Sampler,
    recipe: SurfacesMeasureRecipe,
) -> Bilayer:
    """The two leaflets in the density along the normals of some vertices, angstrom.

    Parameters
    ----------
    surface
        The surface.
    rows
        Numbers of the vertices, ascending.
    wide, normals
        Numbers of the vertices whose profiles are read (:func:`rows_read`), and their normals, (n, 3).
    sample
        Reads the tomogram.
    recipe
        Lengths.
    """
    at, radius = distances_of(recipe), recipe.average_nm * NM
    profiles = sample.along(surface.vertices[wide], normals, at)
    mine = profiles[np.searchsorted(wide, rows)]
    if radius > 0:
        part, links = cut_out(surface.vertices, surface.faces, rows, radius)
        read = np.isin(part, wide)  # the others are near nobody
        held = np.full((len(part), len(at)), np.nan)
        held[read] = profiles[np.searchsorted(wide, part[read])]
        unit = np.zeros((len(part), 3))
        unit[read] = normals[np.searchsorted(wide, part[read])]
        places, areas = surface.vertices[part], surface.vertex_areas[part]
        mine = averaged(places, areas, unit, links, held, radius, np.searchsorted(part, rows))
    least, most = recipe.min_bilayer_nm * NM, recipe.max_bilayer_nm * NM
    return bilayer(mine, at, dark=recipe.contrast == "dark", least=least, most=most)


def averaged(
    vertices: Floats,
    areas: Floats,
    normals: Floats,
    links: Links,
    profiles: Floats,
    radius: float,
    rows: NDArray[np.int64],
) -> Floats:
    """Means of the finite profiles in the neighbourhood of some vertices, weighted by areas; a row for each of them."""
    out = np.full((len(rows), profiles.shape[1]), np.nan)
    known = np.all(np.isfinite(profiles), axis=1)
    for pairs in discs(vertices, normals, links, radius, rows):
        use = known[pairs.near]
        centre, near = pairs.centre[use], pairs.near[use]
        if not len(centre):
            continue
        centres, first = np.unique(centre, return_index=True)
        weight = areas[near]
        total = np.add.reduceat(weight, first)
        summed = np.add.reduceat(profiles[near] * weight[:, None], first, axis=0)
        good = total > 0
        out[np.searchsorted(rows, centres[good])] = summed[good] / total[good, None]
    return out
