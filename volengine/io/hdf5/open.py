"""Reading volumes in HDF5 files (``.h5 .hdf5 .hdf``): DeepFinder, ilastik, EMAN2 and others.

>>> volume = open_hdf5("TS_01.h5", voxel_size=10.5)                     # doctest: +SKIP
>>> volume = open_hdf5("TS_01.h5", "/exported_data", voxel_size=10.5)   # doctest: +SKIP
>>> voxels = Hdf5Source(volume).read(Box((0, 0, 0), (64, 64, 64)))    # doctest: +SKIP

The array with three axes is the volume; if there are several, its path is given behind the file, ``FILE.h5:/path``. Its
axes are z, y, x, unless the attribute ``axistags`` (ilastik, vigra) names others; axes of length 1 besides are left
out, a longer channel axis needs a choice. The voxel size is ``EMAN.apix_x`` ... of EMAN2 (angstrom; 1.0, its default
for "unknown", is not believed), or ``element_size_um`` (z, y, x); DeepFinder and ilastik state none. EMAN2 stores real
numbers as integers between ``stored_rendermin`` and ``stored_rendermax``; they are read as float32. The origin is 0.

Contiguous arrays are read through short-lived memory maps, others chunk by chunk (gzip, LZF, shuffle, Fletcher-32;
other filters are refused by name), so that at most one chunk is in memory besides the box, several times over.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3, index3
from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.paths import PathLike
from volengine.core.volume import Vector3, Volume
from volengine.io.files import FileSource, chosen_voxel_size
from volengine.io.hdf5.apart import H5Dataset, H5Index, index_of
from volengine.io.hdf5.filters import READ, unfiltered
from volengine.io.identity import How
from volengine.io.names import HDF5_SUFFIXES
from volengine.io.plain import check_shape, check_size, file_volume, plausible, scaled
from volengine.io.rawfile import RawLayout, read_raw

MAX_CHUNK = 2**29
"""Largest chunk that is read, bytes."""
_SHOWN = 12


@dataclass(frozen=True)
class H5Facts:
    """How an array becomes a volume.

    Parameters
    ----------
    index
        What the file holds, and where.
    axes
        For z, y and x the number of the array's axis.
    fixed
        Index on each of the array's axes that are left out.
    shape, dtype
        Shape z, y, x, and dtype of the voxels as they are read.
    scale
        Slope and intercept of the stored values, or ``None``.
    voxel_size, voxel_size_rule
        Angstrom, z, y, x, and where it comes from; ``None`` with the reason.
    """

    index: H5Index
    axes: Index3
    fixed: dict[int, int]
    shape: Index3
    dtype: str
    scale: tuple[float, float] | None
    voxel_size: Vector3 | None
    voxel_size_rule: str

    @property
    def dataset(self) -> H5Dataset:
        """The array."""
        assert self.index.chosen is not None
        return self.index.chosen


def open_hdf5(
    path: PathLike,
    dataset: str = "",
    voxel_size: float | Sequence[float] | None = None,
    name: str | None = None,
    identity: How = "quick",
    channel: int | None = None,
) -> Volume:
    """Open an array of an HDF5 file and return its handle. No voxels are read, but for its identity.

    Parameters
    ----------
    path
        The file.
    dataset
        Path of the array in it; needed if there are several with three or more axes.
    voxel_size
        Angstrom, one number or z, y, x; overrides the file's.
    name
        Name of the tomogram; default: the name of the file without its ending.
    identity
        How the file is identified (:mod:`volengine.io.identity`).
    channel
        Index on a channel axis that is longer than one.

    Returns
    -------
    Volume
        ``path`` is that of the array; ``facts["hdf5"]`` has its attributes.

    Raises
    ------
    MissingError
        The file, or the array in it, does not exist.
    FormatError
        It is damaged, no HDF5 file, a model, or has no array of numbers with three axes; or it uses a filter that is
        not read.
    InputError
        There are several arrays or channels, and none was chosen; it states no voxel size, and none was given.
    """
    text = os.fspath(path)
    facts = read_facts(text, dataset, channel)
    size = chosen_voxel_size(text, voxel_size, facts.voxel_size, facts.voxel_size_rule)
    stored = facts.index.chunks
    chunks = None if stored is None else index3(min(stored[a], n) for a, n in zip(facts.axes, facts.shape, strict=True))
    told = {"hdf5": {"dataset": facts.dataset.path, **facts.dataset.attributes}}
    return file_volume(
        text,
        facts.shape,
        facts.dtype,
        size,
        identity,
        name=name,
        endings=HDF5_SUFFIXES,
        inside=facts.dataset.path,
        chunks=chunks,
        facts=told if channel is None else {**told, "select": {"c": channel}},
    )


def read_facts(path: str, dataset: str = "", channel: int | None = None) -> H5Facts:
    """Choose an array of a file, and say how it is read; errors as for :func:`open_hdf5`."""
    index = index_of(path, dataset)
    if index.chosen is None:
        raise _no_choice(path, dataset, index)
    chosen = index.chosen
    axes, fixed = _axes(path, chosen, channel)
    shape = check_shape(path, [chosen.shape[a] for a in axes])
    stored = np.dtype(chosen.dtype)
    if stored.kind not in "fiub" or stored.itemsize > 8:
        raise FormatError(f"{path}: {chosen} holds {stored}; numbers of up to 8 bytes were expected.")
    _check_storage(path, index, stored)
    size, rule = _voxel_size(chosen)
    scale = _scale(path, chosen)
    plain = np.dtype("u1") if stored.kind == "b" else stored.newbyteorder("=")
    return H5Facts(index, axes, fixed, shape, "float32" if scale else plain.name, scale, size, rule)


def _no_choice(path: str, dataset: str, index: H5Index) -> InputError:
    some = ", ".join(map(str, index.datasets[:_SHOWN])) + (" ..." if index.count > _SHOWN else "")
    if dataset:
        return MissingError(f"{path}: there is no volume {dataset!r} in it. It holds: {some or 'no volume'}.")
    if index.keras:
        return FormatError(f"{path}: is a file of Keras, a model or its weights, not a volume.")
    if not index.count:
        return FormatError(f"{path}: holds no volume: no array of numbers with three axes.")
    first = index.datasets[0].path
    return InputError(f"{path} holds {index.count} volumes: {some}. Choose one, for example {path}:{first}")


def _axes(path: str, chosen: H5Dataset, channel: int | None) -> tuple[Index3, dict[int, int]]:
    """The array's axes that are z, y, x, and the index on every other one."""
    names = _tags(path, chosen)
    fixed = {}
    if names is None:
        free = [a for a, n in enumerate(chosen.shape) if n > 1]
        spare = len(chosen.shape) - 3
        left_out = [a for a, n in enumerate(chosen.shape) if n == 1][:spare]
        if len(left_out) < spare:
            raise InputError(
                f"{path}: {chosen} has {len(free)} axes, and no axistags that name them; three are expected. Export "
                "one channel and one time point."
            )
        z, y, x = (a for a in range(len(chosen.shape)) if a not in left_out)
        fixed = dict.fromkeys(left_out, 0)
    else:
        if sorted(n for n in names if n in "zyx") != ["x", "y", "z"]:
            raise FormatError(f"{path}: the axes of {chosen} are {', '.join(names)}; z, y and x were expected.")
        z, y, x = (names.index(n) for n in "zyx")
        for a, n in enumerate(names):
            if n in "zyx":
                continue
            at = channel if n == "c" and channel is not None else 0
            if (chosen.shape[a] > 1 and (n != "c" or channel is None)) or not 0 <= at < chosen.shape[a]:
                raise InputError(
                    f"{path}: {chosen} has {chosen.shape[a]} on its axis {n!r}; choose one with --channel (0 to "
                    f"{chosen.shape[a] - 1}), or export one."
                )
            fixed[a] = at
    return (z, y, x), fixed


