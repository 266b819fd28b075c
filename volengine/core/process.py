"""Which process is which: on this machine since its start, in this container, although numbers are used again.

>>> import os
>>> state, start = process(os.getpid())
>>> is_gone(os.getpid(), start)
False
"""

from __future__ import annotations

import os
import socket
from functools import lru_cache
from pathlib import Path


def here() -> tuple[str, str, str]:
    """Return the name of this machine, the identifier of its start, and that of this process's container.

    Machines may share a name, and containers of one machine count processes separately. Where the system does not tell,
    the last two are empty.
    """
    return socket.gethostname(), *_start_and_container(os.getpid())


@lru_cache(maxsize=4)
def _start_and_container(pid: int) -> tuple[str, str]:
    """Identifiers of the machine's start and of the container of this process, which are the same as long as it is."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return boot, str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return "", ""


def started() -> str:
    """Return the start of this process, as :func:`process` does; empty if it cannot be seen."""
    return _started(os.getpid())


@lru_cache(maxsize=4)
def _started(pid: int) -> str:
    found = process(pid)
    return found[1] if found else ""


def process(pid: int) -> tuple[str, str] | None:
    """Return the state of a process of this container and its start (clock ticks); ``None`` if it cannot be seen."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold spaces and brackets
    return fields[0], fields[19]


def is_gone(pid: int, start: str) -> bool:
    """Return whether the process of this container with that number and start has ended.

    It has not where this is not known, because other users' processes may be hidden.
    """
    found = process(pid)
    if found is None:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            pass
        return False
    state, started = found
    return state in "ZX" or started != start
