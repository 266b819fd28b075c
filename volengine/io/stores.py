"""Zarr stores in local folders, in memory, and in object stores.

>>> store = open_store("memory://tomo.zarr")       # in this process only
>>> exists("memory://tomo.zarr")
False

``open_store("tomo.zarr")`` opens a local folder (also ``file:///...``), ``open_store("s3://bucket/tomo.zarr")`` an
object store. Any scheme of fsspec can be used; ``s3`` needs the extra ``s3``. A URL is plain text in every handle and
recipe. Credentials and endpoints come from the environment and from fsspec's configuration files, never from the URL.
"""

from __future__ import annotations

import errno
import io
import os
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from volengine.core.aside import is_private, sweep
from volengine.core.errors import (
    FormatError,
    InputError,
    MissingError,
    VolengineError,
    os_advice,
)
from volengine.core.paths import path_text
from volengine.io.names import NODE_FILES, StoredObject, is_remote, is_zipped, name_in_copick, scheme

if TYPE_CHECKING:
    from zarr.abc.store import Store

    from volengine.io.zipped import ZipArchive

LASTING = frozenset({errno.EACCES, errno.EPERM, errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR})
"""Errors of reading a file that do not pass by themselves; after others the engine tries again."""

BUFFER_BYTES = 2**16
"""Bytes of a file behind a URL that are read at least."""

DOWNLOAD_BYTES = 2**24
"""Bytes of a file that are downloaded at a time."""

_memory: dict[str, dict[str, Any]] = {}
_memory_lock = threading.Lock()


def local_path(url: str) -> Path | None:
    """Return the folder of a local store; ``None`` for other stores, which zip archives are, too.

    Raises
    ------
    InputError
        A ``file://`` URL names another host.
    """
    if url.startswith("~"):  # the home folder may change
        return None if is_zipped(url) else _file_path(url)
    return _local_path(url)


@lru_cache(maxsize=1024)
def _local_path(url: str) -> Path | None:
    """Return what :func:`local_path` does, which is asked some hundred times for each store of a collection."""
    return None if is_zipped(url) else _file_path(url)


def zip_archive(url: str) -> ZipArchive | None:
    """Return the zip archive that a path or URL names by its ending; ``None`` if it names none.

    Raises
    ------
    MissingError
        There is no such file.
    UnreachedError
        It lies behind a URL, whose server does not answer.
    FormatError
        It is no archive of a Zarr store, or holds members that are not read.
    """
    if not is_zipped(url):
        return None
    from volengine.io.zipped import archive_at, remote_archive

    path = _file_path(url)
    return remote_archive(url) if path is None else archive_at(path)


def _file_path(url: str) -> Path | None:
    if scheme(url) != "file":
        return None
    if "://" in url:
        parts = urlsplit(url)
        if parts.netloc not in ("", "localhost"):
            raise InputError(f"{url}: a file URL has three slashes, as in file:///data/tomo.zarr.")
        return Path(unquote(parts.path))
    return Path(path_text(url))


def store_name(url: str) -> str:
    """Return the name of a store without its folder and its ending (``.ome.zarr``, ``.zarr``): the tomogram's name.

    In a copick project the folders have the name (:func:`~volengine.io.names.name_in_copick`).
    """
    if named := name_in_copick(url):
        return named
    name = url.rstrip("/").rpartition("/")[2]
    if is_zipped(name):
        name = name.rpartition(".")[0]
    for ending in (".zarr", ".ome", ".ngff"):
        name = name.removesuffix(ending)
    return name


def open_store(url: str, *, read_only: bool = False) -> Store:
    """Make the Zarr store of a path or URL. This creates nothing and does not check whether it exists.

    Parameters
    ----------
    url
        Path or URL.
    read_only
        Refuse writing through this object.

    Raises
    ------
    DependencyError
        The URL's file system needs a package that is not installed; the message names it.
    InputError
        The URL cannot be opened, for example because its scheme is unknown; or it is a zip archive, and is to be
        written.
    """
    if is_zipped(url):
        from volengine.io.zipped_store import ZippedStore, refused

        if not read_only:
            raise refused(url)
        return ZippedStore(_file_path(url) or url)
    path = local_path(url)
    if path is not None:
        from zarr.storage import LocalStore

        return LocalStore(path, read_only=read_only)
    if scheme(url) == "memory":
        from zarr.storage import MemoryStore

        with _memory_lock:
            content = _memory.setdefault(_memory_key(url), {})
        return MemoryStore(content, read_only=read_only)
    from volengine.io.remote_store import open_remote

    return open_remote(url, read_only)


