"""Stores: local folders, memory, and whatever fsspec opens."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest

from volengine.core.boxes import Box
from volengine.core.errors import DependencyError, InputError
from volengine.core.image import ImageSpec
from volengine.io.omezarr.arrays import ZarrSink, ZarrSource
from volengine.io.omezarr.image import create_image, finish_image, remove, store_token
from volengine.io.omezarr.levels import plan_levels
from volengine.io.omezarr.read import list_groups, open_image
from volengine.io.stores import exists, local_path, open_store, remove_store, store_name

SHAPE = (20, 30, 40)
ARRAY = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


def write(url: str, group: str = "", token: str = "a") -> ImageSpec:
    levels = plan_levels(SHAPE, chunk=(16, 16, 16), shard=(32, 32, 32), levels=1)
    spec = ImageSpec(url, "tomo", "float32", "intensity", (10.0, 10.0, 10.0), levels, group=group)
    create_image(spec, token=token)
    sink = ZarrSink(spec.volume())
    for x in (0, 32):
        box = Box((0, 0, x), (20, 30, min(x + 32, 40)))
        sink.write(box, ARRAY[box.slices])
    finish_image(spec)
    return spec


def url_of(where: str, tmp_path) -> str:
    """A URL of each kind; ``testing://`` goes through zarr's FsspecStore, as object stores do."""
    import fsspec

    fsspec.register_implementation("testing", "fsspec.implementations.memory.MemoryFileSystem", clobber=True)
    return {
        "path": str(tmp_path / "one" / "a.zarr"),
        "file": f"file://{tmp_path}/two/a.zarr",
        "local": f"local://{tmp_path}/three/a.zarr",
        "memory": f"memory://{tmp_path.name}/a.zarr",
        "fsspec": f"testing://{tmp_path.name}/a.zarr",
    }[where]


@pytest.mark.parametrize("where", ["path", "file", "local", "memory", "fsspec"])
def test_the_same_in_every_store(tmp_path, where):
    url = url_of(where, tmp_path)
    assert not exists(url)
    write(url)
    write(url, group="second")
    assert exists(url)
    volume = open_image(url)
    np.testing.assert_array_equal(ZarrSource(volume).read(Box.of_shape(SHAPE)), ARRAY)
    assert volume.name == "tomo"
    assert [g.group for g in list_groups(url)] == ["", "second"]
    sink = ZarrSink(volume)
    box = Box((0, 0, 32), SHAPE)
    assert set(sink.write(box, np.zeros(box.shape, volume.dtype))) == {None}  # nothing is stored where all is zero
    left = ZarrSource(volume).read(Box.of_shape(SHAPE))
    assert left[..., :32].all()
    assert not left[..., 32:].any()
    with pytest.raises(InputError, match="exists"):
        write(url, token="b")
    remove(url, "second")
    assert [g.group for g in list_groups(url)] == [""]
    remove(url)
    assert not exists(url)
    assert store_token(url) == ""
    remove(url)


def test_memory_is_shared_within_the_process_and_apart_by_name():
    write("memory://one.zarr")
    assert exists("memory://one.zarr/")
    assert not exists("memory://two.zarr")
    remove_store("memory://one.zarr")
    assert not exists("memory://one.zarr")


def test_a_store_has_a_name_and_perhaps_a_local_path(tmp_path):
    assert [store_name(u) for u in ("a/b.zarr", "s3://x/b.ome.zarr/", "b")] == ["b", "b", "b"]
    assert local_path("s3://bucket/a.zarr") is None
    assert str(local_path("file:///data/my%20tomo.zarr")) == "/data/my tomo.zarr"
    assert str(local_path(str(tmp_path))) == str(tmp_path)
    with pytest.raises(InputError, match="three slashes"):
        local_path("file://data/a.zarr")


def test_unknown_schemes_and_missing_packages(monkeypatch):
    with pytest.raises(InputError, match="nowhere"):
        open_store("nowhere://a.zarr")
    registry = importlib.import_module("fsspec.registry")  # ``fsspec.registry`` itself names its mapping
    monkeypatch.delitem(registry._registry, "s3", raising=False)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(DependencyError, match=r"volengine\[s3\]"):
        open_store("s3://bucket/a.zarr")


def test_a_link_stays_when_its_store_is_removed(tmp_path):
    target = tmp_path / "big_disk"
    target.mkdir()
    link = tmp_path / "a.zarr"
    link.symlink_to(target)
    write(str(link))
    remove(str(link))
    assert link.is_symlink()
    assert list(target.iterdir()) == []
    write(str(link))
    assert (target / "zarr.json").is_file()


def test_a_file_is_no_store(tmp_path):
    path = tmp_path / "a.zarr"
    path.write_bytes(b"precious")
    with pytest.raises(InputError):
        write(str(path))
    with pytest.raises(InputError, match="is a file"):
        remove(str(path))
    assert path.read_bytes() == b"precious"
