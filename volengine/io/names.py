"""Suffixes of the file formats, and the protocols of what reads and writes voxels, for all rooms of ``io``."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3

MRC_SUFFIXES = (".mrc", ".rec", ".map", ".st", ".ali", ".mrcs")
TIFF_SUFFIXES = (".tif", ".tiff")
PACKED_SUFFIXES = (".gz", ".bz2")
PICKS_SUFFIXES = (".star", ".tbl", ".csv", ".json", ".tsv", ".txt")


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

    def write(self, box: Box, array: NDArray[Any]) -> None:
        """Write a box of whole shards."""
        ...

    def delete(self, box: Box) -> None:
        """Delete the shards of a box, so that it reads as zeros."""
        ...


def suffix_of(url: str) -> str:
    """Return the suffix that names the format, in lower case, without suffixes of compression.

    >>> suffix_of("a/b.MRC.gz")
    '.mrc'
    """
    suffixes = [s.lower() for s in PurePosixPath(url.rstrip("/")).suffixes]
    while suffixes and suffixes[-1] in PACKED_SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def is_packed(url: str) -> bool:
    """Return whether a file is compressed as a whole (``.gz``, ``.bz2``), so that it must be unpacked to be read."""
    return url.lower().endswith(PACKED_SUFFIXES)