def _memory_key(url: str) -> str:
    return url.partition("://")[2].strip("/")


def located(url: str) -> str:
    """Make a path absolute, so that it means the same file in every process; a URL is returned unchanged."""
    return url if "://" in url else str(Path(path_text(url)).absolute())


@contextmanager
def local_copy(url: str, *, write: bool = False) -> Iterator[Path]:
    """Yield a local path for a small file: its own path, or, for a URL, the path of a temporary copy.

    Parameters
    ----------
    url
        Path or URL of the file.
    write
        Whether the caller writes the file; for a URL it is uploaded at the end. Otherwise it is downloaded first.

    Raises
    ------
    MissingError
        The URL cannot be reached.
    """
    if "://" not in url:
        yield Path(url)
        return
    with TemporaryDirectory() as folder:
        path = Path(folder) / url.rsplit("/", 1)[-1]
        if not write:
            with path.open("wb") as file:
                download(url, file)
        yield path
        if write:
            from zarr.core.sync import sync

            from volengine.io.remote_store import beside

            with reached(url):
                store, name = beside(url, read_only=False)
                sync(store.put(name, path.read_bytes()))


def opened_file(url: str | os.PathLike[str]) -> IO[bytes]:
    """Open the file at a path or URL for reading its bytes.

    Raises
    ------
    OSError
        Of a local file.
    MissingError, UnreachedError
        There is no such file behind the URL, or it cannot be reached.
    """
    text = os.fspath(url)
    if not is_remote(text):
        return open(text, "rb")  # noqa: PTH123  (the caller closes it)
    from volengine.io.remote_file import RemoteFile

    return io.BufferedReader(RemoteFile(text), BUFFER_BYTES)


def download(url: str, out: IO[bytes]) -> None:
    """Copy a file from a URL to an open file, piece by piece; all pieces are of the same file.

    Raises
    ------
    MissingError, UnreachedError
        There is no such file, or it cannot be reached.
    ChangedError
        It was written again meanwhile.
    """
    from volengine.io.remote_file import RemoteFile

    file = RemoteFile(url)
    while data := file.read(DOWNLOAD_BYTES):
        out.write(data)


@contextmanager
def reached(url: str) -> Iterator[None]:
    """Replace any error of the libraries behind a URL (credentials, names, network) by one message.

    Raises
    ------
    MissingError
        Instead of the libraries' error. Errors of volengine pass unchanged.
    """
    try:
        yield
    except VolengineError:
        raise
    except Exception as error:
        raise MissingError(
            f"{url} cannot be reached ({type(error).__name__}: {error}). Credentials, region and endpoint of "
            f"{scheme(url)}:// come from the environment."
        ) from error


def exists(url: str) -> bool:
    """Return whether anything is stored at a path or URL; it need not be an image, nor a complete one.

    A folder that holds nothing but unfinished files, of a writer that was killed with its first one, holds nothing.
    """
    if is_zipped(url):
        path = _file_path(url)
        return stored_file(url) is not None if path is None else path.exists()
    path = local_path(url)
    if path is not None:
        return path.is_file() or (path.is_dir() and bool(_content(path)))
    from zarr.core.sync import sync

    with reached(url):
        return not sync(open_store(url, read_only=True).is_empty(""))


def stored_objects(url: str, prefix: str = "") -> dict[str, StoredObject]:
    """List the objects below a prefix of a store; the contents are not read.

    Parameters
    ----------
    url
        Path or URL of the store.
    prefix
        Path of a group or array in it.

    Returns
    -------
    dict
        Key relative to the prefix (``"c/0/0/1"``) and what the listing shows. It is empty if there is nothing.
    """
    path = local_path(url)
    if path is not None:
        return _listed_files(path / prefix)
    if (archive := zip_archive(url)) is not None:
        below = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        return {
            key[len(below) :]: StoredObject(member.size, f"{member.crc:08x}")
            for key, member in archive.members.items()
            if key.startswith(below)
        }
    if scheme(url) == "memory":
        with _memory_lock:
            content = dict(_memory.get(_memory_key(url), {}))
        start = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        return {key[len(start) :]: StoredObject(len(data)) for key, data in content.items() if key.startswith(start)}
    from zarr.core.sync import sync

    from volengine.io.remote_store import open_remote

    with reached(url):
        found = sync(open_remote(url, True).details(prefix))
    return {key: StoredObject(int(facts["size"]), _stamp(facts)) for key, facts in found.items()}


