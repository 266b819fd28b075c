"""``stats --surface``: the particles of each tomogram on its surfaces, measured and put into tables.

Particles are projected to the nearest point on a face of any surface of their tomogram. What follows is measured on
each surface alone: no way leads from one to another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.engine.options import RunOptions
from volengine.io.surfaces import SurfaceSet
from volengine.ops.surfaces.concentration import levels_of
from volengine.ops.surfaces.contacts import contact
from volengine.ops.surfaces.project import Projected, project
from volengine.tasks.stats.objects import Objects
from volengine.tasks.stats.recipe import StatsRecipe
from volengine.tasks.stats.surface_inputs import Grid, find_sets, match_sets
from volengine.tasks.stats.surface_measure import Limits, Measured, Measurer, OnSurface
from volengine.tasks.stats.surface_mesh import Prepared, counted, prepare
from volengine.tasks.stats.surface_recipe import SurfaceStatsRecipe
from volengine.tasks.stats.surface_rows import surface_tables
from volengine.tasks.stats.surface_tomograms import Row, SurfacedTomogram
from volengine.tasks.stats.tables import Counted

Floats = NDArray[np.float64]
Int64 = NDArray[np.int64]

USED, AT_EDGE, OTHER_SIDE, FAR = "used", "edge", "other side", "far"


@dataclass(frozen=True, eq=False)
class SurfaceStats:
    """What was found: tables, what there is to say, and the tomograms for figures."""

    tables: Mapping[str, Sequence[Row]]
    notes: tuple[str, ...]
    tomograms: tuple[SurfacedTomogram, ...]


def measure_surfaces(
    counted: Sequence[Counted],
    paths: Iterable[str],
    grids: Mapping[str, Grid],
    recipe: StatsRecipe,
    surface_recipe: SurfaceStatsRecipe,
    *,
    grouped: bool,
    options: RunOptions,
) -> SurfaceStats:
    """Measure the particles of tomograms on their surfaces.

    Parameters
    ----------
    counted
        The tomograms with their particles.
    paths
        The sets of surfaces.
    grids
        What is known of the tomograms' boxes.
    recipe, surface_recipe
        Cluster radius and origins; and what is measured on surfaces.
    grouped
        Whether pooled rows are wanted for groups, too.
    options
        ``workers`` and ``progress``.

    Raises
    ------
    InputError
        Surfaces and particles do not belong together, most particles of a class are far from every surface, or a
        surface cannot be measured.
    """
    if recipe.roi:
        raise InputError(
            f"--roi {recipe.roi} with --surface: surfaces are not cut to a part of the tomogram, so areas would be too "
            "large. Leave --roi away, or make the surfaces of that part (volengine crop, volengine surface)."
        )
    _known_classes(surface_recipe, counted)
    found = match_sets(find_sets(paths), {c.name: grids[c.name] for c in counted}, any_origin=recipe.any_origin)
    limits = Limits(recipe.eps_nm, recipe.min_points, _levels(found.sets, surface_recipe))
    tomograms = [
        _on_surfaces(c, list(_prepared(found.sets[c.name], surface_recipe)), surface_recipe, limits, options)
        for c in counted
        if found.sets[c.name]
    ]
    notes = [*found.notes, *_far_notes(tomograms, surface_recipe)]
    tables = surface_tables(tomograms, surface_recipe, grouped=grouped)
    return SurfaceStats(tables, tuple(notes), tuple(tomograms))


def _known_classes(recipe: SurfaceStatsRecipe, counted: Sequence[Counted]) -> None:
    names = list(counted[0].classes)
    for name in recipe.by_class:
        if name not in names:
            raise InputError(f"--by-class {name}: no input has this class; there are {', '.join(names)}.")


def _prepared(sets: Sequence[tuple[str, SurfaceSet]], recipe: SurfaceStatsRecipe) -> Iterator[Prepared]:
    for label, one in sets:
        for row in sorted(one.rows, key=lambda row: int(row["number"])):
            yield prepare(one.read(row["number"]), label, recipe.edge_exclusion_nm, recipe.by_column)


def _levels(sets: Mapping[str, Sequence[tuple[str, SurfaceSet]]], recipe: SurfaceStatsRecipe) -> dict[str, Floats]:
    """The levels of each column, from its least to its largest value on all surfaces, which are read once for them."""
    if not recipe.by_column:
        return {}
    ends: dict[str, list[float]] = {column: [] for column in recipe.by_column}
    for some in sets.values():
        for surface in _prepared(some, recipe):
            for column, values in ends.items():
                used = surface.columns[column][surface.faces[surface.kept]]
                values += [float(used.min()), float(used.max())] if used.size else []
    return {column: levels_of(min(v, default=0.0), max(v, default=0.0), recipe.bins) for column, v in ends.items()}


def _on_surfaces(
    c: Counted, surfaces: Sequence[Prepared], recipe: SurfaceStatsRecipe, limits: Limits, options: RunOptions
) -> SurfacedTomogram:
    counts = [len(s.faces) for s in surfaces]
    starts = np.concatenate([[0], np.cumsum(counts)])
    offsets = np.concatenate([[0], np.cumsum([len(s.vertices) for s in surfaces])])
    vertices = np.concatenate([s.vertices for s in surfaces])
    faces = np.concatenate([s.faces + offset for s, offset in zip(surfaces, offsets, strict=False)])
    kept = np.concatenate([s.kept for s in surfaces])
    state: dict[str, NDArray[Any]] = {}
    whose: dict[str, Int64] = {}
    parts: dict[str, list[OnSurface]] = {}
    for name, one in c.classes.items():
        at = project(one.objects.position_nm, vertices, faces)
        at = counted(at, vertices, faces, kept, recipe.edge_exclusion_nm)
        state[name] = _states(at, kept, recipe)
        _check_far(c.name, name, one.objects, at, state[name], recipe)
        whose[name] = np.searchsorted(starts, at.face, side="right") - 1
        parts[name] = [
            _of(one.objects, at, state[name], whose[name] == k, int(starts[k]), s) for k, s in enumerate(surfaces)
        ]
    measured = [
        Measurer(s, {name: parts[name][k] for name in parts}, recipe, limits, c.name, options).measure()
        for k, s in enumerate(surfaces)
    ]
    contacts = _contacts(measured, recipe)
    for m in measured:
        m.surface = m.surface.light()
    return SurfacedTomogram(c.name, c.group, measured, c.classes, state, whose, contacts)


def _states(at: Projected, kept: NDArray[np.bool_], recipe: SurfaceStatsRecipe) -> NDArray[Any]:
    """What becomes of each particle."""
    wrong = {"any": np.zeros(len(at.face), bool), "front": at.signed < 0, "back": at.signed > 0}[recipe.side]
    far = ~(at.distance <= recipe.max_distance_nm)
    edge = ~kept[at.face] if len(kept) else np.ones(len(at.face), bool)
    found: NDArray[Any] = np.select([far, wrong, edge], [FAR, OTHER_SIDE, AT_EDGE], USED)
    return found


def _of(
    objects: Objects, at: Projected, state: NDArray[Any], here: NDArray[np.bool_], start: int, mesh: Prepared
) -> OnSurface:
    rows = np.flatnonzero(here & np.isin(state, (USED, AT_EDGE)))
    euler = None if objects.euler is None else objects.euler[rows]
    summed = np.einsum("ni,nij->nj", at.weights[rows], mesh.normals[mesh.faces[at.face[rows] - start]])
    length = np.linalg.norm(summed, axis=1, keepdims=True)
    return OnSurface(
        rows,
        at.face[rows] - start,
        at.weights[rows],
        at.at[rows],
        at.signed[rows],
        np.divide(summed, length, out=np.zeros_like(summed), where=length > 0),
        state[rows] == USED,
        euler,
    )


def _check_far(
    tomogram: str, name: str, objects: Objects, at: Projected, state: NDArray[Any], recipe: SurfaceStatsRecipe
) -> None:
    far = np.flatnonzero(state == FAR)
    if 2 * len(far) > len(state):
        raise InputError(
            f"{len(far)} of {len(state)} {name!r} of tomogram {tomogram!r} ({objects.where}) lie farther than "
            f"--max-distance-nm {recipe.max_distance_nm:g} from every surface, half of all at "
            f"{np.median(at.distance):.4g} nm or more: are they of this surface, and in its tomogram? If they are, "
            "raise --max-distance-nm."
        )


def _far_notes(tomograms: Sequence[SurfacedTomogram], recipe: SurfaceStatsRecipe) -> list[str]:
    notes = []
    for t in tomograms:
        for name, state in t.state.items():
            far = int((state == FAR).sum())
            if far:
                notes.append(
                    f"{t.name}: {far} of {len(state)} {name!r} lie farther than {recipe.max_distance_nm:g} nm from "
                    "every surface and are left out (--max-distance-nm)."
                )
    return notes


def _contacts(measured: Sequence[Measured], recipe: SurfaceStatsRecipe) -> list[Row]:
    """Contacts of each surface with each other one of the tomogram, where there are any."""
    if not recipe.contact_nm:
        return []
    rows = []
    for k, m in enumerate(measured):
        one = m.surface
        for j, other in enumerate(measured):
            if j == k:
                continue
            mesh = other.surface.vertices, other.surface.faces
            found = contact((one.vertices, one.faces[one.kept]), mesh, recipe.contact_nm)
            if not found.area:
                continue
            near = sum(
                int((project(p.place_nm[p.kept], *mesh).distance <= recipe.contact_nm).sum()) for p in m.points.values()
            )
            rows.append(
                {
                    "set": one.set,
                    "surface": one.number,
                    "to_set": other.surface.set,
                    "to_surface": other.surface.number,
                    "area_um2": found.area / 1e6,
                    "area_share": found.area / one.kept_area,
                    "distance_min_nm": found.nearest,
                    "distance_mean_nm": found.mean,
                    "objects": near,
                }
            )
    return rows
