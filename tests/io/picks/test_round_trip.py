"""Picks written and read again: the same to the last bit, or within what the format's page states."""

from __future__ import annotations

import json

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from volengine.core.errors import InputError
from volengine.core.orientation import euler_to_matrix
from volengine.core.picks import Picks
from volengine.io.picks import read_all, read_picks, write_picks
from volengine.io.picks.formats import FORMATS

ENDING = {"ais-tsv": "tsv", "dynamo": "tbl", "dynamo0": "tbl", "csv": "csv", "copick": "json"}
COMPLETE = ("relion", "warp", "ais", "csv")
NAMES = st.text(
    st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp", "Zs"), blacklist_characters="\"'#/\\"),
    min_size=1,
    max_size=12,
).filter(lambda s: s == s.strip())
COORDINATE = st.floats(-50, 5000, allow_nan=False, allow_subnormal=False)
NUMBER = st.floats(allow_nan=True, allow_infinity=True, width=64)


@st.composite
def tables(draw: st.DrawFn, cubes: bool = True) -> Picks:
    n = draw(st.integers(0, 4))
    rows = lambda item, width: draw(  # noqa: E731
        st.lists(st.lists(item, min_size=width, max_size=width), min_size=n, max_size=n)
    )
    column = lambda item: draw(st.lists(item, min_size=n, max_size=n))  # noqa: E731
    size = st.floats(0.5, 50)
    voxel_size = (draw(size),) * 3 if cubes else (draw(size), draw(size), draw(size))
    columns: dict[str, object] = {}
    if draw(st.booleans()):
        columns["weight"] = column(NUMBER)
    if draw(st.booleans()):
        columns["label"] = column(st.integers(-(2**62), 2**62))
    if draw(st.booleans()):
        columns |= {"volume_a3": column(NUMBER), "size_vox": column(st.integers(0, 2**40))}
    if draw(st.booleans()):
        columns["euler"] = rows(st.floats(-180, 180), 3)
    if draw(st.booleans()):
        columns["normal"] = rows(st.sampled_from([0.6, -0.8, 1 / 3]), 3)
    if draw(st.booleans()):
        text = st.one_of(NAMES, st.sampled_from(["001", "1.0", "nan", "", "True", "a b", "_x", "data_x"]))
        columns["extra"] = {
            "note": column(text),
            "half": column(st.booleans()),
            "cc": column(NUMBER),
            "rlnClassNumber": column(st.integers(-5, 10**17)),
        }
    return Picks(
        np.array(rows(COORDINATE, 3)).reshape(n, 3),
        voxel_size=voxel_size,
        origin=tuple(draw(st.tuples(COORDINATE, COORDINATE, COORDINATE))),  # type: ignore[arg-type]
        shape=draw(st.tuples(*[st.integers(1, 999)] * 3)),
        tomogram=draw(st.one_of(NAMES, st.sampled_from(["001", "TS_01.mrc", "a b", "nan", "x.tomostar"]))),
        feature=draw(st.one_of(st.just(""), NAMES)),
        **columns,  # type: ignore[arg-type]
    )


def through(path, picks, format, **known):
    write_picks(path, picks, format)
    return read_picks(path, format, **known)


@pytest.mark.parametrize("format", COMPLETE)
@given(picks=tables())
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_everything_comes_back_to_the_last_bit(tmp_path, format, picks):
    path = tmp_path / f"picks.{ENDING.get(format, 'star')}"
    assert through(path, picks, format) == picks
    before = path.read_bytes()
    write_picks(path, read_picks(path), format)
    assert path.read_bytes() == before


@given(picks=tables(cubes=False))
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_csv_keeps_boxes_too(tmp_path, picks):
    assert through(tmp_path / "a.csv", picks, None) == picks


@given(picks=tables())
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_relion5_keeps_all_but_the_last_bits_of_positions(tmp_path, picks):
    back = through(tmp_path / "p.star", picks, "relion5")
    np.testing.assert_allclose(back.position_vox, picks.position_vox, rtol=1e-15, atol=1e-12)
    assert back.with_(position_vox=picks.position_vox) == picks


