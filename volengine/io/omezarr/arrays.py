"""The voxels of a Zarr array, box by box.

>>> source = ZarrSource(volume)
>>> source.read(Box((0, 0, 0), (64, 64, 64)))          # z, y, x, whatever the order in the store
>>> sink = ZarrSink(volume)
>>> sink.write(Box((0, 0, 0), (256, 256, 256)), array)  # whole shards only

Chunks and shards that hold nothing but zeros are not stored (they read as zeros), so the number of files says
nothing about progress.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3
from volengine.core.errors import FormatError, MissingError, PlanError
from volengine.core.tiling import AXES
from volengine.core.volume import Volume
from volengine.io.omezarr.codecs import pipeline
from volengine.io.stores import local_path, open_store

if TYPE_CHECKING:
    import zarr

OPEN_ARRAYS = 64
"""Arrays that a process keeps open: opening one again costs a read and a parse of its metadata."""


@lru_cache(maxsize=OPEN_ARRAYS)
def open_array(url: str, path: str, identity: str = "", read_only: bool = True) -> zarr.Array[Any]:
    """The Zarr array at ``path`` of a store, kept open by this process.

    ``identity`` only tells one content of the store from another, so that a store made anew is opened anew.

    Raises
    ------
    MissingError
        If there is no array.
    FormatError
        If its metadata cannot be read.
    """
    import zarr

    try:
        with pipeline():
            return zarr.open_array(open_store(url, read_only=read_only), path=path, mode="r" if read_only else "r+")
    except FileNotFoundError as error:
        raise MissingError(f"{url}: there is no Zarr array {path!r}.") from error
    except (ValueError, TypeError, KeyError) as error:
        raise FormatError(f"{url}: the metadata of the array {path!r} cannot be read: {error}.") from error


def forget_open_arrays() -> None:
    """Close what :func:`open_array` keeps open; called when arrays are created or removed."""
    open_array.cache_clear()


class ZarrSource:
    """Read access to a volume in a Zarr store.

    ``volume.axes`` is the order in the store; further axes (``t``, ``c``) are fixed at the index that
    ``volume.facts["select"]`` gives, 0 by default.
    """

    def __init__(self, volume: Volume):
        self.volume = volume

    @property
    def shape(self) -> Index3:
        return self.volume.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.volume.dtype)

    def read(self, box: Box) -> NDArray[Any]:
        """The voxels of a box, C-contiguous, z, y, x, in the volume's dtype and native byte order.

        Raises
        ------
        PlanError
            If the box leaves the volume: what lies outside is for the caller to say.
        """
        if not Box.of_shape(self.shape).contains(box):
            raise PlanError(f"{self.volume.url}: {box} leaves the volume of shape {self.shape}.")
        if box.empty:
            return np.zeros(box.shape, self.dtype)
        array = open_array(self.volume.url, self.volume.path, self.volume.identity)
        wanted = dict(zip(AXES, box.slices, strict=True))
        fixed = self.volume.facts.get("select", {})
        axes = self.volume.axes
        voxels = np.asarray(array[tuple(wanted[a] if a in wanted else int(fixed.get(a, 0)) for a in axes)])
        kept = [a for a in axes if a in wanted]
        voxels = voxels.transpose([kept.index(a) for a in AXES if a in kept])
        if "z" not in kept:
            voxels = voxels[np.newaxis]
        return np.ascontiguousarray(voxels, dtype=self.dtype)


class ZarrSink:
    """Write access to a level of an image, or to a scratch array, that has been created.

    Every box must consist of whole shards (whole chunks, if there are no shards): two writers in one shard would
    lose the work of one of them without an error.
    """

    def __init__(self, volume: Volume):
        if volume.axes != AXES:
            raise PlanError(f"{volume.url}: arrays are written in the order z, y, x, not {volume.axes}.")
        self.volume = volume

    @property
    def unit(self) -> Index3:
        """The part that has one writer: the shard, or the chunk."""
        return self.volume.shards or self.volume.chunks or self.volume.shape

    def write(self, box: Box, array: NDArray[Any]) -> None:
        """Write the voxels of a box of whole shards.

        Raises
        ------
        PlanError
            If the box cuts a shard, leaves the volume, or the array has another shape or dtype.
        """
        self._check(box)
        if array.shape != box.shape or array.dtype != np.dtype(self.volume.dtype):
            raise PlanError(
                f"{self.volume.url}, {self.volume.path}: an array of shape {array.shape} and {array.dtype} does not "
                f"fill {box.shape} voxels of {self.volume.dtype}."
            )
        if box.empty:
            return
        stored, voxels = self._array(), np.ascontiguousarray(array)
        try:
            stored[box.slices] = voxels
        except (ValueError, IndexError, RuntimeError):
            if self.volume.shards is None:
                raise
            # zarr-python reads a shard before it replaces it, and cannot read one that a killed writer left torn.
            # Not deleted beforehand: a straggler that repeats a finished unit must leave no gap for its readers.
            self.delete(box)
            stored[box.slices] = voxels

    def delete(self, box: Box) -> None:
        """Delete the shards of a box, whole or torn, so that it reads as zeros. None there: no error."""
        self._check(box)
        array = self._array()
        unit = self.unit
        cells = [range(a // n, -(-b // n)) for a, b, n in zip(box.start, box.stop, unit, strict=True)]
        keys = [
            "/".join(part for part in (self.volume.path, array.metadata.encode_chunk_key(cell)) if part)
            for cell in itertools.product(*cells)
        ]
        folder = local_path(self.volume.url)
        if folder is not None:
            for key in keys:
                (folder / key).unlink(missing_ok=True)
            return
        from zarr.core.sync import sync

        store = open_store(self.volume.url)
        for key in keys:
            sync(store.delete(key))

    def _array(self) -> zarr.Array[Any]:
        array = open_array(self.volume.url, self.volume.path, self.volume.identity, read_only=False)
        stored = (array.shape, array.dtype.name, array.shards or array.chunks)
        if stored != (self.volume.shape, self.volume.dtype, self.unit):
            raise PlanError(
                f"{self.volume.url}, {self.volume.path}: the array has shape {array.shape}, {array.dtype.name}, "
                f"shards {stored[2]}; planned were {self.volume.shape}, {self.volume.dtype}, {self.unit}."
            )
        return array

    def _check(self, box: Box) -> None:
        if not Box.of_shape(self.volume.shape).contains(box):
            raise PlanError(f"{self.volume.url}: {box} leaves the volume of shape {self.volume.shape}.")
        for axis, a, b, s, n in zip(AXES, box.start, box.stop, self.unit, self.volume.shape, strict=True):
            if a % s or (b % s and b != n):
                raise PlanError(
                    f"{self.volume.url}, {self.volume.path}: a box from {box.start} to {box.stop} cuts a shard "
                    f"{self.unit} on axis {axis}; write whole shards."
                )
