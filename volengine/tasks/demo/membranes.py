"""demo: surfaces of the membranes that the network finds in the simulated cytoplasm, measured and drawn.

A surface goes around a membrane, so it has both of its faces, and half of its area is to be compared with the area of
the true bilayers' middle. That of a vesicle that lies whole in the tomogram is closed, and if the membrane was found
all around, its two faces are two islands of one surface.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from volengine.engine.options import RunOptions
from volengine.io.surfaces import open_surfaces
from volengine.ops.pictures import Picture
from volengine.ops.surfaces.drawing import draw
from volengine.tasks.surface.recipe import SurfaceRecipe
from volengine.tasks.surface.verb import surface
from volengine.tasks.surfaces.measure import measure_surfaces
from volengine.tasks.surfaces.measure_recipe import SurfacesMeasureRecipe

RECIPE = SurfaceRecipe(min_area_nm2=1000.0, vertex_area_nm2=4.0)
MEASURES = SurfacesMeasureRecipe(measures=("thickness",), overwrite=True)
WINDOW_NM = (3.0, 6.0)
"""Thickness that the picture shows blue and red."""

HEAD = ("surface", "area, nm²", "closed", "borders", "handles", "thickness, nm (median)")


def membranes(folder: Path, prediction: str, truth: Path, options: RunOptions) -> tuple[dict[str, Any], Picture | None]:
    """Make, measure and draw the surfaces of a prediction of membranes.

    Parameters
    ----------
    folder
        Gets ``membrane.surfaces`` (one PLY file for each, as ``volengine surface`` writes them) and
        ``measured.surfaces``, the same with thickness.
    prediction
        The store of the prediction.
    truth
        The folder with the meshes of the true bilayers' middles, ``membrane_*.ply``.
    options
        How to run.

    Returns
    -------
    tuple
        JSON values: ``rows`` (one for each surface), ``area_nm2`` (half of all of them), ``true_area_nm2``, ``closed``
        and ``surfaces`` (numbers of them); and the picture, coloured by thickness, ``None`` if there is no surface.
    """
    folder.mkdir(exist_ok=True)
    surface(prediction, folder / "membrane.surfaces", _recipe(), options)
    measured = measure_surfaces(folder / "membrane.surfaces", folder / "measured.surfaces", MEASURES)
    keys = ("number", "area_nm2", "closed", "border_loops", "genus", "thickness_nm_median")
    rows = [{key: _plain(row[key]) for key in keys} for row in measured.rows]
    true = sum(open_surfaces(file).read(1).areas.sum() / 100 for file in sorted(truth.glob("membrane_*.ply")))
    found = {
        "rows": rows,
        "surfaces": len(rows),
        "closed": sum(row["closed"] for row in rows),
        "area_nm2": _plain(sum(row["area_nm2"] for row in measured.rows) / 2),
        "true_area_nm2": _plain(float(true)),
    }
    meshes = list(open_surfaces(measured.out)) if rows else []
    return found, draw(meshes, column="thickness_nm", window=WINDOW_NM, pixels=420) if meshes else None


def _recipe() -> SurfaceRecipe:
    """The recipe; without the extra ``surfaces``, which remeshing needs, triangles stay as small as voxels."""
    return RECIPE if find_spec("fast_simplification") else RECIPE.with_(vertex_area_nm2=None)


def _plain(value: Any) -> Any:
    """A rounded number; ``None`` for NaN, which JSON does not have."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if not isinstance(value, float):
        return value
    return round(value, 2) if np.isfinite(value) else None


def surface_numbers(found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What the page and the command say first: how many surfaces, how many closed, and their area."""
    return [
        ("surfaces of membranes", str(found["surfaces"])),
        ("of these closed", str(found["closed"])),
        ("area of the membranes (half of both faces)", f"{found['area_nm2']:,.0f} nm²"),
        ("area of the true membranes", f"{found['true_area_nm2']:,.0f} nm²"),
    ]


def surface_lines(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """The surfaces as rows of a table under ``HEAD``."""
    return [
        (
            str(row["number"]),
            f"{row['area_nm2']:,.0f}",
            "yes" if row["closed"] else "no",
            str(row["border_loops"]),
            str(row["genus"]),
            "-" if row["thickness_nm_median"] is None else f"{row['thickness_nm_median']:.1f}",
        )
        for row in found["rows"]
    ]
