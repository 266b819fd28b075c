"""Reading the objects of a Zarr store in a zip archive (``.ozx``, ``.zarr.zip``), which is never unpacked as a whole.

>>> import io, zipfile
>>> from pathlib import Path
>>> from tempfile import TemporaryDirectory
>>> with TemporaryDirectory() as folder:
...     path = Path(folder, "t.zarr.zip")
...     with zipfile.ZipFile(path, "w") as made:
...         made.writestr("t.zarr/zarr.json", "{}")
...     archive_at(path).read("zarr.json")
b'{}'

The layout is that of RFC-9 of NGFF (state R2, 2026-04): the root of the archive is the root of the store, members are
stored without compression. Archives that were made by hand often have a folder above, and compress: both are read. A
member that is stored can be read in parts; one that is compressed is unpacked up to the part that is wanted, and may
have at most 128 MiB. Names that leave the archive, encrypted members, links, members that lie upon each other or unpack
to more than deflate can make, and other compressions than deflate are refused when the archive is opened.

A process keeps the compressed member of which it has read a part last. An open archive takes about 0.3 KB of memory per
member, opening it about 1 KB.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import stat
import struct
import threading
import time
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from volengine.core.errors import ChangedError, FormatError, InputError, MissingError, VolengineError
from volengine.io.names import NODE_FILES
from volengine.io.remote_file import RemoteFile

MAX_MEMBERS = 2**20
"""Most members of an archive that is read."""

LARGEST_DEFLATED = 2**27
"""Largest compressed member that is read, bytes unpacked."""

MAX_RATIO = 1032
"""Bytes that deflate makes of one byte at most."""

REMEMBERED = 4
"""Number of archives whose lists of members a process keeps."""

PIECE = 2**20
"""Compressed bytes that are read at a time."""

HEADER = struct.Struct("<4s5HIIIHH")
"""Header of a member in front of its bytes."""

State = tuple[int, int, int, int]
"""Size, time of the last change and of the last change of the entry (ns), and inode of a file."""

Bytes = Callable[[int, int], bytes]
"""Gives so many bytes (first) from an offset (second) of an archive."""

FRESH_S = 2.0
"""Seconds in which a server is not asked again whether an archive is what it was."""

_lock = threading.Lock()
_asked: dict[str, float] = {}
"""When the server was asked for an archive last."""

_open: OrderedDict[str, ZipArchive] = OrderedDict()
_inflated: list[tuple[ZipArchive, str, bytes]] = []
"""The compressed member that was unpacked last: shards are read chunk by chunk."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member: place of its header, size of its content, bytes in the archive, crc32, whether it is compressed."""

    offset: int
    size: int
    packed: int
    crc: int
    deflated: bool