@pytest.mark.parametrize("format", ["relion5", "copick"])
def test_whole_and_half_voxels_on_whole_voxel_sizes_stay_exact(tmp_path, format):
    position = np.random.default_rng(0).integers(0, 4000, (200, 3)) / 2
    picks = Picks(position, voxel_size=(8, 8, 8), shape=(300, 999, 1000), tomogram="t", feature="f")
    assert through(tmp_path / f"p.{ENDING.get(format, 'star')}", picks, format) == picks


@pytest.mark.parametrize("format", ["dynamo", "dynamo0"])
@given(picks=tables())
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_dynamo_keeps_positions_angles_weights(tmp_path, format, picks):
    if picks.label is not None:
        picks = picks.with_(label=picks.label % 2**50)
    back = through(tmp_path / "p.tbl", picks, format, tomogram=picks.tomogram, voxel_size=picks.voxel_size)
    np.testing.assert_allclose(back.position_vox, picks.position_vox, rtol=1e-15, atol=1e-12)
    for key in ("weight", "label"):
        mine = getattr(picks, key)
        if mine is not None and mine.any():
            np.testing.assert_array_equal(getattr(back, key), mine)
        else:
            assert getattr(back, key) is None
    turns = np.zeros((len(picks), 3)) if picks.orientation is None else picks.orientation
    found = np.zeros((len(picks), 3)) if back.euler is None else back.euler
    np.testing.assert_allclose(euler_to_matrix(found), euler_to_matrix(turns), atol=1e-12)


@given(picks=tables())
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_copick_keeps_grid_weights_labels_turns(tmp_path, picks):
    picks = picks.with_(weight=np.arange(len(picks)))
    back = through(tmp_path / "p.json", picks, "copick")
    np.testing.assert_allclose(back.position_vox, picks.position_vox, rtol=1e-15, atol=0)
    assert back.facts() == picks.facts()
    np.testing.assert_array_equal(back.weight, picks.weight)
    assert (back.label is None) == (picks.label is None)
    if picks.label is not None:
        np.testing.assert_array_equal(back.label, picks.label)
    assert (back.euler is None) == (picks.orientation is None)  # normals are written as rotations
    if picks.orientation is not None:
        np.testing.assert_allclose(euler_to_matrix(back.euler), euler_to_matrix(picks.orientation), atol=1e-11)


def test_ais_tsv_rounds_to_the_nearest_voxel(tmp_path):
    picks = Picks([[1, 2, 3], [0.5, 1.51, 99.49]], voxel_size=(10, 10, 10))
    back = through(tmp_path / "p.tsv", picks, None, voxel_size=(10, 10, 10))
    assert (tmp_path / "p.tsv").read_text() == "3\t2\t1\n99\t2\t0\n"
    np.testing.assert_array_equal(back.position_vox, [[1, 2, 3], [0, 2, 99]])
    assert back.tomogram == "p"


@pytest.mark.parametrize("format", sorted(name for name, one in FORMATS.items() if one.writes))
@pytest.mark.parametrize("columns", [{}, {"weight": [], "euler": np.zeros((0, 3)), "extra": {"rlnA": []}}])
def test_no_picks_at_all(tmp_path, format, columns):
    picks = Picks(np.zeros((0, 3)), voxel_size=(5, 5, 5), shape=(9, 9, 9), tomogram="TS_1", **columns)
    path = tmp_path / f"none.{ENDING.get(format, 'star')}"
    back = through(path, picks, format, voxel_size=(5, 5, 5), tomogram="TS_1")
    assert len(back) == 0
    assert back.tomogram == "TS_1"
    if format in (*COMPLETE, "relion5"):
        assert read_picks(path) == picks


@pytest.mark.parametrize("format", ["relion", "relion5", "warp", "ais", "dynamo", "csv"])
def test_several_tomograms_in_one_file(tmp_path, format):
    path = tmp_path / f"all.{ENDING.get(format, 'star')}"
    shape = (20, 30, 40)
    tables = [
        Picks(np.full((n, 3), n + 0.5), voxel_size=(size,) * 3, shape=shape, tomogram=name, weight=np.ones(n))
        for name, n, size in (("b", 2, 4.0), ("a", 3, 8.0), ("empty", 0, 8.0))
    ]
    write_picks(path, tables, format)
    found = read_all(path, format)
    wanted = [t for t in tables if len(t) or format != "dynamo"]  # a table of numbers cannot hold an empty one
    assert list(found) == [t.tomogram for t in wanted]
    for table in wanted:
        assert len(found[table.tomogram]) == len(table)
        assert found[table.tomogram].voxel_size == table.voxel_size
        np.testing.assert_array_equal(found[table.tomogram].position_vox, table.position_vox)
        np.testing.assert_array_equal(read_picks(path, tomogram=table.tomogram).position_vox, table.position_vox)
    with pytest.raises(InputError, match=r"tomograms: 'b', 'a'.*Set tomogram"):
        read_picks(path, format)
    with pytest.raises(InputError, match="no tomogram 'c'; there are 'b', 'a'"):
        read_picks(path, format, tomogram="c")


