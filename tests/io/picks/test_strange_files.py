"""Files of picks that a stranger may have written, and names that formats cannot hold as they are."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.errors import FormatError, InputError, MissingError, VolengineError
from volengine.core.picks import Picks
from volengine.io.picks import read_all, read_picks, write_picks

ENDINGS = {"relion": "star", "relion5": "star", "warp": "star", "ais": "star", "dynamo": "tbl", "csv": "csv"}
FORMATS = {**ENDINGS, "copick": "json"}
NAMES = st.one_of(
    st.text(max_size=12),
    st.text("_#\"'=+-@ dataloop_;[]/\\.1é\t\u2028\xa0,", max_size=8),
    st.sampled_from(
        [
            "data_x",
            "loop_",
            "_x",
            "save_",
            "#x",
            "=1+1",
            "'=1",
            "''+x",
            "a/b",
            "x.mrc",
            "x.tomostar",
            "1",
            "nan",
            "-1.5",
        ]
    ),
)


# -- names -----------------------------------------------------------------------------------------------------------


@settings(max_examples=400)
@given(st.sampled_from(sorted(FORMATS)), NAMES, NAMES, st.lists(NAMES, min_size=2, max_size=2))
def test_every_name_comes_back_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, format: str, tomogram: str, feature: str, notes: list[str]
) -> None:
    try:
        picks = Picks(
            [[1, 2, 3], [4, 5, 6]],
            voxel_size=(10, 10, 10),
            shape=(20, 20, 20),
            tomogram=tomogram,
            feature=feature,
            extra={"note": notes},
        )
        path = tmp_path_factory.mktemp("names") / f"a.{FORMATS[format]}"
        write_picks(path, picks, format)
    except InputError:
        return
    (found,) = read_all(path, format).values()
    assert found.tomogram == picks.tomogram
    assert found.position_vox.tolist() == picks.position_vox.tolist()
    if format != "dynamo":  # its tables hold numbers
        assert found.feature == picks.feature
    if format not in ("dynamo", "copick"):
        assert found.extra["note"].tolist() == picks.extra["note"].tolist()


@pytest.mark.parametrize("name", ["data_1", "loop_", "_rlnX", "save_x", "[a]", "TS 01", "DATA_1"])
def test_star_puts_its_own_words_in_quotes(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.star"
    picks = Picks([[1, 2, 3]], voxel_size=(10, 10, 10), tomogram=name, extra={"first": [name]})
    write_picks(path, picks)
    assert f'"{name}"' in path.read_text()
    assert read_picks(path) == picks
    import starfile

    assert str(starfile.read(path)["particles"]["rlnTomoName"].iloc[0]) == name  # and other programs read it, too


@pytest.mark.parametrize("name", ["a/b", "a\\b"])
def test_dynamos_map_of_paths_holds_no_such_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="holds paths"):
        write_picks(tmp_path / "a.tbl", Picks([[1, 2, 3]], voxel_size=(10, 10, 10), tomogram=name))


def test_cells_of_csv_are_no_formulas(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    notes = ["=HYPERLINK(1)", "@x", "-1.5", "'=x"]
    picks = Picks(
        [[-1, -2, -3]] * 4, voxel_size=(10, 10, 10), tomogram="+evil", weight=[-1, 0, 1, 2], extra={"note": notes}
    )
    write_picks(path, picks)
    rows = [line for line in path.read_text().splitlines() if not line.startswith("#")][1:]
    assert [row.split(",")[0] for row in rows] == ["'+evil"] * 4
    assert [row.split(",")[-1] for row in rows] == ["'=HYPERLINK(1)", "'@x", "-1.5", "''=x"]
    assert rows[0].split(",")[1] == "-1.0"  # numbers stay numbers
    assert read_picks(path) == picks


# -- an optimisation set that leads elsewhere -------------------------------------------------------------------------


SECRET = "root:x:0:0:secret"


@pytest.mark.parametrize("kind", ["rlnTomoParticlesFile", "rlnTomoTomogramsFile"])
@pytest.mark.parametrize(
    "secret",
    [
        SECRET,
        f"data_{SECRET}\n_{SECRET} 1\n{SECRET}",
        f"data_\nloop_\n_{SECRET}\n_rlnTomoName\nx {SECRET} y\n",
        f"data_\nloop_\n_rlnCoordinateX\n_rlnCoordinateY\n_rlnCoordinateZ\n1 2 {SECRET}\n",
        "data_\nloop_\n_rlnTomoName\n_rlnTomoSizeX\n_rlnTomoSizeY\n_rlnTomoSizeZ\n_rlnTomoTiltSeriesPixelSize\n"
        f"a 1 2 3 {SECRET}\n",
        f"# volengine {{{SECRET}\ndata_\n",
    ],
)
def test_errors_quote_nothing_of_the_files_that_a_set_names(tmp_path: Path, kind: str, secret: str) -> None:
    foreign = tmp_path / "foreign" / "passwords"
    foreign.parent.mkdir()
    foreign.write_text(secret)
    folder = tmp_path / "project"
    folder.mkdir()
    write_picks(folder / "p.star", Picks([[1, 2, 3]], voxel_size=(10, 10, 10), tomogram="a", shape=(9, 9, 9)))
    files = {"rlnTomoParticlesFile": "p.star", kind: str(foreign)}
    path = folder / "optimisation_set.star"
    path.write_text("data_\n" + "".join(f"_{label} {name}\n" for label, name in files.items()))
    try:
        read_picks(path, voxel_size=(10.0, 10.0, 10.0))
    except FormatError as error:
        told: BaseException | None = error
        assert "passwords" in str(told)
        while told is not None:
            assert SECRET not in str(told)
            told = told.__cause__
    else:  # a STAR file without sizes of tomograms is one
        assert kind == "rlnTomoTomogramsFile"


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/stdin", "x" * 5000, "no/such.star"])
def test_sets_that_lead_to_no_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / "optimisation_set.star"
    path.write_text(f"data_\n_rlnTomoParticlesFile {name}\n")
    with pytest.raises(MissingError, match="in no folder above it") as caught:
        read_picks(path)
    assert len(str(caught.value)) < 1000


def test_a_set_that_leads_to_itself(tmp_path: Path) -> None:
    path = tmp_path / "optimisation_set.star"
    path.write_text("data_\n_rlnTomoParticlesFile optimisation_set.star\n")
    with pytest.raises(FormatError, match="leads to"):
        read_picks(path)


# -- copick ------------------------------------------------------------------------------------------------------------


def copick(**changes: Any) -> dict[str, Any]:
    point = {"location": {"x": 1, "y": 2, "z": 3}, "instance_id": 1, "score": 1.0}
    point |= changes.pop("point", {})
    return {"voxel_spacing": 10, "run_name": "TS_01", "points": [point], **changes}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (copick(point={"instance_id": math.inf}), "instance_id of point 0 .* is inf"),
        (copick(point={"instance_id": math.nan}), "instance_id of point 0 .* is nan"),
        (copick(point={"instance_id": 1.5}), "whole number"),
        (copick(point={"instance_id": 2**63}), "whole number"),
        (copick(point={"instance_id": 10**1000}), "whole number"),
        (copick(point={"instance_id": "1"}), "whole number"),
        (copick(point={"instance_id": True}), "whole number"),
        (copick(point={"score": "high"}), "score of point 0"),
        (copick(point={"score": 10**400}), "score of point 0"),
        (copick(point={"location": {"x": 10**400, "y": 1, "z": 1}}), "no location"),
        (copick(point={"location": {"x": "1", "y": 1, "z": 1}}), "no location"),
        (copick(point={"location": {"x": True, "y": 1, "z": 1}}), "no location"),
        (copick(point={"location": [1, 2, 3]}), "no location"),
        (copick(point={"location": {"x": math.nan, "y": 1, "z": 1}}), "is at"),
        (copick(point={"transformation_": [[10**400] * 4] * 4}), "4x4"),
        (copick(point={"transformation_": [[math.nan] * 4] * 3 + [[0, 0, 0, 1]]}), "4x4"),
        (copick(voxel_spacing="10"), "voxel_size is"),
        (copick(voxel_spacing=-1), "voxel_size is"),
        (copick(voxel_spacing=math.inf), "voxel_size is"),
        (copick(voxel_spacing=[10]), "voxel_size is"),
        (copick(run_name=3), "tomogram is 3"),
        (copick(pickable_object_name={"a": 1}), "feature is"),
        (copick(volengine={"shape": [1, 2]}), "shape is"),
        (copick(volengine={"shape": [1, 2, 2.5]}), "shape is"),
        (copick(volengine={"origin": [math.inf, 0, 0]}), "origin is"),
        (copick(volengine={"columns": {"weight": 3}}), "columns is"),
        (copick(points={"a": 1}), "no list 'points'"),
        (copick(points=[3]), "no location"),
        ([1], "no list 'points'"),
    ],
)
def test_copick_fields_of_wrong_kind(tmp_path: Path, data: Any, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(data))
    with pytest.raises(FormatError, match=message) as caught:
        read_picks(path)
    assert len(str(caught.value)) < 500


# -- all formats -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", "[" * 100_000),
        ("a.json", '{"points": ' + "9" * 5000 + "}"),
        ("a.star", "# volengine " + '{"a":' * 100_000 + "\ndata_\n"),
        ("a.star", '# volengine {"tomogram": "a", "shape": [1e999, 2, 3]}\ndata_\nloop_\n_rlnCoordinateX\n'),
        ("a.star", '# volengine {"tomogram": ["a"]}\ndata_\n'),
        ("a.star", '# volengine {"tomogram": "a", "voxel_size": [0, 0, 0]}\ndata_\n'),
        ("a.csv", "z,y,x\n" + "1" * 200_000 + ",1,1\n"),
        ("a.csv", "z,y,x\n1,1,1e999\n"),
        ("a.csv", "z,y,x\n1,1,nan\n"),
        ("a.tsv", "1 2 inf\n"),
        ("a.tbl", " ".join(["1"] * 19 + ["inf"] + ["1"] * 16)),
        ("a.tbl", " ".join(["1"] * 23 + ["nan"] + ["1"] * 12)),
    ],
)
def test_damaged_texts_are_one_error(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(VolengineError) as caught:
        read_all(path, voxel_size=(10.0, 10.0, 10.0))
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("text", ["9223372036854775808", "9" * 30])
def test_labels_beyond_int64_are_refused_and_extra_columns_become_floats(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"z,y,x,label\n1,1,1,{text}\n")
    with pytest.raises(FormatError, match="label is '9"):
        read_picks(path, voxel_size=(10.0, 10.0, 10.0))
    path.write_text(f"z,y,x,other\n1,1,1,{text}\n")
    assert read_picks(path, voxel_size=(10.0, 10.0, 10.0)).extra["other"].tolist() == [float(text)]


def test_a_pipe_is_no_file_of_picks(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "a.star")
    with pytest.raises(MissingError, match="is not a file"):
        read_picks(tmp_path / "a.star")