def _tags(path: str, chosen: H5Dataset) -> list[str] | None:
    """The names of the axes as ilastik (vigra) writes them; ``None`` if there are none."""
    text = chosen.attributes.get("axistags")
    if text is None:
        return None
    try:
        names = [str(axis["key"]) for axis in json.loads(text)["axes"]]
    except (ValueError, LookupError, TypeError, RecursionError):
        raise FormatError(f"{path}: the axistags of {chosen} are damaged: {str(text)[:80]!r}.") from None
    if len(names) != len(chosen.shape):
        raise FormatError(f"{path}: the axistags of {chosen} name {len(names)} axes.")
    return names


def _check_storage(path: str, index: H5Index, stored: np.dtype[Any]) -> None:
    chosen = index.chosen
    assert chosen is not None
    other = [name or str(number) for number, name in index.filters if number not in READ]
    if other:
        raise FormatError(
            f"{path}: {chosen} is stored with the filter {other[0]!r}; gzip, LZF, shuffle and Fletcher-32 are read. "
            "Repack it: h5repack -f GZIP=1 OLD NEW."
        )
    if index.offset is not None:
        need = index.offset + int(np.prod(chosen.shape, dtype=object)) * stored.itemsize
        check_size(path, need, os.stat(path).st_size, f"the voxels of {chosen}")  # noqa: PTH116
    elif index.chunks is not None:
        if len(index.chunks) != len(chosen.shape) or min(index.chunks) < 1:
            raise FormatError(f"{path}: is damaged: chunks of {index.chunks} for {chosen}.")
        size = int(np.prod(index.chunks, dtype=object)) * stored.itemsize
        if size > MAX_CHUNK:
            raise FormatError(
                f"{path}: the chunks of {chosen} have {size} bytes; at most {MAX_CHUNK} are read at once. Repack it: "
                "h5repack -l CHUNK=64x64x64 OLD NEW."
            )


