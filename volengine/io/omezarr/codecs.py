"""Compressors by name, and the fast codec pipeline.

>>> auto_codec("float32"), auto_codec("uint8", "labels")
('blosc-lz4-bitshuffle', 'zstd-1')
>>> compressors("auto", "uint8", kind="labels", zarr_format=2).level
1

The choices of ``auto`` were measured on real tomograms, label volumes and predictions (``benchmarks/codecs.py``; the
table is in ``docs/formats-omezarr.md``). Tomograms are mostly noise and hardly shrink, so the fastest codec with any
gain is used for them. Labels and predictions shrink well with a cheap zstd.

:func:`use_fast_codecs` lets the Rust package ``zarrs`` encode whole shards, if it is installed.
"""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from volengine.core.errors import InputError, require
from volengine.core.volume import Kind

Shuffle = Literal["noshuffle", "shuffle", "bitshuffle"]

_settings: dict[str, Any] = {}
"""Settings of zarr for the arrays that this package opens in this process."""
_lock = threading.Lock()


@dataclass(frozen=True)
class Codec:
    """A compressor: ``zstd``, or blosc around ``lz4`` or ``zstd`` with a filter that groups bytes or bits."""

    family: Literal["zstd", "blosc"]
    inner: Literal["zstd", "lz4"]
    level: int
    shuffle: Shuffle = "noshuffle"


CODECS: dict[str, Codec | None] = {
    "none": None,
    "zstd-1": Codec("zstd", "zstd", 1),
    "zstd-3": Codec("zstd", "zstd", 3),
    "zstd-9": Codec("zstd", "zstd", 9),
    "blosc-lz4-shuffle": Codec("blosc", "lz4", 5, "shuffle"),
    "blosc-lz4-bitshuffle": Codec("blosc", "lz4", 5, "bitshuffle"),
    "blosc-zstd1-shuffle": Codec("blosc", "zstd", 1, "shuffle"),
    "blosc-zstd1-bitshuffle": Codec("blosc", "zstd", 1, "bitshuffle"),
    "blosc-zstd5-shuffle": Codec("blosc", "zstd", 5, "shuffle"),
    "blosc-zstd5-bitshuffle": Codec("blosc", "zstd", 5, "bitshuffle"),
}


def check_codec(name: str) -> None:
    """Raise :class:`InputError` for a name that is neither ``auto`` nor of :data:`CODECS`."""
    if name != "auto" and name not in CODECS:
        raise InputError(f"There is no codec {name!r}; use auto or one of {', '.join(CODECS)}.")


def auto_codec(dtype: str, kind: Kind = "intensity", *, scratch: bool = False) -> str:
    """Return the name of the codec that ``auto`` stands for, by the table in ``docs/formats-omezarr.md``.

    Scratch arrays are written once, read once and deleted, so speed counts for them, not size.
    """
    itemsize = np.dtype(dtype).itemsize
    if scratch:
        return "blosc-lz4-shuffle"
    if kind == "labels":
        return "zstd-1" if itemsize == 1 else "blosc-zstd1-shuffle"
    if kind == "probability":
        return "blosc-zstd1-bitshuffle" if itemsize == 1 else "zstd-1"
    return "zstd-1" if itemsize == 1 else "blosc-lz4-bitshuffle"


def compressors(name: str, dtype: str, *, kind: Kind = "intensity", zarr_format: int = 3, scratch: bool = False) -> Any:
    """Make the argument ``compressors`` of ``zarr.create_array``.

    Parameters
    ----------
    name
        A name of :data:`CODECS`, or ``auto``.
    dtype
        Dtype of the voxels; blosc groups bytes or bits by its size.
    kind, scratch
        Kind of the volume, and whether it is a scratch array; for ``auto``.
    zarr_format
        3: a codec of Zarr v3; 2: a codec of numcodecs. Both make the same bytes.

    Returns
    -------
    Of v2: a codec, or ``None`` for no compression. Of v3: a list that ends in ``crc32c``, so that a damaged chunk is an
    error.

    Raises
    ------
    InputError
        The name is unknown.
    """
    chosen = auto_codec(dtype, kind, scratch=scratch) if name == "auto" else name
    check_codec(chosen)
    codec = CODECS[chosen]
    if zarr_format == 2:
        import numcodecs

        if codec is None:
            return None
        if codec.family == "zstd":
            return numcodecs.Zstd(level=codec.level)
        filters: dict[Shuffle, int] = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}
        return numcodecs.Blosc(cname=codec.inner, clevel=codec.level, shuffle=filters[codec.shuffle])
    from zarr.codecs import BloscCodec, Crc32cCodec, ZstdCodec

    if codec is None:
        return [Crc32cCodec()]
    if codec.family == "zstd":
        return [ZstdCodec(level=codec.level), Crc32cCodec()]
    size = np.dtype(dtype).itemsize
    blosc = BloscCodec(typesize=size, cname=codec.inner, clevel=codec.level, shuffle=codec.shuffle)
    return [blosc, Crc32cCodec()]


def use_fast_codecs(*, threads: int = 1) -> None:
    """Let ``zarrs`` encode what this package writes in this process to local stores.

    What other code writes, and arrays in memory and in remote stores, are encoded by zarr-python. The engine calls this
    in every process that runs units, if ``zarrs`` is installed. The process must not fork afterwards, because the
    threads of ``zarrs`` do not survive a fork; use spawn or forkserver.

    Parameters
    ----------
    threads
        Number of threads of this process that encode. One per worker process leaves the machine's cores to the workers.

    Notes
    -----
    ``zarrs`` writes objects in place, so it is given a private place, from where they are renamed
    (:mod:`volengine.io.omezarr.objects`). It is not used for reading, where it tests no checksums of chunks of a shard
    that is read in part (:mod:`volengine.io.omezarr.direct`).

    Raises
    ------
    DependencyError
        ``zarrs`` is not installed.
    """
    try:
        import zarrs  # noqa: F401
    except ImportError as error:
        raise require("zarrs", "fast", "The fast codec pipeline") from error
    from zarr.registry import register_pipeline

    from volengine.io.omezarr.fast_pipeline import FastPipeline

    register_pipeline(FastPipeline)
    path = f"{FastPipeline.__module__}.{FastPipeline.__qualname__}"
    _settings.update({"codec_pipeline.path": path, "threading.max_workers": threads})


def prefer_fast_codecs() -> bool:
    """Call :func:`use_fast_codecs` if ``zarrs`` is installed; return whether the fast codecs are in use."""
    if not _settings and importlib.util.find_spec("zarrs") is not None:
        use_fast_codecs()
    return bool(_settings)


def fast_codecs_in_use() -> bool:
    """Return whether :func:`use_fast_codecs` was called in this process."""
    return bool(_settings)


@contextmanager
def pipeline() -> Iterator[None]:
    """Open arrays in this block to give them the codec pipeline that was chosen for writing in this process.

    One thread at a time may be inside, because zarr's settings belong to the whole process.
    """
    import zarr

    if not _settings:
        yield
        return
    with _lock, zarr.config.set(_settings):
        yield
