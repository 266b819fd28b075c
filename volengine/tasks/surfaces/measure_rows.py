"""What ``surfaces measure`` computes of some vertices of a surface, in a worker.

Every number is that of one vertex and what is near it, so it is the same however vertices are divided between units.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.surface import Surface
from volengine.core.units import NM_TO_ANGSTROM as NM
from volengine.core.volume import Volume
from volengine.io.identity import check_unchanged
from volengine.io.morphometrics import Morphometrics, read_morphometrics
from volengine.tasks.common.division import Piece, near_rows
from volengine.tasks.common.set_read import SetRead, drawn, identifier
from volengine.tasks.surfaces.measure_density import leaflets, rows_read
from volengine.tasks.surfaces.measure_recipe import SurfacesMeasureRecipe
from volengine.tasks.surfaces.measure_shape import Shape
from volengine.tasks.surfaces.sampler import Sampler
from volengine.tasks.surfaces.table_of import TableOf

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Columns = dict[str, NDArray[Any]]
Boxes = Mapping[str, Mapping[int, Floats]]
"""Boxes around surfaces by their numbers, for each set by its name; the set that is measured is called ""."""

SURFACES_KEPT = 4
"""Other surfaces that are kept while distances to them are computed."""

CACHE_BYTES = 96 << 20
"""Chunks of each volume that are kept."""

BORDER = "border_nm"


class Measuring:
    """Measures vertices; made once in each process.

    Parameters
    ----------
    given
        Of :meth:`volengine.tasks.surfaces.measure_given.Given.described`.
    """

    def __init__(self, given: Mapping[str, Any]):
        self.recipe = SurfacesMeasureRecipe.from_json(given["recipe"])
        self.set = SetRead.from_json(given["set"])
        self.surfaces = self.set.open()
        self.facts = self.surfaces.facts
        self.read = drawn(self.surfaces)
        self.volumes = {name: Volume.from_json(one) for name, one in given["volumes"].items()}
        self.others = {name: SetRead.from_json(one).open() for name, one in given["others"].items()}
        self.moved = {name: np.asarray(offset, np.float64) for name, offset in given["moved"].items()}
        self._tables = [TableOf.from_json(one) for one in given["picks"]]
        self._grids = given["grids"]
        self._read: dict[str, Callable[[int], Surface]] = {"": lru_cache(SURFACES_KEPT)(self.surfaces.read)}
        self._read |= {name: lru_cache(SURFACES_KEPT)(self._other(name)) for name in self.others}

    def _other(self, name: str) -> Callable[[int], Surface]:
        """What reads the surfaces of another set, in the places of the set that is measured."""
        read, by = self.others[name].read, self.moved.get(name, np.zeros(3))

        def moved(number: int) -> Surface:
            surface = read(number)
            return replace(surface, vertices=surface.vertices + by)

        return moved if by.any() else read

    def _boxes(self, name: str, boxes: Boxes) -> dict[int, Floats]:
        """Boxes around the surfaces of another set, in the places of the set that is measured."""
        return {number: box + self.moved.get(name, 0.0) for number, box in boxes.get(name, {}).items()}

    @cached_property
    def readers(self) -> dict[str, Sampler]:
        """What reads the volumes."""
        return {
            name: Sampler.of(volume, "cubic", CACHE_BYTES, self._grids[name]) for name, volume in self.volumes.items()
        }

    @cached_property
    def picks(self) -> Floats | None:
        """Places of the picks of all tables, angstrom."""
        if not self._tables:
            return None
        return np.concatenate([table.places(self.facts) for table in self._tables])

    @cached_property
    def morphometrics(self) -> Morphometrics | None:
        """The table of Surface Morphometrics."""
        if self.recipe.morphometrics is None:
            return None
        return read_morphometrics(self.recipe.morphometrics, NM if self.recipe.morphometrics_unit == "nm" else 1.0)

    def columns(self, piece: Piece, boxes: Boxes) -> tuple[Ints, Columns, int]:
        """Measure the vertices of a piece.

        Returns
        -------
        The numbers of the vertices; the columns, with NaN for what :func:`~volengine.ops.surfaces.border.from_border`
        says of whole surfaces; and how many vertices got no values of the table of Surface Morphometrics.
        """
        surface, missing = self.read(piece.number), 0
        rows = near_rows(surface.vertices, piece)
        wide = rows_read(surface, rows, self.recipe) if "tomogram" in self.volumes else rows
        shape = Shape(surface, self.recipe, rows, wide)
        columns: Columns = {}
        if "curvature" in self.recipe.measures:
            columns |= shape.curvatures()
        if "thickness" in self.recipe.measures:
            columns |= shape.thickness()
        columns |= self._distances(surface, shape, boxes)
        if "tomogram" in self.readers:
            columns |= self._leaflets(shape)
        if "labels" in self.readers:
            columns["label"] = self.readers["labels"].of_voxels(surface.vertices[rows])
        if self.morphometrics is not None:
            found, missing = self._transferred(surface.vertices[rows], self.morphometrics)
            columns |= found
        for volume in self.volumes.values():
            check_unchanged(volume, full=False)
        stored = {name: c.astype(np.float32) if c.dtype.kind == "f" else c for name, c in columns.items()}
        return rows, stored, missing

    def _distances(self, surface: Surface, shape: Shape, boxes: Boxes) -> Columns:
        from volengine.ops.surfaces.proximity import nearest_point, nearest_surface, to_volume_faces

        found: Columns = {}
        at, facts = surface.vertices[shape.rows], self.facts
        if "nearest" in self.recipe.measures and len(self.surfaces) > 1:
            others = {number: box for number, box in boxes[""].items() if number != surface.number}
            nearest = nearest_surface(at, others, self._read[""])
            found |= {
                "nearest_surface_nm": nearest.distance / NM,
                "nearest_surface": nearest.number.astype(np.int32),
            }
        for label in self.others:
            read = self._read[label]
            nearest = nearest_surface(at, self._boxes(label, boxes), read)
            found |= {f"to_{label}_nm": nearest.distance / NM, f"to_{label}": nearest.number.astype(np.int32)}
            found[f"to_{label}_angle_deg"] = angles(shape.normals, nearest.number, nearest.face, read)
        if self.picks is not None:
            found["pick_nm"] = nearest_point(at, self.picks)[0] / NM
        if "volume" in self.recipe.measures and facts.shape is not None and facts.voxel_size is not None:
            found["volume_face_nm"] = to_volume_faces(at, facts.shape, facts.voxel_size) / NM
        if "border" in self.recipe.measures:
            found[BORDER] = np.full(len(at), np.nan)
        return found

    def _leaflets(self, shape: Shape) -> Columns:
        sample = self.readers["tomogram"]
        found = leaflets(shape.surface, shape.rows, shape.wide, shape.wide_normals, sample, self.recipe)
        return {
            "bilayer_nm": found.thickness / NM,
            "bilayer_offset_nm": found.offset / NM,
            "bilayer_peaks_nm": found.peaks / NM,
            "bilayer_fit": found.fit,
        }

    def _transferred(self, places: Floats, table: Morphometrics) -> tuple[Columns, int]:
        from volengine.ops.surfaces.morphometrics import SKIPPED, transferred

        wanted = {identifier(name): c for name, c in table.columns.items() if name not in SKIPPED}
        position = table.position - np.asarray(self.facts.origin)
        found, missing = transferred(places, position, wanted, self.recipe.max_transfer_nm * NM)
        return dict(found), missing

    def border(self, number: int) -> tuple[NDArray[np.float32], str]:
        """Distance of all vertices of a surface from its border, nm, NaN if it has none; and what is wrong with it."""
        from volengine.core.errors import InputError
        from volengine.ops.surfaces.border import from_border

        surface = self.read(number)
        try:
            found = from_border(surface.vertices, surface.faces, name=surface.name)
            return (np.where(np.isfinite(found), found, np.nan) / NM).astype(np.float32), ""
        except InputError as error:
            return np.full(len(surface.vertices), np.nan, np.float32), f"{error} Its column {BORDER} is empty."


@lru_cache(maxsize=1)
def measuring(text: str) -> Measuring:
    """What measures, for a description as JSON text."""
    return Measuring(json.loads(text))


def angles(normals: Floats, number: NDArray[Any], face: NDArray[Any], read: Any) -> Floats:
    """Acute angle between each normal and that of the face of the surface, degrees."""
    out = np.full(len(normals), np.nan)
    for one in np.unique(number[face >= 0]).tolist():
        rows = np.flatnonzero((number == one) & (face >= 0))
        other = read(one)
        a, b, c = (other.vertices[other.faces[face[rows], k]] for k in range(3))
        across = np.cross(b - a, c - a)
        across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-30)
        out[rows] = np.degrees(np.arccos(np.clip(np.abs(np.einsum("ij,ij->i", across, normals[rows])), 0, 1)))
    return out
