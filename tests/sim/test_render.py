"""Rendering: mass is kept, and a voxel's bytes depend on no box."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from turning import rotate

from volengine.core.boxes import Box
from volengine.core.specimen import Membrane, Placements, Template
from volengine.sim.atoms.templates import bead
from volengine.sim.recipe.film import FilmRecipe
from volengine.sim.render import moved, render
from volengine.sim.scene import FilmDrawn, Scene

VOXEL = 10.0


def blob(seed: int, count: int = 300, radius: float = 60.0, parts: int = 1) -> Template:
    drawn = np.random.default_rng(seed)
    points = drawn.standard_normal((count, 3))
    points *= radius * drawn.random((count, 1)) ** (1 / 3) / np.linalg.norm(points, axis=1, keepdims=True)
    weight = drawn.uniform(1000, 6000, count)
    classes = tuple(f"class{seed}.{n}" for n in range(parts))
    return Template(
        f"blob{seed}",
        classes,
        points.astype("f4"),
        weight.astype("f4"),
        drawn.integers(0, parts, count).astype("u1"),
        0.15,
    )


def placed(seed: int, count: int, templates: int, shape: tuple[int, int, int], margin: float = 0.0) -> Placements:
    drawn = np.random.default_rng(seed)
    size = np.array(shape) * VOXEL
    quaternion = drawn.standard_normal((count, 4))
    return Placements(
        drawn.integers(0, templates, count).astype("i4"),
        np.arange(1, count + 1, dtype="i4"),
        drawn.uniform(margin, 1, (count, 3)) * (size - 2 * margin * size) + margin * size,
        quaternion / np.linalg.norm(quaternion, axis=1, keepdims=True),
        np.zeros(count, "i4"),
    )


@pytest.mark.parametrize("radius", [25.0, 40.0, 61.0])
def test_a_gold_bead_is_labelled_as_large_as_it_is(radius: float) -> None:
    gold = bead(radius, VOXEL)
    counts = []
    for seed in range(6):
        at = np.random.default_rng(seed).uniform(90, 100, (1, 3))
        one = Placements(np.zeros(1, "i4"), np.ones(1, "i4"), at, np.array([[1.0, 0, 0, 0]]), np.zeros(1, "i4"))
        scene = Scene((gold,), one, classes={"gold": 1})
        counts.append(np.count_nonzero(render(scene, Box.of_shape((20, 20, 20)), VOXEL).classes))
    true = 4 / 3 * np.pi * (radius / VOXEL) ** 3
    assert np.mean(counts) == pytest.approx(true, rel=0.1)  # with the rule for proteins: 1.75 times, at 25 angstrom


def ball(centre: tuple[float, float, float], radius: float, instance: int) -> Membrane:
    spacing, reach = 8.0, radius + 80
    n = int(2 * reach / spacing) + 1
    corner = tuple(c - reach for c in centre)
    grid = np.stack(np.meshgrid(*[np.arange(n) * spacing - reach] * 3, indexing="ij"))
    return Membrane("membrane", instance, corner, spacing, (np.sqrt((grid**2).sum(0)) - radius).astype("f4"))


def scene(seed: int, count: int, shape: tuple[int, int, int], *, membranes: bool = True, parts: int = 2) -> Scene:
    templates = (blob(seed), blob(seed + 1, 80, 25.0, parts))
    names = sorted(name for t in templates for name in t.classes)
    sheets = (ball(tuple(n * VOXEL / 2 for n in shape), 100.0, count + 1),) if membranes else ()
    lines = {count + 1: np.arange(12.0).reshape(4, 3)}
    classes = {name: n + 1 for n, name in enumerate([*names, "membrane"])}
    return Scene(templates, placed(seed, count, 2, shape), sheets, lines, classes)


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 99), st.tuples(*[st.integers(4, 24)] * 3), st.tuples(*[st.integers(3, 11)] * 3))
def test_boxes_give_the_bytes_of_the_whole(seed, shape, core) -> None:
    here = scene(seed, 6, shape)
    whole = render(here, Box.of_shape(shape), VOXEL)
    for z in range(0, shape[0], core[0]):
        for y in range(0, shape[1], core[1]):
            for x in range(0, shape[2], core[2]):
                box = Box((z, y, x), (z + core[0], y + core[1], x + core[2])).clip(shape)
                part = render(here, box, VOXEL)
                for name in ("potential", "classes", "instances"):
                    assert np.array_equal(getattr(part, name), getattr(whole, name)[box.slices])


@pytest.mark.parametrize("voxel", [5.0, 10.0, 13.7])
def test_the_integral_is_kept_for_any_voxel_size(voxel: float) -> None:
    template = blob(3)
    shape = tuple(int(400 / voxel) + 2 for _ in range(3))
    at = Placements(
        np.zeros(1, "i4"),
        np.ones(1, "i4"),
        np.array([[201.0, 195.5, 204.3]]),
        np.array([[0.5, 0.5, -0.5, 0.5]]),
        np.zeros(1, "i4"),
    )
    here = Scene((template,), at, classes={"class3.0": 1}, ice=0.0)
    found = render(here, Box.of_shape(shape), voxel)
    assert found.potential.sum(dtype=float) * voxel**3 == pytest.approx(template.total, rel=1e-5)
    z, y, x = np.indices(shape) * voxel
    centre = [float((found.potential * axis).sum(dtype=float) / found.potential.sum(dtype=float)) for axis in (z, y, x)]
    wanted = np.average(moved(template, at.position[0], at.quaternion[0]), axis=0, weights=template.weight)
    assert np.allclose(centre, wanted, atol=1e-2)


def test_ice_gives_way_once_and_labels_follow_the_stronger() -> None:
    template = blob(5, 2000, 50.0)
    centre = np.array([[150.0, 150.0, 150.0], [150.0, 150.0, 220.0]])
    turn = np.array([[1.0, 0, 0, 0]] * 2)
    at = Placements(np.zeros(2, "i4"), np.array([7, 9], "i4"), centre, turn, np.zeros(2, "i4"))
    here = Scene((template,), at, classes={"class5.0": 4}, ice=4.5)
    found = render(here, Box.of_shape((30, 30, 37)), VOXEL)
    assert set(np.unique(found.classes)) == {0, 4}
    assert set(np.unique(found.instances)) == {0, 7, 9}
    assert found.instances[15, 15, 14] == 7
    assert found.instances[15, 15, 23] == 9
    assert np.array_equal(found.instances > 0, found.classes > 0)
    bare = render(Scene((template,), at, classes={"class5.0": 4}, ice=0.0), Box.of_shape((30, 30, 37)), VOXEL)
    gone = bare.potential - found.potential
    assert gone.max() <= 4.5 + 1e-5
    assert gone.min() >= -1e-5


def test_bilayers_lie_around_their_surface_and_leave_room_for_proteins() -> None:
    membrane = ball((150.0, 150.0, 150.0), 100.0, 3)
    here = Scene(membranes=(membrane,), classes={"membrane": 2})
    found = render(here, Box.of_shape((31, 31, 31)), VOXEL)
    z, y, x = np.indices((31, 31, 31)) * VOXEL - 150.0
    away = np.abs(np.sqrt(z**2 + y**2 + x**2) - 100)
    assert found.classes[away < 20].all()
    assert not found.classes[away > 26].any()
    assert found.potential[away < 20].mean() > 0.5
    assert not found.potential[away > 60].any()
    template = blob(1, 3000, 30.0)
    at = Placements(
        np.zeros(1, "i4"),
        np.ones(1, "i4"),
        np.array([[150.0, 150.0, 250.0]]),
        np.array([[1.0, 0, 0, 0]]),
        np.zeros(1, "i4"),
    )
    both = render(
        Scene((template,), at, (membrane,), classes={"membrane": 2, "class1.0": 1}), Box.of_shape((31, 31, 31)), VOXEL
    )
    alone = render(Scene((template,), at, classes={"class1.0": 1}), Box.of_shape((31, 31, 31)), VOXEL)
    assert both.instances[15, 15, 25] == 1
    assert both.potential[15, 15, 25] == alone.potential[15, 15, 25]


@pytest.mark.parametrize("empty", [False, True])
def test_a_scene_travels_as_a_table(empty: bool) -> None:
    here = Scene(classes={"a": 1}) if empty else scene(4, 5, (12, 13, 14))
    file = io.BytesIO()
    np.savez(file, **here.to_table())
    file.seek(0)
    with np.load(file, allow_pickle=False) as data:
        back = Scene.from_table({key: data[key] for key in data.files})
    assert back.classes == here.classes
    assert back.objects == here.objects
    assert [t.classes for t in back.templates] == [t.classes for t in here.templates]
    assert list(back.centrelines) == list(here.centrelines)
    one, other = (render(s, Box.of_shape((12, 13, 14)), VOXEL) for s in (here, back))
    assert np.array_equal(one.potential, other.potential)
    assert np.array_equal(one.instances, other.instances)


def test_a_chiral_particle_is_turned_and_not_mirrored() -> None:
    corners = np.array([[0, 0, 0], [0, 0, 30.0], [0, 20.0, 0], [10.0, 0, 0]])  # z, y, x
    turn = np.array([0.3, -0.5, 0.7, 0.4])
    turn /= np.linalg.norm(turn)
    found = rotate(corners, turn)

    def handed(points: np.ndarray) -> float:
        a, b, c = (points[n] - points[0] for n in (1, 2, 3))
        return float(np.dot(np.cross(a[::-1], b[::-1]), c[::-1]))

    assert handed(found) == pytest.approx(handed(corners))
    template = Template("t", ("c",), corners.astype("f4"), np.ones(4, "f4"), np.zeros(4, "u1"), 0.0)
    assert np.allclose(moved(template, np.zeros(3), turn), found, atol=1e-5)


def test_carbon_fills_what_a_bilayer_leaves() -> None:
    shape = (20, 30, 30)
    size = tuple(n * VOXEL for n in shape)
    film = FilmDrawn(2, FilmRecipe(thickness_nm=0.2 * size[0], cover=1.0).to_json(), size, 1, 1)
    membrane = ball((100.0, 150.0, 150.0), 80.0, 1)
    both = Scene(membranes=(membrane,), classes={"membrane": 1, "carbon": 2}, film=film)
    bare = Scene(membranes=(membrane,), classes={"membrane": 1})
    box = Box.of_shape(shape)
    filled, alone = render(both, box, VOXEL), render(bare, box, VOXEL)
    bilayer = alone.classes == 1
    assert bilayer.sum() > 500
    assert np.array_equal(filled.potential[bilayer], alone.potential[bilayer])
    assert (filled.classes[bilayer] == 1).all()
    carbon = filled.classes == 2
    assert carbon.sum() > 500
    assert filled.potential[carbon].mean() > alone.potential[carbon].mean() + 5
