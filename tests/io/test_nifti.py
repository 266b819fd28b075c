"""NIfTI volumes, against nibabel."""

from __future__ import annotations

import gzip
import pickle
from pathlib import Path

import numpy as np
import pytest
from volume_files import ramp

from volengine.core.boxes import Box
from volengine.core.errors import FormatError, InputError
from volengine.io.nifti import NiftiSource, decompress_nifti, open_nifti
from volengine.io.open import open_source, open_volume

nibabel = pytest.importorskip("nibabel", reason="nibabel is not installed")

UM = 1.3e-3
"""13 angstrom in micrometres."""


def save(
    path: Path, values: np.ndarray, affine: object = None, unit: str | None = None, two: bool = False, **header: object
) -> Path:
    """Save a volume z, y, x with nibabel, which holds x, y, z."""
    kind = nibabel.Nifti2Image if two else nibabel.Nifti1Image
    image = kind(values.T, np.diag([UM, UM, 2 * UM, 1]) if affine is None else np.asarray(affine, float))
    if unit:
        image.header.set_xyzt_units(unit)
    for key, value in header.items():
        image.header[key] = value
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "int32", "float32", "float64"])
@pytest.mark.parametrize("two", [False, True])
def test_voxels_are_those_of_nibabel(tmp_path: Path, dtype: str, two: bool) -> None:
    values = np.random.default_rng(2).integers(0, 100, (3, 4, 5)).astype(dtype)
    path = save(tmp_path / "TS_01.nii", values, two=two, unit="micron")
    volume = open_volume(path)
    assert (volume.shape, volume.dtype, volume.name) == ((3, 4, 5), dtype, "TS_01")
    assert volume.voxel_size == pytest.approx((26, 13, 13))
    got = pickle.loads(pickle.dumps(open_source(volume))).read(Box((1, 0, 2), (3, 3, 4)))
    assert np.array_equal(got, np.asanyarray(nibabel.load(path).dataobj).T[1:3, 0:3, 2:4])
    assert np.array_equal(volume[:], values)


def test_big_endian_files(tmp_path: Path) -> None:
    values = ramp(dtype="int16")
    image = nibabel.Nifti1Image(values.T, np.eye(4), nibabel.Nifti1Header(endianness=">"))
    image.header.set_data_dtype(">i2")
    nibabel.save(image, tmp_path / "a.nii")
    assert np.array_equal(open_volume(tmp_path / "a.nii", voxel_size=10)[:], values)


def test_scaled_values_are_real_numbers(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", ramp(dtype="int16"), unit="micron")
    data = bytearray(path.read_bytes())
    data[112:120] = np.array([0.25, -3], "<f4").tobytes()  # scl_slope, scl_inter
    path.write_bytes(data)
    volume = open_volume(path)
    assert volume.dtype == "float32"
    assert np.array_equal(volume[:], ramp() * 0.25 - 3)
    assert np.array_equal(volume[:].T, nibabel.load(path).get_fdata().astype("f4"))


@pytest.mark.parametrize(
    ("unit", "size", "angstrom"), [("mm", 1.3e-6, 13), ("micron", 1.3e-3, 13), ("meter", 1.3e-9, 13)]
)
def test_units_of_length(tmp_path: Path, unit: str, size: float, angstrom: float) -> None:
    path = save(tmp_path / "a.nii", ramp(), np.diag([size, size, size, 1]), unit)
    assert open_volume(path).voxel_size == pytest.approx((angstrom,) * 3)


@pytest.mark.parametrize(("unit", "size"), [(None, 10.0), ("mm", 1.0), ("mm", 10.0)])
def test_an_unknown_or_implausible_size_is_asked_for(tmp_path: Path, unit: str | None, size: float) -> None:
    path = save(tmp_path / "a.nii", ramp(), np.diag([size, size, size, 1]), unit)
    with pytest.raises(InputError, match=rf"{size:g}, {size:g}, {size:g}.*--voxel-size"):
        open_volume(path)
    assert open_volume(path, voxel_size=4).voxel_size == (4, 4, 4)


def test_the_shift_of_the_affine_is_the_origin_of_the_first_centre(tmp_path: Path) -> None:
    """By hand: voxels of 13, 13, 26 angstrom (x, y, z), shifted by 0.2, -0.1, 0.05 um: 2000, -1000, 500 angstrom."""
    affine = np.diag([UM, UM, 2 * UM, 1])
    affine[:3, 3] = 0.2, -0.1, 0.05
    path = save(tmp_path / "a.nii", ramp(), affine, "micron")
    assert open_volume(path).origin == pytest.approx((500, -1000, 2000), rel=1e-5)
    doubled = open_volume(path, voxel_size=(52, 26, 26))  # the shift counts voxels then
    assert doubled.origin == pytest.approx((1000, -2000, 4000), rel=1e-5)


def test_the_frame_of_itk_turns_nothing(tmp_path: Path) -> None:
    """ITK writes -1, -1, 1 for a volume that is not turned, and its x and y of the shift with the other sign."""
    affine = np.diag([-UM, -UM, 2 * UM, 1])
    affine[:3, 3] = -0.2, 0.1, 0.05
    volume = open_volume(save(tmp_path / "a.nii", ramp(), affine, "micron"))
    assert volume.origin == pytest.approx((500, -1000, 2000), rel=1e-5)
    assert np.array_equal(volume[:], ramp())


def test_without_any_orientation_the_sizes_count(tmp_path: Path) -> None:
    """Both codes 0: nibabel's own affine then flips x and moves the centre, which the file does not say."""
    path = save(tmp_path / "a.nii", ramp(), unit="micron", sform_code=0, qform_code=0)
    volume = open_volume(path)
    assert (volume.voxel_size, volume.origin) == (pytest.approx((26, 13, 13)), (0, 0, 0))


@pytest.mark.parametrize(
    "part",
    [
        [[-UM, 0, 0], [0, UM, 0], [0, 0, UM]],
        [[UM, 0, 0], [0, -UM, 0], [0, 0, -UM]],
        [[0, UM, 0], [UM, 0, 0], [0, 0, UM]],
        [[UM, 0.01 * UM, 0], [0, UM, 0], [0, 0, UM]],
    ],
)
def test_affines_that_turn_or_mirror_are_refused(tmp_path: Path, part: list[list[float]]) -> None:
    affine = np.eye(4)
    affine[:3, :3] = part
    path = save(tmp_path / "a.nii", ramp(), affine, "micron")
    with pytest.raises(InputError, match="turns, mirrors or shears"):
        open_volume(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200, 0.0])
