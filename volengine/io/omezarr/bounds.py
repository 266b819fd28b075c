"""Bounds for what a chunk may unpack to: a small file must not fill the memory.

Compressed frames state their size themselves, or not at all, and decoders believe them: 45 KB can unpack to 1.5 GB
where the metadata announce 32 KiB. Here a frame is looked at before it is decoded, and decoders that can stop are
stopped. So decoding a chunk takes at most :func:`limit_of` bytes besides its voxels (twice the chunk, eight times with
filters), and 256 MiB that zstd and lzma may take for what they remember.

Only codecs whose output is bounded so are used; others are refused when an array is opened. Among those are codecs that
run code (``pickle``).
"""

from __future__ import annotations

import bz2
import lzma
import struct
import zlib
from collections.abc import Mapping
from typing import Any

from volengine.core.units import format_bytes

Bytes = bytes | memoryview
MAX_CHUNK_BYTES = 2**32
"""Largest chunk that is read, bytes of voxels: one chunk is decoded as a whole, in memory."""

MAX_CHUNKS_PER_SHARD = 2**22
"""Most chunks of a shard that is read: its index of 16 bytes per chunk is read as a whole."""

ZSTD_BLOCK = 2**17
"""Largest block of a zstd frame, bytes decoded."""

ZSTD_SLACK = 2**27
"""Bytes by which the bound of a frame that does not state its size may be above the limit: its blocks may be small."""

LZMA_MEMORY = 2**28
"""Memory that an lzma decoder may take for its dictionary, bytes."""

COMPRESSORS = frozenset({"blosc", "zstd", "lz4", "gzip", "zlib", "bz2", "lzma"})
"""Compressors that are bounded, by their names in numcodecs and (``numcodecs.`` left out) in Zarr v3."""

FILTERS = frozenset(
    {"shuffle", "delta", "fixedscaleoffset", "quantize", "bitround", "packbits", "astype", "crc32", "crc32c",
     "adler32", "fletcher32", "jenkins_lookup3"}
)  # fmt: skip
"""Filters that make at most eight times as many bytes as they are given."""

ARRAY_CODECS = frozenset({"bytes", "transpose", "sharding_indexed"})
"""Further codecs of Zarr v3 that are read."""


class ChunkError(ValueError):
    """A chunk cannot be decoded."""


def limit_of(voxel_bytes: int, *, filters: bool = False) -> int:
    """Return how many bytes a stage of decoding may make for a chunk of so many bytes of voxels."""
    return (8 if filters else 2) * voxel_bytes + 2**16


def check_frame(codec: str, data: Bytes, limit: int) -> None:
    """Refuse a compressed frame that unpacks to more than ``limit`` bytes, or is cut short.

    Parameters
    ----------
    codec
        ``zstd``, ``blosc`` or ``lz4``; frames of others are not looked at.
    data
        The frame.
    limit
        Bytes that it may unpack to.

    Raises
    ------
    ChunkError
        With both numbers.
    """
    view = memoryview(data).cast("B")
    if codec == "blosc":
        size = _blosc_size(view)
    elif codec == "zstd":
        size = _zstd_size(view, limit)
    elif codec == "lz4":
        size = struct.unpack_from("<i", view)[0] if view.nbytes >= 4 else -1
    else:
        return
    if not 0 <= size <= limit:
        raise ChunkError(f"its {codec} frame unpacks to {size} bytes, where at most {limit} are expected")


def _blosc_size(view: memoryview) -> int:
    if view.nbytes < 16:
        raise ChunkError(f"its blosc frame is cut short: {view.nbytes} bytes")
    size, _, packed = struct.unpack_from("<III", view, 4)
    if packed != view.nbytes:
        raise ChunkError(f"its blosc frame states {packed} bytes, but {view.nbytes} are there")
    return int(size)


def _zstd_size(view: memoryview, limit: int) -> int:
    """Return the size of one zstd frame, or a bound from its blocks if it states none (RFC 8878, section 3.1)."""
    if view.nbytes < 6 or bytes(view[:4]) != b"\x28\xb5\x2f\xfd":
        raise ChunkError("it is no zstd frame")
    descriptor = view[4]
    kind, single = descriptor >> 6, descriptor >> 5 & 1
    at = 5 + (0 if single else 1) + (0, 1, 2, 4)[descriptor & 3]
    width = (1 if single else 0, 2, 4, 8)[kind]
    if width:
        size = int.from_bytes(view[at : at + width], "little")
        return size + 256 if width == 2 else size
    bound, last = 0, False
    while not last and bound <= limit + ZSTD_SLACK:
        header = int.from_bytes(view[at : at + 3], "little")
        if at + 3 > view.nbytes:
            raise ChunkError("its zstd frame is cut short")
        last, block, length = bool(header & 1), header >> 1 & 3, header >> 3
        bound += length if block < 2 else ZSTD_BLOCK
        at += 3 + (1 if block == 1 else length)
    if bound > limit + ZSTD_SLACK:
        return bound
    if at + (4 if descriptor & 4 else 0) != view.nbytes:
        raise ChunkError("its zstd frame ends before its chunk, or behind it")
    return min(bound, limit)


def unpack(codec: str, data: Bytes, limit: int, settings: Mapping[str, Any] | None = None) -> bytes:
    """Decode ``gzip``, ``zlib``, ``bz2`` or ``lzma`` and stop at a limit.

    Parameters
    ----------
    codec
        Name of the compressor.
    data
        The stream, or several one after the other.
    limit
        Bytes that it may unpack to.
    settings
        Of ``lzma``: ``format`` and ``filters``.

    Raises
    ------
    ChunkError
        It unpacks to more than ``limit`` bytes, or is damaged.
    """
    rest, size = bytes(data), 0
    made: list[bytes] = []
    try:
        while rest or not made:
            decoder = _decoder(codec, settings or {})
            piece = decoder.decompress(rest, limit - size + 1)
            size += len(piece)
            made.append(piece)
            if size > limit:
                raise ChunkError(f"its {codec} stream unpacks to more than the {limit} bytes expected")
            if not decoder.eof:
                raise ChunkError(f"its {codec} stream is cut short")
            rest = decoder.unused_data
    except (zlib.error, lzma.LZMAError, OSError, EOFError, TypeError, ValueError, MemoryError) as error:
        if isinstance(error, ChunkError):
            raise
        raise ChunkError(f"its {codec} stream is damaged ({error})") from error
    return b"".join(made)


def _decoder(codec: str, settings: Mapping[str, Any]) -> Any:
    if codec in ("gzip", "zlib"):
        return zlib.decompressobj(31 if codec == "gzip" else 15)
    if codec == "bz2":
        return bz2.BZ2Decompressor()
    raw = settings.get("format") == lzma.FORMAT_RAW
    return lzma.LZMADecompressor(
        settings.get("format", lzma.FORMAT_AUTO),
        memlimit=None if raw else LZMA_MEMORY,
        filters=settings.get("filters") if raw else None,
    )


def check_chunk(shape: tuple[int, ...], itemsize: int) -> str:
    """Return what is wrong with a chunk of this shape, or nothing: chunks that no memory holds are not read."""
    size = itemsize
    for n in shape:
        size *= n
    if size <= MAX_CHUNK_BYTES:
        return ""
    return (
        f"a chunk of {shape} has {format_bytes(size)}; chunks of more than {format_bytes(MAX_CHUNK_BYTES)} are not read"
    )
