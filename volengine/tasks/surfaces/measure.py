"""surfaces measure: curvature, thickness and distances of each vertex, as columns of the surfaces and in their table.

Each surface is read, measured and written by itself, so the memory is that of the largest one. Lengths are in nm.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.paths import PathLike, path_text
from volengine.core.surface import Surface
from volengine.core.units import NM_TO_ANGSTROM as NM
from volengine.engine.memory import machine_memory
from volengine.io.morphometrics import Morphometrics, read_morphometrics, write_morphometrics
from volengine.io.surfaces import ENDING, SurfaceFacts, SurfaceSet, open_surfaces, write_surfaces
from volengine.tasks.common.named import open_sized
from volengine.tasks.common.origins import origins_note
from volengine.tasks.surfaces.measure_density import check_memory, leaflets
from volengine.tasks.surfaces.measure_recipe import SurfacesMeasureRecipe
from volengine.tasks.surfaces.measure_shape import Shape
from volengine.tasks.surfaces.reading import Sampler
from volengine.tasks.surfaces.writing import check_out_set

Floats = NDArray[np.float64]

MEMORY_SHARE = 0.5
"""Part of the machine's memory that the profiles of one surface may take."""

SURFACES_KEPT = 4
"""Other surfaces that are kept while distances to them are computed."""


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Parameters
    ----------
    out
        The set of surfaces with the measures as columns.
    rows
        A row of its table for each surface: numbers and, for each column, ``_mean``, ``_median``, ``_p5``, ``_p95``.
    files
        Tables that were written as Surface Morphometrics writes them.
    notes
        Sentences for the user.
    """

    out: str
    rows: list[dict[str, Any]]
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def measure_surfaces(
    source: PathLike, out: PathLike, recipe: SurfacesMeasureRecipe | Mapping[str, Any] | None = None
) -> Measured:
    """Measure surfaces at each vertex, and write them with the measures as columns.

    Parameters
    ----------
    source
        A set of surfaces, a mesh file, or a folder of mesh files.
    out
        The set (``*.surfaces``) to write. Its table has means, medians and percentiles 5 and 95 of every column,
        weighted by the areas of the vertices.
    recipe
        What is measured.

    Returns
    -------
    Measured
        What was written, and the rows of its table.

    Raises
    ------
    MissingError, FormatError
        Something that is named does not exist, or is damaged.
    InputError
        Something exists at ``out``; tomogram, labels, picks or other surfaces are of another tomogram; a measure needs
        what is not known (the distance from the volume's faces its shape).
    DependencyError
        ``border`` needs the extra ``surfaces``.

    Examples
    --------
    >>> import tempfile, trimesh
    >>> from volengine.io.meshes import write_mesh
    >>> ball = trimesh.creation.icosphere(4, 200.0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_mesh(f"{folder}/ball.ply", ball.vertices[:, ::-1], ball.faces)
    ...     recipe = SurfacesMeasureRecipe(measures=("curvature",), radius_nm=6)
    ...     made = measure_surfaces(f"{folder}/ball.ply", f"{folder}/ball.surfaces", recipe)
    ...     round(made.rows[0]["mean_curvature_per_nm_median"], 4)
    0.05
    """
    recipe = SurfacesMeasureRecipe.of(recipe)
    where, place = path_text(source), path_text(out)
    given = _Given(where, recipe)
    check_out_set(place, recipe.overwrite, where, *recipe.others)
    rows: list[dict[str, Any]] = []
    files: list[str] = []

    def made() -> Iterator[tuple[Surface, Mapping[str, Any]]]:
        for row in given.surfaces.rows:
            surface = given.measured(row["number"])
            more = {k: v for k, v in row.items() if k not in ("number", "file")}
            more |= table_row(surface)
            rows.append({"number": surface.number, **more})
            if recipe.csv is not None:
                files.append(_write_csv(recipe.csv, place, surface, given.facts))
            yield surface, more

    step = {"verb": "surfaces measure", "recipe": recipe.to_json(), "sources": given.sources()}
    write_surfaces(place, made(), replace(given.facts, history=[*given.facts.history, step]))
    return Measured(place, rows, tuple(files), tuple(given.notes))


def table_row(surface: Surface) -> dict[str, Any]:
    """A surface's row: its size, and the mean, median and percentiles of each column, weighted by area."""
    from volengine.ops.surfaces.weighted import described

    row: dict[str, Any] = {
        "vertices": len(surface.vertices),
        "faces": len(surface.faces),
        "area_nm2": float(surface.areas.sum()) / NM**2,
        "closed": bool(surface.closed),
    }
    for name, column in surface.columns.items():
        if column.dtype.kind == "f":
            found = described(column.astype(np.float64), surface.vertex_areas)
            row |= {f"{name}_{what}": value for what, value in found.items()}
    return row


class _Given:
    """All inputs, opened and compared with each other before anything is measured."""

    def __init__(self, where: str, recipe: SurfacesMeasureRecipe):
        self.recipe, self.notes = recipe, list[str]()
        self.surfaces = open_surfaces(where)
        volumes = {name: open_sized(path) for name in ("tomogram", "labels") if (path := getattr(recipe, name))}
        first = next(iter(volumes.values()), None)
        if self.surfaces.facts.voxel_size is None and first is not None:
            facts = SurfaceFacts(first.name, "", first.voxel_size, first.origin, first.shape)
            self.surfaces = open_surfaces(where, facts)
        self.facts = self.surfaces.facts
        if "volume" in recipe.measures and self.facts.shape is None and recipe.measures != _all():
            raise InputError(f"{where}: states no shape of its tomogram, whose faces are asked for; give --tomogram.")
        self.readers = {}
        for name, volume in volumes.items():
            self._compare(volume.where, volume.origin, volume.voxel_size, volume.shape)
            self.readers[name] = Sampler(volume, "cubic")
        self.others = {_label(path): self._other(path) for path in recipe.others}
        if len(self.others) < len(recipe.others):
            raise InputError(f"{', '.join(recipe.others)}: two sets have the same name; rename one.")
        self.boxes = self._boxes(self.surfaces) if "nearest" in recipe.measures and len(self.surfaces) > 1 else {}
        self._read = lru_cache(SURFACES_KEPT)(self.surfaces.read)
        self.picks = self._picks()
        self.morphometrics = self._morphometrics()

    def _compare(self, name: str, origin: Any, size: Any, shape: Any) -> None:
        facts = self.facts
        if facts.voxel_size is None and any(origin):
            raise InputError(f"{name}: states an origin, and {self.surfaces.path} none; give --tomogram.")
        if facts.voxel_size is None or size is None:
            return
        mine = (str(self.surfaces.path), facts.origin, facts.voxel_size)
        if said := origins_note(mine, (name, origin, size), accept=self.recipe.any_origin):
            self.notes.append(said)
        if facts.shape is None or shape is None:
            return
        ours, theirs = np.multiply(facts.shape, facts.voxel_size), np.multiply(shape, size)
        if (np.abs(ours - theirs) > 2 * np.maximum(facts.voxel_size, size)).any():
            raise InputError(
                f"{self.surfaces.path}: is of a tomogram that measures {_nm(ours)} nm (z, y, x), and {name} measures "
                f"{_nm(theirs)} nm; give what belongs to the same tomogram."
            )

    def _other(self, path: str) -> tuple[SurfaceSet, dict[int, Floats]]:
        other = open_surfaces(path)
        self._compare(path, other.facts.origin, other.facts.voxel_size, other.facts.shape)
        return other, self._boxes(other)

    @staticmethod
    def _boxes(surfaces: SurfaceSet) -> dict[int, Floats]:
        from volengine.ops.surfaces.proximity import box_around

        return {surface.number: box_around(surface) for surface in surfaces}

    def _picks(self) -> Floats | None:
        from volengine.io.picks import read_all

        if self.recipe.picks is None:
            return None
        facts = self.facts
        known: dict[str, Any] = {}
        if facts.voxel_size is not None:
            known = {"voxel_size": facts.voxel_size, "origin": facts.origin, "shape": facts.shape}
        tables = read_all(self.recipe.picks, **known)
        if len(tables) > 1 and facts.tomogram not in tables:
            raise InputError(
                f"{self.recipe.picks}: has picks of the tomograms {', '.join(map(repr, tables))}, and the surfaces are "
                f"those of {facts.tomogram!r}; give a table with picks of it."
            )
        name = facts.tomogram if facts.tomogram in tables else next(iter(tables))
        picks = tables[name]
        if name and facts.tomogram and name != facts.tomogram:
            self.notes.append(f"The surfaces are those of {facts.tomogram!r}, and the picks those of {name!r}.")
        self._compare(self.recipe.picks, picks.origin, picks.voxel_size, picks.shape)
        return picks.place

    def _morphometrics(self) -> Morphometrics | None:
        if self.recipe.morphometrics is None:
            return None
        unit = NM if self.recipe.morphometrics_unit == "nm" else 1.0
        return read_morphometrics(self.recipe.morphometrics, unit)

    def sources(self) -> dict[str, str]:
        """What was read beside the surfaces, for the history."""
        named = {name: getattr(self.recipe, name) for name in ("tomogram", "labels", "picks", "morphometrics")}
        return {name: Path(path).name for name, path in named.items() if path} | {
            f"others {label}": surfaces.path.name for label, (surfaces, _) in self.others.items()
        }

    def measured(self, number: int) -> Surface:
        """One surface with all measures as columns, and with normals."""
        from volengine.ops.surfaces.curvature import oriented_normals

        surface = self.surfaces.read(number)
        shape = Shape(surface, self.recipe)
        columns: dict[str, NDArray[Any]] = {}
        if "curvature" in self.recipe.measures:
            columns |= shape.curvatures()
        if "thickness" in self.recipe.measures:
            columns |= shape.thickness()
        columns |= self._distances(surface, shape)
        if "tomogram" in self.readers:
            columns |= self._leaflets(surface, shape)
        if "labels" in self.readers:
            columns["label"] = self.readers["labels"].of_voxels(surface.vertices)
        if self.morphometrics is not None:
            columns |= self._transferred(surface)
        stored = {name: c.astype(np.float32) if c.dtype.kind == "f" else c for name, c in columns.items()}
        normals = oriented_normals(surface) if surface.normals is None else surface.normals
        return replace(surface, normals=normals).with_columns(**stored)

    def _distances(self, surface: Surface, shape: Shape) -> dict[str, NDArray[Any]]:
        from volengine.ops.surfaces.proximity import nearest_point, nearest_surface, to_volume_faces

        found: dict[str, NDArray[Any]] = {}
        at, facts = surface.vertices, self.facts
        if self.boxes:
            others = {number: box for number, box in self.boxes.items() if number != surface.number}
            nearest = nearest_surface(at, others, self._read)
            found |= {
                "nearest_surface_nm": nearest.distance / NM,
                "nearest_surface": nearest.number.astype(np.int32),
            }
        for label, (surfaces, boxes) in self.others.items():
            read = lru_cache(SURFACES_KEPT)(surfaces.read)
            nearest = nearest_surface(at, boxes, read)
            found |= {f"to_{label}_nm": nearest.distance / NM, f"to_{label}": nearest.number.astype(np.int32)}
            found[f"to_{label}_angle_deg"] = _angles(shape.normals, nearest.number, nearest.face, read)
        if self.picks is not None:
            found["pick_nm"] = nearest_point(at, self.picks)[0] / NM
        if "volume" in self.recipe.measures and facts.shape is not None and facts.voxel_size is not None:
            found["volume_face_nm"] = to_volume_faces(at, facts.shape, facts.voxel_size) / NM
        if "border" in self.recipe.measures:
            found["border_nm"] = self._border(surface)
        return found

    def _border(self, surface: Surface) -> Floats:
        from volengine.ops.surfaces.border import from_border

        try:
            found = from_border(surface.vertices, surface.faces, name=surface.name)
            return np.where(np.isfinite(found), found, np.nan) / NM
        except InputError as error:
            self.notes.append(f"{error} Its column border_nm is empty.")
            return np.full(len(surface.vertices), np.nan)

    def _leaflets(self, surface: Surface, shape: Shape) -> dict[str, NDArray[Any]]:
        check_memory(surface, self.recipe, int(MEMORY_SHARE * machine_memory()))
        found = leaflets(surface, shape.normals, shape.links, self.readers["tomogram"], self.recipe)
        return {
            "bilayer_nm": found.thickness / NM,
            "bilayer_offset_nm": found.offset / NM,
            "bilayer_peaks_nm": found.peaks / NM,
            "bilayer_fit": found.fit,
        }

    def _transferred(self, surface: Surface) -> dict[str, NDArray[Any]]:
        from volengine.ops.surfaces.morphometrics import SKIPPED, transferred

        assert self.morphometrics is not None
        table = self.morphometrics
        wanted = {_identifier(name): c for name, c in table.columns.items() if name not in SKIPPED}
        position = table.position - np.asarray(self.facts.origin)
        found, missing = transferred(surface.vertices, position, wanted, self.recipe.max_transfer_nm * NM)
        if missing:
            self.notes.append(
                f"{surface.name}: {missing} of {len(surface.vertices)} vertices have no values, being more than "
                f"{self.recipe.max_transfer_nm:g} nm from every triangle of {self.recipe.morphometrics}."
            )
        return dict(found)


def _angles(normals: Floats, number: NDArray[Any], face: NDArray[Any], read: Any) -> Floats:
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


def _all() -> tuple[str, ...]:
    return SurfacesMeasureRecipe().measures


def _label(path: str) -> str:
    """How columns call another set: by its feature, else by the name of its file."""
    facts = open_surfaces(path).facts
    return _identifier(facts.feature or Path(path.rstrip("/")).name.removesuffix(ENDING))


def _identifier(name: str) -> str:
    """A name as PLY and other programs can have it."""
    made = re.sub(r"\W", "_", name, flags=re.ASCII)
    return made if made[:1].isalpha() else f"_{made}"


def _nm(lengths: Floats) -> str:
    return " x ".join(f"{v / NM:.5g}" for v in lengths)


def _write_csv(folder: str, place: str, surface: Surface, facts: SurfaceFacts) -> str:
    from volengine.ops.surfaces.morphometrics import of_faces

    Path(folder).mkdir(parents=True, exist_ok=True)
    name = f"{Path(place.rstrip('/')).name.removesuffix(ENDING)}_{surface.number}.csv"
    file = Path(folder) / name
    write_morphometrics(file, of_faces(surface, facts.origin))
    return str(file)
