"""The end of a plan of ``stats``: the objects of a volume become a file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.atomic import write_atomic
from volengine.core.block import Table
from volengine.engine.plan import Plan


def write_counted(plan: Plan, tables: Any, stage: str, out: str) -> None:
    """Call at the end of a plan: keep the objects of a volume."""
    found: Table = next(iter(tables(stage).values()))
    data = io.BytesIO()
    np.savez_compressed(data, allow_pickle=False, **found)
    write_atomic(Path(out), data.getvalue())
