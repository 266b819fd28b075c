"""Identities: whatever changes in a source gives another one, and is refused by the check; copies are recognised."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.errors import ChangedError, InputError
from volengine.io import hashing, identity, listing
from volengine.io.hashing import FileIdentity, check_file, content_of_file
from volengine.io.identity import check_unchanged, identified, identity_of
from volengine.io.listing import listing_of
from volengine.io.open import open_volume
from volengine.io.stores import open_store

SHAPE = (20, 40, 50)
VOXELS = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)  # 160 kB: most bytes are in no sampled block


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The digests of a test are its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(hashing, "_known", {})
    return tmp_path / "cache" / "volengine" / "digests"


def mrc(path: Path, voxels: np.ndarray = VOXELS) -> str:
    mrcfile.write(path, voxels, voxel_size=10, overwrite=True)
    return str(path)


def refused(volume, *, full: bool = True) -> str:
    with pytest.raises(ChangedError) as error:
        check_unchanged(volume, full=full)
    assert volume.url in str(error.value)
    assert "same command" in str(error.value)
    return str(error.value)


# -- files ---------------------------------------------------------------------------------------------------


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)
        file.seek(at)
        file.write(bytes([byte[0] ^ 1]))


def edit(path: Path, kind: str, at: int) -> None:
    """One change of a file, as programs make it."""
    data = path.read_bytes()
    if kind == "byte":
        flip(path, at)
    elif kind == "truncate":
        os.truncate(path, max(1024, at))
    elif kind == "append":
        with path.open("ab") as file:
            file.write(b"\0" * (1 + at % 100))
    elif kind == "rewrite":  # the same bytes, written anew
        path.write_bytes(data)
    elif kind == "rename":
        new = path.with_suffix(".new")
        new.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        stat = path.stat()
        os.utime(new, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # of the same size and time
        new.replace(path)
    else:
        path.touch()


@settings(max_examples=60)
@given(
    st.sampled_from(["byte", "truncate", "append", "rewrite", "rename", "touch"]),
    st.integers(1024, 1023 + VOXELS.nbytes),
)
def test_any_change_of_a_file_is_noticed(tmp_path_factory, kind, at):
    path = tmp_path_factory.mktemp("files") / "a.mrc"
    mrc(path)
    quick, content = open_volume(path), open_volume(path, identity="content")
    check_unchanged(quick)
    check_unchanged(quick, full=False)
    check_unchanged(content)
    edit(path, kind, at)
    refused(quick)
    refused(quick, full=False)
    same = kind in ("rewrite", "touch")
    if kind != "truncate":  # of which no volume can be opened
        assert open_volume(path).identity != quick.identity
        assert (open_volume(path, identity="content").identity == content.identity) == same
    if same:
        check_unchanged(content)
        check_unchanged(content, full=False)
    else:
        refused(content)
        refused(content, full=False)


def test_messages_say_what_changed(tmp_path):
    path = Path(mrc(tmp_path / "a.mrc"))
    volume = open_volume(path)
    size = path.stat().st_size
    edit(path, "append", 6)
    said = refused(volume)
    assert f"size {size} → {size + 7} bytes" in said
    assert "time 20" in said
    edit(path, "rename", 5000)
    assert "another file is in its place" in refused(volume)
    path.unlink()
    assert "is gone" in refused(volume)
    assert "is gone" in refused(volume, full=False)


def test_bytes_in_sampled_blocks_are_noticed_even_if_the_time_is_set_back(tmp_path):
    """The documented limit of ``quick``: other blocks are not; ``content`` has none."""
    path = Path(mrc(tmp_path / "a.mrc"))
    quick, content = open_volume(path), open_volume(path, identity="content")
    stat = path.stat()
    last = stat.st_size - 4096
    for at, seen in ((last + 4095, True), (15 * last // 15 // 3 + 10, True), (4096 + 1000, False)):
        flip(path, at)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        if seen:
            assert "other bytes" in refused(quick)
            assert open_volume(path).identity != quick.identity
        else:
            check_unchanged(quick)
            assert open_volume(path).identity == quick.identity
        flip(path, at)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    check_unchanged(quick)
    check_unchanged(content)


def test_content_notices_bytes_that_a_program_changes_before_it_sets_the_time_back(tmp_path):
    """The remembered digest is not believed then, and neither are equal size, time, inode and sampled blocks."""
    path = Path(mrc(tmp_path / "a.mrc"))
    stat = path.stat()
    for name in ("a.mrc", "linked.mrc"):  # itself, and through a hard link
        before = open_volume(path, identity="content")
        check_unchanged(before)
        if name != "a.mrc":
            os.link(path, tmp_path / name)
            check_unchanged(before)
        flip(tmp_path / name, 4096 + 1000)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert "other bytes" in refused(before)
        assert open_volume(path, identity="content").identity != before.identity


def test_a_copy_has_the_same_content(tmp_path):
    first = open_volume(mrc(tmp_path / "a.mrc"), identity="content")
    (tmp_path / "b").mkdir()
    shutil.copy(tmp_path / "a.mrc", tmp_path / "b" / "other.mrc")
    copy = open_volume(tmp_path / "b" / "other.mrc", identity="content")
    assert copy.identity == first.identity
    assert open_volume(tmp_path / "b" / "other.mrc").identity != open_volume(tmp_path / "a.mrc").identity


def test_tiff_and_packed_files(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", VOXELS, photometric="minisblack")
    mrc(tmp_path / "b.mrc")
    subprocess.run(["gzip", str(tmp_path / "b.mrc")], check=True)
    for name in ("a.tif", "b.mrc.gz"):
        for how in ("quick", "content"):
            volume = open_volume(tmp_path / name, voxel_size=10, identity=how)
            check_unchanged(volume)
            flip(tmp_path / name, 3000)
            refused(volume)
            flip(tmp_path / name, 3000)


def test_a_file_that_is_written_twice_within_a_tick_is_noticed(tmp_path):
    path = Path(mrc(tmp_path / "a.mrc"))
    for _ in range(30):  # each change has the size of the last one, and almost its time
        volume = open_volume(path)
        flip(path, 4096 + 1000)
        refused(volume)


def test_contents_are_read_once_and_remembered_on_disk(tmp_path, cache, monkeypatch):
    path = mrc(tmp_path / "a.mrc")
    first = open_volume(path, identity="content").identity
    assert len(list(cache.rglob("*.json"))) == 1
    monkeypatch.setattr(hashing, "_known", {})
    monkeypatch.setattr(hashing, "_hashed", lambda _: pytest.fail("the file was read again"))
    assert open_volume(path, identity="content").identity == first


def test_a_damaged_or_foreign_cache_is_ignored(tmp_path, cache, monkeypatch):
    path = mrc(tmp_path / "a.mrc")
    found = content_of_file(path)
    (entry,) = cache.rglob("*.json")
    for text in ("", "{", "[]", '{"content": 3}', json.dumps({"key": "other", "content": "wrong"})):
        entry.write_text(text)
        monkeypatch.setattr(hashing, "_known", {})
        assert content_of_file(path) == found
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    monkeypatch.setattr(hashing, "_known", {})
    assert content_of_file(path) == found  # nothing can be written there


def test_many_processes_may_hash_at_once(tmp_path, cache):
    path = mrc(tmp_path / "a.mrc")
    code = f"from volengine.io.hashing import content_of_file; print(content_of_file({path!r}))"
    running = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = {process.communicate()[0].strip() for process in running}
    assert said == {content_of_file(path)}
    assert len(list(cache.rglob("*"))) == 2  # one folder and one entry, no leftover


def test_files_of_stages_are_known_by_their_bytes(tmp_path):
    path = tmp_path / "picks.star"
    path.write_text("data_\n")
    file = FileIdentity.of(path)
    assert FileIdentity(**json.loads(json.dumps(file.to_json()))) == file
    path.touch()
    file.check()
    path.write_text("data_b\n")
    with pytest.raises(ChangedError, match=r"picks.star has changed .* same command"):
        file.check()
    path.unlink()
    with pytest.raises(ChangedError, match="is gone"):
        check_file(path, file.digest)


# -- Zarr ----------------------------------------------------------------------------------------------------


def foreign(url: str, *, zarr_format: int = 3, shards: tuple[int, int, int] | None = None) -> str:
    """A store of another program, with two levels and labels."""
    group = zarr.open_group(open_store(url), mode="w", zarr_format=zarr_format)  # type: ignore[arg-type]
    axes = [{"name": n, "type": "space", "unit": "angstrom"} for n in "zyx"]
    levels = [
        {"path": str(n), "coordinateTransformations": [{"type": "scale", "scale": [10.0 * 2**n] * 3}]} for n in (0, 1)
    ]
    image = {"axes": axes, "datasets": levels}
    version = {"version": "0.5"} if zarr_format == 3 else {}
    shown: dict[str, Any] = {"multiscales": [image | ({} if version else {"version": "0.4"})], **version}
    group.attrs.update({"ome": shown} if version else shown)
    how: dict[str, Any] = {} if shards is None else {"shards": shards}
    for level, array in (("0", VOXELS), ("1", VOXELS[::2, ::2, ::2])):
        group.create_array(level, data=array, chunks=(10, 10, 10), **how)
    return url


def chunk_of(store: Path, level: str) -> Path:
    return next(p for p in sorted((store / level).rglob("*")) if p.is_file() and p.name[0].isdigit())


def change_zarr(store: Path, kind: str) -> None:
    level = store / "0"
    chunk = chunk_of(store, "0")
    if kind == "voxels":
        array = zarr.open_array(str(level), mode="r+")
        array[0, 0, 0] = array[0, 0, 0] + 1
    elif kind == "in place":
        flip(chunk, 5)
    elif kind == "delete":
        chunk.unlink()
    elif kind == "add":
        shutil.copy(chunk, chunk.with_name("9"))
    elif kind == "metadata":
        name = level / "zarr.json" if (level / "zarr.json").exists() else level / ".zarray"
        name.write_text(name.read_text().replace('"fill_value": 0.0', '"fill_value": 1.0'))
    elif kind == "scale":
        name = store / "zarr.json" if (store / "zarr.json").exists() else store / ".zattrs"
        name.write_text(name.read_text().replace("10.0", "12.0"))
    elif kind == "touch":
        chunk.touch()
    elif kind == "rewrite":
        chunk.write_bytes(chunk.read_bytes())


CHANGES = ["voxels", "in place", "delete", "add", "metadata", "scale", "touch", "rewrite"]


@pytest.mark.parametrize("kind", CHANGES)
@pytest.mark.parametrize(("zarr_format", "shards"), [(2, None), (3, None), (3, (20, 20, 20))])
def test_any_change_of_a_foreign_store_is_noticed(tmp_path, kind, zarr_format, shards):
    store = tmp_path / "a.zarr"
    url = foreign(str(store), zarr_format=zarr_format, shards=shards)
    quick, content = open_volume(url), open_volume(url, identity="content")
    coarse = open_volume(url, level=1)
    check_unchanged(quick)
    check_unchanged(content)
    change_zarr(store, kind)
    refused(quick)
    assert open_volume(url).identity != quick.identity
    if kind in ("touch", "rewrite"):
        check_unchanged(content)
        assert open_volume(url, identity="content").identity == content.identity
    else:
        refused(content)
        assert open_volume(url, identity="content").identity != content.identity
    if kind != "scale":
        check_unchanged(coarse)  # only the level that is read counts
        assert open_volume(url, level=1).identity == coarse.identity


def test_content_of_a_store_notices_a_chunk_whose_time_is_set_back(tmp_path):
    store = tmp_path / "a.zarr"
    before = open_volume(foreign(str(store)), identity="content")
    check_unchanged(before)
    chunk = chunk_of(store, "0")
    stat = chunk.stat()
    flip(chunk, 5)
    os.utime(chunk, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    refused(before)
    assert open_volume(str(store), identity="content").identity != before.identity


def test_messages_name_the_chunks(tmp_path, monkeypatch):
    store = tmp_path / "a.zarr"
    url = foreign(str(store))
    volume = open_volume(url)
    chunk = chunk_of(store, "0")
    key = chunk.relative_to(store / "0").as_posix()
    time.sleep(0.03)
    chunk.write_bytes(chunk.read_bytes())
    assert f"written again: {key}" in refused(volume)
    monkeypatch.setattr(identity, "_listings", type(identity._listings)())  # as in another process
    assert f"written since then: {key}" in refused(volume)
    change_zarr(store, "delete")
    assert "41 → 40 chunks" in refused(volume)
    shutil.rmtree(store)
    assert "is gone" in refused(volume)


def test_a_copied_store_has_the_same_content(tmp_path):
    first = open_volume(foreign(str(tmp_path / "a.zarr")), identity="content")
    shutil.copytree(tmp_path / "a.zarr", tmp_path / "b.zarr")
    copied = open_volume(tmp_path / "b.zarr", identity="content")
    assert copied.identity == first.identity
    assert open_volume(tmp_path / "b.zarr").identity != open_volume(tmp_path / "a.zarr").identity
    assert open_volume(tmp_path / "b.zarr", level=1, identity="content").identity != first.identity


def test_labels_and_leftovers_beside_the_array_do_not_count(tmp_path):
    store = tmp_path / "a.zarr"
    volume = open_volume(foreign(str(store)))
    bare = zarr.create_array(str(tmp_path / "bare.zarr"), shape=(4, 4, 4), dtype="uint8")
    bare[:] = 1
    alone = open_volume(tmp_path / "bare.zarr", voxel_size=10)
    for root in (store, tmp_path / "bare.zarr"):  # as pick writes its labels into the store that it reads
        zarr.open_group(str(root / "labels" / "core"), mode="w").create_array("0", shape=(4, 4, 4), dtype="uint8")
        zarr.open_group(str(root / "labels"), mode="a")
    (store / "0" / "c" / "0.abc.partial").write_text("being written")
    (store / "0" / ".nfs0001").write_text("deleted while open")
    (store / "0" / ".writing-1" / "c").mkdir(parents=True)
    (store / "0" / ".writing-1" / "c" / "0").write_text("being written")
    check_unchanged(volume)
    check_unchanged(alone)


def test_channels_have_identities_of_their_own(tmp_path):
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    array = group.create_array("0", data=np.stack([VOXELS, VOXELS + 1]), chunks=(1, 10, 10, 10))
    axes = [{"name": n, "type": "channel" if n == "c" else "space"} for n in "czyx"]
    datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1.0, 10, 10, 10]}]}]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    for how in ("quick", "content"):
        both = [open_volume(tmp_path / "a.zarr", voxel_size=10, channel=c, identity=how) for c in (0, 1)]
        assert both[0].identity != both[1].identity
        for volume in both:
            check_unchanged(volume.with_(facts={}))  # as stages keep it
    array[1, 0, 0, 0] = 7
    refused(both[0])


def test_memory_stores_are_known_by_their_bytes():
    url = foreign("memory://identity-test.zarr")
    volume = open_volume(url)
    check_unchanged(volume)
    array = zarr.open_array(open_store(url), path="0", mode="r+")
    array[:] = np.roll(VOXELS, 1)
    refused(volume)
    array[:] = VOXELS
    check_unchanged(volume)
    assert open_volume(url).identity == volume.identity


def test_volumes_without_a_snapshot_are_not_checked(tmp_path):
    path = Path(mrc(tmp_path / "a.mrc"))
    planned = open_volume(path).with_(identity="", snapshot={})
    looked_at = open_volume(foreign(str(tmp_path / "a.zarr")), identity="metadata")
    path.unlink()
    shutil.rmtree(tmp_path / "a.zarr")
    check_unchanged(planned)
    check_unchanged(looked_at)


def test_workers_list_a_store_seldom(tmp_path, monkeypatch):
    """At most 2 % of the time: counted, on a clock of the test."""
    store = tmp_path / "a.zarr"
    volume = open_volume(foreign(str(store)))
    clock = [100.0]
    listed = []

    def counted(url, path):
        listed.append(clock[0])
        clock[0] += 0.5  # what a listing costs
        return listing_of(url, path)

    monkeypatch.setattr(identity, "_checked", {})
    monkeypatch.setattr(identity, "listing_of", counted)
    monkeypatch.setattr(identity.time, "monotonic", lambda: clock[0])
    while clock[0] < 400:
        check_unchanged(volume, full=False)
        clock[0] += 0.1
    assert len(listed) >= 8
    assert 0.5 * len(listed) <= 0.02 * 300 + 0.5
    check_unchanged(volume)
    assert len(listed) >= 9  # in full it is always listed
    change_zarr(store, "voxels")
    clock[0] += 30
    refused(volume, full=False)


def test_a_store_that_is_put_in_another_s_place_is_seen_at_once(tmp_path):
    """Also between two listings, and before it is put back."""
    volume = open_volume(foreign(str(tmp_path / "a.zarr")))
    foreign(str(tmp_path / "b.zarr"))
    for _ in range(3):
        check_unchanged(volume, full=False)
    (tmp_path / "a.zarr").rename(tmp_path / "kept.zarr")
    refused(volume, full=False)
    (tmp_path / "b.zarr").rename(tmp_path / "a.zarr")
    refused(volume, full=False)
    (tmp_path / "a.zarr").rename(tmp_path / "b.zarr")
    (tmp_path / "kept.zarr").rename(tmp_path / "a.zarr")
    check_unchanged(volume, full=False)


def test_a_store_without_a_listing_is_known_by_its_metadata(tmp_path, monkeypatch):
    """As at https://, or in a bucket that may be read but not listed."""
    url = foreign(str(tmp_path / "a.zarr"))

    def denied(url, path):
        from volengine.io.stores import reached

        with reached(url):
            raise PermissionError("Access Denied")

    monkeypatch.setattr(listing, "stored_objects", denied)
    volume = open_volume(url)
    check_unchanged(volume)
    with pytest.raises(InputError, match="cannot be listed"):
        open_volume(url, identity="content")
    change_zarr(tmp_path / "a.zarr", "metadata")
    refused(volume)


def test_identity_of_says_the_same_as_opening(tmp_path):
    for source in (mrc(tmp_path / "a.mrc"), foreign(str(tmp_path / "a.zarr"))):
        for how in ("quick", "content"):
            volume = open_volume(source, identity=how)
            assert identity_of(volume, how) == volume.identity == identified(volume, how).identity
