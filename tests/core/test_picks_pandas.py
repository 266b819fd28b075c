"""Picks in a notebook: to a table of pandas and back, and how they show themselves."""

from __future__ import annotations

import doctest

import numpy as np
import pandas as pd
import pytest
from full_picks import make_picks

import volengine.core.picks as module
from volengine.core.errors import InputError
from volengine.core.picks import Picks

# -- there and back ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 4])
def test_every_column_and_fact_comes_back(n: int) -> None:
    picks = make_picks(n)
    assert Picks.from_pandas(picks.to_pandas()) == picks


def test_columns_that_are_not_there_stay_away() -> None:
    picks = Picks([[1, 2, 3]], voxel_size=(10, 10, 10))
    frame = picks.to_pandas()
    assert list(frame.columns) == ["tomogram", "z_vox", "y_vox", "x_vox", "z_a", "y_a", "x_a"]
    assert Picks.from_pandas(frame) == picks


def test_the_columns_say_their_units() -> None:
    frame = make_picks().to_pandas()
    assert list(frame.columns) == [
        *("tomogram", "z_vox", "y_vox", "x_vox", "z_a", "y_a", "x_a", "weight", "label", "volume_a3", "size_vox"),
        *("rot_deg", "tilt_deg", "psi_deg", "normal_z", "normal_y", "normal_x", "cc", "half", "note"),
    ]
    np.testing.assert_allclose(frame.z_a, 1 + 14 * frame.z_vox)
    np.testing.assert_allclose(frame[["z_a", "y_a", "x_a"]], make_picks().position)
    assert frame.attrs["voxel_size"] == [14, 12, 10]
    assert frame.label.dtype == np.int64


def test_rows_are_selected_and_sorted_by_pandas() -> None:
    picks = make_picks()
    frame = picks.to_pandas()
    chosen = Picks.from_pandas(frame[frame.weight > 0.5].sort_values("weight", ascending=False))
    order = np.argsort(-picks.weight)  # type: ignore[operator]
    assert chosen == picks[order][picks.weight[order] > 0.5]  # type: ignore[index]


def test_columns_that_are_added_are_extra_ones() -> None:
    frame = make_picks().to_pandas()
    frame["good"] = frame.weight > 0.5
    frame["group"] = ["a", "b", "a", "b"]
    picks = Picks.from_pandas(frame)
    assert picks.extra["good"].tolist() == frame.good.tolist()
    assert picks.extra["group"].tolist() == ["a", "b", "a", "b"]


def test_tables_of_many_tomograms_are_joined_and_parted() -> None:
    one, two = make_picks(3), make_picks(2, tomogram="TS 02")
    frame = pd.concat([one.to_pandas(), two.to_pandas()])
    with pytest.raises(InputError, match=r"2 tomograms .TS 01, TS 02.; select one"):
        Picks.from_pandas(frame, voxel_size=(14, 12, 10))
    part = frame[frame.tomogram == "TS 02"]
    again = Picks.from_pandas(part, voxel_size=(14, 12, 10), origin=(1, -2, 3.5), shape=(60, 70, 80), feature="core")
    assert again == two


# -- tables from elsewhere ---------------------------------------------------------------------------------


def test_a_table_without_facts_needs_a_voxel_size() -> None:
    frame = pd.DataFrame({"z_vox": [1.0], "y_vox": [2.0], "x_vox": [3.0]})
    with pytest.raises(InputError, match="give voxel_size"):
        Picks.from_pandas(frame)
    assert Picks.from_pandas(frame, voxel_size=(10, 10, 10)) == Picks([[1, 2, 3]], voxel_size=(10, 10, 10))


def test_angstrom_alone_is_turned_into_voxels() -> None:
    frame = pd.DataFrame({"z_a": [110.0], "y_a": [200.0], "x_a": [300.0]})
    picks = Picks.from_pandas(frame, voxel_size=(10, 20, 30), origin=(10, 0, 0), tomogram="TS_01")
    np.testing.assert_allclose(picks.position_vox, [[10, 10, 10]])
    assert picks.tomogram == "TS_01"


