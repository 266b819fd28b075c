"""convert --tilts refuses the tilt series of another tomogram, and takes its angles anew when the file changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mrc_files import write

import volengine
from volengine.core.errors import InputError
from volengine.tasks.convert.recipe import ConvertRecipe

QUIET = volengine.RunOptions(progress=False)


def converted(folder: Path, source: str, tilts: str, **recipe: object) -> list[float]:
    write(folder / source, np.zeros((3, 8, 8), "i2"), 1, cell=(80, 80, 30))
    out = folder / "out.ome.zarr"
    volengine.convert(folder / source, out, ConvertRecipe(tilts=str(folder / tilts), **recipe), QUIET)  # type: ignore[arg-type]
    angles: list[float] = volengine.open_volume(out).facts["tilt_series"]["angles"]
    return angles


@pytest.mark.parametrize(
    ("source", "tilts"),
    [("TS_01.mrc", "TS_02.rawtlt"), ("TS_01_Vol.mrc", "TS_11.tlt"), ("TS_01_10.00Apx.mrc", "TS_02.tlt")],
)
def test_a_file_named_as_another_tomogram_of_the_series_is_refused(tmp_path: Path, source: str, tilts: str) -> None:
    (tmp_path / tilts).write_text("-3\n0\n3\n")
    with pytest.raises(InputError, match=r"tilt series of 'TS_\d\d', and the tomogram is 'TS_01"):
        converted(tmp_path, source, tilts)
    assert not (tmp_path / "out.ome.zarr").exists()


@pytest.mark.parametrize(
    ("source", "tilts", "recipe"),
    [
        ("TS_01.mrc", "TS_01.rawtlt", {}),
        ("TS_01_Vol.mrc", "TS_01.tlt", {}),
        ("TS_01_10.00Apx.mrc", "TS_01.tlt", {}),
        ("cell.mrc", "TS_02.tlt", {}),
        ("TS_01.mrc", "TS_02.tlt", {"name": "TS_02"}),
    ],
)
def test_other_names_are_taken(tmp_path: Path, source: str, tilts: str, recipe: dict[str, object]) -> None:
    (tmp_path / tilts).write_text("-3\n0\n3\n6\n")  # a tomogram has as many sections as it is thick
    assert converted(tmp_path, source, tilts, **recipe) == [-3, 0, 3, 6]


def test_a_stack_of_images_has_as_many_as_its_tilts(tmp_path: Path) -> None:
    (tmp_path / "a.tlt").write_text("-3\n0\n3\n6\n")
    with pytest.raises(InputError, match=r"has 4 images, but a\.st has 3 sections"):
        converted(tmp_path, "a.st", "a.tlt")
    (tmp_path / "a.tlt").write_text("-3\n0\n3\n")
    assert converted(tmp_path, "a.st", "a.tlt") == [-3, 0, 3]


def test_dark_sections_count_in_the_raw_stack(tmp_path: Path) -> None:
    """AreTomo names two of three sections, and the third as dark."""
    (tmp_path / "a.aln").write_text(
        "# AreTomo Alignment / Priims bprmMn \n# RawSize = 8 8 3\n# NumPatches = 0\n# DarkFrame =  1  1  0.00\n"
        "# SEC     ROT         GMAG       TX          TY      SMEAN     SFIT    SCALE     BASE     TILT\n"
        "    0   85.0   1.0  0.0  0.0  1.0  1.0  1.0  0.0   -3.00\n"
        "    2   85.0   1.0  0.0  0.0  1.0  1.0  1.0  0.0    3.00\n"
    )
    assert converted(tmp_path, "a.st", "a.aln") == [-3, 3]


def test_angles_that_were_corrected_are_taken_by_the_same_command(tmp_path: Path) -> None:
    (tmp_path / "a.tlt").write_text("-3\n0\n3\n")
    write(tmp_path / "a.mrc", np.zeros((3, 8, 8), "i2"), 1, cell=(80, 80, 30))
    out, recipe = tmp_path / "out.ome.zarr", ConvertRecipe(tilts=str(tmp_path / "a.tlt"))
    for angles in ([-3, 0, 3], [-2, 1, 4], [-2, 1, 4]):
        (tmp_path / "a.tlt").write_text("\n".join(map(str, angles)))
        volengine.convert(tmp_path / "a.mrc", out, recipe, QUIET)
        assert volengine.open_volume(out).facts["tilt_series"]["angles"] == angles
