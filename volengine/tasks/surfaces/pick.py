"""Particles on one surface: maxima of a score that keep a distance along it, or clusters of high scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.surface import Surface
from volengine.core.units import NM_TO_ANGSTROM as NM
from volengine.tasks.surfaces.found import Found
from volengine.tasks.surfaces.picking_recipes import SurfacesPickRecipe

if TYPE_CHECKING:
    from volengine.tasks.surfaces.in_plane import Turner
    from volengine.tasks.surfaces.scored import Scored

Floats = NDArray[np.float64]
DEVIATIONS = 2.0


def found_on(
    surface: Surface, scored: Scored, least: float, height: float, recipe: SurfacesPickRecipe, turner: Turner | None
) -> Found:
    """Particles on one surface.

    Parameters
    ----------
    surface
        Of :func:`prepared`.
    scored
        The score of its vertices.
    least
        The smallest score that counts.
    height
        Height of a particle's middle above the surface, angstrom, if the recipe states neither offset nor template.
    recipe
        Method and distances.
    turner
        Finds place and rotation of the particles, if something says them.
    """
    height = height if recipe.template is None else recipe.template_height_nm * NM
    offset = height if recipe.offset_nm is None else recipe.offset_nm * NM
    chosen = _chosen(surface, scored.score, least, recipe)
    return _placed(chosen, surface, turner, offset, recipe)


def prepared(surface: Surface, recipe: SurfacesPickRecipe) -> Surface:
    """The surface with normals, and with edges that are short enough."""
    from volengine.ops.surfaces.points import normals_of
    from volengine.ops.surfaces.subdivision import subdivided

    return subdivided(replace(surface, normals=normals_of(surface)), edge_of(recipe))


def edge_of(recipe: SurfacesPickRecipe) -> float:
    """The longest edge of a surface whose vertices are compared, angstrom."""
    return (recipe.spacing_nm / 4 if recipe.edge_nm is None else recipe.edge_nm) * NM


def least_score(
    recipe: SurfacesPickRecipe, threshold: float | None, scores: Sequence[Floats], notes: list[str]
) -> float:
    """The smallest score that counts."""
    if recipe.min_score is not None:
        return recipe.min_score
    if threshold is not None:
        return threshold
    there = np.concatenate([np.empty(0), *scores])
    there = there[np.isfinite(there)]
    if not len(there):
        notes.append("No vertex has a score: the surfaces lie outside of the tomogram.")
        return 0.0
    middle = float(np.median(there))
    spread = float(np.median(np.abs(there - middle)))
    if spread == 0:
        raise InputError(
            f"More than half of the scores are equal ({middle:.4g}), so there is no threshold that stands out: is the "
            "tomogram a mask? Give the smallest score that counts: --min-score."
        )
    least = middle + DEVIATIONS * 1.4826 * spread
    notes.append(f"Scores have the median {middle:.4g}; those from {least:.4g} on count (--min-score).")
    return least


class Chosen(NamedTuple):
    """Picks of a surface: the nearest vertex of each, its place and score."""

    vertex: NDArray[np.int64]
    place: Floats
    score: Floats


def _chosen(surface: Surface, score: Floats, least: float, recipe: SurfacesPickRecipe) -> Chosen:
    from volengine.ops.surfaces.border import from_border
    from volengine.ops.surfaces.maxima import spaced_maxima

    if recipe.edge_exclusion_nm:
        away = from_border(surface.vertices, surface.faces, name=surface.name)
        score = np.where(away >= recipe.edge_exclusion_nm * NM, score, np.nan)
    if recipe.method == "mean-shift":
        return _clusters(surface, score, least, recipe)
    chosen = spaced_maxima(surface, score, recipe.spacing_nm * NM, least)
    return Chosen(chosen, surface.vertices[chosen], score[chosen])


def _placed(
    chosen: Chosen, surface: Surface, turner: Turner | None, offset: float, recipe: SurfacesPickRecipe
) -> Found:
    """Picks with their rotation, moved along their normals."""
    assert surface.normals is not None
    place, normal = chosen.place, surface.normals[chosen.vertex]
    rot, known = np.zeros(len(place)), np.zeros(len(place), bool)
    if turner is not None:
        turned = turner(surface, chosen.vertex, edge_of(recipe))
        place, normal, rot, known = turned.place, turned.normal, turned.rot_deg, turned.known
    return Found(surface.number, place + offset * normal, normal, rot, chosen.score, known)


def _clusters(surface: Surface, score: Floats, least: float, recipe: SurfacesPickRecipe) -> Chosen:
    """Centres of the vertices above the threshold; the vertex is the nearest of these."""
    from scipy.spatial import KDTree

    from volengine.ops.surfaces.mean_shift import mean_shift

    assert surface.normals is not None
    used = np.zeros(len(score), bool)
    used[surface.faces] = True
    high = np.flatnonzero(used & (score > least))
    areas = surface.vertex_areas[high]
    weight = (score[high] - least) * np.where(areas > 0, areas, areas[areas > 0].min(initial=1.0))
    centres, cluster = mean_shift(surface.vertices[high], weight, recipe.spacing_nm * NM)
    if not len(centres):
        return Chosen(np.empty(0, np.int64), centres, np.empty(0))
    nearest = high[KDTree(surface.vertices[high]).query(centres)[1]]
    best = np.full(len(centres), -np.inf)
    np.maximum.at(best, cluster, score[high])
    normal = surface.normals[nearest]
    # means of places on a bent surface lie on its hollow side: back to the plane that touches it
    height = np.einsum("ij,ij->i", surface.vertices[nearest] - centres, normal)
    return Chosen(nearest, centres + height[:, None] * normal, best)