def _voxel_size(chosen: H5Dataset) -> tuple[Vector3 | None, str]:
    told = chosen.attributes
    eman = [told.get(f"EMAN.apix_{a}") for a in "zyx"]
    if all(isinstance(v, int | float) for v in eman):
        size = plausible([_neat(float(v or 0)) for v in eman])
        if size is None or size == (1.0, 1.0, 1.0):
            return None, f"EMAN2's apix is {eman[2]}, which stands for an unknown voxel size"
        return size, "EMAN.apix"
    um = told.get("element_size_um")
    if isinstance(um, list) and len(um) == 3:
        size = plausible([_neat(v * 1e4) for v in um])
        return size, f"element_size_um is {um}, which is implausible"
    return None, f"{chosen.path} states no voxel size"


def _neat(value: float) -> float:
    return float(f"{value:.7g}")


def _scale(path: str, chosen: H5Dataset) -> tuple[float, float] | None:
    """EMAN2's bit reduction: value = stored / (2**bits - 1) * (max - min) + min."""
    told = chosen.attributes
    bits = told.get("EMAN.stored_renderbits", 0)
    if not isinstance(bits, int) or bits <= 0:
        return None
    low, high = told.get("EMAN.stored_rendermin"), told.get("EMAN.stored_rendermax")
    if not isinstance(low, (int, float)) or not isinstance(high, (int, float)) or bits > 32:
        raise FormatError(f"{path}: {chosen} is stored in {bits} bits between {low} and {high}; it is damaged.")
    if not (np.isfinite(low) and np.isfinite(high)) or high == low:
        return None
    return (high - low) / (2**bits - 1), float(low)


