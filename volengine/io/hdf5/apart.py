"""Where the voxels of an HDF5 file lie, found by a separate process, so that a damaged file does no harm.

The HDF5 library trusts its files: a few changed bytes can make it loop for ever, take all memory, or crash. So a
short-lived process (:mod:`volengine.io.hdf5.child`, about 0.3 s) opens the file with limits on time and memory and says
which arrays there are and in which bytes of the file; this process reads the voxels itself. What was found is
remembered until the file changes.
"""

from __future__ import annotations

import os
import struct
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.apart import answer, run_apart, scratch
from volengine.core.errors import FormatError
from volengine.io.files import first_bytes

SECONDS = 30
MEMORY = 1 << 30
MOST_OUTPUT = 1 << 28
"""Limits of the process: processor time, memory, and output (a table of eight million chunks), bytes."""
REMEMBERED = 8

_lock = threading.Lock()
_known: OrderedDict[tuple[Any, ...], H5Index] = OrderedDict()


@dataclass(frozen=True)
class H5Dataset:
    """An array of a file: its path, shape and numpy dtype as stored, and attributes of it and of its EMAN2 group."""

    path: str
    shape: tuple[int, ...]
    dtype: str
    attributes: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.path} ({' x '.join(map(str, self.shape))} {np.dtype(self.dtype).name})"


@dataclass(frozen=True, eq=False)
class H5Index:
    """What a file holds, and the place of one array.

    Parameters
    ----------
    datasets, count
        The first 1000 arrays with three or more axes, and the number of all.
    keras
        Whether it is a file of Keras: a model.
    chosen
        The array that was asked for, or the only one; ``None`` if there are none or several. The rest is about it.
    offset
        First byte of its voxels, if they are contiguous.
    chunks
        Shape of a chunk; ``None`` if contiguous.
    table
        For each stored chunk, sorted: linear number, first byte, bytes, mask of skipped filters; int64 (n, 4).
    filters
        Numbers and names of its filters, in the order in which they were applied.
    fill
        The bytes of a voxel that is not stored.
    """

    datasets: tuple[H5Dataset, ...]
    count: int
    keras: bool
    chosen: H5Dataset | None = None
    offset: int | None = None
    chunks: tuple[int, ...] | None = None
    table: NDArray[np.int64] | None = None
    filters: tuple[tuple[int, str], ...] = ()
    fill: bytes = b""


def index_of(path: str, dataset: str = "") -> H5Index:
    """Say what an HDF5 file holds.

    Parameters
    ----------
    path
        The file.
    dataset
        Path of the array whose place is asked for; default: the only one.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        It is no HDF5 file, is damaged or cut off, or keeps its voxels elsewhere.
    DependencyError
        h5py cannot be imported.
    """
    first_bytes(path, 1, "an HDF5 file")
    with Path(path).open("rb") as stream, scratch() as out:
        stat = os.fstat(stream.fileno())
        key = (path, dataset, stat.st_size, stat.st_mtime_ns, stat.st_ino)
        with _lock:
            if key in _known:
                _known.move_to_end(key)
                return _known[key]
        order = {"seconds": SECONDS, "memory": MEMORY, "output": MOST_OUTPUT, "dataset": dataset}
        run_apart(Path(__file__).with_name("child.py"), order, stream, out, path)
        index = _parsed(path, out, stat.st_size)
    with _lock:
        _known[key] = index
        while len(_known) > REMEMBERED:
            _known.popitem(last=False)
    return index


def _parsed(path: str, out: IO[bytes], size: int) -> H5Index:
    """Parse the output of the process; it may have read hostile bytes, so everything is checked."""
    try:
        data, index = answer(out)
        if "refused" in index:
            raise FormatError(f"{path} {index['refused']}; it is not read.")
        if "damaged" in index:
            raise FormatError(f"{path} is no HDF5 file, or it is damaged or cut off ({index['damaged']}).")
        datasets = tuple(_dataset(one) for one in index["datasets"])
        found = H5Index(datasets, int(index["count"]), bool(index["keras"]))
        if "layout" not in index:
            return found
        layout = index["layout"]
        table = np.frombuffer(data, np.int64).reshape(-1, 4)
        if len(table) and (table.min() < 0 or (table[:, 1] + table[:, 2]).max() > size):
            raise FormatError(f"{path}: is truncated: chunks of it lie behind its last byte ({size}). Copy it again.")
        if len(np.unique(table[:, 0])) != len(table):
            raise FormatError(f"{path}: is damaged: it lists a chunk twice.")
        return H5Index(
            datasets,
            found.count,
            found.keras,
            _dataset(index["chosen"]),
            None if layout["offset"] is None else int(layout["offset"]),
            None if layout["chunks"] is None else tuple(int(n) for n in layout["chunks"]),
            table,
            tuple((int(number), str(name)) for number, name in layout["filters"]),
            bytes.fromhex(layout["fill"]),
        )
    except (struct.error, ValueError, LookupError, TypeError) as error:
        if isinstance(error, FormatError):
            raise
        raise FormatError(f"{path} is no HDF5 file that can be read: it is damaged ({error}).") from error


def _dataset(one: dict[str, Any]) -> H5Dataset:
    return H5Dataset(
        str(one["path"]), tuple(int(n) for n in one["shape"]), np.dtype(one["dtype"]).str, dict(one["attributes"])
    )
