"""One surface of ``stats --surface``, made ready: in nanometres, without what lies near its borders."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.surface import Surface
from volengine.core.units import NM_TO_ANGSTROM
from volengine.ops.surfaces.areas import face_areas
from volengine.ops.surfaces.border import from_border
from volengine.ops.surfaces.decimate import decimated
from volengine.ops.surfaces.geodesic import check_edges
from volengine.ops.surfaces.insert import Refined, cut_at
from volengine.ops.surfaces.normals import vertex_normals
from volengine.ops.surfaces.project import Projected, project
from volengine.ops.surfaces.sheets import apart, joined

Floats = NDArray[np.float64]
Int64 = NDArray[np.int64]

BORDER_PARTS = 5
"""Points on borders, from which distances are measured, are at most the edge's width divided by this apart."""

ON_LINE = 1e-4
"""Share of the edge's width within which a particle is on the line where the edge ends; it counts there. Files round
places to less."""

LEAST_VERTICES, SAME = 1000, 0.01
"""Vertices that a simplified surface keeps at least, and the share by which its areas may differ."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A surface that is ready to be measured.

    Parameters
    ----------
    set, number
        Name of its set, and its number there.
    vertices, faces
        (v, 3) float64, nm, z, y, x, from the centre of the tomogram's first voxel; (m, 3).
    kept
        (m,) bool: the faces that count; others are near a border.
    columns
        The surface's columns that are asked for.
    closed
        Whether it has no border.
    area, kept_area
        Area of the whole surface, and of what counts, nm².
    """

    set: str
    number: int
    vertices: Floats
    faces: Int64
    kept: NDArray[np.bool_]
    columns: Mapping[str, Floats]
    closed: bool
    area: float
    kept_area: float

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"Surface {self.number} of {self.set}"

    def light(self) -> Prepared:
        """The same without the mesh, for the tables: many surfaces need not be in memory together."""
        return replace(self, vertices=self.vertices[:0], faces=self.faces[:0], kept=self.kept[:0], columns={})

    @cached_property
    def normals(self) -> Floats:
        """(v, 3) angle-weighted unit normals, z, y, x."""
        return vertex_normals(self.vertices, self.faces)


def prepare(surface: Surface, set_name: str, edge_nm: float, columns: tuple[str, ...]) -> Prepared:
    """Make a surface ready.

    Parameters
    ----------
    surface
        As it was read.
    set_name
        Name of its set.
    edge_nm
        What lies within this geodesic distance of a border does not count; faces are cut there.
    columns
        Names of the columns that are needed.

    Raises
    ------
    InputError
        A column is not there or not finite, the surface has no area, or three faces share an edge.
    """
    name = f"Surface {surface.number} of {set_name}"
    vertices, faces, carried = _sheet(surface, name, columns)
    border = Surface(vertices, faces.astype(np.int32)).borders
    kept = np.ones(len(faces), bool)
    if edge_nm and len(border):
        cut, kept = _cut(vertices, faces, edge_nm, name)
        vertices, faces = cut.vertices, cut.faces
        carried = {key: cut.carried(column) for key, column in carried.items()}
    areas = face_areas(vertices, faces)
    total, counted = float(areas.sum()), float(areas[kept].sum())
    return Prepared(set_name, surface.number, vertices, faces, kept, carried, not len(border), total, counted)


def _cut(vertices: Floats, faces: Int64, edge_nm: float, name: str) -> tuple[Refined, NDArray[np.bool_]]:
    """A surface with its faces cut at a distance from its border, and the faces that are beyond it."""
    # no farther apart than a fifth of the width: so distances are too large by at most 0.5 % of it
    level = from_border(vertices, faces, reach=edge_nm, apart=edge_nm / BORDER_PARTS, name=name)
    cut = cut_at(vertices, faces, level, edge_nm)
    kept = (np.minimum(cut.value, 2 * edge_nm)[cut.faces] - edge_nm).mean(axis=1) >= 0
    return cut, kept


