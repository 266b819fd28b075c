"""Reading Amira lattices (``.am``) as volumes.

>>> volume = open_amira("TS_01.am")                                       # doctest: +SKIP
>>> voxels = AmiraSource(volume).read(Box((0, 0, 0), (64, 64, 64)))    # doctest: +SKIP

The lattice is stored x fastest, so it is z, y, x here. ``BoundingBox`` spans the *centres* of the first and the last
voxel: the voxel size is (x1 - x0) / (nx - 1), the origin is (z0, y0, x0). Without a unit of length in the file the
voxel size is asked for, because a guess could be wrong by a factor of ten.

Binary blocks are read through short-lived memory maps. A label field compressed with HxByteRLE is one stream; it is
read slice by slice with an index that each process makes once; so is a lattice that is compressed with HxZip
(:mod:`volengine.io.amira.zipped`). Text (ASCII) is parsed as a whole, at most 2²⁵ voxels.
"""

from __future__ import annotations

import mmap
import os
import threading
import warnings
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, Index3
from volengine.core.errors import FormatError, InputError
from volengine.core.paths import PathLike
from volengine.core.volume import Vector3, Volume
from volengine.io.amira.header import AmiraField, AmiraHeader, read_header
from volengine.io.amira.zipped import MOST, pages_of, states_of
from volengine.io.files import FileSource, chosen_voxel_size
from volengine.io.identity import How
from volengine.io.names import AMIRA_SUFFIXES
from volengine.io.plain import check_shape, check_size, file_volume, plausible
from volengine.io.rawfile import RawLayout, read_raw

MAX_BOUND = 1e15
"""Largest coordinate of a bounding box that is believed, in any unit."""
MAX_TEXT = 2**25
"""Most voxels of a lattice that is written as text."""
RLE, ZIP = "HxByteRLE", "HxZip"
REMEMBERED = 2

_lock = threading.Lock()
_parsed: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
"""What was made of compressed and text files: an index of slices, or the voxels."""


@dataclass(frozen=True)
class AmiraLattice:
    """The lattice of an Amira file: shape z, y, x, dtype, the field, and the header."""

    shape: Index3
    dtype: str
    field: AmiraField
    header: AmiraHeader

    @property
    def spacing(self) -> Vector3 | None:
        """Voxel size z, y, x in the file's unit; ``None`` if the file has no bounding box."""
        bounds = self.header.bounds
        if bounds is None:
            return None
        spans = [abs(bounds[2 * a + 1] - bounds[2 * a]) for a in (2, 1, 0)]
        found = [s / (n - 1) if n > 1 else 0.0 for s, n in zip(spans, self.shape, strict=True)]
        z, y, x = (v or max(found) for v in found)  # an axis of one voxel has no length: as the others
        return (z, y, x) if min(z, y, x) > 0 else None

    @property
    def voxel_size(self) -> Vector3 | None:
        """Angstrom; ``None`` without a unit, or if it is implausible."""
        unit, spacing = self.header.angstrom, self.spacing
        return None if unit is None or spacing is None else plausible([float(f"{v * unit:.7g}") for v in spacing])

    def origin_for(self, voxel_size: Vector3) -> Vector3:
        """Position of the first voxel's centre, angstrom, for a voxel size that may not be the file's."""
        bounds, spacing = self.header.bounds, self.spacing
        if bounds is None or spacing is None:
            return (0.0, 0.0, 0.0)
        z, y, x = (bounds[2 * a] / s * v for a, s, v in zip((2, 1, 0), spacing, voxel_size, strict=True))
        return z, y, x


def open_amira(
    path: PathLike,
    voxel_size: float | Sequence[float] | None = None,
    name: str | None = None,
    identity: How = "quick",
) -> Volume:
    """Open an Amira lattice and return its handle. Only the header and some blocks are read.

    Parameters
    ----------
    path
        A file with one uniform lattice of one number for each voxel.
    voxel_size
        Angstrom, one number or z, y, x; overrides the file's.
    name
        Name of the tomogram; default: the name of the file without its ending.
    identity
        How the file is identified (:mod:`volengine.io.identity`).

    Returns
    -------
    Volume
        ``facts["amira"]`` has the unit, the bounding box and the header's text (its first 20,000 characters).

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        It is damaged or cut off, or holds a spatial graph, a surface, several lattices, or vectors.
    InputError
        It is transformed; or it states no voxel size in a unit of length, and none was given.
    """
    text = os.fspath(path)
    lattice = read_lattice(text)
    header, spacing = lattice.header, lattice.spacing
    stated = "no bounding box" if spacing is None else f"voxels of {spacing} (z, y, x) in the unit {header.unit!r}"
    size = chosen_voxel_size(text, voxel_size, lattice.voxel_size, f"states no usable voxel size: {stated}")
    told = {
        "field": lattice.field.name, "unit": header.unit, "bounds": list(header.bounds or ()),
        "header": header.text[:20_000],
    }  # fmt: skip
    whole = lattice.field.coding or header.order == "ASCII"
    return file_volume(
        text, lattice.shape, lattice.dtype, size, identity, origin=lattice.origin_for(size), name=name,
        endings=AMIRA_SUFFIXES, chunks=(1, *lattice.shape[1:]) if whole else None, facts={"amira": told},
    )  # fmt: skip


