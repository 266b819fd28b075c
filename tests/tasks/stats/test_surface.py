"""volengine stats --surface: particles on planes, spheres and tori whose statistics are known; tables and figures."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import starfile
from stats_inputs import QUIET
from stats_on_surfaces import CENTRE, FEW, ORIGIN, RECIPE, column, picks_of, run, surfaces_of, three
from surface_shapes import area, on_plane, on_torus, plane, sphere, torus

import volengine
from volengine.core.errors import InputError
from volengine.core.orientation import matrix_to_euler
from volengine.tasks.stats.surface_recipe import SurfaceStatsRecipe
from volengine.tasks.stats.tables import COLUMNS
from volengine.tasks.stats.verb import stats

# -- truths ------------------------------------------------------------------------------------------------


def test_points_on_a_plane_are_projected_counted_and_measured(tmp_path: Path) -> None:
    """Voxels of three lengths, an origin, a turned plane: places agree to the rounding of files."""
    at = np.array([[-20.0, -20], [-20, -17], [25, 10], [-5, 30]])
    picks = picks_of(tmp_path, on_plane(at, height=2.0))
    found = run(picks, surfaces_of(tmp_path, plane(100, 7)))
    (row,) = found["surfaces"]
    assert row["objects"] == 4
    assert row["surface_um2"] == pytest.approx(0.01, rel=1e-5)
    assert row["per_um2"] == pytest.approx(400, rel=1e-5)
    assert abs(row["distance_mean_nm"]) == pytest.approx(2.0, abs=1e-3)
    true = np.linalg.norm(at[:, None] - at[None], axis=2)
    true[true == 0] = np.inf
    assert sorted(column(found, "surface_neighbours", "distance_nm")) == pytest.approx(
        sorted(true.min(axis=1)), abs=2e-3
    )
    assert row["clusters"] == 1
    assert row["clustered"] == 2
    places = np.array([[r[f"{axis}_nm"] for axis in "zyx"] for r in found["surface_objects"]]) - CENTRE
    expected = on_plane(at)
    assert max(np.linalg.norm(expected - p, axis=1).min() for p in places) < 2e-3


def test_a_lattice_on_a_plane_has_its_counts_in_rings_of_exact_area(tmp_path: Path) -> None:
    """16 x 16 points 6.1 nm apart, within 20 nm; expected pairs by the area of each disc that is on the plane."""
    line = (np.arange(16) - 7.5) * 6.1
    at = np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2)
    recipe = FEW.with_(bin_nm=4, occupancy_nm=2.5)
    found = run(picks_of(tmp_path, on_plane(at)), surfaces_of(tmp_path, plane(96, 4)), recipe)
    far = np.linalg.norm(at[:, None] - at[None], axis=2)
    radii = recipe.radii
    counted = [int(((far > low) & (far <= high) & (far > 0)).sum()) for low, high in zip(radii - 4, radii, strict=True)]
    assert column(found, "ripley", "counted") == counted
    grid = (np.arange(480) + 0.5) / 5 - 48  # areas by counting points of a fine grid
    y, x = np.meshgrid(grid, grid, indexing="ij")
    within = np.array([[(np.hypot(y - a, x - b) <= r).sum() * 0.04 for r in radii] for a, b in at[::7]]).mean(axis=0)
    expected = 256 * 255 / 96**2 * np.diff(within, prepend=0)
    np.testing.assert_allclose(column(found, "ripley", "expected"), expected, rtol=0.02)
    (row,) = found["surfaces"]
    assert row["nearest_mean_nm"] == pytest.approx(6.1, abs=2e-3)
    assert row["nearest_sd_nm"] < 2e-3
    assert row["occupied_share"] == pytest.approx(256 * np.pi * 2.5**2 / 96**2, rel=0.01)
    assert row["clustered_share"] == 0


def test_the_corners_of_an_icosahedron_on_a_sphere(tmp_path: Path) -> None:
    """12 points, each with 5 neighbours at 63.43 degrees: 55.4 nm on a sphere of 50 nm."""
    g = (1 + 5**0.5) / 2
    at = np.array([p for a in (-1, 1) for b in (-g, g) for p in ((0, a, b), (a, b, 0), (b, 0, a))], float)
    at *= 50 / np.linalg.norm(at[0])
    recipe = FEW.with_(ripley_nm=80, bin_nm=10, neighbours=6, occupancy_nm=15)
    found = run(picks_of(tmp_path, at * 1.02), surfaces_of(tmp_path, sphere(50, 4000)), recipe)
    far = np.array(column(found, "surface_neighbours", "distance_nm")).reshape(12, 6)
    np.testing.assert_allclose(far[:, :5], 50 * np.arctan(2), rtol=2e-3)
    np.testing.assert_allclose(far[:, 5], 50 * (np.pi - np.arctan(2)), rtol=2e-3)
    assert column(found, "ripley", "counted") == [0, 0, 0, 0, 0, 60, 0, 0]
    caps = 2 * np.pi * 2500 * (1 - np.cos(recipe.radii / 50))
    expected = 12 * 11 / (4 * np.pi * 2500) * np.diff(caps, prepend=0)
    np.testing.assert_allclose(column(found, "ripley", "expected"), expected, rtol=3e-3)
    k = column(found, "ripley", "k")
    assert k[5] == pytest.approx(60 / (12 * 11 * (1 - np.cos(1.2)) / 2), rel=3e-3)
    assert column(found, "ripley", "l_nm")[5] == pytest.approx(60 * (np.sqrt(k[5]) - 1))
    (row,) = found["surfaces"]
    assert (row["front"], row["back"], row["closed"]) == (12, 0, 1)
    assert row["distance_mean_nm"] == pytest.approx(1.0, abs=0.05)
    assert row["occupied_share"] == pytest.approx(12 * (1 - np.cos(15 / 50)) / 2, rel=0.01)
    bends = np.array(column(found, "surface_neighbours", "bend_deg")).reshape(12, 6)
    np.testing.assert_allclose(bends[:, :5], np.degrees(np.arctan(2)), atol=1.5)


@pytest.mark.parametrize("shape", ["plane", "sphere", "torus"])
def test_points_without_order_have_one_at_every_radius(tmp_path: Path, shape: str) -> None:
    """O, K near 1 and L near 0 for many points, simulated ones too; the original has O = 3 in its first ring."""
    rng = np.random.default_rng(7)
    n = 700
    if shape == "plane":
        mesh, at = plane(120, 5), on_plane(rng.uniform(-60, 60, (n, 2)))
    elif shape == "sphere":
        u = rng.normal(size=(n, 3))
        mesh, at = sphere(50, 3000), 50 * u / np.linalg.norm(u, axis=1)[:, None]
    else:
        v = rng.uniform(-np.pi, np.pi, 4 * n)
        v = v[rng.random(4 * n) < (60 + 20 * np.cos(v)) / 80][:n]
        mesh, at = torus(60, 20, 120, 40), on_torus(rng.uniform(0, 2 * np.pi, n), v, 60, 20)
    recipe = FEW.with_(ripley_nm=16, bin_nm=4, simulations=39)
    found = run(picks_of(tmp_path, at), surfaces_of(tmp_path, mesh), recipe)
    counted, expected = (np.array(column(found, "ripley", name)) for name in ("counted", "expected"))
    noise = 3 * np.sqrt(2 / expected)  # of pairs, each counted twice
    assert (np.abs(counted / expected - 1) < noise + 0.01).all()
    k = np.array(column(found, "ripley", "k"))
    assert abs(k[-1] - 1) < 0.04
    (p,) = set(column(found, "ripley", "p"))
    assert p > 0.02
    low, high = (np.array(column(found, "ripley", f"k_chance_{end}")) for end in ("low", "high"))
    assert (low < 1).all()
    assert (high > 1).all()
    assert np.abs((low + high) / 2 - 1).max() < 0.1


def test_clusters_on_a_torus_are_told_from_chance(tmp_path: Path) -> None:
    """20 groups of 4 within some nm."""
    rng = np.random.default_rng(1)
    u, v = np.repeat(rng.uniform(0, 2 * np.pi, 20), 4), np.repeat(rng.uniform(0, 2 * np.pi, 20), 4)
    at = on_torus(u + rng.normal(0, 0.01, 80), v + rng.normal(0, 0.05, 80), 60, 20)
    recipe = FEW.with_(simulations=39, occupancy_nm=5)
    found = run(picks_of(tmp_path, at), surfaces_of(tmp_path, torus(60, 20, 120, 40)), recipe)
    first = next(r for r in found["ripley_pooled"])
    assert first["o"] > 10
    assert first["o"] > first["o_chance_high"]
    assert first["p"] == pytest.approx(1 / 40)
    (row,) = found["surfaces"]
    assert row["clustered"] >= 70
    assert 15 <= row["clusters"] <= 22


def test_two_sheets_that_are_near_in_space_are_far_apart_on_the_surface(tmp_path: Path) -> None:
    """A flattened tube of one surface: its sides are 6 nm apart, and 40 nm by the way around."""
    mesh = torus(60, 20, 160, 60)
    flat = mesh[0] * (0.15, 1, 1)
    at = np.array([[3.0, 0, 60], [-3.0, 0, 60]])
    found = run(picks_of(tmp_path, at), surfaces_of(tmp_path, (flat, mesh[1])))
    assert found["pooled"][0]["clusters"] == 1  # in space
    assert found["surfaces"][0]["clusters"] == 0
    assert min(column(found, "surface_neighbours", "distance_nm")) > 38


def test_the_area_near_a_particle_at_the_edge_is_occupied(tmp_path: Path) -> None:
    """A disc of 8 nm, and the segment of one whose middle lies 3 nm in the edge; only the first particle counts."""
    at = np.array([[0.0, 0], [0, 41]])
    recipe = FEW.with_(edge_exclusion_nm=12, occupancy_nm=8)
    (row,) = run(picks_of(tmp_path, on_plane(at)), surfaces_of(tmp_path, plane(100, 2)), recipe)["surfaces"]
    assert (row["objects"], row["at_edge"]) == (1, 1)
    segment = 64 * np.arccos(3 / 8) - 3 * np.sqrt(64 - 9)
    assert row["occupied_share"] == pytest.approx((64 * np.pi + segment) / 76**2, rel=0.01)


def test_across_classes_the_nearest_is_the_nearest(tmp_path: Path) -> None:
    """The original skips it: 167.8 Å for a neighbour at 98.3 Å."""
    a, b = np.array([[0.0, 0], [30, 0]]), np.array([[0, 9.83], [0, 16.8], [30, 20]])
    picks = [picks_of(tmp_path, on_plane(a), "a"), picks_of(tmp_path, on_plane(b), "b")]
    found = run(picks, surfaces_of(tmp_path, plane(100, 7)), FEW.with_(neighbours=2))
    far = column(found, "surface_neighbours", "distance_nm", class_="a", to="b")
    assert sorted(far) == pytest.approx(sorted([9.83, 16.8, 20, np.hypot(30, 9.83)]), abs=2e-3)
    backward = column(found, "surface_neighbours", "distance_nm", class_="b", to="a", rank=1)
    assert sorted(backward) == pytest.approx([9.83, 16.8, 20], abs=2e-3)
    rows = {(r["class"], r["to"], r["rank"]): r for r in found["surface_neighbours_pooled"]}
    assert rows["a", "b", 1]["mean_nm"] == pytest.approx((9.83 + 20) / 2, abs=2e-3)
    assert rows["a", "a", 2]["objects"] == 0


def test_concentration_by_the_distance_to_a_class_and_by_a_column(tmp_path: Path) -> None:
    """Rings around one particle, π (r₂² − r₁²); and bands of a coordinate, a tenth of the plane each."""
    mesh = plane(100, 7, turned=False)
    rng = np.random.default_rng(0)
    at = rng.uniform(-50, 50, (300, 2))
    picks = [
        picks_of(tmp_path, on_plane(at, turned=False), "a"),
        picks_of(tmp_path, on_plane(np.array([[3.0, -4]]), turned=False), "b"),
    ]
    recipe = FEW.with_(by_class=("b",), by_column=("across",))
    found = run(picks, surfaces_of(tmp_path, mesh, columns={"across": mesh[0][:, 1]}), recipe)
    rows = [r for r in found["concentration"] if r["by"] == "distance to b (nm)"]
    assert {r["class"] for r in rows} == {"a"}
    far = np.linalg.norm(at - [3.0, -4], axis=1)
    for r in rows:
        assert r["area_um2"] * 1e6 == pytest.approx(np.pi * (r["high"] ** 2 - r["low"] ** 2), rel=0.01)
        assert r["objects"] == ((far > r["low"]) & (far <= r["high"])).sum()
        assert r["per_um2"] == pytest.approx(r["objects"] / r["area_um2"])
    bands = [r for r in found["concentration"] if r["by"] == "across" and r["class"] == "a"]
    assert len(bands) == 10
    for r in bands:
        assert r["area_um2"] * 1e6 == pytest.approx(1000, rel=1e-3)
        assert r["objects"] == ((at[:, 0] > r["low"]) & (at[:, 0] <= r["high"])).sum()
    assert sum(r["objects"] for r in bands) == 300


def test_edges_are_left_out_by_borders_and_closed_surfaces_stay_whole(tmp_path: Path) -> None:
    at = np.array([[0.0, 0], [-45.5, 0], [-43, 30], [49, 49], [5, 0]])
    picks = picks_of(tmp_path, on_plane(at))
    found = run(picks, surfaces_of(tmp_path, plane(100, 7)), FEW.with_(edge_exclusion_nm=6))
    (row,) = found["surfaces"]
    assert row["counted_um2"] * 1e6 == pytest.approx((100 - 12) ** 2, rel=2e-3)
    assert row["surface_um2"] * 1e6 == pytest.approx(1e4, rel=1e-5)
    assert (row["objects"], row["at_edge"]) == (3, 2)
    assert sorted(column(found, "surface_objects", "state")) == ["edge", "edge", "used", "used", "used"]
    ripley = found["ripley"]
    assert sum(r["counted"] for r in ripley) == 2
    (tmp_path / "closed").mkdir()
    ball = sphere(50, 2000)
    picks = picks_of(tmp_path / "closed", 50 * np.eye(3))
    (row,) = run(picks, surfaces_of(tmp_path / "closed", ball), FEW.with_(edge_exclusion_nm=20))["surfaces"]
    assert row["counted_um2"] * 1e6 == pytest.approx(area(ball), rel=1e-5)
    assert row["objects"] == 3


@pytest.mark.parametrize("shift", [0.0, 0.3, 1.37])
def test_an_edge_that_ends_on_lines_of_the_mesh_has_whole_curves(tmp_path: Path, shift: float) -> None:
    """Cut where the mesh has edges: particles on the line count, and nothing is divided by slivers' lengths."""
    line = np.arange(-45, 46, 10.0)
    at = np.stack(np.meshgrid(line, line, indexing="ij"), -1).reshape(-1, 2) + shift
    flat = plane(100, 5, turned=False)
    flat = 5 * np.rint(flat[0] / 5), flat[1]
    recipe = FEW.with_(edge_exclusion_nm=15, ripley_nm=16, bin_nm=4, simulations=19)
    found = run(picks_of(tmp_path, np.c_[np.ones(len(at)), at]), surfaces_of(tmp_path, flat), recipe)
    (row,) = found["surfaces"]
    inside = (np.abs(at) <= 35).all(axis=1)
    assert row["objects"] == inside.sum()
    assert row["counted_um2"] * 1e6 == pytest.approx(4900, rel=1e-3)
    for name in ("expected", "k", "k_chance_low", "k_chance_high", "l_nm_global", "p"):
        assert np.isfinite(column(found, "ripley", name)).all(), name
    far = np.linalg.norm(at[inside][:, None] - at[inside][None], axis=2)
    counted = [((far > r - 4) & (far <= r) & (far > 0)).sum() for r in recipe.radii]
    assert column(found, "ripley", "counted") == counted
    grid = (np.arange(700) + 0.5) / 10 - 35  # areas by counting points of a fine grid
    y, x = np.meshgrid(grid, grid, indexing="ij")
    area_16 = np.mean([(np.hypot(y - a, x - b) <= 16).sum() * 0.01 for a, b in at[inside]])
    expected = area_16 * inside.sum() * (inside.sum() - 1) / 4900
    assert sum(column(found, "ripley", "expected")) == pytest.approx(expected, rel=5e-3)


