"""Placement: no overlap, seeds, counts, densities, walls, regions, groups, membranes, and an end in finite time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from turning import rotate

from volengine.core.errors import InputError
from volengine.core.specimen import Membrane, Template
from volengine.sim.placing.fill import fill
from volengine.sim.placing.groups import principal_axis
from volengine.sim.placing.layers import PER_UM_A3, Layer, Species
from volengine.sim.placing.occupancy import Occupancy
from volengine.sim.placing.regions import Regions, Seat, Surfaces, enclose
from volengine.sim.seeds import stream

seeds = st.integers(0, 2**32)


def lattice(*half, step=3.0):
    sides = [np.arange(-h, h + step / 2, step) for h in half]
    return np.stack(np.meshgrid(*sides, indexing="ij"), -1).reshape(-1, 3)


def template(points, name="t"):
    points = np.asarray(points, np.float32)
    return Template(name, (name,), points, np.ones(len(points), "f4"), np.zeros(len(points), "u1"), 1.0)


def ball(radius):
    at = lattice(radius, radius, radius)
    return template(at[(at**2).sum(1) <= radius**2], f"ball{radius}")


BALL, SMALL = ball(45.0), ball(20.0)
ROD = template(lattice(60.0, 15.0, 15.0), "rod")
LEAN = template(lattice(60.0, 15.0, 15.0)[:, [1, 2, 0]] + [20.0, 0, 0], "lean")
KINDS = [BALL, ROD, SMALL]


def cells_of(box, solid, position, quaternion):
    """Cells (k, 3) of a placement in float64, and how far each point is from a cell's face."""
    at = (rotate(solid.fill.astype(float), quaternion) + position - box.low) / box.edge
    return np.floor(at).astype(int), np.abs(at - np.round(at)).min(1)


def shared(box, solids, rows):
    """Cells of the box that two placements own, points on a cell's face (float32) left out."""
    owner: dict[tuple[int, ...], int] = {}
    found = []
    for i in range(len(rows)):
        cells, margin = cells_of(box, solids[rows.template[i]], rows.position[i], rows.quaternion[i])
        inside = ((cells >= 0) & (cells < box.shape)).all(1) & (margin > 1e-3)
        mine = {tuple(c) for c in cells[inside].tolist()}
        found += [(cell, owner[cell], i) for cell in mine if owner.setdefault(cell, i) != i]
    return found


def species(i, **words):
    return Species(f"s{i}", (i,), **words)


# -- overlap, seeds, stops ---------------------------------------------------------------------------------------


@given(seeds, st.sampled_from(["none", "z", "xyz"]), st.sampled_from([8.0, 12.0]))
@settings(deadline=None, max_examples=8)
def test_placed_particles_do_not_overlap(seed, walls, voxel):
    box = Occupancy((25, 30, 32), voxel, walls=walls)
    solids = [box.solid(t) for t in KINDS]
    mix = Layer((species(0), species(1, kind="bundle"), species(2, kind="cluster")), iterations=40)
    rows, _ = fill(box, solids, [mix], stream(seed, "p"))
    assert len(rows) > 10
    assert shared(box, solids, rows) == []
    np.testing.assert_allclose((rows.quaternion**2).sum(1), 1, atol=1e-12)
    high = box.low + box.edge * box.shape
    assert ((rows.position >= box.low) & (rows.position <= high)).all()
    for axis in range(3):
        if walls == "xyz" or (walls == "z" and axis == 0):
            for i in range(len(rows)):
                at = rotate(solids[rows.template[i]].fill, rows.quaternion[i])[:, axis] + rows.position[i, axis]
                assert box.low[axis] - 1e-2 < at.min() <= at.max() < high[axis] + 1e-2


