"""The state of files, samples of their bytes, and digests of all bytes, which are remembered in the user's cache.

The digest of a file is remembered by its path, size, time and inode, that of a Zarr array by its place and the digest
of its listing, and both by the times at which the file system noted a change, which no program sets back: each in a
small file of its own, put in place by a rename. So any number of processes may read and write the cache at once. A
cache that cannot be written is not used; a damaged entry is ignored.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

from volengine.core.atomic import write_atomic
from volengine.core.digest import DIGITS, digest_of
from volengine.core.errors import ChangedError, InputError, MissingError, VolengineError
from volengine.io.names import is_remote
from volengine.io.stores import local_path, opened_file, stored_bytes, stored_file

BLOCKS = 16
"""Number of blocks of a file that its sample reads."""

BLOCK_BYTES = 4096
"""Bytes of each of them."""

TICK_NS = 20_000_000
"""Two changes of a file within this time may get the same time stamp (the kernel's clock ticks every 1 to 10 ms)."""

COARSE_TICK_NS = 2_000_000_000
"""The same for file systems that store whole seconds."""

READERS = 8

PIECE = 2**22
"""Bytes of a file that are read at a time."""

_lock = threading.Lock()
_known: dict[str, str] = {}
"""Digests of contents that this process knows, by the key of the cache."""


@dataclass(frozen=True)
class FileState:
    """What the file system says of a file.

    Parameters
    ----------
    size
        Bytes.
    time_ns
        Time of the last change of its bytes, ns since 1970.
    inode
        Number of the file in its file system.
    """

    size: int
    time_ns: int
    inode: int

    def to_json(self) -> dict[str, int]:
        """Return the fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Make a state from a mapping that has at least its fields."""
        return cls(int(data["size"]), int(data["time_ns"]), int(data["inode"]))


@contextlib.contextmanager
def _readable(path: str | os.PathLike[str]) -> Iterator[None]:
    """Say of a file that is looked at or read in the block what is wrong with it."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingError(f"{path}: there is no such file.") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error


def file_state(path: str | os.PathLike[str]) -> FileState:
    """Return the state of a file.

    Raises
    ------
    MissingError
        It does not exist.
    InputError
        It cannot be reached.
    """
    if is_remote(os.fspath(path)):
        return _remote_state(os.fspath(path))
    with _readable(path):
        stat = os.stat(path)  # noqa: PTH116  (a path of any kind)
    return FileState(stat.st_size, stat.st_mtime_ns, stat.st_ino)


def _remote_state(url: str) -> FileState:
    """The state of a file behind a URL: its stamp (ETag, or time) stands for the inode; another stamp, another file."""
    found = stored_file(url)
    if found is None:
        raise MissingError(f"{url}: there is no such file.")
    return FileState(found.size, 0, int(digest_of(found.stamp)[:12], 16) if found.stamp else 0)


def settle(time_ns: int) -> bool:
    """Wait until a later change would get another time than ``time_ns``; return whether it was necessary.

    Without this, a file that is written, read and written again within a tick of the clock has the same size and time.
    """
    tick = COARSE_TICK_NS if time_ns % 1_000_000_000 == 0 else TICK_NS
    age = time.time_ns() - time_ns
    if not -tick < age < tick:  # a time in the future says nothing about the clock
        return False
    time.sleep(min(tick, tick - age) / 1e9)
    return True


def sample_of_file(path: str) -> tuple[FileState, str]:
    """Return the state of a file, and a digest of its length and of 16 blocks of 4 KiB that are spread over it.

    The first and the last block are among them; a file of up to 64 KiB is read whole.

    Raises
    ------
    MissingError
        It does not exist.
    InputError
        It cannot be read.
    """
    settle(file_state(path).time_ns)
    state = file_state(path)
    digest = hashlib.sha256(str(state.size).encode())
    last = max(0, state.size - BLOCK_BYTES)
    with _readable(path), opened_file(path) if is_remote(path) else open(path, "rb", buffering=0) as file:  # noqa: PTH123
        if state.size <= BLOCKS * BLOCK_BYTES:
            digest.update(file.read(state.size))
        else:
            for number in range(BLOCKS):
                file.seek(number * last // (BLOCKS - 1))
                digest.update(file.read(BLOCK_BYTES))
    return state, digest.hexdigest()[:DIGITS]


def content_of_file(path: str) -> str:
    """Return a digest of all bytes of a file; it is computed once for each path, size, inode and times.

    Raises
    ------
    MissingError
        It does not exist.
    InputError
        It cannot be read.
    ChangedError
        It is being written.
    """
    settle(file_state(path).time_ns)
    before, changed = file_state(path), _inode_time(path)
    remote = is_remote(path)
    key = _content_key(path, before, changed)
    known = None if remote and not before.inode else _recall(key)  # without a stamp nobody knows whether it changed
    if known is not None:
        return known
    found = _hashed(path)
    if (file_state(path), _inode_time(path)) != (before, changed):
        raise ChangedError(f"{path} is being written; wait until it is complete, then run the same command again.")
    _remember(key, found)
    return found


def remembered_content(path: str) -> str | None:
    """Return what :func:`content_of_file` has said of a file as it is now; ``None`` if it would have to be read.

    Raises
    ------
    MissingError, InputError
        As of :func:`file_state`.
    """
    return _recall(_content_key(path, file_state(path), _inode_time(path)))


def _content_key(path: str, state: FileState, changed: int) -> str:
    place = path if is_remote(path) else os.path.abspath(path)  # noqa: PTH100
    return digest_of(["file", place, state, changed])


def _inode_time(path: str | os.PathLike[str]) -> int:
    """When the file system last noted a change of a file, ns; no program can set it back. 0 if it is not there."""
    try:
        return os.stat(path).st_ctime_ns  # noqa: PTH116  (a path of any kind)
    except OSError:
        return 0


def _hashed(path: str | os.PathLike[str]) -> str:
    digest = hashlib.sha256()
    with _readable(path), opened_file(path) as file:
        while piece := file.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


@dataclass(frozen=True)
class FileIdentity:
    """A file that a stage reads besides its arrays: a model, a table, a structure; it is known by its bytes.

    Planners put :meth:`to_json` into a stage's parameters, so that another content is another identity, and kernels
    call :meth:`check` after they have read the file.

    Parameters
    ----------
    path
        The file.
    digest
        Digest of its bytes, 20 hexadecimal digits of SHA-256.
    """

    path: str
    digest: str

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> Self:
        """Identify a file by its bytes; errors as for :func:`content_of_file`."""
        return cls(os.fspath(path), file_digest(path))

    def check(self) -> None:
        """Refuse the file if its bytes are others now; call this after it has been read.

        Raises
        ------
        ChangedError
            The file has changed, or is gone.
        """
        check_file(self.path, self.digest)

    def to_json(self) -> dict[str, str]:
        """Return the fields as JSON values; ``FileIdentity(**data)`` makes an equal one of them."""
        return asdict(self)


def file_digest(path: str | os.PathLike[str]) -> str:
    """Return the digest of a :class:`FileIdentity`; errors as for :func:`content_of_file`."""
    return content_of_file(os.fspath(path))[:DIGITS]


def check_file(path: str | os.PathLike[str], digest: str) -> None:
    """Refuse a file whose bytes have another digest than when the run was planned.

    Raises
    ------
    ChangedError
        The file has changed, or is gone.
    """
    try:
        found = file_digest(path)
    except MissingError:
        raise ChangedError(
            f"{path} is gone; it was there when this run was planned. Put it back, and run the same command again."
        ) from None
    if found != digest:
        raise ChangedError(
            f"{path} has changed since this run was planned (digest {digest}, now {found}). Run the same command "
            "again: it makes everything anew that was made from it."
        )


def content_of_objects(url: str, path: str, keys: Sequence[str], listing: str) -> str:
    """Return a digest of the names and bytes of objects of a Zarr array; it is computed once for each listing.

    Parameters
    ----------
    url, path
        The store, and the array in it.
    keys
        Keys of the objects, relative to the array.
    listing
        Digest of the listing that the keys are from; it stands for them in the cache.

    Raises
    ------
    ChangedError
        An object was deleted meanwhile.
    """
    names, folder = [f"{path}/{k}" if path else k for k in keys], local_path(url)
    changed = [] if folder is None else [_inode_time(folder / name) for name in names]
    key = digest_of(["objects", url, path, listing, changed])
    known = _recall(key)
    if known is not None:
        return known
    with ThreadPoolExecutor(READERS, "hash") as pool:
        digests = list(pool.map(partial(_hashed_object, url), names))
    found = digest_of(list(zip(keys, digests, strict=True)))
    _remember(key, found)
    return found


def _hashed_object(url: str, key: str) -> str:
    folder = local_path(url)
    try:
        if folder is not None:
            return _hashed(folder / key)
        data = stored_bytes(url, key)
    except MissingError as error:
        if folder is None:
            raise
        raise _deleted(url, key) from error
    if data is None:
        raise _deleted(url, key)
    return hashlib.sha256(data).hexdigest()


def _deleted(url: str, key: str) -> ChangedError:
    return ChangedError(f"{url}: {key} was deleted while it was read; is the store being written? Run it again then.")


# -- what is remembered --------------------------------------------------------------------------------------


def cache_folder() -> Path:
    """Return the folder of digests: ``volengine/digests`` in ``$XDG_CACHE_HOME``, or else in ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "volengine" / "digests"


def _entry(key: str) -> Path:
    return cache_folder() / key[:2] / f"{key}.json"


def _recall(key: str) -> str | None:
    with _lock:
        if key in _known:
            return _known[key]
    try:
        data = json.loads(_entry(key).read_bytes())
    except (OSError, ValueError, RuntimeError):  # RuntimeError: there is no home folder
        return None
    found = data.get("content") if isinstance(data, dict) and data.get("key") == key else None
    return found if isinstance(found, str) else None


def _remember(key: str, content: str) -> None:
    with _lock:
        _known[key] = content
    with contextlib.suppress(OSError, RuntimeError, VolengineError):
        write_atomic(_entry(key), json.dumps({"key": key, "content": content}))
