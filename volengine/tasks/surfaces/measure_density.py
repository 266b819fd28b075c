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

LEAST_PARTS = 4
"""Parts of a neighbourhood with profiles that are needed to see how far these scatter."""


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
    mine, noise = profiles[np.searchsorted(wide, rows)], None
    if radius > 0:
        part, links = cut_out(surface.vertices, surface.faces, rows, radius)
        read = np.isin(part, wide)  # the others are near nobody
        held = np.full((len(part), len(at)), np.nan)
        held[read] = profiles[np.searchsorted(wide, part[read])]
        unit = np.zeros((len(part), 3))
        unit[read] = normals[np.searchsorted(wide, part[read])]
        places, areas = surface.vertices[part], surface.vertex_areas[part]
        mine, noise = averaged(places, areas, unit, links, held, radius, np.searchsorted(part, rows))
    least, most = recipe.min_bilayer_nm * NM, recipe.max_bilayer_nm * NM
    return bilayer(mine, at, noise, voxel=sample.voxel, dark=recipe.contrast == "dark", least=least, most=most)


def averaged(
    vertices: Floats,
    areas: Floats,
    normals: Floats,
    links: Links,
    profiles: Floats,
    radius: float,
    rows: NDArray[np.int64],
) -> tuple[Floats, Floats]:
    """Means of the finite profiles in the neighbourhood of some vertices, weighted by areas, and their noise.

    The noise is the standard error of the mean, from the scatter of the means of the eight parts into which planes
    through the normal cut the neighbourhood, each with its weight. Parts, and not single profiles, because profiles of
    vertices that are near each other share voxels.

    Parameters
    ----------
    vertices, areas, normals, links
        The surface: (n, 3) places, (n,) areas, (n, 3) unit normals, and what edges join.
    profiles
        (n, k) values; NaN where they are not known.
    radius
        Of the neighbourhoods, in the unit of the vertices.
    rows
        (m,) numbers of the vertices in whose neighbourhoods profiles are averaged, ascending.

    Returns
    -------
    (m, k) means, and (m,) their noise, the root of its mean square along the profile; NaN where fewer than
    :data:`LEAST_PARTS` parts have a profile.
    """
    mean, noise = np.full((len(rows), profiles.shape[1]), np.nan), np.full(len(rows), np.nan)
    known = np.all(np.isfinite(profiles), axis=1)
    for pairs in discs(vertices, normals, links, radius, rows):
        use = known[pairs.near] & (areas[pairs.near] > 0)
        centre, near = pairs.centre[use], pairs.near[use]
        if not len(centre):
            continue
        part = eighths(vertices[near] - vertices[centre], normals[centre])
        order = np.lexsort((part, centre))
        centre, near, part = centre[order], near[order], part[order]
        weight = areas[near]
        _, first = np.unique(centre * 8 + part, return_index=True)
        weights = np.add.reduceat(weight, first)
        sums = np.add.reduceat(profiles[near] * weight[:, None], first, axis=0)
        centres, begin, parts = np.unique(centre[first], return_index=True, return_counts=True)
        total = np.add.reduceat(weights, begin)
        found = np.add.reduceat(sums, begin, axis=0) / total[:, None]
        away = np.repeat(found, parts, axis=0)  # in place from here on, as this is as large as the profiles may be
        away *= weights[:, None]
        away -= sums
        np.square(away, out=away)
        square = np.add.reduceat(away.mean(axis=1), begin) / total**2
        at = np.searchsorted(rows, centres)
        mean[at] = found
        noise[at] = np.where(parts >= LEAST_PARTS, np.sqrt(square * parts / np.maximum(parts - 1, 1)), np.nan)
    return mean, noise


def eighths(away: Floats, normal: Floats) -> NDArray[np.int64]:
    """Which of the eight parts around a normal places lie in; planes through the normal are their borders.

    Parameters
    ----------
    away
        (n, 3) places, from that of the normal.
    normal
        (n, 3) unit normals.

    Returns
    -------
    (n,) numbers from 0 to 7. A direction that each normal has, and nothing else, says where they begin.

    Examples
    --------
    >>> eighths(np.array([[0, 1, 0.1], [0, 0.1, 1], [5, -1, -0.1]]), np.array([[1.0, 0, 0]] * 3)).tolist()
    [4, 5, 2]
    """
    other = np.zeros_like(normal)
    other[np.arange(len(normal)), np.abs(normal).argmin(axis=1)] = 1
    one = np.cross(normal, other)
    two = np.cross(normal, one)
    a, b = (away * one).sum(axis=1), (away * two).sum(axis=1)
    found: NDArray[np.int64] = 4 * (a >= 0) + 2 * (b >= 0) + (np.abs(a) >= np.abs(b)).astype(np.int64)
    return found