def test_distances_between_solids_keep_to_cell_and_tolerance():
    """Balls: by how much two may sink into each other, seen on their points alone."""
    for tolerance in (0.0, 8.0):
        box = Occupancy((40, 40, 40), 8.0, tolerance_a=tolerance)
        made = box.solid(BALL)
        rows, _ = fill(box, [made], [Layer((species(0),), density=0.9)], stream(1, "p"))
        assert len(rows) > 30
        near = cKDTree(rows.position).query(rows.position, k=2)[0][:, 1]
        touching = 2 * (45.0 - 1.5 + 1.9)
        assert near.min() > touching - 2 * tolerance - np.sqrt(3) * 8.0
        assert near.min() < touching + 8.0  # and they do come near


def test_clipped_at_open_faces_only():
    def beyond(walls):
        box = Occupancy((12, 30, 30), 12.0, walls=walls)
        solids = [box.solid(BALL)]
        rows, _ = fill(box, solids, [Layer((species(0),), iterations=200)], stream(2, "p"))
        low = [
            (rotate(solids[0].fill, q) + p).min(0) < box.low - 0.01
            for p, q in zip(rows.position, rows.quaternion, strict=True)
        ]
        return np.any(low, axis=0).tolist()

    assert beyond("none") == [True, True, True]
    assert beyond("-z") == [False, True, True]
    assert beyond("+z xy") == [True, False, False]


@given(seeds)
@settings(deadline=None, max_examples=3)
def test_same_seed_same_table(seed):
    def run(s):
        box = Occupancy((20, 30, 30), 10.0)
        layers = [
            Layer((species(0), species(2, kind="cluster")), iterations=30),
            Layer((species(1, kind="bundle"),), density=0.32),
        ]
        return fill(box, KINDS, layers, stream(s, "p"), 7)

    (one, first), (two, second), (other, _) = run(seed), run(seed), run(seed + 1)
    for name in ("template", "instance", "position", "quaternion", "group"):
        assert getattr(one, name).tobytes() == getattr(two, name).tobytes()
    assert first == second
    assert one.position.tobytes() != other.position.tobytes()
    assert one.instance.tolist() == list(range(7, 7 + len(one)))


def test_the_table_of_a_seed_is_the_same_on_every_machine_and_in_every_version():
    """A change of these bytes changes the specimens of all recipes: it belongs into the changelog."""
    import hashlib

    box = Occupancy((20, 40, 40), 10.0, walls="z")
    layer = Layer((species(0), species(1, kind="bundle"), species(2, kind="cluster")), iterations=60)
    rows, _ = fill(box, KINDS, [layer], stream(1, "p"))
    table = b"".join(getattr(rows, name).tobytes() for name in ("template", "position", "quaternion", "group"))
    assert (len(rows), hashlib.sha256(table).hexdigest()[:16]) == (67, "8767f4a576f47164")


def test_earlier_layers_do_not_depend_on_later_ones():
    def run(*layers):
        return fill(Occupancy((20, 30, 30), 10.0), KINDS, layers, stream(1, "p"))[0]

    large, small = Layer((species(0),), iterations=50), Layer((species(2),), iterations=50)
    alone, both = run(large), run(large, small)
    assert len(both) > len(alone) > 5
    assert both[: len(alone)].position.tobytes() == alone.position.tobytes()


@given(seeds, st.integers(0, 25), st.integers(0, 25))
@settings(deadline=None, max_examples=6)
def test_counts_are_met_exactly(seed, many, few):
    box = Occupancy((60, 60, 60), 10.0)
    layer = Layer((species(0, count=many), species(2, count=few, kind="cluster")))
    rows, (report,) = fill(box, KINDS, [layer], stream(seed, "p"))
    assert report.stopped == "count"
    assert np.bincount(rows.template, minlength=3).tolist() == [many, 0, few]
    assert [(s.asked, s.placed) for s in report.species] == [(many, many), (few, few)]


def test_concentration_is_per_volume_of_the_region():
    box = Occupancy((60, 60, 60), 10.0)
    inside = np.zeros(box.shape, bool)
    inside[:, :, :20] = True
    layer = Layer((species(2, concentration_um=500.0, region="vesicle"), species(2, concentration_um=500.0)))
    rows, (report,) = fill(box, KINDS, [layer], stream(1, "p"), regions=Regions(inside))
    wanted = 500.0 * PER_UM_A3 * 600.0**3
    assert [s.placed for s in report.species] == [round(wanted / 3), round(wanted)]
    assert len(rows) == round(wanted / 3) + round(wanted) > 80


