"""Curves of a thinned component: its voxels as a graph, without short branches, cut where three or more meet.

Voxels are joined to their 26 neighbours. Of three voxels that all touch each other the longest join is left out, so the
corner of a staircase is no meeting. Branches with a free end that are shorter than a given length are removed, the
shortest first; two curves that then meet alone become one. Meetings that are close together count as one.

>>> paths = curves(np.array([[0, 0, x] for x in range(9)] + [[0, 1, 4]]), least=3.0, bridge=2.0)
>>> [(len(path), closed) for path, closed in paths]
[(9, False)]
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from heapq import heappop, heappush
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
    first: int
    """The smallest number of its voxels."""

    def turned(self) -> _Edge:
        return _Edge(self.stop, self.start, self.path[::-1], self.length, self.first)


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
    network = _Network(edges)
    network.simplify(least, bridge)
    found = []
    for edge, alone in network.edges():
        closed = alone and len(edge.path) > 3
        path = edge.path + network.way(edge.path[-1], edge.path[0])[0][1:-1] if closed else edge.path
        path = path[:-1] if closed and path[0] == path[-1] else path
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
            edges.append(_Edge(node, path[-1], path, length, min(path)))
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


class _Network:
    """Curves that meet at nodes, as they are removed and joined.

    Each change looks at the curves of the nodes that it touches only, so that a component of many meetings, as the
    thinned wall of a vesicle is, takes no longer for each voxel than a filament.
    """

    def __init__(self, edges: list[_Edge]):
        self._edges: dict[int, _Edge] = {}  # by number, which rises in the order in which they were made
        self._next = len(edges)
        self._at: dict[int, set[int]] = {}
        self._loops: dict[int, int] = {}  # number of curves at a node that begin and end there
        self._called: dict[int, int] = {}  # nodes that are called as another one
        self._within: dict[int, list[tuple[list[int], float]]] = {}  # by voxel: bridges that are part of a meeting
        self._spurs: list[tuple[float, int, int]] = []
        self._bridges: list[tuple[float, int, int]] = []
        for number, edge in enumerate(edges):
            self._hang(number, edge)

    def edges(self) -> list[tuple[_Edge, bool]]:
        """The curves that are left, in the order in which they were made, and whether one is closed and meets no other.

        Their nodes are called as they were at first.
        """
        return [
            (
                replace(edge, start=self._name(edge.start), stop=self._name(edge.stop)),
                edge.start == edge.stop and self._degree(edge.start) == 2,
            )
            for _, edge in sorted(self._edges.items())
        ]

    def way(self, start: int, stop: int) -> tuple[list[int], float]:
        """The voxels from one of a meeting to another, over the bridges that are part of it, and their length."""
        ways: dict[int, tuple[list[int], float]] = {start: ([start], 0.0)}
        last = [start]
        while stop not in ways:
            here = last.pop()
            path, length = ways[here]
            for bridge, more in self._within[here]:
                if bridge[-1] not in ways:
                    ways[bridge[-1]] = (path + bridge[1:], length + more)
                    last.append(bridge[-1])
        return ways[stop]

    def _name(self, node: int) -> int:
        return self._called.get(node, node)

    def _degree(self, node: int) -> int:
        """Number of ends of curves at a node."""
        return len(self._at.get(node, ())) + self._loops.get(node, 0)

    def simplify(self, least: float, bridge: float) -> None:
        """Remove short branches and loops, the shortest first; where there are none, make two near meetings one."""
        for number in self._edges:
            self._note(number, least, bridge)
        self._join({node for node in self._at if self._meet_alone(node)}, least, bridge)
        while True:
            if self._spurs:
                number = heappop(self._spurs)[2]
                if number in self._edges and self._is_spur(self._edges[number]):
                    self._remove(number, least, bridge)
            elif self._bridges:
                number = heappop(self._bridges)[2]
                if number in self._edges and self._is_bridge(self._edges[number]):
                    self._contract(number, least, bridge)
            else:
                return

    def _hang(self, number: int, edge: _Edge) -> None:
        self._edges[number] = edge
        for node in {edge.start, edge.stop}:
            self._at.setdefault(node, set()).add(number)
        if edge.start == edge.stop:
            self._loops[edge.start] = self._loops.get(edge.start, 0) + 1

    def _take(self, number: int) -> _Edge:
        edge = self._edges.pop(number)
        for node in {edge.start, edge.stop}:
            self._at[node].discard(number)
        if edge.start == edge.stop:
            self._loops[edge.start] -= 1
        return edge

    def _note(self, number: int, least: float, bridge: float) -> None:
        """Note a curve that may have to go, now or later; whether it has to is looked at when it is its turn."""
        edge = self._edges[number]
        key = (edge.length, edge.first, number)
        if edge.length < least and self._is_spur(edge):
            heappush(self._spurs, key)
        if edge.length <= bridge and self._is_bridge(edge):
            heappush(self._bridges, key)

    def _is_spur(self, edge: _Edge) -> bool:
        """Whether one end is free and the other meets other curves; or it is a loop at a meeting."""
        ends = sorted((self._degree(edge.start), self._degree(edge.stop)))
        return (ends[0] == 1 and ends[1] > 2) or (edge.start == edge.stop and ends[1] > 2)

    def _is_bridge(self, edge: _Edge) -> bool:
        return edge.start != edge.stop and self._degree(edge.start) > 2 and self._degree(edge.stop) > 2

    def _meet_alone(self, node: int) -> bool:
        return len(self._at[node]) == 2 and not self._loops.get(node)

    def _remove(self, number: int, least: float, bridge: float) -> None:
        gone = self._take(number)
        ends = {gone.start, gone.stop}
        self._join({node for node in ends if self._meet_alone(node)}, least, bridge)
        for node in ends:
            if self._degree(node) == 1:  # what is left there has a free end now
                (left,) = self._at[node]
                self._note(left, least, bridge)

    def _contract(self, number: int, least: float, bridge: float) -> None:
        """Two meetings become one, which is called as the begin of the curve between them."""
        gone = self._take(number)
        for path in (gone.path, gone.path[::-1]):
            self._within.setdefault(path[0], []).append((path, gone.length))
        kept, left = gone.start, gone.stop
        if len(self._at[kept]) < len(self._at[left]):  # few curves move, so that many meetings may become one
            kept, left = left, kept
        self._called[kept] = self._name(gone.start)
        for other in self._at[left].copy():
            edge = self._take(other)
            edge.start = kept if edge.start == left else edge.start
            edge.stop = kept if edge.stop == left else edge.stop
            self._hang(other, edge)
            self._note(other, least, bridge)
        del self._at[left]

    def _join(self, nodes: set[int], least: float, bridge: float) -> None:
        """Join the pairs of curves that meet alone at some nodes."""
        for node in sorted(nodes, key=self._name):
            if not self._meet_alone(node):
                continue
            one, two = (self._take(number) for number in sorted(self._at[node]))
            first = one if one.stop == node else one.turned()
            second = two if two.start == node else two.turned()
            del self._at[node]
            number, self._next = self._next, self._next + 1
            between, length = self.way(first.path[-1], second.path[0])
            path = first.path[:-1] + between + second.path[1:]
            smallest = min(first.first, second.first, *between)
            length += first.length + second.length
            self._hang(number, _Edge(first.start, second.stop, path, length, smallest))
            self._note(number, least, bridge)
