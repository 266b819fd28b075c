"""A voxel size that the user corrects: the origin keeps its place among the voxels, in every format. Values by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from mrc_files import write

import volengine

SIZE, ORIGIN = 10.0, (500.0, -300.0, 40.0)
"""Voxel size and origin (z, y, x) of the files, angstrom: voxel (0, 0, 0) is at (50, -30, 4) voxels."""
GIVEN, WANT = 8.0, (400.0, -240.0, 32.0)


def mrc(folder: Path) -> Path:
    return write(folder / "a.mrc", np.zeros((4, 5, 6), "i2"), 1, cell=(60, 50, 40), origin=ORIGIN[::-1])


def nstart(folder: Path) -> Path:
    return write(folder / "a.mrc", np.zeros((4, 5, 6), "i2"), 1, cell=(60, 50, 40), nstart=(4, -30, 50))


def omezarr(folder: Path) -> Path:
    volengine.convert(mrc(folder), folder / "a.ome.zarr", None, volengine.RunOptions(progress=False))
    return folder / "a.ome.zarr"


def nifti(folder: Path) -> Path:
    nibabel = pytest.importorskip("nibabel")
    affine = np.diag([1e-6, 1e-6, 1e-6, 1.0])
    affine[:3, 3] = np.array(ORIGIN[::-1]) * 1e-7
    image = nibabel.Nifti1Image(np.zeros((6, 5, 4), np.int16), affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, folder / "a.nii")
    return folder / "a.nii"


@pytest.mark.parametrize("make", [mrc, nstart, omezarr, nifti], ids=lambda make: make.__name__)
def test_the_origin_is_scaled_with_the_voxel_size(tmp_path: Path, make: object) -> None:
    path = make(tmp_path)  # type: ignore[operator]
    stated = volengine.open_volume(path)
    assert stated.voxel_size == pytest.approx((SIZE,) * 3)
    assert stated.origin == pytest.approx(ORIGIN)
    given = volengine.open_volume(path, voxel_size=GIVEN)
    assert given.voxel_size == (GIVEN,) * 3
    assert given.origin == pytest.approx(WANT)
    assert volengine.open_volume(path, voxel_size=stated.voxel_size).origin == stated.origin


def test_an_mrc_header_without_a_voxel_size_keeps_its_origin(tmp_path: Path) -> None:
    """There is nothing by which it could be scaled; the origin of MRC2014 is angstrom."""
    write(tmp_path / "a.mrc", np.zeros((4, 5, 6), "i2"), 1, cell=(0, 0, 0), origin=ORIGIN[::-1])
    assert volengine.open_volume(tmp_path / "a.mrc", voxel_size=GIVEN).origin == ORIGIN


def test_axes_are_scaled_one_by_one(tmp_path: Path) -> None:
    found = volengine.open_volume(mrc(tmp_path), voxel_size=(20, 10, 5))
    assert json.loads(json.dumps(found.origin)) == [1000, -300, 20]
