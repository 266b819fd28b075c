"""Suffixes of the file formats, and the protocols of what reads and writes voxels, for all rooms of ``io``."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3

MRC_SUFFIXES = (".mrc", ".rec", ".map", ".st", ".ali", ".mrcs")
TIFF_SUFFIXES = (".tif", ".tiff")
ZIP_SUFFIXES = (".ozx", ".zarr.zip")
"""Endings of zip archives that hold a Zarr store."""
PACKED_SUFFIXES = (".gz", ".bz2")
PICKS_SUFFIXES = (".star", ".tbl", ".csv", ".json", ".tsv", ".txt")


NODE_FILES = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
"""Files of which a Zarr group or array has at least one."""


class Source(Protocol):
    """Read access to the voxels of a volume."""

    @property
    def shape(self) -> Index3:
        """Shape of the volume, voxels z, y, x."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the voxels."""
        ...

    def read(self, box: Box) -> NDArray[Any]:
        """Read a box that lies inside of the volume, z, y, x."""
        ...


class Sink(Protocol):
    """Write access to the voxels of a volume, whole shards at a time."""

    @property
    def unit(self) -> Index3:
        """Shape of an object, voxels z, y, x."""
        ...

    def write(self, box: Box, array: NDArray[Any]) -> list[tuple[int, int] | None]:
        """Write a box of whole shards; return size and crc32c of each object, ``None`` where nothing is stored."""
        ...

    def keys(self, box: Box) -> list[str]:
        """Return the keys of the objects of a box, relative to the array, in the order of what ``write`` returns."""
        ...

    def absent(self, box: Box) -> list[str]:
        """Return those keys of the objects of a box at which nothing is stored."""
        ...

    def begin_flush(self) -> None:
        """Let the system begin with what ``flush`` waits for."""
        ...

    def flush(self) -> None:
        """Wait until everything that was written since the last call is on the disk."""
        ...


def suffix_of(url: str) -> str:
    """Return the suffix that names the format, in lower case, without suffixes of compression.

    A zip archive of a Zarr store is read as a store.

    >>> suffix_of("a/b.MRC.gz"), suffix_of("a/b.ozx")
    ('.mrc', '.zarr')
    """
    if is_zipped(url):
        return ".zarr"
    suffixes = [s.lower() for s in PurePosixPath(url.rstrip("/")).suffixes]
    while suffixes and suffixes[-1] in PACKED_SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def is_zipped(url: str) -> bool:
    """Return whether a path or URL is that of a zip archive of a Zarr store, by its ending."""
    return url.rstrip("/").lower().endswith(ZIP_SUFFIXES)


def is_packed(url: str) -> bool:
    """Return whether a file is compressed as a whole (``.gz``, ``.bz2``), so that it must be unpacked to be read."""
    return url.lower().endswith(PACKED_SUFFIXES)


def split_group(text: str) -> tuple[str, str]:
    """Split ``store.ome.zarr#labels/core`` into the place of a store and the group inside of it, which may be empty.

    Only stores have groups, and what exists under the whole name is that: ``tomo#1.mrc`` is a file.

    >>> split_group("TS_01.ome.zarr#labels/core")
    ('TS_01.ome.zarr', 'labels/core')
    >>> split_group("tomo#1.mrc.gz")
    ('tomo#1.mrc.gz', '')
    """
    local = "://" not in text
    if "#" not in text or (local and Path(text).exists()):
        return text, ""
    cuts = [n for n, letter in enumerate(text) if letter == "#" and suffix_of(text[:n]) in ("", ".zarr")]
    stores = [n for n in cuts if local and Path(text[:n]).exists()]
    named = [n for n in cuts if suffix_of(text[:n]) == ".zarr"]
    if not stores and not named and suffix_of(text):  # a file that is not there
        cuts = []
    for n in (*stores[-1:], *named, *cuts):
        return text[:n], text[n + 1 :]
    return text, ""
