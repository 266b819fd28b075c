"""convert and info of every format of volumes: the same voxels, sizes and places, whatever the blocks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from volume_files import amira_bytes, em_bytes, eman2_file, ramp

import volengine
from volengine.cli.main import cli
from volengine.core.errors import InputError
from volengine.engine.options import RunOptions
from volengine.io.mrc.write import write_mrc
from volengine.tasks.convert.recipe import ConvertRecipe
from volengine.tasks.convert.verb import convert
from volengine.tasks.info import info

SHAPE = (20, 24, 28)
QUIET = RunOptions(progress=False, block=(16, 16, 16))
SMALL = {"chunk": (8, 8, 8), "shard": (16, 16, 16)}
VALUES = ramp(SHAPE, "int16")


def _em(path: Path) -> None:
    path.write_bytes(em_bytes(VALUES, ">"))


def _h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("dataset", data=VALUES, chunks=(7, 9, 11), compression="gzip")


def _hdf(path: Path) -> None:
    eman2_file(path, VALUES.astype("f4"), 10.0)


def _nii(path: Path) -> None:
    nibabel = pytest.importorskip("nibabel", reason="nibabel is not installed")
    image = nibabel.Nifti1Image(VALUES.T, np.diag([1e-3, 1e-3, 1e-3, 1]))
    image.header.set_xyzt_units("micron")
    nibabel.save(image, path)


def _am(path: Path) -> None:
    bounds = " ".join(f"0 {n - 1}" for n in SHAPE[::-1])
    path.write_bytes(amira_bytes(VALUES, "short", bounds=bounds, unit="nm"))


def _rle(path: Path) -> None:
    path.write_bytes(amira_bytes((VALUES > 0).astype("u1"), "byte", rle=True, unit="", name="Labels"))


def _ccp4(path: Path) -> None:
    write_mrc(path, [VALUES], SHAPE, "int16", (10.0, 10.0, 10.0))


FORMATS: dict[str, Callable[[Path], None]] = {
    "a.em": _em, "a.h5": _h5, "a.hdf": _hdf, "a.nii": _nii, "a.nii.gz": _nii, "a.am": _am, "labels.am": _rle,
    "a.ccp4": _ccp4,
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_becomes_the_same_store(tmp_path: Path, name: str) -> None:
    FORMATS[name](tmp_path / name)
    stated = name in ("a.hdf", "a.nii", "a.nii.gz", "a.am", "a.ccp4")
    if not stated:
        with pytest.raises(InputError, match="--voxel-size"):
            convert(tmp_path / name, tmp_path / "out.ome.zarr", ConvertRecipe(**SMALL), QUIET)
    size = None if stated else 10.0
    made = convert(tmp_path / name, tmp_path / "out.ome.zarr", ConvertRecipe(voxel_size=size, **SMALL), QUIET)
    assert np.array_equal(made[:], VALUES > 0 if name == "labels.am" else VALUES)
    assert made.voxel_size == pytest.approx((10, 10, 10))
    assert made.name == name.split(".")[0]
    assert made.facts["history"][0]["source"] == name
    kept = {"a.em": "em", "a.h5": "hdf5", "a.hdf": "hdf5", "a.ccp4": "mrc"}.get(name, name.split(".")[1])
    assert made.facts[{"nii": "nifti", "am": "amira"}.get(kept, kept)]


@pytest.mark.parametrize("name", FORMATS)
def test_info_says_what_a_file_is(tmp_path: Path, name: str) -> None:
    FORMATS[name](tmp_path / name)
    facts = info(tmp_path / name)
    assert "20" in str(facts)
    assert "28" in str(facts)


def test_workers_read_the_same_voxels(tmp_path: Path) -> None:
    _h5(tmp_path / "a.h5")
    options = QUIET.with_(workers=2, memory_limit=700_000_000)
    made = convert(tmp_path / "a.h5", tmp_path / "out.ome.zarr", ConvertRecipe(voxel_size=10.0, **SMALL), options)
    assert np.array_equal(made[:], VALUES)


def test_a_dataset_is_chosen_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with h5py.File("a.h5", "w") as file:
        file.create_dataset("raw", data=VALUES)
        file.create_dataset("seg/mask", data=(VALUES > 0).astype("u1"))
    end = ["--out", "out.ome.zarr", "--voxel-size", "10"]
    outcome = CliRunner().invoke(cli, ["convert", "a.h5", *end])
    assert isinstance(outcome.exception, InputError)
    assert "/raw (20 x 24 x 28 int16), /seg/mask" in str(outcome.exception)
    outcome = CliRunner().invoke(cli, ["convert", "a.h5:/seg/mask", *end], catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    assert np.array_equal(volengine.open_volume("out.ome.zarr")[:], VALUES > 0)


def test_a_folder_stands_for_its_mrc_files_and_only_without_any_for_the_others(tmp_path: Path) -> None:
    from volengine.tasks.common.inputs import expand

    _em(tmp_path / "a.em")
    _h5(tmp_path / "b.h5")
    assert expand([str(tmp_path)]) == [str(tmp_path / "a.em"), str(tmp_path / "b.h5")]
    _ccp4(tmp_path / "c.ccp4")
    assert expand([str(tmp_path)]) == [str(tmp_path / "c.ccp4")]


# -- tilt series -------------------------------------------------------------------------------------------


def test_the_tilt_series_is_kept_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _ccp4(tmp_path / "TS_01.ccp4")
    _ccp4(tmp_path / "TS_02.ccp4")
    (tmp_path / "tilts").mkdir()
    for number in (1, 2):
        (tmp_path / "tilts" / f"TS_0{number}.rawtlt").write_text(f"-{number}\n0\n{number}\n")
    outcome = CliRunner().invoke(cli, ["convert", "TS_01.ccp4", "TS_02.ccp4", "--out", "out", "--tilts", "tilts"])
    assert outcome.exit_code == 0, outcome.output
    for number in (1, 2):
        volume = volengine.open_volume(f"out/TS_0{number}.ome.zarr")
        assert volume.facts["tilt_series"]["angles"] == [-number, 0, number]
        assert volume.facts["tilt_series"]["source"] == f"TS_0{number}.rawtlt"
    assert info("out/TS_02.ome.zarr")["tilt_series"]["angles"] == [-2.0, 2.0]


def test_one_tilt_series_is_not_given_to_several_tomograms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _ccp4(tmp_path / "a.ccp4")
    _ccp4(tmp_path / "b.ccp4")
    (tmp_path / "a.tlt").write_text("0\n")
    outcome = CliRunner().invoke(cli, ["convert", "a.ccp4", "b.ccp4", "--out", "out", "--tilts", "a.tlt"])
    assert isinstance(outcome.exception, InputError)
    assert "one tilt series, but there are 2 sources" in str(outcome.exception)


def test_a_damaged_tilt_series_is_an_error_before_anything_is_written(tmp_path: Path) -> None:
    _ccp4(tmp_path / "a.ccp4")
    (tmp_path / "a.tlt").write_text("0\nx\n")
    with pytest.raises(InputError, match="line 2"):
        convert(tmp_path / "a.ccp4", tmp_path / "o.ome.zarr", ConvertRecipe(tilts=str(tmp_path / "a.tlt")), QUIET)
    assert not (tmp_path / "o.ome.zarr").exists()
