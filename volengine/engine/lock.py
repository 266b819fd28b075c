"""Locks on a disk that several machines share: one driver per run folder, and short critical sections.

A lock is a small file that is created in one atomic step (a hard link, or ``O_EXCL`` where a file system has no links).
It does not rest on ``flock``, which some parallel file systems answer without locking anything. The file says who holds
it: host, start of the host, process and its start, user, time. Its holder raises a counter in it every
:data:`BEAT_S` seconds.

A holder on the same machine is asked for directly: if its process no longer exists, the lock is taken over at once. One
on another machine cannot be asked. It counts as dead if its counter stands still for :data:`STALE_S` seconds by the
clock of the one who waits (clocks of machines differ, so no time in the file is believed).

A lock is removed only by who has the *claim* on its random name, a second file of the same making; so of several
processes that find a dead holder one removes it, and never the lock of the one that came after it. A holder that was
asleep finds that the file has another name, and stops. Nothing is flushed to the disk: other machines see a file when
it is closed, and after a loss of power no holder is left.
"""

from __future__ import annotations

import contextlib
import errno
import getpass
import hashlib
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from volengine.core.errors import InputError, TakenOverError
from volengine.core.process import here, is_gone, started

BEAT_S = 5.0
"""Seconds between two heartbeats."""

STALE_S = 60.0
"""Seconds for which the counter of a holder must stand still until it counts as dead."""

CLAIM_S = 10.0
"""The same for a claim, which is held for milliseconds."""

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK, errno.EACCES)


def now_s() -> float:
    """Return seconds of a clock that also counts while the process, or the machine, is asleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


@dataclass(frozen=True)
class Holder:
    """Who holds a lock, as its file says.

    Parameters
    ----------
    nonce
        The lock's random name.
    host, boot, namespace
        Name of the machine, the identifier of its start, and that of the process's container; empty: not known.
    pid, started
        Number of the process, and its start in clock ticks since that of the machine.
    user, since, beat, counter
        Its user; when it took the lock, when it was last alive (by its own clock), and its number of heartbeats.
    raw
        The file's contents. Of two readings the holder was alive in between if these differ.
    """

    nonce: str
    host: str
    boot: str
    namespace: str
    pid: int
    started: str
    user: str
    since: str
    beat: str
    counter: int
    raw: bytes

    @classmethod
    def parse(cls, raw: bytes) -> Holder:
        """Read the contents of a lock file; an unreadable one has an unknown holder."""
        try:
            value = json.loads(raw)
            texts = {
                k: str(value[k]) for k in ("nonce", "host", "boot", "namespace", "started", "user", "since", "beat")
            }
            return cls(**texts, pid=int(value["pid"]), counter=int(value["counter"]), raw=raw)
        except (ValueError, KeyError, TypeError):
            name = hashlib.sha256(raw).hexdigest()[:16]
            return cls(name, "", "", "", 0, "", "", "", "", 0, raw)

    def local(self) -> bool:
        """Whether the holder is, or was, a process that this one can see: same host, start of the host, container."""
        return bool(self.boot) and (self.host, self.boot, self.namespace) == here()

    def gone(self) -> bool:
        """Whether the holder was a process of this machine and no longer exists; ``False`` if this is not known."""
        return self.local() and is_gone(self.pid, self.started)

    def __str__(self) -> str:
        if not self.host:
            return "a process that is not known (the lock file cannot be read)"
        return (
            f"process {self.pid} of {self.user} on {self.host}, since {self.since}, last heartbeat {self.beat} "
            f"(its clock, number {self.counter})"
        )


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        return f"user {os.getuid()}"


def _stamp() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def read(path: Path) -> Holder | None:
    """Return who holds a lock, or ``None`` if nobody does."""
    try:
        return Holder.parse(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ESTALE:  # NFS: another machine replaced it in this moment
            return Holder.parse(path.read_bytes()) if path.exists() else None
        raise


class Lock:
    """A lock file that this process may create, keep alive and remove.

    Parameters
    ----------
    path
        The file. Its folder is created if it is missing.
    """

    def __init__(self, path: Path):
        self.path = path
        self.nonce = uuid.uuid4().hex[:16]
        self._since = _stamp()
        self._counter = 0
        self._seen = now_s()
        self._lost = False
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._beating = threading.Lock()

    def create(self, *, beats: bool = True) -> bool:
        """Create the file; return whether it is ours. ``False``: there is one already.

        Raises
        ------
        InputError
            The folder cannot be written to.
        """
        try:
            try:
                made = self._create()
            except FileNotFoundError:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                made = self._create()
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise InputError(
                    f"{self.path.parent}: cannot be written ({error.strerror}). Free space, and run the same command."
                ) from error
            raise InputError(
                f"{self.path.parent}: cannot be written ({error.strerror}), but a run keeps its progress there. "
                "Give another --run-dir, or the right to write there."
            ) from error
        if made and beats:
            self._seen = now_s()
            self._thread = threading.Thread(target=self._keep, name=f"heartbeat {self.path.name}", daemon=True)
            self._thread.start()
        return made

    def _create(self) -> bool:
        if self.path.exists():
            return False
        part = self.path.with_name(f".{self.path.name}.{self.nonce}.new")
        try:
            with part.open("xb") as file:
                file.write(self._record())
            try:
                os.link(part, self.path)
            except FileExistsError:  # or our own: a file server may repeat a request whose answer was lost
                holder = read(self.path)
                return holder is not None and holder.nonce == self.nonce
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                return self._create_without_link()
        finally:
            part.unlink(missing_ok=True)
        return True

    def _create_without_link(self) -> bool:
        try:
            with self.path.open("xb") as file:
                file.write(self._record())
        except FileExistsError:
            return False
        return True

    def _record(self) -> bytes:
        """The file's contents; always of the same length, so that a heartbeat can be written in place."""
        host, boot, namespace = here()
        value = {
            "counter": f"{self._counter:012d}",
            "beat": _stamp(),
            "nonce": self.nonce,
            "host": host,
            "boot": boot,
            "namespace": namespace,
            "pid": os.getpid(),
            "started": started(),
            "user": _user(),
            "since": self._since,
        }
        return json.dumps(value).encode()

    # -- while it is held ----------------------------------------------------------------------------------

    def _keep(self) -> None:
        while not self._end.wait(BEAT_S) and not self._lost:
            self._beat()

    def _beat(self) -> None:
        """Raise the counter if the lock is still ours. It is written in place: what replaced it is never touched."""
        with self._beating:
            self._counter += 1
            try:
                with self.path.open("r+b", buffering=0) as file:
                    if Holder.parse(file.read()).nonce != self.nonce:
                        self._lost = True
                        return
                    file.seek(0)
                    file.write(self._record())
            except FileNotFoundError:
                self._lost = True
                return
            except OSError:  # the disk may be back at the next one; if others took over meanwhile, that one tells
                return
            self._seen = now_s()

    def check(self, *, read_again: bool = False) -> None:
        """Make sure that this process still holds the lock.

        Parameters
        ----------
        read_again
            Look at the file even if the last heartbeat was a moment ago.

        Raises
        ------
        TakenOverError
            Another process has taken the lock over, or the file was removed.
        """
        if not self._lost and (read_again or now_s() - self._seen > 2 * BEAT_S):  # perhaps this process was stopped
            self._beat()
        if self._lost:
            holder = read(self.path)
            who = f"is now held by {holder}" if holder else "was removed"
            raise TakenOverError(
                f"{self.path} {who}: this process was silent for too long, or somebody ended it by hand. It stops; "
                "what it has finished is kept."
            )

    def release(self) -> bool:
        """Remove the file; return whether it was still ours."""
        self._end.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        return remove(self.path, self.nonce)


