"""A volume as the Zarr array with levels that a browser's viewer reads, whatever it is stored as.

Nothing is converted: metadata are made up, and a chunk is read when it is asked for, by the reader of the volume's own
format. So MRC files, zip archives and object stores look like any store, no path of a request leads into the file
system, and types that the viewer does not know (float16, float64, bool, int64) are sent as ones that it knows. A volume
without levels is given those that ``volengine convert`` would write, voxel for voxel; what was made of them is kept.

>>> import json
>>> from volengine.io.open import open_volume
>>> pyramid = Pyramid(open_volume("TS_01.ome.zarr"), ChunkCache(1_000_000))
>>> pyramid.array(0)["data_type"], len(pyramid.levels)
('float32', 2)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

import numcodecs
import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import FormatError, MissingError
from volengine.core.volume import Kind, Vector3
from volengine.io.cached import ChunkCache
from volengine.io.identity import check_unchanged
from volengine.io.names import Source
from volengine.io.omezarr.levels import plan_levels
from volengine.io.open import OpenVolume, open_source
from volengine.ops.pyramid import pyramid as coarser

CHUNK = 64
"""Side of a chunk where the stored ones do not suit, voxels."""
THINNEST, LARGEST = 16, 2_100_000
"""Stored chunks suit if no side is smaller, unless the volume is, and they have at most so many bytes."""
SLAB = 8_000_000
"""Voxels of the finest level that are read at once for a coarser chunk."""

NUMBERS = {"float16": "float32", "float64": "float32", "int64": "float32", "uint64": "float32", "bool": "uint8"}
"""Types of intensities that the viewer does not read, and what is sent."""
LABELS = {"int8": "uint32", "int16": "uint32", "int32": "uint32", "int64": "uint64", "bool": "uint8"}
LABELS |= {"float16": "uint32", "float32": "uint32", "float64": "uint64"}
"""The same of labels, whose voxels must be whole numbers from 0."""

_CODEC = {"cname": "lz4", "clevel": 3, "blocksize": 0}


@dataclass(frozen=True)
class PyramidLevel:
    """One level: the volume whose voxels are read, how many of them along each axis make one, shape and chunk."""

    volume: OpenVolume
    factor: Index3
    shape: Index3
    chunk: Index3
    voxel_size: Vector3
    made: bool


class Pyramid:
    """A volume as a Zarr array with levels.

    Parameters
    ----------
    volume
        The volume, at its finest level.
    cache
        Keeps what was read of chunks that are larger than those sent, and coarser levels that were made.
    labels
        Whether its voxels are labels; default: as the volume says.
    """

    def __init__(self, volume: OpenVolume, cache: ChunkCache, labels: bool | None = None):
        self.volume, self.cache = volume, cache
        self.labels = volume.kind == "labels" if labels is None else labels
        self.dtype = np.dtype((LABELS if self.labels else NUMBERS).get(volume.dtype, volume.dtype))
        noise = self.dtype.kind == "f" and volume.kind == "intensity"  # unpacking it would cost more than it saves
        self._codec = None if noise else numcodecs.get_codec({"id": "blosc", "shuffle": 1, **_CODEC})

    @cached_property
    def levels(self) -> tuple[PyramidLevel, ...]:
        """The levels, the finest first."""
        if self.volume.stored and len(self.volume.levels) > 1:
            stored = [self.volume.at_level(n) for n in range(len(self.volume.levels))]
            return tuple(PyramidLevel(v, (1, 1, 1), v.shape, _chunk_of(v), v.voxel_size, False) for v in stored)
        found = []
        for level in plan_levels(self.volume.shape):
            z, y, x = (v * f for v, f in zip(self.volume.voxel_size, level.factor, strict=True))
            made = level.factor != (1, 1, 1)
            chunk = index3(min(CHUNK, n) for n in level.shape) if made else _chunk_of(self.volume)
            found.append(PyramidLevel(self.volume, level.factor, level.shape, chunk, (z, y, x), made))
        return tuple(found)

    # -- metadata ------------------------------------------------------------------------------------------

    def group(self, offset: Vector3, half: Vector3) -> dict[str, Any]:
        """The metadata of the group: OME-Zarr 0.5, lengths in angstrom.

        Parameters
        ----------
        offset
            Place of the centre of the first voxel.
        half
            What is added to every place: the viewer's voxels begin at whole numbers, ours have their centres there.
        """
        datasets = []
        for number, level in enumerate(self.levels):  # all begin at the same face; a translation is that of a centre
            at = [
                float(o + h + (size - finest) / 2)
                for o, h, size, finest in zip(offset, half, level.voxel_size, self.volume.voxel_size, strict=True)
            ]
            scale = {"type": "scale", "scale": [float(v) for v in level.voxel_size]}
            moved = {"type": "translation", "translation": at}
            datasets.append({"path": str(number), "coordinateTransformations": [scale, moved]})
        axes = [{"name": name, "type": "space", "unit": "angstrom"} for name in "zyx"]
        ome = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
        return {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}

    def array(self, number: int) -> dict[str, Any]:
        """The metadata of a level's array: Zarr 3."""
        level = self._level(number)
        codecs: list[Any] = [{"name": "bytes", "configuration": {"endian": "little"}}]
        if self._codec is not None:
            blosc = {**_CODEC, "shuffle": "shuffle", "typesize": self.dtype.itemsize}
            codecs.append({"name": "blosc", "configuration": blosc})
        return {
            "zarr_format": 3,
            "node_type": "array",
            "shape": list(level.shape),
            "data_type": self.dtype.name,
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(level.chunk)}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
            "codecs": codecs,
            "fill_value": 0,
            "attributes": {},
            "dimension_names": ["z", "y", "x"],
        }

    # -- voxels --------------------------------------------------------------------------------------------

    def encoded(self, number: int, cell: Index3) -> bytes:
        """A chunk as it is sent.

        Parameters
        ----------
        number
            The level.
        cell
            Number of the chunk along z, y, x.

        Raises
        ------
        MissingError
            There is no such level or chunk.
        FormatError
            The volume has changed, or a voxel cannot be sent as a label.
        """
        voxels = self.voxels(number, cell)
        chunk = self._level(number).chunk
        if voxels.shape != chunk:  # the last ones are as large as the others
            whole = np.zeros(chunk, voxels.dtype)
            whole[tuple(slice(0, n) for n in voxels.shape)] = voxels
            voxels = whole
        voxels = np.ascontiguousarray(voxels, voxels.dtype.newbyteorder("<"))
        return voxels.tobytes() if self._codec is None else bytes(self._codec.encode(voxels))

    def voxels(self, number: int, cell: Index3) -> NDArray[Any]:
        """The voxels of a chunk inside of the volume, z, y, x, in the type that is sent; errors as :meth:`encoded`."""
        level = self._level(number)
        counts = [-(-n // c) for n, c in zip(level.shape, level.chunk, strict=True)]
        if not all(0 <= i < n for i, n in zip(cell, counts, strict=True)):
            raise MissingError(f"{self.volume.where}: level {number} has {counts} chunks; there is no {list(cell)}.")
        start = index3(i * c for i, c in zip(cell, level.chunk, strict=True))
        box = Box(start, index3(a + c for a, c in zip(start, level.chunk, strict=True))).clip(level.shape)
        voxels = self._sent(self._made(level, number, cell, box) if level.made else self._read(level.volume, box))
        check_unchanged(level.volume, full=False)
        return voxels

    def _level(self, number: int) -> PyramidLevel:
        if not 0 <= number < len(self.levels):
            raise MissingError(f"{self.volume.where}: there are {len(self.levels)} levels; there is no {number}.")
        return self.levels[number]

    def _read(self, volume: OpenVolume, box: Box) -> NDArray[Any]:
        source: Source = open_source(volume)
        if volume.chunks is not None and _chunk_of(volume) != volume.chunks:
            source = self.cache.over(source, volume)
        return source.read(box)

    def _made(self, level: PyramidLevel, number: int, cell: Index3, box: Box) -> NDArray[Any]:
        """A chunk of a level that is not stored, from the finest one, some slices at a time."""
        key = (f"{self.volume.where} {self.volume.identity}", f"level {number}", cell)
        kept = self.cache.get(key)
        if kept is not None:
            return kept
        kind: Kind = "labels" if self.labels else "intensity"
        factors = [one.factor for one in self.levels[1 : number + 1]]
        depth = max(1, SLAB // (prod(level.factor) * prod(box.shape[1:])))
        parts = []
        for z in range(box.start[0], box.stop[0], depth):
            some = Box((z, *box.start[1:]), (min(z + depth, box.stop[0]), *box.stop[1:]))
            fine = Box(
                index3(a * f for a, f in zip(some.start, level.factor, strict=True)),
                index3(b * f for b, f in zip(some.stop, level.factor, strict=True)),
            ).clip(self.volume.shape)
            parts.append(coarser(self._read(self.volume, fine), factors, kind)[-1])
        made = np.concatenate(parts)
        self.cache.put(key, made)
        return made

    def _sent(self, voxels: NDArray[Any]) -> NDArray[Any]:
        if voxels.dtype == self.dtype:
            return voxels
        if self.labels:
            limit = float(np.iinfo(self.dtype).max)
            if voxels.size and not (voxels.min() >= 0 and voxels.max() <= limit and (voxels == np.rint(voxels)).all()):
                raise FormatError(f"{self.volume.where}: holds voxels that are no labels (whole numbers from 0).")
        with np.errstate(over="ignore"):  # beyond float32 is infinity
            return voxels.astype(self.dtype)


def _chunk_of(volume: OpenVolume) -> Index3:
    """The chunk that is sent of a volume: the stored one if it suits, else a cube."""
    stored = volume.chunks
    if (
        stored is not None
        and prod(stored) * np.dtype(volume.dtype).itemsize <= LARGEST
        and all(c >= min(THINNEST, n) for c, n in zip(stored, volume.shape, strict=True))
    ):
        return index3(min(c, n) for c, n in zip(stored, volume.shape, strict=True))
    return index3(min(CHUNK, n) for n in volume.shape)


def cell_of(key: str) -> Index3:
    """The numbers in a chunk's key ``c/z/y/x``.

    >>> cell_of("c/0/10/2")
    (0, 10, 2)

    Raises
    ------
    MissingError
        It is no such key.
    """
    begin, *parts = key.split("/")
    if (
        begin != "c"
        or len(parts) != 3
        or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts)
    ):
        raise MissingError(f"There is no chunk {key[:40]!r}.")
    return index3(map(int, parts))


def answer(pyramid: Pyramid, place: Mapping[str, Vector3], rest: str) -> tuple[bytes | dict[str, Any], str]:
    """What lies at a path of the Zarr group: JSON values, or a chunk; and its media type.

    Parameters
    ----------
    pyramid
        The volume.
    place
        ``offset`` and ``half``, as of :meth:`Pyramid.group`.
    rest
        The path in the group: ``zarr.json``, ``0/zarr.json``, ``0/c/1/2/3`` ...

    Raises
    ------
    MissingError
        Nothing does.
    """
    if rest == "zarr.json":
        return pyramid.group(place["offset"], place["half"]), "application/json"
    number, _, name = rest.partition("/")
    if not (number.isascii() and number.isdigit() and len(number) < 4):
        raise MissingError(f"There is no {rest[:80]!r} in this volume.")
    if name == "zarr.json":
        return pyramid.array(int(number)), "application/json"
    return pyramid.encoded(int(number), cell_of(name)), "application/octet-stream"
