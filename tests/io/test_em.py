"""EM files, against bytes put together by hand."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from volume_files import em_bytes, ramp

from volengine.core.boxes import Box
from volengine.core.errors import FormatError, InputError
from volengine.io.em import EmSource, open_em, read_em_header
from volengine.io.open import open_source, open_volume


@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 7)),
    dtype=st.sampled_from(["int8", "int16", "int32", "float32", "float64"]),
    order=st.sampled_from("<>"),
    data=st.data(),
)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_box_of_any_file(tmp_path: Path, shape, dtype, order, data) -> None:
    values = np.random.default_rng(1).integers(-100, 100, shape).astype(dtype)
    path = tmp_path / "TS_01.em"
    path.write_bytes(em_bytes(values, order))
    volume = open_em(path, 10.0)
    assert (volume.shape, volume.dtype, volume.name, volume.origin) == (shape, dtype, "TS_01", (0, 0, 0))
    box = Box(*zip(*[sorted((data.draw(st.integers(0, n)), data.draw(st.integers(0, n)))) for n in shape], strict=True))
    got = pickle.loads(pickle.dumps(open_source(volume))).read(box)
    assert got.dtype == np.dtype(dtype)
    assert np.array_equal(got, values[box.slices])


def test_the_first_voxel_of_the_file_is_index_0_and_x_is_fastest(tmp_path: Path) -> None:
    """By hand: after 512 bytes the numbers 0, 1, 2 ... of a volume of 2 x 3 x 4 (nx, ny, nz)."""
    head = bytearray(512)
    head[0], head[3] = 6, 2
    head[4:16] = struct.pack("<3i", 2, 3, 4)
    (tmp_path / "a.em").write_bytes(bytes(head) + struct.pack("<24h", *range(24)))
    volume = open_volume(tmp_path / "a.em", voxel_size=(12.0, 10.0, 10.0))
    assert volume.shape == (4, 3, 2)
    assert volume[0, 0].tolist() == [0, 1]
    assert volume[0, 1].tolist() == [2, 3]
    assert volume[1, 0].tolist() == [6, 7]


def test_the_voxel_size_is_asked_for_and_the_header_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a.em").write_bytes(em_bytes(ramp(), ">"))
    with pytest.raises(InputError, match=r"EM files state no voxel size.*--voxel-size"):
        open_volume(tmp_path / "a.em")
    kept = open_volume(tmp_path / "a.em", voxel_size=10).facts["em"]
    assert (kept["comment"], kept["parameters"][0], kept["byte_order"], kept["type"]) == ("hello", 300, ">", 5)


def test_a_wrong_machine_does_not_matter_if_the_size_fits_the_other_order(tmp_path: Path) -> None:
    (tmp_path / "a.em").write_bytes(em_bytes(ramp(dtype="int16"), "<", machine=3))
    assert np.array_equal(open_volume(tmp_path / "a.em", voxel_size=10)[:], ramp(dtype="int16"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda b: b[:-1], "header announces.*truncated"),
        (lambda b: b + b"\0", "header announces"),
        (lambda b: b[:100], "header of an EM file alone has 512"),
        (lambda b: b[:3] + b"\x08" + b[4:], "type 8"),
        (lambda b: b[:4] + struct.pack("<3i", -1, -4, 15) + b[16:], "header announces"),
        (lambda b: b"\x07" + b[1:], "machine 7"),
        (lambda b: b"", "is empty"),
    ],
)
def test_damaged_files_are_refused(tmp_path: Path, change, said: str) -> None:
    (tmp_path / "a.em").write_bytes(change(em_bytes(ramp())))
    with pytest.raises(FormatError, match=said):
        open_em(tmp_path / "a.em", 10.0)


def test_compressed_files_are_to_be_unpacked(tmp_path: Path) -> None:
    for name in ("a.em.gz", "a.h5.bz2", "a.am.gz", "a.nii.bz2", "a.tif.gz"):
        (tmp_path / name).write_bytes(b"\x1f\x8b")
        with pytest.raises(FormatError, match="not read compressed; unpack it"):
            open_volume(tmp_path / name, voxel_size=10)


def test_a_motive_list_is_no_tomogram(tmp_path: Path) -> None:
    (tmp_path / "motl.em").write_bytes(em_bytes(np.zeros((1, 7, 20), "f4")))
    with pytest.raises(FormatError, match=r"motive list.*7 particles.*picks"):
        open_em(tmp_path / "motl.em", 10.0)
    assert read_em_header(str(tmp_path / "motl.em")).shape == (1, 7, 20)


def test_another_file_in_its_place_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.em"
    path.write_bytes(em_bytes(ramp()))
    volume = open_em(path, 10.0)
    path.write_bytes(em_bytes(ramp((3, 4, 6))))
    with pytest.raises(FormatError, match="has been changed since"):
        EmSource(volume)


def test_emfile_agrees(tmp_path: Path) -> None:
    emfile = pytest.importorskip("emfile", reason="emfile is not installed")
    emfile.write(tmp_path / "a.em", ramp(dtype="float32"))
    assert np.array_equal(open_volume(tmp_path / "a.em", voxel_size=10)[:], ramp(dtype="float32"))