def remove(path: Path, nonce: str) -> bool:
    """Remove a lock file of this random name; return whether it was there, and this process removed it."""
    found = read(path)
    if found is None or found.nonce != nonce:
        return False
    claim = Lock(path.with_name(f".{path.name}.{nonce}.claim"))
    began, seen = now_s(), b""
    while not _claimed(claim):
        other = read(claim.path)
        if other is None:
            continue
        if other.raw != seen:
            began, seen = now_s(), other.raw
        if other.gone() or now_s() - began > CLAIM_S:
            remove(claim.path, other.nonce)
        time.sleep(0.01)
    try:
        holder = read(path)
        if holder is None or holder.nonce != nonce:
            return False
        path.unlink()
        return True
    except FileNotFoundError:
        return False
    finally:
        mine = read(claim.path)
        if mine is not None and mine.nonce == claim.nonce:
            claim.path.unlink(missing_ok=True)


def _claimed(claim: Lock) -> bool:
    """Create a claim; on a full disk, which has no room for one, a lock is removed without it."""
    try:
        return claim.create(beats=False)
    except InputError as error:
        if getattr(error.__cause__, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return True
        raise


class Watch:
    """How long the holder of a lock has not moved, by this process's clock."""

    def __init__(self) -> None:
        self._raw: bytes | None = None
        self._since = 0.0
        self.moved = False

    def still_s(self, holder: Holder) -> float:
        """Return for how many seconds the lock's file has been the same; ``moved`` tells whether it ever changed."""
        if holder.raw != self._raw:
            self.moved = self._raw is not None
            self._raw, self._since = holder.raw, now_s()
        return now_s() - self._since


@contextlib.contextmanager
def critical(path: Path, *, stale_s: float | None = None) -> Iterator[Lock]:
    """Run a block in one process and one thread at a time, on all machines that share the disk.

    It waits for as long as another one is in the block, and takes over from one that has died. It must not be entered
    again by the thread that is inside.

    Parameters
    ----------
    path
        The lock file; it exists only while somebody is in the block.
    stale_s
        As :data:`STALE_S`, which is the default.

    Yields
    ------
    Lock
        Its ``check`` tells whether it is still held.

    Raises
    ------
    InputError
        The folder cannot be written to.
    TakenOverError
        At the end of the block: this process was silent for too long, and another one has entered the block meanwhile.
    """
    lock, watch, pause = Lock(path), Watch(), 0.005
    while not lock.create():
        holder = read(path)
        if holder is None:
            continue
        still = watch.still_s(holder)
        if holder.gone() or still > (STALE_S if stale_s is None else stale_s):
            remove(path, holder.nonce)
            continue
        time.sleep(pause)
        pause = min(0.5, 1.5 * pause)
    try:
        yield lock
        lock.check(read_again=True)
    finally:
        lock.release()
