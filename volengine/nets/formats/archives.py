"""Read untrusted archives into memory: uncompressed tars (Ais's ``.scnm``) and zips (Keras's ``.keras``).

Nothing is written to disk, and no code is run. The readers refuse: absolute paths and paths that leave the archive;
links and devices; compressed tars; encrypted zips and zips that unpack to much more than their size; archives or
members that are too large; too many members; duplicate names; truncated files.
"""

from __future__ import annotations

import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Container, Sequence
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import IO

from volengine.core.errors import FormatError, MissingError

MAX_MEMBERS = 200
MAX_BYTES = 4 * 2**30
MAX_RATIO = 100
"""Largest compression ratio of a member: weights hardly compress, text about ten times."""


def read_archive(source: str | Path | bytes, where: str = "") -> dict[str, bytes]:
    """Read the plain files of an uncompressed tar archive.

    Parameters
    ----------
    source
        A path, or the bytes of an archive (for one inside another).
    where
        Name of the archive in messages, if ``source`` is not a path.

    Returns
    -------
    dict
        The bytes of each file, by its name.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        The file is not an uncompressed tar archive, or one of the rules above refuses it; the message says why.
    """
    where = where or str(source)
    stream = _stream(source, where)
    found: dict[str, bytes] = {}
    with stream:
        try:
            with tarfile.open(fileobj=stream, mode="r:") as archive:
                for number, member in enumerate(archive):
                    _check(member, number, found, where)
                    file = archive.extractfile(member) if member.isreg() else None
                    if file is not None:
                        found[member.name] = _read(file.read(), member, where)
        except (tarfile.TarError, OverflowError, ValueError, EOFError, OSError, MemoryError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"{where} is no uncompressed tar archive, or it is cut off ({error}).") from error
    if not found:
        raise FormatError(f"{where} holds no files.")
    return found


def read_zip(
    source: str | Path | bytes, wanted: Sequence[str], where: str = "", *, most: int = MAX_MEMBERS
) -> dict[str, bytes]:
    """Read some files of a zip archive. The entries of all members are checked, but the other files are not unpacked.

    Parameters
    ----------
    source
        A path, or the bytes of an archive.
    wanted
        Names of the files to read; the result lacks those that do not exist.
    where
        Name of the archive in messages, if ``source`` is not a path.
    most
        Largest number of members; an archive with more is refused.

    Returns
    -------
    dict
        The bytes of each file, by its name.

    Raises
    ------
    MissingError, FormatError
        As in :func:`read_archive`.
    """
    where = where or str(source)
    found: dict[str, bytes] = {}
    damage = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, NotImplementedError, RuntimeError, OSError, ValueError)
    with _stream(source, where) as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                seen: set[str] = set()
                for number, info in enumerate(archive.infolist()):
                    _check_info(info, number, seen, where, most)
                    seen.add(info.filename)
                    if info.filename in wanted:
                        found[info.filename] = _unpacked(archive, info, where)
        except (*damage, EOFError, struct.error) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"{where} is no zip archive, or it is damaged or cut off ({error}).") from error
    return found


def _check_info(info: zipfile.ZipInfo, number: int, seen: Container[str], where: str, most: int) -> None:
    _check_name(info.filename, number, seen, where, most)
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise FormatError(f"{where}: {info.filename!r} is a link or a device; it is not read.")
    if info.flag_bits & 1:
        raise FormatError(f"{where}: {info.filename!r} is encrypted.")
    if info.file_size > min(MAX_BYTES, MAX_RATIO * info.compress_size + 1000):
        raise FormatError(
            f"{where}: {info.filename!r} would unpack from {info.compress_size} to {info.file_size} bytes; it is not "
            "read."
        )


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str) -> bytes:
    with archive.open(info) as file:
        content = file.read(info.file_size + 1)
    if len(content) != info.file_size:
        raise FormatError(f"{where} is cut off: {info.filename!r} has {len(content)} of {info.file_size} bytes.")
    return content


def _stream(source: str | Path | bytes, where: str) -> IO[bytes]:
    if isinstance(source, bytes):
        return BytesIO(source)
    path = Path(source)
    if not path.is_file():
        raise MissingError(f"{where}: no such model file.")
    if path.stat().st_size > MAX_BYTES:
        raise FormatError(f"{where} has {path.stat().st_size} bytes; archives of models have at most {MAX_BYTES}.")
    return path.open("rb")


def _check_name(name: str, number: int, found: Container[str], where: str, most: int = MAX_MEMBERS) -> None:
    path = PurePosixPath(name)
    if number >= most:
        raise FormatError(f"{where} holds more than {most} files; archives of models hold a few.")
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
        raise FormatError(f"{where}: the name {name!r} leaves the archive; it is not read.")
    if name in found:
        raise FormatError(f"{where}: {name!r} comes twice.")


def _check(member: tarfile.TarInfo, number: int, found: dict[str, bytes], where: str) -> None:
    _check_name(member.name, number, found, where)
    if not (member.isreg() or member.isdir()):
        raise FormatError(f"{where}: {member.name!r} is a link or a device; it is not read.")
    if member.sparse is not None:
        raise FormatError(f"{where}: {member.name!r} is a sparse file, which says more than it holds; it is not read.")
    if member.size < 0 or member.size + sum(map(len, found.values())) > MAX_BYTES:
        raise FormatError(
            f"{where}: {member.name!r} claims {member.size} bytes; together at most {MAX_BYTES} are read."
        )


def _read(content: bytes, member: tarfile.TarInfo, where: str) -> bytes:
    if len(content) != member.size:
        raise FormatError(f"{where} is cut off: {member.name!r} has {len(content)} of {member.size} bytes.")
    return content
