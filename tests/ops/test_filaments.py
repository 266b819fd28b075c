"""Centrelines of filaments: tubes whose centreline is known, meetings, and what is refused."""

from __future__ import annotations

import itertools
from functools import cache

import networkx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from volengine.core.errors import MemoryRefusedError
from volengine.ops.filaments import BYTES_PER_VOXEL, centrelines
from volengine.ops.skeleton_graph import _Edge, _Network, curves

ONE = (1.0, 1.0, 1.0)
T = np.linspace(0, 1, 20000)[:, None]


def tube(curve, radius, scale=ONE):
    """All voxels whose centre is at most a radius away from a curve, in the order of their place in the volume."""
    size = np.array(scale)
    stop = np.ceil((curve.max(0) + radius + 2) / size).astype(int)
    voxels = np.stack(np.indices(stop), -1).reshape(-1, 3)
    return voxels[cKDTree(curve).query(voxels * size, distance_upper_bound=radius + 1)[0] <= radius]


def line(start, stop):
    return np.array(start, float) + T * (np.array(stop, float) - start)


def helix(radius, pitch, turns, place=(8, 40, 40)):
    angle = 2 * np.pi * turns * T[:, 0]
    rise = pitch / (2 * np.pi)
    curve = np.array(place) + np.stack([rise * angle, radius * np.sin(angle), radius * np.cos(angle)], 1)
    slope = np.stack([rise + 0 * angle, radius * np.cos(angle), -radius * np.sin(angle)], 1)
    return curve, slope / np.linalg.norm(slope, axis=1)[:, None], (radius**2 + rise**2) / radius


def circle(radius, centre=(50, 50, 50), normal=(0.5, 0.3, 0.8)):
    n = np.array(normal) / np.linalg.norm(normal)
    first = np.cross(n, [1, 0, 0]) / np.linalg.norm(np.cross(n, [1, 0, 0]))
    second, angle = np.cross(n, first), 2 * np.pi * T
    curve = np.array(centre) + radius * (np.cos(angle) * first + np.sin(angle) * second)
    return curve, np.cos(angle) * second - np.sin(angle) * first, radius


def check(points, curve, tangent, spacing, ends):
    """Positions within half a voxel, tangents within 2 degrees (at ends 4), spacing within 1 %."""
    far, at = cKDTree(curve).query(points.position)
    assert far.max() < 0.5
    cosine = np.abs(np.einsum("ij,ij->i", points.tangent, tangent[at]))
    angle = np.degrees(np.arccos(np.clip(cosine, 0, 1)))
    inner = (points.along > 10) & (points.along < points.along[-1] - 10) if ends else np.ones(len(angle), bool)
    assert inner.any()
    assert angle[inner].max() < 2
    assert angle.max() < 4
    np.testing.assert_allclose(np.linalg.norm(np.diff(points.position, axis=0), axis=1), spacing, rtol=0.01)
    np.testing.assert_allclose(points.along, spacing * np.arange(len(points.along)))
    direction = np.diff(points.position, axis=0)
    assert (np.einsum("ij,ij->i", direction, points.tangent[1:]) > 0).all()  # one way, from the first point on


@pytest.mark.parametrize("radius", [2.0, 3.5, 6.0])
def test_straight_tubes(radius):
    curve = line((10, 12, 14), (70, 95, 110))
    (found,) = centrelines(tube(curve, radius), ONE, least=20)
    tangent = np.tile((curve[-1] - curve[0]) / np.linalg.norm(curve[-1] - curve[0]), (len(curve), 1))
    check(found.points(7.3), curve, tangent, 7.3, ends=True)
    length = np.linalg.norm(curve[-1] - curve[0])
    assert length - 2 * radius < found.length < length + 2 * radius
    assert found.points(7.3).radius.min() > 10 * length / 2


@pytest.mark.parametrize(("radius", "turn", "pitch"), [(3, 20, 60), (4, 15, 80), (2.5, 30, 45)])
def test_helical_tubes(radius, turn, pitch):
    curve, tangent, bend = helix(turn, pitch, 2.2)
    (found,) = centrelines(tube(curve, radius), ONE, least=20)
    points = found.points(5)
    check(points, curve, tangent, 5, ends=True)
    np.testing.assert_allclose(points.radius, bend, rtol=0.1)


@pytest.mark.parametrize(("radius", "bend"), [(3, 25), (4, 40)])
def test_closed_tubes(radius, bend):
    curve, tangent, _ = circle(bend)
    (found,) = centrelines(tube(curve, radius), ONE, least=20)
    points = found.points(6)
    check(points, curve, tangent, 6, ends=False)
    np.testing.assert_allclose(points.radius, bend, rtol=0.1)
    assert found.closed
    np.testing.assert_allclose(found.length, 2 * np.pi * bend, rtol=0.01)
    assert len(points.along) in (int(found.length / 6), int(found.length / 6) + 1)
    assert np.linalg.norm(points.position[0] - points.position[-1]) > 2.9  # the last point is none beside the first