def test_a_particle_that_counts_may_have_a_neighbour_at_the_edge(tmp_path: Path) -> None:
    at = np.array([[-42.0, 0], [-46, 0], [30, 0]])
    found = run(picks_of(tmp_path, on_plane(at)), surfaces_of(tmp_path, plane(100, 7)), FEW.with_(edge_exclusion_nm=6))
    assert sorted(column(found, "surface_neighbours", "distance_nm")) == pytest.approx([4, 72], abs=2e-3)


def test_both_faces_of_a_slab_are_one_membrane_and_sides_are_told(tmp_path: Path) -> None:
    picks = picks_of(tmp_path, np.concatenate([51.5 * np.eye(3), -48 * np.eye(3)[:2]]))
    surfaces = surfaces_of(tmp_path, sphere(50, 2000))
    (whole,) = run(picks, surfaces)["surfaces"]
    (half,) = run(picks, surfaces, FEW.with_(both_faces=True))["surfaces"]
    assert half["per_um2"] == pytest.approx(2 * whole["per_um2"])
    assert (whole["front"], whole["back"]) == (3, 2)
    (front,) = run(picks, surfaces, FEW.with_(side="front"))["surfaces_pooled"]
    assert (front["objects"], front["other_side"]) == (3, 2)
    (back,) = run(picks, surfaces, FEW.with_(side="back"))["surfaces_pooled"]
    assert (back["objects"], back["other_side"]) == (2, 3)


