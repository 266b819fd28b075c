"""Open what a path or URL names, by its suffix.

:func:`open_volume` makes a handle from metadata; :func:`open_source` and :func:`open_sink` give access to the voxels
of a handle, box by box.
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
    """Read access to the voxels of a handle."""
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
    """Write access to the voxels of an OME-Zarr level or a scratch array that exists."""
    from volengine.io.omezarr.arrays import ZarrSink

    return ZarrSink(volume)
