"""What is taken: solids without holes at any rotation, clashes against a slow reference, walls, owners."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from turning import rotate

from volengine.core.errors import InputError
from volengine.core.specimen import Template
from volengine.sim.placing.cells import FreeCells
from volengine.sim.placing.occupancy import FREE, TAKEN, Occupancy
from volengine.sim.placing.regions import Regions
from volengine.sim.placing.solids import solid
from volengine.sim.recipe.specimen import wall_faces
from volengine.sim.rotations import multiply, random_directions, random_quaternions, spins, towards, turned
from volengine.sim.seeds import stream

seeds = st.integers(0, 2**32)


def template(points, name="t"):
    points = np.asarray(points, np.float32)
    return Template(name, (name,), points, np.ones(len(points), "f4"), np.zeros(len(points), "u1"), 1.0)


def lattice(radius, step=2.5):
    side = np.arange(-radius, radius + step / 2, step)
    return np.stack(np.meshgrid(side, side, side, indexing="ij"), -1).reshape(-1, 3)


def ball(radius, hollow=0.0):
    at = lattice(radius)
    far = (at**2).sum(1)
    return template(at[(far <= radius**2) & (far >= hollow**2)])


def cells_of(box, points, position, quaternion):
    """The cells of a particle, one by one in float64; those beyond the box as they fall."""
    at = rotate(points.astype(float), quaternion) + position
    return np.floor((at - box.low) / box.edge).astype(int)


# -- rotations ---------------------------------------------------------------------------------------------------


@given(seeds)
@settings(deadline=None, max_examples=20)
def test_rotations_are_unit_and_compose(seed):
    rng = np.random.default_rng(seed)
    q, p = random_quaternions(rng, 2)
    points = rng.normal(size=(5, 3))
    assert abs((q * q).sum() - 1) < 1e-12
    np.testing.assert_allclose(turned(points, q), rotate(points, q), atol=1e-12)
    np.testing.assert_allclose(rotate(points, multiply(p, q)[0]), rotate(rotate(points, q), p), atol=1e-12)
    normal = random_directions(rng, 4)
    up = [rotate([[1, 0, 0]], t)[0] for t in towards(normal)]
    np.testing.assert_allclose(up, normal, atol=1e-9)
    for turn in spins(rng, normal[0], 3):
        np.testing.assert_allclose(rotate(normal[:1], turn), normal[:1], atol=1e-12)


def test_a_vector_is_turned_into_its_opposite():
    np.testing.assert_allclose(rotate([[1.0, 0, 0]], towards([[-1.0, 0, 0]])[0]), [[-1, 0, 0]], atol=1e-12)


def test_rotations_are_uniform():
    """The angle's density is (1 - cos) / pi (Haar measure), and every direction of a vector is as likely."""
    from scipy.stats import kstest

    q = random_quaternions(stream(3, "uniform"), 20000)
    angle = 2 * np.arccos(np.clip(np.abs(q[:, 0]), 0, 1))
    assert kstest(angle, lambda a: (a - np.sin(a)) / np.pi).pvalue > 1e-3
    vector = np.array([rotate([[0.6, 0.0, 0.8]], turn)[0] for turn in q[:4000]])
    for axis in range(3):  # Archimedes: each coordinate of a uniform direction is uniform
        assert kstest(vector[:, axis], "uniform", args=(-1, 2)).pvalue > 1e-3
    turn = spins(stream(4, "spin"), (1.0, 0.0, 0.0), 20000)
    assert kstest(np.arctan2(turn[:, 3], turn[:, 0]), "uniform", args=(-np.pi, 2 * np.pi)).pvalue > 1e-3


# -- solids ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", [6.0, 10.0, 12.0])
def test_volume_of_a_ball(cell):
    made = solid(ball(50.0), cell)
    skin = 50.0 - 1.25 + 1.9  # the outermost atoms of a lattice of 2.5 A lie half a step inside, on average
    assert made.volume == pytest.approx(4 / 3 * np.pi * skin**3, rel=0.05)
    assert np.sqrt((made.fill.astype(float) ** 2).sum(1)).max() < skin + 2.5


