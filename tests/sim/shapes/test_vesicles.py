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
from volengine.sim.recipe.membranes import SheetsRecipe, VesiclesRecipe
from volengine.sim.seeds import stream
from volengine.sim.shapes.membranes import (
    CH2_FACTOR,
    CH2_VOLUME,
    CH3_FACTOR,
    CH3_VOLUME,
    HEAD_FACTOR,
    HEAD_TO_CARBON,
    HEAD_VOLUME,
    LIPID_AREA,
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
from volengine.sim.shapes.sheets import across_z, sheet
from volengine.sim.shapes.surfaces import SmoothField
from volengine.sim.shapes.vesicles import closed_membrane, draw_shape, place_vesicles, spread

CENTRE = (301.3, 298.2, 305.1)


def vesicle(rng: np.random.Generator, radius: float, sphericity: float = 1.0) -> Membrane:
    """One vesicle of a shape drawn at random about the centre."""
    return closed_membrane(draw_shape(rng, radius, sphericity).cloud(spread(radius))[0].moved(CENTRE))


@pytest.fixture(scope="module")
def ball() -> Membrane:
    """A sphere of 150 A."""
    return vesicle(stream(1, "ball"), 150.0)


@pytest.fixture(scope="module")
def uneven() -> Membrane:
    return vesicle(stream(3, "uneven"), 180.0, 0.6)


# -- profile -----------------------------------------------------------------------------------------------------


def test_the_profile_holds_what_its_lipids_hold() -> None:
    """The integral is that of the atoms, less the ice they displace: nothing is lost in the smoothing."""
    area, thickness = LIPID_AREA, 38.0
    chain_volume = (thickness / 2 - HEAD_TO_CARBON) * area  # of one lipid
    methylenes = (chain_volume - 2 * CH3_VOLUME) / CH2_VOLUME
    assert 27 < methylenes < 31  # two palmitoyl chains have 28
    factors = HEAD_FACTOR + methylenes * CH2_FACTOR + 2 * CH3_FACTOR
    expected = 2 * (POTENTIAL_OF_AMPLITUDE * factors - ICE_POTENTIAL * (HEAD_VOLUME + chain_volume)) / area
    assert bilayer(thickness).total == pytest.approx(expected, rel=1e-4)


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
    ball = vesicle(rng, radius)
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
    uneven = vesicle(stream(5, "shape"), 180.0, 0.6)
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


@given(seed=st.integers(0, 2**31))
@settings(max_examples=2)
def test_vesicles_keep_their_gap_and_their_walls(seed: int) -> None:
    recipe = VesiclesRecipe(count=5, radius_nm=(9, 19), name="liposome")
    size = (700.0, 700.0, 700.0)
    placed = place_vesicles(stream(seed, "vesicles"), size, recipe, walls="z", first_instance=7)
    assert 1 <= len(placed) <= 5
    assert [m.instance for m in placed] == list(range(7, 7 + len(placed)))
    assert {m.name for m in placed} == {"liposome"}
    meshes = [surface_mesh(m)[0] for m in placed]
    for i, one in enumerate(meshes):
        assert one[:, 0].min() > 39
        assert one[:, 0].max() < 661
        assert ((one.mean(0) >= -10) & (one.mean(0) <= np.array(size) + 10)).all()  # the centre lies in the box
        for j in range(i):
            assert cKDTree(one).query(meshes[j])[0].min() > 69
            assert distance_to(placed[j], one).min() > 0
            assert distance_to(placed[i], meshes[j]).min() > 0
    again = place_vesicles(stream(seed, "vesicles"), size, recipe, walls="z")
    assert [m.distance.tobytes() for m in again] == [m.distance.tobytes() for m in placed]


def test_vesicles_find_their_places_in_a_thin_slab() -> None:
    """Of radii from 12 to 40 nm only those up to about 21 fit between the walls; all are found nevertheless."""
    size = (500.0, 2400.0, 2400.0)
    placed = place_vesicles(stream(4, "v"), size, VesiclesRecipe(count=6, radius_nm=(12, 40)), walls="z")
    assert len(placed) == 6
    meshes = [surface_mesh(m)[0] for m in placed]
    assert min(mesh[:, 0].min() for mesh in meshes) > 39
    assert max(mesh[:, 0].max() for mesh in meshes) < 461
    middle = [float(mesh[:, 0].mean()) for mesh in meshes]
    assert np.ptp(middle) > 10  # not all in the middle
    assert place_vesicles(stream(4, "v"), size, VesiclesRecipe(count=1, radius_nm=(30, 40)), walls="z") == ()


def test_vesicles_that_may_be_cut_cross_walls() -> None:
    recipe, size = VesiclesRecipe(count=2, radius_nm=(30, 40), cut=True), (400.0, 1500.0, 1500.0)
    cut = place_vesicles(stream(1, "v"), size, recipe, walls="z")
    assert len(cut) == 2
    assert all(surface_mesh(m)[0][:, 0].max() > 400 or surface_mesh(m)[0][:, 0].min() < 0 for m in cut)
    assert place_vesicles(stream(1, "v"), size, recipe.with_(cut=False), walls="z") == ()


def test_vesicles_lie_on_both_sides_of_a_sheet() -> None:
    size = (500.0, 1500.0, 1500.0)
    wall = sheet(stream(1, "wall"), size, SheetsRecipe(height_nm=0), (0, 0, 1), 0.5)
    placed = place_vesicles(stream(2, "v"), size, VesiclesRecipe(count=8, radius_nm=(9, 13)), walls="z", others=(wall,))
    sides = [distance_to(wall, surface_mesh(m)[0]) for m in placed]
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
        {"radius_nm": (1, 2)},
        {"radius_nm": (20, 10)},
        {"sphericity": (0.1, 1)},
        {"sphericity": (0.5, 1.1)},
        {"count": -1},
    ],
)
def test_recipes_that_make_no_sense_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError):
        VesiclesRecipe(**change)  # type: ignore[arg-type]


@pytest.mark.parametrize(("radius", "sphericity"), [(50.0, 1.0), (100.0, 0.0), (100.0, 1.5)])
def test_shapes_that_cannot_be_are_refused(radius: float, sphericity: float) -> None:
    with pytest.raises(InputError):
        draw_shape(stream(1, "s"), radius, sphericity)


# -- sheets ------------------------------------------------------------------------------------------------------


def test_a_flat_sheet_is_a_plane() -> None:
    normal = np.array([0, 1, 1]) / np.sqrt(2)
    one = sheet(stream(1, "sheet"), (200.0, 400.0, 500.0), SheetsRecipe(height_nm=0), normal, 0.5)
    places = stream(2, "p").random((2000, 3)) * [200, 400, 500]
    plane = (places - [100, 200, 250]) @ normal
    assert np.abs(distance_to(one, places) - np.clip(plane, -80, 80)).max() < 8.8  # the kink at 80 A, in one cell
    near = np.abs(plane) < 60
    assert np.abs(distance_to(one, places)[near] - plane[near]).max() < 0.01


def test_a_wavy_sheet_has_slope_one_and_cuts_the_box_in_two() -> None:
    recipe, rng = SheetsRecipe(wavelength_nm=150, height_nm=6), stream(4, "sheet")
    one = sheet(rng, (300.0, 1200.0, 1200.0), recipe, across_z(rng), 0.5)
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
