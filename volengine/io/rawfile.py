"""Reading boxes from a contiguous array of voxels in a file, through short-lived memory maps.

MRC files and uncompressed TIFF stacks hold their voxels as one contiguous array behind some header bytes. A
:class:`RawLayout` describes its place and type; :func:`read_raw` copies a box out of it. At most :data:`WINDOW_BYTES`
of the file (or one row) are mapped at a time, so that a process that has read a whole tomogram does not keep it in
memory.
"""

from __future__ import annotations

import errno
import mmap
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3
from volengine.core.errors import FormatError

WINDOW_BYTES = 16 * 2**20

SETTLED_S = 60
"""Age of a file's last change, seconds, from which on the file system is believed where it says that there are holes.

Bytes that are on their way to the disk were called holes by some versions of ZFS (openzfs/zfs issue 15526).
"""


@dataclass(frozen=True)
class RawLayout:
    """Place and type of the voxels in a file.

    Parameters
    ----------
    offset
        First byte of the first voxel.
    shape
        Shape as stored, slowest axis first.
    dtype
        numpy dtype string with byte order (``">i2"``); ``"u1"`` if ``packed``.
    packed
        Whether each byte holds two 4-bit values, the first one in the low bits. Each row begins at a whole byte.
    """

    offset: int
    shape: Index3
    dtype: str
    packed: bool = False

    @property
    def row_bytes(self) -> int:
        """Bytes of one row along the fastest axis."""
        nx = self.shape[2]
        return (nx + 1) // 2 if self.packed else nx * np.dtype(self.dtype).itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all voxels."""
        return self.shape[0] * self.shape[1] * self.row_bytes


def read_raw(path: str, layout: RawLayout, box: Box) -> NDArray[np.generic]:
    """Read a box of the stored array.

    Parameters
    ----------
    path
        The file.
    layout
        Place and type of its voxels.
    box
        A box inside of ``layout.shape``, in its axis order.

    Returns
    -------
    Array of shape ``box.shape``, C-contiguous, in native byte order; packed 4-bit values become uint8.

    Raises
    ------
    FormatError
        The file is shorter than its layout, so it has changed since its header was read.
    """
    stored = np.dtype(layout.dtype)
    out = np.empty(box.shape, stored.newbyteorder("="))
    if box.empty:
        return out
    x0, x1 = box.start[2], box.stop[2]
    with open(path, "rb") as file:  # noqa: PTH123
        found, need = os.fstat(file.fileno()), layout.offset + layout.nbytes
        if found.st_size < need:
            raise FormatError(
                f"{path}: has shrunk to {found.st_size} bytes while in use; its voxels need {need} bytes."
            )
        settled = found.st_blocks * 512 < found.st_size and abs(time.time() - found.st_ctime) > SETTLED_S
        for part in _windows(layout, box):
            begin, rows = _span(layout, part)
            base = begin - begin % mmap.ALLOCATIONGRANULARITY
            end = begin + rows * layout.row_bytes
            if settled and _is_hole(file.fileno(), begin, end):
                out[part.slices_in(box)] = 0
                continue
            # It ends with its last view. It cannot be closed before, and Dask's profiler may hold a frame for a moment.
            mapped = mmap.mmap(file.fileno(), end - base, access=mmap.ACCESS_READ, offset=base)
            flat = np.frombuffer(mapped, np.uint8, rows * layout.row_bytes, begin - base)
            target = out[part.slices_in(box)]
            _copy(flat, layout, part, target, (x0, x1))
            del flat, mapped
    return out


