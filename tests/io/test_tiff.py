"""Reading TIFF stacks."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from places import DATA

from volengine.core.boxes import Box
from volengine.core.errors import FormatError, InputError, MissingError
from volengine.io.open import open_volume
from volengine.io.tiff import TiffSource, open_tiff, read_facts

REAL = DATA / "real"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the real sample data are not at hand")


@given(
    shape=st.tuples(st.integers(1, 6), st.integers(2, 9), st.integers(2, 9)),
    dtype=st.sampled_from(["u1", "i1", "u2", "i2", "f4", "u4", "f8", "f2"]),
    order=st.sampled_from("<>"),
    style=st.sampled_from(
        [{}, {"compression": "zlib"}, {"contiguous": False}, {"rowsperstrip": 2}, {"tile": (16, 16)}]
    ),
    big=st.booleans(),
    data=st.data(),
)
@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_box_of_any_stack(tmp_path: Path, shape, dtype, order, style: dict[str, Any], big, data) -> None:
    values = (np.random.default_rng(0).random(shape) * 120).astype(dtype)
    path = tmp_path / "a.tif"
    options = {k: v for k, v in style.items() if k != "contiguous"}
    with tifffile.TiffWriter(path, byteorder=order, bigtiff=big) as tif:
        if style.get("contiguous", True):
            tif.write(values, photometric="minisblack", **options)
        else:
            for page in values:
                tif.write(page, photometric="minisblack", contiguous=False, metadata=None)
    volume = open_tiff(path, voxel_size=5)
    assert (volume.shape, volume.dtype) == (shape, np.dtype(dtype).name)
    box = Box(*zip(*[sorted((data.draw(st.integers(0, n)), data.draw(st.integers(0, n)))) for n in shape], strict=True))
    got = pickle.loads(pickle.dumps(TiffSource(volume))).read(box)
    assert got.dtype == np.dtype(dtype)
    assert got.dtype.isnative
    assert got.flags.c_contiguous
    assert got.shape == box.shape
    assert np.array_equal(got, values[box.slices])


def test_storage_decides_chunks(tmp_path: Path) -> None:
    values = np.zeros((4, 20, 30), "u2")
    tifffile.imwrite(tmp_path / "raw.tif", values, photometric="minisblack")
    tifffile.imwrite(tmp_path / "zlib.tif", values, photometric="minisblack", compression="zlib")
    assert open_tiff(tmp_path / "raw.tif", 1.0).chunks is None
    assert open_tiff(tmp_path / "zlib.tif", 1.0).chunks == (1, 20, 30)


def test_lzw_needs_no_further_package(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4, (3, 40, 50), dtype="u1")
    pages = [Image.fromarray(page) for page in values]
    path = tmp_path / "a.tif"
    pages[0].save(path, save_all=True, append_images=pages[1:], compression="tiff_lzw")
    volume = open_tiff(path, 10)
    assert volume.facts["tiff"]["compression"] == "lzw"
    assert np.array_equal(TiffSource(volume).read(Box((1, 5, 6), (3, 30, 50))), values[1:3, 5:30, 6:50])


@pytest.mark.parametrize(
    ("unit", "per_angstrom"),
    [
        ("nm", 10), ("micron", 1e4), ("\\u00B5m", 1e4), ("um", 1e4), ("angstrom", 1), ("Å", 1), ("A", 1), ("microns",
        1e4),
        ("nanometers", 10), ("Nanometres", 10), ("\\u03BCm", 1e4), ("micrometer", 1e4), ("Angstroms", 1), ("pm", 0.01),
    ],
)  # fmt: skip
def test_the_voxel_size_of_imagej_is_read(tmp_path: Path, unit: str, per_angstrom: float) -> None:
    path = tmp_path / "a.tif"
    size = (12.0, 10.5, 8.25)
    z, y, x = (v / per_angstrom for v in size)
    if unit == "Å":  # tifffile writes ASCII only; ImageJ writes the escape
        unit = "\\u00C5"
    tifffile.imwrite(
        path, np.zeros((3, 4, 5), "u1"), imagej=True, resolution=(1 / x, 1 / y), metadata={"unit": unit, "spacing": z}
    )
    volume = open_tiff(path)
    assert np.allclose(volume.voxel_size, size, rtol=1e-6)
    assert open_tiff(path, voxel_size=3).voxel_size == (3, 3, 3)


def test_imagej_names_other_units_of_y_and_z_only_if_they_differ(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    metadata = {"unit": "nm", "yunit": "nm", "zunit": "micron", "spacing": 0.002}
    tifffile.imwrite(path, np.zeros((3, 4, 5), "u1"), imagej=True, resolution=(1, 1), metadata=metadata)
    assert open_tiff(path).voxel_size == (20, 10, 10)
    metadata["zunit"] = "pixel"
    tifffile.imwrite(path, np.zeros((3, 4, 5), "u1"), imagej=True, resolution=(1, 1), metadata=metadata)
    with pytest.raises(InputError, match=r"'nm' and 'pixel' of y and z.*--voxel-size"):
        open_tiff(path)


@pytest.mark.parametrize("unit", ["pixel", "pixels", "", "sec", "inch", "mm", "cm"])
def test_units_that_are_no_length_or_too_long_are_not_believed(tmp_path: Path, unit: str) -> None:
    """A printer's inch, and 1 mm for a voxel, are no voxel size of a tomogram."""
    metadata = {"unit": unit, "spacing": 1.0}
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 4, 5), "u1"), imagej=True, resolution=(1, 1), metadata=metadata)
    with pytest.raises(InputError, match="--voxel-size"):
        open_tiff(tmp_path / "a.tif")