def test_voxels_of_other_sides():
    scale = (2.0, 1.0, 1.0)
    curve, tangent, bend = circle(30, (40, 40, 40))
    (found,) = centrelines(tube(curve, 4, scale), scale, least=20)
    points = found.points(6)
    check(points, curve, tangent, 6, ends=False)
    np.testing.assert_allclose(points.radius, bend, rtol=0.1)


def test_a_fork_is_three_filaments():
    middle, ends = np.array([30.0, 50, 50]), [(30, 10, 50), (20, 90, 85), (40, 90, 15)]
    arms = [line(end, middle) for end in ends]
    found = centrelines(tube(np.concatenate(arms), 3), ONE, least=15)
    assert len(found) == 3
    for arm in arms:
        mine = [f for f in found if cKDTree(arm).query(f.points(4).position)[0].max() < 3]
        assert len(mine) == 1
        far = cKDTree(arm).query(mine[0].points(4).position)[0]
        assert np.sort(far)[: len(far) * 2 // 3].max() < 0.5
        assert 30 < mine[0].length < 60


def test_two_crossing_filaments_are_four_pieces():
    one, two = line((30, 10, 10), (30, 90, 90)), line((30, 88, 12), (30, 12, 88))
    found = centrelines(tube(np.concatenate([one, two]), 3), ONE, least=15)
    assert len(found) == 4
    for curve in (one, two):
        mine = [f for f in found if np.median(cKDTree(curve).query(f.points(4).position)[0]) < 0.5]
        assert len(mine) == 2


def test_branches_shorter_than_the_least_length_leave_the_trunk_whole():
    trunk, branch = line((20, 10, 20), (20, 110, 20)), line((20, 60, 20), (20, 60, 30))
    voxels = tube(np.concatenate([trunk, branch]), 3)
    (found,) = centrelines(voxels, ONE, least=15)
    assert cKDTree(trunk).query(found.points(5).position)[0].max() < 2
    assert found.length > 94
    assert centrelines(voxels, ONE, least=150) == []


@cache
def short_tube():
    voxels = tube(line((10, 12, 14), (20, 25, 32)), 3)
    (found,) = centrelines(voxels, ONE, least=10)
    return voxels, found


@settings(max_examples=8, deadline=None)
@given(shift=st.tuples(*[st.integers(0, 5)] * 3), dust=st.integers(1, 3))
def test_the_place_in_the_volume_changes_nothing_but_the_place(shift, dust):
    voxels, here = short_tube()
    (there,) = centrelines(voxels + np.array(shift), ONE, least=10)
    np.testing.assert_allclose(there.position - np.array(shift), here.position, atol=1e-6)
    assert centrelines(voxels[:dust], ONE, least=0) == []  # specks have no line


@settings(max_examples=60, deadline=None)
@given(st.sets(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=40), st.floats(0, 6), st.floats(0, 3))
def test_any_set_of_voxels_ends_in_curves_of_neighbours(voxels, least, bridge):
    places = np.array(sorted(voxels))
    for path, closed in curves(places, least, bridge):
        steps = np.abs(np.diff(places[path], axis=0)).max(axis=1)
        assert (steps == 1).all()
        assert len(set(path.tolist())) == len(path) or path[0] == path[-1]
        if closed:
            assert np.abs(places[path[0]] - places[path[-1]]).max() <= 1


@pytest.mark.parametrize(("radius", "half"), [(9, 0.9), (12, 1.5), (28, 2.5)])
def test_a_closed_wall_has_no_line_and_a_ring_of_its_size_has_one(radius, half):
    at = np.stack(np.indices((2 * radius + 9,) * 3), -1).reshape(-1, 3)
    away = np.linalg.norm(at - (radius + 4), axis=1)
    assert centrelines(at[np.abs(away - radius) <= half], ONE, least=5) is None
    assert centrelines(at[away <= radius], ONE, least=5) == []  # full: a ball
    (found,) = centrelines(at[(np.abs(away - radius) <= half) & (np.abs(at[:, 0] - radius - 4) <= 1)], ONE, least=5)
    assert found.closed


@pytest.mark.parametrize("seed", range(4))
def test_holes_in_a_filament_leave_it_a_filament(seed):
    curve = line((20, 20, 20), (30, 40, 110))
    voxels = tube(curve, 5)
    middle = cKDTree(curve).query(voxels)[0] <= 1.5
    rng = np.random.default_rng(seed)
    holes = rng.choice(np.flatnonzero(middle), 4, replace=False)
    (found,) = centrelines(np.delete(voxels, holes, axis=0), ONE, least=20)
    (full,) = centrelines(voxels, ONE, least=20)
    np.testing.assert_array_equal(found.position, full.position)


def test_a_hollow_tube_has_the_line_of_a_full_one():
    """A microtubule whose lumen the prediction closes at both ends."""
    curve = line((20, 20, 20), (30, 60, 130))
    away = cKDTree(curve[2000:-2000]).query(voxels := tube(curve, 7))[0]
    (full,) = centrelines(voxels, ONE, least=20)
    (hollow,) = centrelines(voxels[away > 3.5], ONE, least=20)
    np.testing.assert_array_equal(hollow.position, full.position)


def simplified(lengths, least, bridge):
    """The rule as it is written, on a graph of nodes: the shortest branch goes, then the shortest bridge, and anew.

    A curve that goes through a meeting of bridges is as long as its parts and the bridges between them. ``lengths``
    holds (node, node, length); returns the lengths of what is left, sorted.
    """
    edges = [(a, b, length, a, b) for a, b, length in lengths]  # the last two: the nodes at first
    bridges = networkx.Graph()
    bridges.add_nodes_from(node for a, b, _ in lengths for node in (a, b))
    while True:
        ends = [node for a, b, *_ in edges for node in (a, b)]
        alone = [n for n in set(ends) if ends.count(n) == 2 and sum(n in e[:2] for e in edges) == 2]
        if alone:
            one, two = (e for e in edges if alone[0] in e[:2])
            (a, _, first, begin, left), (b, _, second, stop, right) = (
                e if e[1] == alone[0] else (e[1], e[0], e[2], e[4], e[3]) for e in (one, two)
            )
            between = networkx.shortest_path_length(bridges, left, right, weight="length")
            edges = [e for e in edges if e not in (one, two)] + [(a, b, first + between + second, begin, stop)]
            continue
        many = {n for n in ends if ends.count(n) > 2}
        free = {n for n in ends if ends.count(n) == 1}
        branches = [e for e in edges if {*e[:2]} & many and (e[0] == e[1] or {*e[:2]} & free)]
        spurs = [e for e in branches if e[2] < least]
        short = [e for e in edges if e[0] != e[1] and {e[0], e[1]} <= many and e[2] <= bridge]
        if not spurs and not short:
            return sorted(round(e[2], 6) for e in edges)
        gone = min(spurs or short, key=lambda e: e[2])
        edges.remove(gone)
        if not spurs:
            bridges.add_edge(*gone[3:], length=gone[2])
            edges = [(*(gone[0] if n == gone[1] else n for n in e[:2]), *e[2:]) for e in edges]


# two meetings become one, the loop at it goes, and what is left goes through both
THROUGH_A_BRIDGE = [(0, 1, 8.256), (3, 4, 2.744), (4, 1, 1.371), (4, 1, 5.496), (0, 3, 4.119), (3, 0, 6.875)]


def left_of(edges, least, bridge):
    network = _Network([_Edge(a, b, [a, 100 + k, b], length, a) for k, (a, b, length) in enumerate(edges)])
    network.simplify(least, bridge)
    return sorted(round(edge.length, 6) for edge, _ in network.edges())


def test_a_curve_through_a_bridge_is_longer_by_the_bridge():
    assert left_of(THROUGH_A_BRIDGE, 19, 2.4) == simplified(THROUGH_A_BRIDGE, 19, 2.4) == [4.119, 6.875, 12.371]


@settings(max_examples=80, deadline=None)
@given(st.data(), st.floats(0, 40), st.floats(0, 20))
def test_branches_and_bridges_go_in_the_order_of_their_lengths(data, least, bridge):
    """Against the rule as it is written, on networks of curves with lengths that differ."""
    nodes = data.draw(st.integers(2, 8))
    ends = st.tuples(st.integers(0, nodes - 1), st.integers(0, nodes - 1))
    drawn = data.draw(st.lists(ends, min_size=1, max_size=16))
    lengths = data.draw(st.permutations([1.37 * k + 0.001 * k**2 for k in range(1, len(drawn) + 1)]))
    edges = [(a, b, length) for (a, b), length in zip(drawn, lengths, strict=True)]
    assert left_of(edges, least, bridge) == simplified(edges, least, bridge)


def test_a_box_that_does_not_fit_is_refused_with_its_numbers():
    voxels = tube(line((10, 10, 10), (60, 60, 60)), 2)
    box = int(np.prod(voxels.max(0) - voxels.min(0) + 1))
    with pytest.raises(MemoryRefusedError, match=rf"component of {len(voxels)} voxels from \[8, 8, 8\]"):
        centrelines(voxels, ONE, 10, memory_bytes=BYTES_PER_VOXEL * box)


def test_a_ladder_of_meetings_is_cut_at_each():
    rails = [[(0, y, x) for x in range(31)] for y in (0, 20)]
    steps = [[(0, y, x) for y in range(1, 20)] for x in (10, 20)]
    voxels = np.array(sorted(itertools.chain(*rails, *steps)))
    found = curves(voxels, least=5, bridge=2)
    assert sorted(len(path) for path, _ in found) == [11] * 6 + [21] * 2
