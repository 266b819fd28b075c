"""Codecs of zarr-python that do not unpack a chunk to more than a limit; :mod:`.opening` puts them into each array."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numcodecs.abc import Codec as Numcodec
from zarr.abc.codec import BytesBytesCodec

from volengine.io.omezarr.bounds import COMPRESSORS, ChunkError, check_frame, limit_of, unpack

STREAMS = frozenset({"gzip", "zlib", "bz2", "lzma"})
"""Compressors whose decoders can be stopped. Frames of the others are looked at before."""


def bounded(metadata: Any) -> Any:
    """Return the metadata of an array with every compressor bounded by the bytes of a chunk."""
    itemsize = metadata.dtype.to_native_dtype().itemsize
    if metadata.zarr_format == 2:
        if metadata.compressor is None:
            return metadata
        limit = limit_of(prod(metadata.chunks) * itemsize, filters=bool(metadata.filters))
        return replace(metadata, compressor=BoundedCompressor(metadata.compressor, limit))
    return replace(metadata, codecs=_bounded(metadata.codecs, metadata.chunk_grid.chunk_shape, itemsize))


def _bounded(codecs: Any, chunk: tuple[int, ...], itemsize: int) -> tuple[Any, ...]:
    limit = limit_of(prod(chunk) * itemsize, filters=len(codecs) > 3)
    made: list[Any] = []
    for codec in codecs:
        name = str(codec.to_dict()["name"]).removeprefix("numcodecs.")
        if name == "sharding_indexed":
            made.append(replace(codec, codecs=_bounded(codec.codecs, codec.chunk_shape, itemsize)))
        else:
            made.append(BoundedCodec(codec, name, limit) if name in COMPRESSORS else codec)
    return tuple(made)


def _checked(name: str, data: Any, limit: int, settings: dict[str, Any]) -> bytes | None:
    """Decode a stream up to a limit; of other compressors check the frame and return nothing."""
    plain = np.ascontiguousarray(data).ravel().view(np.uint8).data
    if plain.nbytes > limit:
        raise ChunkError(f"it has {plain.nbytes} bytes, where at most {limit} are expected")
    if name in STREAMS:
        return unpack(name, plain, limit, settings)
    check_frame(name, plain, limit)
    return None


@dataclass(frozen=True)
class BoundedCodec(BytesBytesCodec):
    """A compressor of Zarr v3 with a limit.

    Parameters
    ----------
    inner
        The compressor.
    name
        Its name.
    limit
        Bytes that a chunk may unpack to.
    """

    inner: Any
    name: str
    limit: int
    is_fixed_size = False

    def to_dict(self) -> dict[str, Any]:
        """Return the metadata of the compressor."""
        return dict(self.inner.to_dict())

    def evolve_from_array_spec(self, array_spec: Any) -> BoundedCodec:
        """Fill in what the compressor takes from the array."""
        return replace(self, inner=self.inner.evolve_from_array_spec(array_spec))

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: Any) -> int:
        """Return the size of an encoded chunk."""
        return int(self.inner.compute_encoded_size(input_byte_length, chunk_spec))

    async def _encode_single(self, chunk_data: Any, chunk_spec: Any) -> Any:
        return await self.inner._encode_single(chunk_data, chunk_spec)

    async def _decode_single(self, chunk_data: Any, chunk_spec: Any) -> Any:
        settings = dict(self.inner.to_dict().get("configuration") or {})
        made = _checked(self.name, chunk_data.as_numpy_array(), self.limit, settings)
        if made is not None:
            return chunk_spec.prototype.buffer.from_bytes(made)
        return await self.inner._decode_single(chunk_data, chunk_spec)


class BoundedCompressor(Numcodec):  # type: ignore[misc]
    """A compressor of Zarr v2 with a limit.

    Parameters
    ----------
    codec
        The compressor.
    limit
        Bytes that a chunk may unpack to.
    """

    codec_id = "volengine-bounded"

    def __init__(self, codec: Any, limit: int):
        self.codec, self.limit = codec, limit

    def encode(self, buf: Any) -> Any:
        """Encode."""
        return self.codec.encode(buf)

    def decode(self, buf: Any, out: Any = None) -> Any:
        """Decode.

        Raises
        ------
        ChunkError
            It unpacks to more than the limit.
        """
        made = _checked(str(self.codec.codec_id), buf, self.limit, self.codec.get_config())
        return self.codec.decode(buf, out) if made is None else made

    def get_config(self) -> Any:
        """Return the settings of the compressor."""
        return self.codec.get_config()
