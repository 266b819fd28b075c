"""Filaments bend as their persistence length says, are built as their lattice says, and keep clear of what is there."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from scipy.special import jnp_zeros
from turning import rotate

from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.core.specimen import Placements, rotation_matrix
from volengine.sim.atoms.filament_units import unit_standin
from volengine.sim.atoms.scattering import PROTEIN_POTENTIAL
from volengine.sim.placing.filaments import Node, about_z, onward, place_filaments, units
from volengine.sim.placing.occupancy import Occupancy
from volengine.sim.recipe.filaments import KINDS, FilamentKind, FilamentsRecipe, microtubule
from volengine.sim.render import render
from volengine.sim.scene import Scene
from volengine.sim.seeds import stream

SIZE = (600.0, 2400.0, 2400.0)


def _space(walls: str = "z") -> Occupancy:
    return Occupancy((50, 200, 200), voxel_size_a=12.0, walls=walls)


def _straight(kind: FilamentKind) -> FilamentKind:
    return FilamentKind.from_json({**kind.to_json(), "persistence_um": 1e12})


def _recipe(kind: str, **given: object) -> FilamentsRecipe:
    return FilamentsRecipe.from_json({"kind": kind, **given})


def _worm(rng: np.random.Generator, kind: FilamentKind, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions and quaternions of a chain in empty space, from 0 along z."""
    node: Node = ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0))
    nodes, twist = [node], about_z(kind.twist_deg)
    for one, two in (rng.standard_normal((steps, 2)) * kind.bend).tolist():
        nodes.append(onward(*nodes[-1], kind, twist, (one, two)))
    return np.array([p for p, _ in nodes]), np.array([q for _, q in nodes])


# -- chains ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("persistence", "rise", "twist"), [(600.0, 20.0, 0.0), (600.0, 40.0, -166.15)])
def test_directions_are_forgotten_over_the_persistence_length(persistence: float, rise: float, twist: float) -> None:
    kind = FilamentKind(twist, rise, persistence / 1e4)
    line, _ = _worm(stream(1, "worm"), kind, 60_000)
    tangent = np.diff(line, axis=0) / rise
    assert np.allclose(np.linalg.norm(tangent, axis=1), 1)
    for steps in (1, 5, 15, 30):
        found = (tangent[steps:] * tangent[:-steps]).sum(1).mean()
        # independent samples: the chain's length over 2 P
        error = 4 * math.sqrt(2 * persistence / (rise * 60_000))
        assert abs(found - math.exp(-steps * rise / persistence)) < error * min(1.0, steps * rise / persistence)


def test_the_distance_from_end_to_end_is_that_of_a_worm() -> None:
    """Kratky and Porod: mean square 2 P L (1 - P / L (1 - exp(-L / P)))."""
    persistence, rise, steps = 1000.0, 25.0, 60
    kind = FilamentKind(30.0, rise, persistence / 1e4)
    rng = stream(2, "worm")
    squares = [float((_worm(rng, kind, steps)[0][-1] ** 2).sum()) for _ in range(600)]
    length = rise * steps
    theory = 2 * persistence * length * (1 - persistence / length * (1 - math.exp(-length / persistence)))
    assert np.mean(squares) == pytest.approx(theory, rel=0.05)


@pytest.mark.parametrize("name", KINDS)
def test_units_follow_twist_and_rise(name: str) -> None:
    kind = _straight(KINDS[name])
    position, quaternion = _worm(stream(1, "w"), kind, 40)
    assert np.allclose(position[:, 0], np.arange(41) * kind.rise_a)
    assert np.allclose(position[:, 1:], 0, atol=1e-2)
    x_axes = rotation_matrix(quaternion)[:, :, 0]  # as x, y, z
    angle = np.degrees(np.unwrap(np.arctan2(x_axes[:, 1], x_axes[:, 0])))
    turned = np.arange(41) * kind.twist_deg
    assert np.allclose((angle - turned + 180) % 360 - 180, 0, atol=1e-3)


# -- chirality -------------------------------------------------------------------------------------------------------

# Estevez-Gallego et al. 2020, GDP: protofilaments, starts, radius, step (A), skew, twist per dimer (degree)
LATTICES = [
    (11, 3, 86, 11.15, 2.05, 1.96),
    (12, 3, 93, 10.22, 0.97, 0.84),
    (13, 3, 101, 9.44, 0.05, 0.04),
    (14, 3, 109, 8.76, -0.74, -0.56),
    (15, 4, 117, 10.91, 1.76, 1.23),
    (16, 4, 125, 10.22, 0.97, 0.63),
    (15, 3, 117, 8.18, -1.43, -1.00),
]


