"""The last call of a plan of ``surfaces measure``: the set of surfaces with the columns, surface by surface."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Table
from volengine.core.errors import FormatError
from volengine.core.surface import Surface
from volengine.core.text import counted
from volengine.core.units import NM_TO_ANGSTROM as NM
from volengine.engine.plan import Made, Plan
from volengine.io.morphometrics import write_morphometrics
from volengine.io.surfaces import SurfaceFacts, file_of, files_of_set, write_surfaces
from volengine.tasks.common.division import COLUMN, MISSING, NOTES, PIECE, Piece, Units, units_of, whole_units_of
from volengine.tasks.common.ended import check_given, note
from volengine.tasks.common.set_read import SetRead, facts_of
from volengine.tasks.surfaces.measure_recipe import SurfacesMeasureRecipe
from volengine.tasks.surfaces.measure_rows import BORDER
from volengine.tasks.surfaces.writing import morphometrics_file

Part = tuple[Piece, dict[str, NDArray[Any]], Any]
"""A piece, its columns, and one value that is beside them."""

SHOWN = ("mean_curvature_per_nm", "thickness_nm", "bilayer_nm", "nearest_surface_nm", "pick_nm", "border_nm")
"""Columns whose medians are said."""


def write_measured(
    plan: Plan,
    tables: Any,
    out: str,
    given: dict[str, Any],
    rows: int,
    facts: dict[str, Any],
    csv: str | None,
    notes: list[str],
    folder: str,
) -> Made:
    """Write the set of surfaces with what was measured; the engine calls this when all stages are done.

    Parameters
    ----------
    plan
        The plan; its stages say what was measured.
    tables
        ``tables(name)`` returns the tables of a stage, by block number.
    out
        The set.
    given, rows
        As the stages have them.
    facts
        Fields of :class:`~volengine.io.surfaces.SurfaceFacts`.
    csv
        Folder for tables as Surface Morphometrics writes them.
    notes
        Sentences that are known already.
    folder
        Folder of the plan, for the sentences and the names of further files.

    Returns
    -------
    Made
        The set, and what is in it.

    Raises
    ------
    ChangedError
        What was read has changed since the run was planned.
    """
    recipe, mine = SurfacesMeasureRecipe.from_json(given["recipe"]), SetRead.from_json(given["set"])
    check_given(given)
    surfaces, told = mine.open(), list(notes)
    measured = pieces_of(tables("surfaces-measure") if mine.counts else {}, units_of(mine.counts, rows), MISSING)
    border: Iterator[Part] | None = None
    if any(stage.name == "surfaces-border" for stage in plan.stages):
        border = pieces_of(tables("surfaces-border"), whole_units_of(mine.counts, rows), NOTES)
    listed: list[dict[str, Any]] = []
    files: list[str] = []

    def made() -> Iterator[tuple[Surface, Mapping[str, Any]]]:
        for row in surfaces.rows:
            surface = surfaces.read(row["number"])
            columns, missing = joined(surface, measured)
            if border is not None:
                _, found, said = next(border)
                columns[BORDER] = found[BORDER]
                told.extend([str(said)] if said else [])
            if missing:
                told.append(_without(surface, missing, recipe))
            surface = _finished(surface, columns)
            more = {k: v for k, v in row.items() if k not in ("number", "file")} | table_row(surface)
            listed.append({"number": surface.number, **more})
            if csv is not None:
                files.append(_write_csv(csv, out, surface, surfaces.facts))
            yield surface, more

    write_surfaces(out, made(), facts_of(facts))
    empty = "" if listed else f"{mine.path} has no surfaces."
    note(folder, told, files, empty)
    products = files_of_set(out, [{"file": file_of(row["number"])} for row in listed])
    return Made((*products, *files), tuple(said_of(out, listed, told, files)))


def pieces_of(tables: Mapping[int, Table], units: Units, extra: str | None) -> Iterator[Part]:
    """The pieces of all units with their columns, in order; one table is in memory at a time.

    Parameters
    ----------
    tables
        The tables of a stage, by unit.
    units
        The pieces of each unit.
    extra
        A column with a value for each piece; ``None``: there is none.
    """
    for number, pieces in enumerate(units):
        table = tables[number]
        columns = {name: c for name, c in table.items() if name not in (PIECE, extra)}
        stop = 0
        beside = [None] * len(pieces) if extra is None else table[extra].tolist()
        for piece, count, more in zip(pieces, table[PIECE].tolist(), beside, strict=True):
            start, stop = stop, stop + count
            yield piece, {name: column[start:stop] for name, column in columns.items()}, more


def joined(surface: Surface, pieces: Iterator[Part]) -> tuple[dict[str, NDArray[Any]], int]:
    """The columns of a surface from its pieces, which come next, and the sum of what is beside them.

    Raises
    ------
    DamagedError
        The pieces do not have each vertex once.
    """
    found: dict[str, NDArray[Any]] = {}
    seen, total, last = np.zeros(len(surface.vertices), np.int64), 0, False
    while not last:
        piece, columns, more = next(pieces)
        rows = columns.pop("row")
        for key, column in columns.items():
            name = key.removeprefix(COLUMN)
            found.setdefault(name, np.zeros((len(seen), *column.shape[1:]), column.dtype))[rows] = column
        seen[rows] += 1
        total, last = total + more, piece.part == piece.parts - 1
    if (seen != 1).any():
        raise FormatError(f"{surface.name}: not every vertex was measured once; remove the run folder and run again.")
    return found, total


def _finished(surface: Surface, columns: Mapping[str, NDArray[Any]]) -> Surface:
    """The surface with normals and further columns."""
    from volengine.ops.surfaces.curvature import oriented_normals

    normals = oriented_normals(surface) if surface.normals is None else surface.normals
    return replace(surface, normals=normals).with_columns(**columns)


def _without(surface: Surface, missing: int, recipe: SurfacesMeasureRecipe) -> str:
    return (
        f"{surface.name}: {missing} of {len(surface.vertices)} vertices have no values, being more than "
        f"{recipe.max_transfer_nm:g} nm from every triangle of {recipe.morphometrics}."
    )


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


def said_of(out: str, rows: Sequence[dict[str, Any]], notes: Sequence[str], files: Sequence[str]) -> list[str]:
    """Lines for the user: how many surfaces, medians of a single one, notes, further files."""
    said = [f"{out}: {counted(len(rows), 'surface')} measured"]
    said += [line_of_row(row) for row in rows] if len(rows) == 1 else []
    said += notes
    if files:
        said.append(f"{counted(len(files), 'table')} for Surface Morphometrics, for example {files[0]}")
    return said


def line_of_row(row: Mapping[str, Any]) -> str:
    """A surface's size and medians."""
    medians = [f", {name} {row[f'{name}_median']:.4g}" for name in SHOWN if f"{name}_median" in row]
    return f"surface {row['number']}: {row['area_nm2']:.5g} nm2" + "".join(medians)


def _write_csv(folder: str, place: str, surface: Surface, facts: SurfaceFacts) -> str:
    from volengine.ops.surfaces.morphometrics import of_faces

    Path(folder).mkdir(parents=True, exist_ok=True)
    file = morphometrics_file(folder, place, surface.number)
    write_morphometrics(file, of_faces(surface, facts.origin))
    return str(file)
