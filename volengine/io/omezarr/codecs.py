"""Compression by name, and the fast codec pipeline.

>>> compressors("blosc-lz4-shuffle", "float32")
>>> compressors("auto", "uint8", kind="labels", zarr_format=2)

``auto`` is chosen by measurement on real tomograms, label volumes and predictions (``benchmarks/codecs.py``; the
table is in ``docs/formats-omezarr.md``). Tomograms are noise and hardly shrink, so there the fastest codec that
gains anything wins; labels and predictions shrink well with a cheap zstd.

:func:`use_fast_codecs` hands whole shards to the Rust package ``zarrs`` where it is installed.
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
"""Of zarr, for the arrays that this package opens in this process."""
_lock = threading.Lock()


@dataclass(frozen=True)
class Codec:
    """A compressor: ``zstd``, or blosc around ``lz4`` or ``zstd`` with a filter that groups bytes or bits."""

    library: Literal["zstd", "blosc"]
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
    """The codec that ``auto`` stands for, by the table in ``docs/formats-omezarr.md``.

    Scratch arrays are written once, read once and deleted: speed counts, not size.
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
    """What ``zarr.create_array`` takes as ``compressors``.

    Parameters
    ----------
    name
        A name of :data:`CODECS`, or ``auto``.
    dtype
        Of the voxels; blosc groups bytes or bits by its size.
    zarr_format
        3 gives a codec of Zarr v3, 2 one of numcodecs; both describe the same bytes.

    Returns
    -------
    A codec, or ``None`` for no compression.

    Raises
    ------
    InputError
        For a name that is not known.
    """
    chosen = auto_codec(dtype, kind, scratch=scratch) if name == "auto" else name
    check_codec(chosen)
    codec = CODECS[chosen]
    if codec is None:
        return None
    if zarr_format == 2:
        import numcodecs

        if codec.library == "zstd":
            return numcodecs.Zstd(level=codec.level)
        filters: dict[Shuffle, int] = {"noshuffle": 0, "shuffle": 1, "bitshuffle": 2}
        return numcodecs.Blosc(cname=codec.inner, clevel=codec.level, shuffle=filters[codec.shuffle])
    from zarr.codecs import BloscCodec, ZstdCodec

    if codec.library == "zstd":
        return ZstdCodec(level=codec.level)
    return BloscCodec(typesize=np.dtype(dtype).itemsize, cname=codec.inner, clevel=codec.level, shuffle=codec.shuffle)


def use_fast_codecs(*, threads: int = 1) -> None:
    """Let ``zarrs`` encode and decode what this package opens in this process, in stores that it can reach.

    Arrays that others open, arrays in memory and in other stores keep zarr-python's own pipeline. The engine calls
    it in every process that runs units, where ``zarrs`` is installed. Never fork afterwards: its threads do not
    survive a fork (use spawn or forkserver).

    Parameters
    ----------
    threads
        Threads of this process that encode and decode. One per worker process keeps the machine's cores for the
        workers.

    Notes
    -----
    ``zarrs`` writes a shard in place, where zarr-python writes beside it and renames. A killed process can leave
    half a shard behind, which cannot be read without an error; the unit is done again.

    Raises
    ------
    DependencyError
        If ``zarrs`` is not installed.
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
    """:func:`use_fast_codecs` if ``zarrs`` is installed; whether it is."""
    if not _settings and importlib.util.find_spec("zarrs") is not None:
        use_fast_codecs()
    return bool(_settings)


@contextmanager
def pipeline() -> Iterator[None]:
    """An array that is opened in it gets the pipeline that was chosen. One thread at a time: zarr's settings are the
    process's, and two threads would take them away from each other."""
    import zarr

    if not _settings:
        yield
        return
    with _lock, zarr.config.set(_settings):
        yield
