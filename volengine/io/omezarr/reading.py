"""Reading arrays with an eye on damage: a chunk that cannot be decoded, or is lost, is an error that names it.

>>> reader = ArrayReader(url, path)                                                          # doctest: +SKIP
>>> voxels = reader.read((0, 0, 0), (64, 64, 64))                                            # doctest: +SKIP

Arrays of other programs and of any codec are read here, in the order of their own axes.
"""

from __future__ import annotations

import errno
import itertools
import re
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import DamagedError, InputError, MemoryRefusedError, MissingError, VolengineError, os_advice
from volengine.core.units import format_bytes
from volengine.io.names import is_zipped
from volengine.io.omezarr.bounds import ChunkError, limit_of
from volengine.io.omezarr.chunk_keys import with_separator
from volengine.io.omezarr.direct import Index, ObjectError, cells_of, read_direct
from volengine.io.omezarr.manifest_file import Manifest, read_manifest
from volengine.io.omezarr.nodes import read_node, short
from volengine.io.omezarr.objects import PIECE, Stored, crc32c
from volengine.io.omezarr.opening import memory_array, metadata_of, open_layout
from volengine.io.stores import LASTING, local_path, open_store, reached, zip_archive

MAX_CHUNKS = 2**20
"""Most chunks that one box may touch: each costs a call."""

ATTEMPTS = 3
"""Times that a box is read before its objects are examined: one may be replaced while it is read."""


