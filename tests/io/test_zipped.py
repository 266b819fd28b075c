"""Zarr stores in zip archives: read in place, stored or compressed; what is strange about an archive is refused."""

from __future__ import annotations

import os
import random
import shutil
import tracemalloc
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.boxes import Box
from volengine.core.errors import ChangedError, FormatError, InputError, MissingError, VolengineError
from volengine.core.image import ImageSpec
from volengine.io.identity import check_unchanged
from volengine.io.omezarr.arrays import ZarrSink
from volengine.io.omezarr.check import check_store
from volengine.io.omezarr.image import create_image, finish_image, remove
from volengine.io.omezarr.levels import plan_levels
from volengine.io.omezarr.read import list_groups, open_image
from volengine.io.open import open_volume
from volengine.io.stores import exists, open_store, store_name, stored_bytes, stored_objects
from volengine.io.zipped import archive_at
from volengine.ops.pyramid import pyramid

SHAPE = (20, 40, 48)
ARRAY = np.random.default_rng(0).normal(5, 2, SHAPE).astype("float32")
STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


def add(store: Path, array: np.ndarray, ngff: str, kind: str = "intensity", group: str = "") -> None:
    levels = plan_levels(SHAPE, chunk=(8, 16, 16), shard=(16, 32, 32), ngff=ngff, smallest=24)  # type: ignore[arg-type]
    spec = ImageSpec(
        str(store), "t", array.dtype.name, kind, (10.0,) * 3, levels, (1.0, 2.0, 3.0), group, ngff  # type: ignore[arg-type]
    )  # fmt: skip
    create_image(spec, token="t")
    objects = []
    for number, voxels in enumerate(pyramid(array, [level.factor for level in levels], spec.kind)):
        sink, box = ZarrSink(spec.volume(number)), Box.of_shape(voxels.shape)
        stored = zip(sink.keys(box), sink.write(box, voxels), strict=True)
        objects.append({key: what for key, what in stored if what is not None})
    finish_image(spec, objects)