@pytest.mark.parametrize(("number", "starts", "radius", "step", "skew", "twist"), LATTICES)
def test_lattices_of_microtubules_are_those_of_the_table(
    number: int, starts: int, radius: float, step: float, skew: float, twist: float
) -> None:
    kind = microtubule(number, starts)
    assert kind.radius_a == pytest.approx(radius, abs=0.5)
    assert kind.stagger_a == pytest.approx(step, abs=0.006)
    assert kind.skew_deg == pytest.approx(skew, abs=0.011)
    assert kind.twist_deg == pytest.approx(twist, abs=0.011)


def test_skew_of_gmpcpp() -> None:
    """Their lateral contact differs a little: 0.33 and -0.51 in their table."""
    assert microtubule(13, 3, 84.2).skew_deg == pytest.approx(0.33, abs=0.08)
    assert microtubule(14, 3, 84.2).skew_deg == pytest.approx(-0.51, abs=0.08)


def test_a_microtubule_is_a_left_handed_ring_of_thirteen() -> None:
    """By hand: 13 dimers at 48.95 * 13 / 2 pi = 101.28 A; each is 122.7 / 13 A higher and 27.7 degrees back."""
    kind = KINDS["microtubule"]
    row = units(kind, (100.0, 200.0, 300.0), (1.0, 0.0, 0.0, 0.0))
    own = np.array([p for p, _ in row]) - [100, 200, 300]
    assert len(row) == 13
    np.testing.assert_allclose(own[0], [0, 0, 101.28], atol=5e-3)
    # k 360 / 13 degrees back, and forward by the twist of the height: 0.005 and 0.058 degrees
    np.testing.assert_allclose(own[1], [9.4385, -47.06, 89.68], atol=0.01)
    np.testing.assert_allclose(own[12], [113.2615, 47.145, 89.636], atol=0.01)
    assert np.allclose(np.hypot(own[:, 1], own[:, 2]), 101.278, atol=1e-3)


@given(
    lattice=st.sampled_from(LATTICES),
    rise=st.floats(78, 86),
    q=st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: sum(v * v for v in q) > 0.1),
)
@settings(max_examples=20)
def test_every_dimer_has_the_same_neighbour_beside_it(
    lattice: tuple[float, ...], rise: float, q: tuple[float, ...]
) -> None:
    """On the unrolled wall, also across the seam: 48.95 A across the protofilament, 9.4 A up along it."""
    number, starts = int(lattice[0]), int(lattice[1])
    kind = _straight(microtubule(number, starts, rise))
    turn = np.array(q) / np.linalg.norm(q)
    node: Node = ((0.0, 0.0, 0.0), tuple(turn))
    rings = [node, onward(*node, kind, about_z(kind.twist_deg), (0.0, 0.0))]
    own = [rotate(np.array([p for p, _ in units(kind, *n)]), turn * [1, -1, -1, -1]) for n in rings]
    azimuth, z = (np.unwrap(np.arctan2(own[0][:, 1], own[0][:, 2]))), own[0][:, 0]
    up = np.array([kind.radius_a * np.radians(kind.twist_deg), kind.rise_a])  # along a protofilament: arc, z
    assert np.allclose(own[1][:, 0] - z, kind.rise_a, atol=1e-3)
    along = np.angle(np.exp(1j * (np.arctan2(own[1][:, 1], own[1][:, 2]) - azimuth)))
    assert np.allclose(along * kind.radius_a, up[0], atol=1e-3)
    last = up / 2 * starts + [
        azimuth[0] * kind.radius_a - 2 * np.pi * kind.radius_a,
        z[0],
    ]  # once round: starts monomers
    wall = np.append(np.stack([azimuth * kind.radius_a, z], axis=1), last[None], axis=0)
    step = np.diff(wall, axis=0)
    unit = up / np.linalg.norm(up)
    assert np.allclose(step @ unit, 9.4, atol=0.05)
    assert np.allclose(step @ [-unit[1], unit[0]], 48.95, atol=0.06)
    for ring, (_, frame) in zip(own, rings, strict=True):  # each dimer stands along its protofilament, x outward
        for place, (_, quaternion) in zip(ring, units(kind, (0, 0, 0), frame), strict=True):
            axes = rotate(np.array([[1.0, 0, 0], [0, 0, 1.0]]), quaternion)
            z_axis, x_axis = rotate(axes, turn * [1, -1, -1, -1])
            outward = np.array([0, place[1], place[2]]) / kind.radius_a
            assert np.allclose(x_axis, outward, atol=1e-6)
            forward = np.cross(outward[::-1], [0, 0, 1.0])[::-1] * -1  # anticlockwise about +z
            assert np.allclose(z_axis, unit[1] * np.array([1.0, 0, 0]) + unit[0] * forward, atol=1e-3)


