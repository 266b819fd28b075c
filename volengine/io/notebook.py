"""A volume for people and for other libraries: as NumPy, Dask and xarray arrays, and as a picture in a notebook.

Functions of a volume and of what reads it; :class:`volengine.io.OpenVolume` has them as its methods.
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
"""Bytes up to which ``np.asarray`` reads a whole volume: 2 GiB."""

THUMBNAIL = 192
"""Pixels along the longer side of a thumbnail, as far as the volume has them; it may be up to twice as large."""

UNCHUNKED_BYTES = 64_000_000
"""Of a file without chunks, a Dask chunk has whole slices up to this size."""

Read = Callable[[Box], NDArray[Any]]


def read_index(volume: Volume, read: Read, key: Any) -> Any:
    """What NumPy's index, or a box, selects: an array, or a single number for three numbers."""
    ranges, dropped = selected(key, volume.shape)
    array = read_ranges(volume, read, ranges)
    return array[tuple(0 if axis in dropped else slice(None) for axis in range(3))]


def read_ranges(volume: Volume, read: Read, ranges: Ranges) -> NDArray[Any]:
    """The voxels at every combination of the indices along z, y, x; steps are kept, also backward ones.

    With steps, a layer of chunks is read at a time, so that the memory needed is that of the answer and one layer.
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
    """Out of the voxels of the smallest box: those at the indices, in their order."""
    steps = (r.step if len(r) > 1 else 1 for r in ranges)
    z, y, x = (slice(None, None, step) for step in steps)
    return array[z, y, x]


def check_size(volume: Volume) -> None:
    """Refuse to read a whole volume that is larger than :data:`LARGEST_ARRAY`.

    Raises
    ------
    InputError
        With shape and bytes, and what to do instead.
    """
    if volume.nbytes > LARGEST_ARRAY:
        raise InputError(
            f"{volume.where} has {volume.shape} voxels, {format_bytes(volume.nbytes)} as {volume.dtype}; NumPy arrays "
            f"are made of volumes up to {format_bytes(LARGEST_ARRAY)}. Read a part (volume[100], volume[:, :512]), a "
            "coarser level (volume.at_level(2)), or use to_dask(); volume[...] reads all of it in spite of its size."
        )


class LazyVoxels:
    """A volume as Dask wants an array: shape, dtype, and slices that are read when they are asked for."""

    ndim = 3

    def __init__(self, volume: Volume, reader: Callable[[Volume], Read]):
        self.volume = volume
        self.reader = reader
        self.shape = volume.shape
        self.dtype = np.dtype(volume.dtype)

    def __getitem__(self, key: Any) -> Any:
        return read_index(self.volume, self.reader(self.volume), key)


def dask_array(volume: Volume, reader: Callable[[Volume], Read]) -> Any:
    """The volume as a Dask array in its stored chunks; the tasks hold the handle and no voxels."""
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
    """An ``xarray.DataArray`` with positions in angstrom along z, y, x."""
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
    """The coarsest level that is no smaller than a thumbnail, or else the finest."""
    large = [number for number, shape in enumerate(shapes) if max(shape[1:]) >= THUMBNAIL]
    return large[-1] if large else 0


def thumbnail(plane: NDArray[Any], kind: str, window: tuple[float, float] | None) -> bytes:
    """A slice (y, x) as a PNG file: grey values between the two of ``window``, or a colour for each label."""
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
    """Means of step x step pixels; what is no finite number counts as 0."""
    y, x = (n // step for n in plane.shape)
    small = plane[: y * step, : x * step].astype(np.float32).reshape(y, step, x, step).mean(axis=(1, 3))
    finite: NDArray[np.float32] = np.nan_to_num(small, nan=0.0, posinf=0.0, neginf=0.0)
    return finite


def _contrast(plane: NDArray[Any]) -> tuple[float, float]:
    low, high = (float(v) for v in np.percentile(plane, PERCENTILES))
    return low, high if high > low else low + 1.0


def html_table(volume: Volume, shapes: Sequence[Index3], picture: bytes | None, note: str = "") -> str:
    """What a notebook shows of a volume: its facts beside a picture of its middle slice."""
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