def test_affines_without_a_size_are_damaged(tmp_path: Path, value: float) -> None:
    affine = np.diag([UM, UM, UM, 1])
    path = save(tmp_path / "a.nii", ramp(), affine, "micron", two=True)
    data = bytearray(path.read_bytes())
    data[400:408] = np.array([value], "<f8").tobytes()  # srow_x[0] of NIfTI-2
    path.write_bytes(data)
    with pytest.raises(FormatError, match="it is damaged"):
        open_volume(path, voxel_size=10)


def test_compressed_files_open_and_unpack(tmp_path: Path) -> None:
    path = save(tmp_path / "TS_01.nii.gz", ramp(dtype="uint8"), unit="micron")
    volume = open_nifti(path)
    assert (volume.name, volume.shape) == ("TS_01", (3, 4, 5))
    with pytest.raises(InputError, match="compressed as a whole"):
        NiftiSource(volume)
    plain = decompress_nifti(path, tmp_path / "plain.nii")
    assert np.array_equal(open_volume(plain)[:], ramp(dtype="uint8"))


def test_bombs_and_cut_streams_are_refused(tmp_path: Path) -> None:
    whole = save(tmp_path / "a.nii", ramp(), unit="micron").read_bytes()
    (tmp_path / "bomb.nii.gz").write_bytes(gzip.compress(whole + bytes(5_000_000)))
    with pytest.raises(FormatError, match="unpacks to more than"):
        decompress_nifti(tmp_path / "bomb.nii.gz", tmp_path / "b.nii")
    packed = gzip.compress(np.random.default_rng(0).bytes(10_000))
    (tmp_path / "cut.nii.gz").write_bytes(gzip.compress(whole + packed)[:-2000])
    with pytest.raises(FormatError, match="damaged or ends too early"):
        decompress_nifti(tmp_path / "cut.nii.gz", tmp_path / "c.nii")
    assert not (tmp_path / "b.nii").exists()
    assert not (tmp_path / "c.nii").exists()


def test_truncated_files_colours_and_series_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii", ramp(), unit="micron")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(FormatError, match="truncated"):
        open_volume(path)
    with pytest.raises(FormatError, match="three lengths"):
        open_volume(save(tmp_path / "4d.nii", np.zeros((2, 3, 4, 5), "f4"), unit="micron"))
    with pytest.raises(FormatError, match="complex64"):
        open_volume(save(tmp_path / "c.nii", np.zeros((3, 4, 5), "c8"), unit="micron"))


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize(("shift", "angstrom"), [(-0.3, -3000.0), (0.1, 1000.0), (123456.7, 1234567000.0)])
def test_numbers_are_those_that_were_written_in_32_bits(tmp_path, kind, shift, angstrom):
    """-0.3 in 32 bits is -0.300000012 in 64; the unit is µm, 10,000 angstrom."""
    affine = np.diag([0.1, 0.1, 0.1, 1.0])
    affine[:3, 3] = [shift, -0.3, 0.7]
    image = kind(np.zeros((4, 5, 6), "f4"), affine)
    image.header.set_xyzt_units("micron")
    nibabel.save(image, tmp_path / "a.nii")
    volume = open_volume(tmp_path / "a.nii")
    assert volume.origin == (7000.0, -3000.0, angstrom)
    assert volume.voxel_size == (1000.0, 1000.0, 1000.0)
    assert volume.facts["nifti"]["shift"] == [0.7, -0.3, shift]
    assert volume.facts["nifti"]["spacing"] == [0.1, 0.1, 0.1]
