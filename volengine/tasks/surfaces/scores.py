"""Scores of the vertices of a surface: mean density, correlation with a template, a network's answer, a column.

All but the column look at the tomogram on a cylinder about the normal (:mod:`volengine.ops.surfaces.patches`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.surface import Surface
from volengine.core.units import NM_TO_ANGSTROM as NM
from volengine.io.names import split_group
from volengine.io.open import open_volume
from volengine.ops.surfaces.patches import Cylinder, correlations
from volengine.tasks.surfaces.picking_recipes import SurfacesPickRecipe
from volengine.tasks.surfaces.scored import Score, Scored, patches

if TYPE_CHECKING:
    from volengine.tasks.surfaces.sampler import Sampler

Floats = NDArray[np.float64]
TEMPLATE_STEP = 1.0
"""Distance of the values of a template's cylinder, in voxels of the tomogram."""


def score_of(
    recipe: SurfacesPickRecipe, sample: Sampler | None, surfaces: Iterable[Surface]
) -> tuple[Score, float | None, str, float]:
    """The score that a recipe asks for; ``surfaces`` are those of the tomogram.

    Returns
    -------
    A function of a surface with normals; its threshold (``None``: from the scores); the feature that it finds, if it
    says one; the height of a particle's middle above the surface, angstrom.
    """
    if recipe.column is not None:
        return _column_score(recipe.column), None, "", 0.0
    assert sample is not None  # the recipe asks for a tomogram
    if recipe.model is not None:
        from volengine.tasks.surfaces.predict import network_score

        return network_score(recipe.model, sample, surfaces)
    if recipe.template is not None:  # beside a network or a column it only says the angle
        return _template_score(recipe, sample), None, "", recipe.template_height_nm * NM
    return _density_score(recipe, sample), None, "", 0.0


def _column_score(name: str) -> Score:
    def score(surface: Surface) -> Scored:
        if name not in surface.columns:
            there = ", ".join(surface.columns) or "none"
            raise InputError(f"{surface.name}: has no column {name!r}; its columns are: {there}.")
        return Scored(np.asarray(surface.columns[name], np.float64))

    return score


def _density_score(recipe: SurfacesPickRecipe, sample: Sampler) -> Score:
    """Mean over a cylinder; the sign is such that particles are high."""
    step = float(min(sample.volume.voxel_size))
    low, high, disc = recipe.from_nm * NM, recipe.to_nm * NM, recipe.disc_nm * NM
    heights = np.linspace(low, high, max(1, round((high - low) / step)) + 1)
    radii = np.linspace(0, disc, max(1, round(disc / step)) + 1) if disc else np.zeros(1)
    angles = max(6, int(np.ceil(2 * np.pi * disc / step))) if disc else 1
    grid = Cylinder(tuple(heights.tolist()), tuple(radii.tolist()), angles)
    weights, sign = grid.volumes(), -1.0 if recipe.contrast == "dark" else 1.0

    def score(surface: Surface) -> Scored:
        found = np.empty(len(surface.vertices))
        for part, values in patches(surface, grid, sample):
            found[part] = sign * np.einsum("nhra,hra->n", values, weights)
        return Scored(found)

    return score


def template_on(recipe: SurfacesPickRecipe, step: float, angle_step_deg: float) -> tuple[Cylinder, Floats, Floats]:
    """The cylinder of a template, its values there, and their weights.

    Parameters
    ----------
    recipe
        The template, and the radius of the part that is compared.
    step
        Distance of the values, angstrom.
    angle_step_deg
        Step of the angle, a whole part of 360.

    Raises
    ------
    InputError
        The template is larger than 256 voxels along an axis, has no contrast, or a radius that its box does not hold.
    """
    from volengine.tasks.surfaces.sampler import Sampler

    assert recipe.template is not None
    url, group = split_group(recipe.template)
    volume = open_volume(url, group=group)
    if max(volume.shape) > 256:
        raise InputError(f"{recipe.template}: has the shape {volume.shape}; a template has 256 voxels a side at most.")
    size, middle = np.asarray(volume.voxel_size), np.asarray(volume.shape) // 2
    reach = np.minimum(middle, np.asarray(volume.shape) - 1 - middle) * size
    radius = float(min(reach)) if recipe.template_radius_nm is None else recipe.template_radius_nm * NM
    if radius > min(reach) + 1e-6 or radius < step:
        raise InputError(
            f"{recipe.template}: a radius of {radius / NM:g} nm does not fit: the box reaches {min(reach) / NM:g} nm "
            f"from its middle, and the values of the tomogram are {step / NM:g} nm apart; give template_radius_nm "
            "between them."
        )
    across = max(1, int(radius / step + 1e-9))
    line = np.arange(-across, across + 1) * step
    radii = np.arange(across + 1) * step
    grid = Cylinder(tuple(line.tolist()), tuple(radii.tolist()), round(360 / angle_step_deg))
    places = grid.offsets()[..., ::-1] + middle * size
    values = Sampler(volume, "cubic")(places)
    if recipe.symmetric:
        values = np.broadcast_to(values.mean(axis=2, keepdims=True), values.shape)
    ball = np.hypot(line[:, None], radii[None, :]) <= radius + 1e-6
    weights = grid.volumes() * ball[:, :, None]
    if not np.ptp(values[weights > 0]) > 0:
        raise InputError(f"{recipe.template}: has the same value everywhere; a template needs contrast.")
    return grid, values, weights


def _template_score(recipe: SurfacesPickRecipe, sample: Sampler) -> Score:
    step = TEMPLATE_STEP * float(min(sample.volume.voxel_size))
    grid, template, weights = template_on(recipe, step, recipe.angle_step_deg)
    raised = Cylinder(tuple(h + recipe.template_height_nm * NM for h in grid.heights), grid.radii, grid.angles)

    def score(surface: Surface) -> Scored:
        found = np.empty(len(surface.vertices))
        for part, values in patches(surface, raised, sample):
            # beyond the ball nothing is compared, so the tomogram need not reach there
            values = np.where(weights > 0, values, 0.0)
            found[part] = correlations(values, template, weights).max(axis=1)  # NaN where a patch has NaN
        return Scored(found)

    return score