def test_density_stops_as_soon_as_it_is_reached():
    box = Occupancy((30, 60, 60), 10.0)
    solids = [box.solid(t) for t in KINDS]
    rows, (report,) = fill(box, solids, [Layer((species(0), species(2)), density=0.12)], stream(1, "p"))
    cells = [
        cells_of(box, solids[t], p, q)[0] for t, p, q in zip(rows.template, rows.position, rows.quaternion, strict=True)
    ]
    own = [len({tuple(c) for c in c_ if (c >= 0).all() and (c < box.shape).all()}) for c_ in cells]
    assert report.stopped == "density"
    assert report.density == box.density == box.taken / 108000 >= 0.12
    assert sum(own) == pytest.approx(box.taken, rel=1e-3)
    assert box.taken - own[-1] < 0.12 * 108000 + 2


def test_a_full_box_ends_and_says_so():
    box = Occupancy((15, 15, 15), 10.0, walls="xyz")
    rows, (report, nothing) = fill(
        box,
        KINDS,
        [Layer((species(0, count=1000), species(2, count=1)), patience=300), Layer((species(1, count=5),))],
        stream(1, "p"),
    )
    assert report.stopped == nothing.stopped == "full"
    assert 1 <= report.species[0].placed < 10
    assert report.species[1].placed == 1
    assert report.species[0].asked == 1000
    assert len(rows) == sum(s.placed for r in (report, nothing) for s in r.species)
    assert report.to_json()["species"][0]["name"] == "s0"

    box.take_mask(np.ones(box.shape, bool))  # not one cell is free
    rows, (report,) = fill(box, KINDS, [Layer((species(2),), iterations=500)], stream(1, "p"))
    assert (len(rows), report.stopped, report.iterations) == (0, "iterations", 500)


def test_the_last_free_cells_are_found():
    """Hardly any cell is free, and it is found without luck."""
    box = Occupancy((40, 100, 100), 10.0)
    free = np.zeros(box.shape, bool)
    free[20, 50, 50] = free[3, 4, 5] = True
    box.take_mask(~free)
    dot = template([[0.0, 0, 0]])
    rows, (report,) = fill(box, [dot], [Layer((species(0, count=5, tries=50),), patience=500)], stream(1, "p"))
    assert 1 <= len(rows) <= 2
    assert report.stopped == "full"
    index = np.floor((rows.position - box.low) / box.edge).astype(int)
    assert {tuple(i) for i in index.tolist()} <= {(20, 50, 50), (3, 4, 5)}


def test_species_are_drawn_by_weight_and_templates_evenly():
    from scipy.stats import binomtest

    box = Occupancy((200, 200, 200), 20.0)
    layer = Layer((Species("one", (0, 1), weight=3.0), Species("two", (2,))), iterations=1000)
    rows, (report,) = fill(box, [SMALL] * 3, [layer], stream(1, "p"))
    assert report.iterations == sum(s.iterations for s in report.species) == 1000
    assert binomtest(report.species[0].iterations, 1000, 0.75).pvalue > 1e-3
    conformers = np.bincount(rows.template, minlength=3)
    assert binomtest(int(conformers[0]), int(conformers[:2].sum()), 0.5).pvalue > 1e-3


def test_positions_and_rotations_are_uniform_in_an_empty_box():
    from scipy.stats import kstest

    box = Occupancy((300, 300, 300), 10.0)
    rows, _ = fill(box, [template([[0.0, 0, 0]])], [Layer((species(0, count=3000),))], stream(1, "p"))
    for axis in range(3):
        assert kstest(rows.position[:, axis], "uniform", args=(-5, 3000)).pvalue > 1e-3
    angle = 2 * np.arccos(np.clip(np.abs(rows.quaternion[:, 0]), 0, 1))
    assert kstest(angle, lambda a: (a - np.sin(a)) / np.pi).pvalue > 1e-3


