"""The last call of a plan of ``stats``: write the objects of a volume to a file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.atomic import write_atomic
from volengine.core.block import Table
from volengine.engine.plan import Made, Plan


def write_counted(plan: Plan, tables: Any, stage: str, out: str) -> Made:
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

    Returns
    -------
    Made
        The files, and what is in them.
    """
    found: Table = next(iter(tables(stage).values()))
    data = io.BytesIO()
    np.savez_compressed(data, allow_pickle=False, **found)
    write_atomic(Path(out), data.getvalue(), durable=True)
    classes = np.unique(found["class"])
    said = f"{len(found['class'])} objects" + (f" of {len(classes)} classes" if len(classes) > 1 else "")
    return Made((out,), (said,))