class Hdf5Source(FileSource):
    """Read access to the voxels of an array in an HDF5 file. It can be pickled, and keeps no file open.

    Parameters
    ----------
    volume
        A handle of :func:`open_hdf5`. The file's metadata are read again and must still fit.

    Raises
    ------
    ChangedError
        The file has changed since it was opened.
    """

    def __init__(self, volume: Volume):
        facts = read_facts(volume.url, volume.path, volume.facts.get("select", {}).get("c"))
        super().__init__(volume)
        self._check_file(facts.shape, facts.dtype)
        self._facts = facts

    def read(self, box: Box) -> NDArray[Any]:
        """Read a box: C-contiguous, native byte order, z, y, x.

        Raises
        ------
        InputError
            The box is not inside of the volume.
        FormatError
            A chunk is damaged.
        """
        self._check_box(box)
        facts = self._facts
        count = len(facts.dataset.shape)
        start, stop = [facts.fixed.get(a, 0) for a in range(count)], [facts.fixed.get(a, 0) + 1 for a in range(count)]
        for a, first, last in zip(facts.axes, box.start, box.stop, strict=True):
            start[a], stop[a] = first, last
        stored = self._stored(start, stop)
        order = (*facts.axes, *facts.fixed)
        values = np.ascontiguousarray(stored.transpose(order)).reshape(box.shape)
        if facts.scale is None and values.dtype != self.dtype:  # truth values
            values = values.view(self.dtype)
        return scaled(values, facts.scale)

    def _stored(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[Any]:
        """Read a box of the array, in its own axes; native byte order."""
        index, dataset = self._facts.index, self._facts.dataset
        if index.chunks is None:
            return self._contiguous(start, stop)
        dtype = np.dtype(dataset.dtype)
        out = np.empty([b - a for a, b in zip(start, stop, strict=True)], dtype.newbyteorder("="))
        out[...] = np.frombuffer(index.fill, dtype)[0]
        cells = [-(-n // c) for n, c in zip(dataset.shape, index.chunks, strict=True)]
        ranges = [range(a // c, -(-b // c)) for a, b, c in zip(start, stop, index.chunks, strict=True)]
        with open(self.volume.url, "rb") as file:  # noqa: PTH123
            for cell in itertools.product(*ranges):
                chunk = self._chunk(file, int(np.ravel_multi_index(cell, cells)))
                if chunk is None:
                    continue
                into, of = [], []
                for i, c, a, b in zip(cell, index.chunks, start, stop, strict=True):
                    first, last = max(a, i * c), min(b, (i + 1) * c)
                    into.append(slice(first - a, last - a))
                    of.append(slice(first - i * c, last - i * c))
                out[tuple(into)] = chunk[tuple(of)]
        return out

    def _contiguous(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[Any]:
        """Read with :func:`read_raw`, which knows three axes: those before the last three one by one."""
        index, dataset = self._facts.index, self._facts.dataset
        assert index.offset is not None
        *before, nz, ny, nx = dataset.shape
        dtype = np.dtype(dataset.dtype)
        dtype = np.dtype("u1") if dtype.kind == "b" else dtype
        out = np.empty([b - a for a, b in zip(start, stop, strict=True)], dtype.newbyteorder("="))
        inner = Box(index3(start[-3:]), index3(stop[-3:]))
        for place in itertools.product(*(range(a, b) for a, b in zip(start[:-3], stop[:-3], strict=True))):
            skip = int(np.ravel_multi_index(place, before)) if before else 0
            layout = RawLayout(index.offset + skip * nz * ny * nx * dtype.itemsize, index3((nz, ny, nx)), dtype.str)
            out[tuple(p - a for p, a in zip(place, start, strict=False))] = read_raw(self.volume.url, layout, inner)
        return out

    def _chunk(self, file: BinaryIO, number: int) -> NDArray[Any] | None:
        """Read and decode a chunk, in the file's byte order; ``None`` if it is not stored."""
        index, dataset = self._facts.index, self._facts.dataset
        assert index.table is not None
        assert index.chunks is not None
        row = int(np.searchsorted(index.table[:, 0], number))
        if row == len(index.table) or index.table[row, 0] != number:
            return None
        _, offset, size, mask = (int(v) for v in index.table[row])
        dtype = np.dtype(dataset.dtype)
        need = int(np.prod(index.chunks)) * dtype.itemsize
        file.seek(offset)
        data = file.read(min(size, 2 * need + 2**16))
        where = f"{self.volume.where}: the chunk at byte {offset}"
        data = unfiltered(data, index.filters, mask, need, dtype.itemsize, where)
        return np.frombuffer(data, dtype).reshape(index.chunks)


def is_model(path: str) -> bool:
    """Whether an HDF5 file is one of Keras, and not of volumes; a file that cannot be read counts as a model."""
    try:
        return index_of(path).keras
    except FormatError:
        return True