def test_contacts_of_two_squares(tmp_path: Path) -> None:
    low = plane(40, 4, turned=False)
    up = (low[0] + np.array([3.0, 12, 0]), low[1])
    picks = picks_of(tmp_path, [[0.0, 10, 0], [0, -18, 0], [3, 30, 5]])
    found = run(picks, surfaces_of(tmp_path, low, up), FEW.with_(contact_nm=5))
    rows = {(r["surface"], r["to_surface"]): r for r in found["contacts"]}
    assert set(rows) == {(1, 2), (2, 1)}
    assert rows[1, 2]["area_um2"] * 1e6 == pytest.approx(40 * 32, rel=0.02)
    assert rows[1, 2]["area_share"] == pytest.approx(0.8, rel=0.02)
    assert rows[1, 2]["distance_min_nm"] == pytest.approx(3, abs=1e-3)
    assert (rows[1, 2]["objects"], rows[2, 1]["objects"]) == (1, 0)


@pytest.mark.parametrize(("c2", "turn"), [(False, 150), (True, -30)])
def test_orientations_of_neighbours(tmp_path: Path, c2: bool, turn: float) -> None:
    """Two particles on a plane across z; the second one's x axis is turned by 150 degrees from x towards y."""
    a = np.radians(150)
    matrices = [np.eye(3), np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])]
    at = on_plane(np.array([[0.0, 0], [8, 0]]), turned=False, height=1.0)
    picks = picks_of(tmp_path, at, euler=matrix_to_euler(np.array(matrices)))
    surfaces = surfaces_of(tmp_path, plane(60, 5, turned=False))
    rows = run(picks, surfaces, FEW.with_(c2=c2))["surface_neighbours"]
    assert rows[0]["turn_deg"] == pytest.approx(turn, abs=0.01)
    assert rows[1]["turn_deg"] == pytest.approx(-turn, abs=0.01)
    assert rows[0]["angle_deg"] == pytest.approx(abs(turn), abs=0.01)
    assert abs(rows[0]["bearing_deg"]) == pytest.approx(90, abs=0.1)
    assert rows[0]["bend_deg"] == pytest.approx(0, abs=0.1)