@pytest.mark.parametrize("format", ["relion", "warp"])
def test_coordinates_counted_in_pixels_of_the_tilt_series(tmp_path, format):
    """RELION 4 counts unbinned pixels: voxel i of a tomogram binned by b is pixel i * b."""
    picks = Picks([[10, 20.5, 30]], voxel_size=(8, 8, 8), origin=(1, 2, 3), tomogram="TS")
    path = tmp_path / "p.star"
    write_picks(path, picks, format, pixel_size=2)
    row = next(line.split() for line in path.read_text().splitlines() if line.startswith("120.0"))
    assert row[:3] == ["120.0", "82.0", "40.0"]
    assert read_picks(path) == picks
    without_facts = "\n".join(x for x in path.read_text().splitlines() if not x.startswith("#"))
    path.write_text(without_facts)
    assert read_picks(path).voxel_size == (2, 2, 2)
    np.testing.assert_array_equal(read_picks(path).position_vox, [[40, 82, 120]])
    np.testing.assert_array_equal(read_picks(path, voxel_size=(8, 8, 8)).position_vox, picks.position_vox)


@pytest.mark.parametrize("shape", [(10, 20, 30), (11, 21, 31)])
def test_relion5_centre_is_half_the_shape(tmp_path, shape):
    """RELION 5 takes size / 2.0 pixels as the centre, of odd sizes too."""
    path = tmp_path / "p.star"
    picks = Picks([np.array(shape) / 2, (0, 0, 0)], voxel_size=(4, 4, 4), shape=shape, tomogram="TS")
    write_picks(path, picks, "relion5")
    rows = [line.split()[:3] for line in path.read_text().splitlines() if "TS" in line and line[0] != "#"]
    z, y, x = (-2.0 * n for n in shape)
    assert [[float(v) for v in row] for row in rows] == [[0, 0, 0], [x, y, z]]


def test_what_relion_finds_in_its_file(tmp_path):
    starfile = pytest.importorskip("starfile")
    path = tmp_path / "p.star"
    picks = Picks(
        [[1, 2, 3]], voxel_size=(10, 10, 10), tomogram="TS_1", weight=[7], label=[5], normal=[[0, 1, 0]]
    )  # fmt: skip
    write_picks(path, picks)
    optics, particles = (starfile.read(path)[k] for k in ("optics", "particles"))
    assert optics.to_dict("records") == [
        {"rlnOpticsGroup": 1, "rlnOpticsGroupName": "opticsGroup1", "rlnTomoTiltSeriesPixelSize": 10.0}
    ]
    row = particles.to_dict("records")[0]
    assert (row["rlnCoordinateX"], row["rlnCoordinateY"], row["rlnCoordinateZ"]) == (3, 2, 1)
    assert (row["rlnAngleRot"], row["rlnAngleTilt"], row["rlnAnglePsi"]) == (0, 90, 90)
    assert (row["rlnAutopickFigureOfMerit"], row["volengineLabel"], row["rlnTomoName"]) == (7, 5, "TS_1")
    assert row["rlnOpticsGroup"] == 1


def test_what_copick_finds_in_its_file(tmp_path):
    path = tmp_path / "p.json"
    picks = Picks(
        [[1, 2, 3]], voxel_size=(10, 10, 10), origin=(5, 5, 5), tomogram="TS_1", feature="ribosome", weight=[7]
    )  # fmt: skip
    write_picks(path, picks)
    data = json.loads(path.read_text())
    assert data.pop("volengine")["origin"] == [5, 5, 5]
    assert data == {
        "pickable_object_name": "ribosome",
        "user_id": "volengine",
        "session_id": "0",
        "run_name": "TS_1",
        "voxel_spacing": 10.0,
        "unit": "angstrom",
        "points": [
            {
                "location": {"x": 30.0, "y": 20.0, "z": 10.0},
                "transformation_": np.eye(4).tolist(),
                "instance_id": 0,
                "score": 7.0,
            }
        ],
        "trust_orientation": False,
    }


