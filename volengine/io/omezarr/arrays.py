"""Reading and writing the voxels of a Zarr array, box by box.

>>> source = ZarrSource(volume)                                                              # doctest: +SKIP
>>> voxels = source.read(Box((0, 0, 0), (64, 64, 64)))  # z, y, x for any order in the store  # doctest: +SKIP
>>> ZarrSink(volume).write(Box((0, 0, 0), (256, 256, 256)), array)  # whole shards only       # doctest: +SKIP

Chunks and shards that contain only zeros are not stored, so the number of files does not tell the progress of a run.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import is_blank
from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import FormatError, PlanError
from volengine.core.tiling import AXES
from volengine.core.volume import Volume
from volengine.io.omezarr.codecs import fast_codecs_in_use
from volengine.io.omezarr.objects import ObjectWriter, Stored, bytes_of
from volengine.io.omezarr.opening import metadata_of, open_array, private_array
from volengine.io.omezarr.reading import ArrayReader


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
        self._reader: ArrayReader | None = None

    @property
    def shape(self) -> Index3:
        """Shape of the volume, voxels z, y, x."""
        return self.volume.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the voxels, as volengine reads them."""
        return np.dtype(self.volume.dtype)

    def _opened(self) -> ArrayReader:
        """Return the reader of the array, if it is still what the handle says."""
        if self._reader is not None:
            return self._reader
        reader = ArrayReader(self.volume.url, self.volume.path)
        array = reader.array
        sides = {axis: n for axis, n in zip(self.volume.axes, array.shape, strict=False) if axis in AXES}
        shape = tuple(sides.get(axis, 1) for axis in AXES)
        stored, wanted = (np.dtype(d).name.replace("bool", "uint8") for d in (array.dtype, self.dtype))
        if len(self.volume.axes) != array.ndim or shape != self.shape or stored != wanted:
            raise FormatError(
                f"{self.volume.url}: the array {self.volume.path!r} is {array.shape} {array.dtype} now; it was "
                f"{self.shape} {self.dtype} when it was opened. It has been changed since. Open it again."
            )
        self._reader = reader
        return reader

    def read(self, box: Box) -> NDArray[Any]:
        """Read a box: C-contiguous, z, y, x, in the volume's dtype and native byte order.

        Raises
        ------
        PlanError
            The box reaches outside of the volume.
        DamagedError
            A chunk of the box cannot be decoded, or is lost.
        MissingError
            The store is not there, or cannot be reached.
        """
        if not Box.of_shape(self.shape).contains(box):
            raise PlanError(f"{self.volume.url}: {box} leaves the volume of shape {self.shape}.")
        if box.empty:
            return np.zeros(box.shape, self.dtype)
        wanted = dict(zip(AXES, zip(box.start, box.stop, strict=True), strict=True))
        fixed = self.volume.facts.get("select", {})
        axes = self.volume.axes
        ends = [wanted[a] if a in wanted else (int(fixed.get(a, 0)), int(fixed.get(a, 0)) + 1) for a in axes]
        voxels = self._opened().read([low for low, _ in ends], [high for _, high in ends])
        kept = [a for a in axes if a in wanted]
        voxels = voxels.reshape([n for a, n in zip(axes, voxels.shape, strict=True) if a in wanted])
        voxels = voxels.transpose([kept.index(a) for a in AXES if a in kept])
        if "z" not in kept:
            voxels = voxels[np.newaxis]
        return np.ascontiguousarray(voxels, dtype=self.dtype)


