"""Atomic writes: a file appears only when it is complete.

Data is written to a temporary file in the same folder, which is then renamed to the final name. A reader sees either
the former file or the new one, never a part of one.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from volengine.core.aside import private_name, sync_file, sync_folders
from volengine.core.errors import InputError, MissingError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of the errors that say that no more can be written."""

FLUSHERS = 16
"""Number of files that are flushed at the same time."""


@contextmanager
def full_named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Give the error of a full disk, quota or file size limit in this block the path that is written.

    The system calls that write know no names, so without this nobody would be told which disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None and "requested and" in str(error):  # NumPy's words for a file that became too short
            raise OSError(errno.ENOSPC, f"cannot be written wholly ({error})", str(path)) from error
        if error.errno in FULL and error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def replacing(path: str | os.PathLike[str], *, parents: bool = False, durable: bool = True) -> Iterator[IO[bytes]]:
    """Open a temporary file for writing; when the block ends, rename it to ``path``.

    If the block raises an error, the temporary file is deleted and an existing file at ``path`` is unchanged.

    Parameters
    ----------
    path
        Final name of the file.
    parents
        Create the folder if it is missing.
    durable
        Call ``fsync`` before and after the rename, so that the data and the name are on the disk.

    Yields
    ------
    IO[bytes]
        The temporary file, open for writing bytes.

    Raises
    ------
    MissingError
        The folder does not exist.
    InputError
        The folder cannot be written to, or ``path`` is a folder.
    """
    final = Path(path)
    if final.is_dir():
        raise InputError(f"{final}: is a folder; give the name of a file.")
    part = final.with_name(private_name())
    file, replaced = _opened_aside(part, final, parents), False
    try:
        with file, full_named(final):
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(part, final)  # noqa: PTH105  # pathlib takes longer than the file
        replaced = True
    finally:
        if not replaced:
            part.unlink(missing_ok=True)
    if durable:
        sync_folders([final.parent])


def _opened_aside(part: Path, final: Path, parents: bool) -> IO[bytes]:
    """Open the temporary file of :func:`replacing`; its folder is made if it is missing and ``parents`` is set."""
    try:
        return open(part, "wb")  # noqa: PTH123  # as above
    except (FileNotFoundError, NotADirectoryError):
        if parents:
            final.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{final}: cannot be written ({error.strerror}).") from error
    need_folder(final)
    try:
        return open(part, "wb")  # noqa: PTH123
    except OSError as error:
        raise InputError(f"{final}: cannot be written ({error.strerror}).") from error


def need_folder(file: Path) -> None:
    """Refuse a file whose folder does not exist, or is a file itself.

    Raises
    ------
    MissingError
        There is no such folder.
    """
    if file.parent.is_dir():
        return
    if file.parent.exists():
        raise MissingError(f"{file}: {file.parent} is a file, and no folder; give another place.")
    raise MissingError(f"{file}: the folder {file.parent} does not exist; create it first.")


def flush(paths: Iterable[str | os.PathLike[str]], *, root: str | os.PathLike[str] | None = None) -> None:
    """Make files durable: their data is on the disk when this returns, and so are their names.

    Parameters
    ----------
    paths
        Files that were written and renamed into place.
    root
        Folders between a file and this one may be new, and are made durable, too; default: the file's own folder only.

    Raises
    ------
    FileNotFoundError
        A file is not there any more.
    """
    files = [Path(path) for path in paths]
    top = None if root is None else Path(root)
    folders: set[Path] = set()
    for file in files:
        folder = file.parent
        while folder not in folders:
            folders.add(folder)
            if top is None or folder == top or top not in folder.parents:
                break
            folder = folder.parent
    if len(files) == 1:
        sync_file(files[0])
    elif files:
        with ThreadPoolExecutor(min(FLUSHERS, len(files))) as pool:  # a file system joins flushes of a moment
            list(pool.map(sync_file, files))
    deepest_first = sorted(folders, key=lambda folder: len(folder.parts), reverse=True)
    sync_folders(deepest_first)


def write_atomic(path: str | os.PathLike[str], data: bytes | str, *, durable: bool = False) -> None:
    """Write bytes, or text as UTF-8, to a file with :func:`replacing`; create its folder if it is missing."""
    with replacing(path, parents=True, durable=durable) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def write_json(path: str | os.PathLike[str], value: Any, *, durable: bool = False, lines: bool = True) -> None:
    """Write a value as JSON with :func:`write_atomic`: in ``lines`` for people, or, ten times as fast, in one."""
    write_atomic(path, json.dumps(value, indent=1 if lines else None), durable=durable)
