"""Reading MRC: any header against files built byte by byte here, and the oddities of real files."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mrc_files import DTYPES, header_bytes, ramp, write
from places import DATA

from volengine.core.boxes import Box
from volengine.core.errors import FormatError, InputError, MissingError
from volengine.io import rawfile
from volengine.io.mrc.header import MrcHeader, read_header
from volengine.io.mrc.open import MrcSource, decompress, open_mrc, volume_name

REAL = DATA / "real"
real = pytest.mark.skipif(not REAL.is_dir(), reason="the real sample data are not at hand")
IMOD = 1146047817


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    shape = draw(st.tuples(*[st.integers(1, 9)] * 3))
    mode = draw(st.sampled_from(sorted(DTYPES)))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    if mode == 101:
        stored = rng.integers(0, 16, shape).astype("u1")
    elif mode in (2, 12):
        stored = rng.standard_normal(shape).astype(DTYPES[mode])
    else:
        limits = np.iinfo(DTYPES[mode])
        stored = rng.integers(limits.min, limits.max, shape, endpoint=True).astype(DTYPES[mode])
    axes = draw(st.permutations((1, 2, 3)))
    start = [draw(st.integers(0, n)) for n in shape]
    stop = [draw(st.integers(a, n)) for a, n in zip(start, shape, strict=True)]
    return {
        "stored": stored, "mode": mode, "order": draw(st.sampled_from("<>")), "axes": axes, "file_box": (start, stop),
        "ext": draw(st.sampled_from([b"", b"\1" * 80, b"x" * 131])),
        "exttyp": draw(st.sampled_from([b"", b"CCP4", b"FEI1"])),
        "stamped": draw(st.booleans()), "voxel": draw(st.sampled_from([7.84, 13.48, 1.05, 10.0, 62.13])),
    }  # fmt: skip


@given(case=cases(), window=st.sampled_from([1, 40, 200, 2**24]))
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_box_of_any_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: dict[str, Any], window: int
) -> None:
    monkeypatch.setattr(rawfile, "WINDOW_BYTES", window)
    stored, axes = case["stored"], case["axes"]
    # axes: for columns, rows, sections the axis (1 = x); as a dictionary z, y, x -> place in the file
    place = dict(zip(axes, (2, 1, 0), strict=True))
    whole = np.transpose(stored, (place[3], place[2], place[1]))
    extras: dict[str, Any] = {} if case["stamped"] else {"map": b"\0\0\0\0", "stamp": b"\0\0\0\0"}
    counts = whole.shape[::-1]
    path = write(
        tmp_path / "a.mrc", stored, case["mode"], case["order"], case["ext"], axes=axes, exttyp=case["exttyp"],
        grid=counts, cell=tuple(n * case["voxel"] for n in counts), **extras,
    )  # fmt: skip
    volume = open_mrc(path)
    assert volume.shape == whole.shape
    assert volume.dtype == np.dtype(DTYPES[case["mode"]]).name
    assert volume.voxel_size == (case["voxel"],) * 3
    start, stop = ([v[place[k]] for k in (3, 2, 1)] for v in case["file_box"])
    box = Box(tuple(start), tuple(stop))
    got = MrcSource(volume).read(box)
    assert got.dtype == np.dtype(volume.dtype)
    assert got.dtype.isnative
    assert got.flags.c_contiguous
    assert got.shape == box.shape
    assert got.tobytes() == np.ascontiguousarray(whole[box.slices]).tobytes()
    header = read_header(path)
    assert header.ext_header == case["ext"]
    assert header.ext_type == ((case["exttyp"].decode() or "legacy") if case["ext"] else "")
    assert header.raw == path.read_bytes()[:1024]
    assert MrcHeader.from_json(json.loads(json.dumps(header.to_json(), allow_nan=False))) == header


@given(
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    dtype=st.sampled_from(["i1", "i2", "f4", "u2", "f2"]),
    order=st.sampled_from("<>"),
    seed=st.integers(0, 999),
)
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_reads_what_mrcfile_writes(
    tmp_path: Path, shape: tuple[int, int, int], dtype: str, order: str, seed: int
) -> None:
    data = (np.random.default_rng(seed).random(shape) * 100).astype(order + dtype)
    path = tmp_path / "a.mrc"
    with mrcfile.new(path, overwrite=True) as mrc:
        mrc.set_data(data)
        mrc.voxel_size = (3.0, 2.5, 2.0)  # x, y, z
        mrc.header.origin = (30.0, -20.0, 10.0)
        mrc.add_label("hello")
    volume = open_mrc(path)
    assert volume.voxel_size == (2.0, 2.5, 3.0)
    assert volume.origin == (10.0, -20.0, 30.0)
    assert np.array_equal(MrcSource(volume).read(Box.of_shape(shape)), data)
    assert read_header(path).labels[-1].startswith("hello")


def test_mode_101_is_low_nibble_first_and_rows_are_padded(tmp_path: Path) -> None:
    path = tmp_path / "a.mrc"
    path.write_bytes(header_bytes((1, 2, 3), 101) + bytes([0x21, 0x03, 0x54, 0x06]))
    values = MrcSource(open_mrc(path)).read(Box((0, 0, 0), (1, 2, 3)))
    assert values.tolist() == [[[1, 2, 3], [4, 5, 6]]]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("stamp", [b"\0\0\0\0", b"\x44\x44\0\0", b"\x11\x11\0\0", b"ABCD"])
def test_byte_order_does_not_hang_on_the_stamp(tmp_path: Path, order: str, stamp: bytes) -> None:
    path = write(tmp_path / "a.mrc", ramp(), 1, order, stamp=stamp)
    header = read_header(path)
    assert header.byte_order == order
    right = stamp[:1] == (b"\x44" if order == "<" else b"\x11")
    assert bool(header.warnings) != right
    assert np.array_equal(MrcSource(open_mrc(path)).read(Box.of_shape((4, 5, 6))), ramp())


def test_sizes_that_fit_both_byte_orders_are_told_apart(tmp_path: Path) -> None:
    """256 swapped is 65536: only axis order and file size tell."""
    path = write(tmp_path / "a.mrc", np.zeros((1, 256, 256), "i1"), 0, ">", map=b"", stamp=b"\0" * 4, axes=(0, 0, 0))
    header = read_header(path)
    assert (header.byte_order, header.shape, header.map_order) == (">", (1, 256, 256), (1, 2, 3))
    assert any("axis order" in w for w in header.warnings)


@pytest.mark.parametrize(
    ("stats", "imod", "dtype", "rule"),
    [
        ((0, -1, -2), (0, 0), "int8", "MRC2014"),
        ((0, 3, 1), (0, 0), "int8", "MRC2014"),
        ((0, 255, 90), (0, 0), "uint8", "maximum above 127"),
        ((0.5, 200.25, 90), (0, 0), "int8", "MRC2014"),  # no statistics of bytes
        ((0, -1, -2), (IMOD, 0), "uint8", "IMOD's stamp"),
        ((0, 3, 1), (IMOD, 1), "int8", "IMOD's stamp"),
        ((-100, 100, 1), (IMOD, 4), "int8", "minimum below 0"),
        ((0, 255, 90), (IMOD, 1), "uint8", "maximum above 127"),
    ],
)
def test_bytes_are_signed_or_not_as_the_header_or_its_statistics_say(
    tmp_path: Path, stats: tuple, imod: tuple, dtype: str, rule: str
) -> None:
    stored = np.array([[[0, 1, 127, 128, 255]]], "u1")
    path = write(tmp_path / "a.mrc", stored.view("i1"), 0, stats=stats, imod=imod)
    header, volume = read_header(path), open_mrc(path)
    assert (header.dtype, header.signed, header.signed_rule) == (dtype, dtype == "int8", rule)
    assert np.array_equal(MrcSource(volume).read(Box.of_shape((1, 1, 5))), stored.view(dtype))
    other = "uint8" if dtype == "int8" else "int8"
    forced = MrcSource(volume.with_(dtype=other)).read(Box((0, 0, 1), (1, 1, 5)))
    assert np.array_equal(forced, stored.view(other)[..., 1:])


@pytest.mark.parametrize(
    ("grid", "cell", "voxel", "rule"),
    [  # columns, rows, sections of a 4 x 5 x 6 volume (z, y, x)
        ((6, 5, 4), (60, 50, 40), (10, 10, 10), "cell / grid"),
        ((6, 5, 1), (60, 50, 40), (10, 10, 10), "cell / size"),  # the mz = 1 trap
        ((6, 5, 1), (60, 50, 10), (10, 10, 10), "cell / grid"),  # a stack as mrcfile writes it
        ((6, 5, 1), (60, 50, 8000), (2000, 10, 10), "cell / size"),
        ((60, 50, 40), (600, 500, 400), (10, 10, 10), "cell / grid"),  # a part of a larger cell
        ((0, 0, 0), (60, 50, 40), (10, 10, 10), "cell / size"),
        ((6, 5, 4), (60, 50, 120), (30, 10, 10), "cell / grid"),
        ((6, 5, 4), (6, 5, 4), (1, 1, 1), "cell / grid"),
    ],
)
def test_the_voxel_size_is_that_of_the_cell_and_its_grid(
    tmp_path: Path, grid: tuple, cell: tuple, voxel: tuple, rule: str
) -> None:
    path = write(tmp_path / "a.mrc", ramp(), 1, grid=grid, cell=cell)
    header = read_header(path)
    if max(voxel) > 1000:
        assert header.voxel_size is None
        return
    assert header.voxel_size == tuple(float(v) for v in voxel)
    assert header.voxel_size_rule == rule
    surprising = rule == "cell / size" or len(set(voxel)) > 1 or voxel == (1, 1, 1)
    assert bool(header.warnings) == surprising


@pytest.mark.parametrize(
    "cell", [(0, 0, 0), (-60, -50, 0), (60, 50, 0), (6e5, 5e5, 4e5), (1e-9,) * 3, (float("nan"),) * 3]
)
def test_unusable_cell_asks_for_the_voxel_size(tmp_path: Path, cell: tuple) -> None:
    path = write(tmp_path / "a.mrc", ramp(), 1, cell=cell, nstart=(1, 2, 3))
    with pytest.raises(InputError, match=r"a\.mrc.*--voxel-size") as caught:
        open_mrc(path)
    assert caught.value.exit_code == 2
    volume = open_mrc(path, voxel_size=8)
    assert volume.voxel_size == (8, 8, 8)
    assert volume.origin == (24, 16, 8)
    assert open_mrc(path, voxel_size=(2, 3, 4)).voxel_size == (2, 3, 4)
    json.dumps(volume.to_json(), allow_nan=False)


@pytest.mark.parametrize("bad", [0, -1.0, float("nan"), (1.0, 2.0), (1.0, 2.0, 0.0)])
def test_bad_voxel_size_option(tmp_path: Path, bad: Any) -> None:
    with pytest.raises(InputError, match="voxel size"):
        open_mrc(write(tmp_path / "a.mrc", ramp(), 1), voxel_size=bad)


@pytest.mark.parametrize(
    ("values", "origin", "rule", "warned"),
    [
        ({}, (0, 0, 0), "zero", False),
        ({"nstart": (1, -2, 3)}, (30, -20, 10), "nstart * voxel size", False),
        ({"origin": (5.5, 6, -7)}, (-7, 6, 5.5), "ORIGIN", False),
        ({"origin": (5.5, 6, -7), "nstart": (1, 2, 3)}, (-7, 6, 5.5), "ORIGIN", True),
        ({"origin": (5.5, 6, -7), "imod": (IMOD, 0)}, (7, -6, -5.5), "-ORIGIN (IMOD's sign)", True),
        ({"origin": (5.5, 6, -7), "imod": (IMOD, 4)}, (-7, 6, 5.5), "ORIGIN", False),
        ({"origin": (float("inf"), 0, 0), "nstart": (1, 0, 0)}, (0, 0, 10), "nstart * voxel size", True),
        ({"origin": (1, 1, 1), "map": b"abcd"}, (0, 0, 0), "zero", True),
        ({"nstart": (2**30, 0, 0)}, (0, 0, 0), "zero", True),
    ],
)  # fmt: skip
def test_the_origin_is_read_from_the_words_that_hold_it(
    tmp_path: Path, values: dict, origin: tuple, rule: str, warned: bool
) -> None:
    header = read_header(write(tmp_path / "a.mrc", ramp(), 1, **values))
    assert (header.origin, header.origin_rule) == (tuple(float(v) for v in origin), rule)
    assert bool(header.warnings) == warned


def test_nstart_and_origin_follow_permuted_axes(tmp_path: Path) -> None:
    """nxstart is along columns (here z), ORIGIN and cell along x, y, z."""
    path = write(
        tmp_path / "a.mrc", ramp((4, 5, 6)), 1, axes=(3, 1, 2), nstart=(1, 2, 3), grid=(5, 4, 6), cell=(10, 12, 24)
    )
    header = read_header(path)
    assert header.shape == (6, 4, 5)
    assert header.voxel_size == (4.0, 3.0, 2.0)
    assert header.nstart == (1, 3, 2)
    assert header.origin == (4.0, 9.0, 4.0)
    moved = write(
        tmp_path / "b.mrc", ramp((4, 5, 6)), 1, axes=(3, 1, 2), origin=(1, 2, 3), grid=(5, 4, 6), cell=(10, 12, 24)
    )
    assert read_header(moved).origin == (3.0, 2.0, 1.0)


def build_broken(kind: str, path: Path) -> None:
    whole = header_bytes((4, 5, 6), 1) + ramp().tobytes()
    content = {
        "empty": b"",
        "short header": whole[:700],
        "header only": whole[:1024],
        "truncated": whole[:-7],
        "text": b"data_particles\nloop_\n" * 100,
        "short text": b"hello\n",
        "tiff": b"II*\0" + bytes(range(256)) * 8,
        "zeros": bytes(4096),
        "ext header missing": header_bytes((4, 5, 6), 1, nsymbt=5000) + b"123",
        "negative ext header": header_bytes((4, 5, 6), 1, nsymbt=-4) + bytes(500),
        "axes": header_bytes((4, 5, 6), 1, axes=(1, 1, 3)) + bytes(500),
        "complex 16": header_bytes((4, 5, 6), 3) + bytes(480),
        "complex": header_bytes((4, 5, 6), 4) + bytes(960),
        "rgb": header_bytes((4, 5, 6), 16) + bytes(360),
        "unknown mode": header_bytes((4, 5, 6), 99) + bytes(960),
        "packed bytes": header_bytes((4, 5, 6), 0, imod=(IMOD, 16)) + bytes(120),
        "volume stack": header_bytes((4, 5, 6), 1, ispg=401, grid=(6, 5, 2)) + bytes(240),
        "gzip cut in the header": gzip.compress(bytes(os.urandom(2000)))[:100],
    }[kind]
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("empty", ["empty", "0 bytes"]),
        ("short header", ["700 bytes", "1024"]),
        ("header only", ["no voxels", "1024", "240"]),
        ("truncated", ["truncated", "1264", "1257"]),
        ("text", ["not an MRC file", "2100 bytes", "text file"]),
        ("short text", ["6 bytes", "text file"]),
        ("tiff", ["not an MRC file", "TIFF"]),
        ("zeros", ["not an MRC file", "4096 bytes"]),
        ("ext header missing", ["truncated", "3 of 5000"]),
        ("negative ext header", ["-4 bytes"]),
        ("axes", ["(1, 1, 3)"]),
        ("complex 16", ["complex", "mode 3"]),
        ("complex", ["complex", "mode 4"]),
        ("rgb", ["RGB", "mode 16"]),
        ("unknown mode", ["mode 99"]),
        ("packed bytes", ["4-bit", "101"]),
        ("volume stack", ["2 volumes"]),
        ("gzip cut in the header", ["gzip", "100 bytes"]),
    ],
)
def test_broken_files_give_one_clear_error(tmp_path: Path, kind: str, words: list[str]) -> None:
    path = tmp_path / "broken.mrc"
    build_broken(kind, path)
    with pytest.raises(FormatError) as caught:
        open_mrc(path)
    message = str(caught.value)
    assert str(path) in message
    assert all(word in message for word in words), message
    assert "\n" not in message
    assert caught.value.exit_code == 2


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"nothing\.mrc"):
        open_mrc(tmp_path / "nothing.mrc")
    with pytest.raises(InputError, match="folder"):
        open_mrc(tmp_path)


def test_longer_file_is_a_warning(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mrc", ramp(), 1)
    path.write_bytes(path.read_bytes() + b"12345")
    volume = open_mrc(path)
    assert any("5 bytes" in w for w in volume.facts["warnings"])
    assert np.array_equal(MrcSource(volume).read(Box.of_shape(volume.shape)), ramp())


def test_box_outside_is_refused(tmp_path: Path) -> None:
    source = MrcSource(open_mrc(write(tmp_path / "a.mrc", ramp(), 1)))
    with pytest.raises(InputError, match="inside"):
        source.read(Box((0, 0, 0), (4, 5, 7)))


def test_source_is_small_and_picklable(tmp_path: Path) -> None:
    volume = open_mrc(write(tmp_path / "a.mrc", ramp((40, 50, 60)), 1))
    data = pickle.dumps(MrcSource(volume))
    assert len(data) < 10_000
    again = pickle.loads(data)
    assert (again.shape, again.dtype) == ((40, 50, 60), np.dtype("i2"))
    box = Box((3, 4, 5), (30, 40, 50))
    assert np.array_equal(again.read(box), ramp((40, 50, 60))[box.slices])


def test_changed_and_shrunk_files_are_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mrc", ramp(), 1)
    volume = open_mrc(path)
    source = MrcSource(volume)
    with path.open("r+b") as file:
        file.truncate(1100)
    with pytest.raises(FormatError, match="shrunk to 1100"):
        source.read(Box.of_shape((4, 5, 6)))
    write(path, ramp((5, 5, 6)), 1)
    with pytest.raises(FormatError, match="changed"):
        MrcSource(volume)
    assert open_mrc(path).identity != volume.identity


def test_identity_follows_the_content(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mrc", ramp(), 1)
    first = open_mrc(path).identity
    assert first
    assert open_mrc(path, voxel_size=3).identity == first
    stat = path.stat()
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1_000_000))
    assert open_mrc(path).identity != first


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("TS_01.mrc", "TS_01"), ("TS_01.rec.gz", "TS_01"), ("a.b_10.00Apx.MRC.BZ2", "a.b_10.00Apx"), ("x.st", "x"),
        ("x.ali", "x"), ("x.mrcs", "x"), ("x.map", "x"), ("odd.dat", "odd.dat"), (".mrc", ".mrc"),
    ],
)  # fmt: skip
def test_a_volume_is_named_as_its_file_without_endings(file: str, name: str) -> None:
    assert volume_name(f"/somewhere/{file}") == name


def test_skewed_cells_are_a_warning(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mrc", ramp(), 1)
    raw = bytearray(path.read_bytes())
    struct.pack_into("<f", raw, 60, 120.0)
    path.write_bytes(raw)
    assert any("120" in w for w in read_header(path).warnings)


RSS_SCRIPT = """
import resource, sys
from volengine.core.boxes import Box
from volengine.io.mrc.open import MrcSource, open_mrc
volume = open_mrc(sys.argv[1])
source = MrcSource(volume)
nz, ny, nx = volume.shape
source.read(Box((0, 0, 0), (4, ny, nx)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for z in range(0, nz, 4):
    source.read(Box((z, 0, 0), (z + 4, ny, nx)))
source.read(Box((0, 0, 0), (nz, ny, 4)))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kB on Linux only")
def test_the_file_does_not_stay_resident(tmp_path: Path) -> None:
    """Reading a 256 MiB file slab by slab, and a column through all of it, costs little more than one slab."""
    shape = (256, 512, 1024)
    path = tmp_path / "big.mrc"
    with path.open("wb") as file:
        file.write(header_bytes(shape, 1))
        for _ in range(shape[0]):
            file.write(bytes(shape[1] * shape[2] * 2))
    done = subprocess.run([sys.executable, "-c", RSS_SCRIPT, str(path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 40 * 1024  # kB: one mapped window of 16 MiB, one slab of 4 MiB, and slack


@real
def test_odd_headers_of_real_files_are_read() -> None:
    odd = REAL / "mrc_oddities"
    seri = read_header(odd / "serialem_SERI_ext_mode1.mrc")
    assert (seri.ext_type, len(seri.ext_header), seri.voxel_size) == ("SERI", 5120, (7.88, 7.88, 7.88))
    emdb = open_mrc(odd / "EMD-3197.map")
    assert (emdb.voxel_size, emdb.origin, emdb.name) == ((11.4, 11.4, 11.4), (0, 0, -22.8), "EMD-3197")
    for name in ("emd_3197.map.gz", "EMD-3197.map.bz2"):
        same = open_mrc(odd / name)
        assert (same.shape, same.voxel_size, same.origin) == (emdb.shape, emdb.voxel_size, emdb.origin)
    unstamped = read_header(odd / "no_MAP_stamp_mode1_5x6x4.mrc")
    assert (unstamped.shape, unstamped.voxel_size, len(unstamped.warnings)) == ((4, 6, 5), (2.5, 2.5, 2.5), 2)
    for name, dtype in (
        ("de_mode6_negative_cell_movie.mrc", "uint16"),
        ("tiltimage_mode12_zero_cell_10x10.mrc", "float16"),
    ):
        with pytest.raises(InputError, match="--voxel-size"):
            open_mrc(odd / name)
        assert open_mrc(odd / name, voxel_size=1.5).dtype == dtype
    with pytest.raises(FormatError, match="text file"):
        open_mrc(odd / "serialem_SERI_ext_mode1.mdoc")


@real
@pytest.mark.parametrize(
    "name",
    [
        "mrc_oddities/EMD-3197.map", "mrc_oddities/serialem_SERI_ext_mode1.mrc",
        "mrc_oddities/de_mode6_negative_cell_movie.mrc", "mrc_oddities/no_MAP_stamp_mode1_5x6x4.mrc",
        "mrc_oddities/tiltimage_mode12_zero_cell_10x10.mrc", "maps/chlamy_hsp60.mrc",
        "hiv_tomogram/hiv_crop_x000-062.mrc",
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # mrcfile's own, about the same oddities
def test_real_voxels_equal_mrcfiles(name: str) -> None:
    volume = open_mrc(REAL / name, voxel_size=10)
    with mrcfile.open(REAL / name, permissive=True) as mrc:
        expected = np.atleast_3d(mrc.data) if mrc.data.ndim == 3 else mrc.data[None]
    nz, ny, nx = volume.shape
    box = Box((nz // 3, ny // 4, nx // 5), (nz, ny, nx - 1))
    assert np.array_equal(MrcSource(volume).read(box), expected[box.slices])


@real
def test_real_labels_with_mz_1(tmp_path: Path) -> None:
    volume = open_mrc(REAL / "segmentations" / "mito_TE1_labels.mrc.gz")
    assert (volume.shape, volume.voxel_size) == ((312, 928, 960), (12.44, 12.44, 12.44))
    assert any("grid" in w for w in volume.facts["warnings"])
    plain = decompress(volume.url, tmp_path / "mito.mrc")
    values = MrcSource(open_mrc(plain)).read(Box((150, 0, 0), (160, 928, 960)))
    assert set(np.unique(values)) <= {0, 1, 2, 3}
    assert values.any()


@given(shape=st.tuples(*[st.integers(1, 7)] * 3), window=st.integers(1, 300), packed=st.booleans(), data=st.data())
@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_windows_are_small_and_cover_the_box_once(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int, int], window: int, packed: bool, data: st.DataObject
) -> None:
    monkeypatch.setattr(rawfile, "WINDOW_BYTES", window)
    layout = rawfile.RawLayout(100, shape, "u1" if packed else "<f4", packed)
    corners = [sorted((data.draw(st.integers(0, n)), data.draw(st.integers(0, n)))) for n in shape]
    box = Box(*zip(*corners, strict=True))
    seen = np.zeros(shape, int)
    for part in rawfile._windows(layout, box):
        seen[part.slices] += 1
        _, rows = rawfile._span(layout, part)
        assert rows * layout.row_bytes <= max(window, layout.row_bytes)
    expected = np.zeros(shape, int)
    expected[box.slices] = 1
    assert np.array_equal(seen, expected)
