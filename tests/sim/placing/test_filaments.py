"""Filaments bend as their persistence length says, are built as their lattice says, and keep clear of what is there."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from turning import rotate

from volengine.core.errors import InputError
from volengine.core.specimen import Placements, rotation_matrix
from volengine.sim.atoms.filament_units import unit_standin
from volengine.sim.atoms.scattering import PROTEIN_POTENTIAL
from volengine.sim.placing.filaments import Node, about_z, onward, place_filaments, units
from volengine.sim.placing.occupancy import Occupancy
from volengine.sim.recipe.filaments import KINDS, FilamentKind, FilamentsRecipe
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


def test_actin_has_its_two_strands() -> None:
    """The long-pitch helices cross over every 13 units of 27.3 A (355 A): 166.15 * 13 = 6 * 360 within 0.1 degree."""
    kind = KINDS["actin"]
    assert abs((13 * kind.twist_deg) % 360) < 0.1 or abs((13 * kind.twist_deg) % 360 - 360) < 0.1


def test_a_microtubule_is_a_ring_of_thirteen_and_closes_with_a_seam() -> None:
    kind = KINDS["microtubule"]
    q = np.array([0.5, 0.5, 0.5, 0.5])
    row = units(kind, (100.0, 200.0, 300.0), tuple(q))
    at = np.array([p for p, _ in row]) - [100, 200, 300]
    own = rotate(at, q * [1, -1, -1, -1])
    assert len(row) == 13
    assert np.allclose(np.hypot(own[:, 1], own[:, 2]), 112)
    assert np.allclose(np.diff(own[:, 0]), 3 * 40.6 / 13)
    gaps = np.linalg.norm(np.roll(own[:, 1:], -1, axis=0) - own[:, 1:], axis=1)
    assert np.allclose(gaps, 2 * 112 * math.sin(math.pi / 13))
    assert own[0, 0] + 3 * 40.6 == pytest.approx(own[-1, 0] + 3 * 40.6 / 13)  # three monomers up after one turn
    for (position, turn), place in zip(row, own, strict=True):
        outward = rotate([[0.0, 0.0, 1.0]], turn)[0]
        expected = rotate([[0.0, *place[1:] / 112]], q)[0]
        assert np.allclose(outward, expected)
        assert np.allclose(position - [100, 200, 300], rotate(place[None], q)[0])


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
    with pytest.raises(InputError, match="stand-ins for actin"):
        unit_standin("collagen")
