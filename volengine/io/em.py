"""Reading tomograms in the EM format (``.em``) of the TOM toolbox, pytom and Dynamo.

>>> volume = open_em("TS_01.em", voxel_size=10.5)                      # doctest: +SKIP
>>> voxels = EmSource(volume).read(Box((0, 0, 0), (64, 64, 64)))    # doctest: +SKIP

A file is a header of 512 bytes (byte 0: machine; byte 3: type; three int32: nx, ny, nz; 80 bytes of comment; 40 int32)
and the voxels, x fastest; so they are z, y, x here, and voxel (0, 0, 0) is the first one of the file (TOM's
``tom_emread.m``; compared with ``emfile``). The format has no voxel size that programs agree on, so it is asked for.
The byte order is that of the machine if the size of the file fits, else the other one if it fits. The own reader
refuses files that are cut off and reads boxes; ``emfile`` does neither, and knows only little-endian files.

A motive list (a table of particles) has the same header: files of one slice with 20 columns are refused here.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from volengine.core.boxes import Index3
from volengine.core.errors import FormatError
from volengine.core.paths import PathLike
from volengine.core.volume import Volume
from volengine.io.files import chosen_voxel_size, first_bytes
from volengine.io.identity import How
from volengine.io.names import EM_SUFFIXES
from volengine.io.plain import PlainSource, check_shape, file_volume
from volengine.io.rawfile import RawLayout

HEADER_BYTES = 512
EXPECTED = "an EM file"
TYPES = {1: "i1", 2: "i2", 4: "i4", 5: "f4", 9: "f8"}
"""numpy type for each type number of the header; 8 and 10 are complex numbers, which are refused."""
LITTLE_ENDIAN = (1, 6)
"""Machines (VAX, PC) that write the low byte first; OS-9, Convex, SGI and Mac write the high byte first."""
MOTIVE_COLUMNS = 20


@dataclass(frozen=True)
class EmHeader:
    """The interpreted header of an EM file.

    Parameters
    ----------
    shape, dtype
        Shape z, y, x, and numpy dtype name of the voxels.
    byte_order
        ``"<"`` or ``">"``.
    machine, type
        The numbers of bytes 0 and 3.
    comment
        The text of the header.
    parameters
        The 40 integers behind it (voltage, Cs, aperture ...), which programs use differently.
    """

    shape: Index3
    dtype: str
    byte_order: Literal["<", ">"]
    machine: int
    type: int
    comment: str
    parameters: tuple[int, ...]

    @property
    def layout(self) -> RawLayout:
        """Place and type of the voxels."""
        return RawLayout(HEADER_BYTES, self.shape, self.byte_order + TYPES[self.type])

    def to_json(self) -> dict[str, Any]:
        """Return what a converted volume keeps of the header."""
        return {
            "machine": self.machine, "type": self.type, "byte_order": self.byte_order, "comment": self.comment,
            "parameters": list(self.parameters),
        }  # fmt: skip


def open_em(
    path: PathLike,
    voxel_size: float | Sequence[float] | None = None,
    name: str | None = None,
    identity: How = "quick",
) -> Volume:
    """Open an EM file and return its handle. Only the header and some blocks are read.

    Parameters
    ----------
    path
        The file: int8, int16, int32, float32 or float64.
    voxel_size
        Angstrom, one number or z, y, x; needed, because the format has none.
    name
        Name of the tomogram; default: the name of the file without its ending.
    identity
        How the file is identified (:mod:`volengine.io.identity`).

    Returns
    -------
    Volume
        Its origin is 0; ``facts["em"]`` is the header (:meth:`EmHeader.to_json`).

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        As for :func:`read_em_header`; or it is a motive list.
    InputError
        No voxel size was given.
    """
    text = os.fspath(path)
    header = read_em_header(text)
    if is_motive_list(header):
        raise FormatError(
            f"{text}: is a motive list, a table of {header.shape[1]} particles in {MOTIVE_COLUMNS} columns, not a "
            "tomogram. Give it where picks are read."
        )
    size = chosen_voxel_size(text, voxel_size, None, "EM files state no voxel size")
    return file_volume(
        text, header.shape, header.dtype, size, identity, name=name, endings=EM_SUFFIXES, facts={"em": header.to_json()}
    )


class EmSource(PlainSource):
    """Read access to the voxels of an EM file; the header is read again and must still fit.

    Parameters
    ----------
    volume
        A handle of :func:`open_em`.
    """

    def __init__(self, volume: Volume):
        header = read_em_header(volume.url)
        super().__init__(volume, header.layout, header.dtype)


def read_em_header(path: str) -> EmHeader:
    """Read the header of an EM file of any kind.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        It is shorter or longer than its header announces for either byte order, or of a type that is not read.
    """
    raw, size = first_bytes(path, HEADER_BYTES, EXPECTED)
    if len(raw) < HEADER_BYTES:
        raise FormatError(f"{path}: has {size} bytes; the header of an EM file alone has {HEADER_BYTES}.")
    machine, kind = raw[0], raw[3]
    if machine > 6 or kind not in TYPES:
        raise FormatError(
            f"{path}: is no EM file that can be read: machine {machine} (0 to 6 are known), type {kind} "
            f"(read are {', '.join(map(str, TYPES))}: int8, int16, int32, float32, float64)."
        )
    orders: list[Literal["<", ">"]] = ["<", ">"] if machine in LITTLE_ENDIAN else [">", "<"]
    item = np.dtype(TYPES[kind]).itemsize
    announced = {order: struct.unpack(f"{order}3i", raw[4:16]) for order in orders}
    needs = {order: HEADER_BYTES + x * y * z * item for order, (x, y, z) in announced.items()}
    fitting = [order for order in orders if needs[order] == size and min(announced[order]) > 0]
    if not fitting:
        told = announced[orders[0]]
        raise FormatError(
            f"{path}: has {size} bytes, but its header announces {told} voxels (x, y, z) of {item} bytes, which is "
            f"{needs[orders[0]]}. It is truncated, or damaged: copy or download it again."
        )
    order = fitting[0]
    x, y, z = announced[order]
    return EmHeader(
        shape=check_shape(path, (z, y, x)),
        dtype=np.dtype(TYPES[kind]).name,
        byte_order=order,
        machine=machine,
        type=kind,
        comment=raw[16:96].split(b"\0")[0].decode("latin-1").strip(),
        parameters=struct.unpack(f"{order}40i", raw[96:256]),
    )


def is_motive_list(header: EmHeader) -> bool:
    """Whether a file is a table of particles: one slice of 20 columns, in real numbers."""
    return header.shape[0] == 1 and header.shape[2] == MOTIVE_COLUMNS and header.dtype.startswith("float")