def test_the_voxel_size_of_ome_tiff_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.ome.tif"
    metadata = {
        "axes": "ZYX", "PhysicalSizeX": 1.05, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 1.05,
        "PhysicalSizeYUnit": "nm", "PhysicalSizeZ": 0.002,
    }  # fmt: skip
    tifffile.imwrite(path, np.zeros((3, 4, 5), "u1"), metadata=metadata)
    volume = open_tiff(path)
    assert (volume.voxel_size, volume.name) == ((20.0, 10.5, 10.5), "x")


def ome_part(path: Path, pages: np.ndarray, number: int, files: int) -> Path:
    """One of the files of an OME-TIFF image, with as many pages as each of the others; its names are ``FILE0.tif``."""
    each, height, width = pages.shape
    blocks = "".join(
        f'<TiffData IFD="{z % each}" FirstZ="{z}" PlaneCount="1"><UUID FileName="FILE{z // each}.tif">{z // each}'
        "</UUID></TiffData>"
        for z in range(files * each)
    )
    text = (
        f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="{number}"><Image ID="Image:0">'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="{width}" SizeY="{height}" '
        f'SizeZ="{files * each}" SizeC="1" SizeT="1">{blocks}</Pixels></Image></OME>'
    )
    first, *others = [Image.fromarray(page) for page in pages]
    first.save(path, save_all=True, append_images=others, compression="tiff_lzw", description=text)
    return path


def test_an_image_in_several_files_is_refused(tmp_path: Path) -> None:
    """Slices of the second file would be decoded out of the first, and a change of it would not be noticed."""
    pages = np.arange(4 * 5 * 6, dtype="u1").reshape(4, 5, 6)
    parts = [ome_part(tmp_path / f"FILE{n}.tif", pages[2 * n : 2 * n + 2], n, 2) for n in range(2)]
    for part in parts:
        with pytest.raises(FormatError, match=r"one of 2 files that hold one image together \(FILE0\.tif, FILE1\.tif"):
            open_tiff(part, voxel_size=10)
    parts[1].unlink()
    with pytest.raises(FormatError, match="page 2 is missing"):
        TiffSource(open_tiff(parts[0], voxel_size=10)).read(Box((0, 0, 0), (4, 5, 6)))
    renamed = open_tiff(ome_part(tmp_path / "renamed.tif", pages, 0, 1), voxel_size=10)  # it names itself FILE0.tif
    np.testing.assert_array_equal(TiffSource(renamed).read(Box((0, 0, 0), (4, 5, 6))), pages)


def test_voxel_size_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    zero = np.zeros((3, 4, 5), "u1")
    stories = [
        {"resolution": (300, 300), "resolutionunit": "INCH"},  # dots per inch of a printer
        {"imagej": True, "resolution": (1, 1), "metadata": {"unit": "pixel", "spacing": 1}},
        {"imagej": True, "resolution": (1, 1), "metadata": {"unit": "nm"}},  # no spacing
        {"imagej": True, "resolution": (1, 1), "metadata": {"unit": "mm", "spacing": 1}},  # 1e7 angstrom
    ]
    for options in stories:
        tifffile.imwrite(path, zero, photometric="minisblack", **options)
        with pytest.raises(InputError, match=r"a\.tif.*--voxel-size"):
            open_tiff(path)
        assert open_tiff(path, 4.0).voxel_size == (4, 4, 4)


