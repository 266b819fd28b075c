"""Lists of points, boxes of TomoTwin and crYOLO, markers of ChimeraX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from volengine.core.errors import FormatError, InputError
from volengine.core.picks import Picks
from volengine.io.picks import read_picks, write_picks

A10 = (10.0, 10.0, 10.0)
HEAD = """
data_global

_cbox_format_version   1.0

data_cryolo

loop_
_CoordinateX #1
_CoordinateY #2
_CoordinateZ #3
_Width #4
_Height #5
_Depth #6
_EstWidth #7
_EstHeight #8
_Confidence #9
_NumBoxes #10
_Angle #11
"""
SLICES = "\ndata_cryolo_include\n\nloop_\n_slice_index #1\n 50.0\n"
POSITIONS = st.lists(st.tuples(*[st.floats(-50, 5000)] * 3), max_size=5)


# Points --------------------------------------------------------------------------------------------------------------


def test_coords_are_centres_in_voxels(tmp_path: Path) -> None:
    """As TomoTwin writes them: pandas, blanks, no names."""
    import pandas as pd

    path = tmp_path / "a.coords"
    pd.DataFrame({"X": [30, 1.5], "Y": [20.25, 2], "Z": [10, 3]}).to_csv(path, index=False, header=False, sep=" ")
    picks = read_picks(path, voxel_size=A10)
    assert picks.position_vox.tolist() == [[10, 20.25, 30], [3, 2, 1.5]]
    path.write_text("# x y z\n1 2 3\n")
    assert read_picks(path, voxel_size=A10).position_vox.tolist() == [[3, 2, 1]]
    for text, what in (("1 2\n", "line 1: 2 values"), ("1 2 3\nx y z\n", "line 2"), ("1 2 3 4\n", "4 values")):
        path.write_text(text)
        with pytest.raises(FormatError, match=what):
            read_picks(path, voxel_size=A10)


@given(position=POSITIONS)
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_coords_come_back_to_the_last_bit(tmp_path: Path, position: list[float]) -> None:
    picks = Picks(np.array(position).reshape(-1, 3), voxel_size=A10, tomogram="t")
    write_picks(tmp_path / "a.coords", picks)
    assert read_picks(tmp_path / "a.coords", voxel_size=A10, tomogram="t") == picks


# Boxes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("box", "x", "y"), [(36, 30, 20), (37, 30.5, 20.5)])
def test_a_cbox_has_its_corner_in_x_and_y_and_its_centre_in_z(tmp_path: Path, box: int, x: float, y: float) -> None:
    """TomoTwin writes X - boxsize / 2, Y - boxsize / 2 and Z."""
    path = tmp_path / "a.cbox"
    path.write_text(f"{HEAD} 12.0 2.0 50.0 {box}.0 {box}.0 {box}.0 7 7 0.5 <NA> <NA>\n{SLICES}")
    picks = read_picks(path, voxel_size=A10)
    assert picks.position_vox.tolist() == [[50, y, x]]
    assert picks.weight is not None
    assert (picks.weight.tolist(), picks.extra["box_vox"].tolist()) == ([0.5], [box])
    write_picks(tmp_path / "b.cbox", picks)
    row = next(line.split() for line in (tmp_path / "b.cbox").read_text().splitlines() if line.startswith(" 12.0"))
    assert row == ["12.0", "2.0", "50.0", *[f"{box}.0"] * 3, "<NA>", "<NA>", "0.5", "<NA>", "<NA>"]
    assert read_picks(tmp_path / "b.cbox", voxel_size=A10, tomogram="a") == picks


def test_boxes_along_filaments_know_theirs(tmp_path: Path) -> None:
    path = tmp_path / "a.cbox"
    vertices = "\ndata_filament_vertices\n\nloop_\n_CoordinateX #1\n 1.0\n"
    rows = "".join(f" {x} 0 5 10 10 10 <NA> <NA> <NA> <NA> <NA> {f}\n" for x, f in ((0, 1), (5, 1), (9, 2.0)))
    path.write_text(f"{HEAD}_filamentid #12\n{rows}{vertices}")
    picks = read_picks(path, voxel_size=A10)
    assert picks.position_vox.tolist() == [[5, 5, 5], [5, 5, 10], [5, 5, 14]]
    assert (picks.weight, picks.extra["filament"].tolist()) == (None, [1, 1, 2])
    write_picks(tmp_path / "b.cbox", picks)
    assert read_picks(tmp_path / "b.cbox", voxel_size=A10, tomogram="a") == picks


def test_boxes_of_images_and_files_of_others_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.cbox"
    for text, what in (
        (f"{HEAD} 12 2 <NA> 36 36 36 7 7 0.5 <NA> <NA>\n", "no _CoordinateZ: they are those of an image"),
        (HEAD.replace("_Width", "_Breadth"), "no column _Width"),
        (f"{HEAD} 12 2 50 0 36 36 7 7 0.5 <NA> <NA>\n", "line 20: the box is 0.0 x 36.0"),
        (f"{HEAD} 12 2 50\n", "line 20: 3 values"),
        (f"{HEAD} 12 2 z 36 36 36 7 7 0.5 <NA> <NA>\n", "line 20: CoordinateZ is 'z'"),
        ("data_particles\n\nloop_\n_rlnCoordinateX\n1\n", r"no block data_cryolo.*formats of picks are"),
        ("12 2 36 36 0.5\n", "STAR begins with"),
    ):
        path.write_text(text)
        with pytest.raises(FormatError, match=what):
            read_picks(path, voxel_size=A10)
    picks = Picks([[1, 2, 3]], voxel_size=A10)
    for extra in ({"box_vox": [0]}, {"box_vox": ["a"]}, {"filament": [0.5]}):
        with pytest.raises(InputError, match=r"must hold sizes|whole numbers"):
            write_picks(path, picks.with_(extra=extra))


@given(position=POSITIONS, box=st.integers(1, 200))
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_boxes_come_back(tmp_path: Path, position: list[float], box: int) -> None:
    n = len(position)
    picks = Picks(
        np.array(position).reshape(n, 3), voxel_size=A10, tomogram="t", extra={"box_vox": np.full(n, float(box))}
    )
    write_picks(tmp_path / "a.cbox", picks)
    back = read_picks(tmp_path / "a.cbox", voxel_size=A10, tomogram="t")
    np.testing.assert_allclose(back.position_vox, picks.position_vox, atol=1e-11, rtol=0)
    assert back.with_(position_vox=picks.position_vox) == picks


# Markers -------------------------------------------------------------------------------------------------------------

MARKERS = """<marker_set name="ribosome">
<marker id="1" x="310" y="-90" z="600" r="1" g="1" b="0" radius="20" note="a &amp; b"/>
<marker id="2" x="10" y="-290" z="500" radius="20"/>
<link id1="1" id2="2" r="1" g="1" b="0" radius="5"/>
</marker_set>
"""
ORIGIN = (500.0, -290.0, 10.0)


def test_markers_are_places_with_the_origin_of_the_map(tmp_path: Path) -> None:
    """The second marker is at the origin, which is the centre of the first voxel: index 0, 0, 0."""
    path = tmp_path / "a.cmm"
    path.write_text(MARKERS)
    picks = read_picks(path, voxel_size=A10, origin=ORIGIN)
    assert picks.position_vox.tolist() == [[10, 20, 30], [0, 0, 0]]
    assert picks.position.tolist() == [[600, -90, 310], [500, -290, 10]]
    assert (picks.feature, picks.tomogram) == ("ribosome", "a")
    assert read_picks(path, voxel_size=A10, origin=(0, 0, 0)).position_vox.tolist() == [[60, -9, 31], [50, -29, 1]]
    with pytest.raises(InputError, match=r"set origin .* \(0, 0, 0\) if its header has none"):
        read_picks(path, voxel_size=A10)
    with pytest.raises(InputError, match="voxel_size"):
        read_picks(path, origin=ORIGIN)


def test_several_sets_keep_their_names(tmp_path: Path) -> None:
    path = tmp_path / "a.cmm"
    path.write_text(f"<marker_sets>\n{MARKERS}{MARKERS.replace('ribosome', 'x')}</marker_sets>")
    picks = read_picks(path, voxel_size=A10, origin=ORIGIN)
    assert picks.extra["set_name"].tolist() == ["ribosome", "ribosome", "x", "x"]
    assert picks.feature == ""


@given(
    position=POSITIONS,
    name=st.text("-&<>'a é", min_size=1).filter(lambda s: s == s.strip()),
    size=st.tuples(*[st.floats(0.5, 50)] * 3),
)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_markers_come_back(tmp_path: Path, position: list[float], name: str, size: tuple[float, float, float]) -> None:
    n = len(position)
    picks = Picks(
        np.array(position).reshape(n, 3), voxel_size=size, origin=ORIGIN, shape=(5, 6, 7), tomogram=f"{name}--",
        feature=name, weight=np.linspace(-1, 1, n), label=np.arange(n),
    )  # fmt: skip
    write_picks(tmp_path / "a.cmm", picks)
    back = read_picks(tmp_path / "a.cmm")
    np.testing.assert_allclose(back.position_vox, picks.position_vox, atol=1e-9, rtol=0)
    if n:
        assert back.with_(position_vox=picks.position_vox) == picks


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (MARKERS.replace('x="10"', 'x="left"'), "line 3: x of a marker is 'left'"),
        (MARKERS.replace('z="500"', ""), "line 3: z of a marker is ''"),
        (MARKERS.replace('x="10"', 'x="inf"'), "line 3: the position"),
        (MARKERS.replace("</marker_set>", ""), "line 6: the markers are damaged: no XML"),
        ("", "the markers are damaged: no XML"),
        ("<html><marker/></html>", r"XML of 'html'.*formats of picks are"),
        ("<marker_sets><marker id='1'/></marker_sets>", "line 1: a marker is in no marker_set"),
        ('<!DOCTYPE m [<!ENTITY a "aaaa">]>\n' + MARKERS, "no document type"),
        ("\0\1\2", "no XML"),
    ],
)
def test_damaged_markers_are_refused(tmp_path: Path, text: str, what: str) -> None:
    (tmp_path / "a.cmm").write_text(text)
    with pytest.raises(FormatError, match=what):
        read_picks(tmp_path / "a.cmm", voxel_size=A10, origin=ORIGIN)


def test_columns_of_artiax_that_would_get_one_name_are_refused(tmp_path: Path) -> None:
    names = ["pos_x", "pos_y", "pos_z", "shift_x", "shift_y", "shift_z", "phi", "the", "psi", "a b", "a_b"]
    (tmp_path / "a.tsv").write_text("\t".join(names) + "\n" + "\t".join("1" for _ in names) + "\n")
    with pytest.raises(FormatError, match="two columns would be called 'a_b'"):
        read_picks(tmp_path / "a.tsv", "artiax", voxel_size=(1.0, 1.0, 1.0))