@pytest.mark.parametrize(("number", "starts"), [(13, 3), (15, 4)])
def test_layer_lines_of_a_projection_have_the_order_of_the_starts(number: int, starts: int) -> None:
    """The line at one over a monomer begins with the Bessel function of order S; it says nothing of the hand."""
    kind, voxel = microtubule(number, starts), 8.18
    template, count, middle = unit_standin("microtubule"), 14, 24
    row = [
        unit
        for ring in range(count)
        for unit in units(
            kind, ((ring - 2) * kind.rise_a, middle * voxel, middle * voxel), about_z(kind.twist_deg * ring)
        )
    ]
    position, quaternion = (np.array(column) for column in zip(*row, strict=True))
    one = np.ones(len(row), np.int32)
    scene = Scene((template,), Placements(one - 1, one, position, quaternion, one), classes={"microtubule": 1})
    wall = render(scene, Box.of_shape((100, 49, 49)), voxel).potential  # ten dimers
    power = np.abs(np.fft.fft(np.fft.fft(wall.sum(axis=1), axis=0)[[0, 10, 20]], 2048, axis=1))[:, :1024]
    assert power[1].max() < 0.1 * power[2].max()  # both monomers are alike: no line at one over a dimer
    radius = float((wall.sum(0) * np.hypot(*np.indices((49, 49)) - middle)).sum() / wall.sum()) * voxel
    order = [int(jnp_zeros(n, 1)[0] / (2 * np.pi * radius) * 2048 * voxel) for n in (starts, starts + 2)]
    first = power[2, : order[1]].argmax()
    assert first == pytest.approx(order[0], rel=0.08)  # of the next order it would be 20 % further out


@pytest.mark.parametrize(("number", "starts"), [(11, 3), (13, 3), (14, 3), (16, 4)])
def test_the_helix_of_monomers_is_left_handed(number: int, starts: int) -> None:
    """Of a left-handed helix of S starts the harmonic -S is in phase at one over a monomer, and S is not."""
    kind = microtubule(number, starts)
    ring = units(kind, (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0))
    z, y, x = np.array([p for p, _ in ring]).T
    twist = np.radians(kind.twist_deg)
    sums = {
        n: abs(np.exp(1j * (n * np.arctan2(y, x) - z * (2 * np.pi * 2 + n * twist) / kind.rise_a)).mean())
        for n in (-starts, starts)
    }
    assert sums[-starts] == pytest.approx(1, abs=1e-9)
    assert sums[starts] < 0.1


@pytest.mark.parametrize(
    ("name", "genetic", "strand", "crossover"), [("actin", -166.6, 26.8, 367), ("cofilactin", -162.0, 36.0, 276)]
)
def test_actin_is_left_handed_and_its_strands_are_right_handed(
    name: str, genetic: float, strand: float, crossover: float
) -> None:
    template = unit_standin(name)
    recipe = _recipe(name, count=1, length_nm=(90, 90), persistence_um=1e12)
    made = place_filaments(stream(3, "f"), _space("none"), SIZE, template, recipe)
    rows = made.placements
    axis = np.diff(rows.position[[0, -1]], axis=0)[0, ::-1]  # x, y, z
    axis /= np.linalg.norm(axis)
    one = np.cross(axis, [0, 0, 1.0])
    one /= np.linalg.norm(one)
    two = np.cross(axis, one)
    mass = np.average(template.point, axis=0, weights=template.weight)
    arms = np.array([rotate(mass[None], q)[0, ::-1] for q in rows.quaternion])
    azimuth = np.degrees(np.arctan2(arms @ two, arms @ one))
    for step, turn in ((1, genetic), (2, strand)):
        found = (azimuth[step:] - azimuth[:-step] + 180) % 360 - 180
        assert np.allclose(found, turn, atol=0.02)
    assert 180 / (strand / 2) * KINDS[name].rise_a == pytest.approx(crossover, abs=1)