@pytest.mark.parametrize(
    ("dynamo", "relion"),
    [((-155.55, 63.924, 197.81), (107.81, 63.924, -65.55)), ((-47.273, 1.1777, -132.3), (137.7, 1.1777, 42.727))],
)
def test_angles_of_dynamo_are_those_of_relion(tmp_path, dynamo, relion):
    """Pairs that give the same reconstruction in both programs (ABTT's and dynamo2m's tests)."""
    path = tmp_path / "p.tbl"
    row = [1, 1, 1, 0.25, 0, -0.5, *dynamo, 0.3, *[0] * 9, 4, 0, 1, 0, 101, 201, 301]
    path.write_text(" ".join(map(str, row)) + "\n")
    picks = read_picks(path, voxel_size=(5, 5, 5))
    np.testing.assert_allclose(euler_to_matrix(picks.euler), euler_to_matrix([relion]), atol=1e-12)
    np.testing.assert_array_equal(picks.position_vox, [[299.5, 200, 100.25]])
    np.testing.assert_array_equal(
        read_picks(path, "dynamo0", voxel_size=(5, 5, 5)).position_vox, [[300.5, 201, 101.25]]
    )
    assert (picks.tomogram, picks.weight) == ("4", [0.3])
    assert read_picks(path, voxel_size=(5, 5, 5), tomogram="TS_9").tomogram == "TS_9"
    write_picks(path, picks)
    back = np.array(path.read_text().split(), float)
    np.testing.assert_allclose(np.sin(np.radians(back[6:9] - dynamo)), 0, atol=1e-12)
    np.testing.assert_array_equal(back[23:26], [101.25, 201, 300.5])
    assert path.with_suffix(".doc").read_text() == "1 4.mrc\n"


def test_particles_that_relion_refined_are_read(tmp_path):
    """position = coordinate - A_subtomogram * origin, orientation = A_subtomogram * A_particle."""
    path = tmp_path / "refined.star"
    labels = [
        "rlnTomoName", "rlnCoordinateX", "rlnCoordinateY", "rlnCoordinateZ", "rlnAngleRot", "rlnAngleTilt",
        "rlnAnglePsi", "rlnTomoSubtomogramRot", "rlnTomoSubtomogramTilt", "rlnTomoSubtomogramPsi",
        "rlnOriginXAngst", "rlnOriginYAngst", "rlnOriginZAngst", "rlnOpticsGroup", "rlnClassNumber",
    ]  # fmt: skip
    path.write_text(
        "# version 30001\ndata_optics\n\nloop_\n_rlnOpticsGroup #1\n_rlnTomoTiltSeriesPixelSize #2\n1 2.0\n2 4.0\n\n"
        "# version 30001\n\ndata_particles\n\nloop_\n"
        + "".join(f"_{label} #{i}\n" for i, label in enumerate(labels, 1))
        + "TS_2 10 20 30 11 22 33 0 0 90 8 4 -2 2 3 # the last one\n"
    )
    picks = read_picks(path)
    a_sub = euler_to_matrix([[0, 0, 90]])[0]
    np.testing.assert_allclose(a_sub, [[0, 1, 0], [-1, 0, 0], [0, 0, 1]], atol=1e-15)
    shift = a_sub @ [8, 4, -2]  # x, y, z
    np.testing.assert_allclose(picks.position_vox, [np.array([30, 20, 10]) - shift[::-1] / 4])
    np.testing.assert_allclose(euler_to_matrix(picks.euler)[0], a_sub @ euler_to_matrix([[11, 22, 33]])[0], atol=1e-12)
    assert picks.voxel_size == (4, 4, 4)
    assert picks.tomogram == "TS_2"
    assert picks.extra.keys() == {"rlnClassNumber"}
    assert picks.extra["rlnClassNumber"].dtype == np.int64
