"""The last call of a plan of ``annotate suggest``: keep the scores of patches."""

from __future__ import annotations

from typing import Any

import numpy as np

from volengine.core.atomic import replacing
from volengine.core.text import counted
from volengine.engine.plan import Made, Plan


def keep_patches(plan: Plan, tables: Any, out: str) -> Made:
    """Write the patches of a prediction, the most uncertain first, to a file of the run folder (``.npz``)."""
    every = list(tables("suggest-score").values())
    start, at, total = (np.concatenate([table[name] for table in every]) for name in ("start", "slice", "total"))
    order = np.lexsort((*start.T[::-1], -total))
    with replacing(out, parents=True) as file:
        np.savez_compressed(file, allow_pickle=False, start=start[order], slice=at[order], total=total[order])
    return Made((out,), (counted(len(order), "patch/patches"),))
