"""Templates: nothing gained or lost, whatever the voxel size, the order of atoms or the frame; and no mirror images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from places import DATA
from scipy.spatial import cKDTree

from volengine.core.errors import InputError
from volengine.core.specimen import Template
from volengine.core.structure import Atoms, Structure, SubModel
from volengine.io.structures.read import read_structure
from volengine.sim.atoms.scattering import PROTEIN_POTENTIAL, displaced_volume, missing_hydrogens, potentials
from volengine.sim.atoms.templates import aligned, alone, bead, template_of, template_of_density

STRUCTURES = DATA / "structures"
Floats = NDArray[np.float64]


def blob(seed: int, count: int = 400, spread: tuple[float, float, float] = (60, 20, 20)) -> Atoms:
    rng = np.random.default_rng(seed)
    return Atoms(rng.normal(size=(count, 3)) * spread, rng.choice([6, 7, 8, 16], count))


def moment(template: Template) -> Floats:
    first: Floats = (template.point.astype(float) * template.weight[:, None].astype(float)).sum(0)
    return first / template.total


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.5, 60), st.sampled_from(["peng", "cts"]))
def test_total_and_first_moment_are_those_of_the_atoms(seed: int, voxel_size: float, scale: str) -> None:
    atoms = blob(seed)
    found = template_of(
        Structure("a", (SubModel("a", atoms),)), voxel_size=voxel_size, scale=scale, pivot=(0.0, 0.0, 0.0)
    )
    weight = potentials(atoms.number, scale=scale, hydrogens=missing_hydrogens(atoms.number))
    assert found.total == pytest.approx(weight.sum(), rel=1e-6)
    np.testing.assert_allclose(moment(found), (atoms.position * weight[:, None]).sum(0) / weight.sum(), atol=1e-3)
    volume = displaced_volume(atoms.number, hydrogens=missing_hydrogens(atoms.number)).sum()
    assert found.displaced * found.total == pytest.approx(volume, rel=1e-6)
    assert len(found.point) <= len(atoms)


@given(st.integers(0, 10**6))
@settings(max_examples=15)
def test_the_order_of_atoms_and_parts_does_not_matter(seed: int) -> None:
    atoms, other = blob(seed), blob(seed + 1, 50)
    order = np.random.default_rng(seed).permutation(len(atoms))
    shuffled = Atoms(atoms.position[order], atoms.number[order])
    one = template_of(Structure("a", (SubModel("a", atoms), SubModel("b", other))), voxel_size=30)
    two = template_of(Structure("a", (SubModel("a", shuffled), SubModel("b", other))), voxel_size=30)
    np.testing.assert_array_equal(one.part, two.part)
    np.testing.assert_allclose(one.point, two.point, atol=1e-3)
    np.testing.assert_allclose(one.weight, two.weight, rtol=1e-5)
    swapped = template_of(Structure("a", (SubModel("b", other), SubModel("a", atoms))), voxel_size=30)
    assert swapped.classes == ("b", "a")
    np.testing.assert_allclose(swapped.total, one.total, rtol=1e-6)


def test_pseudo_atoms_are_one_per_cell_and_part_and_lie_within() -> None:
    atoms = blob(3, 5000)
    found = template_of(Structure("a", (SubModel("a", atoms), SubModel("b", atoms))), voxel_size=30)
    cell = np.floor(found.point.astype(float) / 10 + 0.5).astype(int)
    rows = np.column_stack([found.part, cell])
    inner = (np.abs(found.point / 10 + 0.5 - np.rint(found.point / 10 + 0.5)) > 1e-4).all(1)  # not on a cell's wall
    assert len(np.unique(rows[inner], axis=0)) == inner.sum()
    assert (np.diff(found.part.astype(int)) >= 0).all()
    assert (found.part == 0).sum() == (found.part == 1).sum()


def test_classes_of_the_same_name_are_one_and_may_be_given() -> None:
    parts = tuple(SubModel(name, blob(i, 30)) for i, name in enumerate(["hub", "kinase", "hub"]))
    found = template_of(Structure("c", parts), voxel_size=0.01)
    assert found.classes == ("hub", "kinase")
    assert np.bincount(found.part).tolist() == [60, 30]
    assert template_of(Structure("c", parts), voxel_size=9, classes=["distract"]).classes == ("distract",)
    assert [s.sub_models[0].name for s in alone(Structure("c", parts))] == ["hub", "kinase", "hub"]


def test_the_pivot_is_the_centre_the_origin_or_a_place() -> None:
    atoms = Atoms([[0, 0, 0], [0, 0, 10]], [6, 6])
    mark = Atoms([[1, 2, 3], [3, 4, 5]], [6, 1])
    plain, marked = (
        Structure("p", (SubModel("p", atoms),)),
        Structure("p", (SubModel("the_Origin", mark), SubModel("p", atoms))),
    )
    first = {"voxel_size": 0.3}
    np.testing.assert_allclose(template_of(plain, **first).point, [[0, 0, -5], [0, 0, 5]])
    np.testing.assert_allclose(template_of(plain, pivot="origin", **first).point, atoms.position)
    found = template_of(marked, pivot="origin", **first)
    np.testing.assert_allclose(found.point, atoms.position - np.array([2, 3, 4]), atol=1e-6)
    assert found.classes == ("p",)
    np.testing.assert_allclose(template_of(plain, pivot=(0, 0, 10), **first).point, [[0, 0, -10], [0, 0, 0]])
    assert [len(s.sub_models) for s in alone(marked)] == [2]
    far = Structure("f", (SubModel("f", Atoms([[0, 7, 0], [0, 7, 10]], [6, 6])),))
    np.testing.assert_allclose(template_of(far, pivot="origin", **first).point, [[0, 0, -5], [0, 0, 5]])
    for wrong in ("middle", (1, 2), (0, 0, float("nan"))):
        with pytest.raises(InputError, match="pivot"):
            template_of(plain, pivot=wrong, **first)  # type: ignore[arg-type]


def test_what_has_no_weight_is_refused() -> None:
    with pytest.raises(InputError, match="no atoms"):
        template_of(Structure("void", (SubModel("origin", blob(1)),)), voxel_size=10)
    with pytest.raises(InputError, match="weighs nothing"):
        template_of(Structure("gas", (SubModel("h", Atoms([[0, 0, 0]], [1])),)), voxel_size=10, scale="cts")
    with pytest.raises(InputError, match="voxel_size"):
        template_of(Structure("a", (SubModel("a", blob(1)),)), voxel_size=0)


# -- handedness --------------------------------------------------------------------------------------------

CHIRAL = np.array([[0, 0, 0], [40, 0, 0], [0, 25, 0], [5, 5, 12.0]])  # four points, no two distances alike


def handedness(point: NDArray[np.float32]) -> float:
    """Sign of the volume that three edges span, in x, y, z, of points in the order of CHIRAL."""
    edges = point[1:, ::-1].astype(float) - point[0, ::-1]
    return float(np.sign(np.linalg.det(edges)))


def in_order(found: Template) -> NDArray[np.float32]:
    """The points as CHIRAL lists them, told by weight (elements differ)."""
    return found.point[np.argsort(found.weight)[np.argsort(np.argsort([6, 9, 7, 4]))]]


@given(st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: sum(x * x for x in v) > 0.01))
@settings(max_examples=60)
def test_turning_keeps_hand_distances_and_points_the_axis_up(axis: tuple[float, float, float]) -> None:
    weight = np.array([1.0, 2, 3, 4], np.float32)
    start = Template("c", ("c",), CHIRAL.astype(np.float32), weight, np.zeros(4, np.uint8), 0.1)
    found = aligned(start, axis)
    assert handedness(found.point) == handedness(start.point)
    for a in range(4):
        was, now = np.linalg.norm(CHIRAL - CHIRAL[a], axis=1), np.linalg.norm(found.point - found.point[a], axis=1)
        np.testing.assert_allclose(now, was, atol=1e-4)
    along = CHIRAL @ (np.array(axis) / np.linalg.norm(axis))
    np.testing.assert_allclose(found.point[:, 0], along, atol=1e-4)


@pytest.mark.parametrize("axis", [(-1, 0, 0), (1, 0, 0), (-1, 1e-9, 0), (0, 0, -1)])
def test_turning_by_half_a_turn_is_no_mirror(axis: tuple[float, float, float]) -> None:
    start = Template("c", ("c",), CHIRAL.astype(np.float32), np.ones(4, np.float32), np.zeros(4, np.uint8), 0.1)
    found = aligned(start, axis)
    assert handedness(found.point) == handedness(start.point)
    np.testing.assert_allclose(found.point[:, 0], CHIRAL @ np.array(axis), atol=1e-3)


def test_a_template_has_the_hand_of_its_atoms() -> None:
    number = [9, 15, 11, 8]  # fluorine, phosphorus, sodium, oxygen: told apart by weight
    for sign in (1, -1):
        atoms = Atoms(CHIRAL * [1, 1, sign], number)
        found = template_of(Structure("c", (SubModel("c", atoms),)), voxel_size=3)
        ranks = np.argsort(np.argsort(potentials(number, hydrogens=missing_hydrogens(number))))
        assert handedness(found.point[np.argsort(found.weight)[ranks]]) == sign * handedness(CHIRAL.astype(np.float32))


def test_the_long_axis_goes_to_z_with_its_heavy_tail_up() -> None:
    rng = np.random.default_rng(5)
    along = np.concatenate([rng.uniform(-30, 0, 400), rng.uniform(0, 90, 150)])
    direction = np.array([0.3, -0.5, 0.8]) / np.linalg.norm([0.3, -0.5, 0.8])
    point = along[:, None] * direction + rng.normal(size=(550, 3)) * 2
    for sign in (1, -1):
        start = Template(
            "r", ("r",), (sign * point).astype(np.float32), np.ones(550, np.float32), np.zeros(550, np.uint8), 0.1
        )
        found = aligned(start).point
        assert found[:, 0].max() > 80
        assert found[:, 0].min() > -45
        assert np.abs(found[:, 1:]).max() < 20
        np.testing.assert_array_equal(found, aligned(start).point)


def test_an_axis_without_length_is_refused() -> None:
    with pytest.raises(InputError, match="no direction"):
        aligned(bead(20, 10), (0, 0, 0))


# -- beads and maps ----------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(st.floats(15, 120), st.floats(4, 30))
def test_a_bead_has_the_mass_of_a_ball_of_gold(radius: float, voxel_size: float) -> None:
    found = bead(radius, voxel_size)
    volume = 4 / 3 * np.pi * radius**3
    assert found.total == pytest.approx(volume * 19.3 * 0.602214 / 196.967 * 47.878 * 10.5714, rel=1e-4)
    assert found.displaced * found.total == pytest.approx(volume, rel=1e-6)
    np.testing.assert_allclose(moment(found), 0, atol=1e-3 * radius)
    assert found.radius <= radius * (1 + 1e-6)  # points are float32
    square = (found.weight[:, None] * found.point.astype(float) ** 2).sum() / found.total
    assert square == pytest.approx(0.6 * radius**2, rel=0.08)  # of a solid ball; a shell would have 1


def test_beads_of_nothing_and_of_too_many_points_are_refused() -> None:
    with pytest.raises(InputError, match="radius_a"):
        bead(0, 10)
    with pytest.raises(InputError, match="too many points"):
        bead(5000, 3)


def ball(shape: tuple[int, int, int], centre: tuple[float, float, float], radius: float) -> NDArray[np.float32]:
    grid = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    far = np.sqrt(sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)))
    noise = np.random.default_rng(0).normal(size=shape) * 0.02
    return np.asarray(1 / (1 + np.exp((far - radius) * 3)) + noise + 5, np.float32)


@pytest.mark.parametrize("cell", [1.0, 2.5, 4.0, 9.0])
def test_a_map_weighs_as_protein_of_its_volume(cell: float) -> None:
    array = ball((24, 26, 30), (12, 13, 11), 8)
    found = template_of_density(array, 4.0, "map", cell=cell)
    volume = np.count_nonzero(array > 5.5) * 64
    assert found.total == pytest.approx(volume * PROTEIN_POTENTIAL, rel=0.02)
    assert 1 / found.displaced == pytest.approx(PROTEIN_POTENTIAL)
    np.testing.assert_allclose(moment(found), 0, atol=1e-3)
    assert found.radius == pytest.approx(8 * 4, abs=4 + cell)
    gaps = cKDTree(found.point).query(found.point, k=2)[0][:, 1]
    assert gaps.max() < 1.8 * cell  # no holes, though the map's voxels may be larger


@pytest.mark.parametrize("cell", [1.0, 3.0])
def test_a_map_keeps_its_hand_and_may_have_anisotropic_voxels(cell: float) -> None:
    size = np.array([3.0, 2.0, 1.0])
    places = np.array([[4, 5, 6], [14, 5, 6], [4, 20, 6], [5, 6, 40]])
    halves = [(1, 1, 1), (1, 1, 2), (1, 2, 2), (2, 2, 2)]
    array = np.zeros((20, 28, 50), np.float32)
    for at, half in zip(places, halves, strict=True):
        array[tuple(slice(c - h, c + h + 1) for c, h in zip(at, half, strict=True))] = 1
    found = template_of_density(array, size, "c", cell=cell, threshold=0.5, total=1000.0)
    assert found.total == pytest.approx(1000, rel=1e-6)
    count = np.array([np.prod([2 * h + 1 for h in half]) for half in halves])
    expected = (places - np.average(places, axis=0, weights=count)) * size
    nearest = np.linalg.norm(found.point[:, None] - expected, axis=2).argmin(1)
    for index in range(4):
        mine = found.weight[nearest == index].astype(float)
        middle = np.average(found.point[nearest == index], axis=0, weights=mine)
        np.testing.assert_allclose(middle, expected[index], atol=1.5)
        assert mine.sum() / 1000 == pytest.approx(count[index] / count.sum(), rel=0.25)


def test_maps_without_a_molecule_are_refused() -> None:
    with pytest.raises(InputError, match="above the threshold 9"):
        template_of_density(ball((9, 9, 9), (4, 4, 4), 2), 4, "m", cell=4, threshold=9)
    with pytest.raises(InputError, match="total"):
        template_of_density(ball((9, 9, 9), (4, 4, 4), 2), 4, "m", cell=4, total=-1)


# -- real structures ---------------------------------------------------------------------------------------


@pytest.mark.skipif(not STRUCTURES.is_dir(), reason="the folder of structures (shared/data/structures) is not here")
@pytest.mark.parametrize("file", ["1bxn.pdb.gz", "3qm1.pdb.gz"])
def test_the_assembly_weighs_twice_its_half_at_every_voxel_size(file: str) -> None:
    half, whole = (read_structure(STRUCTURES / file, assembly=a) for a in ("file", "1"))
    weights = [template_of(half, voxel_size=v).total for v in (2.0, 7.0, 14.0)]
    assert max(weights) / min(weights) == pytest.approx(1, abs=1e-6)
    assert template_of(whole, voxel_size=10).total == pytest.approx(2 * weights[0], rel=1e-6)
