"""The last call of a plan of ``pick``: write the table of picks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from volengine.core.block import Table
from volengine.core.errors import MemoryRefusedError, RunError
from volengine.core.picks import Picks
from volengine.core.units import format_bytes
from volengine.core.volume import Volume
from volengine.engine.memory import machine_memory
from volengine.engine.plan import Made, Plan
from volengine.tasks.common.readings import reading_line
from volengine.tasks.pick.description import COLUMN, EXTRAS, SPAN

ROW_BYTES = 1600
"""Memory for a pick while the table is written; measured: STAR 1,520, CSV 1,270 (a million picks)."""


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

    Returns
    -------
    Made
        The files, and what is in them.
    """
    from volengine.io.picks import format_of, write_picks
    from volengine.io.stores import local_copy

    source, table = Volume.from_json(volume), tables(stage)[0]
    if rows:
        table = {**_gathered(table, tables, rows), "left": table["left"], SPAN: tables(span)[0][SPAN]}
    picks = picks_of(table, source, feature)
    written = format_of(out, format)
    with local_copy(out, write=True) as path:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_picks(path, picks, written)
    said = f"{feature}: {len(picks)} picks{_lost(picks, written)}"
    if not len(picks):
        lines = f"{COLUMN}filament" in table
        highest = float(table[SPAN][0, 1])
        said += f", because {_why_none(highest, threshold, int(table['left'][0]), lines=lines)}"
        if source.dtype == "int8" and highest <= threshold:
            said += "; these are signed bytes, of which 255 would be 1: if 127 is, as Ais writes them, give --scale 127"
    return Made((out,), (*reading_line(feature, source, tables, decision), said))


def _gathered(numbers: Table, tables: Any, rows: Sequence[str]) -> Table:
    """The columns of the picks by ascending label, from the cells of all levels, one after the other."""
    n, found = numbers["label"].size, 0
    need, there = ROW_BYTES * n, machine_memory()
    if need > there:
        raise MemoryRefusedError(
            f"{n} picks need {format_bytes(need)} to be written, and this machine has {format_bytes(there)}. All else "
            "is done: run the same command on a machine with more memory, which only writes the table; or ask for "
            "fewer picks (--threshold, --min-volume-nm3, --spacing-nm)."
        )
    columns: Table = {}
    for stage in rows:
        for table in tables(stage).values():
            at = table[f"{COLUMN}label"] - 1
            found += at.size
            for key, column in table.items():
                if key.startswith(COLUMN):
                    columns.setdefault(key, np.zeros((n, *column.shape[1:]), column.dtype))[at] = column
    if found != n:
        raise RunError(f"The cells hold {found} picks, not {n}. Run the same command again, with --overwrite.")
    return columns


def _lost(picks: Picks, format: str) -> str:
    """What of the positions and directions of picks a format does not hold; empty if it holds them."""
    from volengine.io.picks.formats import FORMATS

    if not len(picks):
        return ""
    lost = ["positions are rounded to whole voxels"] if FORMATS[format].whole else []
    if (picks.euler is not None or picks.normal is not None) and not FORMATS[format].poses:
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
