"""Thumbnails of tomograms: small WebP files, made once and kept in the project.

The mean of a few slices in the middle, from the coarsest level that is large enough; with a feature, at the slice where
it has most, and with it in its colour. Noise does not compress, so the quality is lowered until a file is small.
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
from volengine.core.feature_colours import WHITE, Colour
from volengine.io.open import OpenVolume, open_source
from volengine.ops.pictures import overlay
from volengine.ops.score_masks import probabilities
from volengine.tasks.report.counted import blocks_of, level_within

SIDE = 256
"""Longest side, pixels."""
LARGEST = 12_000
"""Bytes of a file."""
SLICES = 5
MOST_VOXELS = 2**24
"""Voxels of the level of a prediction in which the slice is looked for."""
QUALITIES = (70, 50, 35, 20, 10, 3)
PERCENTILES = (1.0, 99.0)
FORMAT = 1


def thumbnail_name(volume: OpenVolume, feature: OpenVolume | None = None, colour: Colour = WHITE) -> str:
    """Name of the file of a thumbnail; another one when the volume, or the feature over it, has changed."""
    told = f"{FORMAT} {volume.where} {volume.identity}"
    if feature is not None:
        told += f" {feature.where} {feature.identity} {colour}"
    return f"{sha256(told.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}.webp"


def thumbnail(
    volume: OpenVolume, folder: Path | None, feature: OpenVolume | None = None, colour: Colour = WHITE
) -> bytes:
    """Return the thumbnail of a volume.

    Parameters
    ----------
    volume
        The volume.
    folder
        Where thumbnails are kept; ``None``: nowhere.
    feature, colour
        A prediction or labels of its voxels, and the colour in which they lie over it.

    Returns
    -------
    bytes
        A WebP file of at most 12 kB.

    Raises
    ------
    InputError
        The feature has another shape than the volume, or is no prediction.
    """
    file = None if folder is None else folder / thumbnail_name(volume, feature, colour)
    if file is not None and file.is_file():
        return file.read_bytes()
    data = webp(grey_of(volume) if feature is None else with_feature(volume, feature, colour))
    if file is not None:
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(file, data)
        except (InputError, OSError):  # a full disk does not hide the picture
            pass
    return data


def grey_of(volume: OpenVolume, depth: float = 0.5) -> NDArray[np.uint8]:
    """The picture (rows, columns): 256 pixels along its longer side, or as many as there are voxels.

    ``depth`` says where along z, from 0 to 1.
    """
    large = [n for n, shape in enumerate(volume.levels) if max(shape[1:]) >= SIDE]
    level = volume.at_level(large[-1]) if large and len(volume.levels) > 1 else volume
    nz, ny, nx = level.shape
    first = min(max(0, int(nz * depth) - SLICES // 2), nz - 1)
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


def with_feature(volume: OpenVolume, feature: OpenVolume, colour: Colour) -> NDArray[np.uint8]:
    """The picture (rows, columns, 3) at the slice where a feature has most, with the feature in its colour."""
    from PIL import Image

    if feature.shape != volume.shape:
        raise InputError(f"{feature.where} has the shape {feature.shape}, the tomogram {volume.shape}.")
    plane, depth = most_of(feature)
    grey = grey_of(volume, depth)
    strength = Image.fromarray(plane).resize((grey.shape[1], grey.shape[0]), Image.Resampling.BOX)
    picture: NDArray[np.uint8] = overlay(grey[..., None], np.asarray(strength, np.float32) / 255, colour)
    return picture


def most_of(feature: OpenVolume) -> tuple[NDArray[np.uint8], float]:
    """The slice of a prediction or of labels that has most of it, and where it is along z, from 0 to 1.

    Of a pyramid the finest level of at most 2²⁴ voxels is read (the coarsest if all have more), a block at a time.
    Counted is the probability above one half; where there is none, all of it; of equal slices the first is taken.

    Returns
    -------
    plane, depth
        Probabilities (rows, columns), 0 to 255; labels are 255.
    """
    level, _ = level_within(feature, MOST_VOXELS)
    source = open_source(level)

    def strength(box: Box) -> NDArray[np.uint8]:
        values = source.read(box)
        if feature.kind == "labels":
            return np.where(values > 0, np.uint8(255), np.uint8(0))
        made: NDArray[np.uint8] = np.rint(np.clip(probabilities(values, feature.where), 0, 1) * 255).astype(np.uint8)
        return made

    likely, every = np.zeros((2, level.shape[0]), np.int64)
    for box in blocks_of(level):
        block, rows = strength(box), box.slices[0]
        every[rows] += block.sum(axis=(1, 2), dtype=np.int64)
        likely[rows] += np.where(block > 127, block, 0).sum(axis=(1, 2), dtype=np.int64)
    counted = likely if likely.any() else every
    if not counted.any():
        return np.zeros(level.shape[1:], np.uint8), 0.5
    z = int(np.argmax(counted))
    return strength(Box((z, 0, 0), (z + 1, *level.shape[1:])))[0], (z + 0.5) / level.shape[0]


def webp(picture: NDArray[np.uint8]) -> bytes:
    """A picture, grey or of three colours, as a WebP file of at most 12 kB, at most 256 pixels wide and high."""
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
