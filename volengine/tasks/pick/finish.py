"""The last call of a plan of ``pick``: write the table of picks."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.block import Table
from volengine.core.errors import MemoryRefusedError, VolengineError
from volengine.core.picks import Picks
from volengine.core.text import counted
from volengine.core.units import format_bytes
from volengine.core.volume import Volume
from volengine.engine.ledger import PlanFolder
from volengine.engine.memory import machine_memory
from volengine.engine.plan import Made, Plan
from volengine.io.names import is_zipped, suffix_of
from volengine.io.picks.parts import PART_PICKS, write_parts
from volengine.ops.filaments import sheets_said, walls_said
from volengine.tasks.common.cell_tables import of_prefix
from volengine.tasks.common.readings import reading_line
from volengine.tasks.pick.description import COLUMN, EXTRAS, SPAN
from volengine.tasks.pick.filaments import OF_COMPONENT, SHEET, WALL
from volengine.tasks.pick.rows import RowFile

ROW = "row"
"""Column of the place of a row in the table, from 1."""

ROW_BYTES = 1600
"""Memory for a pick while text of it is made; measured: STAR 1,520, CSV 1,270 (a million picks)."""


def picks_of(table: Table, volume: Volume, feature: str) -> Picks:
    """The picks in a table of the stage ``resolve``.

    Parameters
    ----------
    table
        Columns by name, see :func:`volengine.tasks.pick.blocks.resolve_picks`.
    volume, feature
        The prediction that they were picked from, and its feature.
    """
    columns = {key.removeprefix(COLUMN): column for key, column in table.items() if key.startswith(COLUMN)}
    if "size_vox" in columns:
        columns["volume_a3"] = columns["size_vox"] * math.prod(volume.voxel_size)
    extra = {key: columns.pop(key) for key in EXTRAS if key in columns}
    return Picks.of_volume(volume, **columns, feature=feature, extra=extra)


def write_table(
    plan: Plan,
    tables: Any,
    stage: str,
    volume: Mapping[str, Any],
    feature: str,
    out: str,
    format: str | None,
    threshold: float,
    decision: str,
    rows: Sequence[str] = (),
    span: str = "",
    least: int | None = None,
) -> Made:
    """Write the picks of a plan to a file; the engine calls this when all stages are done.

    Parameters
    ----------
    plan
        The plan; not used.
    tables
        ``tables(name)`` returns the tables of a stage, by block number.
    stage
        Name of the stage whose table holds the picks.
    volume
        The prediction, a :class:`~volengine.core.volume.Volume` as JSON.
    feature
        Name of the particles.
    out
        Path or URL of the file to write.
    format
        Format of the file; ``None``: chosen by its ending.
    threshold
        The recipe's threshold.
    decision
        Name of the stage that decides whether the volume is a mask; empty if there is none.
    rows, span
        With a tree: names of the stages whose tables hold the picks, then ``stage`` only numbers them; and name of the
        stage whose table has the span.
    least
        With a tree of filaments, whose points the tables hold: with fewer of them there are none.

    Returns
    -------
    Made
        The files, and what is in them.
    """
    from volengine.io.picks import format_of
    from volengine.io.stores import local_copy

    source, table = Volume.from_json(volume), tables(stage)[0]
    written, left = format_of(out, format), int(table["left"][0])
    walls, sheets = (int(table.get(name, np.zeros(1))[0]) for name in (WALL, SHEET))
    with local_copy(out, write=True) as path, ExitStack() as stack:
        path.parent.mkdir(parents=True, exist_ok=True)
        if rows:
            if least is None:
                added, count = _of_cells(tables, rows), table["label"].size
            else:
                added, count, left = _of_filaments(tables, rows, least)
                walls, sheets = (
                    sum(int(one[OF_COMPONENT + kind].sum()) for name in rows for one in tables(name).values())
                    for kind in (WALL, SHEET)
                )
            parts, columns = _in_order(stack, path, count, added, written)
            table = {SPAN: tables(span)[0][SPAN]}  # without the numbers, which have 16 bytes for each pick
        else:
            parts, columns = _of_one(table), set(table)
        count = write_parts(path, (picks_of(part, source, feature) for part in parts), written)
    said = f"{feature}: {counted(count, 'pick')}{_lost(count, columns, written)}"
    if not count:
        lines = f"{COLUMN}filament" in columns
        highest = float(table[SPAN][0, 1])
        said += f", because {_why_none(highest, threshold, left, lines=lines)}"
        if source.dtype == "int8" and highest <= threshold:
            said += "; these are signed bytes, of which 255 would be 1: if 127 is, as Ais writes them, give --scale 127"
    if walls:
        said += f"; {walls_said(walls)}"
    if sheets:
        said += f"; {sheets_said(sheets)}"
    return Made((out,), (*reading_line(feature, source, tables, decision), said))


def forget_labels(plan: Plan, tables: Any, stores: Sequence[str], group: str, beside: str, plan_folder: str) -> Made:
    """Delete the labels that an earlier recipe of this run has left elsewhere; the engine calls this at the end.

    With another ``roi``, or without ``labels``, they would be taken for those of the table. Label images of other runs
    are left alone.

    Parameters
    ----------
    plan, tables
        Not used.
    stores
        Where they may be, and this recipe writes none.
    group
        The label image in these stores.
    beside
        The store beside the table, which is deleted if nothing is left in it.
    plan_folder
        Folder of the plan, whose token the run's own images carry.
    """
    from volengine.io.omezarr.image import list_groups, remove, store_token

    token, said = PlanFolder(plan_folder).token(), []
    for url in stores:
        if is_zipped(url) or suffix_of(url) not in ("", ".zarr"):
            continue
        try:
            if store_token(url, group) != token:
                continue
        except VolengineError:  # a bucket that does not say what is missing, for example
            continue
        remove(url, group)
        said.append(f"{url}#{group}: removed, because they are not the labels of this table")
        if url == beside and not list_groups(url):
            remove(url)
    return Made(said=tuple(said))


def _of_one(table: Table) -> Iterator[Table]:
    """The rows of a table part by part; at least one part."""
    rows = {key: column for key, column in table.items() if key.startswith(COLUMN)}
    count = len(rows[f"{COLUMN}position_vox"])
    for start in range(0, max(count, 1), PART_PICKS):
        yield {key: column[start : start + PART_PICKS] for key, column in rows.items()}


def _of_cells(tables: Any, rows: Sequence[str]) -> Iterator[Table]:
    """The rows of the picks in the cells of all levels, and the place ``row`` of each, from 1."""
    for stage in rows:
        for table in tables(stage).values():
            mine = of_prefix(COLUMN, table)
            yield {**mine, ROW: mine["label"]}


def _of_filaments(tables: Any, rows: Sequence[str], least: int) -> tuple[Iterator[Table], int, int]:
    """The points of filaments as :func:`_of_cells` gives picks; their number; and that of those that are too few.

    Points are in the order of components, and filaments are numbered so: each component begins behind those before it.
    """
    each = [of_prefix(OF_COMPONENT, table) for stage in rows for table in tables(stage).values()]
    label, filaments, points = (np.concatenate([t[key] for t in each]) for key in ("label", "filaments", "points"))
    order = np.argsort(label)
    label, filaments, points = label[order], filaments[order], points[order]
    count = int(points.sum())
    few = count < least
    first = np.cumsum(filaments) - filaments
    begin = np.cumsum(points) - points

    def numbered() -> Iterator[Table]:
        for table in (table for stage in rows for table in tables(stage).values()):
            mine, components = of_prefix(COLUMN, table), of_prefix(OF_COMPONENT, table)
            here = np.searchsorted(components["label"], mine["label"])
            before = np.cumsum(components["filaments"]) - components["filaments"]
            within = np.arange(here.size) - (np.cumsum(components["points"]) - components["points"])[here]
            at = np.searchsorted(label, mine["label"])
            made = {**mine, "filament": mine["filament"] - before[here] + first[at], ROW: begin[at] + within + 1}
            yield {key: column[: 0 if few else None] for key, column in made.items()}

    return numbered(), 0 if few else count, count if few else 0


def _in_order(
    stack: ExitStack, path: Path, count: int, added: Iterator[Table], format: str
) -> tuple[Iterator[Table], set[str]]:
    """The rows of all tables in the order of their column ``row``, part by part; and their columns.

    ``stack`` closes the file that they are brought into order with, which lies beside ``path``.
    """
    from volengine.io.picks.formats import FORMATS

    need, there = ROW_BYTES * count, machine_memory()
    if need > there and not FORMATS[format].by_rows:
        by_rows = ", ".join(name for name, one in FORMATS.items() if one.by_rows)
        raise MemoryRefusedError(
            f"{count} picks need {format_bytes(need)} to be written as {format}, and this machine has "
            f"{format_bytes(there)}. All else is done: run the same command with another --format ({by_rows} need no "
            "more for more picks), or on a machine with more memory; it only writes the table. Or ask for fewer picks "
            "(--threshold, --min-volume-nm3, --spacing-nm)."
        )
    gathered = stack.enter_context(RowFile(path.parent, count, PART_PICKS, ROW))
    for table in added:
        gathered.add(table)
    columns = {COLUMN + key for key in gathered.columns if key != ROW}
    parts = ({COLUMN + key: part[key] for key in part if key != ROW} for part in gathered.parts())
    return parts, columns


def _lost(count: int, columns: Collection[str], format: str) -> str:
    """What of the positions and directions of picks a format does not hold; empty if it holds them."""
    from volengine.io.picks.formats import FORMATS

    if not count:
        return ""
    lost = ["positions are rounded to whole voxels"] if FORMATS[format].whole else []
    if {f"{COLUMN}euler", f"{COLUMN}normal"} & set(columns) and not FORMATS[format].poses:
        lost.append("their directions are lost")
    return f"; {format} holds no more, so {' and '.join(lost)}" if lost else ""


def _why_none(highest: float, threshold: float, left: int, *, lines: bool) -> str:
    if left:
        return f"there are only {left}, fewer than --min-picks"
    if highest > threshold and lines:
        return (
            f"no region above the threshold of {threshold:g} (the largest value is {highest:.3g}) holds a filament of "
            "--min-length-nm, or all points are too near to a face"
        )
    if highest > threshold:
        return (
            f"all regions above the threshold of {threshold:g} (the largest value is {highest:.3g}) are smaller than "
            "the least volume or too near to a face"
        )
    return f"no value is above the threshold of {threshold:g}: the largest is {highest:.3g}"