class ZipArchive:
    """A zip archive that holds one Zarr store.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    FormatError
        It is no zip archive, is damaged, holds no store or several, or members that are not read.
    """

    def __init__(self, path: Path | str):
        self.path = path
        self.file = RemoteFile(path) if isinstance(path, str) else None
        # what is compared later
        self.state = _state(os.stat(path)) if self.file is None else _remote_state(self.file)  # noqa: PTH116
        found = _members(path, path if self.file is None else io.BufferedReader(self.file, PIECE))
        self.root = _root(found, path)
        self.members = {name[len(self.root) :]: m for name, m in found.items() if name.startswith(self.root)}
        self._folders: dict[str, dict[str, None]] | None = None
        self._begins: dict[str, int] = {}

    def size(self, key: str) -> int | None:
        """Return the size of an object in bytes; ``None`` if there is none."""
        member = self.members.get(key)
        return None if member is None else member.size

    def names(self, folder: str) -> list[str]:
        """Return the names directly in a folder (``""``: the root of the store), sorted."""
        if self._folders is None:
            made: dict[str, dict[str, None]] = {}
            for key in self.members:
                while key:
                    above, _, name = key.rpartition("/")
                    inside = made.setdefault(above, {})
                    if name in inside:
                        break
                    inside[name] = None
                    key = above
            self._folders = made
        return sorted(self._folders.get(folder.strip("/"), ()))

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes | None:
        """Read an object, or bytes ``start`` to ``stop`` of it; ``None`` if there is none.

        The checksum of the archive is compared where the whole object is read.

        Raises
        ------
        FormatError
            It is damaged, or is compressed and too large.
        ChangedError
            The archive was replaced since it was opened.
        """
        member = self.members.get(key)
        if member is None:
            return None
        stop = member.size if stop is None else min(stop, member.size)
        start = min(max(0, start), stop)
        for archive, name, data in tuple(_inflated):
            if archive is self and name == key:
                return data[start:stop]
        where = f"{self.path}: {key}"
        try:
            with self._opened() as file:
                begin = self._begins.get(key) or self._begin(file, key, member, where)
                self._begins[key] = begin
                if member.deflated:
                    data = self._unpacked(file, begin, member, where)
                    if (start, stop) != (0, member.size):
                        _inflated[:] = [(self, key, data)]
                    return data[start:stop]
                data = _pread(file, stop - start, begin + start, where)
        except OSError as error:
            if isinstance(error, VolengineError):
                raise
            raise MissingError(f"{where} cannot be read ({error.strerror}).") from error
        if stop - start == member.size and zlib.crc32(data) != member.crc:
            raise _damaged(where, "its checksum is not the stored one")
        return data

    @contextlib.contextmanager
    def _opened(self) -> Iterator[Bytes]:
        """Open the archive, if it is still what it was; the parts of one behind a URL are compared one by one."""
        if self.file is not None:
            yield self.file.pread
            return
        with open(self.path, "rb", buffering=0) as file:  # noqa: PTH123
            if _state(os.fstat(file.fileno())) != self.state:
                raise ChangedError(f"{self.path} has changed since it was opened. Open it again.")
            yield partial(os.pread, file.fileno())

    def _begin(self, file: Bytes, key: str, member: Member, where: str) -> int:
        """Return the place of the first byte of a member, whose header must be that of this member."""
        head = _pread(file, HEADER.size, member.offset, where)
        mark, _, flags, *_, length, extra = HEADER.unpack(head)
        if mark != b"PK\3\4":
            raise _damaged(where, "there is no member where the list says")
        name = _pread(file, length, member.offset + HEADER.size, where)
        if name.decode("utf-8" if flags & 0x800 else "cp437", "replace") != self.root + key:
            raise _damaged(where, "another member is where the list says")
        begin = member.offset + HEADER.size + length + extra
        if begin + member.packed > self.state[0]:
            raise _damaged(where, "it is cut short")
        return int(begin)

    def _unpacked(self, file: Bytes, begin: int, member: Member, where: str) -> bytes:
        if member.size > LARGEST_DEFLATED:
            raise FormatError(
                f"{where} is compressed and has {member.size} bytes; compressed members of more than "
                f"{LARGEST_DEFLATED} are not read. Unpack the archive, or zip it without compression (zip -0)."
            )
        decoder, made, at = zlib.decompressobj(-15), bytearray(), 0
        try:
            while at < member.packed and not decoder.eof:
                piece = _pread(file, min(PIECE, member.packed - at), begin + at, where)
                at += len(piece)
                made += decoder.decompress(piece, member.size - len(made) + 1)
                if len(made) > member.size:
                    raise _damaged(where, f"it unpacks to more than the {member.size} bytes that are stated")
        except zlib.error as error:
            raise _damaged(where, str(error)) from error
        if len(made) != member.size or not decoder.eof or zlib.crc32(made) != member.crc:
            raise _damaged(where, f"it unpacks to {len(made)} of {member.size} bytes, or to others")
        return bytes(made)


def remote_archive(url: str) -> ZipArchive:
    """Return the archive behind a URL; this process keeps some of them open, and asks now and then for their stamp.

    Raises
    ------
    MissingError, UnreachedError
        There is no such file, or it cannot be reached.
    FormatError
        As :class:`ZipArchive`.
    """
    now = time.monotonic()
    with _lock:
        archive = _open.get(url)
        fresh = now - _asked.get(url, -FRESH_S) < FRESH_S
    if archive is not None and fresh:
        return archive
    if archive is None or archive.state != _remote_state(RemoteFile(url)):
        archive = ZipArchive(url)
    with _lock:
        _asked[url] = now
    _keep(url, archive)
    return archive


def _keep(key: str, archive: ZipArchive) -> None:
    with _lock:
        _open[key] = archive
        _open.move_to_end(key)
        while len(_open) > REMEMBERED:
            _open.popitem(last=False)


def archive_at(path: Path) -> ZipArchive:
    """Return the archive at a path; this process keeps some of them open, until they change.

    Raises
    ------
    MissingError
        There is no such file.
    InputError
        It is a folder, or cannot be read.
    FormatError
        As :class:`ZipArchive`.
    """
    try:
        found = os.stat(path)  # noqa: PTH116
        if stat.S_ISDIR(found.st_mode):
            raise InputError(f"{path} is a folder, but its name is that of a zip archive. Rename it to NAME.zarr.")
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{path} is a device or a pipe; a zip archive was expected.")
        key = str(path.absolute())
        with _lock:
            archive = _open.get(key)
        if archive is None or archive.state != _state(found):
            archive = ZipArchive(path)
            _keep(key, archive)
    except (FileNotFoundError, NotADirectoryError) as error:
        if isinstance(error, MissingError):
            raise
        raise MissingError(f"{path}: there is no such file or store.") from error
    except OSError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    return archive


