"""Writing many subvolumes of one size into one file: a stack of volumes as MRC, or an OME-Zarr image.

*MRC.* A volume stack of MRC2014: space group 401, and MZ, the number of sections of one volume, is the box.

*OME-Zarr.* An image of NGFF 0.5 with axes c, z, y, x, in which each subvolume is a channel and a chunk.

A file or store appears when it is complete.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.aside import private_name
from volengine.core.atomic import FULL, full_named, need_folder
from volengine.core.errors import InputError
from volengine.core.volume import Vector3

ENDINGS = (".mrc", ".mrcs", ".zarr")
Part = tuple[int, NDArray[Any]]
"""Number of a subvolume, from 0, and its voxels (box, box, box), z, y, x."""


def write_subvolumes(path: Path, parts: Iterable[Part], number: int, box: int, voxel_size: Vector3) -> None:
    """Write subvolumes, as float32, in any order.

    Parameters
    ----------
    path
        ``.mrc`` (or ``.mrcs``) or ``.zarr``; what exists there is replaced.
    parts
        All subvolumes. One is in memory at a time.
    number
        How many there are, at least one.
    box
        Their side in voxels.
    voxel_size
        Angstrom, z, y, x.

    Raises
    ------
    MissingError
        The folder does not exist.
    InputError
        The ending is another one, nothing can be written there, or a value is an integer that float32 does not hold.
    """
    if path.suffix.lower() not in ENDINGS:
        raise InputError(f"{path}: subvolumes are written as {', '.join(ENDINGS)}; give one of these endings.")
    need_folder(path)
    aside = path.with_name(private_name())
    try:
        write = _zarr if path.suffix.lower() == ".zarr" else _mrc
        with full_named(path):
            write(aside, parts, (number, box, box, box), voxel_size)
        _remove(path)
        aside.rename(path)
    except OSError as error:
        if error.errno in FULL:
            raise
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}). Give another --out, or the right to write there."
        ) from error
    finally:
        _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _mrc(path: Path, parts: Iterable[Part], shape: tuple[int, int, int, int], voxel_size: Vector3) -> None:
    import mrcfile

    z, y, x = voxel_size
    with mrcfile.new_mmap(path, shape, mrc_mode=2, overwrite=True) as file:
        file.voxel_size = (x, y, z)
        _reserve(path)
        for index, voxels in parts:
            file.data[index] = _floats(voxels)
        file.update_header_stats()


def _reserve(path: Path) -> None:
    """Take the space on the disk that a file which is mapped into memory will need.

    Without it, a disk that is full is noticed when a page is written, by a signal that ends the process.

    Raises
    ------
    OSError
        There is not enough space.
    """
    with path.open("rb+") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def _zarr(path: Path, parts: Iterable[Part], shape: tuple[int, int, int, int], voxel_size: Vector3) -> None:
    import zarr

    axes: list[Any] = [{"name": "c", "type": "channel"}]
    axes += [{"name": axis, "type": "space", "unit": "angstrom"} for axis in "zyx"]
    scale = [{"type": "scale", "scale": [1.0, *voxel_size]}]
    image: Any = {"name": path.stem, "axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    ome: Any = {"version": "0.5", "multiscales": [image]}
    group = zarr.open_group(path, mode="w", zarr_format=3, attributes={"ome": ome})
    array = group.create_array("0", shape=shape, chunks=(1, *shape[1:]), dtype="f4", dimension_names=list("czyx"))
    for index, voxels in parts:
        array[index] = _floats(voxels)


def _floats(voxels: NDArray[Any]) -> NDArray[np.float32]:
    floats = voxels.astype(np.float32)
    if voxels.dtype.kind in "iu" and not np.array_equal(floats.astype(np.float64), voxels.astype(np.float64)):
        raise InputError(f"A value of the volume ({voxels.dtype}) is an integer that float32 does not hold exactly.")
    return floats
