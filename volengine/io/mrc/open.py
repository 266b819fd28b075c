"""Read MRC files: a handle first, then any box of voxels.

>>> volume = open_mrc("TS_01.rec")                                  # doctest: +SKIP
>>> voxels = MrcSource(volume).read(Box((0, 0, 0), (64, 64, 64)))    # doctest: +SKIP

``open_mrc`` reads the header only and gives a :class:`~volengine.core.volume.Volume`; :class:`MrcSource` copies
boxes out of the file, in the order z, y, x whatever mapc, mapr, maps say, in native byte order. The y axis is not
flipped: index 0 is the first row of the file. Compressed files (``.gz``, ``.bz2``) can be opened; to read their
voxels, :func:`decompress` them first. :mod:`volengine.io.mrc.write` writes.
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
from volengine.io.files import FileSource, chosen_voxel_size, file_identity
from volengine.io.mrc.header import (
    DAMAGED,
    MrcHeader,
    open_stream,
    read_header,
    sniff,
)
from volengine.io.names import MRC_SUFFIXES, PACKED_SUFFIXES
from volengine.io.rawfile import read_raw

COPY_BYTES = 4 * 2**20


def volume_name(path: PathLike) -> str:
    """The file's name without folder and without ``.mrc``, ``.rec.gz`` and the like."""
    return _without(_without(Path(path).name, PACKED_SUFFIXES), MRC_SUFFIXES)


def _without(name: str, endings: Sequence[str]) -> str:
    for ending in endings:
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: -len(ending)]
    return name


def open_mrc(path: PathLike, voxel_size: float | Sequence[float] | None = None, name: str | None = None) -> Volume:
    """The handle of an MRC file. Reads its header only.

    Parameters
    ----------
    path
        An MRC file, also compressed with gzip or bzip2.
    voxel_size
        Angstrom, one number or z, y, x; overrides the header. Needed where the header has none that can be
        believed.
    name
        The tomogram's name; default: the file's name without its ending.

    Returns
    -------
    Volume
        ``facts["mrc"]`` is the header (:meth:`MrcHeader.to_json`), ``facts["warnings"]`` what looked wrong.

    Raises
    ------
    MissingError, FormatError
        As :func:`~volengine.io.mrc.header.read_header`.
    InputError
        The header has no believable voxel size and none was given.
    """
    header = read_header(path)
    why_not = f"the header has no usable voxel size: {header.voxel_size_rule}"
    size = chosen_voxel_size(header.path, voxel_size, header.voxel_size, why_not)
    url = os.path.abspath(header.path)  # noqa: PTH100  (resolve() would follow links to names users do not know)
    return Volume(
        url=url,
        shape=header.shape,
        dtype=header.dtype,
        voxel_size=size,
        origin=header.origin_for(size),
        name=volume_name(path) if name is None else name,
        identity=file_identity(url, header.raw),
        facts={"mrc": header.to_json(), "warnings": list(header.warnings)},
    )


class MrcSource(FileSource):
    """Boxes of voxels from an MRC file.

    Cheap to make and to pickle, holds no open file, safe in several threads and processes at once. At most
    :data:`volengine.io.rawfile.WINDOW_BYTES` of the file are mapped at a time.

    Parameters
    ----------
    volume
        From :func:`open_mrc`. The file's header is read again and must still fit. For mode 0 the volume's dtype
        may be set to ``uint8`` or ``int8`` (``volume.with_(dtype="uint8")``), against the header.

    Raises
    ------
    InputError
        The file is compressed.
    FormatError
        The file is no longer the one that was opened.
    """

    def __init__(self, volume: Volume):
        header = read_header(volume.url)
        if header.compression:
            raise InputError(
                f"{volume.url}: is compressed ({header.compression}); boxes cannot be read out of it. "
                "Unpack it first: volengine.io.mrc.open.decompress(path, target)."
            )
        super().__init__(volume)
        self._check_file(header.shape, header.dtype, ("int8", "uint8") if header.mode == 0 else ())
        self._header = header

    @property
    def header(self) -> MrcHeader:
        return self._header

    def read(self, box: Box) -> NDArray[np.generic]:
        """The voxels of a box: C-contiguous, native byte order, z, y, x.

        Raises
        ------
        InputError
            The box is not inside of the volume.
        """
        self._check_box(box)
        axes = self._header.axes
        stored = Box(index3(box.start[a] for a in axes), index3(box.stop[a] for a in axes))
        values = read_raw(self.volume.url, self._header.layout, stored)
        turned = np.ascontiguousarray(values.transpose(np.argsort(axes)))
        return turned.view(self.dtype)  # only mode 0 may differ: int8 against uint8


def decompress(path: PathLike, target: PathLike) -> Path:
    """Unpack an MRC file from gzip or bzip2, streamed; the target appears only when it is complete.

    Parameters
    ----------
    path
        A file compressed with gzip or bzip2 (told by its content).
    target
        The file to write; replaced if it exists.

    Returns
    -------
    Path
        The target.

    Raises
    ------
    FormatError
        The file is damaged, ends too early, is not compressed, or what is in it is no whole MRC file.
    """
    name, final = os.fspath(path), Path(target)
    compression, total = sniff(name)
    if not compression:
        raise FormatError(f"{name}: is neither gzip nor bzip2; its first bytes say that it is not compressed.")
    with (
        replacing(final) as out,
        Path(name).open("rb") as packed,
        open_stream(packed, compression) as stream,
    ):
        while chunk := _read_chunk(stream, name, compression, total):
            out.write(chunk)
    try:
        read_header(final)
    except FormatError as error:  # name the file that the user knows
        final.unlink()
        raise FormatError(str(error).replace(str(final), f"{name} (unpacked)")) from error
    return final


def _read_chunk(stream: IO[bytes], name: str, compression: str, total: int) -> bytes:
    try:
        return stream.read(COPY_BYTES)
    except DAMAGED as error:
        raise FormatError(
            f"{name}: the {compression} stream ({total} bytes) is damaged or ends too early ({error}). "
            "Copy or download it again."
        ) from error
