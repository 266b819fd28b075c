"""Reading chunks of local arrays without zarr: for the plain codecs that nearly all volumes have.

>>> layout = layout_of(array, text)                                                          # doctest: +SKIP
>>> voxels, absent = read_direct(folder, layout, (0, 0, 0), (64, 64, 64))                    # doctest: +SKIP

An object is opened once, so index and chunks belong together even if it is replaced meanwhile. Each checksum is tested,
also where a part of a chunk is read, which ``zarrs`` does not do; and each frame is looked at before it is decoded, so
that it cannot unpack to more than its chunk. Arrays with other codecs, and those in other stores, are read by zarr.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volengine.io.omezarr.bounds import ChunkError, check_frame, limit_of
from volengine.io.omezarr.objects import crc32c

if TYPE_CHECKING:
    import zarr

Index = tuple[int, ...]

ABSENT = 2**64 - 1
"""Offset and size of a chunk of a shard that is not stored."""


class ObjectError(ChunkError):
    """An object cannot be decoded.

    Parameters
    ----------
    key
        Its key, relative to the array.
    message
        What is wrong.
    """

    def __init__(self, key: str, message: str):
        super().__init__(message)
        self.key = key


@dataclass(frozen=True)
class Layout:
    """How an array is stored, if it has only plain codecs.

    Parameters
    ----------
    shape
        Shape of the array, in the order of its own axes, as all here.
    unit
        Shape of an object: a shard, or a chunk if there are no shards.
    chunk
        Shape of a chunk.
    dtype
        Dtype as it is stored, with byte order.
    fill
        Value of voxels that are not stored.
    compressor
        ``blosc``, ``zstd`` or none.
    checked
        Whether each chunk ends in its crc32c.
    sharded
        Whether an object is a shard with an index.
    index_first
        Whether the index is at the start of a shard.
    key
        Makes the key of an object from its place in the grid.
    """

    shape: Index
    unit: Index
    chunk: Index
    dtype: np.dtype[Any]
    fill: Any
    compressor: str
    checked: bool
    sharded: bool
    index_first: bool
    key: Callable[[Index], str]

    @property
    def blank(self) -> bool:
        """Whether all bits of voxels that are not stored are zero (not so of -0.0)."""
        return not any(np.asarray(self.fill, self.dtype).tobytes())

    @property
    def chunk_bytes(self) -> int:
        """Bytes of the voxels of a chunk."""
        return prod(self.chunk) * self.dtype.itemsize


def layout_of(array: zarr.Array[Any], text: bytes) -> Layout | None:
    """Return how an open array is stored; ``None`` if it has other codecs than are read here.

    Parameters
    ----------
    array
        The open array, whose metadata zarr has understood.
    text
        Its metadata file.
    """
    try:
        return _layout(array, json.loads(text))
    except (AttributeError, IndexError, KeyError, TypeError):  # written in another way that zarr understands
        return None


def _layout(array: zarr.Array[Any], data: dict[str, Any]) -> Layout | None:
    metadata = array.metadata
    dtype = metadata.dtype.to_native_dtype()
    if dtype.kind not in "biuf" or array.ndim == 0:
        return None
    fill = metadata.fill_value if metadata.fill_value is not None else 0
    sharded, first = False, False
    if metadata.zarr_format == 2:
        compressor = data.get("compressor")
        name = "" if compressor is None else compressor.get("id")
        if name not in ("", "blosc", "zstd") or data.get("filters") or data.get("order", "C") != "C":
            return None
        checked, chunk = False, array.chunks
    else:
        codecs = [_named(codec) for codec in data["codecs"]]
        if len(codecs) == 1 and codecs[0][0] == "sharding_indexed":
            outer = codecs[0][1]
            index = [_named(codec) for codec in outer.get("index_codecs", ())]
            if [n for n, _ in index] != ["bytes", "crc32c"] or index[0][1].get("endian") != "little":
                return None
            sharded, first = True, outer.get("index_location", "end") == "start"
            codecs = [_named(codec) for codec in outer["codecs"]]
        names = [n for n, _ in codecs]
        checked = names[-1] == "crc32c"
        name = names[1] if len(names) == 2 + checked else ""
        if names != ["bytes", *([name] if name else []), *(["crc32c"] if checked else [])]:
            return None
        if name not in ("", "blosc", "zstd"):
            return None
        dtype = dtype.newbyteorder(">" if codecs[0][1].get("endian") == "big" else "<")
        chunk = array.chunks
    unit = array.shards or array.chunks
    return Layout(array.shape, unit, chunk, dtype, fill, name, checked, sharded, first, metadata.encode_chunk_key)


def _named(codec: Any) -> tuple[str, dict[str, Any]]:
    if isinstance(codec, str):
        return codec, {}
    return str(codec["name"]), dict(codec.get("configuration") or {})


def read_direct(
    folder: Path, layout: Layout, start: Sequence[int], stop: Sequence[int]
) -> tuple[NDArray[Any], list[str]]:
    """Read a box of a local array.

    Parameters
    ----------
    folder
        Folder of the array.
    layout
        How it is stored.
    start, stop
        The box, inside of the array, not empty.

    Returns
    -------
    The voxels in native byte order, and the keys of the objects of the box that are not there.

    Raises
    ------
    ObjectError
        An object is damaged.
    OSError
        An object cannot be read.
    """
    shape = tuple(b - a for a, b in zip(start, stop, strict=True))
    out = _unwritten(shape, layout)
    scratch = np.empty(layout.chunk, layout.dtype)
    absent = []
    for cell in cells_of(start, stop, layout.unit):
        key = layout.key(cell)
        try:
            number = os.open(folder / key, os.O_RDONLY)
        except (FileNotFoundError, NotADirectoryError):
            absent.append(key)
            if not layout.blank:
                out[_overlap(cell, layout.unit, start, stop)[0]] = layout.fill
            continue
        try:
            _read_object(number, layout, cell, start, stop, out, scratch)
        except ChunkError as error:
            raise ObjectError(key, str(error)) from error
        finally:
            os.close(number)
    return out, absent


def _unwritten(shape: Index, layout: Layout) -> NDArray[Any]:
    """An array for voxels; of zeros if that is the fill value: the system gives pages of zeros when they are touched.

    A box of which nothing is stored then takes neither time nor memory.
    """
    dtype = layout.dtype.newbyteorder("=")
    return np.zeros(shape, dtype) if layout.blank else np.empty(shape, dtype)


def cells_of(start: Sequence[int], stop: Sequence[int], unit: Sequence[int]) -> Iterator[Index]:
    """Yield the places in the grid of the objects, or chunks, that a box touches, in C order."""
    return itertools.product(*(range(a // n, -(-b // n)) for a, b, n in zip(start, stop, unit, strict=True)))


def _overlap(
    cell: Index, unit: Sequence[int], start: Sequence[int], stop: Sequence[int]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return where the voxels that a cell and a box share are in the box, and in the cell."""
    box, own = [], []
    for i, n, a, b in zip(cell, unit, start, stop, strict=True):
        low, high = max(a, i * n), min(b, (i + 1) * n)
        box.append(slice(low - a, high - a))
        own.append(slice(low - i * n, high - i * n))
    return tuple(box), tuple(own)


