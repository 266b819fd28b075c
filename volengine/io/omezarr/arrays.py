"""Reading and writing the voxels of a Zarr array, box by box.

>>> source = ZarrSource(volume)                                                              # doctest: +SKIP
>>> voxels = source.read(Box((0, 0, 0), (64, 64, 64)))  # z, y, x for any order in the store  # doctest: +SKIP
>>> ZarrSink(volume).write(Box((0, 0, 0), (256, 256, 256)), array)  # whole shards only       # doctest: +SKIP

Chunks and shards that contain only zeros are not stored, so the number of files does not tell the progress of a run.
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
"""Number of arrays that a process keeps open. Opening an array again costs reading and parsing its metadata."""


@lru_cache(maxsize=OPEN_ARRAYS)
def open_array(url: str, path: str, identity: str = "", read_only: bool = True) -> zarr.Array[Any]:
    """Open the Zarr array at ``path`` of a store; this process keeps it open.

    Parameters
    ----------
    url, path
        The store, and the path of the array inside of it.
    identity
        Identity of the volume, so that a store with new contents is opened again.
    read_only
        Open the array for reading only.

    Raises
    ------
    MissingError
        There is no array.
    FormatError
        Its metadata cannot be read.
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
    """Forget the arrays that :func:`open_array` keeps open; call this when arrays are created or deleted."""
    open_array.cache_clear()


class ZarrSource:
    """Read access to the voxels of a volume in a Zarr store.

    Parameters
    ----------
    volume
        The handle. ``volume.axes`` is the order of the axes in the store. Other axes than z, y, x are read at the index
        in ``volume.facts["select"]``, default 0.
    """

    def __init__(self, volume: Volume):
        self.volume = volume

    @property
    def shape(self) -> Index3:
        """Shape of the volume, voxels z, y, x."""
        return self.volume.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the voxels, as volengine reads them."""
        return np.dtype(self.volume.dtype)

    def _array(self) -> zarr.Array[Any]:
        """Return the open array, if it is still what the handle says."""
        array = open_array(self.volume.url, self.volume.path, self.volume.identity)
        sides = {axis: n for axis, n in zip(self.volume.axes, array.shape, strict=False) if axis in AXES}
        shape = tuple(sides.get(axis, 1) for axis in AXES)
        stored, wanted = (np.dtype(d).name.replace("bool", "uint8") for d in (array.dtype, self.dtype))
        if len(self.volume.axes) != array.ndim or shape != self.shape or stored != wanted:
            raise FormatError(
                f"{self.volume.url}: the array {self.volume.path!r} is {array.shape} {array.dtype} now; it was "
                f"{self.shape} {self.dtype} when it was opened. It has been changed since. Open it again."
            )
        return array

    def read(self, box: Box) -> NDArray[Any]:
        """Read a box: C-contiguous, z, y, x, in the volume's dtype and native byte order.

        Raises
        ------
        PlanError
            The box reaches outside of the volume.
        """
        if not Box.of_shape(self.shape).contains(box):
            raise PlanError(f"{self.volume.url}: {box} leaves the volume of shape {self.shape}.")
        if box.empty:
            return np.zeros(box.shape, self.dtype)
        array = self._array()
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
    """Write access to a level of an image, or to a scratch array; both must have been created.

    Every box must consist of whole shards (whole chunks, if there are no shards). Two writers in one shard would lose
    the work of one of them without an error.

    Raises
    ------
    PlanError
        The array is not stored in the order z, y, x.
    """

    def __init__(self, volume: Volume):
        if volume.axes != AXES:
            raise PlanError(f"{volume.url}: arrays are written in the order z, y, x, not {volume.axes}.")
        self.volume = volume

    @property
    def unit(self) -> Index3:
        """Shape of the part that must have one writer: a shard, or a chunk if there are no shards."""
        return self.volume.shards or self.volume.chunks or self.volume.shape

    def write(self, box: Box, array: NDArray[Any]) -> None:
        """Write a box of whole shards.

        Raises
        ------
        PlanError
            The box cuts a shard or reaches outside of the volume, the array has another shape or dtype, or the stored
            array differs from the volume's description.
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
            # zarr-python reads a shard before it replaces it, and cannot read one that a killed writer left incomplete.
            # It is not deleted beforehand: a late worker that repeats a finished unit must leave no gap for readers.
            self.delete(box)
            stored[box.slices] = voxels

    def delete(self, box: Box) -> None:
        """Delete the shards of a box, complete or not, so that it reads as zeros. Missing shards are no error."""
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
