"""Lines that go on to where filaments end: lengths of straight and bent cylinders that are known by formula."""

from __future__ import annotations

import numpy as np
import pytest

from volengine.ops.filaments import centrelines

ONE = (1.0, 1.0, 1.0)


def straight(radius, length, direction, *, round_ends=False, face=None, scale=ONE):
    """A cylinder around the middle of a box; its length with round ends, or cut by the face z = 0."""
    along = np.array(direction, float) / np.linalg.norm(direction)
    middle = np.abs(along) * length / 2 + radius + 2.3
    box = 2 * middle
    if face is not None:
        middle[0] = face
    at = np.stack(np.indices(np.ceil(box / scale).astype(int)), -1).reshape(-1, 3)
    away = at * np.array(scale) - middle
    height = away @ along
    axis = np.clip(height, -length / 2, length / 2)
    inside = np.linalg.norm(away - axis[:, None] * along, axis=1) <= radius
    if not round_ends:
        inside &= np.abs(height) <= length / 2
    if face is None:
        return at[inside], length + 2 * radius * round_ends
    return at[inside], length / 2 + (face + 0.5) / along[0] + radius * round_ends


def bent(radius, bend, angle, *, round_ends=False):
    middle = np.array([radius + 3.2, bend + radius + 4.3, bend + radius + 4.1])
    at = np.stack(np.indices((2 * radius + 7, 2 * bend + 2 * radius + 9, 2 * bend + 2 * radius + 9)), -1).reshape(-1, 3)
    z, y, x = (at - middle).T
    inside = (np.abs(np.arctan2(y, x)) <= angle / 2) & (np.hypot(np.hypot(y, x) - bend, z) <= radius)
    for turn in (-1, 1) if round_ends else ():
        end = middle + np.array([0, bend * np.sin(turn * angle / 2), bend * np.cos(angle / 2)])
        inside |= np.linalg.norm(at - end, axis=1) <= radius
    return at[inside], bend * angle + 2 * radius * round_ends


@pytest.mark.parametrize("round_ends", [False, True])
@pytest.mark.parametrize("radius", range(3, 9))
def test_lengths_of_straight_and_bent_cylinders(radius, round_ends):
    shapes = [straight(radius, 61, way, round_ends=round_ends) for way in [(0, 0, 1), (0, 1, 1), (0.4, -0.2, 0.9)]]
    shapes += [
        bent(radius, 30, 1.8, round_ends=round_ends),
        straight(radius, 80, (0.8, 0.2, 0.4), round_ends=round_ends, face=20),
    ]
    for voxels, length in shapes:
        (found,) = centrelines(voxels, ONE, least=20, to_ends=True)
        (short,) = centrelines(voxels, ONE, least=20)
        assert found.length == pytest.approx(length, rel=0.03)
        assert short.length < found.length - radius / 2
        steps = np.linalg.norm(np.diff(found.position, axis=0), axis=1)
        assert 0 < steps.min() < steps.max() < 2
        np.testing.assert_allclose(np.linalg.norm(found.tangent, axis=1), 1)


def test_voxels_of_other_sides():
    for way in [(1, 0, 0), (0.5, 0.3, 0.9)]:
        voxels, length = straight(5, 70, way, scale=(2.0, 1.0, 1.0))
        (found,) = centrelines(voxels, (2.0, 1.0, 1.0), least=20, to_ends=True)
        assert found.length == pytest.approx(length, rel=0.03)


def test_ends_that_meet_others_stay_and_a_ring_stays():
    one, _ = straight(3, 70, (0, 0, 1))
    arms = [one, one[:, [0, 2, 1]] + [0, 0, one[:, 2].max() // 2 - 3]]  # a T
    voxels = np.unique(np.concatenate(arms), axis=0)
    near, far = (centrelines(voxels, ONE, least=15, to_ends=on) for on in (False, True))
    nodes = np.concatenate([one.nodes for one in far])
    for a, b in zip(near, far, strict=True):
        for end in (0, -1):
            moved = np.linalg.norm(a.position[end] - b.position[end])
            assert (moved > 0) == ((nodes == a.nodes[end]).sum() == 1)
    ring, _ = bent(3, 30, 2 * np.pi)
    (one,), (two,) = (centrelines(ring, ONE, least=20, to_ends=on) for on in (False, True))
    np.testing.assert_array_equal(one.position, two.position)


def test_what_is_hardly_longer_than_wide_gets_no_line_by_its_ends():
    ball = np.stack(np.indices((40, 36, 36)), -1).reshape(-1, 3)
    for shape in ((12.0, 12.0, 12.0), (15.0, 12.0, 12.0)):
        voxels = ball[(((ball - 17.6) / shape) ** 2).sum(axis=1) <= 1]
        assert centrelines(voxels, ONE, least=20, to_ends=True) == []


def test_diagonal_tubes_of_even_width_are_not_lost():
    """scikit-image thins them to nothing, or loses the stretch that lies along the diagonal."""
    for way in [(0, 1, 1), (1, 0, -1), (1, 1, 0)]:
        voxels, length = straight(4, 60, way)
        (found,) = centrelines(voxels, ONE, least=20, to_ends=True)
        assert found.length == pytest.approx(length, rel=0.03)
    leg = np.stack(np.indices((8, 90, 60)), -1).reshape(-1, 3)
    z, y, x = (leg - [3.5, 6.0, 30.0]).T
    cross = np.where(y < 30, x, (x - (y - 30)) / np.sqrt(2))  # straight along y, then along the diagonal of y and x
    bend = leg[(np.hypot(z, cross) <= 4) & (y > 0) & (x < 28)]
    (found,) = centrelines(bend, ONE, least=20, to_ends=True)
    assert found.length == pytest.approx(30 + 28 * np.sqrt(2), rel=0.03)