def test_the_heat_method_is_near_the_exact_one(tmp_path: Path) -> None:
    u = np.random.default_rng(0).normal(size=(60, 3))
    picks = picks_of(tmp_path, 50 * u / np.linalg.norm(u, axis=1)[:, None])
    surfaces = surfaces_of(tmp_path, sphere(50, 3000))
    recipe = FEW.with_(neighbours=3, ripley_nm=40, bin_nm=10)
    one, other = run(picks, surfaces, recipe), run(picks, surfaces, recipe.with_(geodesic="heat"))
    far = [np.array(column(s, "surface_neighbours_pooled", "mean_nm")) for s in (one, other)]
    np.testing.assert_allclose(*far, rtol=0.02)
    np.testing.assert_allclose(column(one, "ripley", "expected"), column(other, "ripley", "expected"), rtol=0.06)


# -- pooled, and in any order ------------------------------------------------------------------------------


def test_pooled_values_are_made_of_the_parts_and_nothing_depends_on_the_order(tmp_path: Path) -> None:
    picks, surfaces = three(tmp_path)
    recipe = FEW.with_(simulations=19, resamples=200, occupancy_nm=3, by_class=("b",), neighbours=2)
    groups = tmp_path / "groups.csv"
    groups.write_text("tomogram,group\nT1,core\nT2,rim\nT3,rim\n")
    found = run(picks, surfaces, recipe, groups=groups)
    again = run(picks[::-1], surfaces[::-1], recipe, groups=groups)
    for name in found.tables:
        assert repr(found[name]) == repr(again[name]), name
    for group, members in (("all", {"T1", "T2", "T3"}), ("rim", {"T2", "T3"})):
        row = next(r for r in found["surfaces_pooled"] if (r["group"], r["class"]) == (group, "a"))
        rows = [r for r in found["surfaces"] if r["class"] == "a" and r["tomogram"] in members]
        assert row["surfaces"] == len(rows) == 2 * len(members)
        assert row["objects"] == sum(r["objects"] for r in rows)
        assert row["per_um2"] == pytest.approx(row["objects"] / sum(r["counted_um2"] for r in rows))
        assert row["per_um2_low"] <= row["per_um2"] <= row["per_um2_high"]
        rings = [r for r in found["ripley"] if (r["class"], r["to"]) == ("a", "b") and r["tomogram"] in members]
        for pooled in found["ripley_pooled"]:
            if (pooled["group"], pooled["class"], pooled["to"]) == (group, "a", "b"):
                mine = [r for r in rings if r["to_nm"] == pooled["to_nm"]]
                assert pooled["counted"] == sum(r["counted"] for r in mine)
                assert pooled["expected"] == pytest.approx(sum(r["expected"] for r in mine))
                assert pooled["o"] == pytest.approx(pooled["counted"] / pooled["expected"])
    alone = run(picks[:2], surfaces[:1], recipe)
    for name in ("surfaces", "ripley"):
        some = [{**r, "group": ""} for r in found[name] if r["tomogram"] == "T1"]
        assert repr(alone[name]) == repr(some)
    assert repr(alone["surface_neighbours"]) == repr([r for r in found["surface_neighbours"] if r["tomogram"] == "T1"])
    other = run(picks, surfaces, recipe.with_(seed=1), groups=groups)
    np.testing.assert_allclose(column(other, "ripley", "k"), column(found, "ripley", "k"), rtol=1e-3)
    assert column(other, "ripley", "k_chance_low") != column(found, "ripley", "k_chance_low")