# -- placing -----------------------------------------------------------------------------------------------------


def _by_filament(rows: Placements) -> dict[int, Placements]:
    return {int(i): rows[rows.instance == i] for i in np.unique(rows.instance)}


@given(seed=st.integers(0, 2**31), name=st.sampled_from(sorted(KINDS)))
@settings(max_examples=6)
def test_filaments_keep_clear_of_one_another_and_of_walls(seed: int, name: str) -> None:
    kind, template = KINDS[name], unit_standin(name)
    recipe = _recipe(name, count=5, length_nm=(90, 160))
    made = place_filaments(stream(seed, "f"), _space(), SIZE, template, recipe, template_number=7, first_instance=3)
    rows = made.placements
    assert set(rows.template.tolist()) == {7}
    assert 1 <= len(made.centrelines) <= 5
    assert sorted(made.centrelines) == list(range(3, 3 + len(made.centrelines)))
    assert np.allclose((rows.quaternion**2).sum(1), 1)
    assert np.array_equal(rows.group, rows.instance)
    cells = {}
    for number, own in _by_filament(rows).items():
        line = made.centrelines[number]
        assert len(own) == len(line) * kind.protofilaments
        assert len(line) >= kind.minimum_units
        assert np.allclose(np.linalg.norm(np.diff(line, axis=0), axis=1), kind.rise_a)
        assert (len(line) - 1) * kind.rise_a <= 1600 + kind.rise_a
        points = np.concatenate(
            [rotate(template.point, q) + p for p, q in zip(own.position, own.quaternion, strict=True)]
        )
        assert points[:, 0].min() > -9  # half a voxel of 12 A before the first centre, and a quarter of a cell
        assert points[:, 0].max() < 600
        cells[number] = np.unique(np.floor((points + 6.0) / 12.0).astype(int) @ [10**6, 10**3, 1])
    for a in cells:
        for b in cells:
            if a < b:
                assert len(np.intersect1d(cells[a], cells[b])) <= 0.01 * len(cells[a])
    again = place_filaments(stream(seed, "f"), _space(), SIZE, template, recipe, first_instance=3)
    assert again.placements.position.tobytes() == rows.position.tobytes()
    assert again.placements.quaternion.tobytes() == rows.quaternion.tobytes()


def test_a_filament_goes_both_ways_and_ends_beyond_open_faces() -> None:
    recipe = _recipe("actin", count=3, length_nm=(1e3, 1e3), inclination_deg=0)
    made = place_filaments(stream(1, "f"), _space(), SIZE, unit_standin("actin"), recipe)
    through = 0
    for line in made.centrelines.values():
        ends = line[[0, -1]]
        through += bool((((ends < 0) | (ends > SIZE))[:, 1:]).any(1).all())
        inner = line[1:-1]
        assert ((inner[:, 1:] >= 0) & (inner[:, 1:] <= SIZE[1:])).all()
    assert through >= 2


def test_the_inclination_is_kept() -> None:
    recipe = _recipe("actin", count=8, length_nm=(80, 90), inclination_deg=10, persistence_um=1e12)
    made = place_filaments(stream(5, "f"), _space("none"), SIZE, unit_standin("actin"), recipe)
    rises = [line[-1] - line[0] for line in made.centrelines.values()]
    angles = [math.degrees(math.asin(abs(r[0]) / np.linalg.norm(r))) for r in rises]
    assert len(angles) >= 6
    assert max(angles) < 14  # wider turns round others may add some
    assert max(angles) > 3


def test_numbers_of_protofilaments_are_mixed_as_the_recipe_says() -> None:
    recipe = _recipe("microtubule", count=40, length_nm=(20, 20), minimum_units=2, protofilaments={13: 1, "11": 3})
    space, size = Occupancy((250, 250, 250), voxel_size_a=24.0, walls="none"), (6000.0, 6000.0, 6000.0)
    made = place_filaments(stream(1, "f"), space, size, unit_standin("microtubule"), recipe)
    rings = [len(own) / len(made.centrelines[n]) for n, own in _by_filament(made.placements).items()]
    assert set(rings) == {11, 13}
    assert 4 <= rings.count(13) <= 16  # 10 of 40
    same = _recipe("microtubule", protofilaments={"13_3": 0.25, 11: 0.75})
    assert same.built == _recipe("microtubule", protofilaments={11: 3, 13: 1}).built
    assert [kind.protofilaments for kind, _ in _recipe("microtubule", protofilaments=14).built] == [14]
    assert _recipe("microtubule", rise_a=84.2).built[0][0].skew_deg == microtubule(13, 3, 84.2).skew_deg
    assert _recipe("microtubule", radius_a=112).built[0][0].radius_a == 112


