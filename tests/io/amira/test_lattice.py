"""Amira lattices, against bytes put together by hand."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from volume_files import amira_bytes, graph_bytes, ramp, run_lengths

from volengine.core.boxes import Box
from volengine.core.errors import FormatError, InputError
from volengine.io.open import open_source, open_volume

TYPES = {"byte": "uint8", "short": "int16", "ushort": "uint16", "int": "int32", "float": "float32", "double": "float64"}
LITTLE = "BINARY-LITTLE-ENDIAN 2.1"
TURNED = "    TransformationMatrix 0 1 0 0 -1 0 0 0 0 0 1 0 0 0 0 1,\n"


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("form", [LITTLE, "BINARY 2.0", "3D ASCII 2.0", "3D BINARY 2.0"])
def test_types_and_orders(tmp_path: Path, kind: str, form: str) -> None:
    values = ramp(dtype=TYPES[kind])
    (tmp_path / "TS_01.am").write_bytes(amira_bytes(values, kind, form))
    volume = open_volume(tmp_path / "TS_01.am")
    assert (volume.shape, volume.dtype, volume.name) == ((3, 4, 5), TYPES[kind], "TS_01")
    got = pickle.loads(pickle.dumps(open_source(volume))).read(Box((1, 0, 2), (3, 3, 4)))
    assert got.dtype.isnative
    assert np.array_equal(got, values[1:3, 0:3, 2:4])


def test_the_bounding_box_spans_centres(tmp_path: Path) -> None:
    """By hand: 5 voxels from 0 to 40 nm are 10 nm apart (not 8), 4 from 100 to 130 are 10, 3 from -20 to 20 are 20."""
    (tmp_path / "a.am").write_bytes(amira_bytes(ramp(dtype="uint8"), "byte"))
    volume = open_volume(tmp_path / "a.am")
    assert volume.voxel_size == (200.0, 100.0, 100.0)
    assert volume.origin == (-200.0, 1000.0, 0.0)
    given = open_volume(tmp_path / "a.am", voxel_size=(20.0, 10.0, 10.0))  # the box counts voxels then
    assert given.origin == (-20.0, 100.0, 0.0)


@pytest.mark.parametrize(
    ("unit", "factor"), [("nm", 10.0), ("A", 1.0), ("\u00c5", 1.0), ("\u00b5m", 1e4), ("m", 1e10), ("um", 1e4)]
)
def test_units(tmp_path: Path, unit: str, factor: float) -> None:
    bounds = " ".join(f"{v / factor:.9g}" for v in (0, 40, 0, 30, 0, 20))
    (tmp_path / "a.am").write_bytes(amira_bytes(ramp(dtype="uint8"), "byte", bounds=bounds, unit=unit))
    assert open_volume(tmp_path / "a.am").voxel_size == pytest.approx((10, 10, 10))
    data = (tmp_path / "a.am").read_bytes()  # newer versions write UTF-8
    (tmp_path / "a.am").write_bytes(data.replace(f'"{unit}"'.encode("latin-1"), f'"{unit}"'.encode()))
    assert open_volume(tmp_path / "a.am").voxel_size == pytest.approx((10, 10, 10))
    assert np.array_equal(open_volume(tmp_path / "a.am").read(), ramp(dtype="uint8"))


def test_without_a_unit_the_voxel_size_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.am").write_bytes(amira_bytes(ramp(dtype="uint8"), "byte", unit=""))
    with pytest.raises(InputError, match=r"voxels of \(20.0, 10.0, 10.0\).*unit ''.*--voxel-size"):
        open_volume(tmp_path / "a.am")
    assert open_volume(tmp_path / "a.am", voxel_size=10.0).voxel_size == (10, 10, 10)


def test_one_slice_takes_the_size_of_the_others(tmp_path: Path) -> None:
    (tmp_path / "a.am").write_bytes(amira_bytes(ramp((1, 4, 5), "uint8"), "byte", bounds="0 4 0 3 0 0"))
    assert open_volume(tmp_path / "a.am").voxel_size == (10, 10, 10)


@given(
    data=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 300)), min_size=1, max_size=12), width=st.integers(1, 40)
)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_run_lengths_make_any_box(tmp_path: Path, data: list[tuple[int, int]], width: int) -> None:
    flat = np.concatenate([np.full(n, v, "u1") for v, n in data] + [np.arange(50, dtype="u1")])
    flat = np.resize(flat, -(-len(flat) // (2 * width)) * 2 * width)
    values = flat.reshape(-1, 2, width)
    path = tmp_path / "labels.am"
    path.write_bytes(amira_bytes(values, "byte", name="Labels", rle=True))
    volume = open_volume(path, voxel_size=10)
    assert volume.chunks == (1, 2, width)
    assert np.array_equal(volume[:], values)
    middle = len(values) // 2
    assert np.array_equal(volume[middle:, 1:], values[middle:, 1:])


def test_a_run_by_hand(tmp_path: Path) -> None:
    """3 times 7, then the values 1, 2, then twice 9: 7 7 7 1 2 9 9, and an eighth voxel 5."""
    assert run_lengths(bytes([7, 7, 7, 1, 2, 9, 9, 5])) == bytes([3, 7, 130, 1, 2, 2, 9, 129, 5])
    values = np.array([7, 7, 7, 1, 2, 9, 9, 5], "u1").reshape(2, 2, 2)
    (tmp_path / "a.am").write_bytes(amira_bytes(values, "byte", rle=True))
    assert open_volume(tmp_path / "a.am", voxel_size=10)[1].tolist() == [[2, 9], [9, 5]]


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        (amira_bytes(ramp(dtype="uint8"), "byte")[:-10], FormatError, "truncated"),
        (amira_bytes(ramp(), "float", "ASCII 2.0")[:-200], FormatError, "no list of numbers"),
        (amira_bytes(ramp(), "float", "ASCII 2.0").replace(b" \n9.0", b""), FormatError, "holds 59 numbers, 60"),
        (amira_bytes(ramp(), "float").replace(b"{ float Data", b"{ float[3] Data"), FormatError, "scalars"),
        (amira_bytes(ramp(dtype="uint8"), "byte").replace(b'"uniform"', b'"curvilinear"'), InputError, "curvilinear"),
        (amira_bytes(ramp(dtype="uint8"), "byte").replace(b"@1\n\n#", b"@1(HxZip,20)\n\n#"), FormatError, "HxZip"),
        (amira_bytes(ramp(), "float").replace(b"@1\n\n#", b"@1(HxByteRLE,20)\n\n#"), FormatError, "HxByteRLE of"),
        (amira_bytes(ramp(dtype="uint8"), "byte", more=TURNED), InputError, "transformation"),
        (amira_bytes(ramp(dtype="uint8"), "byte", bounds="0 1e999 0 1 0 1"), FormatError, "BoundingBox"),
        (graph_bytes(), FormatError, "spatial graph.*picks"),
        (b"# HyperSurface 0.1 BINARY\n", FormatError, "surface"),
        (b"# AmiraMesh BINARY-LITTLE-ENDIAN 2.1\ndefine Lattice 3 4 5\n", FormatError, "no end"),
        (b"MZ", FormatError, "no Amira file"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, data: bytes, error: type[Exception], said: str) -> None:
    (tmp_path / "a.am").write_bytes(data)
    with pytest.raises(error, match=said):
        open_volume(tmp_path / "a.am", voxel_size=10)[:]


def test_runs_that_do_not_fill_the_volume_are_refused(tmp_path: Path) -> None:
    data = amira_bytes(np.zeros((3, 4, 5), "u1"), "byte", rle=True)
    (tmp_path / "a.am").write_bytes(data.replace(b"\x3c\x00", b"\x3b\x00"))
    with pytest.raises(FormatError, match="make 59 voxels, 60 were announced"):
        open_volume(tmp_path / "a.am", voxel_size=10)[:]


@pytest.mark.parametrize("how", [b"= @1", b"= Linear(@1)", b"@1 "])
def test_other_ways_to_name_the_block(tmp_path: Path, how: bytes) -> None:
    data = amira_bytes(ramp(dtype="uint8"), "byte").replace(b"} @1", b"} " + how)
    (tmp_path / "a.am").write_bytes(data.replace(b"\n\n# Data", b"\r\n\r\n# Data").replace(b"5 4 3\n", b"5 4 3\r\n"))
    assert np.array_equal(open_volume(tmp_path / "a.am")[:], ramp(dtype="uint8"))


def test_long_rows_of_digits_are_no_trap(tmp_path: Path) -> None:
    """A pattern that may divide digits into numbers in every way would try them all, for hours."""
    more = f"    TransformationMatrix {'1' * 3000}x\n    BoundingBox {'2' * 3000}y\n"
    (tmp_path / "a.am").write_bytes(amira_bytes(ramp(dtype="uint8"), "byte", more=more))
    assert open_volume(tmp_path / "a.am").voxel_size == (200.0, 100.0, 100.0)


def test_a_unity_transformation_changes_nothing(tmp_path: Path) -> None:
    more = "    TransformationMatrix 1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1,\n"
    (tmp_path / "a.am").write_bytes(amira_bytes(ramp(dtype="uint8"), "byte", more=more))
    assert np.array_equal(open_volume(tmp_path / "a.am")[:], ramp(dtype="uint8"))