def _state(found: os.stat_result) -> State:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _damaged(where: str, what: str) -> FormatError:
    return FormatError(f"{where} is damaged: {what}. Copy or download the archive again.")


def _remote_state(file: RemoteFile) -> State:
    """The state of a file behind a URL; its stamp stands for the time."""
    return file.size, zlib.crc32(file.stored.stamp.encode()), 0, 0


def _pread(file: Bytes, length: int, offset: int, where: str) -> bytes:
    data = file(length, offset)
    while len(data) < length:
        more = file(length - len(data), offset + len(data))
        if not more:
            raise _damaged(where, f"it is cut short: {len(data)} of {length} bytes are there")
        data += more
    return data


def _members(path: Path | str, file: Any) -> dict[str, Member]:
    """Return the members of an archive by name, without folders."""
    broken = (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError, struct.error, IndexError)
    try:
        with zipfile.ZipFile(file) as archive:
            listed = archive.infolist()
    except VolengineError:
        raise
    except broken as error:
        raise FormatError(
            f"{path} is no zip archive, or it is damaged or cut off ({error}). Copy or download it again."
        ) from error
    if len(listed) > MAX_MEMBERS:
        raise FormatError(f"{path} has {len(listed)} members; more than {MAX_MEMBERS} are not read. Unpack it.")
    found: dict[str, Member] = {}
    for info in listed:
        _check(info, path)
        if info.filename in found:
            raise FormatError(f"{path}: {info.filename!r} comes twice, so it is not known which is right.")
        if not info.filename.endswith("/"):
            deflated = info.compress_type == zipfile.ZIP_DEFLATED
            found[info.filename] = Member(info.header_offset, info.file_size, info.compress_size, info.CRC, deflated)
    _check_places(found, path)
    return found


def _check(info: zipfile.ZipInfo, path: Path | str) -> None:
    """Refuse a member that is not read."""
    name = info.filename
    parts = name.removesuffix("/").split("/")
    # orig_filename: the name as it is stored; zipfile cuts it at a zero byte
    if name != info.orig_filename or "\\" in name or re.match("[A-Za-z]:", name) or {"", ".", ".."} & set(parts):
        raise FormatError(
            f"{path}: the name {info.orig_filename[:200]!r} leaves the archive, or is none of a Zarr store. Zip it "
            "again, with / between folders."
        )
    if info.flag_bits & 0x2041:
        raise FormatError(f"{path}: {name!r} is encrypted. Zip the store again without a password.")
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise FormatError(f"{path}: {name!r} is a link or a device, which is not read.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FormatError(
            f"{path}: {name!r} is compressed by the method {info.compress_type} of zip; only deflate (8) is read, "
            "and what is not compressed. Zip it again with zip -0."
        )
    stored = info.compress_type == zipfile.ZIP_STORED
    wrong = info.file_size != info.compress_size if stored else info.file_size > MAX_RATIO * info.compress_size + 64
    if wrong or (name.endswith("/") and info.file_size):
        raise FormatError(
            f"{path}: {name!r} states {info.file_size} bytes in {info.compress_size} of the archive, which cannot be. "
            "Copy or download it again."
        )


def _check_places(members: dict[str, Member], path: Path | str) -> None:
    """Refuse members that lie upon each other: a small archive could unpack to any size."""
    end, before = 0, ""
    for name, member in sorted(members.items(), key=lambda item: item[1].offset):
        if member.offset < end:
            raise FormatError(f"{path}: the members {before!r} and {name!r} lie upon each other; it is not read.")
        end, before = member.offset + HEADER.size + len(name) + member.packed, name


def _root(names: Iterable[str], path: Path | str) -> str:
    """Return the folder of the archive that is the store: its root, or the one folder in it (``"t.zarr/"``)."""
    known, root = set(names), ""
    while not any(root + file in known for file in NODE_FILES):
        tops = {name[len(root) :].split("/")[0] for name in known if name.startswith(root)}
        tops = {top for top in tops if not top.startswith((".", "__MACOSX"))}
        folders = [top for top in tops if root + top not in known]
        if len(tops) != 1 or not folders:
            several = sorted(f for f in folders if any(f"{root}{f}/{file}" in known for file in NODE_FILES))
            what = f"it holds {len(several)}: {', '.join(several[:3])}" if several else "no zarr.json is at its root"
            raise FormatError(f"{path} is no zip archive of one Zarr store ({what}). Zip each store into one archive.")
        root += f"{folders[0]}/"
    return root
