"""What the kernels of ``stats`` share: rules from JSON values, and the objects of an instance volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from volengine.core.block import Result, Table
from volengine.ops.stats_labels import ClassRules, merge_ids

VOXELS_PER_OBJECT = 500
"""Assumed for the memory of the joining steps, which are planned before objects are known; as in a fragmented atlas."""


def class_rules(values: Mapping[str, Any]) -> ClassRules:
    """The rules from JSON values, in which tuples have become lists."""
    plain: dict[str, Any] = {k: tuple(v) if isinstance(v, (list, tuple)) else v for k, v in values.items()}
    return ClassRules(**plain)


def objects_of_ids(tables: Sequence[Table]) -> Result:
    """The numbered objects of a volume from the tables of all its parts."""
    found = merge_ids(tables)
    rows = {"class": np.zeros(len(found["id"]), np.int64), **{k: found[k] for k in ("position_vox", "voxels")}}
    return Result(table=rows, counts={"objects": len(found["id"])})
