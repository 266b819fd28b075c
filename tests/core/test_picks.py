"""The table of picks and the algebra of orientations."""

from __future__ import annotations

import json

import hypothesis.strategies as st
import numpy as np
import pytest
from full_picks import make_picks
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from volengine.core.errors import InputError
from volengine.core.orientation import euler_to_matrix, matrix_to_euler, normal_to_euler
from volengine.core.picks import Picks, concatenate
from volengine.core.volume import Volume


def test_position_is_origin_plus_index_times_voxel_size():
    picks = Picks([[1, 2, 3.5]], voxel_size=(14, 12, 10), origin=(100, 200, -300))
    np.testing.assert_array_equal(picks.position, [[114, 224, -265]])


def test_columns_are_copied_and_read_only():
    position = np.zeros((2, 3))
    picks = Picks(position, voxel_size=(1, 1, 1))
    position[:] = 9
    assert not picks.position_vox.any()
    with pytest.raises(ValueError, match="read-only"):
        picks.position_vox[0] = 1


def test_selection_takes_every_column():
    picks = make_picks(5)
    mask = np.array([True, False, True, False, False])
    chosen = picks[mask]
    assert chosen == picks[[0, 2]] == picks[np.array([0, 2])]
    assert len(chosen) == 2
    assert chosen.facts() == picks.facts()
    for key, column in picks.columns.items():
        np.testing.assert_array_equal(chosen.columns[key], column[mask])
    assert picks[::-1][::-1] == picks
    assert len(picks[[]]) == 0
    assert picks[[]].columns.keys() == picks.columns.keys()
    with pytest.raises(InputError, match="mask"):
        picks[1]
    with pytest.raises(IndexError):
        picks[np.array([True, False])]


@pytest.mark.parametrize(
    "change",
    [
        {"position_vox": np.zeros((4, 3))},
        {"weight": None},
        {"weight": np.zeros(4)},
        {"voxel_size": (14, 12, 10.000001)},
        {"origin": (1, -2, 3)},
        {"shape": None},
        {"tomogram": "TS_02"},
        {"feature": ""},
        {"extra": {}},
    ],
)
def test_tables_that_differ_in_anything_are_not_equal(change):
    assert make_picks() == make_picks()
    assert make_picks() != make_picks().with_(**change)
    assert make_picks() != 3


def test_a_last_bit_makes_a_difference():
    picks = make_picks()
    assert picks != picks.with_(position_vox=np.nextafter(picks.position_vox, np.inf))


@given(n=st.integers(0, 5), missing=st.sets(st.sampled_from(["weight", "label", "euler", "normal", "extra"])))
@settings(deadline=None, max_examples=40)
def test_table_round_trip(n, missing):
    picks = make_picks(n, **{k: {} if k == "extra" else None for k in missing})
    table, facts = picks.to_table(), json.loads(json.dumps(picks.facts()))
    assert all(v.dtype.kind != "O" and len(v) == n for v in table.values())
    assert Picks.from_table(table, facts) == picks


def test_tables_of_the_same_columns_and_tomogram_are_concatenated():
    picks = make_picks(6)
    assert concatenate([picks[:2], picks[2:2], picks[2:]]) == picks
    with pytest.raises(InputError, match="tomogram: TS 01 and other"):
        concatenate([picks, picks.with_(tomogram="other")])
    with pytest.raises(InputError, match=r"same columns: extra\.cc, extra\.half, extra\.note, weight"):
        concatenate([picks, picks.with_(weight=None, extra={})])
    with pytest.raises(InputError, match="no picks"):
        concatenate([])


def test_on_grid_keeps_the_place():
    picks = make_picks()
    coarse = picks.on_grid((28, 24, 20), origin=(8, 4, 8.5), shape=(30, 35, 40))
    np.testing.assert_allclose(coarse.position, picks.position, rtol=1e-13)
    np.testing.assert_allclose(coarse.position_vox, (picks.position_vox - 0.5) / 2)
    assert coarse.shape == (30, 35, 40)


