"""Verbs of surfaces in one process, surface by surface and as a whole: what units must give, to the last bit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.surface import Surface
from volengine.core.units import NM_TO_ANGSTROM as NM
from volengine.io.open import open_volume
from volengine.io.picks import read_all
from volengine.io.surfaces import open_surfaces
from volengine.ops.surfaces.border import from_border
from volengine.ops.surfaces.curvature import curvature, oriented_normals
from volengine.ops.surfaces.morphometrics import verticality
from volengine.ops.surfaces.neighbourhood import discs, neighbours_of
from volengine.ops.surfaces.points import normals_of
from volengine.ops.surfaces.profile_sampling import along_normals, steps
from volengine.ops.surfaces.profiles import bilayer
from volengine.ops.surfaces.proximity import box_around, nearest_point, nearest_surface, to_volume_faces
from volengine.ops.surfaces.thickness import thickness
from volengine.tasks.surfaces.measure_density import LEAST_PARTS, distances_of, eighths
from volengine.tasks.surfaces.measure_recipe import SurfacesMeasureRecipe
from volengine.tasks.surfaces.measure_rows import angles
from volengine.tasks.surfaces.picking_recipes import SurfacesProfileRecipe
from volengine.tasks.surfaces.profile_read import column_name
from volengine.tasks.surfaces.sampler import Sampler

Columns = dict[str, NDArray[Any]]


def measured_whole(source: str, recipe: SurfacesMeasureRecipe) -> Iterator[Surface]:
    """The surfaces of a set with all measures, each computed over the whole surface."""
    surfaces = open_surfaces(source)
    facts = surfaces.facts
    boxes = {one.number: box_around(one) for one in surfaces}
    sample = Sampler(open_volume(recipe.tomogram), "cubic") if recipe.tomogram else None
    labels = Sampler(open_volume(recipe.labels), "cubic") if recipe.labels else None
    for surface in surfaces:
        at, fit = surface.vertices, curvature(surface, recipe.radius_nm * NM)
        columns: Columns = {
            "k1_per_nm": fit.k1 * NM,
            "k2_per_nm": fit.k2 * NM,
            "mean_curvature_per_nm": fit.mean * NM,
            "gaussian_curvature_per_nm2": fit.gaussian * NM**2,
            "shape_index": fit.shape_index,
            "curvedness_per_nm": fit.curvedness * NM,
        }
        found = thickness(surface, recipe.max_thickness_nm * NM, fit.normals)
        columns |= {"thickness_nm": found.thickness / NM, "gap_nm": found.gap / NM}
        columns["verticality_deg"] = verticality(fit.normals)
        if len(boxes) > 1:
            others = {number: box for number, box in boxes.items() if number != surface.number}
            near = nearest_surface(at, others, surfaces.read)
            columns |= {"nearest_surface_nm": near.distance / NM, "nearest_surface": near.number.astype(np.int32)}
        for path in recipe.others:
            other = open_surfaces(path)
            read, label = lru_cache(8)(other.read), other.facts.feature
            near = nearest_surface(at, {one.number: box_around(one) for one in other}, read)
            columns |= {f"to_{label}_nm": near.distance / NM, f"to_{label}": near.number.astype(np.int32)}
            columns[f"to_{label}_angle_deg"] = angles(fit.normals, near.number, near.face, read)
        if recipe.picks:
            known = {"voxel_size": facts.voxel_size, "origin": facts.origin, "shape": facts.shape}
            columns["pick_nm"] = nearest_point(at, read_all(recipe.picks[0], **known)[facts.tomogram].place)[0] / NM
        assert facts.shape is not None
        assert facts.voxel_size is not None
        columns["volume_face_nm"] = to_volume_faces(at, facts.shape, facts.voxel_size) / NM
        away = from_border(at, surface.faces)
        columns["border_nm"] = np.where(np.isfinite(away), away, np.nan) / NM
        if sample is not None:
            columns |= _leaflets(surface, fit.normals, sample, recipe)
        if labels is not None:
            columns["label"] = labels.of_voxels(at)
        stored = {name: c.astype(np.float32) if c.dtype.kind == "f" else c for name, c in columns.items()}
        yield replace(surface, normals=oriented_normals(surface)).with_columns(**stored)


def _leaflets(surface: Surface, normals: NDArray[Any], sample: Sampler, recipe: SurfacesMeasureRecipe) -> Columns:
    at, radius = distances_of(recipe), recipe.average_nm * NM
    profiles = sample(along_normals(surface.vertices, normals, at))
    mean, noise = np.full_like(profiles, np.nan), np.full(len(profiles), np.nan)
    known = np.isfinite(profiles).all(axis=1)
    links = neighbours_of(surface.faces, len(surface.vertices))
    for pairs in discs(surface.vertices, normals, links, radius):
        use = known[pairs.near] & (surface.vertex_areas[pairs.near] > 0)
        for centre in np.unique(pairs.centre[use]):
            near = pairs.near[use & (pairs.centre == centre)]
            part = eighths(surface.vertices[near] - surface.vertices[centre], normals[[centre] * len(near)])
            weights, sums = [], []
            for one in np.unique(part):
                weight = surface.vertex_areas[near[part == one]]
                weights.append(np.add.reduceat(weight, [0])[0])
                sums.append(np.add.reduceat(profiles[near[part == one]] * weight[:, None], [0], axis=0)[0])
            total = np.add.reduceat(weights, [0])[0]
            mean[centre] = np.add.reduceat(sums, [0], axis=0)[0] / total
            away = [((mean[centre] * w - s) ** 2).mean() for w, s in zip(weights, sums, strict=True)]
            if (n := len(away)) >= LEAST_PARTS:
                noise[centre] = np.sqrt(np.add.reduceat(away, [0])[0] / total**2 * n / (n - 1))
    least, most = recipe.min_bilayer_nm * NM, recipe.max_bilayer_nm * NM
    found = bilayer(mean, at, noise, voxel=sample.voxel, dark=recipe.contrast == "dark", least=least, most=most)
    return {
        "bilayer_nm": found.thickness / NM,
        "bilayer_offset_nm": found.offset / NM,
        "bilayer_peaks_nm": found.peaks / NM,
        "bilayer_fit": found.fit,
    }


def profiled_whole(source: str, recipe: SurfacesProfileRecipe) -> Iterator[Surface]:
    """The surfaces of a set with their profiles, read at once."""
    assert recipe.tomogram is not None
    sample = Sampler(open_volume(recipe.tomogram), recipe.order)
    distance = steps(recipe.from_nm, recipe.to_nm, recipe.step_nm)
    for surface in open_surfaces(source):
        normals = normals_of(surface)
        values = sample(along_normals(surface.vertices, normals, distance * NM)).astype(np.float32)
        columns = {column_name(d): values[:, k] for k, d in enumerate(distance)}
        yield replace(surface, normals=normals).with_columns(**columns)
