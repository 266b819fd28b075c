"""OME-TIFF as it is written, read back by tifffile and by this package."""

from __future__ import annotations

import tracemalloc
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest
import tifffile
from volume_files import ramp

import volengine.io.tiff_write as module
from volengine.core.errors import InputError
from volengine.io.open import open_volume
from volengine.io.tiff_write import write_tiff

SIZE = (13.4, 10.0, 7.84)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
def test_tifffile_reads_the_same_voxels_and_sizes(tmp_path: Path, dtype: str) -> None:
    values = ramp(dtype=dtype)
    write_tiff(tmp_path / "a.ome.tif", [values[:2], values[2:]], values.shape, dtype, SIZE, "TS_01")
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tif:
        assert tif.is_ome
        assert tif.series[0].axes == "ZYX"
        assert np.array_equal(tif.asarray(), values)
        assert tif.asarray().dtype == dtype
        pixels = next(e for e in ET.fromstring(tif.ome_metadata).iter() if e.tag.endswith("Pixels"))
        assert [float(pixels.attrib[f"PhysicalSize{a}"]) for a in "ZYX"] == list(SIZE)
        assert {pixels.attrib[f"PhysicalSize{a}Unit"] for a in "ZYX"} == {"Å"}
        assert [int(pixels.attrib[f"Size{a}"]) for a in "CTZYX"] == [1, 1, *values.shape]
    volume = open_volume(tmp_path / "a.ome.tif")
    assert (volume.voxel_size, volume.dtype, volume.name, volume.chunks) == (SIZE, dtype, "a", None)
    assert np.array_equal(volume[:], values)


@pytest.mark.parametrize(
    ("dtype", "written"), [("bool", "uint8"), ("float16", "float32"), ("int64", "int32"), ("uint64", "uint32")]
)
def test_other_types_become_one_that_holds_every_value(tmp_path: Path, dtype: str, written: str) -> None:
    values = np.array([0, 1, 0, 1], dtype).reshape(1, 2, 2)
    write_tiff(tmp_path / "a.tif", [values], values.shape, dtype, SIZE)
    assert open_volume(tmp_path / "a.tif").dtype == written
    assert np.array_equal(open_volume(tmp_path / "a.tif")[:], values)


def test_what_32_bits_do_not_hold_is_refused_and_no_file_appears(tmp_path: Path) -> None:
    values = np.array([0, 2**32], "uint64").reshape(1, 1, 2)
    with pytest.raises(InputError, match=r"from 0 to 4294967296"):
        write_tiff(tmp_path / "a.tif", [values], values.shape, "uint64", SIZE)
    with pytest.raises(InputError, match="complex64"):
        write_tiff(tmp_path / "a.tif", [values], values.shape, "complex64", SIZE)
    with pytest.raises(InputError, match="make up 3 slices, not 4"):
        write_tiff(tmp_path / "a.tif", [ramp()], (4, 4, 5), "float32", SIZE)
    assert not list(tmp_path.iterdir())


def test_large_volumes_are_bigtiff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tiff(tmp_path / "a.tif", [ramp()], (3, 4, 5), "float32", SIZE)
    monkeypatch.setattr(module, "BIG_BYTES", 239)
    write_tiff(tmp_path / "b.tif", [ramp()], (3, 4, 5), "float32", SIZE)
    kinds = []
    for name in ("a.tif", "b.tif"):
        with tifffile.TiffFile(tmp_path / name) as tif:
            kinds.append(tif.is_bigtiff)
        assert np.array_equal(open_volume(tmp_path / name)[:], ramp())
    assert kinds == [False, True]


def test_one_slab_is_in_memory_at_a_time(tmp_path: Path) -> None:
    shape = (64, 256, 256)
    tracemalloc.start()
    try:
        write_tiff(tmp_path / "a.tif", (np.full((4, 256, 256), z, "f4") for z in range(16)), shape, "f4", SIZE)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * 4 * 256 * 256 * 4  # six slabs of the sixteen
    assert open_volume(tmp_path / "a.tif")[:, 0, 0].tolist() == [float(z // 4) for z in range(64)]


def test_a_write_that_is_cut_short_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy's error for it has neither number nor name."""

    def short(*_: object, **__: object) -> None:
        raise OSError("16384 requested and 16328 written")

    monkeypatch.setattr("tifffile.TiffWriter.write", short)
    with pytest.raises(OSError, match=r"is the disk full\? \(16384 requested and 16328 written\): .*a\.tif"):
        write_tiff(tmp_path / "a.tif", [np.zeros((2, 3, 4), "f4")], (2, 3, 4), "f4", (1.0, 1.0, 1.0))
    assert list(tmp_path.iterdir()) == []