def read_remote(pread: Callable[[int, int], bytes], layout: RawLayout, box: Box) -> NDArray[np.generic]:
    """Read a box of the stored array of a file of which parts are asked for, one for each section or several of them.

    Parameters
    ----------
    pread
        Gives so many bytes (first argument) from an offset (second).
    layout, box
        As for :func:`read_raw`, which has the same result.

    Rows are read whole. At most :data:`WINDOW_BYTES`, or one row, are in memory beside the result.
    """
    stored = np.dtype(layout.dtype)
    out = np.empty(box.shape, stored.newbyteorder("="))
    if box.empty:
        return out
    ends = (box.start[2], box.stop[2])
    for part in _windows(layout, box):
        whole = part.shape[1] == layout.shape[1]  # else the rows between two sections would be fetched, too
        for z in (part.start[0],) if whole else range(part.start[0], part.stop[0]):
            one = part if whole else Box((z, *part.start[1:]), (z + 1, *part.stop[1:]))
            begin, rows = _span(layout, one)
            flat = np.frombuffer(pread(rows * layout.row_bytes, begin), np.uint8)
            _copy(flat, layout, one, out[one.slices_in(box)], ends)
    return out


def _is_hole(number: int, begin: int, end: int) -> bool:
    """Return whether a file holds nothing between two offsets, so that all its bytes there are zero.

    Without this, the system would fill pages of its cache with zeros, which takes longer than all else.
    """
    try:
        return os.lseek(number, begin, os.SEEK_DATA) >= end
    except OSError as error:
        return error.errno == errno.ENXIO  # a hole up to the end; file systems that know no holes have data everywhere


def unpack_nibbles(packed: NDArray[np.uint8], start: int, stop: int) -> NDArray[np.uint8]:
    """Unpack the values ``start <= i < stop`` of rows of 4-bit pairs, low bits first.

    Parameters
    ----------
    packed
        uint8; the last axis has the bytes of one row.
    start, stop
        First value, and the one after the last.

    Returns
    -------
    uint8, 0 to 15; the last axis has ``stop - start`` values.
    """
    part = packed[..., start // 2 : (stop + 1) // 2]
    both = np.empty((*part.shape, 2), np.uint8)
    np.bitwise_and(part, 15, out=both[..., 0])
    np.right_shift(part, 4, out=both[..., 1])
    values = both.reshape(*part.shape[:-1], -1)
    first = start % 2
    return values[..., first : first + stop - start]


def _span(layout: RawLayout, part: Box) -> tuple[int, int]:
    """Return the first byte of a window, and its number of whole rows from the first to the last one."""
    ny = layout.shape[1]
    first = part.start[0] * ny + part.start[1]
    last = (part.stop[0] - 1) * ny + part.stop[1]
    return layout.offset + first * layout.row_bytes, last - first


def _windows(layout: RawLayout, box: Box) -> Iterator[Box]:
    """Divide a box into parts that span at most :data:`WINDOW_BYTES` (or one row) of the file."""
    (z0, y0, x0), (z1, y1, x1) = box.start, box.stop
    sections = WINDOW_BYTES // (layout.shape[1] * layout.row_bytes)
    rows = max(1, WINDOW_BYTES // layout.row_bytes) if sections == 0 else max(1, y1 - y0)
    for z in range(z0, z1, max(1, sections)):
        for y in range(y0, y1, rows):
            yield Box((z, y, x0), (min(z + max(1, sections), z1), min(y + rows, y1), x1))


def _copy(
    flat: NDArray[np.uint8],
    layout: RawLayout,
    part: Box,
    target: NDArray[np.generic],
    columns: tuple[int, int],
) -> None:
    """Copy a mapped window (whole rows, from the first to the last one needed) into its place."""
    sections, rows, _ = part.shape
    stride = layout.shape[1] * layout.row_bytes
    # The last section's rows end with the window: a strided view reaches each section without the bytes behind.
    strides = (stride, layout.row_bytes, 1)
    rows_bytes = np.lib.stride_tricks.as_strided(flat, (sections, rows, layout.row_bytes), strides, writeable=False)
    if layout.packed:
        target[...] = unpack_nibbles(rows_bytes, *columns)
        return
    stored = np.dtype(layout.dtype)
    itemsize = stored.itemsize
    x0, x1 = columns
    target[...] = rows_bytes[:, :, x0 * itemsize : x1 * itemsize].view(stored)