def stored_file(url: str) -> StoredObject | None:
    """Return what a listing shows of a file at a path or URL; ``None`` if there is none."""
    path = _file_path(url)
    if path is not None:
        try:
            stat = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return StoredObject(stat.st_size, f"{stat.st_mtime_ns}-{stat.st_ino}")
    from volengine.io.remote_file import RemoteFile

    try:
        return RemoteFile(url).stored
    except MissingError as error:
        if error.__cause__ is None:
            return None
        raise


def _stamp(facts: Mapping[str, Any]) -> str:
    return str(next((facts[key] for key in ("ETag", "etag", "md5Hash", "LastModified", "mtime") if key in facts), ""))


def _listed_files(folder: Path) -> dict[str, StoredObject]:
    found: dict[str, StoredObject] = {}
    waiting = [("", str(folder))]
    while waiting:
        start, place = waiting.pop()
        try:
            entries = list(os.scandir(place))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in entries:
            try:
                if entry.is_dir():
                    waiting.append((f"{start}{entry.name}/", entry.path))
                else:
                    stat = entry.stat()
                    found[start + entry.name] = StoredObject(stat.st_size, f"{stat.st_mtime_ns}-{stat.st_ino}")
            except FileNotFoundError:  # replaced or deleted meanwhile
                continue
            except OSError as error:  # a loop of links
                found[start + entry.name] = StoredObject(0, str(error.strerror))
    return found


def stored_bytes(url: str, key: str, most: int | None = None) -> bytes | None:
    """Return the bytes of an object of a store, at most ``most`` of a local one; ``None`` if there is no such object.

    Raises
    ------
    MissingError
        The store cannot be reached, or the file cannot be read.
    FormatError
        The key is no name that a file can have.
    """
    folder = local_path(url)
    if folder is not None:
        try:
            with open(f"{folder}{os.sep}{key}", "rb") as file:  # noqa: PTH123  # pathlib takes longer than the file
                if most is None:
                    return file.read()
                # read() takes all the memory that it is allowed to, whatever the file holds
                return file.read(min(most, os.fstat(file.fileno()).st_size + 1))
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except OSError as error:
            if error.errno not in LASTING:
                raise
            raise MissingError(
                f"{url}: {key} cannot be read ({error.strerror}). {os_advice(error)}".rstrip()
            ) from error
        except ValueError as error:  # a name that no file can have
            raise FormatError(f"{url}: {key!r} is no name of a file ({error}).") from error
    if is_zipped(url):
        try:
            archive = zip_archive(url)
        except MissingError:
            return None
        return None if archive is None else archive.read(key, 0, most)
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    with reached(url):
        data = sync(open_store(url, read_only=True).get(key, default_buffer_prototype()))
    return None if data is None else data.to_bytes()


def remove_store(url: str, prefix: str = "") -> None:
    """Delete a store, or the part of it below ``prefix``. If it does not exist, nothing happens.

    Its own metadata go last: what a killed process leaves can still be recognised, and be deleted.

    Raises
    ------
    InputError
        The path is a file, or a folder that is no Zarr group or array; it is not deleted.
    """
    path = local_path(url)
    if path is not None:
        _remove_folder(path / prefix if prefix else path)
        return
    from zarr.core.sync import sync

    async def delete() -> None:
        store = open_store(url)
        for name in [name async for name in store.list_dir(prefix)]:
            if name not in NODE_FILES:
                await store.delete_dir(f"{prefix}/{name}" if prefix else name)
        await store.delete_dir(prefix)

    with reached(url):
        sync(delete())
    if not prefix and scheme(url) == "memory":
        with _memory_lock:
            _memory.pop(_memory_key(url), None)


def _remove_folder(path: Path) -> None:
    if not path.exists():
        return
    if not path.is_dir():
        raise InputError(f"{path} is a file, not a Zarr store; it was not deleted. Give another name.")
    content = list(path.iterdir())
    if _content(path) and not any((path / name).exists() for name in NODE_FILES):
        raise InputError(f"{path} is a folder but no Zarr store; it was not deleted. Give another name.")
    for entry in sorted(content, key=lambda entry: (entry.name in NODE_FILES, entry.name == ".zattrs")):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)
    if not path.is_symlink():  # a link stays, which the user has set to choose the disk
        path.rmdir()


def _content(path: Path) -> list[str]:
    """The names in a folder without those of unfinished files."""
    return [entry.name for entry in os.scandir(path) if not is_private(entry.name)]


def remove_litter(url: str, prefix: str = "") -> int:
    """Delete what killed writers have left unfinished in a local store; return the number of files and folders.

    It may run while others write: what a living writer uses is kept (:mod:`volengine.core.aside`). Object stores hold
    no such files.
    """
    path = local_path(url)
    return 0 if path is None else sweep(path / prefix)
