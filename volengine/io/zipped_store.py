"""A Zarr store whose objects lie in a zip archive, for zarr-python; it is only read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest
from zarr.core.buffer import Buffer, BufferPrototype

from volengine.core.errors import InputError
from volengine.io.zipped import ZipArchive, archive_at, remote_archive


class ZippedStore(Store):
    """The store in a zip archive.

    Parameters
    ----------
    path
        The archive; a text is the URL of one.
    """

    supports_writes = False
    supports_deletes = False
    supports_listing = True

    def __init__(self, path: Path | str):
        super().__init__(read_only=True)
        self.path = path

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ZippedStore) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    def archive(self) -> ZipArchive:
        """Return the open archive."""
        return remote_archive(self.path) if isinstance(self.path, str) else archive_at(self.path)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return an object, or a part of it; ``None`` if it is not there."""
        if isinstance(self.path, str):  # what asks a server waits for zarr's loop, in which this runs
            return await asyncio.to_thread(self._get, key, prototype, byte_range)
        return self._get(key, prototype, byte_range)

    def _get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None) -> Buffer | None:
        archive = self.archive()
        start, stop = 0, archive.size(key)
        if stop is None:
            return None
        if isinstance(byte_range, RangeByteRequest):
            start, stop = byte_range.start, byte_range.end
        elif isinstance(byte_range, OffsetByteRequest):
            start = byte_range.offset
        elif isinstance(byte_range, SuffixByteRequest):
            start = stop - byte_range.suffix
        data = archive.read(key, start, stop)
        return None if data is None else prototype.buffer.from_bytes(data)

    async def _there(self) -> ZipArchive:
        return await asyncio.to_thread(self.archive) if isinstance(self.path, str) else self.archive()

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return parts of objects."""
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    async def exists(self, key: str) -> bool:
        """Return whether an object is there."""
        return (await self._there()).size(key) is not None

    async def getsize(self, key: str) -> int:
        """Return the size of an object in bytes."""
        size = (await self._there()).size(key)
        if size is None:
            raise FileNotFoundError(key)
        return size

    async def list(self) -> AsyncIterator[str]:
        """Yield the keys of all objects."""
        for key in (await self._there()).members:
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield the keys that begin with a text."""
        for key in (await self._there()).members:
            if key.startswith(prefix):
                yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names directly in a folder."""
        for name in (await self._there()).names(prefix):
            yield name

    async def set(self, key: str, value: Any) -> None:
        """Refuse to write.

        Raises
        ------
        InputError
            Always.
        """
        raise refused(str(self.path))

    async def delete(self, key: str) -> None:
        """Refuse to delete.

        Raises
        ------
        InputError
            Always.
        """
        raise refused(str(self.path))


def refused(url: str) -> InputError:
    """Make the error of writing into a zip archive."""
    return InputError(
        f"{url}: zip archives are read, not written. Write a store (NAME.ome.zarr), then zip it without compression "
        "from inside of it: cd NAME.ome.zarr && zip -r -0 ../NAME.ozx ."
    )
