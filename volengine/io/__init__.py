"""Formats: files and stores in, files and stores out. No methods.

:func:`open_volume` makes a handle from a path or URL; :func:`open_source` and :func:`open_sink` give access to
the voxels of a handle, box by box.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3
from volengine.core.errors import InputError
from volengine.core.volume import Volume
from volengine.io.stores import located

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


def open_volume(
    url: str,
    *,
    voxel_size: float | tuple[float, float, float] | None = None,
    name: str | None = None,
    level: int = 0,
    group: str = "",
    channel: int | None = None,
) -> Volume:
    """The handle of a file or store, by its suffix; reads metadata only.

    Parameters
    ----------
    url
        ``.mrc .rec .map .st .ali`` (also ``.gz``, ``.bz2``), ``.tif .tiff``, or an OME-Zarr store (path or URL).
    voxel_size
        Angstrom (one number or z, y, x); overrides what the file says.
    name
        The tomogram's name; default: the file's stem.
    level, group, channel
        For OME-Zarr: resolution level, labels group (``"labels/core"``), index on a channel axis.

    Raises
    ------
    MissingError, FormatError, InputError
        Nothing there; not what its suffix says; a voxel size that is needed.
    """
    url = located(url)
    suffix = suffix_of(url)
    if suffix in MRC_SUFFIXES:
        from volengine.io.mrc import open_mrc

        return open_mrc(url, voxel_size=voxel_size, name=name)
    if suffix in TIFF_SUFFIXES:
        from volengine.io.tiff import open_tiff

        return open_tiff(url, voxel_size=voxel_size, name=name)
    if suffix in ("", ".zarr"):
        from volengine.io.omezarr import open_image

        volume = open_image(url, level=level, group=group, channel=channel, voxel_size=voxel_size)
        return volume.with_(name=name) if name else volume
    raise InputError(
        f"{url}: the suffix {suffix!r} is not one of {', '.join((*MRC_SUFFIXES, *TIFF_SUFFIXES, '.zarr'))}."
    )


def open_source(volume: Volume) -> Source:
    """Read access to the voxels of a handle."""
    suffix = suffix_of(volume.url)
    if suffix in MRC_SUFFIXES:
        from volengine.io.mrc import MrcSource

        return MrcSource(volume)
    if suffix in TIFF_SUFFIXES:
        from volengine.io.tiff import TiffSource

        return TiffSource(volume)
    from volengine.io.zarr_arrays import ZarrSource

    return ZarrSource(volume)


def open_sink(volume: Volume) -> Sink:
    """Write access to the voxels of an OME-Zarr level or a scratch array that exists."""
    from volengine.io.zarr_arrays import ZarrSink

    return ZarrSink(volume)