def _read_object(
    number: int,
    layout: Layout,
    cell: Index,
    start: Sequence[int],
    stop: Sequence[int],
    out: NDArray[Any],
    scratch: NDArray[Any],
) -> None:
    size = os.fstat(number).st_size
    if not layout.sharded:
        box, own = _overlap(cell, layout.unit, start, stop)
        out[box] = _decoded(layout, _piece(number, 0, size, layout), scratch)[own]
        return
    index = _index(number, size, layout)
    per_shard = tuple(u // c for u, c in zip(layout.unit, layout.chunk, strict=True))
    first = tuple(i * n for i, n in zip(cell, per_shard, strict=True))
    low = [max(a, i * n) for a, i, n in zip(start, cell, layout.unit, strict=True)]
    high = [min(b, (i + 1) * n) for b, i, n in zip(stop, cell, layout.unit, strict=True)]
    for chunk in cells_of(low, high, layout.chunk):
        box, own = _overlap(chunk, layout.chunk, start, stop)
        offset, length = (int(v) for v in index[tuple(c - f for c, f in zip(chunk, first, strict=True))])
        if offset == length == ABSENT:
            if not layout.blank:
                out[box] = layout.fill
            continue
        if offset + length > size:
            raise ChunkError(f"the shard has {size} bytes, but a chunk of it ends at {offset + length}")
        out[box] = _decoded(layout, _piece(number, offset, length, layout), scratch)[own]


def _piece(number: int, offset: int, length: int, layout: Layout) -> bytes:
    limit = limit_of(layout.chunk_bytes)
    if length > limit:
        raise ChunkError(f"a chunk has {length} bytes, where at most {limit} are expected")
    return _pread(number, length, offset)


def _pread(number: int, length: int, offset: int) -> bytes:
    """Read exactly so many bytes: one call of the system may give less."""
    data = os.pread(number, length, offset)
    while len(data) < length:
        more = os.pread(number, length - len(data), offset + len(data))
        if not more:
            raise ChunkError(f"it is cut short: {len(data)} of {length} bytes are there")
        data += more
    return data


def _index(number: int, size: int, layout: Layout) -> NDArray[np.uint64]:
    grid = tuple(u // c for u, c in zip(layout.unit, layout.chunk, strict=True))
    length = 16 * prod(grid) + 4
    if size < length:
        raise ChunkError(f"the shard has {size} bytes, but its index alone {length}")
    data = _pread(number, length, 0 if layout.index_first else size - length)
    _check_sum(data, "the index of the shard")
    return np.frombuffer(data, "<u8", count=2 * prod(grid)).reshape(*grid, 2)


def _check_sum(data: bytes, what: str) -> None:
    stated, found = int.from_bytes(data[-4:], "little"), crc32c(memoryview(data)[:-4])
    if len(data) < 4 or stated != found:
        raise ChunkError(f"the checksum of {what} is {found:08x}, but {stated:08x} is stored")


def _decoded(layout: Layout, data: bytes, scratch: NDArray[Any]) -> NDArray[Any]:
    """Decode a chunk, into ``scratch`` if it is compressed."""
    view = memoryview(data)
    if layout.checked:
        _check_sum(data, "a chunk")
        view = view[:-4]
    if not layout.compressor:
        if view.nbytes != layout.chunk_bytes:
            raise ChunkError(f"a chunk has {view.nbytes} bytes, where {layout.chunk_bytes} are expected")
        return np.frombuffer(view, layout.dtype).reshape(layout.chunk)
    check_frame(layout.compressor, view, limit_of(layout.chunk_bytes))
    try:
        return _decompressed(layout, view, scratch)
    except (ValueError, RuntimeError, TypeError) as error:  # what the decoders of numcodecs raise
        raise ChunkError(f"a chunk cannot be decoded ({error})") from error


def _decompressed(layout: Layout, view: memoryview, scratch: NDArray[Any]) -> NDArray[Any]:
    if layout.compressor == "blosc":
        from numcodecs import blosc

        size = int.from_bytes(view[4:8], "little")
        if size != layout.chunk_bytes:
            raise ChunkError(f"a chunk unpacks to {size} bytes, where {layout.chunk_bytes} are expected")
        blosc.decompress(view, scratch)
        return scratch
    from numcodecs import zstd

    made = np.frombuffer(zstd.decompress(view), np.uint8)
    if made.nbytes != layout.chunk_bytes:
        raise ChunkError(f"a chunk unpacks to {made.nbytes} bytes, where {layout.chunk_bytes} are expected")
    return made.view(layout.dtype).reshape(layout.chunk)
