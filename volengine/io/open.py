"""Opening files and stores by their suffix.

:func:`open_volume` makes a handle from metadata; :func:`open_source` and :func:`open_sink` give access to the voxels of
a handle, box by box.
"""

from __future__ import annotations

from volengine.core.errors import InputError
from volengine.core.volume import Volume
from volengine.io.names import MRC_SUFFIXES, TIFF_SUFFIXES, Sink, Source, suffix_of
from volengine.io.stores import located


def open_volume(
    url: str,
    *,
    voxel_size: float | tuple[float, float, float] | None = None,
    name: str | None = None,
    level: int = 0,
    group: str = "",
    channel: int | None = None,
) -> Volume:
    """Open a file or store by its suffix, and return its handle. Only metadata are read.

    Parameters
    ----------
    url
        Path or URL of an MRC file (``.mrc .rec .map .st .ali .mrcs``, also with ``.gz`` or ``.bz2``), of a TIFF stack
        (``.tif .tiff``), or of an OME-Zarr store.
    voxel_size
        Angstrom, one number or z, y, x; overrides that of the file.
    name
        Name of the tomogram; default: the name of the file without its ending.
    level, group, channel
        For OME-Zarr only: resolution level, group of an image (``"labels/core"``), index on a channel axis.

    Raises
    ------
    MissingError
        The file or store does not exist.
    FormatError
        It is damaged, or not of the format that its suffix names.
    InputError
        The suffix is unknown, the image is not complete, or the voxel size or the channel must be given.
    """
    url = located(url)
    suffix = suffix_of(url)
    if suffix in MRC_SUFFIXES:
        from volengine.io.mrc.open import open_mrc

        return open_mrc(url, voxel_size=voxel_size, name=name)
    if suffix in TIFF_SUFFIXES:
        from volengine.io.tiff import open_tiff

        return open_tiff(url, voxel_size=voxel_size, name=name)
    if suffix in ("", ".zarr"):
        from volengine.io.omezarr.read import open_image

        volume = open_image(url, level=level, group=group, channel=channel, voxel_size=voxel_size)
        return volume.with_(name=name) if name else volume
    raise InputError(
        f"{url}: the suffix {suffix!r} is not one of {', '.join((*MRC_SUFFIXES, *TIFF_SUFFIXES, '.zarr'))}."
    )


def open_source(volume: Volume) -> Source:
    """Return read access to the voxels of a handle."""
    suffix = suffix_of(volume.url)
    if suffix in MRC_SUFFIXES:
        from volengine.io.mrc.open import MrcSource

        return MrcSource(volume)
    if suffix in TIFF_SUFFIXES:
        from volengine.io.tiff import TiffSource

        return TiffSource(volume)
    from volengine.io.omezarr.arrays import ZarrSource

    return ZarrSource(volume)


def open_sink(volume: Volume) -> Sink:
    """Return write access to the voxels of an OME-Zarr level or a scratch array, which must have been created."""
    from volengine.io.omezarr.arrays import ZarrSink

    return ZarrSink(volume)