# -- groups ------------------------------------------------------------------------------------------------------


def test_clusters_are_clumps():
    box = Occupancy((100, 100, 100), 12.0)
    solids = [box.solid(SMALL)]
    rows, (report,) = fill(box, solids, [Layer((species(0, kind="cluster"),), iterations=10)], stream(1, "p"))
    size = solids[0].extent.mean()
    groups = np.unique(rows.group)
    assert len(rows) == report.species[0].placed > 45
    for group in groups:
        members = rows[rows.group == group]
        assert members.instance[0] == group
        assert len(members) <= 13
        far = np.linalg.norm(members.position[1:] - members.position[0], axis=1)
        assert (far >= 0.5 * size - 1e-6).all()
        assert (far <= 1.5 * size + 1e-6).all()


def test_bundles_are_parallel():
    box = Occupancy((100, 100, 100), 12.0)
    solids = [box.solid(LEAN)]
    axis, length, width = principal_axis(solids[0])
    np.testing.assert_allclose(axis, [0, 0, 1], atol=0.02)
    assert 115 < length < 130
    assert 28 < width < 45
    rows, _ = fill(box, solids, [Layer((species(0, kind="bundle"),), iterations=12)], stream(1, "p"))
    sizes = []
    for group in np.unique(rows.group):
        members = rows[rows.group == group]
        sizes.append(len(members))
        along = np.array([rotate(axis[None], q)[0] for q in members.quaternion])
        np.testing.assert_allclose(along @ along[0], 1, atol=1e-9)
        spins = np.array([rotate([[1.0, 0, 0]], q)[0] for q in members.quaternion])
        assert len(members) < 3 or np.ptp(spins @ spins[0]) > 0.01
        off = members.position[1:] - members.position[0]
        slide = off @ along[0]
        beside = np.linalg.norm(off - slide[:, None] * along[0], axis=1)
        assert (np.abs(slide) <= length / 2 + 1e-6).all()
        assert (beside >= width - 1e-6).all()
        assert (beside <= width * 1.1**18).all()
        assert len(members) <= 19
    assert max(sizes) >= 4


def test_the_axis_of_a_ball_is_z():
    np.testing.assert_array_equal(principal_axis(Occupancy((9, 9, 9), 10.0).solid(BALL))[0], [1, 0, 0])


# -- regions and membranes ---------------------------------------------------------------------------------------


def vesicle(centre, radius, spacing=10.0, instance=1):
    count = int(2 * (radius + 70) / spacing) + 1
    at = (np.arange(count) - (count - 1) / 2) * spacing
    distance = np.sqrt(at[:, None, None] ** 2 + at[:, None] ** 2 + at**2) - radius
    corner = tuple(float(c + at[0]) for c in centre)
    return Membrane(
        "vesicle", instance, corner, spacing, distance.astype("f4"), thickness=30.0
    )  # 19 A to the heads' ends


def sphere_points(centre, radius, count=400):
    from volengine.sim.rotations import random_directions

    normal = random_directions(stream(0, "sphere"), count)
    return np.asarray(centre) + radius * normal, normal


def test_enclose_marks_membrane_and_inside():
    box = Occupancy((50, 60, 60), 10.0)
    centre = (245.0, 300.0, 310.0)
    regions = enclose(box, [vesicle(centre, 150.0), vesicle((245.0, 300.0, 0.0), 80.0, instance=2)])
    at = np.stack([box.centres(z) for z in range(50)])
    far = [np.linalg.norm(at - c, axis=-1) - r for c, r in ((centre, 150.0), ((245.0, 300.0, 0.0), 80.0))]
    wall = np.any([np.abs(d) <= 19.0 for d in far], axis=0)
    sure = np.all([np.abs(np.abs(d) - 19.0) > 1.0 for d in far], axis=0)  # trilinear between samples of a sphere
    assert ((box.owner >= 3) == wall)[sure].all()
    assert box.owner.max() == 4
    assert (regions.inside == ((far[0] < -19) | (far[1] < -19)))[sure].all()
    assert regions.surfaces is None


