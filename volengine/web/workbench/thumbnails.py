"""Thumbnails of tomograms: small WebP files, made once and kept in the project.

The mean of a few slices in the middle, from the coarsest level that is large enough. Noise does not compress, so the
quality is lowered until a file is small.
"""

from __future__ import annotations

import io
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volengine.core.atomic import write_atomic
from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.io.open import OpenVolume, open_source

SIDE = 256
"""Longest side, pixels."""
LARGEST = 12_000
"""Bytes of a file."""
SLICES = 5
QUALITIES = (70, 50, 35, 20, 10, 3)
PERCENTILES = (1.0, 99.0)
FORMAT = 1


def thumbnail_name(volume: OpenVolume) -> str:
    """Name of the file of a volume's thumbnail; another one when the volume has changed."""
    told = f"{FORMAT} {volume.where} {volume.identity}"
    return f"{sha256(told.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}.webp"


def thumbnail(volume: OpenVolume, folder: Path | None) -> bytes:
    """Return the thumbnail of a volume.

    Parameters
    ----------
    volume
        The volume.
    folder
        Where thumbnails are kept; ``None``: nowhere.

    Returns
    -------
    bytes
        A WebP file of at most 12 kB.
    """
    file = None if folder is None else folder / thumbnail_name(volume)
    if file is not None and file.is_file():
        return file.read_bytes()
    data = webp(grey_of(volume))
    if file is not None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(file, data)
        except (InputError, OSError):  # a full disk does not hide the picture
            pass
    return data


def grey_of(volume: OpenVolume) -> NDArray[np.uint8]:
    """The picture (rows, columns): 256 pixels along its longer side, or as many as there are voxels."""
    large = [n for n, shape in enumerate(volume.levels) if max(shape[1:]) >= SIDE]
    level = volume.at_level(large[-1]) if large and len(volume.levels) > 1 else volume
    nz, ny, nx = level.shape
    first = max(0, nz // 2 - SLICES // 2)
    slab = open_source(level).read(Box((first, 0, 0), (min(nz, first + SLICES), ny, nx)))
    plane = np.nan_to_num(slab.mean(axis=0, dtype=np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    step = max(1, max(ny, nx) // SIDE)
    rows, columns = max(1, ny // step), max(1, nx // step)
    plane = plane[: rows * step, : columns * step]
    if min(plane.shape) >= step:
        plane = plane.reshape(rows, step, columns, step).mean(axis=(1, 3))
    low, high = np.percentile(plane, PERCENTILES)
    scaled = (plane - low) / (high - low if high > low else 1.0)
    picture: NDArray[np.uint8] = np.rint(np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    return picture


def webp(picture: NDArray[np.uint8]) -> bytes:
    """A grey picture as a WebP file of at most 12 kB, at most 256 pixels wide and high."""
    from PIL import Image

    image = Image.fromarray(picture)
    image.thumbnail((SIDE, SIDE))
    while True:
        for quality in QUALITIES:
            file = io.BytesIO()
            image.save(file, "WEBP", quality=quality, method=4)
            if file.tell() <= LARGEST:
                return file.getvalue()
        image = image.resize((max(1, image.width * 3 // 4), max(1, image.height * 3 // 4)))
