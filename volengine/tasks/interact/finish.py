"""The last call of a plan of ``interact``: say which volumes were taken for masks, and which origins differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from volengine.core.volume import Volume
from volengine.engine.plan import Made, Plan
from volengine.tasks.common.readings import reading_line


def say_masks(plan: Plan, tables: Any, read: Mapping[str, Mapping[str, Any]], notes: Sequence[str] = ()) -> Made:
    """Return a line for each volume that was taken for a mask; the engine calls this when all stages are done.

    Parameters
    ----------
    plan
        The plan; not used.
    tables
        ``tables(name)`` returns the tables of a stage, by block number.
    read
        For each feature the ``volume`` as JSON, and the name of the stage that made the ``decision`` (or empty).
    notes
        Further lines, which were known when the plan was made.
    """
    lines = (
        line
        for feature, one in read.items()
        for line in reading_line(feature, Volume.from_json(one["volume"]), tables, one["decision"])
    )
    return Made(said=(*notes, *lines))
