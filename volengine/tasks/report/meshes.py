"""Sets of surfaces on a page: their outlines in the slices, their numbers, and how thick they are.

A mesh is read, cut and forgotten before the next one, so that a page needs the memory of one. Whatever is damaged is
named, and the rest is shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import VolengineError
from volengine.core.surface import Surface
from volengine.core.text import counted
from volengine.core.units import NM_TO_ANGSTROM, format_bytes
from volengine.io.surfaces import FACTS, SurfaceSet, open_surfaces
from volengine.ops.pictures import Colour
from volengine.ops.surfaces.section import joined, section
from volengine.ops.value_counts import number_counts
from volengine.tasks.common.set_means import measured_of
from volengine.tasks.picture.frame import Frame
from volengine.tasks.picture.overlays import Overlay

LARGEST_MESH, LARGEST_SET = 2**24, 2**27
"""Bytes of the largest mesh that is read, and of the meshes of a set; of larger ones the page has the table alone."""
MESH_MEMORY = 20
"""Memory that reading and cutting a mesh takes, times the bytes of its file; measured 17 to 20 with binary PLY."""
LINE_BYTES = 60_000
"""Bytes of all outlines of a page; if they are longer, they are drawn on a coarser grid."""
FINEST = 0.5
"""Finest grid of outlines, units of the drawing."""
THICKNESS = "thickness_nm"
DAMAGED = (VolengineError, OSError, ValueError, KeyError)


@dataclass(frozen=True)
class Told:
    """Lists of sentences: what is missing or damaged, and what else there is to say; each is said once."""

    problems: list[str]
    notes: list[str]

    def problem(self, text: str) -> None:
        """Say what is missing or damaged."""
        if text not in self.problems:
            self.problems.append(text)

    def note(self, text: str) -> None:
        """Say something else."""
        if text not in self.notes:
            self.notes.append(text)


@dataclass(frozen=True, eq=False)
class Line:
    """The outlines of a set of surfaces in a slice: pieces (n, 2, 2) y, x in units of the drawing, and their colour."""

    pieces: NDArray[np.float64]
    colour: Colour

    def path(self, most: int) -> str:
        """The outlines as the path of an SVG of at most so many bytes."""
        step = FINEST
        while len(text := path_of(joined(self.pieces, step), step)) > most:
            step *= 2
        return text


def path_of(lines: Sequence[NDArray[np.int64]], step: float) -> str:
    """The path of an SVG through points of a grid, (m, 2) y, x in steps.

    >>> path_of([np.array([[0, 0], [0, 3], [2, 2]])], 0.5)
    'M0 0l1.5 0-0.5 1'
    """
    parts = []
    for line in lines:
        (y, x), moves = line[0].tolist(), np.diff(line, axis=0).tolist()
        text = " ".join(f"{dx * step:g} {dy * step:g}" for dy, dx in moves)
        parts.append(f"M{x * step:g} {y * step:g}l{text.replace(' -', '-')}")
    return "".join(parts)


def outlines(overlay: Overlay, frames: Sequence[Frame], unit: float, told: Told) -> list[Line]:
    """The outlines of a set of surfaces in each of some slices.

    Parameters
    ----------
    overlay
        The set.
    frames
        The slices.
    unit
        Units of the drawing per pixel.
    told
        What is damaged or left out is added.
    """
    assert overlay.surfaces is not None
    assert overlay.colour is not None
    found: list[list[NDArray[np.float64]]] = [[np.zeros((0, 2, 2))] for _ in frames]
    for surface in meshes_of(overlay.surfaces, told):
        for pieces, frame in zip(found, frames, strict=True):
            cut = section(surface, frame.axis, frame.place - overlay.offset[frame.axis])
            pieces.append((frame.to_pixels(cut + overlay.offset) + 0.5) * unit)
    return [Line(np.concatenate(pieces), overlay.colour) for pieces in found]


def meshes_of(surfaces: SurfaceSet, told: Told) -> Iterator[Surface]:
    """The meshes of a set, one at a time; what cannot be read, or is too large for a page, is left out and named."""
    used = large = damaged = 0
    first = ""
    for row in surfaces.rows:
        try:
            file = surfaces.path if surfaces.path.is_file() else surfaces.path / row["file"]
            size = file.stat().st_size
            if size > LARGEST_MESH or used + size > LARGEST_SET:
                large += 1
                continue
            mesh = surfaces.read(row["number"])
        except DAMAGED as error:
            damaged += 1
            first = first or str(error) or repr(error)
            continue
        used += size
        yield mesh
    if damaged:
        told.problem(f"{surfaces.path}: {first}" + (f" And {damaged - 1} more." if damaged > 1 else ""))
    if large:
        told.note(
            f"{surfaces.path}: {large} of {counted(len(surfaces), 'mesh/meshes')} are not read: a page is made of "
            f"meshes of up to {format_bytes(LARGEST_MESH)}, and {format_bytes(LARGEST_SET)} of a set."
        )


@dataclass
class Meshes:
    """What is known of a set of surfaces.

    Parameters
    ----------
    path, name
        The set, and its feature.
    measured
        Number, area and means of what was measured, as of :func:`measured_of`.
    edges, counts
        Histogram of the thickness: nm, and area, nm²; ``None``: it was not measured.
    span
        The thickness below which 5, 50 and 95 % of the area lie.
    """

    path: str
    name: str
    measured: dict[str, float] = field(default_factory=dict)
    edges: NDArray[Any] | None = None
    counts: NDArray[Any] | None = None
    span: tuple[float, ...] = ()


def looked_at(path: str, told: Told) -> Meshes:
    """Look at a set of surfaces.

    Parameters
    ----------
    path
        The set.
    told
        What is damaged or left out is added.

    Raises
    ------
    MissingError, FormatError
        It cannot be opened.
    """
    surfaces = open_surfaces(path)
    found = Meshes(path, surfaces.facts.feature or Path(path).stem, measured_of(surfaces.rows))
    unknown = round(found.measured.get("without_area", 0))
    if unknown:
        told.note(
            f"{Path(path).name}: the area of {counted(unknown, 'surface')} of {len(surfaces.rows):,} is not known in "
            "its table. The area of the set is not given, and means leave these surfaces out."
        )
    if not any(THICKNESS in key for row in surfaces.rows for key in row):
        return found
    values, areas = [], []
    for mesh in meshes_of(surfaces, told):
        if THICKNESS in mesh.columns:
            column = np.asarray(mesh.columns[THICKNESS], np.float64)
            known = np.isfinite(column)
            values.append(column[known])
            areas.append(mesh.vertex_areas[known] / NM_TO_ANGSTROM**2)
    thickness, area = (np.concatenate([np.zeros(0), *columns]) for columns in (values, areas))
    if thickness.size:
        found.edges, found.counts = number_counts(thickness, weights=area)
        order = np.argsort(thickness, kind="stable")
        share = np.cumsum(area[order])
        at = np.searchsorted(share, share[-1] * np.array([0.05, 0.5, 0.95]))
        found.span = tuple(thickness[order][np.minimum(at, thickness.size - 1)].tolist())
    return found


def state_of(path: str) -> list[Any]:
    """What tells one state of a set from another: its list, and the sizes and times of its meshes."""
    place = Path(path)
    if place.is_file():
        return [place.name, place.stat().st_size, place.stat().st_mtime_ns]
    files = [(one.name, one.stat()) for one in sorted(place.iterdir()) if one.is_file()]
    listed = (place / FACTS).read_text(errors="replace") if (place / FACTS).is_file() else ""
    return [listed, [[name, stat.st_size, stat.st_mtime_ns] for name, stat in files]]
