"""The last call of a plan of ``stats``: write the objects of a volume to a file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from volengine.core.atomic import replacing
from volengine.engine.plan import Made, Plan
from volengine.ops.stats_cells import OBJECT, ordered


def write_counted(plan: Plan, tables: Any, stage: str, out: str, cells: Sequence[str] = ()) -> Made:
    """Write the objects of a volume to a file; the engine calls this when all stages are done.

    Parameters
    ----------
    plan
        The plan; not used.
    tables
        ``tables(name)`` returns the tables of a stage, by block number.
    stage
        Name of the stage whose table holds the objects.
    out
        The ``.npz`` file, with one array per column.
    cells
        With a tree of an atlas: names of the stages whose tables hold the objects, instead of ``stage``.

    Returns
    -------
    Made
        The files, and what is in them.
    """
    if cells:
        every = (table for name in cells for table in tables(name).values())
        found = ordered([{key: table[key] for key in OBJECT} for table in every])
    else:
        found = next(iter(tables(stage).values()))
    with replacing(out, parents=True) as file:
        np.savez_compressed(file, allow_pickle=False, **found)
    classes = np.unique(found["class"])
    said = f"{len(found['class'])} objects" + (f" of {len(classes)} classes" if len(classes) > 1 else "")
    return Made((out,), (said,))
