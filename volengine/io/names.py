"""Suffixes of the file formats, and the protocols of what reads and writes voxels, for all rooms of ``io``."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3

MRC_SUFFIXES = (".mrc", ".rec", ".map", ".ccp4", ".st", ".ali", ".mrcs")
TIFF_SUFFIXES = (".tif", ".tiff")
ZIP_SUFFIXES = (".ozx", ".zarr.zip")
"""Endings of zip archives that hold a Zarr store."""
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
PICKS_SUFFIXES = (
    ".star",
    ".tbl",
    ".csv",
    ".json",
    ".tsv",
    ".txt",
    ".ndjson",
    ".mod",
    ".coords",
    ".xyz",
    ".cbox",
    ".cmm",
)
"""Endings of tables of picks; ``.em`` and ``.hdf``, which volumes have as well, are not among them."""

_TOMOGRAM_FILES = (".tomostar", ".ome.zarr", ".zarr", *FILE_SUFFIXES)
_VOLUMES = re.compile(r"(?<=.)(_EVN|_ODD|_2ND)?_Vol$")
"""What AreTomo adds to the name of a tilt series; halves and the second volume have more before ``_Vol``."""
_SIZED = re.compile(r"(?<=.)_[0-9]+(\.[0-9]+)?Apx$")
"""What WarpTools adds to the name of a tilt series in the names of volumes: ``_10.00Apx``."""


NODE_FILES = ("zarr.json", ".zgroup", ".zarray", ".zattrs")
"""Files of which a Zarr group or array has at least one."""


@dataclass(frozen=True)
class StoredObject:
    """An object of a store (a file of a local one), as a listing shows it.

    Parameters
    ----------
    size
        Bytes.
    stamp
        What changes when the object is written again: time in ns and inode of a file, the ETag or the time of an object
        in an object store.
    """

    size: int
    stamp: str = ""


def scheme(url: str) -> str:
    """Return the scheme of a URL in lower case; ``"file"`` for local paths."""
    head, mark, _ = url.partition("://")
    return "file" if not mark or head.lower() == "local" else head.lower()


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


_PROJECT = re.compile(r"(.+\.json)#(\s*[a-z_-]+\s*=.*)", re.IGNORECASE | re.DOTALL)
_COPICK = re.compile(
    r".*/ExperimentRuns/([^/]+)/"
    r"(?:VoxelSpacing[0-9.]+/[^/]+|(?:Instance|Panoptic)?Segmentations/[0-9.]+_[^_/]+_[^_/]+_([^/]+))"
)


def project_and_choice(text: str) -> tuple[str, str]:
    """Split ``config.json#run=TS_1,tomo=wbp`` into the configuration of a copick project and what is chosen of it.

    The second text is empty for everything else, also for a file that has the whole name.

    >>> project_and_choice("config.json#run=TS_1,tomo=wbp"), project_and_choice("picks.json")
    (('config.json', 'run=TS_1,tomo=wbp'), ('picks.json', ''))
    """
    found = _PROJECT.fullmatch(text)
    if found is None or "://" in text or Path(text).exists():
        return text, ""
    return found[1], found[2]


def name_in_copick(url: str) -> str:
    """Return the name of a store of a copick project, where the folders have the names: ``RUN``, or ``RUN__OBJECT``.

    The text is empty for other stores.

    >>> name_in_copick("p/ExperimentRuns/TS_1/VoxelSpacing10.000/wbp.zarr")
    'TS_1'
    >>> name_in_copick("p/ExperimentRuns/TS_1/Segmentations/10.000_bob_1_membrane.zarr")
    'TS_1__membrane'
    """
    found = _COPICK.fullmatch(url.rstrip("/").removesuffix(".zarr"))
    if found is None:
        return ""
    return found[1] + (f"__{found[2].removesuffix('-multilabel')}" if found[2] else "")


def is_multilabel(url: str) -> bool:
    """Whether a store of a copick project is a segmentation of several objects, whose values are their labels.

    >>> is_multilabel("p/ExperimentRuns/TS_1/Segmentations/10.000_bob_1_all-multilabel.zarr")
    True
    >>> is_multilabel("p/all-multilabel.zarr")
    False
    """
    found = _COPICK.fullmatch(url.rstrip("/").removesuffix(".zarr"))
    return found is not None and (found[2] or "").endswith("-multilabel")


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

    A zip archive of a Zarr store is read as a store. What is chosen of a copick project has the suffix of what it is.

    >>> suffix_of("a/b.MRC.gz"), suffix_of("a/b.ozx"), suffix_of("a/b.h5:/exported_data")
    ('.mrc', '.zarr', '.h5')
    """
    if is_zipped(url):
        return ".zarr"
    if chosen := project_and_choice(url)[1]:
        return ".json" if re.search(r"(^|,)\s*picks\s*=", chosen, re.IGNORECASE) else ".zarr"
    url, _ = file_and_dataset(url)
    suffixes = [s.lower() for s in PurePosixPath(url.rstrip("/")).suffixes]
    while suffixes and suffixes[-1] in PACKED_SUFFIXES:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def is_zipped(url: str) -> bool:
    """Return whether a path or URL is that of a zip archive of a Zarr store, by its ending."""
    return url.rstrip("/").lower().endswith(ZIP_SUFFIXES)