def read_lattice(path: str) -> AmiraLattice:
    """Read and check the header of an Amira lattice; errors as for :func:`open_amira`."""
    header = read_header(path)
    fields = [f for f in header.fields if f.owner == "Lattice"]
    named = [f for f in fields if f.name == "Labels"]
    if named and all(f.name in ("Labels", "Probability") for f in fields):
        fields = named  # a label field keeps weights for its own display beside the labels
    if "Lattice" not in header.sizes or not fields:
        what = (
            "a spatial graph, which is points and no volume: volengine picks reads it"
            if "VERTEX" in header.sizes
            else "no lattice"
        )
        raise FormatError(f"{path}: holds {what}.")
    if len(fields) > 1:
        raise FormatError(f"{path}: holds {len(fields)} lattices ({', '.join(f.name for f in fields)}); save one.")
    field = fields[0]
    shape = check_shape(path, header.sizes["Lattice"][::-1])
    if not field.dtype or field.components != 1:
        raise FormatError(f"{path}: its lattice {field.name} holds no single numbers of a known type; save scalars.")
    if header.bounds is not None and not all(abs(v) <= MAX_BOUND for v in header.bounds):
        raise FormatError(f"{path}: its BoundingBox is {header.bounds}; it is damaged.")
    if header.coordinates != "uniform" or header.turned:
        how = "has a transformation" if header.turned else f"has {header.coordinates} coordinates"
        raise InputError(f"{path}: its lattice {how}; resample it in Amira (Apply Transform) and save it again.")
    if field.block != min(f.block for f in header.fields):
        raise FormatError(f"{path}: its lattice {field.name} is not the first block of data; save it alone.")
    if field.coding and field.coding != ZIP and (field.coding != RLE or np.dtype(field.dtype).itemsize != 1):
        raise FormatError(
            f"{path}: its lattice is compressed ({field.coding} of {field.dtype}); save it uncompressed, or as tiff."
        )
    size = Path(path).stat().st_size
    if header.order != "ASCII":
        layout = RawLayout(header.start, shape, field.dtype)
        need = header.start + (field.coded_bytes if field.coding else layout.nbytes)
        if field.coding == ZIP and layout.nbytes > MOST * field.coded_bytes:
            raise FormatError(
                f"{path}: {field.coded_bytes} bytes (HxZip) cannot make the {layout.nbytes} bytes of its {shape} "
                "voxels (z, y, x); it is damaged."
            )
        check_size(path, need, size, f"the voxels of {shape} {field.dtype}")
    elif layout_size(shape) > min(MAX_TEXT, size):
        raise FormatError(
            f"{path}: {shape} voxels as text, in {size} bytes; at most {MAX_TEXT} are read. Save as binary."
        )
    return AmiraLattice(shape, np.dtype(field.dtype).name, field, header)


def layout_size(shape: Index3) -> int:
    """Number of voxels."""
    return shape[0] * shape[1] * shape[2]


