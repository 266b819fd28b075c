"""One driver per run folder: a second one would clean up what the first one still needs.

Parts of an array job are drivers that know of each other, so each part has a lock of its own. A driver of the whole run
and one of a part exclude each other.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from volengine.core.errors import BusyError
from volengine.engine import lock as locks
from volengine.engine.lock import Holder, Lock, Watch, read, remove
from volengine.engine.log import remark

POLL_S = 0.25
TELL_S = 15.0
"""Seconds between two lines about a driver that is watched."""
WHOLE = "driver.lock"


def _name(part: str | None) -> str:
    if part is None:
        return WHOLE
    k, n = map(int, part.split("/"))  # 01/16 is 1/16
    return f"driver-{k}-of-{n}.lock"


def _others(folder: Path, part: str | None) -> list[Path]:
    """The lock files whose holders a driver excludes, its own first."""
    own = folder / _name(part)
    return [own, folder / WHOLE] if part is not None else [own, *sorted(folder.glob("driver-*-of-*.lock"))]


def drivers(folder: Path) -> dict[str, Holder]:
    """Return who works in a run folder: ``"K/N"`` of a part, or ``""`` of the whole run, and the holder of its lock.

    Locks of processes that are known to be dead are left out.
    """
    found = {}
    for path in _others(folder, None):
        holder = read(path)
        if holder is not None and not holder.gone():
            found[path.stem.removeprefix("driver").removeprefix("-").replace("-of-", "/")] = holder
    return found


def check_free(folder: Path) -> None:
    """Make sure that no driver works in a run folder.

    Raises
    ------
    BusyError
        One does; the message says which.
    """
    for part, holder in drivers(folder).items():
        raise BusyError(_refusal(folder, folder / _name(part or None), holder))


@contextlib.contextmanager
def only_driver(
    folder: Path, part: str | None, *, take_over: bool = False, say: Callable[[str], None] = remark
) -> Iterator[Lock]:
    """Hold the lock of a run folder while a driver works in it.

    A lock whose process on this machine no longer exists is removed without a word.

    Parameters
    ----------
    folder
        The run folder.
    part
        ``"K/N"``, or ``None`` for a driver of the whole run.
    take_over
        Watch a driver that cannot be asked, because it is on another machine, or is stopped; take over if its heartbeat
        stands still for :data:`~volengine.engine.lock.STALE_S` seconds.
    say
        Function that tells the user what is waited for, at once and every :data:`TELL_S` seconds.

    Yields
    ------
    Lock
        Its ``check`` must be called before anything is given out.

    Raises
    ------
    BusyError
        Another driver works in the folder; the message says who, where, since when, and what to do.
    InputError
        The folder cannot be written to.
    """
    lock = _acquire(folder, part, take_over, say)
    try:
        yield lock
    finally:
        for mark in folder.glob(f".{lock.path.name}.{lock.nonce}.*"):  # of workers that answered too late
            mark.unlink(missing_ok=True)
        lock.release()


class ToldWatch(Watch):
    """A watch on a driver's lock that says for whom it waits: at once, and every :data:`TELL_S` seconds.

    Parameters
    ----------
    path
        The lock file.
    say
        Function that tells the user.
    """

    def __init__(self, path: Path, say: Callable[[str], None] = remark):
        super().__init__()
        self._path, self._say = path, say
        self._told: float | None = None

    def still_s(self, holder: Holder) -> float:
        """Return for how many seconds the lock's file has been the same, and say so if it is time to."""
        still = super().still_s(holder)
        if self._told is None:
            self._say(
                f"{self._path} is held by {holder}. Waiting {locks.STALE_S:.0f} s to see whether its heartbeat goes on."
            )
            self._told = still
        elif still - self._told >= TELL_S:
            self._say(
                f"Waiting for process {holder.pid} on {holder.host}: no heartbeat for {still:.0f} of "
                f"{locks.STALE_S:.0f} s."
            )
            self._told = still
        return still


def _acquire(folder: Path, part: str | None, take_over: bool, say: Callable[[str], None]) -> Lock:
    watches: dict[tuple[Path, str], ToldWatch] = {}
    while True:
        if _clear(folder, part, take_over, watches, say):
            lock = Lock(folder / _name(part))
            # Two drivers may have found the folder free in the same moment: each looks again when its own lock stands.
            if lock.create():
                found = [(path, read(path)) for path in _others(folder, part) if path != lock.path]
                other = next(((p, h) for p, h in found if h is not None and not h.gone()), None)
                if other is None:
                    return lock
                lock.release()
                raise BusyError(_refusal(folder, *other))
        else:
            time.sleep(POLL_S)


def _clear(
    folder: Path,
    part: str | None,
    take_over: bool,
    watches: dict[tuple[Path, str], ToldWatch],
    say: Callable[[str], None],
) -> bool:
    """Remove the locks of dead drivers; return whether no lock is left in the way of this one."""
    clear = True
    for path in _others(folder, part):
        holder = read(path)
        if holder is None:
            continue
        if holder.gone():
            remove(path, holder.nonce)
            continue
        if not take_over:
            raise BusyError(_refusal(folder, path, holder))
        watch = watches.setdefault((path, holder.nonce), ToldWatch(path, say))
        still = watch.still_s(holder)
        if watch.moved:
            raise BusyError(
                f"{folder}: another driver works in this run folder and is alive: {holder}. --take-over takes over "
                "only from one that is dead; end that one first, or give another --run-dir."
            )
        if still > locks.STALE_S:
            say(f"Taking over from {holder}: no heartbeat for {still:.0f} s.")
            remove(path, holder.nonce)
            continue
        clear = False
    return clear


def _refusal(folder: Path, path: Path, holder: Holder) -> str:
    if holder.local():
        advice = (
            "Wait for it, or end it; if it hangs or is stopped, --take-over takes over once its heartbeat has stood "
            f"still for {locks.STALE_S:.0f} s."
        )
    else:
        advice = (
            "It is on another machine or in another container (or on this machine before it was started anew), so it "
            "cannot be asked whether it still lives. Wait for it, or add --take-over: that watches its heartbeat for "
            f"{locks.STALE_S:.0f} s and takes over if it stands still."
        )
    return f"{folder}: another driver works in this run folder ({path.name}): {holder}. {advice}"