class ZarrSink:
    """Write access to a level of an image, or to a scratch array; both must have been created. For one thread.

    Every box must consist of whole shards (whole chunks, if there are no shards). Two writers in one shard would lose
    the work of one of them without an error. A unit may be written twice, late, and by two processes at once, if the
    voxels are the same: readers see the former object or the new one, never a gap.

    Raises
    ------
    PlanError
        The array is not stored in the order z, y, x.
    """

    def __init__(self, volume: Volume):
        if volume.axes != AXES:
            raise PlanError(f"{volume.url}: arrays are written in the order z, y, x, not {volume.axes}.")
        self.volume = volume
        self._objects = ObjectWriter(volume.url, volume.path)
        self._text: bytes | None = None

    @property
    def unit(self) -> Index3:
        """Shape of the part that must have one writer: a shard, or a chunk if there are no shards."""
        return self.volume.shards or self.volume.chunks or self.volume.shape

    def write(self, box: Box, array: NDArray[Any]) -> list[Stored | None]:
        """Write a box of whole shards.

        Returns
        -------
        list
            For each object of the box, in the order of :meth:`keys`, its size in bytes and the crc32c of its bytes;
            ``None`` if it holds only zeros, so that nothing is stored. What is returned is durable after
            :meth:`flush`.

        Raises
        ------
        PlanError
            The box cuts a shard or reaches outside of the volume, the array has another shape or dtype, or the stored
            array differs from the volume's description.
        MissingError
            The array was deleted.
        """
        self._check(box)
        if array.shape != box.shape or array.dtype != np.dtype(self.volume.dtype):
            raise PlanError(
                f"{self.volume.url}, {self.volume.path}: an array of shape {array.shape} and {array.dtype} does not "
                f"fill {box.shape} voxels of {self.volume.dtype}."
            )
        if box.empty:
            return []
        text = self._metadata()
        if not is_blank(array):  # bit by bit: a negative zero is stored
            return self._stored(text, box, np.ascontiguousarray(array))
        self._objects.check_there()
        for key in (keys := self.keys(box)):
            self._objects.remove(key)
        return [None] * len(keys)

    def _stored(self, text: bytes, box: Box, voxels: NDArray[Any]) -> list[Stored | None]:
        """Encode a box that holds something, and put its objects in place."""
        if self._objects.folder is None:
            return self._encode(text, box, voxels, None)
        with self._objects.place() as place:
            if not fast_codecs_in_use():
                return self._encode(text, box, voxels, place)
            private, _ = private_array(text, place, self._where)
            with _as_os_error(self.volume.where):
                private[box.slices] = voxels
            names = (private.metadata.encode_chunk_key(cell) for cell in self._cells(box))
            return [self._objects.put_file(key, place / name) for key, name in zip(self.keys(box), names, strict=True)]

    def _encode(self, text: bytes, box: Box, voxels: NDArray[Any], place: Path | None) -> list[Stored | None]:
        """Encode a box in memory, one object at a time, and put each in place."""
        memory, objects = private_array(text, None, self._where)
        stored: list[Stored | None] = []
        for cell, key in zip(self._cells(box), self.keys(box), strict=True):
            part = self._part(cell)
            memory[part.slices] = voxels[part.slices_in(box)]
            data = objects.pop(key, None)
            if data is None:
                self._objects.remove(key)
            stored.append(None if data is None else self._objects.put(key, bytes_of(data), place))
        return stored

    def _cells(self, box: Box) -> list[Index3]:
        """Return the grid indices of the objects of a box, in C order."""
        ranges = (range(a // n, -(-b // n)) for a, b, n in zip(box.start, box.stop, self.unit, strict=True))
        return [index3(cell) for cell in itertools.product(*ranges)]

    def _part(self, cell: Index3) -> Box:
        """Return the voxels of an object."""
        start = index3(i * n for i, n in zip(cell, self.unit, strict=True))
        return Box(start, index3(a + n for a, n in zip(start, self.unit, strict=True))).clip(self.volume.shape)

    def keys(self, box: Box) -> list[str]:
        """Return the keys of the objects of a box of whole shards, relative to the array, in C order of the cells."""
        self._check(box)
        array = open_array(self.volume.url, self.volume.path, self._metadata())
        return [array.metadata.encode_chunk_key(cell) for cell in self._cells(box)]

    def absent(self, box: Box) -> list[str]:
        """Return those of the :meth:`keys` of a box at which nothing is stored."""
        return [key for key in self.keys(box) if not self._objects.exists(key)]

    def begin_flush(self) -> None:
        """Let the system begin with what :meth:`flush` waits for; nothing is waited for here."""
        self._objects.begin_flush()

    def flush(self) -> None:
        """Wait until everything that this sink has written since the last call is on the disk.

        Files are flushed first, then once each of the folders that hold them. Object stores need nothing.
        """
        self._objects.flush()

    @property
    def _where(self) -> str:
        return f"{self.volume.url}, {self.volume.path}"

    def _metadata(self) -> bytes:
        """Return the metadata of the stored array, if it is what was planned."""
        if self._text is None:
            text = metadata_of(self.volume.url, self.volume.path)
            array = open_array(self.volume.url, self.volume.path, text)
            stored = (array.shape, array.dtype.name, array.shards or array.chunks)
            if stored != (self.volume.shape, self.volume.dtype, self.unit):
                raise PlanError(
                    f"{self._where}: the array has shape {array.shape}, {array.dtype.name}, shards {stored[2]}; "
                    f"planned were {self.volume.shape}, {self.volume.dtype}, {self.unit}."
                )
            self._text = text
        return self._text

    def _check(self, box: Box) -> None:
        if not Box.of_shape(self.volume.shape).contains(box):
            raise PlanError(f"{self.volume.url}: {box} leaves the volume of shape {self.volume.shape}.")
        for axis, a, b, s, n in zip(AXES, box.start, box.stop, self.unit, self.volume.shape, strict=True):
            if a % s or (b % s and b != n):
                raise PlanError(
                    f"{self.volume.url}, {self.volume.path}: a box from {box.start} to {box.stop} cuts a shard "
                    f"{self.unit} on axis {axis}; write whole shards."
                )


@contextmanager
def _as_os_error(where: str) -> Iterator[None]:
    """Turn an error of ``zarrs`` that is one of the operating system into that, with the array that is written."""
    try:
        yield
    except RuntimeError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        code = int(number[1])
        raise OSError(code, os.strerror(code), where) from error