@pytest.fixture(scope="module", params=["0.4", "0.5"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with an image of two levels and a label image."""
    path: Path = tmp_path_factory.mktemp("zipped") / "t.ome.zarr"
    add(path, ARRAY, request.param)
    add(path, (ARRAY > 5).astype("uint8"), request.param, "labels", "labels/core")
    return path


def zipped(store: Path, path: Path, *, above: str = "", how: int = STORED) -> str:
    with zipfile.ZipFile(path, "w", how) as archive:
        for file in sorted(store.rglob("*")):
            if file.is_file():
                archive.write(file, above + file.relative_to(store).as_posix())
    return str(path)


def repacked(path: Path, names: dict[str, bytes], how: int = STORED) -> str:
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, data in names.items():
            archive.writestr(name, data)
    return str(path)


def contents(store: Path) -> dict[str, bytes]:
    return {f.relative_to(store).as_posix(): f.read_bytes() for f in sorted(store.rglob("*")) if f.is_file()}


@pytest.mark.parametrize("how", [STORED, DEFLATED])
@pytest.mark.parametrize("above", ["", "t.ome.zarr/", "a folder/t.ome.zarr/"])
@pytest.mark.parametrize("ending", ["ozx", "ome.zarr.zip", "OZX"])
def test_the_voxels_are_those_of_the_store(store: Path, tmp_path: Path, how: int, above: str, ending: str) -> None:
    url = zipped(store, tmp_path / f"t.{ending}", above=above, how=how)
    volume = open_volume(url)
    assert (volume.name, volume.shape, volume.voxel_size, volume.origin) == ("t", SHAPE, (10,) * 3, (1, 2, 3))
    np.testing.assert_array_equal(volume.read(), ARRAY)
    np.testing.assert_array_equal(volume[3:7, 10:30, 5], ARRAY[3:7, 10:30, 5])
    np.testing.assert_array_equal(volume.read(level=1), open_volume(store).read(level=1))
    labels = open_volume(f"{url}#labels/core")
    assert labels.kind == "labels"
    np.testing.assert_array_equal(labels.read(), ARRAY > 5)
    assert [info.group for info in list_groups(url)] == ["", "labels/core"]
    assert os.listdir(tmp_path) == [f"t.{ending}"]  # nothing was unpacked beside it


def test_zarr_s_own_archive_is_read(tmp_path: Path) -> None:
    from zarr.storage import ZipStore

    with ZipStore(tmp_path / "z.zarr.zip", mode="w") as made:
        zarr.create_array(made, data=ARRAY, chunks=(8, 16, 16), zarr_format=2)
    np.testing.assert_array_equal(open_volume(tmp_path / "z.zarr.zip", voxel_size=5.0).read(), ARRAY)


def test_what_the_functions_of_stores_say(store: Path, tmp_path: Path) -> None:
    url = zipped(store, tmp_path / "t.ozx", above="x/")
    assert exists(url)
    assert not exists(str(tmp_path / "none.ozx"))
    assert store_name(url) == store_name("a/t.ome.zarr.zip") == "t"
    assert set(stored_objects(url)) == set(contents(store))
    assert stored_bytes(url, "none") is None
    for key, data in contents(store).items():
        assert stored_bytes(url, key) == data
        assert stored_bytes(url, key, 7) == data[:7]
    assert check_store(url) == check_store(str(store))


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_every_part_of_every_member(data: st.DataObject) -> None:
    """Ranges are those of the bytes, for members that are stored and for those that are compressed."""
    content = {"zarr.json": b"{}", "a/b": data.draw(st.binary(max_size=300)), "ü": b"x" * 999}
    key = data.draw(st.sampled_from(sorted(content)))
    start, stop = (data.draw(st.integers(0, 1100)) for _ in range(2))
    with TemporaryDirectory() as folder:
        path = Path(folder, "t.ozx")
        repacked(path, content, data.draw(st.sampled_from([STORED, DEFLATED])))
        assert archive_at(path).read(key, start, stop) == (content[key][start:stop] if start < stop else b"")
        assert archive_at(path).read(key) == content[key]


# -- identity --------------------------------------------------------------------------------------------------------


def test_an_archive_that_changes_is_noticed(store: Path, tmp_path: Path) -> None:
    url = zipped(store, tmp_path / "t.ozx")
    volume = open_volume(url)
    check_unchanged(volume)
    other = open_volume(f"{url}#labels/core")
    by_content = [open_volume(url, level=n, identity="content").identity for n in (0, 1)]
    assert len({volume.identity, other.identity, open_volume(url, level=1).identity, *by_content}) == 5
    copy = shutil.copy(url, tmp_path / "u.ozx")
    assert open_volume(copy, identity="content").identity == by_content[0]
    reader = open_volume(url)
    reader[0]
    zipped(store, tmp_path / "t.ozx", above="x/")
    with pytest.raises(ChangedError, match=r"t\.ozx.*has changed"):
        check_unchanged(volume)
    Path(url).unlink()
    with pytest.raises(ChangedError, match="is gone"):
        check_unchanged(volume)


# -- refusals --------------------------------------------------------------------------------------------------------


def test_writing_is_refused_with_what_to_do(store: Path, tmp_path: Path) -> None:
    url = zipped(store, tmp_path / "t.ozx")
    before = Path(url).read_bytes()
    levels = plan_levels(SHAPE)
    for place, group in ((url, "labels/x"), (str(tmp_path / "new.ozx"), "")):
        spec = ImageSpec(place, "t", "uint8", "labels", (10.0,) * 3, levels, group=group)
        with pytest.raises(InputError, match="zip archives are read, not written"):
            create_image(spec, token="t")
    with pytest.raises(InputError, match="not written"):
        remove(url)
    with pytest.raises(InputError, match="not written"):
        open_store(url)
    assert Path(url).read_bytes() == before
    assert os.listdir(tmp_path) == ["t.ozx"]


@pytest.mark.parametrize(
    "name", ["../zarr.json", "/zarr.json", "0\\c\\0", "a/../b", "./zarr.json", "a//b", "C:/zarr.json"]
)
def test_names_that_leave_the_archive(tmp_path: Path, name: str) -> None:
    url = repacked(tmp_path / "t.ozx", {"zarr.json": b"{}", name: b"{}"})
    with pytest.raises(FormatError, match="leaves the archive"):
        open_volume(url)


def test_archives_that_hold_no_store_or_several(store: Path, tmp_path: Path) -> None:
    data = contents(store)
    two = repacked(tmp_path / "2.ozx", {f"{name}/{k}": v for name in ("a.zarr", "b.zarr") for k, v in data.items()})
    with pytest.raises(FormatError, match=r"holds 2: a\.zarr, b\.zarr"):
        open_volume(two)
    with pytest.raises(FormatError, match=r"no zarr\.json is at its root"):
        open_volume(repacked(tmp_path / "0.ozx", {"notes.txt": b"x"}))
    junk = repacked(tmp_path / "j.ozx", {**{f"t.zarr/{k}": v for k, v in data.items()}, "__MACOSX/._t.zarr": b"x"})
    np.testing.assert_array_equal(open_volume(junk).read(), ARRAY)


def _flag(path: Path, change: int, place: int) -> None:
    """Set bits in the entry of the last member in the list at the end."""
    data = bytearray(path.read_bytes())
    data[data.rfind(b"PK\1\2") + place] |= change
    path.write_bytes(data)


def test_members_that_are_not_read(tmp_path: Path) -> None:
    def made() -> Path:
        return Path(repacked(tmp_path / "t.ozx", {"zarr.json": b"{}", "0": b"x" * 50}))

    cases = (
        (1, 8, "encrypted"),
        (14, 10, "method 14"),  # lzma
        (64, 24, "states 114 bytes in 50"),  # a stored member that is larger than its bytes
        (0xA0, 41, "a link or a device"),
    )
    for change, place, text in cases:
        _flag(made(), change, place)
        with pytest.raises(FormatError, match=text):
            open_volume(tmp_path / "t.ozx")
    repacked(tmp_path / "t.ozx", {"zarr.json": b"{}"})
    with zipfile.ZipFile(tmp_path / "t.ozx", "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("zarr.json", b"[]")
    with pytest.raises(FormatError, match="comes twice"):
        open_volume(tmp_path / "t.ozx")
    for data in (b"", b"PK", made().read_bytes()[:-30]):
        (tmp_path / "t.ozx").write_bytes(data)
        with pytest.raises(FormatError, match="no zip archive"):
            open_volume(tmp_path / "t.ozx")


def test_places_that_do_not_exist_or_are_folders(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no such file"):
        open_volume(tmp_path / "none.ozx")
    (tmp_path / "d.ozx").mkdir()
    with pytest.raises(InputError, match=r"d\.ozx is a folder"):
        open_volume(tmp_path / "d.ozx")
    os.mkfifo(tmp_path / "p.ozx")
    with pytest.raises(InputError, match="a device or a pipe"):
        open_volume(tmp_path / "p.ozx")


def test_a_bomb_does_not_fill_the_memory(store: Path, tmp_path: Path) -> None:
    """A chunk of 40 MB of zeros in 40 KB, where a shard of some KB is announced."""
    data = contents(store)
    key = next(k for k in data if k.startswith("0/") and not k.endswith((".json", ".zarray", ".zattrs")))
    data[key] = bytes(40 * 2**20)
    url = repacked(tmp_path / "t.ozx", data, DEFLATED)
    del data
    volume = open_volume(url)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match=r"has 41943040 bytes, where at most"):
            volume.read()
        assert tracemalloc.get_traced_memory()[1] < 2**25
    finally:
        tracemalloc.stop()


def test_metadata_that_unpack_to_much_are_refused(tmp_path: Path) -> None:
    url = repacked(tmp_path / "t.ozx", {"zarr.json": b" " * (130 * 2**20)}, DEFLATED)
    with pytest.raises(FormatError, match="compressed members of more than"):
        open_volume(url)
    url = repacked(tmp_path / "t.ozx", {"zarr.json": b" " * (70 * 2**20)}, DEFLATED)
    with pytest.raises(FormatError, match="metadata of more than"):
        open_volume(url)


def test_members_upon_each_other(tmp_path: Path) -> None:
    path = Path(repacked(tmp_path / "t.ozx", {"zarr.json": b"{}", "0": b"x" * 50}))
    data = bytearray(path.read_bytes())
    last = data.rfind(b"PK\1\2")
    data[last + 42 : last + 46] = bytes(4)  # the second member begins where the first one does
    path.write_bytes(data)
    with pytest.raises(FormatError, match="lie upon each other"):
        open_volume(path)


def test_any_flipped_byte_is_noticed_or_changes_nothing(store: Path, tmp_path: Path) -> None:
    """Whole members have the checksum of the archive, parts of shards that of their chunks."""
    rng = random.Random(1)
    plain = Path(zipped(store, tmp_path / "t.ozx")).read_bytes()
    noticed = 0
    for number in range(80):
        data = bytearray(plain)
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path = tmp_path / f"{number}.ozx"
        path.write_bytes(data)
        try:
            volume = open_volume(path)
            voxels = volume.read()
        except VolengineError:
            noticed += 1
            continue
        finally:
            path.unlink()
        np.testing.assert_array_equal(voxels, ARRAY)
        assert volume.voxel_size == (10,) * 3
    assert noticed > 25


def test_a_lost_chunk_of_a_store_with_manifest_is_noticed(store: Path, tmp_path: Path) -> None:
    data = contents(store)
    key = next(k for k in data if k.startswith("0/") and not k.endswith((".json", ".zarray", ".zattrs")))
    del data[key]
    with pytest.raises(FormatError, match="is lost"):
        open_volume(repacked(tmp_path / "t.ozx", data)).read()


def test_the_level_is_opened_by_image(store: Path, tmp_path: Path) -> None:
    url = zipped(store, tmp_path / "t.ozx")
    assert open_image(url, level=1).voxel_size == (20.0,) * 3
    assert open_volume(url).levels == open_volume(store).levels