def test_two_dimensional_images_have_one_page(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.arange(20, dtype="u1").reshape(4, 5), photometric="minisblack")
    volume = open_tiff(path, 1.0)
    assert volume.shape == (1, 4, 5)
    assert np.array_equal(TiffSource(volume).read(Box((0, 1, 1), (1, 3, 5)))[0], np.arange(20).reshape(4, 5)[1:3, 1:])


def test_what_is_no_stack_of_grey_pages_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"

    def refused(words: str) -> None:
        with pytest.raises(FormatError, match=words) as caught:
            open_tiff(path, 1.0)
        assert str(path) in str(caught.value)
        assert caught.value.exit_code == 2

    tifffile.imwrite(path, np.zeros((3, 4, 5, 3), "u1"), photometric="rgb")
    refused("colours")
    tifffile.imwrite(path, np.zeros((2, 3, 4, 5), "u1"), imagej=True, metadata={"axes": "TZYX"})
    refused("axes")
    with tifffile.TiffWriter(path) as tif:
        tif.write(np.zeros((4, 5), "u1"), metadata=None)
        tif.write(np.zeros((6, 5), "u1"), metadata=None)
    refused("different sizes")
    tifffile.imwrite(path, np.zeros((3, 4, 5), "c8"), photometric="minisblack")
    refused("complex64")


def test_broken_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((30, 40, 50), "u2"), photometric="minisblack")
    whole = path.read_bytes()
    path.write_bytes(whole[:-1000])
    with pytest.raises(FormatError, match=r"a\.tif.*truncated.* bytes"):
        open_tiff(path, 1.0)
    for content in (b"", b"II*\0", whole[:60], b"no picture at all" * 99):
        path.write_bytes(content)
        with pytest.raises(FormatError, match=rf"a\.tif.*{len(content)} bytes"):
            open_tiff(path, 1.0)
    with pytest.raises(MissingError):
        open_tiff(tmp_path / "nothing.tif")


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("cut", [1, 700, 4000, 30_000])
def test_a_stack_cut_short_does_not_pass_for_a_smaller_one(tmp_path: Path, big: bool, cut: int) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, bigtiff=big) as tif:
        for _ in range(20):
            tif.write(np.ones((40, 50), "u1"), photometric="minisblack", contiguous=False, metadata=None)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(FormatError, match=r"truncated|damaged"):
        TiffSource(open_tiff(path, 1.0)).read(Box((0, 0, 0), (20, 40, 50)))


def test_a_damaged_page_is_refused_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    values = np.random.default_rng(0).integers(0, 255, (3, 40, 50), dtype="u1")
    tifffile.imwrite(path, values, photometric="minisblack", compression="zlib")
    volume = open_tiff(path, 1.0)
    with tifffile.TiffFile(path) as tif:
        offset = tif.pages[1].dataoffsets[0]
    content = bytearray(path.read_bytes())
    content[offset + 10 : offset + 200] = bytes(190)
    path.write_bytes(content)
    source = TiffSource(volume)
    assert np.array_equal(source.read(Box((0, 0, 0), (1, 40, 50))), values[:1])
    with pytest.raises(FormatError, match="page 1 is damaged"):
        source.read(Box((1, 0, 0), (2, 40, 50)))


def test_changed_file_and_box_outside(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((3, 4, 5), "u1"), photometric="minisblack")
    volume = open_tiff(path, 1.0)
    with pytest.raises(InputError, match="inside"):
        TiffSource(volume).read(Box((0, 0, 0), (4, 4, 5)))
    tifffile.imwrite(path, np.zeros((3, 4, 6), "u1"), photometric="minisblack")
    with pytest.raises(FormatError, match="changed"):
        TiffSource(volume)


@pytest.mark.parametrize(("file", "name"), [("a.tif", "a"), ("a.TIFF", "a"), ("b.1.ome.tif", "b.1"), ("x.st", "x.st")])
def test_a_volume_is_named_as_its_file_without_endings(tmp_path: Path, file: str, name: str) -> None:
    tifffile.imwrite(tmp_path / file, np.zeros((3, 4, 5), "u1"), photometric="minisblack")
    assert open_tiff(tmp_path / file, voxel_size=1).name == name


