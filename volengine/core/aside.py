"""Writing aside: files appear complete or not at all, and what killed writers leave is recognised and swept.

>>> import tempfile
>>> folder = Path(tempfile.mkdtemp())
>>> put_file(folder / "c" / "0", b"voxels")      # written in a private place, then renamed
>>> with private_place(folder) as place:         # a private folder, for writers of many files
...     is_private(place.name), is_abandoned(place)
(True, False)

The name of a private place says who writes there: the machine, its process namespace, the process and its start. So a
place whose writer has died on this machine can be removed at once, and one whose writer is alive is never touched.
Whether a writer on another machine is alive cannot be seen; its place is removed when nothing in it has changed for
:data:`ABANDONED_S`.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from volengine.core.errors import os_advice
from volengine.core.process import here, is_gone, started

if TYPE_CHECKING:
    from typing_extensions import Buffer

PREFIX = ".writing-"
"""Beginning of the names of private places. Zarr does not look into folders of arrays, and hidden files are no keys."""

ABANDONED_S = 3600.0
"""Seconds without a change after which a private place counts as left by a killed writer whose state is not known."""

NOT_FLUSHED = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)

OTHER_ENDINGS = (".partial",)
"""Endings of unfinished files of zarr-python, whose writers are not known.

Nothing of this package makes a ``.partial`` file, so one in a store of ours has no living writer.
"""


def os_message(error: OSError) -> str:
    """Return an error of the operating system for people: where, what, and what to do if that is known.

    An unfinished file stands for its folder.

    >>> os_message(OSError(errno.ENOSPC, "No space left on device", "out/TS_01.star"))
    'out/TS_01.star: No space left on device. Free space; what was finished is kept, and the same command goes on ...'
    """
    name = error.filename
    parts = Path(os.fsdecode(name)).parts if isinstance(name, str | bytes | os.PathLike) else ()
    cut = next((n for n, part in enumerate(parts) if is_private(part)), len(parts))
    where = str(Path(*parts[:cut])) if parts else "the file system"
    return " ".join(filter(None, [f"{where}: {error.strerror or error}.", os_advice(error)]))


def is_private(name: str) -> bool:
    """Return whether a file or folder of this name is an unfinished one, and so is no part of a store."""
    return name.startswith(PREFIX) or name.endswith(OTHER_ENDINGS)


def private_name() -> str:
    """Return a new name for a private place of this process."""
    return f"{PREFIX}{_owner(os.getpid())}-{uuid.uuid4().hex[:8]}"


@lru_cache(maxsize=4)
def _owner(pid: int) -> str:
    """Host, a digest of its start and of the container, number and start of a process."""
    return f"{_machine()}-{pid}-{started() or 0}"


@lru_cache(maxsize=1)
def _machine() -> str:
    host, *rest = here()
    return f"{host.replace('-', '_').replace('/', '_')}-{hashlib.sha256(repr(rest).encode()).hexdigest()[:12]}"


@contextlib.contextmanager
def private_place(folder: Path) -> Iterator[Path]:
    """Make a private folder inside of ``folder``, which must exist; it is removed at the end."""
    place = folder / private_name()
    place.mkdir()
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def put_file(path: str | os.PathLike[str], data: Buffer, *, durable: bool = False, exclusive: bool = False) -> None:
    """Write a file aside and put it in place by one rename; make its folder if it is missing.

    Parameters
    ----------
    path
        The file.
    data
        Its content.
    durable
        Wait until the file and its name are on the disk.
    exclusive
        Do not replace a file that is there.

    Raises
    ------
    FileExistsError
        There is one, and ``exclusive`` is set.
    """
    final = os.fspath(path)  # pathlib takes longer than the file
    folder = final[: final.rfind(os.sep) + 1]
    part, replaced, made = folder + private_name(), False, list[Path]()
    try:
        try:
            file = open(part, "wb")  # noqa: PTH123, SIM115
        except (FileNotFoundError, NotADirectoryError):
            made = make_folders(Path(final).parent)
            file = open(part, "wb")  # noqa: PTH123, SIM115
        with file:
            file.write(data)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        if exclusive:
            _link(part, final)
        else:
            os.replace(part, final)  # noqa: PTH105
            replaced = True
    finally:
        if not replaced:
            Path(part).unlink(missing_ok=True)
    if durable:
        sync_folders([folder or os.curdir, *(one.parent for one in made)])


def _link(part: str, path: str) -> None:
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:  # file systems without hard links
        if Path(path).exists():
            raise FileExistsError(path) from None
        Path(part).replace(path)


def make_folders(folder: Path) -> list[Path]:
    """Make a folder and those above it that are missing; return the ones that were made, the deepest first."""
    missing = []
    at = folder
    while not at.is_dir() and at != at.parent:
        missing.append(at)
        at = at.parent
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def sync_file(path: str | os.PathLike[str]) -> None:
    """Wait until the content of a file, or the names in a folder, are on the disk.

    Some file systems cannot flush a folder, and keep names by other means.

    Raises
    ------
    FileNotFoundError
        It is not there.
    """
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in NOT_FLUSHED:
            raise
    finally:
        os.close(number)


def begin_sync(path: Path) -> None:
    """Let the system begin to bring a file to the disk, without waiting: :func:`sync_file` then waits less.

    It is a hint of Linux; on other systems, and for a file that is not there any more, nothing happens.
    """
    begin = _sync_file_range()
    if begin is None:
        return
    with contextlib.suppress(OSError):
        number = os.open(path, os.O_RDONLY)
        try:
            begin(number, 0, 0, _BEGIN_WRITING)
        finally:
            os.close(number)


_BEGIN_WRITING = 2
"""``SYNC_FILE_RANGE_WRITE`` of ``sync_file_range(2)``."""


@lru_cache(maxsize=1)
def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    import ctypes

    try:
        function = ctypes.CDLL(None, use_errno=True).sync_file_range
    except (AttributeError, OSError, TypeError):
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    return function


def sync_folders(folders: Iterable[str | os.PathLike[str]]) -> None:
    """Wait until the names in some folders are on the disk. Folders that were removed meanwhile are left out."""
    for folder in dict.fromkeys(folders):
        with contextlib.suppress(FileNotFoundError):
            sync_file(folder)


def is_abandoned(path: Path, now: float | None = None) -> bool:
    """Return whether the writer of a private file or folder is gone.

    Parameters
    ----------
    path
        The file or folder.
    now
        Time by the clock that dates its files; ``None``: that of its file system.
    """
    if path.name.endswith(".partial"):
        return True
    pieces = path.name.removeprefix(PREFIX).split("-") if path.name.startswith(PREFIX) else []
    if len(pieces) == 5 and pieces[2].isdigit() and "-".join(pieces[:2]) == _machine():
        return is_gone(int(pieces[2]), pieces[3])
    try:
        newest = max(entry.lstat().st_mtime for entry in (path, *path.rglob("*")))
    except FileNotFoundError:  # finished or swept meanwhile
        return False
    return (_clock(path.parent) if now is None else now) - newest > ABANDONED_S


def _clock(folder: Path) -> float:
    """Return the time by which a file system dates its files: that of a server may differ from that of this machine."""
    probe = folder / private_name()
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return 0.0  # nothing can be written, and so nothing can be removed
    finally:
        probe.unlink(missing_ok=True)


def sweep(folder: Path, *, below: bool = True) -> int:
    """Delete what killed writers have left in a folder; return the number of files and folders deleted.

    What a living writer uses is kept, so this may run at any time.

    Parameters
    ----------
    folder
        The folder; it need not exist.
    below
        Search its folders, too.
    """
    count = 0
    waiting = [os.fspath(folder)]
    while waiting:
        place = waiting.pop()
        try:
            entries = list(os.scandir(place))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in entries:
            if is_private(entry.name):
                path = Path(entry.path)
                if is_abandoned(path):
                    count += _remove(path)
            elif below and entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
    return count


def _remove(path: Path) -> bool:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    return True
