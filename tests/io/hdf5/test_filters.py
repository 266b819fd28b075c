"""Filters of HDF5's chunks, against h5py and values by hand."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from volengine.core.errors import FormatError
from volengine.io.hdf5.filters import FLETCHER32, checked, fletcher32, lzf, unfiltered
from volengine.io.open import open_volume


@given(
    data=st.one_of(
        st.binary(min_size=1, max_size=400),
        st.lists(st.tuples(st.binary(min_size=1, max_size=5), st.integers(1, 600)), min_size=1, max_size=6).map(
            lambda parts: b"".join(piece * times for piece, times in parts)
        ),
    )
)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_h5py_has_packed(tmp_path: Path, data: bytes) -> None:
    """Runs of all lengths: literals, short and long repetitions, such that overlap themselves."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        values = np.frombuffer(data, "u1")
        node = file.create_dataset("x", data=values, chunks=values.shape, compression="lzf", fletcher32=True)
        mask, stored = node.id.read_direct_chunk((0,))
    filters = [(32000, "lzf"), (FLETCHER32, "fletcher32")]
    assert unfiltered(bytes(stored), filters, mask, len(data), 1, "it") == data


def test_lzf_by_hand() -> None:
    assert lzf(b"\x02abc", 3, "it") == b"abc"
    assert lzf(b"\x00a" + bytes([0b001_00000, 0]), 9, "it") == b"aaaa"  # 1 + 2 from 1 before
    assert lzf(b"\x00a" + bytes([0b111_00000, 255, 0]), 999, "it") == b"a" * 265  # 7 + 255 + 2


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\x02ab", "cut off"),
        (b"\x00a\x20", "cut off"),
        (b"\x00a\xe0", "cut off"),
        (b"\x00a\x20\x01", "before its begin"),
        (b"\x20\x00", "before its begin"),
        (b"\x00a" + b"\xe0\xff\x00" * 4, "more than 99 bytes"),
    ],
)
def test_damaged_lzf_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(FormatError, match=said):
        lzf(data, 99, "it")


def test_a_checksum_by_hand() -> None:
    """Words 1, 2, 3: 6, and 1 + 3 + 6; a single byte is the upper one of a word."""
    assert fletcher32(b"\0\1\0\2\0\3") == (6, 10)
    assert fletcher32(b"\1") == (256, 256)
    assert fletcher32(b"\xff\xff" * 70_000) == (0, 0)
    data = b"\0\1\0\2\0\3"
    assert checked(data + bytes([6, 0, 10, 0]), "it") == data
    assert checked(data + bytes([0, 6, 0, 10]), "it") == data  # as old versions have written it
    for wrong in (bytes([6, 0, 11, 0]), b"\6\0", b""):
        with pytest.raises(FormatError, match="checksum"):
            checked(data + wrong, "it")


@given(st.binary(max_size=300), st.integers(0, 3))
def test_sums_are_those_of_the_plain_loop(data: bytes, scale: int) -> None:
    data = data * 10**scale if len(data) < 30 else data
    one = two = 0
    for i in range(0, len(data), 2):
        one = (one + data[i] * 256 + (data[i + 1] if i + 1 < len(data) else 0)) % 65535
        two = (two + one) % 65535
    assert fletcher32(data) == (one, two)


@pytest.mark.parametrize("how", [{"fletcher32": True}, {"fletcher32": True, "compression": "lzf", "shuffle": True}])
def test_a_flipped_bit_is_found_by_the_checksum(tmp_path: Path, how: dict[str, object]) -> None:
    values = np.random.default_rng(0).integers(0, 2**15, (8, 8, 8), dtype="i2")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        node = file.create_dataset("x", data=values, chunks=(4, 8, 8), **how)
        info = node.id.get_chunk_info(1)
    data = bytearray((tmp_path / "a.h5").read_bytes())
    data[info.byte_offset + info.size // 2] ^= 4
    (tmp_path / "a.h5").write_bytes(data)
    volume = open_volume(tmp_path / "a.h5", voxel_size=10)
    assert np.array_equal(volume[:4], values[:4])
    with pytest.raises(FormatError, match="checksum"):
        volume[4:]


@pytest.mark.parametrize("how", [{}, {"chunks": (2, 3, 4)}, {"chunks": (2, 3, 4), "compression": "lzf"}])
def test_a_block_of_other_bytes_before_the_file(tmp_path: Path, how: dict[str, object]) -> None:
    """As Matlab writes them, with zeros that are the same at every place."""
    values = np.zeros((8, 9, 8), "f4")
    values[5] = np.random.default_rng(0).random((9, 8))
    with h5py.File(tmp_path / "a.h5", "w", userblock_size=512) as file:
        file.create_dataset("x", data=values, **how)
    with (tmp_path / "a.h5").open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(512))
    assert np.array_equal(open_volume(tmp_path / "a.h5", voxel_size=10)[:], values)
