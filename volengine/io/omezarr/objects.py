"""Putting the objects of an array in place: shards, or chunks if there are no shards.

Every object is written aside and put in place by one atomic act, a rename on a file system or one PUT in an object
store. So a reader sees the former object or the new one, and nothing in between; what lay there before is neither read
nor deleted, so a damaged object disturbs nobody. An object of the same bytes is left as it is.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.aside import begin_sync, make_folders, private_name, private_place, sync_folders
from volengine.core.atomic import flush
from volengine.core.errors import MissingError
from volengine.io.stores import local_path, open_store

Bytes = bytes | memoryview
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
    size, found = 0, 0
    with path.open("rb") as file:
        while piece := file.read(PIECE):  # a piece at a time: a mapped file counts as memory of the process
            size, found = size + len(piece), crc32c(piece, found)
    return size, found


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
        self._begun = 0

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
                raise self._deleted() from error
            yield place

    def check_there(self) -> None:
        """Raise :class:`MissingError` if the array's folder is not there any more."""
        if self.folder is not None and not self.folder.is_dir():
            raise self._deleted()

    def _deleted(self) -> MissingError:
        return MissingError(
            f"{self.url}: the array {self.path!r} was deleted while it was being written; run it again."
        )

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
            stored = crc32c_of_file(part)
        except FileNotFoundError:
            self.remove(key)
            return None
        self._settle(key, None if self._same(key, part) else part)
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
            target = self.folder / key
            self._unsynced.pop(target, None)
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                target.unlink()
                self._folders[target.parent] = None
            return
        from zarr.core.sync import sync

        sync(open_store(self.url).delete(self._full(key)))

    def begin_flush(self) -> None:
        """Let the system begin to bring to the disk what was put in place since the last call, without waiting."""
        for path in itertools.islice(self._unsynced, self._begun, None):
            begin_sync(path)
        self._begun = len(self._unsynced)

    def flush(self) -> None:
        """Wait until everything that was put in place since the last call is on the disk: files, then folders.

        Raises
        ------
        MissingError
            An object is not there any more.
        """
        try:
            # with all folders up to the array's: another process may have made one of them a moment ago
            flush(self._unsynced, root=self.folder)
        except FileNotFoundError as error:
            raise MissingError(
                f"{error.filename} was deleted after it was written. Does another program write to {self.url}?"
            ) from error
        sync_folders(self._folders)  # those of objects that were removed
        self._unsynced.clear()
        self._folders.clear()
        self._begun = 0

    def _settle(self, key: str, part: Path | None) -> None:
        """Rename an object to its key; without a file it is there already. Remember what must become durable."""
        assert self.folder is not None
        target = self.folder / key
        if part is not None:
            make_folders(target.parent)
            part.replace(target)
        self._unsynced[target] = None

    def _same(self, key: str, data: Bytes | Path) -> bool:
        """Return whether an object of the same bytes, or those of another file, is in place."""
        assert self.folder is not None
        size = data.stat().st_size if isinstance(data, Path) else memoryview(data).nbytes
        try:
            with (self.folder / key).open("rb") as old:
                if os.fstat(old.fileno()).st_size != size:
                    return False
                with data.open("rb") if isinstance(data, Path) else io.BytesIO(data) as new:
                    while piece := new.read(PIECE):
                        if old.read(PIECE) != piece:
                            return False
            return True
        except OSError:  # there is none, or it cannot be read; then a new one is better
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
