"""Reading MRC files: first a handle, then any box of voxels.

>>> volume = open_mrc("TS_01.rec")                                  # doctest: +SKIP
>>> voxels = MrcSource(volume).read(Box((0, 0, 0), (64, 64, 64)))    # doctest: +SKIP

:func:`open_mrc` reads only the header and returns a :class:`~volengine.core.volume.Volume`. :class:`MrcSource` reads
boxes from the file, in the order z, y, x for any values of mapc, mapr and maps, and in native byte order. The y axis is
not flipped: index 0 is the first row of the file. Compressed files (``.gz``, ``.bz2``) can be opened, but must be
unpacked by :func:`decompress` before their voxels can be read. :mod:`volengine.io.mrc.write` writes MRC files.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from volengine.core.atomic import replacing
from volengine.core.boxes import Box, index3
from volengine.core.errors import FormatError, InputError
from volengine.core.paths import PathLike
from volengine.core.volume import Volume
from volengine.io.files import FileSource, chosen_voxel_size
from volengine.io.identity import How, identified
from volengine.io.mrc.header import (
    DAMAGED,
    MrcHeader,
    open_stream,
    read_header,
    sniff,
)
from volengine.io.names import MRC_SUFFIXES, PACKED_SUFFIXES, is_remote
from volengine.io.rawfile import read_raw, read_remote
from volengine.io.remote_file import RemoteFile
from volengine.io.stores import opened_file

COPY_BYTES = 4 * 2**20


def volume_name(path: PathLike) -> str:
    """Return the name of a file without its folder and its endings (``.mrc``, ``.rec.gz`` ...).

    >>> volume_name("data/TS_01.rec.gz")
    'TS_01'
    """
    return _without(_without(Path(path).name, PACKED_SUFFIXES), MRC_SUFFIXES)


def _without(name: str, endings: Sequence[str]) -> str:
    for ending in endings:
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)]
    return name


def open_mrc(
    path: PathLike,
    voxel_size: float | Sequence[float] | None = None,
    name: str | None = None,
    identity: How = "quick",
) -> Volume:
    """Open an MRC file and return its handle. Only the header and some blocks are read.

    Parameters
    ----------
    path
        An MRC file, which may be compressed with gzip or bzip2, or the URL of one.
    voxel_size
        Angstrom, one number or z, y, x; overrides the header. It is needed if the header has no plausible one.
    name
        Name of the tomogram; default: the name of the file without its ending.
    identity
        How the file is identified (:mod:`volengine.io.identity`).

    Returns
    -------
    Volume
        ``facts["mrc"]`` is the header (:meth:`MrcHeader.to_json`), ``facts["warnings"]`` its warnings.

    Raises
    ------
    MissingError, FormatError
        As for :func:`~volengine.io.mrc.header.read_header`.
    InputError
        The header has no plausible voxel size, and none was given.
    """
    header = read_header(path)
    why_not = f"the header has no usable voxel size: {header.voxel_size_rule}"
    size = chosen_voxel_size(header.path, voxel_size, header.voxel_size, why_not)
    # not resolve(), which would follow links to names that users do not know
    url = header.path if is_remote(header.path) else os.path.abspath(header.path)  # noqa: PTH100
    volume = Volume(
        url=url,
        shape=header.shape,
        dtype=header.dtype,
        voxel_size=size,
        origin=header.origin_for(size),
        name=volume_name(path) if name is None else name,
        facts={"mrc": header.to_json(), "warnings": list(header.warnings)},
    )
    return identified(volume, identity)


class MrcSource(FileSource):
    """Read access to the voxels of an MRC file.

    It is cheap to make, can be pickled, keeps no file open, and may be used by several threads and processes at once.
    At most :data:`volengine.io.rawfile.WINDOW_BYTES` of the file are mapped at a time.

    Parameters
    ----------
    volume
        A handle of :func:`open_mrc`. The file's header is read again and must still fit. For mode 0 the volume's dtype
        may be set to ``uint8`` or ``int8`` (``volume.with_(dtype="uint8")``), which overrides the header.

    Raises
    ------
    InputError
        The file is compressed.
    FormatError
        The file has changed since it was opened.
    """

    def __init__(self, volume: Volume):
        header = read_header(volume.url)
        if header.compression:
            raise InputError(
                f"{volume.url}: is compressed ({header.compression}); boxes cannot be read out of it. "
                "Unpack it first (gunzip, bunzip2), or make a store of it: volengine convert."
            )
        super().__init__(volume)
        self._check_file(header.shape, header.dtype, ("int8", "uint8") if header.mode == 0 else ())
        self._header = header
        self._file: RemoteFile | None = None

    @property
    def header(self) -> MrcHeader:
        """The header of the file."""
        return self._header

    def read(self, box: Box) -> NDArray[np.generic]:
        """Read a box: C-contiguous, native byte order, z, y, x.

        Raises
        ------
        InputError
            The box is not inside of the volume.
        """
        self._check_box(box)
        axes = self._header.axes
        stored = Box(index3(box.start[a] for a in axes), index3(box.stop[a] for a in axes))
        url = self.volume.url
        if is_remote(url):
            if self._file is None:
                self._file = RemoteFile(url)
            values = read_remote(self._file.pread, self._header.layout, stored)
        else:
            values = read_raw(url, self._header.layout, stored)
        turned = np.ascontiguousarray(values.transpose(np.argsort(axes)))
        return turned.view(self.dtype)  # only mode 0 may differ: int8 against uint8


def decompress(path: PathLike, target: PathLike) -> Path:
    """Unpack an MRC file from gzip or bzip2 as a stream. The target appears only when it is complete.

    Parameters
    ----------
    path
        A file compressed with gzip or bzip2, recognised by its content.
    target
        The file to write; it is replaced if it exists.

    Returns
    -------
    Path
        The target.

    Raises
    ------
    FormatError
        The file is damaged, truncated or not compressed, or its content is no complete MRC file.
    """
    name, final = os.fspath(path), Path(target)
    compression, total = sniff(name)
    if not compression:
        raise FormatError(f"{name}: is neither gzip nor bzip2; its first bytes say that it is not compressed.")
    with (
        replacing(final) as out,
        opened_file(name) as packed,
        open_stream(packed, compression) as stream,
    ):
        most = _announced(name)
        while chunk := _read_chunk(stream, name, compression, total):
            if out.tell() > most:
                raise FormatError(
                    f"{name}: unpacks to more than {most} bytes, far more than its header announces; it is damaged, or "
                    "made to fill the disk."
                )
            out.write(chunk)
    try:
        read_header(final)
    except FormatError as error:  # name the file that the user knows
        final.unlink()
        raise FormatError(str(error).replace(str(final), f"{name} (unpacked)")) from error
    return final


def _announced(name: str) -> int:
    """Return the most bytes that a compressed file may unpack to: those that its header announces, twice and a MiB."""
    layout = read_header(name).layout
    return 2 * (layout.offset + layout.nbytes) + 2**20


def _read_chunk(stream: IO[bytes], name: str, compression: str, total: int) -> bytes:
    try:
        return stream.read(COPY_BYTES)
    except DAMAGED as error:
        raise FormatError(
            f"{name}: the {compression} stream ({total} bytes) is damaged or ends too early ({error}). "
            "Copy or download it again."
        ) from error
