"""Weighted percentiles against repeated values; the columns of Surface Morphometrics."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from shapes import ball

from volengine.ops.surfaces.morphometrics import of_faces, transferred, verticality
from volengine.ops.surfaces.weighted import described


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(1, 4)), min_size=1, max_size=30))
def test_a_weight_is_as_good_as_a_repeated_value(pairs: list[tuple[int, int]]) -> None:
    values, weights = np.array(pairs, float).T
    repeated = np.repeat(values, weights.astype(int))
    found = described(values, weights)
    assert np.isclose(found["mean"], repeated.mean())
    for name, percent in (("median", 50), ("p5", 5), ("p95", 95)):
        assert found[name] == np.percentile(repeated, percent, method="inverted_cdf")


def test_what_is_not_finite_does_not_count() -> None:
    found = described(np.array([np.nan, np.inf, 3.0, 5.0]), np.array([9.0, 9.0, 1.0, 0.0]))
    assert found == {"mean": 3.0, "median": 3.0, "p5": 3.0, "p95": 3.0}
    assert described(np.array([np.nan]), np.ones(1)) == {}


def test_rows_are_triangles_with_centres_in_nm_origin_included() -> None:
    surface = ball(200.0, 3).with_columns(
        k1_per_nm=np.full(642, 0.05),
        thickness_nm=np.full(642, 4.0),
        gap_nm=np.full(642, np.nan),
        to_IMM_nm=np.full(642, 12.0),
        to_IMM_angle_deg=np.full(642, 30.0),
    )
    table = of_faces(surface, (1000.0, 0.0, 0.0))
    assert set(table) == {
        *("index", "area", "kappa_1", "thickness", "self_dist_min", "self_dist_far", "IMM_dist", "IMM_orientation"),
        *("verticality", "n_v_x", "n_v_y", "n_v_z", "xyz_x", "xyz_y", "xyz_z"),
    }
    assert np.isclose(table["area"].sum(), 4 * np.pi * 20**2, rtol=0.02)
    assert 79.5 < table["xyz_z"].min() < 81
    assert 119 < table["xyz_z"].max() < 120.5
    assert np.abs(table["xyz_x"]).max() <= 20
    radial = np.stack([table[f"xyz_{a}"] for a in "xyz"], 1) - [0, 0, 100]
    normal = np.stack([table[f"n_v_{a}"] for a in "xyz"], 1)
    assert (np.einsum("ij,ij->i", radial, normal) > 19).all()
    assert set(table["self_dist_min"]) == {4.0}
    assert np.isnan(table["self_dist_far"]).all()


def test_the_steepness_of_a_surface() -> None:
    angle = np.radians([0, 30, 90, 150])
    np.testing.assert_allclose(verticality(np.stack([np.cos(angle), 0 * angle, np.sin(angle)], 1)), [0, 30, 90, 30])


def test_values_come_from_the_nearest_row_if_it_is_near() -> None:
    centres, places = np.array([[0.0, 0, 0], [0, 0, 10]]), np.array([[0.0, 0, 2], [0, 0, 9], [0, 50, 0]])
    found, missing = transferred(places, centres, {"a": np.array([1, 2])}, 5.0)
    assert found["a"][:2].tolist() == [1, 2]
    assert np.isnan(found["a"][2])
    assert missing == 1
    nothing, missing = transferred(places, np.zeros((0, 3)), {"a": np.zeros(0)}, 5.0)
    assert np.isnan(nothing["a"]).all()
    assert missing == 3
