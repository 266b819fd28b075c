"""Bilayers: their profile, their distance, their points and meshes; vesicles and sheets keep what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import cKDTree

from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.core.specimen import Membrane
from volengine.sim.atoms.scattering import ICE_POTENTIAL, POTENTIAL_OF_AMPLITUDE
from volengine.sim.seeds import stream
from volengine.sim.shapes.membranes import (
    CH2_FACTOR,
    CH2_VOLUME,
    CH3_FACTOR,
    CH3_VOLUME,
    HEAD_FACTOR,
    HEAD_TO_CARBON,
    HEAD_VOLUME,
    at,
    bilayer,
    cts_bilayer,
    distance_to,
    gradient_at,
    mesh_area,
    surface_mesh,
    surface_points,
    within,
)
from volengine.sim.shapes.sheets import SheetRecipe, sheet
from volengine.sim.shapes.surfaces import SmoothField
from volengine.sim.shapes.vesicles import VesicleRecipe, draw_shape, place_vesicles, vesicle

CENTRE = (301.3, 298.2, 305.1)


@pytest.fixture(scope="module")
def ball() -> Membrane:
    """A sphere of 150 A."""
    return vesicle(stream(1, "ball"), CENTRE, 150.0)


@pytest.fixture(scope="module")
def uneven() -> Membrane:
    return vesicle(stream(3, "uneven"), CENTRE, 180.0, 0.6)


# -- profile -----------------------------------------------------------------------------------------------------


def test_the_profile_holds_what_its_lipids_hold() -> None:
    """The integral is that of the atoms, less the ice they displace: nothing is lost in the smoothing."""
    area, thickness = 64.0, 38.0
    chain_volume = (thickness / 2 - HEAD_TO_CARBON) * area  # of one lipid
    methylenes = (chain_volume - 2 * CH3_VOLUME) / CH2_VOLUME
    assert 27 < methylenes < 31  # two palmitoyl chains have 28
    factors = HEAD_FACTOR + methylenes * CH2_FACTOR + 2 * CH3_FACTOR
    expected = 2 * (POTENTIAL_OF_AMPLITUDE * factors - ICE_POTENTIAL * (HEAD_VOLUME + chain_volume)) / area
    assert bilayer(thickness, area_a2=area).total == pytest.approx(expected, rel=1e-4)


def test_the_profile_has_two_heads_and_a_trough_between() -> None:
    profile = bilayer(38.0)
    x = np.arange(-45, 45.1, 0.1)
    value = profile(x)
    assert abs(abs(x[np.argmax(value)]) - 19) < 1.5
    assert value[len(x) // 2] < 0.3 * value.max()
    assert np.array_equal(value, profile(-x))
    assert np.all(profile(np.array([profile.reach, profile.reach + 0.01, 1e9])) == 0)
    assert abs(np.diff(value)).max() < 0.1  # smooth, also where it ends


@given(width=st.floats(1, 30), thickness=st.floats(30, 50), shift=st.floats(0, 1))
@settings(max_examples=25)
def test_voxels_see_their_mean(width: float, thickness: float, shift: float) -> None:
    profile = bilayer(thickness)
    mean = profile.averaged(width)
    assert mean.total == pytest.approx(profile.total, rel=1e-5)
    centres = (np.arange(-40, 41) + shift) * width
    assert mean(centres).sum() * width == pytest.approx(profile.total, rel=2e-3)  # wherever the voxels lie
    fine = (np.arange(2000) + 0.5) / 2000 - 0.5
    at_one = centres[41] + fine * width
    assert mean(centres[41]) == pytest.approx(profile(at_one).mean(), abs=0.01)


def test_the_profile_of_cts_is_its_slab_and_faces_blurred() -> None:
    profile = cts_bilayer(72.0, pixel_a=6.0, peak=2.0)
    x = np.arange(-150, 150.01, 0.05)
    sharp = 0.5 * (np.abs(x) < 36) + 0.5 * ((np.abs(x) < 36) & (np.abs(x) > 30))
    blurred = gaussian_filter1d(sharp, 12.0 / 0.05, truncate=6)
    assert np.abs(profile(x) - 2 * blurred / blurred.max()).max() < 0.01
    assert profile(profile.reach) == 0


@pytest.mark.parametrize("thickness", [0.0, 10.0, -38.0])
def test_bilayers_without_room_for_chains_are_refused(thickness: float) -> None:
    with pytest.raises(InputError, match="cannot be built"):
        bilayer(thickness)


# -- distance ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [100.0, 150.0, 400.0])
def test_the_distance_from_a_sphere(radius: float) -> None:
    rng = stream(2, "sphere")
    ball = vesicle(rng, CENTRE, radius)
    direction = rng.standard_normal((20000, 3))
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    height = rng.uniform(-60, 60, 20000)
    found = distance_to(ball, direction * (radius + height)[:, None] + CENTRE)
    assert np.abs(found - height).max() < 0.5
    assert distance_to(ball, [CENTRE])[0] == -80
    assert distance_to(ball, [[1e5, 0, 0]])[0] == 80


def test_the_distance_from_an_uneven_vesicle_is_that_to_its_nearest_point() -> None:
    shape = draw_shape(stream(5, "shape"), 180.0, 0.6)
    dense, sharpest = shape.cloud(1.5)
    assert sharpest >= 49
    uneven = vesicle(stream(5, "shape"), CENTRE, 180.0, 0.6)
    rng = stream(6, "places")
    places = dense.point[rng.integers(len(dense), size=3000)] + rng.uniform(-40, 40, (3000, 3))
    _, nearest = cKDTree(dense.point).query(places)
    true = ((places - dense.point[nearest]) * dense.normal[nearest]).sum(1)
    assert np.array_equal(shape.holds(places)[np.abs(true) > 0.1], (true < 0)[np.abs(true) > 0.1])
    keep = (true < 60) & (true > -25)  # half the smallest radius of curvature
    assert keep.sum() > 1000
    assert np.abs(distance_to(uneven, places + CENTRE)[keep] - true[keep]).max() < 0.5


@given(
    voxel=st.sampled_from([7.3, 10.0, 13.68]),
    start=st.tuples(*[st.integers(-3, 20)] * 3),
    size=st.tuples(*[st.integers(1, 30)] * 3),
)
@settings(max_examples=25)
def test_a_voxels_distance_depends_on_no_box(
    uneven: Membrane, voxel: float, start: tuple[int, int, int], size: tuple[int, int, int]
) -> None:
    stop = tuple(a + n for a, n in zip(start, size, strict=True))
    box = Box(start, stop)
    whole = Box((-3, -3, -3), (50, 50, 50))
    profile = bilayer().averaged(voxel)
    all_of_it = at(uneven, whole, voxel)
    part = at(uneven, box, voxel)
    assert np.array_equal(part, all_of_it[box.slices_in(whole)])
    assert np.array_equal(profile(part), profile(all_of_it)[box.slices_in(whole)])
    centres = np.stack(np.meshgrid(*[np.arange(a, b) * voxel for a, b in zip(start, stop, strict=True)], indexing="ij"))
    np.testing.assert_allclose(part.ravel(), distance_to(uneven, centres.reshape(3, -1).T), atol=1e-3)


def test_outside_of_the_grid_a_membrane_is_far(uneven: Membrane) -> None:
    box = Box.of_shape((80, 80, 80))
    inner = within(uneven, box, 10.0)
    assert 0 < inner.size < box.size
    outside = at(uneven, box, 10.0)
    outside[inner.slices] = 80
    assert (outside == 80).all()


# -- surfaces ----------------------------------------------------------------------------------------------------


def test_the_mesh_of_a_sphere_is_closed_and_looks_outward(ball: Membrane) -> None:
    vertices, faces = surface_mesh(ball)
    radius = np.linalg.norm(vertices - CENTRE, axis=1)
    assert np.abs(radius - 150).max() < 0.6
    assert mesh_area(vertices, faces).sum() == pytest.approx(4 * np.pi * 150**2, rel=0.01)
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()
    a, b, c = (vertices[faces[:, i]][:, ::-1] for i in range(3))  # x, y, z
    volume = (a * np.cross(b, c)).sum() / 6
    assert volume == pytest.approx(4 / 3 * np.pi * 150**3, rel=0.01)


def test_a_mesh_can_be_cut_at_the_box(ball: Membrane) -> None:
    vertices, faces = surface_mesh(ball, (300.0, 400.0, 500.0))
    assert len(faces) > 0
    assert (vertices >= 0).all()
    assert (vertices <= [300, 400, 500]).all()
    assert set(faces.ravel()) == set(range(len(vertices)))
    assert len(surface_mesh(ball, (20.0, 20.0, 20.0))[1]) == 0


def test_points_are_spread_evenly_with_outward_normals(ball: Membrane) -> None:
    points, normals = surface_points(ball, 20.0, stream(1, "points"))
    outward = (points - CENTRE) / np.linalg.norm(points - CENTRE, axis=1)[:, None]
    assert (normals * outward).sum(1).min() > 0.998
    assert np.abs(np.linalg.norm(points - CENTRE, axis=1) - 150).max() < 0.5
    tree = cKDTree(points)
    assert tree.query(points, k=2)[0][:, 1].min() >= 20.0
    vertices, _ = surface_mesh(ball)
    assert tree.query(vertices)[0].max() < 30.0
    octant = ((points - CENTRE) > 0) @ [4, 2, 1]
    assert np.bincount(octant, minlength=8).min() > 0.7 * len(points) / 8
    again, _ = surface_points(ball, 20.0, stream(1, "points"))
    assert again.tobytes() == points.tobytes()


# -- vesicles ----------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**31), nested=st.booleans())
@settings(max_examples=2)
def test_vesicles_keep_their_gap_and_their_walls(seed: int, nested: bool) -> None:
    recipe = VesicleRecipe(count=5, radius_a=(90, 190), gap_a=60, nested=nested, walls="z", tries=10)
    size = (700.0, 700.0, 700.0)
    placed = place_vesicles(stream(seed, "vesicles"), size, recipe)
    assert placed.asked == 5
    assert 1 <= len(placed.membranes) == len(placed.centres) == len(placed.radii) <= 5
    assert ((placed.centres >= 0) & (placed.centres <= size)).all()
    meshes = [surface_mesh(m)[0] for m in placed.membranes]
    for i, one in enumerate(meshes):
        assert one[:, 0].min() > 39
        assert one[:, 0].max() < 661
        for j in range(i):
            assert cKDTree(one).query(meshes[j])[0].min() > 59
            if not nested:
                assert distance_to(placed.membranes[j], one).min() > 0
                assert distance_to(placed.membranes[i], meshes[j]).min() > 0
    again = place_vesicles(stream(seed, "vesicles"), size, recipe)
    assert [m.distance.tobytes() for m in again.membranes] == [m.distance.tobytes() for m in placed.membranes]


def test_no_vesicle_where_something_else_is() -> None:
    recipe = VesicleRecipe(count=3, walls="none")

    def left(points: np.ndarray) -> bool:
        return bool(points[:, 2].min() < 500)

    placed = place_vesicles(stream(1, "v"), (600.0, 1200.0, 1200.0), recipe, clashes=left, first_instance=7)
    assert [m.instance for m in placed.membranes] == [7, 8, 9][: len(placed.membranes)]
    assert len(placed.membranes) >= 1
    assert all(surface_mesh(m)[0][:, 2].min() >= 499 for m in placed.membranes)
    assert len(place_vesicles(stream(1, "v"), (600.0, 1200.0, 1200.0), recipe, clashes=lambda p: True).membranes) == 0


def test_vesicles_lie_on_both_sides_of_a_sheet() -> None:
    size = (500.0, 1500.0, 1500.0)
    wall = sheet(stream(1, "wall"), size, SheetRecipe(normal=(0, 0, 1), amplitude_a=0))
    placed = place_vesicles(stream(2, "v"), size, VesicleRecipe(count=8, radius_a=(90, 130)), others=(wall,))
    sides = [distance_to(wall, surface_mesh(m)[0]) for m in placed.membranes]
    assert all(np.abs(side).min() > 69 for side in sides)
    assert {bool(side.min() > 0) for side in sides} == {True, False}


def test_sphericity_is_the_ratio_of_the_axes() -> None:
    shape = draw_shape(stream(1, "s"), 200.0, 1.0)
    assert shape.semi_axis == pytest.approx([200] * 3)
    shape = draw_shape(stream(2, "s"), 200.0, 0.8)
    assert shape.semi_axis.min() / shape.semi_axis.max() >= 0.8 - 1e-9
    assert np.prod(shape.semi_axis) == pytest.approx(200.0**3)
    assert np.abs(shape.bump).max() > 0


@pytest.mark.parametrize(
    "change",
    [
        {"radius_a": (10, 20)},
        {"sphericity": (0.1, 1)},
        {"walls": "q"},
        {"gap_a": 200},
        {"count": -1},
        {"spacing_a": 50},
    ],
)
def test_recipes_that_make_no_sense_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError):
        VesicleRecipe(**change)  # type: ignore[arg-type]


# -- sheets ------------------------------------------------------------------------------------------------------


def test_a_flat_sheet_is_a_plane() -> None:
    one = sheet(stream(1, "sheet"), (200.0, 400.0, 500.0), SheetRecipe(normal=(0, 1, 1), amplitude_a=0))
    places = stream(2, "p").random((2000, 3)) * [200, 400, 500]
    plane = (places - [100, 200, 250]) @ np.array([0, 1, 1]) / np.sqrt(2)
    assert np.abs(distance_to(one, places) - np.clip(plane, -80, 80)).max() < 8.8  # the kink at 80 A, in one cell
    near = np.abs(plane) < 60
    assert np.abs(distance_to(one, places)[near] - plane[near]).max() < 0.01


def test_a_wavy_sheet_has_slope_one_and_cuts_the_box_in_two() -> None:
    recipe = SheetRecipe(wavelength_a=1500, amplitude_a=60)
    one = sheet(stream(4, "sheet"), (300.0, 1200.0, 1200.0), recipe)
    vertices, faces = surface_mesh(one, (300.0, 1200.0, 1200.0))
    assert mesh_area(vertices, faces).sum() > 0.8 * 300 * 1200
    places = vertices[::5] + 30 * gradient_at(one, vertices[::5])
    inner = ((places > 60) & (places < [240, 1140, 1140])).all(1)
    assert np.abs(distance_to(one, places)[inner] - 30).max() < 0.6
    away = np.abs(one.distance) == 80
    assert 0.05 < (one.distance[away] < 0).mean() < 0.95


def test_a_smooth_field_has_its_amplitude_and_no_kinks() -> None:
    field = SmoothField.random(stream(1, "field"), (40000.0, 40000.0), 400.0, 30.0)
    line = np.arange(0.0, 40000.0, 61.0)
    assert field(line, line).std() == pytest.approx(30, rel=0.05)
    fine = field(np.array([1000.0]), np.arange(0, 3000.0, 1.0))[0]
    assert np.abs(np.diff(fine, 2)).max() < 30 * 5 * (2 * np.pi / 400) ** 2
    one, two = stream(2, "at").random((2, 50)) * 40000
    assert np.allclose(field.at(one, two), [field(a, b)[0, 0] for a, b in zip(one[:, None], two[:, None], strict=True)])
