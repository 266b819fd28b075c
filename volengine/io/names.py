"""Suffixes of the file formats, and the protocols of what reads and writes voxels, for all rooms of ``io``."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3

MRC_SUFFIXES = (".mrc", ".rec", ".map", ".ccp4", ".st", ".ali", ".mrcs")
TIFF_SUFFIXES = (".tif", ".tiff")
EM_SUFFIXES = (".em",)
HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf")
NIFTI_SUFFIXES = (".nii",)
AMIRA_SUFFIXES = (".am",)
SHARED_SUFFIXES = (*EM_SUFFIXES, *HDF5_SUFFIXES, *NIFTI_SUFFIXES, *AMIRA_SUFFIXES)
"""Suffixes of volumes that other things have, too: motive lists, models, training patches, spatial graphs."""
FILE_SUFFIXES = (*MRC_SUFFIXES, *TIFF_SUFFIXES, *SHARED_SUFFIXES)
"""Suffixes of all volumes that are single files."""
VOLUME_SUFFIXES = (*FILE_SUFFIXES, ".zarr")
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


_DATASET = re.compile(r"(.*\.(?:h5|hdf5|hdf)):(/.+)", re.IGNORECASE | re.DOTALL)


def file_and_dataset(url: str) -> tuple[str, str]:
    """Divide the place of a dataset in an HDF5 file into the file and the path in it; other places have no such path.

    >>> file_and_dataset("a/b.h5:/exported_data")
    ('a/b.h5', '/exported_data')
    >>> file_and_dataset("a/b.mrc")
    ('a/b.mrc', '')
    """
    found = _DATASET.fullmatch(url)
    return (found[1], found[2]) if found else (url, "")


def suffix_of(url: str) -> str:
    """Return the suffix that names the format, in lower case, without suffixes of compression.

    >>> suffix_of("a/b.MRC.gz"), suffix_of("a/b.h5:/exported_data")
    ('.mrc', '.h5')
    """
    url, _ = file_and_dataset(url)
    suffixes = [s.lower() for s in PurePosixPath(url.rstrip("/")).suffixes]
    while suffixes and suffixes[-1] in PACKED_SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def is_packed(url: str) -> bool:
    """Return whether a file is compressed as a whole (``.gz``, ``.bz2``), so that it must be unpacked to be read."""
    return url.lower().endswith(PACKED_SUFFIXES)