def test_the_order_of_particles_and_vertices_at_one_place_change_nothing(tmp_path: Path) -> None:
    """STL has an own copy of each vertex for each face: the same numbers as PLY."""
    from volengine.io.meshes import write_mesh

    vertices, faces = sphere(40, 800)
    u = np.random.default_rng(2).normal(size=(30, 3))
    at = 40 * u / np.linalg.norm(u, axis=1)[:, None]
    picks = picks_of(tmp_path, at)
    place = (vertices + CENTRE) * 10 + np.asarray(ORIGIN)
    found = []
    for ending in ("ply", "stl", "obj"):
        file = tmp_path / f"TS_01__membrane.{ending}"
        write_mesh(file, place.astype(np.float32).astype(float), faces)
        found.append(run(picks, str(file)))
    order = np.random.default_rng(3).permutation(30)
    (tmp_path / "other").mkdir()
    found.append(run(picks_of(tmp_path / "other", at[order]), str(tmp_path / "TS_01__membrane.ply")))
    assert repr(found[3]["surface_neighbours"]) == repr(found[0]["surface_neighbours"])
    for one in found[1:3]:
        assert one["surfaces"][0]["closed"] == 1
        np.testing.assert_allclose(column(one, "ripley", "counted"), column(found[0], "ripley", "counted"))
        far = [column(some, "surface_neighbours", "distance_nm") for some in (one, found[0])]
        np.testing.assert_allclose(*far, atol=0.01)
    assert "states no voxel size and no origin" in found[0].text()