@given(seeds, st.sampled_from([6.0, 10.0, 13.0]))
@settings(deadline=None, max_examples=25)
def test_no_hole_at_any_rotation(seed, cell):
    """Every cell that lies inside the ball by a little is taken."""
    rng = np.random.default_rng(seed)
    box = Occupancy((20, 20, 20), 10.0, cell_a=cell)
    position = 95 + rng.uniform(-10, 10, 3)
    box.take(box.solid(ball(60.0)), position, random_quaternions(rng, 1)[0])
    centre = np.stack([box.centres(z) for z in range(box.shape[0])])
    corner = np.sqrt(((np.abs(centre - position) + box.edge / 2) ** 2).sum(-1))
    inside = corner < 60.0 - cell / 2
    assert inside.sum() > 50
    assert (box.owner[inside] == TAKEN).all()
    beyond = np.sqrt((np.maximum(np.abs(centre - position) - box.edge / 2, 0) ** 2).sum(-1)) > 60.0 + 1.9 + 2.5
    assert (box.owner[beyond] == FREE).all()


def test_hollow_stays_hollow():
    box = Occupancy((20, 20, 20), 10.0)
    box.take(box.solid(ball(80.0, hollow=50.0)), (95, 95, 95))
    assert not box.clashes(box.solid(ball(15.0)), (95, 95, 95))
    assert box.clashes(box.solid(ball(15.0)), (95, 95, 95 + 60))


def test_a_coarse_map_is_one_piece():
    at = lattice(60.0, step=10.0)
    made = solid(template(at), 10.0)
    assert made.volume == pytest.approx(130**3, rel=0.15)


@pytest.mark.parametrize("cell", [4.0, 6.7])
def test_gathered_atoms_fill_what_the_atoms_fill(cell):
    """Atoms that were joined into one point per cell, at their mean, make a solid of about the same size."""
    rng = np.random.default_rng(5)
    atoms = lattice(40.0) + rng.uniform(-0.8, 0.8, lattice(40.0).shape)
    atoms = atoms[(atoms**2).sum(1) <= 40.0**2]
    _, group = np.unique(np.floor(atoms / cell), axis=0, return_inverse=True)
    mean = np.stack([np.bincount(group, a) / np.bincount(group) for a in atoms.T], -1)
    full, gathered = solid(template(atoms), 12.0), solid(template(mean), 12.0)
    assert len(mean) < len(atoms) / 3
    assert gathered.volume == pytest.approx(full.volume, rel=0.15)


def test_thin_and_tiny_things_are_seen():
    made = solid(template([[0, 0, 0]]), 12.0)
    assert len(made.fill) >= 1
    thread = np.zeros((40, 3))
    thread[:, 2] = np.arange(40) * 3.0
    for q in random_quaternions(np.random.default_rng(0), 20):
        box = Occupancy((30, 30, 30), 10.0)
        box.take(box.solid(template(thread)), (145, 145, 145), q)
        on = cells_of(box, thread, (145, 145, 145), q)
        assert (box.owner[tuple(on.T)] == TAKEN).mean() > 0.7


def test_tolerance_lets_neighbours_sink():
    """Two balls along random directions: how near they may come, on average."""

    def nearest(tolerance):
        rng = np.random.default_rng(1)
        found = []
        for way in random_directions(rng, 12):
            box = Occupancy((50, 50, 50), 6.0, tolerance_a=tolerance)
            made = box.solid(ball(40.0))
            box.take(made, (150, 150, 150), random_quaternions(rng, 1)[0])
            turn = random_quaternions(rng, 1)[0]
            far = next(d for d in np.arange(20.0, 120) if not box.clashes(made, 150 + d * way, turn))
            found.append(far)
        return np.mean(found)

    strict, loose = nearest(0.0), nearest(10.0)
    assert 80 <= strict <= 92
    assert 7 <= strict - loose <= 15


