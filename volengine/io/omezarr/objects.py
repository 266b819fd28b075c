"""Putting the objects of an array in place: shards, or chunks if there are no shards.

Every object is written aside and put in place by one atomic act, a rename on a file system or one PUT in an object
store. So a reader sees the former object or the new one, and nothing in between; what lay there before is neither read
nor deleted, so a damaged object disturbs nobody. An object of the same bytes is left as it is.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.errors import MissingError
from volengine.io.aside import make_folders, private_name, private_place, sync_file, sync_folders
from volengine.io.stores import local_path, open_store

Bytes = bytes | memoryview | mmap.mmap
Stored = tuple[int, int]
"""An object as it was written: its size in bytes, and the crc32c of its bytes."""

PIECE = 2**22
"""Bytes of a file that are read at a time."""


def crc32c(data: Bytes, before: int = 0) -> int:
    """Compute the crc32c of bytes, as the codec of this name and object stores do.

    Parameters
    ----------
    data
        The bytes.
    before
        The crc32c of what comes before them.
    """
    import google_crc32c

    plain = np.frombuffer(data, np.uint8)  # it takes no buffer that must be released
    return int(google_crc32c.extend(before, plain) if before else google_crc32c.value(plain))


def crc32c_of_file(path: Path) -> Stored:
    """Compute size and crc32c of a file, which is read piece by piece.

    Raises
    ------
    FileNotFoundError
        There is none.
    """
    import google_crc32c

    size, value = 0, 0
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            size, value = size + len(piece), int(google_crc32c.extend(value, piece))
    return size, value


class ObjectWriter:
    """Puts objects of one array in place and makes them durable; for one thread.

    Parameters
    ----------
    url, path
        The store, and the path of the array in it.
    """

    def __init__(self, url: str, path: str):
        self.url, self.path = url, path
        root = local_path(url)
        self.folder = None if root is None else root / path
        self._unsynced: dict[Path, None] = {}
        self._folders: dict[Path, None] = {}

    @contextlib.contextmanager
    def place(self) -> Iterator[Path]:
        """Make a private folder inside of the array's folder, for :meth:`put_file`.

        Raises
        ------
        MissingError
            The array is not there any more.
        """
        assert self.folder is not None
        with contextlib.ExitStack() as stack:
            try:
                place = stack.enter_context(private_place(self.folder))
            except FileNotFoundError as error:
                raise MissingError(
                    f"{self.url}: the array {self.path!r} was deleted while it was being written; run it again."
                ) from error
            yield place

    def put(self, key: str, data: Bytes, place: Path | None) -> Stored:
        """Put an object in place.

        Parameters
        ----------
        key
            Its key, relative to the array.
        data
            Its bytes.
        place
            The private folder, for arrays in local folders.
        """
        stored = (memoryview(data).nbytes, crc32c(data))
        if self.folder is None:
            self._put_remote(key, data, stored[0])
        elif place is not None:
            if self._same(key, data):
                self._settle(key, None)
            else:
                part = place / private_name()
                part.write_bytes(data)
                self._settle(key, part)
        return stored

    def put_file(self, key: str, part: Path) -> Stored | None:
        """Put an object in place that was written to a file of the same file system; ``None`` if there is no file."""
        try:
            file = part.open("rb")
        except FileNotFoundError:
            self.remove(key)
            return None
        with file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:  # private: nobody cuts it short
            stored = (len(data), crc32c(data))
            same = self._same(key, data)
        self._settle(key, None if same else part)
        return stored

    def exists(self, key: str) -> bool:
        """Return whether an object is in place."""
        if self.folder is not None:
            return (self.folder / key).exists()
        from zarr.core.sync import sync

        return bool(sync(open_store(self.url).exists(self._full(key))))

    def remove(self, key: str) -> None:
        """Remove an object that is to be all zeros, if there is one."""
        if self.folder is not None:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                (self.folder / key).unlink()
                self._folders[(self.folder / key).parent] = None
            return
        from zarr.core.sync import sync

        sync(open_store(self.url).delete(self._full(key)))

    def flush(self) -> None:
        """Wait until everything that was put in place since the last call is on the disk: files, then folders."""
        while self._unsynced:
            path = next(iter(self._unsynced))
            with contextlib.suppress(FileNotFoundError):  # replaced by a late writer of the same bytes
                sync_file(path)
            del self._unsynced[path]
        sync_folders(self._folders)
        self._folders.clear()

    def _settle(self, key: str, part: Path | None) -> None:
        """Rename an object to its key; without a file it is there already. Remember what must become durable."""
        assert self.folder is not None
        target = self.folder / key
        if part is not None:
            make_folders(target.parent)
            part.replace(target)
        self._unsynced[target] = None
        # all folders up to the array's: another process may have made one of them a moment ago
        for folder in target.parents:
            self._folders[folder] = None
            if folder == self.folder:
                break

    def _same(self, key: str, data: Bytes) -> bool:
        """Return whether an object of the same bytes is in place."""
        assert self.folder is not None
        try:
            with (self.folder / key).open("rb") as file, memoryview(data).cast("B") as wanted:
                if os.fstat(file.fileno()).st_size != wanted.nbytes:
                    return False
                at = 0
                while piece := file.read(PIECE):
                    if piece != wanted[at : at + len(piece)]:
                        return False
                    at += len(piece)
                return at == wanted.nbytes
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return False
        except OSError:  # it cannot be read; a new one is better
            return False

    def _put_remote(self, key: str, data: Bytes, size: int) -> None:
        from zarr.core.buffer import default_buffer_prototype
        from zarr.core.sync import sync

        store, full, prototype = open_store(self.url), self._full(key), default_buffer_prototype()

        async def put() -> None:
            try:
                there = await store.getsize(full) == size
            except FileNotFoundError:
                there = False
            if there:
                old = await store.get(full, prototype)
                there = old is not None and bytes_of(old) == memoryview(data).cast("B")
            if not there:
                await store.set(full, prototype.buffer.from_bytes(bytes(data)))

        sync(put())

    def _full(self, key: str) -> str:
        return f"{self.path}/{key}" if self.path else key


def bytes_of(buffer: Any) -> memoryview:
    """Return the bytes of a buffer of zarr without a copy."""
    return np.ascontiguousarray(buffer.as_numpy_array()).view(np.uint8).data
