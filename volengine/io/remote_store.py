"""A Zarr store behind a URL of fsspec: every request is made with patience, and every answer is compared with it.

>>> store = RemoteStore(FsspecStore.from_url("s3://bucket/a.ome.zarr"), "s3://bucket/a.ome.zarr")  # doctest: +SKIP

zarr's own store takes some errors for "there is no such object", and so for zeros, and believes lists of objects that
fsspec remembers. This one asks the server each time.
"""

from __future__ import annotations

import asyncio
import atexit
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Self, TypeVar

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.core import sync as loops
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import FsspecStore, WrapperStore

from volengine.core.errors import DependencyError, InputError, VolengineError, require
from volengine.io.names import scheme
from volengine.io.patience import patiently
from volengine.io.remote import S3_PROTOCOLS, Part, Piece, fetched, looked_at, protocols_of

T = TypeVar("T")

_EXTRAS = {
    "s3": ("s3fs", "s3"),
    "s3a": ("s3fs", "s3"),
    "http": ("aiohttp", "s3"),
    "https": ("aiohttp", "s3"),
    "gs": ("gcsfs", "gcs"),
    "gcs": ("gcsfs", "gcs"),
}

REMEMBERED = 2**16
"""Number of objects whose stamps are remembered, about 0.3 kB each."""


END_S = 5.0
"""Seconds that requests which nobody waits for any more have to end with the process."""


def end_requests() -> None:
    """End the requests that are under way in zarr's loop, before the process ends.

    Of objects that are read side by side one has failed, and nobody waits for the others. asyncio would say of each
    that it was destroyed.
    """
    loop = loops.loop[0]
    if loop is None or not loop.is_running():
        return

    async def end() -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=END_S) if tasks else None

    with suppress(Exception):  # nothing that happens here is of use to anybody
        asyncio.run_coroutine_threadsafe(end(), loop).result(2 * END_S)


atexit.register(end_requests)  # after zarr's own, which closes the loop, so that it runs before


def open_remote(url: str, read_only: bool) -> RemoteStore:
    """Make the store of a URL of fsspec.

    Raises
    ------
    DependencyError
        The URL's file system needs a package that is not installed; the message names it.
    InputError
        There is no such scheme.
    """
    package, extra = _EXTRAS.get(scheme(url), ("", ""))
    try:
        return RemoteStore(FsspecStore.from_url(url, read_only=read_only), url)
    except ImportError as error:
        if extra == "s3":
            raise require(package, extra, f"{url}: reading and writing {scheme(url)}://") from error
        needed = f"the package {package}" if package else "a package that is not installed"
        raise DependencyError(f"{url}: {scheme(url)}:// needs {needed} ({error}).") from error
    except ValueError as error:
        raise InputError(f"{url} cannot be opened as a store: {error}.") from error


def beside(url: str, *, read_only: bool) -> tuple[RemoteStore, str]:
    """Return the store of the folder in which a file lies, and the file's name."""
    above, _, name = url.rpartition("/")
    return open_remote(above, read_only), name