def test_positions_that_were_moved_in_one_unit_alone_are_refused() -> None:
    frame = make_picks().to_pandas()
    frame.loc[2, "x_vox"] += 1
    with pytest.raises(InputError, match=r"Pick 2 is at .* angstrom, but its voxels say"):
        Picks.from_pandas(frame)
    moved = Picks.from_pandas(frame.drop(columns=["z_a", "y_a", "x_a"]))
    assert moved.position_vox[2, 2] == make_picks().position_vox[2, 2] + 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_vox": None}, "there is no column x_vox"),
        ({"x_a": None}, "columns z_a, y_a, but there is no column x_a"),
        ({"x_a": None, "y_a": [0, 0, 0, 0]}, "there is no column x_a"),
        (dict.fromkeys(("z_vox", "y_vox", "x_vox", "z_a", "y_a", "x_a")), "no columns z_vox"),
        ({"y_vox": ["a", "b", "c", "d"]}, "z_vox, y_vox, x_vox need numbers"),
        ({"weight": ["a", "b", "c", "d"]}, "need numbers in weight"),
        ({"rot_deg": None}, "there is no column rot_deg"),
        ({"label": [1.5, 2, 3, 4]}, "label needs whole numbers"),
        ({"size_vox": [np.nan, 2, 3, 4]}, "size_vox needs whole numbers"),
        ({"label": [np.inf, 2, 3, 4]}, "^The column label needs whole numbers"),
        ({"label": [1e300, 2, 3, 4]}, "label needs whole numbers"),
        ({"label": [2.0**63, 2, 3, 4]}, "label needs whole numbers"),
        ({"label": [2**70, 2, 3, 4]}, "label needs whole numbers"),
        ({"label": pd.array([1, None, 3, 4], dtype="Int64")}, "label needs whole numbers"),
        ({"label": ["1", "2", "3", "4"]}, "label needs whole numbers"),
        ({"size_vox": np.array([2**63, 2, 3, 4], "u8")}, "size_vox needs whole numbers"),
        ({"more": np.array([2**63, 2, 3, 4], "u8")}, "more needs whole numbers"),
        ({"feature": ["core", "core", "b", "c"]}, r"picks of 3 features \(core, b, c\); select one"),
        ({"tomogram": ["A", np.nan, "A", "A"]}, "picks of 2 tomograms"),
        ({"z_vox": [np.nan, 2, 3, 4], "z_a": None, "y_a": None, "x_a": None}, "Pick 0 of 4 has the position"),
        ({"odd name": [1, 2, 3, 4]}, "'odd name' cannot be the name"),
        ({"note": [1, "a", None, 2.5]}, "'note' must hold"),
    ],
    ids=str,
)
def test_tables_that_are_no_picks_are_refused(change: dict, message: str) -> None:
    frame = make_picks().to_pandas()
    for name, values in change.items():
        if values is None:
            frame = frame.drop(columns=name)
        else:
            frame[name] = values
    with pytest.raises(InputError, match=message):
        Picks.from_pandas(frame)


def test_integers_are_kept_to_the_last_bit() -> None:
    frame = (
        make_picks(2)
        .to_pandas()
        .assign(label=pd.array([2**63 - 1, -(2**63)], dtype="Int64"), more=np.array([7, 8], "u8"))
    )
    picks = Picks.from_pandas(frame)
    assert picks.label is not None
    assert picks.label.tolist() == [2**63 - 1, -(2**63)]
    assert picks.extra["more"].dtype == np.int64
    assert Picks.from_pandas(frame.assign(label=[1.0, 2.0])).label.tolist() == [1, 2]  # type: ignore[union-attr]


def test_a_column_names_the_feature() -> None:
    frame = make_picks().to_pandas().assign(feature="actin")
    picks = Picks.from_pandas(frame)
    assert (picks.feature, "feature" in picks.extra) == ("actin", False)
    assert Picks.from_pandas(frame, feature="b").feature == "b"


def test_columns_of_names_that_are_empty_say_nothing() -> None:
    frame = make_picks().to_pandas().assign(tomogram=np.nan, feature=None)
    assert Picks.from_pandas(frame) == make_picks()
    assert Picks.from_pandas(frame, tomogram="Z").tomogram == "Z"


@pytest.mark.parametrize("name", ["weight", "z_vox", "note", "tomogram"])
def test_columns_that_are_there_twice_are_refused(name: str) -> None:
    frame = make_picks().to_pandas()
    with pytest.raises(InputError, match=f"two columns '{name}'"):
        Picks.from_pandas(pd.concat([frame, frame[[name]]], axis=1))


def test_extra_columns_with_a_name_of_another_meaning_are_refused() -> None:
    picks = Picks([[1, 2, 3]], voxel_size=(10, 10, 10), extra={"z_a": [1.0]})
    with pytest.raises(InputError, match="'z_a' means something else in tables"):
        picks.to_pandas()
    assert picks._repr_html_().startswith("<p>Picks: 1 of")


# -- what they show ----------------------------------------------------------------------------------------


def test_the_repr_is_one_line() -> None:
    assert repr(make_picks()) == (
        "<Picks: 4 of 'core' in 'TS 01', voxels of 14 x 12 x 10 angstrom; "
        "weight, label, volume_a3, size_vox, euler, normal, cc, half, note>"
    )
    assert repr(Picks([[1, 2, 3]], voxel_size=(10, 10, 10))) == (
        "<Picks: 1 of 'particles' in 'a tomogram', voxels of 10 angstrom; positions>"
    )


def test_the_html_shows_the_first_picks() -> None:
    html = make_picks(25)._repr_html_()
    assert html.count("<tr") == 11
    assert "and 15 more" in html
    assert "<script>" not in make_picks(1, tomogram="<script>")._repr_html_()
    assert "more" not in make_picks(10)._repr_html_()
    assert make_picks(0)._repr_html_()


def test_a_single_number_is_no_selection_and_a_slice_is() -> None:
    picks = make_picks()
    with pytest.raises(InputError, match=r"picks\[3:4\], not picks\[3\]"):
        picks[3]
    assert len(picks[3:4]) == 1
    assert len(picks[picks.weight > 0.5]) == int((picks.weight > 0.5).sum())  # type: ignore[operator]


def test_the_examples_of_the_module_hold() -> None:
    assert doctest.testmod(module).failed == 0
