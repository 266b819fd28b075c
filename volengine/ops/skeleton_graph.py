"""Curves of a thinned component: its voxels as a graph, without short branches, cut where three or more meet.

Voxels are joined to their 26 neighbours. Of three voxels that all touch each other the longest join is left out, so the
corner of a staircase is no meeting. Branches with a free end that are shorter than a given length are removed, the
shortest first; two curves that then meet alone become one. Meetings that are close together count as one.

>>> paths = curves(np.array([[0, 0, x] for x in range(9)] + [[0, 1, 4]]), least=3.0, bridge=2.0)
>>> [(len(path), closed) for path, closed in paths]
[(9, False)]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


@dataclass
class _Edge:
    """A curve between two nodes: its voxels from ``start`` to ``stop``, both included."""

    start: int
    stop: int
    path: list[int]
    length: float

    def turned(self) -> _Edge:
        return _Edge(self.stop, self.start, self.path[::-1], self.length)


class Curve(NamedTuple):
    """A curve: its voxels in order; whether its end is joined to its begin; the nodes at its begin and end.

    A node is the number of a voxel: a free end, or where curves meet. Curves that meet have the same one there. Those
    of a closed curve are -1, unless it is closed at a meeting.
    """

    voxels: NDArray[np.int64]
    closed: bool
    nodes: tuple[int, int]


def curves(voxels: NDArray[np.generic], least: float, bridge: float) -> list[tuple[NDArray[np.int64], bool]]:
    """Divide a thinned component into curves: :func:`curves_and_nodes` without nodes."""
    return [(found.voxels, found.closed) for found in curves_and_nodes(voxels, least, bridge)]


def curves_and_nodes(voxels: NDArray[np.generic], least: float, bridge: float) -> list[Curve]:
    """Divide a thinned component into curves.

    Parameters
    ----------
    voxels
        (n, 3), whole numbers z, y, x, in the order of their place in the volume.
    least
        Branches with a free end, and loops at one meeting, that are shorter are removed; voxels along the curve.
    bridge
        Meetings this close together along the curve are one.

    Returns
    -------
    list of Curve
        A curve begins at the end whose number is smaller. Curves are in the order of their smallest number.
    """
    edges, loops = _edges(voxels)
    while True:
        edges = _merged(edges)
        degree = _degrees(edges)
        spurs = [e for e in edges if e.length < least and _is_spur(e, degree)]
        if spurs:
            edges.remove(min(spurs, key=lambda e: (e.length, min(e.path))))
            continue
        short = [e for e in edges if e.start != e.stop and e.length <= bridge and _joins(e, degree)]
        if not short:
            break
        gone = min(short, key=lambda e: (e.length, min(e.path)))
        edges.remove(gone)
        for edge in edges:  # the two meetings become one
            edge.start = gone.start if edge.start == gone.stop else edge.start
            edge.stop = gone.start if edge.stop == gone.stop else edge.stop
    degree = _degrees(edges)
    found = []
    for edge in edges:
        closed = edge.start == edge.stop and degree[edge.start] == 2 and len(edge.path) > 3
        path = edge.path[:-1] if closed and edge.path[0] == edge.path[-1] else edge.path
        index = _from_smaller(path, closed=closed)
        nodes = (edge.start, edge.stop) if index[0] == path[0] else (edge.stop, edge.start)
        found.append(Curve(index, closed, (-1, -1) if closed else nodes))
    found += [Curve(_from_smaller(path, closed=True), True, (-1, -1)) for path in loops]
    return sorted(found, key=lambda f: int(f.voxels.min()))


def _from_smaller(path: list[int], *, closed: bool) -> NDArray[np.int64]:
    at = np.array(path, np.int64)
    if closed:
        at = np.roll(at, -int(at.argmin()))
        return at if len(at) < 3 or at[1] < at[-1] else np.roll(at[::-1], 1)
    return at if at[0] <= at[-1] else at[::-1].copy()


def _neighbours(voxels: NDArray[np.generic]) -> list[list[tuple[int, float]]]:
    from scipy.spatial import cKDTree

    near: list[dict[int, float]] = [{} for _ in range(len(voxels))]
    places = voxels.astype(np.float64)
    for a, b in cKDTree(places).query_pairs(1.8, output_type="ndarray").tolist():
        near[a][b] = near[b][a] = float(np.linalg.norm(places[a] - places[b]))
    gone = set()
    for a, found in enumerate(near):
        for b, far in found.items():
            if a < b and any(far > max(found[c], near[b][c]) + 1e-9 for c in found.keys() & near[b].keys()):
                gone.add((a, b))
    for a, b in gone:
        del near[a][b], near[b][a]
    return [sorted(found.items()) for found in near]


def _edges(voxels: NDArray[np.generic]) -> tuple[list[_Edge], list[list[int]]]:
    """All curves between voxels that are ends or meetings, and the closed curves without such voxels."""
    near = _neighbours(voxels)
    nodes = [n for n, found in enumerate(near) if len(found) != 2]
    is_node, seen = np.zeros(len(voxels), bool), np.zeros(len(voxels), bool)
    is_node[nodes] = seen[nodes] = True
    edges = []
    for node in nodes:
        for following, step in near[node]:
            if (not is_node[following] and seen[following]) or (is_node[following] and following < node):
                continue
            path, length, last = [node, following], step, node
            while not is_node[path[-1]]:
                seen[path[-1]] = True
                here = path[-1]
                onward = [pair for pair in near[here] if pair[0] != last]
                last = here
                path.append(onward[0][0])
                length += onward[0][1]
            edges.append(_Edge(node, path[-1], path, length))
    loops = []
    for first in np.flatnonzero(~seen).tolist():
        if seen[first]:
            continue
        path = [first]
        seen[first] = True
        while free := [n for n, _ in near[path[-1]] if not seen[n]]:
            seen[free[0]] = True
            path.append(free[0])
        loops.append(path)
    return edges, loops


def _degrees(edges: list[_Edge]) -> dict[int, int]:
    degree: dict[int, int] = {}
    for edge in edges:
        for node in (edge.start, edge.stop):
            degree[node] = degree.get(node, 0) + 1
    return degree


def _is_spur(edge: _Edge, degree: dict[int, int]) -> bool:
    """Whether one end is free and the other meets other curves; or it is a loop at a meeting."""
    ends = sorted((degree[edge.start], degree[edge.stop]))
    return (ends[0] == 1 and ends[1] > 2) or (edge.start == edge.stop and ends[1] > 2)


def _joins(edge: _Edge, degree: dict[int, int]) -> bool:
    return degree[edge.start] > 2 and degree[edge.stop] > 2


def _merged(edges: list[_Edge]) -> list[_Edge]:
    """Join pairs of curves that meet alone."""
    at: dict[int, list[_Edge]] = {}
    for edge in edges:
        at.setdefault(edge.start, []).append(edge)
        if edge.stop != edge.start:
            at.setdefault(edge.stop, []).append(edge)
    edges = list(edges)
    for node in sorted(at):
        if len(at[node]) != 2 or any(e.start == e.stop for e in at[node]):
            continue
        first, second = at[node]
        first = first if first.stop == node else first.turned()
        second = second if second.start == node else second.turned()
        whole = _Edge(first.start, second.stop, first.path + second.path[1:], first.length + second.length)
        for old in at.pop(node):
            edges = [e for e in edges if e is not old]
            for end in {old.start, old.stop} - {node}:
                at[end] = [e for e in at[end] if e is not old]
        edges.append(whole)
        for end in {whole.start, whole.stop}:
            at[end].append(whole)
    return edges