def test_of_volume_takes_grid_and_names():
    volume = Volume(
        url="a.zarr", shape=(4, 5, 6), dtype="uint8", voxel_size=(3, 2, 1), origin=(7, 8, 9), name="TS",
        facts={"feature": "shell"},
    )  # fmt: skip
    picks = Picks.of_volume(volume, [[1, 1, 1]], weight=[2.0])
    assert (picks.tomogram, picks.feature, picks.shape) == ("TS", "shell", (4, 5, 6))
    np.testing.assert_array_equal(picks.position, [[10, 10, 10]])
    assert picks.weight == [2.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"position_vox": np.zeros((4, 2))}, r"shape \(4, 3\)"),
        ({"position_vox": np.zeros(3)}, r"position_vox"),
        ({"position_vox": [[0, 0, 0], [0, np.nan, 0], [0, 0, 0], [0, 0, 0]]}, "Pick 1 of 4"),
        ({"weight": np.zeros(3)}, r"weight of shape \(4,\), got \(3,\)"),
        ({"euler": np.zeros((4, 2))}, "euler"),
        ({"voxel_size": (1, 0, 1)}, "positive"),
        ({"voxel_size": (1, 1)}, "three numbers"),
        ({"origin": (1, np.inf, 1)}, "three numbers"),
        ({"tomogram": "a\nb"}, "control character"),
        ({"feature": " core"}, "outer blanks"),
        ({"extra": {"weight": np.zeros(4)}}, "cannot be the name"),
        ({"extra": {"a b": np.zeros(4)}}, "cannot be the name"),
        ({"extra": {"a": np.zeros((4, 2))}}, "must hold 4"),
        ({"extra": {"a": [None, 1, 2, 3]}}, "must hold 4"),
        ({"extra": {"a": ["x", 'say "y"', "", ""]}}, "quote"),
    ],
)
def test_wrong_picks_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        make_picks(**change)


def test_a_table_with_an_unknown_column_is_refused():
    with pytest.raises(InputError, match=r"extra\.score"):
        Picks.from_table({"position_vox": np.zeros((1, 3)), "score": np.zeros(1)}, {"voxel_size": (1, 1, 1)})


ANGLES = arrays(np.float64, (3, 3), elements=st.floats(-360, 360).map(lambda a: round(a, 3)))


@given(euler=ANGLES)
@settings(deadline=None, max_examples=60)
def test_the_matrix_is_the_inverse_of_intrinsic_zyz(euler):
    matrix = euler_to_matrix(euler)
    expected = Rotation.from_euler("ZYZ", euler, degrees=True).inv().as_matrix()
    np.testing.assert_allclose(matrix, expected, atol=1e-12)
    np.testing.assert_allclose(euler_to_matrix(matrix_to_euler(matrix)), matrix, atol=1e-9)


@pytest.mark.parametrize("euler", [(10, 0, 20), (10, 180, 20), (0, 0, 0), (-170, 180, 5), (0, 90, 0)])
def test_upright_particles_keep_their_turn(euler):
    matrix = euler_to_matrix([euler])
    np.testing.assert_allclose(euler_to_matrix(matrix_to_euler(matrix)), matrix, atol=1e-12)


@given(normal=arrays(np.float64, (4, 3), elements=st.integers(-3, 3)))
@settings(deadline=None, max_examples=60)
def test_normal_and_euler_angles(normal):
    normal = normal[np.any(normal != 0, axis=1)]
    euler = normal_to_euler(normal)
    unit = normal / np.linalg.norm(normal, axis=1, keepdims=True)
    np.testing.assert_allclose(euler_to_matrix(euler)[:, ::-1, 2], unit, atol=1e-12)
    assert not euler[:, 0].any()


def test_orientation_prefers_euler_angles():
    picks = make_picks()
    assert picks.orientation is picks.euler
    outward = euler_to_matrix(picks.with_(euler=None).orientation)[:, ::-1, 2]
    np.testing.assert_allclose(outward, picks.normal, atol=1e-12)
    assert picks.with_(euler=None, normal=None).orientation is None
