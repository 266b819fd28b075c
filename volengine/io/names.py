"""Suffixes of the formats, and what reads and writes voxels: the words that all rooms of ``io`` share."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3

MRC_SUFFIXES = (".mrc", ".rec", ".map", ".st", ".ali", ".mrcs")
TIFF_SUFFIXES = (".tif", ".tiff")
PACKED_SUFFIXES = (".gz", ".bz2")


class Source(Protocol):
    """Voxels that can be read."""

    @property
    def shape(self) -> Index3: ...
    @property
    def dtype(self) -> np.dtype[Any]: ...
    def read(self, box: Box) -> NDArray[Any]:
        """The voxels of a box that lies inside of the volume, z, y, x."""
        ...


class Sink(Protocol):
    """Voxels that can be written, whole shards at a time."""

    def write(self, box: Box, array: NDArray[Any]) -> None: ...
    def delete(self, box: Box) -> None: ...


def suffix_of(url: str) -> str:
    """``"a/b.MRC.gz"`` -> ``".mrc"``: the suffix that says the format, without compression."""
    suffixes = [s.lower() for s in PurePosixPath(url.rstrip("/")).suffixes]
    while suffixes and suffixes[-1] in PACKED_SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def is_packed(url: str) -> bool:
    """Whether the file is compressed as a whole (``.gz``, ``.bz2``) and must be unpacked before blocks are read."""
    return url.lower().endswith(PACKED_SUFFIXES)