def test_membranes_are_as_thick_as_they_say():
    def cells(thickness):
        box = Occupancy((50, 60, 60), 6.0)
        enclose(box, [replace(vesicle((150.0, 180.0, 180.0), 100.0), thickness=thickness)])
        return box.taken * 6.0**3 / (4 * np.pi * 100.0**2)

    assert cells(30.0) == pytest.approx(38.0, rel=0.05)
    assert cells(42.0) == pytest.approx(50.0, rel=0.05)
    assert cells(22.0) == pytest.approx(30.0, rel=0.05)


@given(seeds)
@settings(deadline=None, max_examples=3)
def test_particles_stay_in_their_region(seed):
    box = Occupancy((50, 60, 60), 10.0)
    centre = np.array([245.0, 300.0, 310.0])
    regions = enclose(box, [vesicle(centre, 170.0)])
    solids = [box.solid(SMALL)] * 2
    layer = Layer(
        (species(0, region="vesicle", kind="cluster"), species(1, region="cytosol", kind="cluster")), iterations=40
    )
    rows, _ = fill(box, solids, [layer], stream(seed, "p"), regions=regions)
    far = np.linalg.norm(rows.position - centre, axis=1)
    inner, outer = far[rows.template == 0], far[rows.template == 1]
    assert len(inner) > 5
    assert len(outer) > 5
    assert inner.max() < 170 - 19 < 170 + 19 < outer.min() + 20
    reach = [
        np.linalg.norm(rotate(SMALL.point, q) + p - centre, axis=1)
        for p, q in zip(rows.position, rows.quaternion, strict=True)
    ]
    assert all(r.max() < 170 - 5 or r.min() > 170 + 5 for r in reach)


def test_a_small_vesicle_in_a_large_box_is_found():
    box = Occupancy((40, 200, 200), 10.0)
    inside = np.zeros(box.shape, bool)
    inside[18:22, 100:104, 100:104] = True
    dot = template([[0.0, 0, 0]])
    rows, (report,) = fill(
        box, [dot], [Layer((species(0, count=30, region="vesicle"),))], stream(1, "p"), regions=Regions(inside)
    )
    assert report.stopped == "count"
    assert inside[tuple(np.floor((rows.position - box.low) / 10.0).astype(int).T)].all()


@pytest.mark.parametrize("side", ["outside", "inside", "either"])
@pytest.mark.parametrize("peripheral", [False, True])
def test_membrane_proteins_stand_along_the_normal(side, peripheral):
    centre = np.array([245.0, 300.0, 310.0])
    box = Occupancy((50, 60, 60), 10.0)
    regions = enclose(box, [vesicle(centre, 160.0, instance=9)], [sphere_points(centre, 160.0)])
    solids = [box.solid(ROD)]
    layer = Layer((species(0, kind="membrane", seat=Seat(peripheral, side, offset_a=3.0)),), iterations=40)
    rows, (report,) = fill(box, solids, [layer], stream(1, "p"), 20, regions)
    assert report.species[0].placed == len(rows) >= 3
    assert (rows.group == 9).all()
    assert shared(box, solids, rows) == []
    radial = (rows.position - centre) / np.linalg.norm(rows.position - centre, axis=1)[:, None]
    up = np.array([rotate([[1.0, 0, 0]], q)[0] for q in rows.quaternion])
    sign = (up * radial).sum(1)
    np.testing.assert_allclose(np.abs(sign), 1, atol=1e-9)
    expected = {"outside": {1}, "inside": {-1}, "either": {-1, 1}}[side]
    assert set(np.sign(sign).astype(int).tolist()) == expected
    rise = (np.linalg.norm(rows.position - centre, axis=1) - 160.0) * sign
    bottom = 19.0 - float(solids[0].fill[:, 0].min()) if peripheral else 0.0
    np.testing.assert_allclose(rise, bottom + 3.0, atol=1e-6)
    spin = np.array([rotate([[0.0, 1, 0]], q)[0] for q in rows.quaternion])
    assert np.ptp(spin[:, 0]) > 0.2


