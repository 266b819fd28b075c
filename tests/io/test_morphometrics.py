"""Tables of Surface Morphometrics: positions, order of columns, empty cells, against pandas; damaged files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from volengine.core.errors import FormatError, MissingError
from volengine.io.morphometrics import read_morphometrics, write_morphometrics


def as_pandas_writes(path: Path) -> pd.DataFrame:
    """As export_csv of Surface Morphometrics does it: scalars, then vectors, index_label index."""
    table = pd.DataFrame({"kappa_1": [0.05, -0.01, np.nan], "thickness": [3.5, np.nan, 4.0], "self_id_min": [7, -1, 0]})
    for axis, values in zip("xyz", ([10.0, 11, 12], [20.0, 21, 22], [30.0, 31, 32]), strict=True):
        table[f"xyz_{axis}"] = values
    table.to_csv(path, index_label="index")
    return table


def test_what_pandas_has_written(tmp_path: Path) -> None:
    table = as_pandas_writes(tmp_path / "TE1_OMM.AVV_rh9.csv")
    found = read_morphometrics(tmp_path / "TE1_OMM.AVV_rh9.csv")
    assert found.position[0].tolist() == [300, 200, 100]  # angstrom, z, y, x
    assert list(found.columns) == ["index", "kappa_1", "thickness", "self_id_min"]
    np.testing.assert_array_equal(found.columns["thickness"], table["thickness"])
    assert read_morphometrics(tmp_path / "TE1_OMM.AVV_rh9.csv", 1.0).position[1].tolist() == [31, 21, 11]


def test_what_pandas_reads_back(tmp_path: Path) -> None:
    columns = {"index": np.arange(2), "area": [1.5, np.nan], "xyz_x": [1.0, 2], "xyz_y": [3.0, 4], "xyz_z": [5.0, 1e-7]}
    write_morphometrics(tmp_path / "a.csv", columns)
    found = pd.read_csv(tmp_path / "a.csv", index_col="index")
    assert list(found) == ["area", "xyz_x", "xyz_y", "xyz_z"]
    np.testing.assert_array_equal(found["xyz_z"], columns["xyz_z"])
    assert np.isnan(found["area"][1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "lacks xyz_x, xyz_y, xyz_z"),
        (b"index,xyz_x,xyz_y\n0,1,2\n", "lacks xyz_z; there are index, xyz_x, xyz_y"),
        (b"xyz_x,xyz_y,xyz_z,a\n1,2,3,4\n1,2,3\n", "line 3 has 3 values for 4 columns; is it truncated"),
        (b"xyz_x,xyz_y,xyz_z,a\n1,2,3,b\n", "line 2: 'b' is no number"),
        (b"xyz_x,xyz_y,xyz_z,a\n1,2,3,1_0\n", "line 2: '1_0' is no number"),
        (b"xyz_x,xyz_y,xyz_z,a,a\n1,2,3,4,5\n", "two columns 'a'"),
        (b"xyz_x,xyz_y,xyz_z\n1,,3\n", "row 0 has no position"),
        (b"\xff\xfe\x00", "is no text"),
        (b'xyz_x,xyz_y,xyz_z\n"1,2,3\n', "is no CSV"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, text: bytes, message: str) -> None:
    (tmp_path / "a.csv").write_bytes(text)
    with pytest.raises(FormatError, match=message):
        read_morphometrics(tmp_path / "a.csv")


def test_there_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no such file"):
        read_morphometrics(tmp_path / "a.csv")


def test_a_table_without_rows(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("xyz_x,xyz_y,xyz_z,a\n")
    assert read_morphometrics(tmp_path / "a.csv").position.shape == (0, 3)
