"""Files that hold their voxels as one array behind a header: the handle of such a file, and its source.

The readers of formats (:mod:`volengine.io.em`, :mod:`volengine.io.nifti`, :mod:`volengine.io.amira`) read the header
and say where the voxels are; :func:`file_volume` makes the handle, :class:`PlainSource` reads boxes through short-lived
memory maps.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3
from volengine.core.errors import FormatError
from volengine.core.volume import Vector3, Volume
from volengine.io.files import FileSource
from volengine.io.identity import How, identified
from volengine.io.mrc.rules import MAX_LENGTH_VOX, VOXEL_RANGE
from volengine.io.rawfile import RawLayout, read_raw


def file_volume(
    path: str,
    shape: Index3,
    dtype: str,
    voxel_size: Vector3,
    identity: How,
    *,
    origin: Vector3 = (0.0, 0.0, 0.0),
    name: str | None = None,
    endings: Sequence[str] = (),
    inside: str = "",
    chunks: Index3 | None = None,
    facts: Mapping[str, Any],
) -> Volume:
    """Make the handle of a file, with its identity.

    Parameters
    ----------
    path
        The file.
    shape, dtype, voxel_size, origin, chunks
        As for :class:`~volengine.core.volume.Volume`.
    identity
        How the file is identified (:mod:`volengine.io.identity`).
    name
        Name of the tomogram; default: the file's name without the first of ``endings`` that it has.
    inside
        Path of the dataset in the file, for formats that hold several.
    facts
        What the header says, JSON values.
    """
    stem = Path(path).name
    ending = next((e for e in endings if stem.lower().endswith(e) and len(stem) > len(e)), "")
    url = os.path.abspath(path)  # noqa: PTH100  (resolve() would follow links to names users do not know)
    volume = Volume(
        url=url,
        path=inside,
        shape=shape,
        dtype=dtype,
        voxel_size=voxel_size,
        origin=origin,
        name=stem[: len(stem) - len(ending)] if name is None else name,
        chunks=chunks,
        facts=dict(facts),
    )
    return identified(volume, identity)


def check_shape(path: str, shape: Sequence[int]) -> Index3:
    """Refuse a shape (z, y, x) that no volume has: not three axes, empty ones, or more than a million voxels on one.

    Raises
    ------
    FormatError
        The header announces such a shape.
    """
    if len(shape) != 3 or not all(1 <= n <= MAX_LENGTH_VOX for n in shape):
        raise FormatError(
            f"{path}: its header announces {tuple(shape)} voxels; three lengths from 1 to {MAX_LENGTH_VOX} were "
            "expected. It is damaged, or of another format."
        )
    z, y, x = (int(n) for n in shape)
    return z, y, x


def check_size(path: str, need: int, size: int, what: str) -> None:
    """Refuse a file that is shorter than its header announces.

    Raises
    ------
    FormatError
        It has ``size`` bytes, but the voxels (``what``) end at byte ``need``.
    """
    if need > size:
        raise FormatError(
            f"{path}: truncated: {what} end at byte {need}; the file has {size}. Copy or download it again."
        )


def plausible(size: Sequence[float] | None) -> Vector3 | None:
    """Return a voxel size in angstrom (z, y, x) if all its lengths are plausible (0.1 to 1000), else ``None``."""
    low, high = VOXEL_RANGE
    if size is None or not all(low <= v <= high for v in size):
        return None
    z, y, x = (float(v) for v in size)
    return z, y, x


class PlainSource(FileSource):
    """Read access to voxels that are one array behind a header. It can be pickled, and keeps no file open.

    Parameters
    ----------
    volume
        The handle.
    layout
        Where the voxels are, as the file's header says now.
    dtype
        Dtype of the voxels as they are read.
    scale
        Slope and intercept, for files that store ``(value - intercept) / slope``; then ``dtype`` is ``float32``.

    Raises
    ------
    ChangedError
        The file has changed since it was opened.
    """

    def __init__(self, volume: Volume, layout: RawLayout, dtype: str, scale: tuple[float, float] | None = None):
        super().__init__(volume)
        self._check_file(layout.shape, dtype)
        self._layout, self._scale = layout, scale

    def read(self, box: Box) -> NDArray[Any]:
        """Read a box: C-contiguous, native byte order, z, y, x.

        Raises
        ------
        InputError
            The box is not inside of the volume.
        FormatError
            The file has been cut off since it was opened.
        """
        self._check_box(box)
        return scaled(read_raw(self.volume.url, self._layout, box), self._scale)


def scaled(values: NDArray[Any], scale: tuple[float, float] | None) -> NDArray[Any]:
    """Return ``values * slope + intercept`` as float32, computed in float64 slice by slice; or the values."""
    if scale is None:
        return values
    slope, intercept = scale
    out = np.empty(values.shape, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        for z, page in enumerate(values):
            out[z] = page.astype(np.float64) * slope + intercept
    return out
