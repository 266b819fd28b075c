"""Ais's training sets and NIfTI folders: what was written is read, and what does not belong is refused."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import tifffile
from engine_plans import stored
from scnt_write import ScntSample, write_scnt

from volengine.core.boxes import Box
from volengine.core.errors import FormatError, InputError, MissingError
from volengine.io.cached import ChunkCache
from volengine.io.open import open_source
from volengine.io.training.nifti import find_pairs, read_nifti
from volengine.io.training.scnt import mrc_array, open_scnt

nibabel = pytest.importorskip("nibabel", reason="nibabel is not installed (pip install 'volengine[nifti]')")


def samples(count: int = 5, depth: int = 3, side: int = 16, whole: bool = False) -> list[ScntSample]:
    rng = np.random.default_rng(depth)
    shape = (depth, side, side)
    return [
        ScntSample(
            rng.normal(size=shape).astype(np.float32),
            rng.integers(0, 3, shape if whole else shape[1:]).astype(np.uint8),
            f"data/TS_{k % 2:02d}.mrc",
            "ribosome",
            (k, 10, 20),
        )
        for k in range(count)
    ]


def by_position(path: Path) -> list[int]:
    """Which drawn sample each name is."""
    with tarfile.open(path) as tar:
        member = tar.extractfile("sources.json")
        assert member is not None
        sources = json.load(member)
    return [sources[name]["aisBoxCoordinateZ"] for name in open_scnt(str(path)).names]


@pytest.mark.parametrize("whole", [False, True])
def test_what_is_written_is_read(tmp_path: Path, whole: bool) -> None:
    given = samples(whole=whole)
    path = tmp_path / "set.scnt"
    assert write_scnt(str(path), given, 9.6, normalisation="global_mad") == 5
    got = open_scnt(str(path))
    assert (len(got), got.pixel_size, got.shape) == (5, 9.6, (3, 16, 16))
    assert got.facts["normalization"] == "global_mad"
    order = by_position(path)
    assert sorted(order) == list(range(5))
    for number, k in enumerate(order):
        image, labels = got.read(number)
        np.testing.assert_array_equal(image, given[k].image)
        np.testing.assert_array_equal(labels if whole else labels[0], given[k].labels)
        assert got.tomograms[number] == f"TS_{k % 2:02d}"
        assert got.features[number] == "ribosome"


def test_its_members_are_mrc_files_for_others(tmp_path: Path) -> None:
    given = samples(1)
    write_scnt(str(tmp_path / "set.scnt"), given, 10.0)
    with tarfile.open(tmp_path / "set.scnt") as tar:
        member = next(m for m in tar.getmembers() if m.isfile() and Path(m.name).parent.name == "x_main")
        file = tmp_path / Path(member.name).name
        with tar.extractfile(member) as packed:  # extractall(filter=...) needs Python 3.11.4
            file.write_bytes(packed.read())
    with mrcfile.open(file) as mrc:
        np.testing.assert_array_equal(mrc.data, given[0].image)
        assert mrc.voxel_size.x == 10
        assert mrcfile.validate(file)
    assert file.stem == hashlib.md5(b"TS_00_ribosome_0_10_20").hexdigest()[:16]


def test_files_that_mrcfile_writes_are_read(tmp_path: Path) -> None:
    for dtype in (np.int8, np.int16, np.uint16, np.float32, np.float16):
        array = (np.random.default_rng(0).random((2, 3, 4)) * 50).astype(dtype)
        for one in (array, array[0]):
            mrcfile.write(tmp_path / "x.mrc", one, overwrite=True)
            raw = (tmp_path / "x.mrc").read_bytes()
            np.testing.assert_array_equal(mrc_array(raw, "x"), one.reshape(-1, 3, 4))


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize(("count", "depth"), [(4, 1), (3, 5), (1, 1)])
def test_the_older_form_of_an_ais_set_is_read(tmp_path: Path, count: int, depth: int, compression: str | None) -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(count, depth + 1, 12, 10)).astype(np.float32)
    data[:, -1] = rng.integers(0, 3, (count, 12, 10))
    path = tmp_path / "old.scnt"
    tifffile.imwrite(path, data, description="apix=7.5", compression=compression)
    got = open_scnt(str(path))
    assert (len(got), got.pixel_size, got.shape) == (count, 7.5, (depth, 12, 10))
    for k in range(count):
        image, labels = got.read(k)
        np.testing.assert_array_equal(image, data[k, :-1])
        np.testing.assert_array_equal(labels, data[k, -1:])


def archive(path: Path, *members: tuple[str, bytes] | tarfile.TarInfo) -> str:
    with tarfile.open(path, "w") as tar:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return str(path)


def link(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


META = ("metadata.json", b'{"apix": 10, "format_version": 1}')


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([META, ("../x_main/a.mrc", b"")], "leaves the folder"),
        ([META, ("/x_main/a.mrc", b"")], "leaves the folder"),
        ([META, ("x_main/../../a.mrc", b"")], "leaves the folder"),
        ([META, ("C:\\x_main\\a.mrc", b"")], "leaves the folder"),
        ([META, link("x_main/a.mrc", tarfile.SYMTYPE)], "a link or a device"),
        ([META, link("y/a.mrc", tarfile.LNKTYPE)], "a link or a device"),
        ([META, link("y/a.mrc", tarfile.CHRTYPE)], "a link or a device"),
        ([META, META], "in it twice"),
        ([META], "no sample in it"),
        ([("x_main/a.mrc", b"")], "no metadata.json"),
        ([("metadata.json", b"{nonsense")], "metadata.json is damaged"),
        ([("metadata.json", b"[" * 100_000)], "metadata.json is damaged"),
        ([("metadata.json", b"[]")], "no names and values"),
        ([META, ("x_main/a.mrc", bytes(2000))], "image or labels, but not both"),
        ([META, ("x_main/a.mrc", bytes(2000)), ("y/a.mrc", b"")], "no MRC file of a known mode"),
        ([META, ("x_main/a.mrc", b"abc"), ("y/a.mrc", b"")], "3 bytes are no MRC file"),
        ([("metadata.json", b'{"format_version": 7}'), ("x_main/a.mrc", b""), ("y/a.mrc", b"")], "format version 7"),
    ],
)
def test_what_does_not_belong_in_an_archive_is_refused(tmp_path: Path, members: list[Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        open_scnt(archive(tmp_path / "bad.scnt", *members))


def test_pickles_and_other_members_are_never_read(tmp_path: Path) -> None:
    path = tmp_path / "set.scnt"
    write_scnt(str(path), samples(1), 10.0)
    with tarfile.open(path, "a") as tar:
        info = tarfile.TarInfo("frame.pkl")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"cos\ns"))
    assert len(open_scnt(str(path))) == 1


def test_broken_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "set.scnt"
    write_scnt(str(path), samples(), 10.0)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FormatError):
        open_scnt(str(path))
    path.write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(FormatError, match="no training set"):
        open_scnt(str(path))
    path.write_bytes(gzip.compress(whole))
    with pytest.raises(FormatError, match="uncompressed tar"):
        open_scnt(str(path))
    with pytest.raises(MissingError):
        open_scnt(str(tmp_path / "none.scnt"))
    tifffile.imwrite(tmp_path / "one.scnt", np.zeros((5, 6), np.float32))
    with pytest.raises(FormatError, match="label last"):
        open_scnt(str(tmp_path / "one.scnt"))
    huge = tarfile.TarInfo("x_main/a.mrc")
    huge.size = 2**40
    with (tmp_path / "huge.scnt").open("wb") as file:
        file.write(huge.tobuf(format=tarfile.GNU_FORMAT))
    with pytest.raises(FormatError):
        open_scnt(str(tmp_path / "huge.scnt"))


def test_what_cannot_be_written_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "set.scnt")
    one = samples(1)[0]
    odd = ScntSample(one.image, one.labels + 5, "a", "b", (0, 0, 0))
    small = ScntSample(one.image[:, 1:], one.labels[1:], "a", "b", (0, 0, 1))
    for bad, message in (([one, one], "two samples"), ([odd], "labels are 0"), ([one, small], "one shape"), ([], "no")):
        with pytest.raises(InputError, match=message):
            write_scnt(path, bad, 10.0)
        assert not Path(path).exists()


def test_a_large_set_is_neither_written_nor_read_whole(tmp_path: Path) -> None:
    path = str(tmp_path / "large.scnt")

    def many() -> Any:
        for k in range(60):
            box = np.full((4, 256, 256), k, np.float32)
            yield ScntSample(box, np.zeros((256, 256), np.uint8), "t", "f", (k, 0, 0))

    tracemalloc.start()
    try:
        write_scnt(path, many(), 10.0)
        got = open_scnt(path)
        total = {float(got.read(k)[0][0, 0, 0]) for k in range(len(got))}
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert total == set(map(float, range(60)))
    assert Path(path).stat().st_size > 60e6
    assert peak < 12e6


# -- NIfTI ---------------------------------------------------------------------------------------------------


def nifti(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array.T, np.eye(4)), path)


def test_folders_of_nifti_files_are_read_by_part_and_data_set(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image, labels = rng.normal(size=(4, 5, 6)).astype(np.float32), rng.integers(0, 3, (4, 5, 6)).astype(np.uint8)
    for part, name in (("Tr", "ds1_a"), ("Tr", "ds2_b"), ("Val", "ds1_c")):
        suffix = "" if name == "ds2_b" else "_0000"
        nifti(tmp_path / f"images{part}" / f"{name}{suffix}.nii.gz", image)
        nifti(tmp_path / f"labels{part}" / f"{name}.nii.gz", labels)
    pairs = find_pairs(str(tmp_path))
    assert [(p.name, p.token, p.validation) for p in pairs] == [
        ("ds1_a", "ds1", False),
        ("ds2_b", "ds2", False),
        ("ds1_c", "ds1", True),
    ]
    for pair in pairs:
        assert read_nifti(pair.image).shape == (4, 5, 6)
        np.testing.assert_array_equal(read_nifti(pair.image), image)
        got = read_nifti(pair.labels)
        np.testing.assert_array_equal(got, labels)
        assert got.dtype == np.uint8
    (tmp_path / "labelsTr" / "ds1_a.nii.gz").unlink()
    with pytest.raises(MissingError, match="there are no labels"):
        find_pairs(str(tmp_path))
    with pytest.raises(MissingError, match="imagesTr"):
        find_pairs(str(tmp_path / "imagesTr"))


def test_broken_nifti_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    nifti(path, np.random.default_rng(0).normal(size=(20, 20, 20)).astype(np.float32))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FormatError, match="damaged or cut off"):
        read_nifti(str(path))
    path.write_bytes(b"text")
    with pytest.raises(FormatError, match="no NIfTI"):
        read_nifti(str(path))
    nifti(tmp_path / "four.nii", np.zeros((2, 3, 4, 5), np.float32))
    with pytest.raises(FormatError, match="three axes of numbers"):
        read_nifti(str(tmp_path / "four.nii"))
    header = nibabel.Nifti1Header()
    header.set_data_shape((30_000, 30_000, 30_000))
    header.set_data_dtype(np.float32)
    (tmp_path / "bomb.nii").write_bytes(header.binaryblock + bytes(4))
    with pytest.raises(FormatError, match=r"promises|no NIfTI"):
        read_nifti(str(tmp_path / "bomb.nii"))


# -- the cache -----------------------------------------------------------------------------------------------


class Counting:
    """A source that counts what is read from it."""

    def __init__(self, source: Any):
        self.source, self.reads = source, 0
        self.shape, self.dtype = source.shape, source.dtype

    def read(self, box: Box) -> Any:
        self.reads += 1
        return self.source.read(box)


def test_chunks_are_read_once_and_the_oldest_go(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(20, 30, 40)).astype(np.float32)
    volume = stored(tmp_path, array, (8, 8, 8))
    counting = Counting(open_source(volume))
    cache = ChunkCache(8**3 * 4 * 10)
    source = cache.over(counting, volume)
    rng = np.random.default_rng(1)
    for _ in range(60):
        start = rng.integers(0, [15, 25, 35])
        box = Box(tuple(start.tolist()), tuple((start + rng.integers(1, 6, 3)).tolist()))
        np.testing.assert_array_equal(source.read(box), array[box.slices])
        assert cache.held <= cache.limit
    before = counting.reads
    for _ in range(3):
        source.read(Box((0, 0, 0), (8, 8, 8)))
    assert counting.reads <= before + 1
    assert ChunkCache(100).over(counting, volume.with_(chunks=None)) is counting
