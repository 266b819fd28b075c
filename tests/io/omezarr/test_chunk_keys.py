"""Chunks that lie where the metadata do not say are found or refused; they are never read as zeros."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from places import ROOT

from volengine.core.boxes import Box
from volengine.core.errors import FormatError, VolengineError
from volengine.io.omezarr.arrays import ZarrSource
from volengine.io.omezarr.check import check_store
from volengine.io.omezarr.chunk_keys import Keys
from volengine.io.omezarr.read import open_image
from volengine.io.stores import open_store

CASES = ROOT.parent / "shared" / "cases" / "formats"
ARRAY = np.arange(1, 1 + 6 * 8 * 10, dtype=np.int16).reshape(6, 8, 10)
CHUNKS = (2, 4, 5)
LAYOUTS = [("v2", "."), ("v2", "/"), ("default", "."), ("default", "/")]


def made(path: Path | str, name: str, separator: str, *, zarr_format: int = 3, **more: Any) -> str:
    """A bare array with a declared layout."""
    where: Any = open_store(str(path)) if "://" in str(path) else str(path)
    array = zarr.create_array(
        where,
        shape=ARRAY.shape,
        chunks=more.pop("chunks", CHUNKS),
        dtype=ARRAY.dtype,
        zarr_format=zarr_format,  # type: ignore[arg-type]
        chunk_key_encoding={"name": name, "separator": separator},  # type: ignore[arg-type]
        **more,
    )
    array[:] = ARRAY
    return str(path)


def read(url: str, **more: Any) -> np.ndarray:
    volume = open_image(url, voxel_size=10.0, **more)
    return ZarrSource(volume).read(Box.of_shape(volume.shape))


def edit(url: str, change: Callable[[dict[str, Any]], object]) -> None:
    file = next(f for f in (Path(url) / "zarr.json", Path(url) / ".zarray") if f.exists())
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))


def declare(url: str, name: str, separator: str) -> None:
    """Say another layout than the one that is stored."""

    def change(data: dict[str, Any]) -> None:
        if data["zarr_format"] == 2:
            data["dimension_separator"] = separator
        else:
            data["chunk_key_encoding"] = {"name": name, "configuration": {"separator": separator}}

    edit(url, change)


def test_the_case_of_the_field(tmp_path: Path) -> None:
    if not CASES.is_dir():
        pytest.skip("the cases are not at hand")
    store = shutil.copytree(CASES / "nested_no_separator.zarr", tmp_path / "n.zarr")
    volume = open_image(str(store))
    assert volume.voxel_size == (10.0, 10.0, 10.0)
    np.testing.assert_array_equal(ZarrSource(volume).read(Box.of_shape(volume.shape)), np.load(CASES / "voxels.npy"))


@pytest.mark.parametrize("separator", [".", "/"])
@pytest.mark.parametrize("said", ["left out", "null"])
def test_an_undeclared_separator_is_found_by_looking(tmp_path: Path, separator: str, said: str) -> None:
    url = made(tmp_path / "a.zarr", "v2", separator, zarr_format=2)

    def change(data: dict[str, Any]) -> None:
        data.pop("dimension_separator")
        if said == "null":
            data["dimension_separator"] = None

    edit(url, change)
    np.testing.assert_array_equal(read(url), ARRAY)


def test_two_layouts_without_a_declared_separator_are_refused(tmp_path: Path) -> None:
    url = made(tmp_path / "a.zarr", "v2", "/", zarr_format=2)
    edit(url, lambda data: data.pop("dimension_separator"))
    shutil.copy(Path(url) / "0" / "0" / "0", Path(url) / "0.0.0")
    with pytest.raises(FormatError, match=r"a\.zarr.*in folders .* and beside each other"):
        read(url)


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("stored", LAYOUTS)
@pytest.mark.parametrize("declared", LAYOUTS)
def test_a_declared_layout_is_the_stored_one_or_refused(
    tmp_path: Path, zarr_format: int, stored: tuple[str, str], declared: tuple[str, str]
) -> None:
    if zarr_format == 2 and "default" in (stored[0], declared[0]):
        return  # Zarr v2 has one encoding
    url = made(tmp_path / "a.zarr", *stored, zarr_format=zarr_format)
    declare(url, *declared)
    if stored == declared:
        np.testing.assert_array_equal(read(url), ARRAY)
        return
    with pytest.raises(FormatError, match=r"no chunk that its metadata can name.*Its chunks are named like"):
        read(url)


@pytest.mark.parametrize("stored", LAYOUTS)
def test_in_memory_and_in_object_stores_too(stored: tuple[str, str]) -> None:
    url = made(f"memory://keys-{stored[0]}-{len(stored[1])}-{ord(stored[1])}.zarr", *stored)
    np.testing.assert_array_equal(read(url), ARRAY)
    store = open_store(url)._store_dict  # type: ignore[attr-defined]
    data = json.loads(store["zarr.json"].to_bytes())
    other = next(layout for layout in LAYOUTS if layout != stored)
    data["chunk_key_encoding"] = {"name": other[0], "configuration": {"separator": other[1]}}
    store["zarr.json"] = type(store["zarr.json"]).from_bytes(json.dumps(data).encode())
    with pytest.raises(FormatError, match="no chunk that its metadata can name"):
        read(url)


def test_renamed_folders_are_refused(tmp_path: Path) -> None:
    url = made(tmp_path / "a.zarr", "default", "/")
    root = Path(url)
    (root / "c").rename(root / "chunks")
    with pytest.raises(FormatError, match=r"'chunks/', but no chunk .*'c/0/0/0' would be the first"):
        read(url)
    (root / "chunks").rename(root / "c")
    (root / "c" / "1").rename(root / "c" / "1_old")  # the others are where they should be
    with pytest.raises(FormatError, match="the folder '1_old' beside its chunks"):
        read(url)
    (root / "c" / "1_old").rename(root / "c" / "1")
    np.testing.assert_array_equal(read(url), ARRAY)


def test_chunks_beyond_the_grid_alone_are_refused(tmp_path: Path) -> None:
    url = made(tmp_path / "a.zarr", "v2", "/", zarr_format=2)
    for name in ("0", "1"):
        shutil.rmtree(Path(url) / name)
    (Path(url) / "2").rename(Path(url) / "7")
    with pytest.raises(FormatError, match="'7/', but no chunk"):
        read(url)


def test_what_is_no_chunk_disturbs_nobody(tmp_path: Path) -> None:
    url = made(tmp_path / "a.zarr", "default", "/")
    root = Path(url)
    shutil.rmtree(root / "c")
    assert not read(url).any()  # nothing is stored: zeros by the format
    (root / "README.txt").write_text("notes")
    (root / ".DS_Store").write_bytes(b"1")
    (root / ".writing-1-2").mkdir()
    (root / "empty").mkdir()
    zarr.create_group(str(root / "labels"))
    (root / "c" / "0" / "0").mkdir(parents=True)  # left by a program that deletes chunks of zeros
    assert not read(url).any()
    sharded = made(tmp_path / "s.zarr", "default", "/", shards=(4, 8, 10), chunks=(2, 4, 5))
    np.testing.assert_array_equal(read(sharded), ARRAY)


def test_check_says_it(tmp_path: Path) -> None:
    if not CASES.is_dir():
        pytest.skip("the cases are not at hand")
    store = shutil.copytree(CASES / "ngff_06.zarr", tmp_path / "n.zarr")
    (store / "0" / "c").rename(store / "0" / "d")
    (findings,) = check_store(str(store)).values()
    assert any("no chunk that its metadata can name" in finding for finding in findings)


@given(
    st.sampled_from(LAYOUTS),
    st.lists(st.integers(1, 12), min_size=1, max_size=5),
    st.data(),
)
def test_the_keys_of_zarr_fit(layout: tuple[str, str], grid: list[int], data: st.DataObject) -> None:
    """Every key that zarr makes fits, part by part; an index beyond the grid does not."""
    from zarr.core.chunk_key_encodings import DefaultChunkKeyEncoding, V2ChunkKeyEncoding

    encoding: Any = DefaultChunkKeyEncoding if layout[0] == "default" else V2ChunkKeyEncoding
    keys = Keys("c" if layout[0] == "default" else "", layout[1], tuple(grid))
    cell = [data.draw(st.integers(0, n - 1)) for n in grid]
    parts = encoding(separator=layout[1]).encode_chunk_key(tuple(cell)).split("/")
    assert len(parts) == keys.depth
    assert all(keys.fits(part, level) for level, part in enumerate(parts))
    at = data.draw(st.integers(0, len(grid) - 1))
    cell[at] = grid[at]
    parts = encoding(separator=layout[1]).encode_chunk_key(tuple(cell)).split("/")
    assert not all(keys.fits(part, level) for level, part in enumerate(parts))


def test_an_error_of_the_package_whatever_the_metadata(tmp_path: Path) -> None:
    url = made(tmp_path / "a.zarr", "default", "/")
    for encoding in (None, 3, "x", {"name": "default", "configuration": 3}, {"name": "x"}, {}):
        edit(url, lambda data, encoding=encoding: data.update(chunk_key_encoding=encoding))  # type: ignore[misc]
        try:
            np.testing.assert_array_equal(read(url), ARRAY)
        except VolengineError:
            continue