class RemoteStore(WrapperStore[FsspecStore]):
    """A store of fsspec.

    Parameters
    ----------
    store
        The store of zarr.
    url
        Its URL, for messages.
    """

    def __init__(self, store: FsspecStore, url: str = ""):
        super().__init__(store)
        self.url = url.rstrip("/")
        self.fs: Any = store.fs
        self._stamps: OrderedDict[str, str] = OrderedDict()
        self._changes: dict[str, int] = {}
        if protocols_of(self.fs) & S3_PROTOCOLS:
            self.fs.retries = 1  # they are made here; botocore repeats what the server calls passing

    def _with_store(self, store: Any) -> Self:
        return type(self)(store, self.url)

    def changes(self, key: str) -> int:
        """Return how often an object was found to be another one than when a part of it was read before."""
        return self._changes.get(key, 0)

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Return an object, or a part of it; ``None`` if the store says that there is no such object.

        Raises
        ------
        UnreachedError
            There was no usable answer.
        MissingError
            It is not allowed, or the bucket or server does not exist.
        """
        part = _part_of(byte_range)
        place = self._place(key)
        try:
            piece = await self._asked(key, lambda: fetched(self.fs, place, part), part.count)
        except FileNotFoundError as error:
            if isinstance(error, VolengineError):
                raise
            return None
        if not part.whole:
            self._note(key, piece)
        return prototype.buffer.from_bytes(piece.data)

    def _note(self, key: str, piece: Piece) -> None:
        if not piece.stamp:
            return
        stamp = f"{piece.stamp} {piece.total}"
        before = self._stamps.get(key)
        if before is not None and before != stamp:
            self._changes[key] = self._changes.get(key, 0) + 1
        self._stamps[key] = stamp
        self._stamps.move_to_end(key)
        while len(self._stamps) > REMEMBERED:
            self._stamps.popitem(last=False)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return parts of objects."""
        return [await self.get(key, prototype, part) for key, part in key_ranges]

    async def set(self, key: str, value: Buffer) -> None:
        """Write an object. A request whose answer was lost is made again, and writes the same bytes.

        Raises
        ------
        UnreachedError, MissingError
            As :meth:`get`.
        """
        await self.put(key, value.to_bytes())

    async def put(self, key: str, data: bytes) -> None:
        """Write an object of these bytes, as :meth:`set`."""
        self._check_writable()
        place = self._place(key)
        await self._asked(key, lambda: self.fs._pipe_file(place, data), len(data))

    async def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        self._check_writable()
        place = self._place(key)

        async def once() -> None:
            if protocols_of(self.fs) & S3_PROTOCOLS:
                bucket, name, _ = self.fs.split_path(place)
                await self.fs._call_s3("delete_object", Bucket=bucket, Key=name)
                self.fs.invalidate_cache(place)
            else:
                await self._store.delete(key)

        await self._asked(key, once)

    async def delete_dir(self, prefix: str) -> None:
        """Remove all objects below a prefix."""
        self._check_writable()

        async def once() -> None:
            self.fs.invalidate_cache()
            await self._store.delete_dir(prefix)

        await self._asked(prefix, once, None)

    async def exists(self, key: str) -> bool:
        """Return whether there is an object; what is remembered of listings does not count."""
        try:
            await self.look(key)
        except FileNotFoundError as error:
            if isinstance(error, VolengineError):
                raise
            return False
        return True

    async def getsize(self, key: str) -> int:
        """Return the size of an object in bytes.

        Raises
        ------
        FileNotFoundError
            There is none.
        """
        found, place = await self.look(key), self._place(key)
        if found.total is None:
            found = await self._asked(key, lambda: fetched(self.fs, place, Part()), None)
        return int(found.total or len(found.data))

    async def is_empty(self, prefix: str) -> bool:
        """Return whether nothing is stored below a prefix."""
        async for _ in self.list_prefix(prefix):
            return False
        return True

    async def list(self) -> AsyncIterator[str]:
        """Yield the keys of all objects."""
        for key in await self._listed("", lambda: self._store.list()):
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Yield the keys of the objects below a prefix."""
        for key in await self._listed(prefix, lambda: self._store.list_prefix(prefix)):
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Yield the names directly below a prefix."""
        for key in await self._listed(prefix, lambda: self._store.list_dir(prefix)):
            yield key

    async def _listed(self, prefix: str, ask: Callable[[], AsyncIterator[str]]) -> Iterable[str]:
        async def once() -> Iterable[str]:
            self.fs.invalidate_cache()
            return [key async for key in ask()]

        try:
            return await self._asked(prefix, once, None)
        except FileNotFoundError as error:
            if isinstance(error, VolengineError):
                raise
            return []

    async def details(self, prefix: str) -> dict[str, dict[str, Any]]:
        """List the objects below a prefix with what the store says of each, by key relative to the prefix."""
        place = self._place(prefix.rstrip("/"))

        async def once() -> dict[str, dict[str, Any]]:
            self.fs.invalidate_cache()
            found = await self.fs._find(place, detail=True)
            return dict(found)

        try:
            found = await self._asked(prefix, once, None)
        except FileNotFoundError as error:
            if isinstance(error, VolengineError):
                raise
            return {}
        root = place.rstrip("/") + "/"
        return {key.removeprefix(root): facts for key, facts in found.items() if key.startswith(root)}

    async def look(self, key: str) -> Piece:
        """Return size and stamp of an object.

        Raises
        ------
        FileNotFoundError
            There is none.
        """
        place = self._place(key)
        return await self._asked(key, lambda: looked_at(self.fs, place))

    async def part(self, key: str, start: int, stop: int) -> Piece:
        """Return bytes of an object, with its size and stamp.

        Raises
        ------
        FileNotFoundError
            There is none.
        """
        place, part = self._place(key), Part(start, stop)
        return await self._asked(key, lambda: fetched(self.fs, place, part), part.count)

    async def _asked(self, key: str, once: Callable[[], Awaitable[T]], count: int | None = 0) -> T:
        if not self._store._is_open:
            await self._store._open()
        return await patiently(f"{self.url}/{key}".rstrip("/"), once, count)

    def _place(self, key: str) -> str:
        return f"{self._store.path}/{key}".rstrip("/") if key else self._store.path


def _part_of(request: ByteRequest | None) -> Part:
    if isinstance(request, RangeByteRequest):
        return Part(request.start, request.end)
    if isinstance(request, OffsetByteRequest):
        return Part(request.offset)
    if isinstance(request, SuffixByteRequest):
        return Part(-request.suffix)
    return Part()