class AmiraSource(FileSource):
    """Read access to the voxels of an Amira lattice; the header is read again and must still fit.

    Parameters
    ----------
    volume
        A handle of :func:`open_amira`.
    """

    def __init__(self, volume: Volume):
        lattice = read_lattice(volume.url)
        super().__init__(volume)
        self._check_file(lattice.shape, lattice.dtype)
        self._lattice = lattice

    def read(self, box: Box) -> NDArray[Any]:
        """Read a box: C-contiguous, native byte order, z, y, x.

        Raises
        ------
        InputError
            The box is not inside of the volume.
        FormatError
            The data are damaged.
        """
        self._check_box(box)
        lattice, header = self._lattice, self._lattice.header
        if header.order == "ASCII":
            return np.ascontiguousarray(_remembered(self.volume.url, lattice, _text)[box.slices])
        if lattice.field.coding == ZIP:
            return self._zipped(box)
        if lattice.field.coding:
            return self._coded(box)
        dtype = np.dtype(lattice.field.dtype).newbyteorder(header.order)
        return read_raw(self.volume.url, RawLayout(header.start, lattice.shape, dtype.str), box)

    def _zipped(self, box: Box) -> NDArray[Any]:
        lattice, path = self._lattice, self.volume.url
        dtype = np.dtype(lattice.field.dtype).newbyteorder(lattice.header.order)  # type: ignore[arg-type]
        stop = lattice.header.start + lattice.field.coded_bytes
        page = lattice.shape[1] * lattice.shape[2] * dtype.itemsize
        out = np.empty(box.shape, self.dtype)
        rows, columns = box.slices[1:]
        found = _remembered(path, lattice, _states)
        for i, one in enumerate(pages_of(path, found, stop, page, box.start[0], box.stop[0])):
            out[i] = np.frombuffer(one, dtype).reshape(lattice.shape[1:])[rows, columns]
        return out

    def _coded(self, box: Box) -> NDArray[Any]:
        lattice = self._lattice
        places = _remembered(self.volume.url, lattice, _slices)
        out = np.empty(box.shape, self.dtype)
        rows, columns = box.slices[1:]
        with open(self.volume.url, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:  # noqa: PTH123
            for i, z in enumerate(range(box.start[0], box.stop[0])):
                page = _page(data, places[z], lattice.shape[1] * lattice.shape[2])
                out[i] = np.frombuffer(page, self.dtype).reshape(lattice.shape[1:])[rows, columns]
        return out


def _remembered(path: str, lattice: AmiraLattice, make: Any) -> Any:
    """What is made of a whole file, once in a process; the last two are kept."""
    stat = Path(path).stat()
    key = (path, stat.st_size, stat.st_mtime_ns, stat.st_ino)
    with _lock:
        if key not in _parsed:
            _parsed[key] = make(path, lattice)
        _parsed.move_to_end(key)
        while len(_parsed) > REMEMBERED:
            _parsed.popitem(last=False)
        return _parsed[key]


def _text(path: str, lattice: AmiraLattice) -> NDArray[Any]:
    """The voxels of a lattice that is written as text."""
    count, dtype = layout_size(lattice.shape), np.dtype(lattice.dtype)
    with open(path, "rb") as file, warnings.catch_warnings():  # noqa: PTH123
        warnings.simplefilter("error")
        file.seek(lattice.header.start)
        try:
            values = np.fromfile(file, np.float64 if dtype.kind == "f" else np.int64, count, sep=" ")
        except (ValueError, DeprecationWarning, MemoryError, OverflowError) as error:
            raise FormatError(f"{path}: its text is no list of numbers ({error}).") from error
    if len(values) < count:
        raise FormatError(f"{path}: holds {len(values)} numbers, {count} were announced; it is truncated.")
    limits = np.iinfo(dtype) if dtype.kind in "iu" else None
    if limits is not None and (values.min() < limits.min or values.max() > limits.max):
        raise FormatError(f"{path}: holds numbers from {values.min()} to {values.max()}, which are no {dtype.name}.")
    with np.errstate(over="ignore"):
        return values.astype(dtype).reshape(lattice.shape)


def _states(path: str, lattice: AmiraLattice) -> Any:
    """States of a stream of zlib at some slices."""
    start, area = lattice.header.start, lattice.shape[1] * lattice.shape[2]
    page = area * np.dtype(lattice.field.dtype).itemsize
    return states_of(path, start, start + lattice.field.coded_bytes, page, lattice.shape[0])


def _slices(path: str, lattice: AmiraLattice) -> list[tuple[int, int]]:
    """For each slice, the run in which it begins and the voxels of this run that belong to slices before it."""
    area, count = lattice.shape[1] * lattice.shape[2], layout_size(lattice.shape)
    at, end = lattice.header.start, lattice.header.start + lattice.field.coded_bytes
    places: list[tuple[int, int]] = []
    made = 0
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:  # noqa: PTH123
        while at < end and made < count:
            length = data[at] & 127
            while len(places) * area < made + length and len(places) < lattice.shape[0]:
                places.append((at, len(places) * area - made))
            made += length
            at += 1 + (length if data[at] > 127 else 1)
    if made != count or at > end:
        raise FormatError(f"{path}: its runs make {made} voxels, {count} were announced; it is damaged.")
    return places


def _page(data: Any, place: tuple[int, int], area: int) -> bytes:
    """Decode the voxels of a slice: runs ``n value``, and ``128 + n`` followed by n values."""
    at, skip = place
    parts, made = [], -skip
    while made < area:
        code = data[at]
        length = code & 127
        if code > 127:
            parts.append(data[at + 1 : at + 1 + length])
            at += 1 + length
        else:
            parts.append(data[at + 1 : at + 2] * length)
            at += 2
        made += length
    return b"".join(parts)[skip : skip + area]