@pytest.mark.parametrize(("cell", "tolerance"), [(0.0, 0.0), (10.0, -1.0)])
def test_solids_of_impossible_cells_or_without_weight_are_refused(cell, tolerance):
    with pytest.raises(InputError, match="A cell is positive"):
        solid(ball(10.0), cell, tolerance)
    nothing = Template("n", ("n",), np.zeros((1, 3), "f4"), np.zeros(1, "f4"), np.zeros(1, "u1"), 1.0)
    with pytest.raises(InputError, match="all weights are 0"):
        solid(nothing, 10.0)


# -- the grid ----------------------------------------------------------------------------------------------------


@given(seeds, st.sampled_from(["none", "z", "xyz", "+z", "-x", "+y -z"]))
@settings(deadline=None, max_examples=40)
def test_clashes_are_those_of_a_slow_reference(seed, walls):
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(3, 9, 3))
    box = Occupancy(shape, 8.0, walls=walls)
    mask = rng.random(shape) < 0.05
    assert box.take_mask(mask) == box.taken == mask.sum()
    faces = wall_faces(walls)
    points = rng.uniform(-20, 20, (70, 3)).astype("f4")
    poses = [(rng.uniform(-4, 8 * np.array(shape) - 4), random_quaternions(rng, 1)[0]) for _ in range(8)]
    expected = []
    for position, quaternion in poses:
        at = cells_of(box, points, position, quaternion)
        hit = False
        for cell in at:
            outside = [
                (c < 0 and low) or (c >= n and high) for c, n, (low, high) in zip(cell, shape, faces, strict=True)
            ]
            within = all(0 <= c < n for c, n in zip(cell, shape, strict=True))
            hit |= any(outside) or (within and mask[tuple(cell)])
        expected.append(bool(hit))
    assert [box.clashes(points, *pose) for pose in poses] == expected
    batch = box.screen(np.stack([points] * 8), np.array([p for p, _ in poses]), np.array([q for _, q in poses]))
    assert batch.tolist() == expected


@given(seeds)
@settings(deadline=None, max_examples=40)
def test_one_pose_is_as_in_a_batch(seed):
    """To the bit: the cells of a particle do not depend on how many are looked at."""
    rng = np.random.default_rng(seed)
    box = Occupancy(tuple(int(n) for n in rng.integers(3, 50, 3)), float(rng.uniform(5, 15)))
    position, quaternion = rng.uniform(-50, 500, (9, 3)), random_quaternions(rng, 9)
    batch = box._poses(position, quaternion)
    for i in range(9):
        assert box._pose(position[i], quaternion[i]).tobytes() == batch[..., i].tobytes()


@given(seeds)
@settings(deadline=None, max_examples=20)
def test_take_counts_new_cells_once(seed):
    rng = np.random.default_rng(seed)
    box = Occupancy((12, 12, 12), 10.0, walls="z")
    points = rng.uniform(-30, 30, (100, 3)).astype("f4")
    seen = set()
    for _ in range(4):
        position, q = rng.uniform(0, 110, 3), random_quaternions(rng, 1)[0]
        before = len(seen)
        seen |= {tuple(c) for c in cells_of(box, points, position, q) if (c >= 0).all() and (c < 12).all()}
        assert box.take(points, position, q) == len(seen) - before
    assert box.taken == len(seen) == (box.owner == TAKEN).sum()
    assert box.density == pytest.approx(len(seen) / 12**3)
    assert box.clashes([[0, 0, 0]], (-20, 50, 50))  # the wall still stands
    assert not box.clashes([[0, 0, 0]], (50, -20, 50))  # and the open face is open


def test_owners_admit_their_own_only():
    box = Occupancy((10, 10, 10), 10.0)
    one, two = box.new_owner(), box.new_owner()
    left, right = np.zeros((2, 10, 10, 10), bool)
    left[:, :, :3], right[:, :, 7:] = True, True
    box.take_mask(left, one)
    box.take_mask(right, two)
    assert box.clashes([[0, 0, 0]], (50, 50, 10))
    assert not box.clashes([[0, 0, 0]], (50, 50, 10), own=one)
    assert box.clashes([[0, 0, 0]], (50, 50, 10), own=two)
    assert box.clashes([[0, 0, -40], [0, 0, 40]], (50, 50, 50), own=one)
    assert box.place([[0, 0, 0]], (50, 50, 10), own=one)
    assert box.clashes([[0, 0, 0]], (50, 50, 10), own=one)  # taken for good now
    assert box.taken == 600
    box.take_mask(left, one)
    assert box.clashes([[0, 0, 0]], (50, 50, 10), own=one)  # and stays so


