"""A file behind a URL, of which parts are read: MRC files and zip archives on object stores and web servers.

>>> file = RemoteFile("s3://bucket/TS_01.mrc")                                          # doctest: +SKIP
>>> file.size, len(file.pread(1024, 0))                                                 # doctest: +SKIP
(1024001024, 1024)

All parts are of the same file: one that is written again meanwhile is an error, not a mixture of both. Nothing is kept
in memory but the part that is read.
"""

from __future__ import annotations

import io
from typing import Any

from volengine.core.errors import ChangedError, FormatError, MissingError, VolengineError
from volengine.io.names import StoredObject
from volengine.io.remote_store import beside


class RemoteFile(io.RawIOBase):
    """A file behind a URL, which is looked at when this is made.

    Parameters
    ----------
    url
        The URL.

    Raises
    ------
    MissingError
        There is no such file, or it is not allowed to read it.
    UnreachedError
        The server does not answer.
    DependencyError
        The file system needs a package that is not installed.
    """

    def __init__(self, url: str):
        super().__init__()
        from zarr.core.sync import sync

        self.url, self._at = url, 0
        self._store, self._name = beside(url, read_only=True)
        try:
            found = sync(self._store.look(self._name))
        except FileNotFoundError as error:
            if isinstance(error, VolengineError):
                raise
            raise MissingError(f"{url}: there is no such file.") from None
        if found.total is None:
            raise FormatError(f"{url}: the server does not say how large the file is. Download it first.")
        self.size: int = found.total
        self.stored = StoredObject(found.total, found.stamp)

    def pread(self, count: int, offset: int) -> bytes:
        """Read bytes from an offset; fewer only where the file ends.

        Raises
        ------
        ChangedError
            The file is another one than when it was looked at.
        MissingError, UnreachedError
            It cannot be reached.
        """
        from zarr.core.sync import sync

        stop = min(self.size, offset + count)
        if stop <= offset:
            return b""
        try:
            piece = sync(self._store.part(self._name, offset, stop))
        except FileNotFoundError as error:
            if isinstance(error, VolengineError):
                raise
            raise ChangedError(f"{self.url} was deleted while it was read. Put it back, and begin again.") from None
        total = self.size if piece.total is None else piece.total
        if total != self.size or (piece.stamp and self.stored.stamp and piece.stamp != self.stored.stamp):
            raise ChangedError(
                f"{self.url} was written again while it was read ({self.size} bytes, {self.stored.stamp or 'no ETag'}; "
                f"now {total} bytes, {piece.stamp or 'no ETag'}). Run the same command again."
            )
        if len(piece.data) != stop - offset:
            raise ChangedError(f"{self.url}: {len(piece.data)} of {stop - offset} bytes at {offset} are there.")
        return piece.data

    # -- what io.RawIOBase asks for: zipfile, gzip and bz2 read it like any file ----------------------------------

    def readable(self) -> bool:
        """Return ``True``."""
        return True

    def seekable(self) -> bool:
        """Return ``True``."""
        return True

    def tell(self) -> int:
        """Return the place from which is read next."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Set the place from which is read next."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError(f"{self.url}: there is nothing before its first byte.")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer; return the number of bytes."""
        view = memoryview(buffer).cast("B")
        data = self.pread(len(view), self._at)
        view[: len(data)] = data
        self._at += len(data)
        return len(data)
