"""Writing MRC: nothing lost, nothing half-written, valid for mrcfile."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from volengine.core.boxes import Box
from volengine.core.errors import InputError, MissingError
from volengine.io.mrc.header import read_header
from volengine.io.mrc.open import MrcSource, open_mrc
from volengine.io.mrc.write import ExtHeader, Statistics, choose_mode, exactly, write_mrc

VOXEL = (7.84, 7.84, 7.84)


def slabs(data: np.ndarray, step: int) -> Iterator[np.ndarray]:
    return (data[z : z + step] for z in range(0, len(data), step))


def random_data(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return (rng.standard_normal(shape) * 10 + 3).astype(kind)
    if kind.kind == "b":
        return rng.random(shape) < 0.5
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, shape, endpoint=True, dtype=kind.newbyteorder("=")).astype(kind)


@given(
    shape=st.tuples(*[st.integers(1, 7)] * 3),
    dtype=st.sampled_from(["bool", "i1", "u1", "i2", "u2", "f2", "f4", ">f4", ">i2"]),
    step=st.integers(1, 8),
    voxel=st.tuples(*[st.floats(0.5, 50, width=32)] * 3),
    origin=st.tuples(*[st.floats(-1e4, 1e4, width=32)] * 3),
    labels=st.lists(st.text(max_size=100), max_size=10),
    ext=st.sampled_from([None, ExtHeader("FEI1", b"\1" * 768), ExtHeader("SERI", b"abc")]),
    seed=st.integers(0, 999),
)
@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_by_mrcfile_and_by_volengine(
    tmp_path: Path, shape, dtype, step, voxel, origin, labels, ext, seed
) -> None:
    data = random_data(shape, dtype, seed)
    path = tmp_path / "a.mrc"
    write_mrc(path, slabs(data, step), shape, dtype, voxel, origin, labels=labels, ext_header=ext)
    assert [p.name for p in tmp_path.iterdir()] == ["a.mrc"]
    log = io.StringIO()
    assert mrcfile.validate(path, log), log.getvalue()
    with mrcfile.open(path) as mrc:
        assert np.array_equal(mrc.data, data)
        seen = mrc.voxel_size
        assert np.allclose((seen.z, seen.y, seen.x), voxel, rtol=1e-6)
        assert (mrc.header.origin.z, mrc.header.origin.y, mrc.header.origin.x) == origin
    volume = open_mrc(path)
    assert np.array_equal(MrcSource(volume).read(Box.of_shape(shape)), data)
    assert np.allclose(volume.voxel_size, voxel, rtol=2e-7)
    assert np.array_equal(np.float32(volume.origin), np.float32(origin))
    header = read_header(path)
    assert ExtHeader.of(header) == ext
    # written again from what was read, the header is the same: nothing drifts
    again = tmp_path / "b.mrc"
    write_mrc(again, [data], shape, dtype, volume.voxel_size, volume.origin, labels=header.labels, ext_header=ext)
    assert again.read_bytes()[:76] == path.read_bytes()[:76]
    assert again.read_bytes()[1024:] == path.read_bytes()[1024:]
    again.unlink()


@given(
    shape=st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 9)),
    step=st.integers(1, 6),
    offset=st.floats(-1e5, 1e5),
    seed=st.integers(0, 999),
)
@settings(deadline=None, max_examples=40)
def test_statistics_do_not_depend_on_slabs(shape, step, offset, seed) -> None:
    data = np.random.default_rng(seed).standard_normal(shape) + offset
    statistics = Statistics()
    for slab in slabs(data, step):
        statistics.add(slab)
    assert (statistics.minimum, statistics.maximum) == (data.min(), data.max())
    assert np.isclose(statistics.mean, data.mean(), rtol=1e-12, atol=1e-9)
    assert np.isclose(statistics.rms, data.std(), rtol=1e-6, atol=1e-9)


def test_statistics_are_in_the_header(tmp_path: Path) -> None:
    data = random_data((5, 6, 7), "f4", 0)
    header = read_header(write_mrc(tmp_path / "a.mrc", slabs(data, 2), data.shape, "f4", VOXEL))
    seen = (header.minimum, header.maximum, header.mean, header.rms)
    assert np.allclose(seen, (data.min(), data.max(), data.mean(), data.std()), rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_statistics_with_nan_are_marked_unknown(tmp_path: Path, bad: float) -> None:
    data = random_data((3, 4, 5), "f4", 0)
    data[1, 2, 3] = bad
    path = write_mrc(tmp_path / "a.mrc", [data], data.shape, "f4", VOXEL)
    header = read_header(path)
    assert (header.minimum, header.maximum, header.mean, header.rms) == (0, -1, -2, -1)
    assert np.array_equal(MrcSource(open_mrc(path)).read(Box.of_shape(data.shape)), data, equal_nan=True)


@pytest.mark.parametrize(
    ("dtype", "value_range", "mode"),
    [
        ("bool", None, 0), ("i1", None, 0), ("i2", None, 1), ("u2", None, 6), ("f2", None, 12), ("f4", None, 2),
        ("f8", None, 2), ("u1", None, 6), ("u1", (0, 127), 0), ("u1", (0, 128), 1), ("u4", (0, 127), 0),
        ("u4", (0, 32767), 1), ("u4", (0, 65535), 6), ("i4", (-128, 0), 0), ("i4", (-129, 0), 1), ("i8", (-1, 128), 1),
    ],
)  # fmt: skip
def test_mode_is_the_smallest_without_loss(dtype: str, value_range: Any, mode: int) -> None:
    assert choose_mode(dtype, value_range) == mode


@pytest.mark.parametrize(
    ("dtype", "value_range", "words"),
    [
        ("u4", (0, 65536), "65536"), ("i4", (-1, 40000), "-1 to 40000"), ("i4", None, "value_range"),
        ("c8", None, "complex64"),
    ],
)  # fmt: skip
def test_a_mode_that_would_lose_values_is_refused(dtype: str, value_range: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        choose_mode(dtype, value_range)


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([0.1], "f4"), ([300], "i1"), ([-1], "u2"), ([1.5], "i2"), ([np.nan], "i2"), ([1e30], "f2"),
        ([2**24 + 1], "f4"), ([2**53 + 1], "f4"), ([70000.0], "u2"), ([np.inf], "i1"),
    ],
)  # fmt: skip
def test_changed_values_are_refused(values: list, dtype: str) -> None:
    with pytest.raises(InputError, match="exactly"):
        exactly(np.array([0, *values]), dtype, "here")


@pytest.mark.parametrize(
    ("values", "dtype"),
    [([0.5, np.nan, np.inf], "f4"), ([127, -128], "i1"), ([2.0, 3.0], "u2"), ([2**24], "f4"), ([0.5, 65504.0], "f2")],
)
def test_values_that_fit_exactly_are_kept(values: list, dtype: str) -> None:
    got = exactly(np.array(values), dtype, "here")
    assert got.dtype == np.dtype(dtype)
    assert np.array_equal(got.astype("f8"), np.array(values, "f8"), equal_nan=True)


def test_uint8_of_small_values_takes_one_byte_each(tmp_path: Path) -> None:
    data = random_data((3, 4, 5), "u1", 0) % 128
    path = write_mrc(tmp_path / "a.mrc", [data], data.shape, "u1", VOXEL, value_range=(0, 127))
    assert path.stat().st_size == 1024 + data.size
    assert np.array_equal(MrcSource(open_mrc(path)).read(Box.of_shape(data.shape)), data)


def failing(data: np.ndarray) -> Iterator[np.ndarray]:
    yield data[:1]
    raise KeyboardInterrupt


@pytest.mark.parametrize("old", [b"an older file", None])
@pytest.mark.parametrize("fault", ["value", "shape", "few", "many", "interrupt"])
def test_faults_leave_nothing_half_written(tmp_path: Path, fault: str, old: bytes | None) -> None:
    data = np.ones((4, 5, 6), "f8")
    path = tmp_path / "a.mrc"
    if old is not None:
        path.write_bytes(old)
    bad = data.copy()
    bad[3, 4, 5] = 0.1
    given_slabs = {
        "value": slabs(bad, 2), "shape": slabs(data[:, :, :5], 2), "few": slabs(data[:3], 2),
        "many": slabs(np.ones((5, 5, 6)), 2), "interrupt": failing(data),
    }[fault]  # fmt: skip
    with pytest.raises(KeyboardInterrupt if fault == "interrupt" else InputError) as caught:
        write_mrc(path, given_slabs, data.shape, "f8", VOXEL)
    if fault != "interrupt":
        assert "a.mrc" in str(caught.value)
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == ([] if old is None else [("a.mrc", old)])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"voxel_size": (1, 0, 1)}, "voxel size"),
        ({"origin": (0, 0, float("nan"))}, "origin"),
        ({"labels": ["x"] * 11}, "11 labels"),
        ({"mode": 4}, "mode 4"),
        ({"shape": (0, 1, 1)}, "shape"),
    ],
)
def test_requests_that_make_no_sense(tmp_path: Path, changes: dict, words: str) -> None:
    request = {"shape": (1, 1, 1), "dtype": "i1", "voxel_size": VOXEL} | changes
    with pytest.raises(InputError, match=words):
        write_mrc(tmp_path / "a.mrc", [np.zeros((1, 1, 1), "i1")], **request)
    assert list(tmp_path.iterdir()) == []


def test_missing_folder_and_folder_as_target(tmp_path: Path) -> None:
    zero = np.zeros((1, 1, 1), "i1")
    with pytest.raises(MissingError, match="folder"):
        write_mrc(tmp_path / "no" / "a.mrc", [zero], (1, 1, 1), "i1", VOXEL)
    with pytest.raises(InputError, match="folder"):
        write_mrc(tmp_path, [zero], (1, 1, 1), "i1", VOXEL)


def test_imod_is_told_about_signs(tmp_path: Path) -> None:
    """IMOD reads bytes as unsigned and turns origins round unless its flags 1 and 4 say otherwise."""
    path = write_mrc(tmp_path / "a.mrc", [np.zeros((1, 1, 1), "i1")], (1, 1, 1), "i1", VOXEL, (1, 2, 3))
    stamp, flags = np.frombuffer(path.read_bytes(), "<i4", 2, 152)
    assert (stamp, flags & 5) == (1146047817, 5)


def test_unknown_ext_header_type() -> None:
    with pytest.raises(InputError, match="'ABCD'"):
        ExtHeader("ABCD", b"")
