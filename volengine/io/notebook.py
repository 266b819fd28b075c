"""Volumes in notebooks: as NumPy, Dask and xarray arrays, and as a picture.

The functions take a volume and a function that reads boxes of it. :class:`volengine.io.open.OpenVolume` has them as its
methods.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import InputError, require
from volengine.core.indexing import Ranges, bounds, selected
from volengine.core.tiling import AXES
from volengine.core.units import NM_TO_ANGSTROM, format_bytes
from volengine.core.volume import Volume, size_text
from volengine.io.omezarr.display import PERCENTILES
from volengine.ops import pictures

LARGEST_ARRAY = 2 << 30
"""Largest volume that ``np.asarray`` reads, bytes: 2 GiB."""

THUMBNAIL = 192
"""Pixels along the longer side of a thumbnail, if the volume has as many voxels; it may be up to twice as large."""

UNCHUNKED_BYTES = 64_000_000
"""Largest Dask chunk, bytes, for a file without chunks; it consists of whole slices."""

Read = Callable[[Box], NDArray[Any]]


def read_index(volume: Volume, read: Read, key: Any) -> Any:
    """Read what a NumPy index or a box selects: an array, or a single number for three numbers."""
    ranges, dropped = selected(key, volume.shape)
    array = read_ranges(volume, read, ranges)
    return array[tuple(0 if axis in dropped else slice(None) for axis in range(3))]


def read_ranges(volume: Volume, read: Read, ranges: Ranges) -> NDArray[Any]:
    """Read the voxels at all combinations of the indices along z, y, x; steps may be negative.

    With steps, one layer of chunks is read at a time, so the memory needed is that of the result and one layer.
    """
    shape = index3(map(len, ranges))
    if 0 in shape:
        return np.empty(shape, volume.dtype)
    if all(abs(r.step) == 1 or len(r) == 1 for r in ranges):
        return np.require(_ordered(read(bounds(ranges)), ranges), requirements=["W"])
    out = np.empty(shape, volume.dtype)
    depth = volume.chunks[0] if volume.chunks else 1
    start = 0
    for _, group in groupby(ranges[0], key=lambda z: z // depth):
        indices = list(group)
        layer = (range(indices[0], indices[-1] + ranges[0].step, ranges[0].step), ranges[1], ranges[2])
        out[start : start + len(indices)] = _ordered(read(bounds(layer)), layer)
        start += len(indices)
    return out


def _ordered(array: NDArray[Any], ranges: Ranges) -> NDArray[Any]:
    """Select the voxels at the indices, in their order, from the voxels of the smallest box."""
    steps = (r.step if len(r) > 1 else 1 for r in ranges)
    z, y, x = (slice(None, None, step) for step in steps)
    return array[z, y, x]


def check_size(volume: Volume) -> None:
    """Refuse to read a whole volume that is larger than :data:`LARGEST_ARRAY`.

    Raises
    ------
    InputError
        It is larger; the message states shape, bytes, and what to do instead.
    """
    if volume.nbytes > LARGEST_ARRAY:
        raise InputError(
            f"{volume.where} has {volume.shape} voxels, {format_bytes(volume.nbytes)} as {volume.dtype}; NumPy arrays "
            f"are made of volumes up to {format_bytes(LARGEST_ARRAY)}. Read a part (volume[100], volume[:, :512]), a "
            "coarser level (volume.at_level(2)), or use to_dask(); volume[...] reads all of it in spite of its size."
        )


class LazyVoxels:
    """A volume with the interface of an array for Dask: shape, dtype, and indexing, which reads the voxels."""

    ndim = 3

    def __init__(self, volume: Volume, reader: Callable[[Volume], Read]):
        self.volume = volume
        self.reader = reader
        self.shape = volume.shape
        self.dtype = np.dtype(volume.dtype)

    def __getitem__(self, key: Any) -> Any:
        return read_index(self.volume, self.reader(self.volume), key)


def dask_array(volume: Volume, reader: Callable[[Volume], Read]) -> Any:
    """Make a Dask array of a volume in its stored chunks; its tasks contain the handle and no voxels."""
    import dask.array as da
    from dask.base import tokenize

    name = f"volume-{tokenize(volume.to_json())}"
    lazy = LazyVoxels(volume, reader)
    meta = np.empty((0, 0, 0), lazy.dtype)
    return da.from_array(lazy, chunks=volume.chunks or _slabs(volume), name=name, lock=False, asarray=False, meta=meta)


def _slabs(volume: Volume) -> Index3:
    nz, ny, nx = volume.shape
    return min(nz, max(1, UNCHUNKED_BYTES * nz // volume.nbytes)), ny, nx


def xarray_array(volume: Volume, data: Any) -> Any:
    """Make an ``xarray.DataArray`` with coordinates in angstrom along z, y, x."""
    try:
        import xarray
    except ImportError as error:
        raise require("xarray", "xarray", "to_xarray") from error
    coordinates = {
        axis: (axis, origin + np.arange(n) * size, {"units": "angstrom"})
        for axis, n, size, origin in zip(AXES, volume.shape, volume.voxel_size, volume.origin, strict=True)
    }
    attributes = {
        "kind": volume.kind,
        "voxel_size": list(volume.voxel_size),
        "origin": list(volume.origin),
        "units": "angstrom",
        "where": volume.where,
    }
    return xarray.DataArray(data, dims=tuple(AXES), coords=coordinates, name=volume.name or None, attrs=attributes)


def thumbnail_level(shapes: Sequence[Index3]) -> int:
    """Return the number of the coarsest level that is not smaller than a thumbnail, or else of the finest."""
    large = [number for number, shape in enumerate(shapes) if max(shape[1:]) >= THUMBNAIL]
    return large[-1] if large else 0


def thumbnail(plane: NDArray[Any], kind: str, window: tuple[float, float] | None) -> bytes:
    """Draw a slice (y, x) as a PNG file: in grey, from black to white over ``window``, or with a colour per label."""
    step = max(1, max(plane.shape) // THUMBNAIL)
    if kind == "labels":
        picture = pictures.label_colours(plane[::step, ::step])
        picture[plane[::step, ::step] == 0] = 0
    else:
        small = _binned(plane, step)
        picture = pictures.grey(small, window if window is not None else _contrast(small))
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def _binned(plane: NDArray[Any], step: int) -> NDArray[np.float32]:
    """Return the means of step x step pixels; a mean that is not finite becomes 0."""
    y, x = (n // step for n in plane.shape)
    small = plane[: y * step, : x * step].astype(np.float32).reshape(y, step, x, step).mean(axis=(1, 3))
    finite: NDArray[np.float32] = np.nan_to_num(small, nan=0.0, posinf=0.0, neginf=0.0)
    return finite


def _contrast(plane: NDArray[Any]) -> tuple[float, float]:
    low, high = (float(v) for v in np.percentile(plane, PERCENTILES))
    return low, high if high > low else low + 1.0


def html_table(volume: Volume, shapes: Sequence[Index3], picture: bytes | None, note: str = "") -> str:
    """Make the HTML that a notebook shows of a volume: its facts, and a picture of its middle slice.

    Parameters
    ----------
    volume
        The volume.
    shapes
        Shapes of its levels, z, y, x.
    picture
        A PNG file, or ``None``.
    note
        Text that is shown instead of a missing picture.
    """
    extent = [f"{n * v / NM_TO_ANGSTROM:.4g}" for n, v in zip(volume.shape, volume.voxel_size, strict=True)]
    rows = {
        "size (z, y, x)": f"{_times(volume.shape)} voxels, {' x '.join(extent)} nm",
        "voxel size": f"{size_text(volume.voxel_size)} angstrom",
        "kind": f"{volume.kind}, {volume.dtype}, {format_bytes(volume.nbytes)}",
        "levels": "; ".join(map(_times, shapes)),
        "where": volume.where,
    }
    if volume.facts.get("feature"):
        rows = {"feature": str(volume.facts["feature"]), **rows}
    cells = "".join(
        f'<tr><th style="text-align:left">{html.escape(name)}</th><td style="text-align:left">{html.escape(text)}</td>'
        "</tr>"
        for name, text in rows.items()
    )
    shown = f"<em>{html.escape(note)}</em>" if note else ""
    if picture is not None:
        data = base64.b64encode(picture).decode()
        shown = f'<img alt="middle slice" style="max-width:{2 * THUMBNAIL}px" src="data:image/png;base64,{data}">'
    title = html.escape(volume.name or "volume")
    return (
        '<div style="display:flex;gap:1em;align-items:flex-start">'
        f"<div>{shown}</div><div><b>{title}</b><table>{cells}</table></div></div>"
    )


def _times(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
