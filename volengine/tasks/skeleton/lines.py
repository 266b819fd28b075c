"""Lines of filaments: the centrelines of all components, how long and bent they are, where they end and meet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Table
from volengine.ops.filaments import Centreline, centrelines

Floats = NDArray[np.float64]

LINE_COLUMNS = (
    *("line", "component", "length_nm", "end_to_end_nm", "mean_curvature_per_nm", "max_curvature_per_nm"),
    *("closed", "wall", "begin_node", "end_node", "begin_lines", "end_lines", "begin", "end"),
)
POINT_COLUMNS = ("line", "along_nm", "place", "tangent", "curvature_per_nm")


@dataclass(frozen=True)
class LineRules:
    """How lines are traced.

    Parameters
    ----------
    scale, side_nm
        Sides of a voxel in units of the shortest one, and that one in nm.
    least
        Least length of lines, in the shortest side.
    spacing
        Distance of the points along a line, in the shortest side.
    """

    scale: Sequence[float]
    side_nm: float
    least: float
    spacing: float


def components(index: NDArray[Any]) -> Iterator[NDArray[np.int64]]:
    """The voxels of each component (26 neighbours), in the order of their places; components by their first voxel.

    Parameters
    ----------
    index
        (n, 3) places of all voxels, z, y, x, each once, in any order.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(index):
        return
    at = index.astype(np.int64)
    at -= at.min(axis=0) - 1
    _, ny, nx = at.max(axis=0) + 2
    key = (at[:, 0] * ny + at[:, 1]) * nx + at[:, 2]
    order = np.argsort(key)
    key, index = key[order], index[order].astype(np.int64)
    rows, columns = [], []
    for dz, dy, dx in ((dz, dy, dx) for dz in (0, 1) for dy in (-1, 0, 1) for dx in (-1, 0, 1)):
        step = (dz * ny + dy) * nx + dx
        if step <= 0:
            continue
        other = np.minimum(np.searchsorted(key, key + step), len(key) - 1)
        there = np.flatnonzero(key[other] == key + step)
        rows.append(there.astype(np.int32))
        columns.append(other[there].astype(np.int32))
    a, b = np.concatenate(rows), np.concatenate(columns)
    joined = coo_array((np.ones(len(a), np.int8), (a, b)), (len(key), len(key)))
    label = connected_components(joined, directed=False)[1]
    first = np.unique(label, return_index=True)[1]
    rank = np.argsort(np.argsort(first))[label]  # components by their first voxel, whatever the library's numbers
    order = np.argsort(rank, kind="stable")
    cuts = np.searchsorted(rank[order], np.arange(len(first) + 1))
    for start, stop in pairwise(cuts.tolist()):
        yield index[order[start:stop]]


def traced_lines(index: NDArray[Any], rules: LineRules, memory_bytes: float = math.inf) -> tuple[Table, Table, int]:
    """Trace the lines of all components.

    Parameters
    ----------
    index
        (n, 3) places of all voxels, z, y, x.
    rules
        How lines are traced.
    memory_bytes
        Memory that may be used for a component.

    Returns
    -------
    lines
        :data:`LINE_COLUMNS`, one row for each line, numbered from 1. Nodes are numbered from 1, 0: none, because the
        line is closed; ``begin_lines`` is the number of line ends at its node: 1 is a free end, 3 a branch. ``begin``
        and ``end`` (n, 3) are the places of its ends in voxels. ``wall``: 1 if the component is a wall, a sheet
        or filaments side by side.
    points
        :data:`POINT_COLUMNS`: places (n, 3) in voxels and tangents (n, 3), z, y, x.
    walls
        Number of components that are closed walls, which have no lines.
    """
    walls = 0
    z, y, x = rules.scale
    sides = np.asarray(rules.scale, np.float64)
    rows: list[dict[str, Any]] = []
    parts: list[dict[str, NDArray[Any]]] = []
    nodes: dict[tuple[int, int], int] = {}
    for number, voxels in enumerate(components(index), start=1):
        found = centrelines(voxels, (z, y, x), rules.least, memory_bytes, to_ends=True)
        walls += found is None
        for line in found or ():
            ends = [0 if node < 0 else nodes.setdefault((number, node), len(nodes) + 1) for node in line.nodes]
            rows.append(_row(line, len(rows) + 1, number, ends, rules.side_nm))
            rows[-1] |= {"begin": line.position[0] / sides, "end": line.position[-1] / sides}
            parts.append(_points(line, len(rows), rules, sides))
    lines = {name: np.array([row[name] for row in rows], _kind(name)) for name in LINE_COLUMNS if "_lines" not in name}
    lines |= {name: lines[name].reshape(-1, 3) for name in ("begin", "end")}
    ends_at = np.bincount(np.concatenate([lines["begin_node"], lines["end_node"]]), minlength=len(nodes) + 1)
    ends_at[0] = 0
    lines |= {"begin_lines": ends_at[lines["begin_node"]], "end_lines": ends_at[lines["end_node"]]}
    empty = {"line": np.zeros(0, np.int64), "place": np.zeros((0, 3)), "tangent": np.zeros((0, 3))}
    points = {
        name: np.concatenate([empty.get(name, np.zeros(0)), *(part[name] for part in parts)]) for name in POINT_COLUMNS
    }
    return lines, points, walls


def _kind(name: str) -> str:
    return "f8" if name.endswith("nm") or name in ("begin", "end") else "i8"


def _row(line: Centreline, number: int, component: int, ends: list[int], side_nm: float) -> dict[str, Any]:
    along = np.gradient(line.along) if len(line.along) > 1 else np.ones(1)
    return {
        "line": number,
        "component": component,
        "length_nm": line.length * side_nm,
        "end_to_end_nm": float(np.linalg.norm(line.position[-1] - line.position[0])) * side_nm,
        "mean_curvature_per_nm": float(np.average(line.curvature, weights=along)) / side_nm,
        "max_curvature_per_nm": float(line.curvature.max()) / side_nm,
        "closed": int(line.closed),
        "wall": int(line.wall),
        "begin_node": ends[0],
        "end_node": ends[1],
    }


def _points(line: Centreline, number: int, rules: LineRules, sides: Floats) -> dict[str, NDArray[Any]]:
    found = line.points(rules.spacing)
    return {
        "line": np.full(len(found.position), number, np.int64),
        "along_nm": found.along * rules.side_nm,
        "place": found.position / sides,
        "tangent": found.tangent,
        "curvature_per_nm": 1 / (found.radius * rules.side_nm),
    }
