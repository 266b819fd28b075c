"""Of a table the rows of the tomograms that are there, and what the table does not state from their volumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from volengine.core.errors import FormatError, InputError
from volengine.core.picks import Picks
from volengine.io.picks import write_picks
from volengine.io.picks.of_volumes import read_of
from volengine.io.picks.rows import Known

SIZE = (10.0, 10.0, 10.0)
TS_01 = Known(SIZE, shape=(200, 200, 200))
TS_02 = Known(SIZE, shape=(101, 60, 80))
"""An odd shape: RELION 5 counts from 50.5 voxels."""


def star(path: Path, *rows: tuple[float, float, float, str]) -> Path:
    """RELION 5: x, y, z in angstrom from the centre, and a name."""
    labels = ("rlnCenteredCoordinateXAngst", "rlnCenteredCoordinateYAngst", "rlnCenteredCoordinateZAngst")
    head = "".join(f"_{label} #{n}\n" for n, label in enumerate((*labels, "rlnTomoName"), 1))
    path.write_text(f"data_particles\n\nloop_\n{head}" + "".join(f"{x} {y} {z} {name}\n" for x, y, z, name in rows))
    return path


@pytest.mark.parametrize("ending", ["", ".tomostar", "_Vol"])
def test_each_row_counts_from_the_centre_of_its_own_volume(tmp_path: Path, ending: str) -> None:
    """By hand: x = 0 angstrom is half of the shape, whether it is even or odd; 15 angstrom are 1.5 voxels."""
    path = star(tmp_path / "a.star", (0, 0, 0, f"TS_01{ending}"), (15, -20, 5, f"TS_02{ending}"))
    tables, said = read_of(path, {"TS_01": TS_01, "TS_02": TS_02})
    assert tables["TS_01"].position_vox.tolist() == [[100, 100, 100]]
    assert tables["TS_02"].position_vox.tolist() == [[51, 28, 41.5]]
    assert [(name, picks.tomogram, picks.shape) for name, picks in tables.items()] == [
        ("TS_01", "TS_01", (200, 200, 200)),
        ("TS_02", "TS_02", (101, 60, 80)),
    ]
    assert said.startswith("a.star: all 2 rows")


def test_other_rows_are_left_out_and_this_is_said(tmp_path: Path) -> None:
    path = star(tmp_path / "a.star", *[(0, 0, 0, "TS_01")] * 3, *[(0, 0, 0, "TS_02")] * 4)
    tables, said = read_of(path, {"TS_02": TS_02})
    assert {name: len(picks) for name, picks in tables.items()} == {"TS_02": 4}
    assert said == "a.star: 4 of 7 rows, as those of 'TS_02'."


def test_no_rows_of_a_volume_is_an_error_that_lists_the_names(tmp_path: Path) -> None:
    path = star(tmp_path / "a.star", (0, 0, 0, "TS_01"), (0, 0, 0, "TS_02"))
    with pytest.raises(InputError, match=r"a\.star has no rows of 'TS_03'; there are those of 'TS_01', 'TS_02'"):
        read_of(path, {"TS_03": TS_01})
    assert read_of(path, {"TS_03": TS_01}, required=False)[0] == {}


def test_a_single_tomogram_may_be_called_otherwise_but_not_be_another_one_of_the_series(tmp_path: Path) -> None:
    path = star(tmp_path / "a.star", (0, 0, 0, "TS_01"))
    tables, said = read_of(path, {"cell": TS_01})
    assert len(tables["cell"]) == 1
    assert said == "a.star: all 1 rows, as those of 'cell' (there 'TS_01')."
    with pytest.raises(InputError, match=r"no rows of 'TS_02'; there are those of 'TS_01'"):
        read_of(path, {"TS_02": TS_02})


def test_two_names_of_one_tomogram_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("tomogram,z,y,x\nTS_01_10.00Apx,1,2,3\nTS_01,4,5,6\n")
    with pytest.raises(InputError, match=r"both mean 'TS_01_Vol'|'TS_01_10.00Apx' and 'TS_01'|both mean"):
        read_of(path, {"TS_01_Vol": TS_01})


def test_a_table_without_names_is_of_the_volume_of_its_name_or_of_the_only_one(tmp_path: Path) -> None:
    text = "3\t2\t1\n"
    for name in ("TS_02__ribosome.tsv", "picks.tsv", "TS_01.tsv"):
        (tmp_path / name).write_text(text)
    both = {"TS_01": TS_01, "TS_02": TS_02}
    tables, _ = read_of(tmp_path / "TS_02__ribosome.tsv", both)
    assert tables["TS_02"].position_vox.tolist() == [[1, 2, 3]]
    assert list(read_of(tmp_path / "picks.tsv", {"TS_01": TS_01})[0]) == ["TS_01"]
    assert list(read_of(tmp_path / "TS_01.tsv", {"TS_02": TS_02})[0]) == ["TS_02"]  # the file's name states nothing
    with pytest.raises(InputError, match="no rows of 'TS_01', 'TS_02'"):
        read_of(tmp_path / "picks.tsv", both)


def test_pixels_of_a_table_are_voxels_of_the_volume(tmp_path: Path) -> None:
    """Pixel 40 of 2.5 angstrom is voxel 10 of 10 angstrom."""
    picks = Picks([[40, 8, 4]], voxel_size=(2.5, 2.5, 2.5), tomogram="TS_01")
    write_picks(tmp_path / "a.star", picks)
    tables, _ = read_of(tmp_path / "a.star", {"TS_01": TS_01})
    np.testing.assert_allclose(tables["TS_01"].position_vox, [[10, 2, 1]])
    assert tables["TS_01"].voxel_size == SIZE


def test_damage_is_still_damage(tmp_path: Path) -> None:
    path = star(tmp_path / "a.star", (0, 0, 0, "TS_01"))
    path.write_text(path.read_text().replace("0 0 0 TS_01", "0 zero 0 TS_01"))
    with pytest.raises(FormatError, match="line 8"):
        read_of(path, {"TS_01": TS_01})
