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

import os
import re
import stat
import struct
import threading
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from volengine.core.errors import ChangedError, FormatError, InputError, MissingError
from volengine.io.names import NODE_FILES

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

_lock = threading.Lock()
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

    def __init__(self, path: Path):
        self.path = path
        self.state = _state(os.stat(path))  # noqa: PTH116  (what is compared later)
        found = _members(path)
        self.root = _root(found, path)
        self.members = {name[len(self.root) :]: m for name, m in found.items() if name.startswith(self.root)}
        self._folders: dict[str, dict[str, None]] | None = None

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
            with self.path.open("rb", buffering=0) as file:
                if _state(os.fstat(file.fileno())) != self.state:
                    raise ChangedError(f"{self.path} has changed since it was opened. Open it again.")
                begin = self._begin(file.fileno(), key, member, where)
                if member.deflated:
                    data = self._unpacked(file.fileno(), begin, member, where)
                    if (start, stop) != (0, member.size):
                        _inflated[:] = [(self, key, data)]
                    return data[start:stop]
                data = _pread(file.fileno(), stop - start, begin + start, where)
        except OSError as error:
            if isinstance(error, (FormatError, InputError)):
                raise
            raise MissingError(f"{where} cannot be read ({error.strerror}).") from error
        if stop - start == member.size and zlib.crc32(data) != member.crc:
            raise _damaged(where, "its checksum is not the stored one")
        return data

    def _begin(self, number: int, key: str, member: Member, where: str) -> int:
        """Return the place of the first byte of a member, whose header must be that of this member."""
        head = _pread(number, HEADER.size, member.offset, where)
        mark, _, flags, *_, length, extra = HEADER.unpack(head)
        if mark != b"PK\3\4":
            raise _damaged(where, "there is no member where the list says")
        name = _pread(number, length, member.offset + HEADER.size, where)
        if name.decode("utf-8" if flags & 0x800 else "cp437", "replace") != self.root + key:
            raise _damaged(where, "another member is where the list says")
        begin = member.offset + HEADER.size + length + extra
        if begin + member.packed > self.state[0]:
            raise _damaged(where, "it is cut short")
        return int(begin)

    def _unpacked(self, number: int, begin: int, member: Member, where: str) -> bytes:
        if member.size > LARGEST_DEFLATED:
            raise FormatError(
                f"{where} is compressed and has {member.size} bytes; compressed members of more than "
                f"{LARGEST_DEFLATED} are not read. Unpack the archive, or zip it without compression (zip -0)."
            )
        decoder, made, at = zlib.decompressobj(-15), bytearray(), 0
        try:
            while at < member.packed and not decoder.eof:
                piece = _pread(number, min(PIECE, member.packed - at), begin + at, where)
                at += len(piece)
                made += decoder.decompress(piece, member.size - len(made) + 1)
                if len(made) > member.size:
                    raise _damaged(where, f"it unpacks to more than the {member.size} bytes that are stated")
        except zlib.error as error:
            raise _damaged(where, str(error)) from error
        if len(made) != member.size or not decoder.eof or zlib.crc32(made) != member.crc:
            raise _damaged(where, f"it unpacks to {len(made)} of {member.size} bytes, or to others")
        return bytes(made)


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
            with _lock:
                _open[key] = archive
                _open.move_to_end(key)
                while len(_open) > REMEMBERED:
                    _open.popitem(last=False)
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


def _pread(number: int, length: int, offset: int, where: str) -> bytes:
    data = os.pread(number, length, offset)
    while len(data) < length:
        more = os.pread(number, length - len(data), offset + len(data))
        if not more:
            raise _damaged(where, f"it is cut short: {len(data)} of {length} bytes are there")
        data += more
    return data


def _members(path: Path) -> dict[str, Member]:
    """Return the members of an archive by name, without folders."""
    broken = (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError, struct.error, IndexError)
    try:
        with zipfile.ZipFile(path) as archive:
            listed = archive.infolist()
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


def _check(info: zipfile.ZipInfo, path: Path) -> None:
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


def _check_places(members: dict[str, Member], path: Path) -> None:
    """Refuse members that lie upon each other: a small archive could unpack to any size."""
    end, before = 0, ""
    for name, member in sorted(members.items(), key=lambda item: item[1].offset):
        if member.offset < end:
            raise FormatError(f"{path}: the members {before!r} and {name!r} lie upon each other; it is not read.")
        end, before = member.offset + HEADER.size + len(name) + member.packed, name


def _root(names: Iterable[str], path: Path) -> str:
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
