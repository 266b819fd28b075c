"""Any volume as the Zarr array that a browser's viewer reads: zarr itself reads it back."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.core.buffer import default_buffer_prototype
from zarr.storage import MemoryStore

import volengine
from volengine.core.errors import ChangedError, FormatError, MissingError
from volengine.io.cached import ChunkCache
from volengine.web.view.pyramid import Pyramid, answer, cell_of

PLACE = {"offset": (0.0, 0.0, 0.0), "half": (0.0, 0.0, 0.0)}
OPTIONS = volengine.RunOptions(progress=False)


def _array(pyramid: Pyramid, number: int) -> np.ndarray:
    """A level as zarr reads it from what is sent."""
    meta, _ = answer(pyramid, PLACE, f"{number}/zarr.json")
    assert isinstance(meta, dict)
    objects = {"zarr.json": json.dumps(meta).encode()}
    level = pyramid.levels[number]
    for cell in np.ndindex(*(-(-n // c) for n, c in zip(level.shape, level.chunk, strict=True))):
        key = "c/" + "/".join(map(str, cell))
        body, _ = answer(pyramid, PLACE, f"{number}/{key}")
        assert isinstance(body, bytes)
        objects[key] = body
    buffer = default_buffer_prototype().buffer
    store = MemoryStore({key: buffer.from_bytes(value) for key, value in objects.items()})
    found: np.ndarray = np.asarray(zarr.open_array(store, mode="r")[...])
    return found


def _stored(folder: Path, voxels: np.ndarray, chunks: tuple[int, ...]) -> volengine.OpenVolume:
    """A bare array in a store; no feature of it but the voxels is used."""
    array = zarr.create_array(folder / "a.zarr", shape=voxels.shape, chunks=chunks, dtype=voxels.dtype)
    array[...] = voxels
    return volengine.open_volume(folder / "a.zarr", voxel_size=10.0, identity="metadata")


SENT = {"float16": "float32", "float64": "float32", "int64": "float32", "uint64": "float32", "bool": "uint8"}
DTYPES = ["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", *SENT]


@settings(max_examples=25)
@given(
    st.tuples(*[st.integers(1, 40)] * 3),
    st.tuples(*[st.integers(1, 24)] * 3),
    st.sampled_from(DTYPES),
    st.integers(0, 2**32 - 1),
)
def test_what_is_sent_of_a_store_is_what_is_stored(
    shape: tuple[int, ...], chunks: tuple[int, ...], dtype: str, seed: int
) -> None:
    voxels = np.random.default_rng(seed).integers(0, 120, shape).astype(dtype)
    with tempfile.TemporaryDirectory() as folder:
        volume = _stored(Path(folder), voxels, tuple(min(c, n) for c, n in zip(chunks, shape, strict=True)))
        found = _array(Pyramid(volume, ChunkCache(10_000)), 0)
    assert found.dtype == SENT.get(dtype, dtype)
    np.testing.assert_array_equal(found, voxels.astype(found.dtype))


def test_numbers_that_are_not_finite_are_sent_as_they_are(tmp_path: Path) -> None:
    voxels = np.array([np.nan, np.inf, -np.inf, 1e300, -0.0, 1.5]).reshape(1, 2, 3)
    found = _array(Pyramid(_stored(tmp_path, voxels, (1, 2, 3)), ChunkCache(0)), 0)
    np.testing.assert_array_equal(found.ravel(), np.array([np.nan, np.inf, -np.inf, np.inf, -0.0, 1.5], np.float32))


@pytest.mark.parametrize(("kind", "dtype"), [("intensity", "float32"), ("intensity", "int16"), ("labels", "uint16")])
def test_levels_that_are_made_are_those_that_convert_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, dtype: str
) -> None:
    """With slabs of a few voxels, so that each chunk is put together from many."""
    import mrcfile

    rng = np.random.default_rng(1)
    voxels = rng.integers(0, 9, (70, 131, 300)).astype(dtype)
    if dtype == "float32":
        voxels = (voxels * rng.random(voxels.shape)).astype(dtype)
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(voxels)
        file.voxel_size = 10.0
    recipe = volengine.ConvertRecipe.from_json({"kind": kind})
    stored = volengine.convert(tmp_path / "a.mrc", tmp_path / "a.ome.zarr", recipe, OPTIONS)
    monkeypatch.setattr("volengine.web.view.pyramid.SLAB", 100_000)
    pyramid = Pyramid(volengine.open_volume(tmp_path / "a.mrc"), ChunkCache(10**8), labels=kind == "labels")
    assert [level.shape for level in pyramid.levels] == list(stored.levels)
    assert len(pyramid.levels) > 1
    for number in range(len(pyramid.levels)):
        np.testing.assert_array_equal(_array(pyramid, number), stored.read(level=number))
        assert pyramid.levels[number].voxel_size == stored.at_level(number).voxel_size
    np.testing.assert_array_equal(_array(pyramid, 1), stored.read(level=1))  # now from the cache


@settings(max_examples=20)
@given(st.tuples(*[st.integers(1, 300)] * 3), st.tuples(*[st.floats(-500, 500)] * 3))
def test_coarse_voxels_lie_in_the_middle_of_their_fine_ones(
    shape: tuple[int, int, int], offset: tuple[float, ...]
) -> None:
    voxel = np.array([8.0, 4.0, 6.0])
    volume = volengine.Volume("a.mrc", shape, "uint8", tuple(voxel))
    pyramid = Pyramid(volengine.OpenVolume.of(volume), ChunkCache(0))
    image = pyramid.group((offset[0], offset[1], offset[2]), (4.0, 2.0, 3.0))["attributes"]["ome"]["multiscales"][0]
    for level, dataset in zip(pyramid.levels, image["datasets"], strict=True):
        scale, moved = (list(one.values())[1] for one in dataset["coordinateTransformations"])
        fine = np.asarray(offset) + voxel / 2 + voxel * (np.array(level.factor) - 1) / 2
        np.testing.assert_allclose(moved, fine, atol=1e-9)
        np.testing.assert_allclose(scale, voxel * level.factor)


def test_labels_are_whole_numbers_from_0(tmp_path: Path) -> None:
    for number, (dtype, sent) in enumerate({"int8": "uint32", "float32": "uint32", "int64": "uint64"}.items()):
        (tmp_path / str(number)).mkdir()
        voxels = np.arange(24).reshape(2, 3, 4).astype(dtype)
        found = _array(Pyramid(_stored(tmp_path / str(number), voxels, (2, 3, 4)), ChunkCache(0), labels=True), 0)
        assert found.dtype == sent
        np.testing.assert_array_equal(found, voxels)
    for number, bad in enumerate((-1.0, 0.5, np.nan, 1e20)):
        (tmp_path / f"bad{number}").mkdir()
        volume = _stored(tmp_path / f"bad{number}", np.full((1, 1, 2), bad, np.float32), (1, 1, 2))
        with pytest.raises(FormatError, match=r"no labels"):
            Pyramid(volume, ChunkCache(0), labels=True).encoded(0, (0, 0, 0))


def test_a_file_that_was_changed_meanwhile_is_not_sent(tmp_path: Path) -> None:
    import mrcfile

    path = tmp_path / "a.mrc"
    for value in (1, 2):
        with mrcfile.new(path, overwrite=True) as file:
            file.set_data(np.full((4, 8, 8), value, np.float32))
            file.voxel_size = 10.0
        if value == 1:
            pyramid = Pyramid(volengine.open_volume(path), ChunkCache(0))
            assert pyramid.voxels(0, (0, 0, 0)).max() == 1
    with pytest.raises(ChangedError):
        pyramid.encoded(0, (0, 0, 0))


NOT_THERE = [
    "",
    "zarr.jso",
    "9/zarr.json",
    "0/c/9/0/0",
    "0/c/0/0",
    "0/c/-1/0/0",
    "0/c/0/0/0/0",
    "0/../zarr.json",
    "x/c",
]


@pytest.mark.parametrize("rest", NOT_THERE)
def test_what_is_not_there_is_missing(tmp_path: Path, rest: str) -> None:
    pyramid = Pyramid(_stored(tmp_path, np.zeros((2, 3, 4), np.uint8), (2, 3, 4)), ChunkCache(0))
    with pytest.raises(MissingError):
        answer(pyramid, PLACE, rest)


@settings(max_examples=30)
@given(st.text("c/0189 x.", max_size=12))
def test_keys_are_three_numbers_or_refused(key: str) -> None:
    try:
        cell = cell_of(key)
    except MissingError:
        return
    assert [int(part) for part in key.split("/")[1:]] == list(cell)
