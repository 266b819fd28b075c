"""surfaces pick: particles on surfaces, as maxima of a score that keep a distance along the surface.

>>> made = pick_on_surfaces("vesicles.surfaces", "receptors.star", {"tomogram": "TS_01.mrc"})        # doctest: +SKIP
>>> len(made.picks)                                                                                  # doctest: +SKIP
83
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.paths import PathLike, path_text
from volengine.core.surface import Surface
from volengine.core.units import NM_TO_ANGSTROM as NM
from volengine.io.surfaces import SurfaceFacts, SurfaceSet
from volengine.tasks.surfaces.picking_recipes import SurfacesPickRecipe
from volengine.tasks.surfaces.writing import Found, Picked, check_out, check_out_set, grid_of, write_found

Floats = NDArray[np.float64]
SCORE = "score"
"""Column of the score in the surfaces that are written."""
DEVIATIONS = 2.0


def pick_on_surfaces(
    source: PathLike, out: PathLike, recipe: SurfacesPickRecipe | Mapping[str, Any] | None = None
) -> Picked:
    """Find particles on surfaces.

    Parameters
    ----------
    source
        A set of surfaces, or a file of a mesh.
    out
        The table of picks, in the format that its ending or ``to`` names.
    recipe
        Score, distance and threshold.

    Returns
    -------
    Picked
        The file and its picks, with their scores as weights, normals, Euler angles (with the angle about the normal
        where the score says one, else rot = 0), and the number of the surface.

    Raises
    ------
    MissingError, FormatError
        A file does not exist or is damaged.
    InputError
        Something exists at ``out``; the tomogram is another one; the score cannot be computed.
    """
    from volengine.tasks.surfaces.reading import beside
    from volengine.tasks.surfaces.sampler import Sampler
    from volengine.tasks.surfaces.scores import score_of

    recipe = SurfacesPickRecipe.of(recipe)
    where, file = path_text(source), path_text(out)
    check_out(file, recipe.overwrite, recipe.to, where, recipe.tomogram, recipe.template, recipe.model)
    surfaces, volume, notes = beside(where, recipe.tomogram, recipe.any_origin)
    size, facts = grid_of(where, surfaces, volume)
    sample = None if volume is None else Sampler(volume, "linear")
    score, threshold, feature, height = score_of(recipe, sample, surfaces)
    prepared = [_prepared(surface, recipe) for surface in surfaces]
    scored = [score(surface) for surface in prepared]
    least = _least(recipe, threshold, [one.score for one in scored], notes)
    offset = height if recipe.offset_nm is None else recipe.offset_nm * NM
    parts = [
        _found(surface, one.score, one.rot_deg, least, offset, recipe)
        for surface, one in zip(prepared, scored, strict=True)
    ]
    if recipe.scored is not None:
        _write_scored(recipe, where, surfaces, zip(prepared, [one.score for one in scored], strict=True))
    named = recipe.feature if recipe.feature is not None else feature or facts.feature
    picks, counts, more = write_found(file, parts, size, facts, named, recipe.to)
    return Picked(file, picks, counts, (*notes, *more))


def _prepared(surface: Surface, recipe: SurfacesPickRecipe) -> Surface:
    """The surface with normals, and with edges that are short enough."""
    from volengine.ops.surfaces.points import normals_of
    from volengine.ops.surfaces.subdivision import subdivided

    edge = (recipe.spacing_nm / 4 if recipe.edge_nm is None else recipe.edge_nm) * NM
    return subdivided(replace(surface, normals=normals_of(surface)), edge)


def _least(recipe: SurfacesPickRecipe, threshold: float | None, scores: Sequence[Floats], notes: list[str]) -> float:
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
    least = middle + DEVIATIONS * 1.4826 * float(np.median(np.abs(there - middle)))
    notes.append(f"Scores have the median {middle:.4g}; those from {least:.4g} on count (--min-score).")
    return least


def _found(
    surface: Surface, score: Floats, rot_deg: Floats, least: float, offset: float, recipe: SurfacesPickRecipe
) -> Found:
    from volengine.ops.surfaces.border import from_border
    from volengine.ops.surfaces.maxima import spaced_maxima

    if recipe.edge_exclusion_nm:
        away = from_border(surface.vertices, surface.faces, name=surface.name)
        score = np.where(away >= recipe.edge_exclusion_nm * NM, score, np.nan)
    if recipe.method == "mean-shift":
        return _clusters(surface, score, rot_deg, least, offset, recipe)
    assert surface.normals is not None
    chosen = spaced_maxima(surface, score, recipe.spacing_nm * NM, least)
    normal = surface.normals[chosen]
    return Found(surface.number, surface.vertices[chosen] + offset * normal, normal, rot_deg[chosen], score[chosen])


def _clusters(
    surface: Surface, score: Floats, rot_deg: Floats, least: float, offset: float, recipe: SurfacesPickRecipe
) -> Found:
    """Centres of the vertices above the threshold; normal and angle are those of the nearest of these vertices."""
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
        return Found(surface.number, centres, centres, np.empty(0), np.empty(0))
    nearest = high[KDTree(surface.vertices[high]).query(centres)[1]]
    best = np.full(len(centres), -np.inf)
    np.maximum.at(best, cluster, score[high])
    normal = surface.normals[nearest]
    # means of places on a bent surface lie on its hollow side: back to the plane that touches it
    height = np.einsum("ij,ij->i", surface.vertices[nearest] - centres, normal)
    centres = centres + height[:, None] * normal
    return Found(surface.number, centres + offset * normal, normal, rot_deg[nearest], best)


def _write_scored(
    recipe: SurfacesPickRecipe, where: str, surfaces: SurfaceSet, scored: Iterable[tuple[Surface, Floats]]
) -> None:
    from volengine.io.surfaces import write_surfaces

    assert recipe.scored is not None
    check_out_set(recipe.scored, recipe.overwrite, where, recipe.tomogram)
    more = {row["number"]: {k: v for k, v in row.items() if k not in ("number", "file")} for row in surfaces.rows}
    step = {"verb": "surfaces pick", "recipe": recipe.to_json()}
    facts: SurfaceFacts = replace(surfaces.facts, history=[*surfaces.facts.history, step])
    made = ((one.with_columns(**{SCORE: score}), more[one.number]) for one, score in scored)
    write_surfaces(recipe.scored, made, facts)
