"""Stacks of EMAN2's 3D particles (``.hdf``): where each was cut from a tomogram. The conventions are in
:mod:`volengine.io.picks.eman2`.

EMAN2 keeps the header of image N as attributes ``EMAN.*`` of the HDF5 group ``MDF/images/N``. Voxels are not read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.json_text import shown
from volengine.io.picks import rows as r
from volengine.io.picks.eman2 import needed

IMAGES = "MDF/images"
COORDINATE, PIXEL = "EMAN.ptcl_source_coord", "EMAN.apix_x"


def read(path: Path, known: r.Known, format: str) -> r.Rows:
    """Read where the particles of a stack were.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        It is no stack of EMAN2, or a particle does not say where it was.
    InputError
        Shape or voxel size of the tomogram are needed.
    """
    if not r.is_file(path):
        raise MissingError(f"{path} is not a file; give the file of the particles.")
    with path.open("rb") as stream:  # stacks are large: h5py reads the headers only
        magic = stream.read(8)
    if magic != b"\x89HDF\r\n\x1a\n":
        raise r.foreign(path, "it is no HDF5 file as stacks of EMAN2 are")
    import h5py

    try:
        with h5py.File(path, "r") as file:
            at, pixel = _headers(file, path)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise FormatError(f"{path} is damaged: HDF5 cannot read it ({shown(str(error))}).") from None
    if known.shape is None or known.voxel_size is None:
        raise needed(path, float(pixel[0]), known.voxel_size is None)
    size, n = np.asarray(known.voxel_size, float), np.asarray(known.shape)
    with np.errstate(over="ignore"):
        coordinate = at[:, ::-1] * pixel[:, None] / size + n // 2
    if not np.isfinite(coordinate).all():
        raise FormatError(f"{path}: a coordinate times the pixel size is too large for a number; the file is damaged.")
    rows = r.Rows(path, coordinate=coordinate)
    name, _, feature = path.stem.partition("__")
    rows.facts = {name: {"voxel_size": size.tolist(), "feature": feature}}
    return rows


def _headers(file: Any, path: Path) -> tuple[r.Floats, r.Floats]:
    """Return the coordinates x, y, z (n, 3) and the pixel sizes (n,) of all particles."""
    images = file.get(IMAGES)
    if images is None or not hasattr(images, "keys"):
        raise r.foreign(path, f"it has no group {IMAGES} as stacks of EMAN2 have")
    names = sorted((name for name in images if name.isdecimal()), key=int)
    if not names:
        raise FormatError(f"{path}: the stack has no particles.")
    at, pixel = [], []
    for name in names:
        header = images[name].attrs
        coordinate = np.atleast_1d(np.asarray(header[COORDINATE], float)) if COORDINATE in header else np.zeros(0)
        if coordinate.shape != (3,) or not np.isfinite(coordinate).all():
            raise FormatError(
                f"{path}: particle {name} (counted from 0) does not say where in a tomogram it was: its "
                f"ptcl_source_coord is {coordinate.tolist() or 'missing'}, and must be three numbers."
            )
        size = float(np.asarray(header[PIXEL], float).reshape(-1)[0]) if PIXEL in header else 0.0
        if not 0 < size < 1e30:
            raise FormatError(f"{path}: particle {name} (counted from 0) does not state its pixel size (apix_x).")
        at.append(coordinate)
        pixel.append(size)
    return np.array(at), np.array(pixel)
