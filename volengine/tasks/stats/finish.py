"""The last call of a plan of ``stats``: write the objects of a volume to a file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.atomic import write_atomic
from volengine.core.block import Table
from volengine.engine.plan import Plan


def write_counted(plan: Plan, tables: Any, stage: str, out: str) -> list[str]:
    """Write the objects of a volume to a file, and return its path; the engine calls this when all stages are done.

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
    """
    found: Table = next(iter(tables(stage).values()))
    data = io.BytesIO()
    np.savez_compressed(data, allow_pickle=False, **found)
    write_atomic(Path(out), data.getvalue(), durable=True)
    return [out]
