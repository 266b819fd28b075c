"""The last call of a plan of ``pick``: write the table of picks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from volengine.core.block import Table
from volengine.core.picks import Picks
from volengine.core.volume import Volume
from volengine.engine.plan import Plan
from volengine.tasks.pick.description import COLUMN


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
    volume_a3 = columns["size_vox"] * math.prod(volume.voxel_size)
    return Picks.of_volume(volume, **columns, volume_a3=volume_a3, feature=feature)


def write_table(
    plan: Plan, tables: Any, stage: str, volume: Mapping[str, Any], feature: str, out: str, format: str | None
) -> list[str]:
    """Write the picks of a plan to a file, and return its path; the engine calls this when all stages are done.

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
    """
    from volengine.io.picks import format_of, write_picks
    from volengine.io.stores import local_copy

    picks = picks_of(next(iter(tables(stage).values())), Volume.from_json(volume), feature)
    with local_copy(out, write=True) as path:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_picks(path, picks, format_of(out, format))
    return [out]