def test_a_length_that_is_asked_for_is_never_too_short() -> None:
    assert _recipe("microtubule", length_nm=(40, 60)).built[0][0].minimum_units == 6  # 400 A of 81.8 A, and both ends
    assert _recipe("microtubule", length_nm=(100, 200)).built[0][0].minimum_units == 10
    assert _recipe("actin", length_nm=(20, 25), minimum_units=4).built[0][0].minimum_units == 4
    recipe = _recipe("microtubule", count=4, length_nm=(30, 40))
    made = place_filaments(stream(1, "f"), _space("none"), SIZE, unit_standin("microtubule"), recipe)
    lengths = [(len(line) - 1) * 8.18 for line in made.centrelines.values()]
    assert len(lengths) == 4
    assert 30 <= min(lengths) <= max(lengths) < 40 + 8.18
    with pytest.raises(InputError, match=r"at most 60, 9 units .* minimum_units is 10"):
        _recipe("microtubule", length_nm=(40, 60), minimum_units=10)


def test_the_wall_is_as_wide_as_a_real_one() -> None:
    """A real wall of 13 protofilaments, straightened, is 41 A at half height (10.52 A voxels), at a radius of 106 A."""
    kind, voxel, middle = KINDS["microtubule"], 10.52, 20
    row = [
        unit
        for ring in range(6)
        for unit in units(kind, ((ring - 2) * kind.rise_a, *[middle * voxel] * 2), about_z(kind.twist_deg * ring))
    ]
    position, quaternion = (np.array(column) for column in zip(*row, strict=True))
    one = np.ones(len(row), np.int32)
    placements = Placements(one - 1, one, position, quaternion, one)
    scene = Scene((unit_standin("microtubule"),), placements, classes={"microtubule": 1})
    wall = render(scene, Box.of_shape((8, 41, 41)), voxel).potential.mean(axis=0)  # one dimer
    radius, turn = np.arange(0, 200, 1.0), np.linspace(0, 2 * np.pi, 90, endpoint=False)
    at = [middle + radius[:, None] / voxel * wave(turn) for wave in (np.sin, np.cos)]
    profile = map_coordinates(wall, at, order=1).mean(axis=1)
    inner, outer = radius[profile > profile.max() / 2][[0, -1]]
    assert outer - inner == pytest.approx(41, rel=0.15)
    assert (inner + outer) / 2 == pytest.approx(106, rel=0.03)


def test_a_full_box_takes_no_filament() -> None:
    space = _space()
    space.take_mask(np.ones(space.shape, bool))
    made = place_filaments(stream(1, "f"), space, SIZE, unit_standin("actin"), _recipe("actin", count=4))
    assert len(made.placements) == 0
    assert made.centrelines == {}


@pytest.mark.parametrize(("kind", "kilodalton"), [("actin", 42), ("cofilactin", 61), ("microtubule", 100)])
def test_stand_ins_weigh_what_their_protein_weighs(kind: str, kilodalton: float) -> None:
    template = unit_standin(kind)
    assert template.total == pytest.approx(kilodalton * 1000 * 1.21 * PROTEIN_POTENTIAL, rel=0.05)
    assert template.total * template.displaced == pytest.approx(kilodalton * 1210, rel=0.05)


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(InputError, match="too short for a rise"):
        FilamentKind(0, 20.0, 0.005)
    with pytest.raises(InputError, match="cannot be built"):
        FilamentKind(0, -1.0, 1.0)
    with pytest.raises(InputError, match="too short for a rise"):
        FilamentsRecipe(persistence_um=0.005)
    with pytest.raises(InputError, match="smaller one first"):
        FilamentsRecipe(length_nm=(5, 2))
    for wrong in (10, 17, 153, "13-3", "13_5", {13: 0}, {13: -1, 14: 2}, {13: 1, "13": 1}, {}):
        with pytest.raises(InputError, match="protofilaments"):
            _recipe("microtubule", protofilaments=wrong)
    with pytest.raises(InputError, match="has no protofilaments"):
        _recipe("actin", protofilaments=13)
    with pytest.raises(InputError, match="stand-ins for actin"):
        unit_standin("collagen")