class ArrayReader:
    """Reads boxes of one array, whose metadata are read once.

    Parameters
    ----------
    url, path
        The store, and the path of the array in it.

    Raises
    ------
    MissingError
        There is no such array.
    FormatError
        Its metadata cannot be read, or its chunks lie where these do not say.
    """

    def __init__(self, url: str, path: str):
        self.url, self.path = url, path
        self.text = with_separator(url, path, metadata_of(url, path))
        self.array, self.layout = open_layout(url, path, self.text)
        self.where = f"{url}, array {path!r}"
        root = local_path(url)
        self.folder = None if root is None else root / path
        self._manifest: Manifest | None = None
        self._manifest_read = False

    @property
    def unit(self) -> Index:
        """Shape of an object: a shard, or a chunk if there are no shards."""
        unit: Index = self.array.shards or self.array.chunks
        return unit

    def key(self, cell: Index) -> str:
        """Return the key of an object, relative to the array."""
        return str(self.array.metadata.encode_chunk_key(cell))

    def read(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[Any]:
        """Read a box, which must lie inside of the array and not be empty.

        Raises
        ------
        DamagedError
            An object of the box cannot be decoded, or is not there although the array's manifest lists it.
        MissingError
            The store cannot be reached, or an object cannot be read.
        InputError
            The box touches too many chunks.
        MemoryRefusedError
            Its voxels do not fit into the memory.
        """
        self._check(start, stop)
        for attempt in range(ATTEMPTS):
            try:
                voxels, absent = self._read(start, stop)
                break
            except VolengineError:
                raise
            except MemoryError as error:
                size = prod(b - a for a, b in zip(start, stop, strict=True)) * self.array.dtype.itemsize
                raise MemoryRefusedError(
                    f"{self.where}: {format_bytes(size)} of voxels in chunks of {self.array.chunks} do not fit into "
                    "the memory. Read smaller boxes."
                ) from error
            except Exception as error:  # every codec has errors of its own
                if attempt == ATTEMPTS - 1:
                    raise self._explained(start, stop, error) from error
        if absent:
            self._check_absent(absent)
        return voxels

    def examine(self, cell: Index) -> str:
        """Decode one object as a whole; return what is wrong with it, or nothing. One that is not there is right.

        Raises
        ------
        MissingError
            It cannot be read.
        """
        start = tuple(i * n for i, n in zip(cell, self.unit, strict=True))
        stop = tuple(min(a + n, s) for a, n, s in zip(start, self.unit, self.array.shape, strict=True))
        key = self.key(cell)
        try:
            if self.folder is not None and self.layout is not None:
                read_direct(self.folder, self.layout, start, stop)
                return ""
            data = self._bytes(key)
            if data == b"":
                return "it is empty"
            if data is not None:
                slices = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
                memory_array(self.text, {key: data}, self.where)[slices]
        except VolengineError:
            raise
        except OSError as error:
            return self._disk(error)
        except MemoryError:
            return "it does not fit into the memory"
        except Exception as error:
            return _reason(error)
        return ""

    def verify(self, key: str, stored: Stored) -> str:
        """Compare one object with the size and checksum that it was written with; return what is wrong, or nothing.

        Raises
        ------
        MissingError
            It cannot be read.
        """
        try:
            size, found = self._sum(key)
        except FileNotFoundError:
            return "it is not there"
        except OSError as error:
            return self._disk(error)
        if size != stored[0]:
            return f"it has {size} bytes, but {stored[0]} were written"
        return "" if found == stored[1] else f"its checksum is {found:08x}, but {stored[1]:08x} was written"

    def _sum(self, key: str) -> Stored:
        """Return size and crc32c of an object, a piece at a time."""
        if self.folder is None:
            data = self._bytes(key)
            if data is None:
                raise FileNotFoundError(key)
            return len(data), crc32c(data)
        size, found = 0, 0
        with (self.folder / key).open("rb") as file:
            while piece := file.read(PIECE):
                size, found = size + len(piece), crc32c(piece, found)
        return size, found

    def cell(self, key: str) -> Index | None:
        """Return the place in the grid of the object with this key; ``None`` if the array has no such object."""
        numbers = re.findall(r"\d+", key)
        if len(numbers) != self.array.ndim or any(len(number) > 18 for number in numbers):
            return None
        cell = tuple(int(number) for number in numbers)
        inside = all(i * n < s for i, n, s in zip(cell, self.unit, self.array.shape, strict=True))
        return cell if inside and self.key(cell) == key else None

    def _read(self, start: Sequence[int], stop: Sequence[int]) -> tuple[NDArray[Any], list[str]]:
        if self.folder is not None and self.layout is not None:
            return read_direct(self.folder, self.layout, start, stop)
        for cell in cells_of(start, stop, self.unit):
            self._bounded(self.key(cell))
        slices = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        before = self._changes(start, stop)
        voxels = np.asarray(self.array[slices])
        if self._changes(start, stop) != before:
            raise ChunkError("an object was replaced while parts of it were read")
        notes = getattr(self.array.store, "absent", None)
        if not notes:
            return voxels, []
        keys = [self.key(cell) for cell in cells_of(start, stop, self.unit)]
        return voxels, [key for key in keys if self._full(key) in notes]

    def _changes(self, start: Sequence[int], stop: Sequence[int]) -> int:
        """Count how often a shard of a box was found replaced; a local one is opened once for all its parts."""
        store: Any = self.array.store
        changes = getattr(getattr(store, "_store", None), "changes", None)
        if changes is None or self.array.shards is None:
            return 0
        return sum(changes(self._full(self.key(cell))) for cell in cells_of(start, stop, self.unit))

    def _bounded(self, key: str) -> None:
        """Refuse a local object that is larger than its chunks can be, before it is read."""
        size: int | None
        if self.folder is not None:
            try:
                size = (self.folder / key).stat().st_size
            except (FileNotFoundError, NotADirectoryError):
                return
        else:
            archive = zip_archive(self.url)
            size = None if archive is None else archive.size(self._full(key))
        if size is not None and size > self._largest:
            raise ObjectError(key, f"it has {size} bytes, where at most {self._largest} are expected")

    @property
    def _largest(self) -> int:
        """Most bytes that an object may have."""
        chunk = prod(self.array.chunks) * self.array.dtype.itemsize
        return (limit_of(chunk, filters=True) + 16) * prod(
            u // c for u, c in zip(self.unit, self.array.chunks, strict=True)
        )

    def _bytes(self, key: str) -> bytes | None:
        if self.folder is not None:
            try:
                self._bounded(key)
                return (self.folder / key).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None
        self._bounded(key)
        from zarr.core.buffer import default_buffer_prototype
        from zarr.core.sync import sync

        with reached(self.url):
            found = sync(open_store(self.url, read_only=True).get(self._full(key), default_buffer_prototype()))
        return None if found is None else bytes(found.to_bytes())

    def _full(self, key: str) -> str:
        return f"{self.path}/{key}" if self.path else key

    def _check(self, start: Sequence[int], stop: Sequence[int]) -> None:
        count = prod(-(-b // n) - a // n for a, b, n in zip(start, stop, self.array.chunks, strict=True))
        if count > MAX_CHUNKS:
            raise InputError(
                f"{self.where}: a box of {tuple(b - a for a, b in zip(start, stop, strict=True))} voxels touches "
                f"{count} chunks of {self.array.chunks}; at most {MAX_CHUNKS} are read at a time. Read smaller boxes, "
                "or store it with larger chunks."
            )

    def _explained(self, start: Sequence[int], stop: Sequence[int], error: Exception) -> Exception:
        """Find the objects of a box that cannot be decoded, each alone.

        Errors of network and disk that may pass stay what they are, so that the engine runs the unit again.
        """
        cells = list(cells_of(start, stop, self.unit))
        try:
            bad = {self.key(cell): reason for cell in cells if (reason := self.examine(cell))}
        except VolengineError as refused:
            return refused if self.folder is not None or is_zipped(self.url) else error
        except OSError as passing:
            return passing
        if bad:
            return self._damaged("cannot be decoded", bad)
        if isinstance(error, OSError):
            return error
        if isinstance(error, ChunkError) or self.folder is not None or is_zipped(self.url):
            return DamagedError(
                f"{self.where}: voxels {tuple(start)} to {tuple(stop)} cannot be decoded ({_reason(error)}), although "
                "each of their chunks can be: it may be changing. Read it again when nobody writes to it.",
                self.url,
                self.path,
            )
        return error

    def _check_absent(self, keys: list[str]) -> None:
        """Refuse objects that are not there although the manifest lists them: zarr would read zeros."""
        if self.folder is not None or not self._manifest_read:
            self._manifest, self._manifest_read = read_manifest(self.url, self.path), True
        if self._manifest is not None:
            lost = {key: "it is not there" for key in keys if key in self._manifest.objects}
            if lost and self._complete():
                raise self._damaged("is lost", lost)

    def _complete(self) -> bool:
        """Return whether the array's image is finished; until then its units may still be written."""
        node = read_node(self.url, self.path.rpartition("/")[0])
        return node is None or bool(node.ours.get("complete", True))

    def _damaged(self, what: str, bad: dict[str, str]) -> DamagedError:
        shown = "; ".join(f"{key} ({reason})" for key, reason in itertools.islice(bad.items(), 3))
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        part = "shard" if self.array.shards else "chunk"
        return DamagedError(
            f"{self.where}: the {part} {shown}{more} {what}. Copy the store again from its source, or run the "
            "command that made it again.",
            self.url,
            self.path,
            tuple(bad),
        )

    def _disk(self, error: OSError) -> str:
        """Return what is wrong with an object that the disk cannot read; raise what says nothing about the object."""
        if error.errno == errno.EIO:
            return short(error)
        if error.errno in LASTING:
            raise MissingError(f"{self.where} cannot be read: {short(error)}. {os_advice(error)}".rstrip()) from error
        raise error


def _reason(error: BaseException) -> str:
    text = short(error).rstrip(".: ")
    return text if isinstance(error, ChunkError) else f"{type(error).__name__}: {text}".rstrip(": ")
