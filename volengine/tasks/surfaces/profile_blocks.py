"""Kernels of ``surfaces profile``, and the memory that they need."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Block, Result, merge_tables
from volengine.core.digest import exact_text
from volengine.core.units import NM_TO_ANGSTROM as NM
from volengine.core.volume import Volume
from volengine.io.identity import check_unchanged
from volengine.ops.surfaces.points import normals_of
from volengine.ops.surfaces.profile_sampling import steps
from volengine.tasks.common.division import MISSING, NOTES, PIECE, Piece, near_rows, units_of, whole_units_of
from volengine.tasks.common.set_read import READ_BYTES, SetRead, drawn, errors_name
from volengine.tasks.surfaces.picking_recipes import SurfacesProfileRecipe
from volengine.tasks.surfaces.profile_read import pictures
from volengine.tasks.surfaces.sampler import Sampler

CACHE_BYTES = 128 << 20
"""Chunks of the tomogram that are kept."""

PIXEL_BYTES = 64
"""Memory for each pixel of a picture and each vertex, beside the values."""


class _Reading:
    """The surfaces and their tomogram, opened once in each process."""

    def __init__(self, given: Mapping[str, Any]):
        self.recipe = SurfacesProfileRecipe.from_json(given["recipe"])
        self.set = SetRead.from_json(given["set"])
        self.read = drawn(self.set.open())
        self.volume = Volume.from_json(given["volumes"]["tomogram"])
        self.sample = Sampler.of(self.volume, self.recipe.order, CACHE_BYTES, given["grid"])
        self.distance_nm = steps(self.recipe.from_nm, self.recipe.to_nm, self.recipe.step_nm)

    def profiles(self, piece: Piece) -> dict[str, NDArray[Any]]:
        """Numbers of the vertices of a piece, and their profiles, (n, d) float32."""
        surface = self.read(piece.number)
        normals, rows = normals_of(surface), near_rows(surface.vertices, piece)
        values = self.sample.along(surface.vertices[rows], normals[rows], self.distance_nm * NM, np.float32)
        check_unchanged(self.volume, full=False)
        return {"row": rows, "profile": values}


@lru_cache(maxsize=1)
def _reading(text: str) -> _Reading:
    return _Reading(json.loads(text))


def profile_rows(block: Block, given: dict[str, Any], rows: int) -> Result:
    """Kernel: the tomogram along the normals of some vertices.

    Parameters
    ----------
    given
        Of :meth:`~volengine.tasks.surfaces.given.BesideGiven.described`.
    rows
        Vertices of a unit.

    Returns
    -------
    Result
        ``row`` (numbers of vertices) and ``profile`` (n, d), piece after piece; ``piece.count``; ``piece.missing``, the
        values outside of the tomogram.
    """
    work = _reading(exact_text(given))
    with errors_name(given):
        tables = [work.profiles(piece) for piece in units_of(work.set.counts, rows)[block.number]]
    beside = {
        PIECE: np.array([len(table["row"]) for table in tables]),
        MISSING: np.array([int(np.isnan(table["profile"]).sum()) for table in tables]),
    }
    return Result(table={**merge_tables(tables), **beside}, counts={"vertices": int(beside[PIECE].sum())})


def profile_rows_bytes(vertices: int, rows: int, values: int) -> int:
    """Bytes that :func:`profile_rows` needs.

    Parameters
    ----------
    vertices
        Of the largest surface.
    rows
        Of a unit.
    values
        Of a profile.
    """
    return READ_BYTES * vertices + rows * (200 + 16 * values) + CACHE_BYTES + 2**27


def unroll_surfaces(block: Block, given: dict[str, Any], rows: int, folder: str) -> Result:
    """Kernel: pictures of some surfaces, unrolled, as PNG and NPY files in the scratch folder.

    Parameters
    ----------
    given, rows
        As of :func:`profile_rows`.
    folder
        The folder for the files.

    Returns
    -------
    Result
        ``notes``: a sentence for each surface.
    """
    work = _reading(exact_text(given))
    files: list[Path] = []
    said: list[str] = []
    for piece in whole_units_of(work.set.counts, rows)[block.number]:
        with errors_name(given):
            made, text = pictures(work.read(piece.number), work.distance_nm, work.sample, Path(folder), work.recipe)
        files += made
        said.append(text)
    return Result(table={NOTES: np.array(said, str)}, files=tuple(files), counts={"pictures": len(said)})


def unroll_surfaces_bytes(vertices: int, values: int) -> int:
    """Bytes that :func:`unroll_surfaces` needs for a surface of so many vertices, and profiles of so many values.

    A pixel for each vertex is reckoned with, twice.
    """
    return (2 * READ_BYTES + 2 * (8 * values + PIXEL_BYTES)) * vertices + CACHE_BYTES + 2**27