@pytest.mark.parametrize("what", ["empty", "folder", "absent"])
def test_what_is_no_file_of_voxels(tmp_path: Path, what: str) -> None:
    path = tmp_path / "a.tif"
    if what == "empty":
        path.touch()
    elif what == "folder":
        path.mkdir()
    with pytest.raises(InputError, match="no such file" if what == "absent" else "TIFF stack was expected"):
        open_tiff(path)


@real
def test_real_stacks_are_read() -> None:
    cylindra = open_tiff(REAL / "real_tomograms" / "cylindra_13pf_MT.tif")
    assert (cylindra.shape, cylindra.voxel_size) == ((36, 206, 94), (10.52, 10.52, 10.52))
    for name in ("real_tomograms/cylindra_13pf_MT.tif", "real_tomograms/tardis_3_0_25_54_25.tif", "microct/snow.tif"):
        volume = open_tiff(REAL / name, 10)
        assert read_facts(volume.url).offset is not None
        got = TiffSource(volume).read(Box((5, 6, 7), volume.shape))
        assert np.array_equal(got, tifffile.imread(REAL / name)[5:, 6:, 7:])
    labels = open_tiff(REAL / "segmentations" / "Phagophore_middle_labels.tif", 14.08)
    assert (labels.shape, labels.chunks) == ((202, 928, 928), (1, 928, 928))
    page = TiffSource(labels).read(Box((100, 0, 0), (102, 928, 928)))
    assert set(np.unique(page)) == {0, 1, 2}


@pytest.mark.parametrize(
    ("tag", "changed", "message"),
    [
        (b"\x03\x01\x03\x00\x01\x00\x00\x00\x01\x00", b"\x03\x01\x03\x00\x01\x00\x00\x00\x03\x00", "1 bit per pixel"),
        (b"\x11\x01\x04\x00", b"\x11\x01\x0b\x00", "no whole number"),
    ],
    ids=["fax", "offset"],
)
def test_tags_that_make_no_sense_are_refused(tmp_path, capfd, tag, changed, message):
    """16-bit pixels in fax compression, and voxels that begin at a float; both were found by fuzzing."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.arange(72, dtype=np.uint16).reshape(1, 8, 9), byteorder="<", metadata=None)
    data = path.read_bytes()
    assert data.count(tag) == 1
    path.write_bytes(data.replace(tag, changed))
    with pytest.raises(FormatError, match=message):
        open_volume(path, voxel_size=10.0).read()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_white_zero_is_refused(tmp_path, dtype, compression):
    """Pillow inverts bytes of such files and ImageJ words, so no value is the right one for everybody."""
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.ones((3, 4, 5), dtype), photometric="miniswhite", compression=compression)
    with pytest.raises(FormatError, match=r"zero is white .*MinIsWhite.* Save it with zero as black"):
        open_tiff(path, voxel_size=1)


@pytest.mark.parametrize("value", [0, *range(2, 10), 65535])
def test_turned_pages_are_refused(tmp_path, value):
    path = tmp_path / "a.tif"
    tags = [(274, "H", 1, value, True)]
    tifffile.imwrite(path, np.ones((3, 4, 5), "u1"), photometric="minisblack", extratags=tags)
    with pytest.raises(FormatError, match=rf"turned or mirrored \(tag Orientation is {value}, .*Save it upright"):
        open_tiff(path, voxel_size=1)


def test_a_single_page_that_is_turned_is_found(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tif:
        for z in range(5):
            tags = [(274, "H", 1, 4 if z == 3 else 1, True)]
            tif.write(
                np.full((4, 5), z, "u1"), photometric="minisblack", metadata=None, contiguous=False, extratags=tags
            )
    with pytest.raises(FormatError, match=r"page 3: says .*first row at the bottom, first column on the left"):
        open_tiff(path, voxel_size=1)


def test_upright_pages_that_say_so_are_read(tmp_path):
    path, values = tmp_path / "a.tif", np.arange(60, dtype="u1").reshape(3, 4, 5)
    tifffile.imwrite(path, values, photometric="minisblack", extratags=[(274, "H", 1, 1, True)])
    volume = open_tiff(path, voxel_size=1)
    assert np.array_equal(TiffSource(volume).read(Box((0, 0, 0), (3, 4, 5))), values)