def test_proteins_do_not_reach_into_another_membrane():
    centres = np.array([[245.0, 300.0, 140.0], [245.0, 300.0, 460.0]])
    box = Occupancy((50, 60, 60), 10.0)
    both = [vesicle(c, 130.0, instance=i + 1) for i, c in enumerate(centres)]
    regions = enclose(box, both, [sphere_points(c, 130.0, 2000) for c in centres])
    solids = [box.solid(ROD)]
    own = box.owner.copy()
    rows, _ = fill(
        box, solids, [Layer((species(0, kind="membrane"),), iterations=300)], stream(1, "p"), regions=regions
    )
    assert set(rows.group.tolist()) == {1, 2}
    gap = 0
    for i in range(len(rows)):
        cells, margin = cells_of(box, solids[0], rows.position[i], rows.quaternion[i])
        cells = cells[((cells >= 0) & (cells < box.shape)).all(1) & (margin > 1e-3)]
        assert set(own[tuple(cells.T)].tolist()) <= {0, 2 + rows.group[i]}
        gap += (
            abs(rows.position[i, 2] - 300) < 60
            and abs(rows.position[i, 1] - 300) < 40
            and abs(rows.position[i, 0] - 245) < 40
        )
    assert gap == 0  # 22 A lie between the two faces there, and the rods rise 60 A


def test_without_a_membrane_its_proteins_are_anywhere():
    rows, (report,) = fill(
        Occupancy((30, 30, 30), 10.0), KINDS, [Layer((species(1, kind="membrane", count=5),))], stream(1, "p")
    )
    assert len(rows) == 5
    assert report.stopped == "count"
    assert (rows.group == 0).all()


def test_bare_membranes_take_no_protein_and_points_beyond_the_box_are_left_out():
    box = Occupancy((50, 60, 60), 10.0)
    centres = [(245.0, 150.0, 150.0), (245.0, 450.0, 590.0)]
    both = [vesicle(c, 110.0, instance=i + 1) for i, c in enumerate(centres)]
    regions = enclose(box, both, [None, sphere_points(centres[1], 110.0)])
    rows, _ = fill(box, KINDS, [Layer((species(2, kind="membrane"),), iterations=50)], stream(1, "p"), regions=regions)
    assert len(rows) > 3
    assert set(rows.group.tolist()) == {2}
    assert (rows.position[:, 2] < 595.0).all()
    assert len(regions.surfaces) < 300
    with pytest.raises(InputError, match="2 membranes and 1 sets"):
        enclose(box, both, [None])
    with pytest.raises(InputError, match="normals"):
        Surfaces.of([[0, 0, 0]], [[0, 0, 0]], 3, 1, 19.0)


# -- refusals ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"kind": "swarm"}, "kind is one of"),
        ({"region": "moon"}, "region is one of"),
        ({"templates": ()}, "no template"),
        ({"count": 1, "concentration_um": 1.0}, "not both"),
        ({"kind": "membrane", "concentration_um": 1.0}, "no concentration"),
        ({"weight": 0.0}, "positive"),
        ({"tries": 0}, "positive"),
        ({"count": -1}, "positive"),
    ],
)
def test_wrong_species_are_refused(words, message):
    with pytest.raises(InputError, match=message):
        Species(**{"name": "s", "templates": (0,), **words})


def test_wrong_layers_are_refused():
    with pytest.raises(InputError, match="no species"):
        Layer(())
    with pytest.raises(InputError, match="needs iterations"):
        Layer((species(0, count=1), species(1)))
    with pytest.raises(InputError, match="density from 0 to 1"):
        Layer((species(0),), density=1.5)
    with pytest.raises(InputError, match="points outside"):
        Seat(side="up")
    with pytest.raises(InputError, match=r"templates \(3,\) of 3"):
        fill(Occupancy((9, 9, 9), 10.0), KINDS, [Layer((species(3, count=1),))], stream(1, "p"))