def test_a_surface_whose_particles_all_lie_at_its_edge_does_not_spoil_the_others(tmp_path: Path) -> None:
    """A square with its particle at the border, and a sphere: envelopes are those of the sphere alone."""
    ball, flat = sphere(20, 500), plane(30, 5, turned=False)
    up = (flat[0] + np.array([40.0, 0, 0]), flat[1])
    u = np.random.default_rng(0).normal(size=(12, 3))
    at = np.concatenate([20 * u / np.linalg.norm(u, axis=1)[:, None], [[40.0, 14, 0]]])
    found = run(picks_of(tmp_path, at), surfaces_of(tmp_path, ball, up), FEW.with_(simulations=19, edge_exclusion_nm=5))
    assert column(found, "surfaces", "objects") == [12, 0]
    assert column(found, "surfaces", "at_edge") == [0, 1]
    alone = column(found, "ripley", "k_chance_high", surface=1)
    assert column(found, "ripley_pooled", "k_chance_high") == alone
    assert np.isfinite(alone).all()


def test_surfaces_without_particles_count_with_their_area(tmp_path: Path) -> None:
    ball = sphere(20, 500)
    picks = picks_of(tmp_path, 20 * np.eye(3))
    far = (ball[0] + [0, 0, 60], ball[1])
    found = run(picks, surfaces_of(tmp_path, ball, far), FEW.with_(simulations=19, occupancy_nm=2, contact_nm=5))
    assert column(found, "surfaces", "objects") == [3, 0]
    assert column(found, "surfaces", "per_um2")[1] == 0
    (row,) = found["surfaces_pooled"]
    assert row["per_um2"] * row["counted_um2"] == pytest.approx(3)
    assert row["counted_um2"] * 1e6 == pytest.approx(2 * area(ball), rel=1e-5)
    assert row["surfaces_with"] == 1