def is_remote(url: str) -> bool:
    """Return whether a URL leads to another machine, or through fsspec: ``s3://``, ``https://`` and the like.

    >>> is_remote("s3://bucket/a.mrc"), is_remote("file:///data/a.mrc"), is_remote("a.mrc")
    (True, False, False)
    """
    return scheme(url) not in ("file", "memory")


def is_copied_first(url: str) -> bool:
    """Return whether a file is copied to the scratch folder before blocks of it are read: packed, or elsewhere."""
    return is_packed(url) or (is_remote(url) and suffix_of(url) in FILE_SUFFIXES)


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
    if "#" not in text or (local and Path(text).exists()) or project_and_choice(text)[1]:
        return text, ""
    cuts = [n for n, letter in enumerate(text) if letter == "#" and suffix_of(text[:n]) in ("", ".zarr")]
    stores = [n for n in cuts if local and Path(text[:n]).exists()]
    named = [n for n in cuts if suffix_of(text[:n]) == ".zarr"]
    if not stores and not named and suffix_of(text):  # a file that is not there
        cuts = []
    for n in (*stores[-1:], *named, *cuts):
        return text[:n], text[n + 1 :]
    return text, ""


def tomogram_name(text: str) -> str:
    """Return the name of a tomogram from what a table of particles calls it: a path, a file, or a name.

    Folders, the ending of a file and AreTomo's ``_Vol`` (``_EVN_Vol``, ``_ODD_Vol``, ``_2ND_Vol``) are left out.

    >>> tomogram_name("tomostar/TS_01.tomostar"), tomogram_name("TS_01_Vol.mrc"), tomogram_name("TS_01")
    ('TS_01', 'TS_01', 'TS_01')
    """
    return _bare(text.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1])


def _bare(base: str) -> str:
    while packed := next((end for end in PACKED_SUFFIXES if base.lower().endswith(end) and len(base) > len(end)), ""):
        base = base[: -len(packed)]
    ending = next((end for end in _TOMOGRAM_FILES if base.lower().endswith(end) and len(base) > len(end)), "")
    return _VOLUMES.sub("", base[: len(base) - len(ending)])


@functools.lru_cache(maxsize=65536)  # thousands of names are compared with each other
def tomogram_key(name: str) -> str:
    """Return what two names of the same tomogram have in common, for tables and volumes that are to be matched.

    The endings that :func:`tomogram_name` leaves out are not part of it, nor is the pixel size that WarpTools adds to
    the names of volumes.

    >>> tomogram_key("TS_01_10.00Apx") == tomogram_key("TS_01.tomostar") == tomogram_key("TS_01_Vol")
    True
    """
    return _SIZED.sub("", _bare(name))


def another_of_series(name: str, other: str) -> bool:
    """Return whether two names differ in their numbers alone, so that they mean different tomograms of one series.

    >>> another_of_series("TS_01.tomostar", "TS_02_Vol"), another_of_series("TS_01", "TS_01_Vol")
    (True, False)
    >>> another_of_series("TS_01", "cell")
    False
    """
    a, b = tomogram_key(name), tomogram_key(other)
    return a != b and re.sub("[0-9]+", "#", a) == re.sub("[0-9]+", "#", b)


def same_tomogram(name: str, names: Iterable[str]) -> str | None:
    """Return which one of several names means the same tomogram as ``name``; ``None`` if none does, or more than one.

    >>> same_tomogram("TS_01_Vol", ["TS_01", "TS_02"])
    'TS_01'
    """
    names = list(names)
    if name in names:
        return name
    key = tomogram_key(name)
    fit = [one for one in names if tomogram_key(one) == key]
    return fit[0] if len(fit) == 1 else None