def test_more_owners_than_a_byte_holds():
    box = Occupancy((4, 4, 4), 10.0, walls="z")
    first = box.new_owner()
    box.take([[0, 0, 0]], (0, 0, 0), owner=first)
    last = [box.new_owner() for _ in range(300)][-1]
    box.take([[0, 0, 0]], (10, 10, 10), owner=last)
    assert box.owner[0, 0, 0] == first
    assert box.owner[1, 1, 1] == last > 255
    assert not box.clashes([[0, 0, 0]], (10, 10, 10), own=last)
    assert box.clashes([[0, 0, 0]], (10, 10, 10), own=last - 256)
    assert box.clashes([[0, 0, 0]], (-10, 10, 10), own=last)


def test_cells_fill_the_box():
    box = Occupancy((50, 41, 43), 4.0)
    assert box.shape == (33, 27, 28)
    np.testing.assert_allclose(box.edge * box.shape, [200, 164, 172])
    assert box.volume == pytest.approx(200 * 164 * 172)
    assert (box.edge >= 6).all()
    assert Occupancy((50, 41, 43), 12.0).shape == (50, 41, 43)
    np.testing.assert_allclose(Occupancy((5, 5, 5), 12.0).centres(2)[1, 3], [24, 12, 36])


@pytest.mark.parametrize(
    ("walls", "faces"),
    [
        ("none", ((False, False),) * 3),
        ("z", ((True, True), (False, False), (False, False))),
        ("xyz", ((True, True),) * 3),
        ("+z, -x", ((False, True), (False, False), (True, False))),
        ("+y-y", ((False, False), (True, True), (False, False))),
    ],
)
def test_walls_are_named_by_axis_and_side(walls, faces):
    assert wall_faces(walls) == faces


def test_impossible_walls_and_grids_are_refused():
    for walls in ("", "w", "z+", "both"):
        with pytest.raises(InputError, match="Walls"):
            wall_faces(walls)
    with pytest.raises(InputError, match="too fine"):
        Occupancy((10, 10, 10), 10.0, cell_a=2.0)
    with pytest.raises(InputError, match="three positive axes"):
        Occupancy((10, 10), 10.0)
    with pytest.raises(InputError, match="The mask has"):
        Occupancy((10, 10, 10), 10.0).take_mask(np.zeros((9, 10, 10), bool))
    with pytest.raises(InputError, match="too many"):
        Occupancy((20000, 20000, 20000), 10.0)
    with pytest.raises(ValueError, match="read-only"):
        Occupancy((10, 10, 10), 10.0).owner[0, 0, 0] = 1


def test_vacuum_counts_neither_as_volume_nor_as_taken() -> None:
    """Half of the cells are vacuum: nothing is placed in them, and shares and volumes are those of the other half."""
    grid = Occupancy((10, 20, 20), voxel_size_a=10.0)
    whole = grid.volume
    grid.empty_mask(np.ones((5, 20, 20), bool), corner=(0, 0, 0))
    assert (grid.density, grid.volume) == (0, pytest.approx(whole / 2))
    grid.take_mask(np.ones((1, 20, 20), bool), corner=(7, 0, 0))
    assert grid.density == pytest.approx(1 / 5)
    ball = [[z, y, x] for z in (-9, 0, 9) for y in (-9, 0, 9) for x in (-9, 0, 9)]
    assert not grid.place(ball, (30, 100, 100))
    assert grid.place(ball, (90, 100, 100))
    cells = FreeCells(grid, Regions(), "anywhere")
    assert cells.volume == pytest.approx(whole / 2)
