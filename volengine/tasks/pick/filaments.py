"""What the kernels that trace filaments share: points along the centrelines of components, from their voxels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Table
from volengine.core.orientation import normal_to_euler
from volengine.ops.filaments import centrelines

GATHERED_BYTES = 60
"""Bytes for a voxel of a component while all are gathered: as read, joined, sorted."""

LEFT, OF_COMPONENT = "left.", "component."
"""Beginnings of the names of columns of a cell's table: of voxels that go up, and of its components."""
WALL, SHEET = "wall", "sheet"
"""Columns of components: 1 for a closed wall; 1 for a wall or a sheet that has lines."""

FILAMENT_COLUMNS = (
    *("position_vox", "normal", "euler", "label"),
    *("filament", "along_nm", "length_nm", "curvature_radius_nm"),
)


@dataclass(frozen=True)
class FilamentRules:
    """How filaments are traced, and which points are kept.

    Parameters
    ----------
    scale, side_nm
        Sides of a voxel in units of the shortest one, and that one in nm.
    spacing, least
        Distance of points, and least length of filaments, in the shortest side.
    twist_deg
        Turn about the tangent from point to point.
    margin_vox
        As in the recipe.
    """

    scale: Sequence[float]
    side_nm: float
    spacing: float
    least: float
    twist_deg: float
    margin_vox: Sequence[int]


def traced(
    label: NDArray[Any],
    index: NDArray[Any],
    shape: Sequence[int],
    rules: FilamentRules,
    memory_bytes: float = math.inf,
) -> tuple[Table, Table]:
    """Trace the filaments of components, one after the other, by ascending label.

    Parameters
    ----------
    label, index
        (n,) and (n, 3): component and place (z, y, x) of each voxel, in any order.
    shape
        Shape of the volume, voxels z, y, x.
    rules
        How they are traced.
    memory_bytes
        Memory that may be used, of which the voxels need :data:`GATHERED_BYTES` each.

    Returns
    -------
    points
        The columns :data:`FILAMENT_COLUMNS`, one row per point; filaments are numbered from 1.
    components
        One row for each component that has a filament, also if the margin leaves no point of it, or is a closed wall,
        which has none: ``label``, ``filaments``, ``points``, ``wall`` and ``sheet``, 0 or 1 (int64).
    """
    order = np.lexsort((index[:, 2], index[:, 1], index[:, 0], label))
    label, index = label[order], index[order]
    starts = np.flatnonzero(np.diff(label, prepend=0))
    rows: list[dict[str, Any]] = []
    found: list[tuple[int, ...]] = []
    count, sides = 0, np.array(rules.scale)
    z, y, x = rules.scale
    for first, last in pairwise([*starts.tolist(), len(label)]):
        rest = memory_bytes - GATHERED_BYTES * len(label)
        before, kept = count, 0
        lines = centrelines(index[first:last], (z, y, x), rules.least, rest, to_ends=True)
        for line in lines or ():
            points = line.points(rules.spacing)
            count += 1
            place = points.position / sides
            margin = np.asarray(rules.margin_vox)
            inside = ((place >= margin) & (place <= np.array(shape) - 1 - margin)).all(axis=1)
            euler = normal_to_euler(points.tangent)
            euler[:, 0] = (np.arange(len(place)) * rules.twist_deg + 180) % 360 - 180
            columns = {
                "position_vox": place,
                "normal": points.tangent,
                "euler": euler,
                "label": np.full(len(place), label[first], np.int64),
                "filament": np.full(len(place), count, np.int64),
                "along_nm": points.along * rules.side_nm,
                "length_nm": np.full(len(place), line.length * rules.side_nm),
                "curvature_radius_nm": points.radius * rules.side_nm,
            }
            rows.append({key: column[inside] for key, column in columns.items()})
            kept += int(inside.sum())
        if count > before or lines is None:
            sheet = any(line.wall for line in lines or ())
            found.append((int(label[first]), count - before, kept, int(lines is None), int(sheet)))
    widths = {"position_vox": (0, 3), "normal": (0, 3), "euler": (0, 3), "label": 0, "filament": 0}
    empty = {key: np.zeros(widths.get(key, 0), "i8" if widths.get(key) == 0 else "f8") for key in FILAMENT_COLUMNS}
    made = {key: np.concatenate([empty[key], *(row[key] for row in rows)]) for key in FILAMENT_COLUMNS}
    each = np.array(found, np.int64).reshape(-1, 5)
    return made, dict(zip(("label", "filaments", "points", WALL, SHEET), each.T, strict=True))
