"""A part of a volume on the command line: --roi of the verbs, and volengine crop."""

from __future__ import annotations

import importlib

import mrcfile
import numpy as np
import pytest
from click.testing import CliRunner

from volengine.cli.crop import command as crop
from volengine.core.errors import InputError
from volengine.io.open import open_volume

WITH_ROI = ("convert", "segment", "interact", "pick", "score", "surface", "skeleton", "export", "crop")


@pytest.fixture
def source(tmp_path):
    with mrcfile.new(tmp_path / "TS_01.mrc") as file:
        file.set_data(np.arange(8 * 12 * 16, dtype=np.int16).reshape(8, 12, 16))
        file.voxel_size = 10.0
    return tmp_path / "TS_01.mrc"


def call(*words):
    done = CliRunner().invoke(crop, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_ending_decides_what_is_written(source, tmp_path):
    whole = open_volume(source)
    for name in ("part.ome.zarr", "part.mrc", "part.tif"):
        call(source, "--roi", "2:,3:9,:4", "--out", tmp_path / name, "--no-progress")
        np.testing.assert_array_equal(open_volume(tmp_path / name).read(), whole[2:, 3:9, :4])
    assert open_volume(tmp_path / "part.mrc").origin == (20.0, 30.0, 0.0)


def test_the_plan_can_be_seen_first(source, tmp_path):
    out = tmp_path / "part.ome.zarr"
    assert "6x12x16 int16" in call(source, "--roi", "2:,:,:", "--out", out, "--dry-run")
    assert not out.exists()
    with pytest.raises(InputError, match="a file is written without one"):
        call(source, "--roi", "2:,:,:", "--out", tmp_path / "part.mrc", "--dry-run")


def test_what_exists_is_not_replaced_unless_asked(source, tmp_path):
    for name in ("a.ome.zarr", "a.mrc"):
        out = tmp_path / name
        call(source, "--roi", "2:,:,:", "--out", out, "--no-progress")
        with pytest.raises(InputError, match=r"overwrite"):
            call(source, "--roi", "3:,:,:", "--out", out, "--no-progress", "--run-dir", tmp_path / "elsewhere")
        call(source, "--roi", "3:,:,:", "--out", out, "--no-progress", "--overwrite", "--run-dir", tmp_path / "more")
        assert open_volume(out).shape == (5, 12, 16)


def test_a_roi_is_needed_and_so_is_a_known_ending(source, tmp_path):
    done = CliRunner().invoke(crop, [str(source), "--out", str(tmp_path / "a.mrc")])
    assert done.exit_code != 0
    with pytest.raises(InputError, match="the ending must be one of"):
        call(source, "--roi", "2:,:,:", "--out", tmp_path / "a.nii")


@pytest.mark.parametrize("verb", WITH_ROI)
def test_every_verb_says_the_same_of_roi(verb):
    command = importlib.import_module(f"volengine.cli.{verb}").command
    text = next(p.help for p in command.params if p.name == "roi")
    for form in ("z0:z1,y0:y1,x0:x1", "100nm:400nm,:,:50nm", "The stop is not included"):
        assert form in text
