"""The shape of a surface at some vertices: curvatures, normals and thickness, each only if it is asked for."""

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

Floats = NDArray[np.float64]


class Shape:
    """Curvatures, normals and thickness of some vertices; what several of them need is computed once.

    Parameters
    ----------
    surface
        The surface.
    recipe
        Radius and largest thickness.
    rows
        Numbers of the vertices, ascending.
    wide
        The same with further ones, whose normals are needed, too; default: none.
    """

    def __init__(
        self,
        surface: Surface,
        recipe: SurfacesMeasureRecipe,
        rows: NDArray[np.int64],
        wide: NDArray[np.int64] | None = None,
    ):
        self.surface, self.recipe, self.rows = surface, recipe, rows
        self.wide = rows if wide is None else wide

    @cached_property
    def _fitted(self) -> Curvature:
        from volengine.ops.surfaces.curvature import curvature

        return curvature(self.surface, self.recipe.radius_nm * NM, self.wide)

    @cached_property
    def fitted(self) -> Curvature:
        """Curvatures and normals of the fitted pieces, a row for each vertex."""
        from volengine.ops.surfaces.curvature import Curvature

        at, fit = np.searchsorted(self.wide, self.rows), self._fitted
        return Curvature(fit.k1[at], fit.k2[at], fit.normals[at], fit.heights[at])

    @property
    def normals(self) -> Floats:
        """Normals of the fitted pieces."""
        return self.fitted.normals

    @property
    def wide_normals(self) -> Floats:
        """Normals at the further vertices, too."""
        return self._fitted.normals

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

        found = thickness(self.surface, self.recipe.max_thickness_nm * NM, self.normals, self.rows)
        return {
            "thickness_nm": found.thickness / NM,
            "gap_nm": found.gap / NM,
            "verticality_deg": verticality(self.normals),
        }
