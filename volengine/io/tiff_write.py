"""Writing OME-TIFF, slab by slab, uncompressed, with the voxel size.

>>> write_tiff("tomo.ome.tif", slabs, (200, 400, 400), "float32", (10.0, 10.0, 10.0), "TS_01")      # doctest: +SKIP

The pages are the z slices, the axes are ZYX, the sizes are in angstrom; files of more than 4 GB are BigTIFF. ImageJ
with Bio-Formats, Fiji, napari, QuPath and ``tifffile`` read it. OME has no place for the position of a volume, so the
origin is not kept.
"""

from __future__ import annotations

import errno
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import DTypeLike, NDArray

from volengine.core.atomic import replacing
from volengine.core.boxes import Index3
from volengine.core.errors import InputError
from volengine.core.paths import PathLike, path_text
from volengine.core.volume import Vector3

BIG_BYTES = 2**32 - 2**25
"""Voxels of more bytes than this are written as BigTIFF; the rest of 4 GiB is for the pages' descriptions."""
WRITTEN = {"bool": "uint8", "float16": "float32", "int64": "int32", "uint64": "uint32"}
"""Dtypes that OME does not have, and those that they are written as, if these hold every value."""
PLAIN = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64")


def written_dtype(dtype: DTypeLike) -> str:
    """Return the dtype of OME-TIFF as which voxels are written.

    Raises
    ------
    InputError
        There is none.

    >>> written_dtype("float16"), written_dtype("uint8")
    ('float32', 'uint8')
    """
    name = np.dtype(dtype).name
    name = WRITTEN.get(name, name)
    if name not in PLAIN:
        raise InputError(f"OME-TIFF has no type for {name}; it has {', '.join(PLAIN)}.")
    return name


def write_tiff(
    path: PathLike, slabs: Iterable[NDArray[Any]], shape: Index3, dtype: DTypeLike, voxel_size: Vector3, name: str = ""
) -> Path:
    """Write a volume as OME-TIFF. The file appears only when it is complete.

    Parameters
    ----------
    path
        The file; it is replaced if it exists.
    slabs
        Slabs of whole slices (n, y, x) in the order of z; only one is in memory at a time.
    shape, dtype
        Shape z, y, x, and dtype of the slabs. bool, float16 and 64-bit integers are written as uint8, float32 and
        32-bit integers.
    voxel_size
        Angstrom, z, y, x.
    name
        Name of the image.

    Raises
    ------
    InputError
        The slabs do not make up the shape, there is no type for the voxels, or 32 bits do not hold an integer.
    """
    final, kind = path_text(path), written_dtype(dtype)
    big = int(np.prod(shape, dtype=object)) * np.dtype(kind).itemsize > BIG_BYTES
    metadata: dict[str, Any] = {"axes": "ZYX", "Name": name}
    for axis, size in zip("ZYX", voxel_size, strict=True):
        metadata |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "Å"}
    with replacing(final) as out, warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            with tifffile.TiffWriter(out, bigtiff=big, ome=True) as tif:
                tif.write(
                    data=_pages(final, slabs, shape, kind), shape=shape, dtype=kind, photometric="minisblack",
                    rowsperstrip=shape[1], metadata=metadata,
                )  # fmt: skip
        except OSError as error:
            if error.errno is None:  # NumPy counts what it wrote, and forgets why it was not all
                raise OSError(errno.ENOSPC, f"Not all could be written; is the disk full? ({error})", final) from error
            raise
    return Path(final)


def _pages(path: str, slabs: Iterable[NDArray[Any]], shape: Index3, kind: str) -> Iterator[NDArray[Any]]:
    """The slices of the slabs, in the dtype that is written."""
    done = 0
    for slab in slabs:
        if slab.ndim != 3 or slab.shape[1:] != shape[1:] or done + len(slab) > shape[0]:
            raise InputError(f"{path}: a slab of {slab.shape} behind {done} slices does not fit a volume of {shape}.")
        done += len(slab)
        if slab.dtype.kind in "iu" and slab.dtype.itemsize > 4 and slab.size:
            holds = np.iinfo(kind)
            low, high = int(slab.min()), int(slab.max())
            if low < holds.min or high > holds.max:
                raise InputError(
                    f"{path}: OME-TIFF holds integers of 32 bits, but there are values from {low} to {high}. Renumber "
                    "the labels, or keep them as OME-Zarr."
                )
        yield from slab.astype(kind, copy=False)
        del slab  # before the next one is read
    if done != shape[0]:
        raise InputError(f"{path}: the slabs make up {done} slices, not {shape[0]}.")
