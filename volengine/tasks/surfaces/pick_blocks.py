"""Kernels of ``surfaces pick``, and the memory that they need.

``spread`` sums the tomogram around surfaces, for networks; ``score`` scores runs of vertices, ``least`` finds from all
scores which count, and ``find`` the particles on whole surfaces.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from volengine.core.block import Block, Result, merge_tables
from volengine.core.digest import exact_text
from volengine.core.surface import Surface
from volengine.core.volume import Volume
from volengine.io.identity import check_unchanged
from volengine.nets.surface_model import load_surface_model
from volengine.tasks.common.division import NOTES, PIECE, Units, run_rows, units_of, whole_units_of
from volengine.tasks.common.set_read import GEODESIC_BYTES, READ_BYTES, SetRead, errors_name
from volengine.tasks.surfaces.found import table_of
from volengine.tasks.surfaces.in_plane import Turner, turner_of
from volengine.tasks.surfaces.pick import found_on, least_score, prepared
from volengine.tasks.surfaces.picking_recipes import SurfacesPickRecipe
from volengine.tasks.surfaces.predict import grid_of_model, network_score, spread_of, sums_around
from volengine.tasks.surfaces.sampler import Sampler
from volengine.tasks.surfaces.scored import Score, Scored
from volengine.tasks.surfaces.scores import score_of

CACHE_BYTES = 128 << 20
"""Chunks of the tomogram that are kept."""

HELD_BYTES = 350_000_000
"""Memory for the values of the tomogram that are held at a time, and what a score makes of them."""

TORCH_BYTES = 350_000_000
"""Memory that torch leaves in a process."""

FIND_BYTES = 2500
"""Memory for each vertex while maxima that keep a distance are found on a surface, of edges that are short enough."""

SUMS, SCORES, LEAST = "sums", "scores", "least"
"""Names under which kernels read the tables of earlier stages."""


class _Picking:
    """Surfaces, tomogram and score, opened once in each process."""

    def __init__(self, given: Mapping[str, Any]):
        self.recipe = SurfacesPickRecipe.from_json(given["recipe"])
        self.set = SetRead.from_json(given["set"])
        self.surfaces = self.set.open()
        volume = given["volumes"].get("tomogram")
        self.volume = None if volume is None else Volume.from_json(volume)
        self.sample = None
        if self.volume is not None:
            self.sample = Sampler.of(self.volume, "linear", CACHE_BYTES, given["grid"])
        self._prepared: dict[int, Surface] = {}
        self._spread: tuple[float, float] | None = None

    def prepared(self, number: int) -> Surface:
        """A surface with normals and short edges; the last one is kept."""
        if number not in self._prepared:
            self._prepared.clear()
            self._prepared[number] = prepared(self.surfaces.read(number), self.recipe)
        return self._prepared[number]

    @cached_property
    def _others(self) -> tuple[Score, float | None, str, float]:
        return score_of(self.recipe, self.sample, ())

    @cached_property
    def turner(self) -> Turner | None:
        """What finds place and rotation of particles."""
        return turner_of(self.recipe, self.sample)

    def score(self, block: Block) -> tuple[Score, float | None, str, float]:
        """The score, its threshold, the feature that it finds and the height of particles."""
        if self.recipe.model is None:
            return self._others
        assert self.sample is not None  # the recipe asks for it
        if self._spread is None:
            tables = block.tables[SUMS]
            self._spread = spread_of((tables[n][SUMS] for n in sorted(tables)), self.sample.volume.where)
        return network_score(self.recipe.model, self.sample, (), self._spread)


@lru_cache(maxsize=1)
def _picking(text: str) -> _Picking:
    return _Picking(json.loads(text))


def spread_around(block: Block, given: dict[str, Any], rows: int) -> Result:
    """Kernel: number, sum and sum of squares of the tomogram around some surfaces.

    Parameters
    ----------
    given
        Of :meth:`~volengine.tasks.surfaces.given.BesideGiven.described`.
    rows
        Vertices of a unit.

    Returns
    -------
    Result
        ``sums`` (n, 3) of :func:`~volengine.tasks.surfaces.predict.sums_around`, surface after surface.
    """
    work = _picking(exact_text(given))
    assert work.recipe.model is not None
    assert work.sample is not None
    grid = grid_of_model(load_surface_model(work.recipe.model)[1])
    pieces = whole_units_of(work.set.counts, rows)[block.number]
    found = [sums_around(work.surfaces.read(piece.number), grid, work.sample) for piece in pieces]
    return Result(table={SUMS: np.concatenate(found)}, counts={"surfaces": len(found)})


def spread_around_bytes(vertices: int) -> int:
    """Bytes that :func:`spread_around` needs for a surface of so many vertices."""
    return (READ_BYTES + 2000) * vertices + CACHE_BYTES + 2**28


def score_rows(block: Block, given: dict[str, Any], rows: int) -> Result:
    """Kernel: the scores of runs of vertices.

    Parameters
    ----------
    given, rows
        As of :func:`spread_around`.

    Returns
    -------
    Result
        The fields of :class:`~volengine.tasks.surfaces.scored.Scored`, piece after piece, and ``piece.count``.
    """
    work = _picking(exact_text(given))
    score = work.score(block)[0]
    tables = []
    for piece in units_of(work.set.counts, rows)[block.number]:
        with errors_name(given):
            whole = work.prepared(piece.number)
            part = _run(whole, run_rows(len(whole.vertices), piece))
            scored = score(part)
        tables.append({field.name: getattr(scored, field.name) for field in fields(Scored)})
    if work.volume is not None:
        check_unchanged(work.volume, full=False)
    counts = np.array([len(table["score"]) for table in tables])
    return Result(table={**merge_tables(tables), PIECE: counts}, counts={"vertices": int(counts.sum())})


def score_rows_bytes(vertices: int) -> int:
    """Bytes that :func:`score_rows` needs for a surface of so many vertices."""
    return 2 * READ_BYTES * vertices + CACHE_BYTES + HELD_BYTES


def _run(surface: Surface, rows: slice) -> Surface:
    """Some vertices of a surface, which a score looks at one by one, without faces."""
    columns = {name: column[rows] for name, column in surface.columns.items()}
    assert surface.normals is not None
    return Surface(surface.vertices[rows], surface.faces[:0], surface.normals[rows], columns, surface.number)


def least_of_scores(block: Block, given: dict[str, Any], rows: int) -> Result:
    """Kernel: which scores count.

    Parameters
    ----------
    given, rows
        As of :func:`spread_around`.

    Returns
    -------
    Result
        ``least`` (1,), the smallest score that counts; ``highest`` (1,), NaN if there is none; ``height`` (1,),
        angstrom, and ``feature`` of what is found; ``notes``.
    """
    work = _picking(exact_text(given))
    _, threshold, feature, height = work.score(block)
    scores = [table["score"] for _, table in sorted(block.tables[SCORES].items())]
    notes: list[str] = []
    least = least_score(work.recipe, threshold, scores, notes)
    best = [float(np.nanmax(one)) for one in scores if np.isfinite(one).any()]
    table = {
        "least": np.array([least]),
        "highest": np.array([max(best, default=np.nan)]),
        "height": np.array([height]),
        "feature": np.array([feature], str),
        NOTES: np.array(notes, str),
    }
    return Result(table=table)


def least_of_scores_bytes(vertices: int) -> int:
    """Bytes that :func:`least_of_scores` needs for surfaces of so many vertices together."""
    return 80 * vertices + 2**27


def find_particles(block: Block, given: dict[str, Any], rows: int) -> Result:
    """Kernel: the particles on some surfaces.

    Parameters
    ----------
    given, rows
        As of :func:`spread_around`.

    Returns
    -------
    Result
        :func:`~volengine.tasks.surfaces.found.table_of` the particles.
    """
    work = _picking(exact_text(given))
    (least,) = block.tables[LEAST].values()
    whole = whole_units_of(work.set.counts, rows)[block.number]
    scored = scores_of(block.tables[SCORES], units_of(work.set.counts, rows), {piece.number for piece in whole})
    with errors_name(given):
        found = [
            found_on(
                work.prepared(piece.number),
                scored[piece.number],
                float(least["least"][0]),
                float(least["height"][0]),
                work.recipe,
                work.turner,
            )
            for piece in whole
        ]
    return Result(table=table_of(found), counts={"particles": sum(len(one.place) for one in found)})


def find_particles_bytes(vertices: int, together: int, open_: int = 0) -> int:
    """Bytes that :func:`find_particles` needs.

    Parameters
    ----------
    vertices
        Of the largest surface.
    together
        Of all surfaces, whose scores are read.
    open_
        Of the largest surface from whose border distances are computed.
    """
    return (2 * READ_BYTES + FIND_BYTES) * vertices + GEODESIC_BYTES * open_ + 40 * together + CACHE_BYTES + 2**27


def scores_of(tables: Mapping[int, Mapping[str, Any]], units: Units, numbers: set[int]) -> dict[int, Scored]:
    """The scores of some surfaces from the tables of their pieces."""
    names = [field.name for field in fields(Scored)]
    parts: dict[int, list[Any]] = {number: [] for number in numbers}
    for unit, pieces in enumerate(units):
        stop = 0
        for piece, count in zip(pieces, tables[unit][PIECE].tolist(), strict=True):
            start, stop = stop, stop + count
            if piece.number in parts:
                parts[piece.number].append([tables[unit][name][start:stop] for name in names])
    joined = {number: [np.concatenate(part) for part in zip(*some, strict=True)] for number, some in parts.items()}
    return {number: Scored(**dict(zip(names, columns, strict=True))) for number, columns in joined.items()}
