"""The measures of Surface Morphometrics: how its columns are made of ours, and how they come onto other surfaces.

Surface Morphometrics (Barad et al., J. Cell Biol. 2023) describes triangles, volengine vertices: a triangle gets the
mean of its corners, and a vertex that of the nearest triangle's centre. Lengths are in nm there and here. A shape
index of 1 is a convex cap there and here. The sign of its curvatures follows its own normals, which need not point to
the side to which ours do: compare signs before tables of both are joined.

>>> corners = [[0, 0, 0], [0, 0, 30], [0, 30, 0]]
>>> flat = Surface(corners, [[0, 1, 2]], normals=[[1, 0, 0]] * 3, columns={"thickness_nm": [3.0, 4.0, 5.0]})
>>> table = of_faces(flat)
>>> table["xyz_x"].tolist(), table["thickness"].tolist(), table["area"].tolist(), table["verticality"].tolist()
([1.0], [4.0], [4.5], [0.0])
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.surface import Surface
from volengine.core.units import NM_TO_ANGSTROM as NM
from volengine.ops.surfaces.curvature import oriented_normals
from volengine.ops.surfaces.proximity import nearest_point

Floats = NDArray[np.float64]

NAMES = {
    "k1_per_nm": "kappa_1",
    "k2_per_nm": "kappa_2",
    "gaussian_curvature_per_nm2": "gauss_curvature_VV",
    "mean_curvature_per_nm": "mean_curvature_VV",
    "shape_index": "shape_index_VV",
    "curvedness_per_nm": "curvedness_VV",
    "bilayer_nm": "thickness",
    "bilayer_offset_nm": "offset",
}
"""Our columns, and theirs. Without ``bilayer_nm``, ``thickness_nm`` is their ``thickness``."""

POSITION = ("xyz_z", "xyz_y", "xyz_x")
SKIPPED = ("index", "area", *POSITION)
"""Columns that describe the triangle itself and mean nothing on another surface."""


def of_faces(surface: Surface, origin: ArrayLike = (0.0, 0.0, 0.0)) -> dict[str, NDArray[Any]]:
    """The measures of a surface as columns of Surface Morphometrics, a row for each face.

    Parameters
    ----------
    surface
        With the columns of ``surfaces measure``. What it lacks is left out.
    origin
        Position of the first voxel's centre, angstrom: files hold positions.

    Returns
    -------
    dict
        ``index``, ``xyz_x``, ``xyz_y``, ``xyz_z`` (centre, nm), ``area`` (nm²), ``n_v_x`` ... (normal), ``verticality``
        (degrees, 0: in the plane of the slices), and those of :data:`NAMES`, ``self_dist_min``, ``self_dist_far``,
        ``NAME_dist``, ``NAME_orientation``.
    """
    faces, columns = surface.faces, surface.columns
    centre = (surface.vertices[faces].mean(axis=1) + np.asarray(origin, np.float64)) / NM
    normal = oriented_normals(surface)[faces].sum(axis=1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-30)

    def mean(name: str) -> Floats:
        averaged: Floats = np.asarray(columns[name], np.float64)[faces].mean(axis=1)
        return averaged

    table: dict[str, NDArray[Any]] = {"index": np.arange(len(faces)), "area": surface.areas / NM**2}
    names = dict(NAMES)
    if "bilayer_nm" not in columns:
        names["thickness_nm"] = "thickness"
    table |= {theirs: mean(ours) for ours, theirs in names.items() if ours in columns}
    if "thickness_nm" in columns and "gap_nm" in columns:
        inner, outer = mean("thickness_nm"), mean("gap_nm")
        table["self_dist_min"] = np.fmin(inner, outer)
        table["self_dist_far"] = np.where(np.isfinite(inner) & np.isfinite(outer), np.fmax(inner, outer), np.nan)
    for name in columns:
        if name.startswith("to_") and name.endswith("_nm"):
            label = name.removeprefix("to_").removesuffix("_nm")
            table[f"{label}_dist"] = mean(name)
            if f"to_{label}_angle_deg" in columns:
                table[f"{label}_orientation"] = mean(f"to_{label}_angle_deg")
    table["verticality"] = verticality(normal)
    for prefix, vectors in (("n_v", normal), ("xyz", centre)):
        table |= {f"{prefix}_{axis}": vectors[:, 2 - k] for k, axis in enumerate("xyz")}
    return table


def verticality(normals: Floats) -> Floats:
    """Angle of the surface to the plane of the slices (y, x), degrees, 0 to 90.

    >>> verticality(np.array([[1.0, 0, 0], [0, 0, -1.0]])).tolist()
    [0.0, 90.0]
    """
    found: Floats = np.degrees(np.arccos(np.clip(np.abs(normals[:, 0]), 0, 1)))
    return found


def transferred(
    places: Floats, centres: Floats, columns: Mapping[str, NDArray[Any]], most: float
) -> tuple[dict[str, Floats], int]:
    """Values at places: those of the nearest row, NaN if none is near.

    Parameters
    ----------
    places
        (n, 3).
    centres, columns
        (m, 3) and (m,) by name: the rows.
    most
        Largest distance between a place and its row.

    Returns
    -------
    The columns (n,), and how many places have no row.
    """
    far, row = nearest_point(places, centres)
    near = far <= most
    found = {
        name: np.where(near, np.asarray(values, np.float64)[row], np.nan)
        if len(centres)
        else np.full(len(places), np.nan)
        for name, values in columns.items()
    }
    return found, int((~near).sum())