def counted(at: Projected, vertices: Floats, faces: Int64, kept: NDArray[np.bool_], edge_nm: float) -> Projected:
    """Put points that lie on the line at which faces were cut into a face that counts.

    Parameters
    ----------
    at
        Points on the surface; of the faces on both sides of the line one was taken, whether it counts or not.
    vertices, faces, kept
        The surface, nm, and which of its faces count.
    edge_nm
        Width of the edge. Points within :data:`ON_LINE` of it count as on the line, whatever rounding made of them.
    """
    rows = np.flatnonzero(~kept[at.face]) if len(kept) and edge_nm else np.zeros(0, np.int64)
    if not len(rows) or not kept.any():
        return at
    inner = project(at.at[rows], vertices, faces[kept])
    moved = inner.distance <= ON_LINE * edge_nm
    face, weights, place = at.face.copy(), at.weights.copy(), at.at.copy()
    face[rows[moved]] = np.flatnonzero(kept)[inner.face[moved]]
    weights[rows[moved]], place[rows[moved]] = inner.weights[moved], inner.at[moved]
    return replace(at, face=face, weights=weights, at=place)


def simplified(mesh: Prepared, edge_nm: float, longest_nm: float) -> Prepared:
    """The same surface with fewer faces, for simulated particles; it itself, if that cannot be had.

    Parameters
    ----------
    mesh
        The surface.
    edge_nm
        As for :func:`prepare`: what is near a border is left out of the new surface as of the old one.
    longest_nm
        Mean length of an edge that is wanted. Small surfaces keep :data:`LEAST_VERTICES`.

    Notes
    -----
    Distances and areas are both those of the new surface, so chance is 1 on it as on the old one. It has the same
    topology, and an area and a volume that differ by at most :data:`SAME` (:mod:`volengine.ops.surfaces.decimate`).
    """
    at = mesh.vertices[mesh.faces]
    mean = float(np.linalg.norm(at - at[:, [1, 2, 0]], axis=2).mean()) if len(at) else longest_nm
    wanted = max(int(len(mesh.vertices) * (mean / longest_nm) ** 2), LEAST_VERTICES)
    if 2 * wanted > len(mesh.vertices):
        return mesh
    used, corners = np.unique(mesh.faces, return_inverse=True)
    made = decimated(mesh.vertices[used], corners.reshape(-1, 3), wanted)
    if made is None:
        return mesh
    vertices, faces = made[0], made[1].astype(np.int64)
    kept = np.ones(len(faces), bool)
    if not mesh.kept.all():
        cut, kept = _cut(vertices, faces, edge_nm, mesh.name)
        vertices, faces = cut.vertices, cut.faces
    areas = face_areas(vertices, faces)
    found = replace(
        mesh,
        vertices=vertices,
        faces=faces,
        kept=kept,
        columns={},
        area=float(areas.sum()),
        kept_area=float(areas[kept].sum()),
    )
    pairs = ((found.area, mesh.area), (found.kept_area, mesh.kept_area))
    return found if all(abs(new - old) <= SAME * old for new, old in pairs) else mesh


def _sheet(surface: Surface, name: str, columns: tuple[str, ...]) -> tuple[Floats, Int64, dict[str, Floats]]:
    """Vertices in nm, faces and columns: vertices at one place are joined, sheets that touch in a point are apart."""
    for column in columns:
        if column not in surface.columns:
            raise InputError(
                f"{name} has no column {column!r} (--by-column); it has {', '.join(surface.columns) or 'none'}. "
                "Measure it first: volengine surfaces measure."
            )
    if not surface.areas.sum() > 0:
        raise InputError(f"{name} has no area: {len(surface.faces)} faces.")
    chosen = {column: np.asarray(surface.columns[column], np.float64) for column in columns}
    for column, values in chosen.items():
        if not np.isfinite(values[surface.faces]).all():
            raise InputError(f"{name}: column {column!r} (--by-column) has values that are not finite.")
    faces, first = joined(surface.vertices, surface.faces)
    check_edges(faces, name)
    faces, second = apart(faces, len(first))
    origin = first[second]
    return surface.vertices[origin] / NM_TO_ANGSTROM, faces, {key: values[origin] for key, values in chosen.items()}
