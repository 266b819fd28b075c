"""Damage is an error that names store, array and object, in stores of ours and of others; never other voxels."""

from __future__ import annotations

import importlib.util
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from volengine.core.boxes import Box
from volengine.core.errors import DamagedError, MissingError
from volengine.core.image import ImageSpec, Level
from volengine.io.omezarr.arrays import ZarrSink, ZarrSource
from volengine.io.omezarr.codecs import CODECS
from volengine.io.omezarr.image import create_image, finish_image, reopen_image
from volengine.io.omezarr.manifest import compare, deep_check, read_manifest, write_manifest
from volengine.io.omezarr.read import open_image
from volengine.io.stores import open_store

SHAPE = (20, 40, 40)
FAST = pytest.mark.parametrize("pipeline", ["plain", "fast"])


def spec_of(url, codec="auto", shards=(32, 32, 32), dtype="float32", **more) -> ImageSpec:
    level = Level("0", SHAPE, (1, 1, 1), (16, 16, 16), shards)
    return ImageSpec(str(url), "t", dtype, "intensity", (10.0,) * 3, (level,), codec=codec, **more)


def made(spec: ImageSpec, *, empty: Box | None = None, listed: bool = True) -> np.ndarray:
    array = np.random.default_rng(3).normal(50, 30, SHAPE).astype(spec.dtype)
    if empty is not None:
        array[empty.slices] = 0
    create_image(spec, token="t")
    sink, box = ZarrSink(spec.volume()), Box.of_shape(SHAPE)
    stored = dict(zip(sink.keys(box), sink.write(box, array), strict=True))
    finish_image(spec, [{k: v for k, v in stored.items() if v is not None}] if listed else None)
    return array


WRITERS = """
import sys
from volengine.io.omezarr.codecs import use_fast_codecs
sys.path.insert(0, sys.argv[2])
from test_damage import SHAPES, made, spec_of
use_fast_codecs()
for codec, shards in SHAPES:
    made(spec_of(f"{sys.argv[1]}/{codec}-{shards is None}.zarr", codec, shards))
"""

SHAPES = [
    (codec, shards) for codec in ("none", "auto", "zstd-1", "blosc-zstd1-shuffle") for shards in ((32,) * 3, None)
]


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """Stores of several codecs, with and without shards, written by zarr-python and by zarrs."""
    root = tmp_path_factory.mktemp("damage")
    for codec, shards in SHAPES:
        made(spec_of(root / "plain" / f"{codec}-{shards is None}.zarr", codec, shards))
    if importlib.util.find_spec("zarrs") is not None:
        script = [sys.executable, "-c", WRITERS, str(root / "fast"), str(Path(__file__).parent)]
        subprocess.run(script, check=True, timeout=120)
    return root


