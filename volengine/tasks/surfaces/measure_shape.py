"""The shape of one surface: its curvatures, normals and thickness, each computed once and only if asked for."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.surface import Surface
from volengine.core.units import NM_TO_ANGSTROM as NM
from volengine.tasks.surfaces.measure_recipe import SurfacesMeasureRecipe

if TYPE_CHECKING:
    from volengine.ops.surfaces.curvature import Curvature
    from volengine.ops.surfaces.neighbourhood import Links

Floats = NDArray[np.float64]


class Shape:
    """Curvatures, normals and thickness of one surface; what several of them need is computed once."""

    def __init__(self, surface: Surface, recipe: SurfacesMeasureRecipe):
        self.surface, self.recipe = surface, recipe

    @cached_property
    def fitted(self) -> Curvature:
        """Curvatures and normals of the fitted pieces."""
        from volengine.ops.surfaces.curvature import curvature

        return curvature(self.surface, self.recipe.radius_nm * NM)

    @property
    def normals(self) -> Floats:
        """Normals of the fitted pieces."""
        return self.fitted.normals

    @cached_property
    def links(self) -> Links:
        """Which vertices edges join."""
        from volengine.ops.surfaces.neighbourhood import neighbours_of

        return neighbours_of(self.surface.faces, len(self.surface.vertices))

    def curvatures(self) -> dict[str, NDArray[Any]]:
        """The columns of curvature, per nm."""
        fit = self.fitted
        return {
            "k1_per_nm": fit.k1 * NM,
            "k2_per_nm": fit.k2 * NM,
            "mean_curvature_per_nm": fit.mean * NM,
            "gaussian_curvature_per_nm2": fit.gaussian * NM**2,
            "shape_index": fit.shape_index,
            "curvedness_per_nm": fit.curvedness * NM,
        }

    def thickness(self) -> dict[str, NDArray[Any]]:
        """Distances along the normals, and the angle to the plane of the slices."""
        from volengine.ops.surfaces.morphometrics import verticality
        from volengine.ops.surfaces.thickness import thickness

        found = thickness(self.surface, self.recipe.max_thickness_nm * NM, self.normals)
        return {
            "thickness_nm": found.thickness / NM,
            "gap_nm": found.gap / NM,
            "verticality_deg": verticality(self.normals),
        }
