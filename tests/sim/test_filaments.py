"""Filaments bend as their persistence length says, are built as their lattice says, and keep clear of what is there."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.errors import InputError
from volengine.core.specimen import Placements, rotate, rotation_matrix
from volengine.sim.atoms.filament_units import unit_standin
from volengine.sim.atoms.scattering import PROTEIN_POTENTIAL
from volengine.sim.placing.filaments import (
    KINDS,
    FilamentKind,
    FilamentRecipe,
    persistence_of_cone,
    place_filaments,
    units,
    worm,
)
from volengine.sim.placing.occupancy import Occupancy
from volengine.sim.seeds import stream

SIZE = (600.0, 2400.0, 2400.0)


def _space(walls: str = "z") -> Occupancy:
    return Occupancy((50, 200, 200), voxel_size_a=12.0, walls=walls)


def _straight(kind: FilamentKind) -> FilamentKind:
    return FilamentKind.from_json({**kind.to_json(), "persistence_um": 1e12})


# -- chains ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("persistence", "rise", "twist"), [(600.0, 20.0, 0.0), (600.0, 40.0, -166.15)])
def test_directions_are_forgotten_over_the_persistence_length(persistence: float, rise: float, twist: float) -> None:
    kind = FilamentKind(twist, rise, persistence / 1e4)
    line = worm(stream(1, "worm"), kind, 60_000).position
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
    squares = [float((worm(rng, kind, steps).position[-1] ** 2).sum()) for _ in range(600)]
    length = rise * steps
    theory = 2 * persistence * length * (1 - persistence / length * (1 - math.exp(-length / persistence)))
    assert np.mean(squares) == pytest.approx(theory, rel=0.05)


def test_a_cone_has_the_persistence_length_of_its_mean_cosine() -> None:
    cosine = 1 - stream(1, "cone").random(400_000) * (1 - math.cos(math.radians(12)))
    assert math.exp(-27.3 / (persistence_of_cone(12, 27.3) * 1e4)) == pytest.approx(cosine.mean(), abs=1e-4)


@pytest.mark.parametrize("name", KINDS)
def test_units_follow_twist_and_rise(name: str) -> None:
    kind = _straight(KINDS[name])
    chain = worm(stream(1, "w"), kind, 40)
    assert np.allclose(chain.position[:, 0], np.arange(41) * kind.rise_a)
    assert np.allclose(chain.position[:, 1:], 0, atol=1e-2)
    x_axes = rotation_matrix(chain.quaternion)[:, :, 0]  # as x, y, z
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
    recipe = FilamentRecipe(count=5, length_a=(900, 1600))
    made = place_filaments(stream(seed, "f"), _space(), SIZE, [template], kind, recipe, first_instance=3)
    rows = made.placements
    assert made.asked == 5
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
        assert points[:, 0].min() > -7
        assert points[:, 0].max() < 600
        cells[number] = np.unique(np.floor((points + 6.0) / 12.0).astype(int) @ [10**6, 10**3, 1])
    for a in cells:
        for b in cells:
            if a < b:
                assert len(np.intersect1d(cells[a], cells[b])) <= 0.01 * len(cells[a])
    again = place_filaments(stream(seed, "f"), _space(), SIZE, [template], kind, recipe, first_instance=3)
    assert again.placements.position.tobytes() == rows.position.tobytes()
    assert again.placements.quaternion.tobytes() == rows.quaternion.tobytes()


def test_a_filament_goes_both_ways_and_ends_beyond_open_faces() -> None:
    recipe = FilamentRecipe(count=3, length_a=(1e4, 1e4), inclination_deg=0)
    made = place_filaments(stream(1, "f"), _space(), SIZE, [unit_standin("actin")], KINDS["actin"], recipe)
    through = 0
    for line in made.centrelines.values():
        ends = line[[0, -1]]
        through += bool((((ends < 0) | (ends > SIZE))[:, 1:]).any(1).all())
        inner = line[1:-1]
        assert ((inner[:, 1:] >= 0) & (inner[:, 1:] <= SIZE[1:])).all()
    assert through >= 2


def test_the_inclination_is_kept() -> None:
    recipe = FilamentRecipe(count=8, length_a=(800, 900), inclination_deg=10)
    kind = _straight(KINDS["actin"])
    made = place_filaments(stream(5, "f"), _space("none"), SIZE, [unit_standin("actin")], kind, recipe)
    rises = [line[-1] - line[0] for line in made.centrelines.values()]
    angles = [math.degrees(math.asin(abs(r[0]) / np.linalg.norm(r))) for r in rises]
    assert len(angles) >= 6
    assert max(angles) < 14  # wider turns round others may add some
    assert max(angles) > 3


def test_filaments_of_a_bundle_run_side_by_side() -> None:
    recipe = FilamentRecipe(count=5, length_a=(1000, 1000), inclination_deg=5, bundle=5, bundle_spacing_a=110)
    kind = _straight(KINDS["actin"])
    made = place_filaments(stream(3, "f"), _space(), SIZE, [unit_standin("actin")], kind, recipe)
    lines = list(made.centrelines.values())
    directions = np.array([(line[-1] - line[0]) / np.linalg.norm(line[-1] - line[0]) for line in lines])
    assert len(lines) >= 3
    together = np.abs(directions @ directions.T) > 0.98
    assert together.sum() > len(lines)  # beside itself each has at least one companion in its direction somewhere


def test_a_full_box_takes_no_filament() -> None:
    space = _space()
    space.take_mask(np.ones(space.shape, bool))
    recipe = FilamentRecipe(count=4)
    made = place_filaments(stream(1, "f"), space, SIZE, [unit_standin("actin")], KINDS["actin"], recipe)
    assert len(made.placements) == 0
    assert made.centrelines == {}


def test_several_templates_are_drawn_from() -> None:
    both = [unit_standin("actin", "bare"), unit_standin("cofilactin", "decorated")]
    recipe = FilamentRecipe(count=2)
    made = place_filaments(stream(1, "f"), _space(), SIZE, both, KINDS["actin"], recipe, first_template=7)
    assert set(made.placements.template.tolist()) == {7, 8}


@pytest.mark.parametrize(("kind", "kilodalton"), [("actin", 42), ("cofilactin", 61), ("microtubule", 100)])
def test_stand_ins_weigh_what_their_protein_weighs(kind: str, kilodalton: float) -> None:
    template = unit_standin(kind)
    assert template.total == pytest.approx(kilodalton * 1000 * 1.21 * PROTEIN_POTENTIAL, rel=0.05)
    assert template.total * template.displaced == pytest.approx(kilodalton * 1210, rel=0.05)
    assert unit_standin(kind, step_a=3.0).total == pytest.approx(template.total, rel=1e-5)


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(InputError, match="too short for a rise"):
        FilamentKind(0, 20.0, 0.005)
    with pytest.raises(InputError, match="cannot be built"):
        FilamentKind(0, -1.0, 1.0)
    with pytest.raises(InputError, match="positive range"):
        FilamentRecipe(length_a=(5, 2))
    with pytest.raises(InputError, match="stand-ins for actin"):
        unit_standin("collagen")
    with pytest.raises(InputError, match="cone"):
        persistence_of_cone(120, 20)