@FAST
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_flipped_bit_is_harmless_or_an_error(stores, pipeline, data):
    """The specification: any bit of any object of a new store, and any box."""
    if pipeline == "fast":
        pytest.importorskip("zarrs")
    store = data.draw(st.sampled_from(sorted((stores / pipeline).iterdir())))
    file = data.draw(st.sampled_from(sorted(p for p in (store / "0" / "c").rglob("*") if p.is_file())))
    start = tuple(data.draw(st.integers(0, n - 1)) for n in SHAPE)
    box = Box(start, tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(start, SHAPE, strict=True)))
    source = ZarrSource(open_image(str(store)))
    right, good = source.read(box), file.read_bytes()
    bit = data.draw(st.integers(0, 8 * len(good) - 1))
    bad = bytearray(good)
    bad[bit // 8] ^= 1 << bit % 8
    file.write_bytes(bad)
    try:
        said = None
        try:
            assert source.read(box).tobytes() == right.tobytes()
        except DamagedError as error:
            said = error.url, error.path, error.keys
        assert said in (None, (str(store), "0", (str(file.relative_to(store / "0")),)))
        # a check of the whole store finds it, whatever it hits
        assert set(deep_check(str(store), "0").damaged) == {str(file.relative_to(store / "0"))}
    finally:
        file.write_bytes(good)


@pytest.mark.parametrize("shards", [(32, 32, 32), None])
@pytest.mark.parametrize("codec", list(CODECS))
def test_truncated_and_overlong_objects_are_errors(tmp_path, codec, shards):
    spec = spec_of(tmp_path / "a.zarr", codec, shards)
    made(spec)
    source = ZarrSource(open_image(spec.url))
    file = next(p for p in sorted((tmp_path / "a.zarr" / "0" / "c").rglob("*")) if p.is_file())
    good = file.read_bytes()
    for bad in (b"", good[:3], good[: len(good) // 2], good[:-1], b"\0" * len(good)):
        file.write_bytes(bad)
        with pytest.raises(DamagedError, match="0/0/0"):
            source.read(Box.of_shape(SHAPE))
    file.write_bytes(good)
    source.read(Box.of_shape(SHAPE))


def test_the_message_says_what_where_and_what_to_do(tmp_path):
    spec = spec_of(tmp_path / "a.zarr")
    made(spec)
    folder = tmp_path / "a.zarr" / "0"
    for key in ("c/0/0/0", "c/0/1/1"):
        (folder / key).write_bytes(b"torn")
    with pytest.raises(DamagedError) as caught:
        ZarrSource(open_image(spec.url)).read(Box.of_shape(SHAPE))
    text = str(caught.value)
    assert spec.url in text
    assert "array '0'" in text
    assert "c/0/0/0" in text
    assert "Copy the store again" in text
    assert caught.value.keys == ("c/0/0/0", "c/0/1/1")
    assert pickle.loads(pickle.dumps(caught.value)).keys == caught.value.keys


CODEC_LISTS = {
    "transpose": {"filters": [zarr.codecs.TransposeCodec(order=(2, 0, 1))], "compressors": [zarr.codecs.ZstdCodec()]},
    "gzip": {"compressors": [zarr.codecs.GzipCodec(level=1)]},
    "blosc": {"compressors": [zarr.codecs.BloscCodec(cname="zstd")]},
    "big": {"serializer": zarr.codecs.BytesCodec(endian="big"), "compressors": [zarr.codecs.Crc32cCodec()]},
    "two": {"compressors": [zarr.codecs.ZstdCodec(), zarr.codecs.GzipCodec()]},
}


@pytest.mark.parametrize("where", ["file", "memory"])
@pytest.mark.parametrize("shards", [None, (8, 16, 16)])
@pytest.mark.parametrize("name", list(CODEC_LISTS))
def test_arrays_of_others_are_read_and_their_damage_is_named(tmp_path, name, shards, where):
    url = str(tmp_path / "a.zarr") if where == "file" else f"memory://{tmp_path.name}.zarr"
    array = np.random.default_rng(1).integers(0, 9, (9, 20, 20)).astype("uint16")
    store = open_store(url)
    stored = zarr.create_array(
        store, shape=array.shape, chunks=(4, 8, 8), shards=shards, dtype="uint16", fill_value=7, **CODEC_LISTS[name]
    )
    stored[:] = array
    source = ZarrSource(open_image(url, voxel_size=1.0))
    box = Box((1, 2, 3), (9, 19, 20))
    np.testing.assert_array_equal(source.read(box), array[box.slices])
    key, lost = ("c/0/0/1", "c/1/1/1")
    _delete(store, lost)
    unit = shards or (4, 8, 8)
    array[tuple(slice(n, 2 * n) for n in unit)] = 7
    np.testing.assert_array_equal(source.read(box), array[box.slices])  # what is not there has the fill value
    for damage in (b"", b"torn"):
        _put(store, key, damage)
        with pytest.raises(DamagedError) as caught:
            source.read(box)
        assert caught.value.keys == (key,)
    assert caught.value.url == url
    found = deep_check(url, "")
    assert set(found.damaged) == {key}
    assert not found.listed


def _delete(store, key):
    from zarr.core.sync import sync

    sync(store.delete(key))


def _put(store, key, data):
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    sync(store.set(key, default_buffer_prototype().buffer.from_bytes(data)))


@pytest.mark.parametrize("where", ["file", "memory"])
def test_a_lost_object_is_an_error_and_an_empty_one_is_zeros(tmp_path, where):
    url = str(tmp_path / "a.zarr") if where == "file" else f"memory://{tmp_path.name}.zarr"
    spec, empty = spec_of(url), Box((0, 0, 0), (20, 32, 32))
    array = made(spec, empty=empty)
    np.testing.assert_array_equal(ZarrSource(open_image(url)).read(Box.of_shape(SHAPE)), array)
    assert not compare(url, "0")
    _delete(open_store(url), "0/c/0/1/0")
    with pytest.raises(DamagedError, match="is lost") as caught:
        ZarrSource(open_image(url)).read(Box.of_shape(SHAPE))
    assert caught.value.keys == ("c/0/1/0",)
    assert not ZarrSource(open_image(url)).read(empty).any()
    assert compare(url, "0").missing == deep_check(url, "0").missing == ("c/0/1/0",)
    volume = open_image(url)
    reopen_image(spec)  # it is being written again: nothing is promised
    assert read_manifest(url, "0") is None
    assert not ZarrSource(volume).read(Box((0, 32, 0), (20, 40, 32))).any()


def test_a_manifest_survives_a_copy_and_knows_what_is_foreign(tmp_path):
    spec = spec_of(tmp_path / "a.zarr")
    made(spec)
    shutil.copytree(tmp_path / "a.zarr", tmp_path / "b" / "c.zarr")
    url = str(tmp_path / "b" / "c.zarr")
    assert not compare(url, "0")
    assert not deep_check(url, "0")
    folder = tmp_path / "b" / "c.zarr" / "0"
    (folder / "c" / "0" / "0" / "7").write_bytes(b"x")
    (folder / "c" / "0" / "0" / "1").write_bytes(b"x")
    (folder / ".writing-host-1-2-3-4").mkdir()
    (folder / ".writing-host-1-2-3-4" / "c").write_bytes(b"unfinished")
    found = compare(url, "0")
    assert (found.missing, found.damaged, found.foreign) == ((), ("c/0/0/1",), ("c/0/0/7",))
    steps = []
    deep = deep_check(url, "0", lambda done, of: steps.append((done, of)))
    assert steps == [(n, 4) for n in range(1, 5)]
    assert list(deep.damaged) == ["c/0/0/1"]
    assert "were written" in deep.damaged["c/0/0/1"]
    with pytest.raises(MissingError, match="no list"):
        compare(made_without(tmp_path / "d.zarr"), "0")


def made_without(path) -> str:
    spec = spec_of(path)
    made(spec, listed=False)
    return spec.url


def test_a_manifest_that_is_replaced_is_read_again(tmp_path):
    url = str(tmp_path / "a.zarr")
    made(spec_of(url))
    before = read_manifest(url, "0")
    write_manifest(url, "0", {"c/0/0/0": (1, 2)}, {"of": "run"})
    after = read_manifest(url, "0")
    assert before is not None
    assert len(before.objects) == 4
    assert after is not None
    assert (after.objects, after.facts) == ({"c/0/0/0": (1, 2)}, {"of": "run"})


def test_another_store_in_the_same_place_is_opened_anew(tmp_path):
    """A long-lived process converts twice to one place; shape and identity are the same, only the codec differs."""
    url = str(tmp_path / "a.zarr")
    volume = spec_of(url).volume()
    for codec in ("auto", "zstd-1", "none"):
        create_image(spec_of(url, codec), token=codec, overwrite=True)
        array = np.random.default_rng(len(codec)).normal(size=SHAPE).astype("float32")
        ZarrSink(volume).write(Box.of_shape(SHAPE), array)
        np.testing.assert_array_equal(ZarrSource(volume).read(Box.of_shape(SHAPE)), array)
        np.testing.assert_array_equal(zarr.open_array(f"{url}/0", mode="r")[:], array)