# -- files -------------------------------------------------------------------------------------------------


def test_tables_and_figures_are_written_and_the_same_again(tmp_path: Path) -> None:
    picks, surfaces = three(tmp_path)
    recipe = FEW.with_(simulations=19, resamples=50, star=True, by_class=("b",), contact_nm=30)
    plots = RECIPE.with_(plots=True)
    found = run(picks, surfaces, recipe, tmp_path / "one", stats_recipe=plots)
    run(picks, surfaces, recipe, tmp_path / "two", stats_recipe=plots)
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    for table in found.tables:
        assert f"{table}.csv" in names
        with (tmp_path / "one" / f"{table}.csv").open() as file:
            read = list(csv.DictReader(file))
        assert len(read) == len(found[table])
        assert tuple(read[0]) == COLUMNS[table]
        for row in found[table]:
            assert tuple(row) == COLUMNS[table] or set(row) == set(COLUMNS[table]), table
    for figure in ("ripley", "surface_density", "surface_nearest"):
        assert {f"{figure}.svg", f"{figure}.png"} <= set(names)
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    stored = json.loads((tmp_path / "one" / "stats.json").read_text())
    assert stored["surface_recipe"]["ripley_nm"] == 20
    assert len(stored["surfaces"]) == len(found["surfaces"])
    assert "surface_objects" not in stored
    star = starfile.read(tmp_path / "one" / "surfaces.star")
    assert star["class"].tolist() == column(found, "surfaces", "class")
    np.testing.assert_allclose(star["per_um2"].astype(float), column(found, "surfaces", "per_um2"))
    pooled = starfile.read(tmp_path / "one" / "ripley_pooled.star")
    np.testing.assert_allclose(pooled["k"].astype(float), column(found, "ripley_pooled", "k"))


def test_a_second_call_leaves_no_table_of_the_first_and_replaces_no_file_of_others(tmp_path: Path) -> None:
    picks, out = picks_of(tmp_path, 20 * np.eye(3)), tmp_path / "out"
    run(picks, surfaces_of(tmp_path, sphere(20, 200)), FEW.with_(star=True), out)
    mine = out / "surface_objects.csv"
    mine.write_text("mine")
    with pytest.raises(InputError, match=r"surface_objects\.csv exists, and is not as stats has written it"):
        run(picks, surfaces_of(tmp_path, sphere(20, 200)), FEW, out)
    found = stats(picks, out, RECIPE, QUIET)
    assert {path.name for path in out.iterdir()} == {mine.name, "stats.json", *(f"{name}.csv" for name in found.tables)}
    assert mine.read_text() == "mine"
    assert f"{mine}: of an earlier call, changed since" in found.text()
    (out / "classes.csv").write_text("mine")
    with pytest.raises(InputError, match=r"classes\.csv exists, and is not as stats has written it.*--overwrite"):
        stats(picks, out, RECIPE, QUIET)
    assert (out / "classes.csv").read_text() == "mine"
    stats(picks, out, RECIPE, QUIET.with_(overwrite=True))
    assert (out / "classes.csv").read_text() != "mine"


def test_without_surfaces_nothing_is_different(tmp_path: Path) -> None:
    picks = picks_of(tmp_path, 50 * np.eye(3))
    found = stats(picks, tmp_path / "out", RECIPE, QUIET)
    assert not {"surfaces", "ripley"} & set(found.tables)
    assert not (tmp_path / "out" / "surfaces.csv").exists()


def test_the_public_recipe_is_this_one() -> None:
    assert volengine.SurfaceStatsRecipe is SurfaceStatsRecipe
