"""The process that runs one job of a project: it starts the command, watches over it, and says how it ended.

It is started in a session of its own, so it outlives the page, the server, and the terminal of the server. It holds a
lock in the job's folder (:class:`volengine.engine.lock.Lock`), whose heartbeat says that it lives, and whose holder can
be asked for. Its last act is to write :data:`ENDED`; so a job without that whose processes are gone was killed.

``python -P -m volengine.web.workbench.job_runner FOLDER`` is how it is started; ``-P``, because the folder of a project
is no place for modules.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from volengine.core.atomic import write_atomic, write_json
from volengine.core.errors import InputError
from volengine.core.json_text import parse_object
from volengine.core.process import process
from volengine.engine.lock import Lock

ABOUT, BEGUN, ENDED, LOG, RUNNING = "job.json", "begun.json", "ended.json", "log.txt", "running.lock"
STOPS = ("stop", "kill")
"""Empty files by which a job is asked to stop in order, and to end at once; they work from other machines, too."""

FOLDER = "VOLENGINE_JOB"
"""Variable in the environment of a job's processes: its folder, by which they can be told from others."""

LOOK_S = 0.2
"""Seconds between two looks for a request to stop."""

_RESERVED = 1000
"""Bytes that are set aside for the mark of the end, which a full disk must not prevent."""


def run_job(folder: Path) -> int:
    """Run the command of a job until it ends.

    Parameters
    ----------
    folder
        Folder of the job, with its :data:`ABOUT`.

    Returns
    -------
    int
        Exit code of the command; negative: the signal that ended it.

    Raises
    ------
    FormatError
        The job's file is damaged.
    InputError, OSError
        Nothing can be written there; the command was not started.
    """
    about = parse_object((folder / ABOUT).read_bytes(), str(folder / ABOUT))
    lock = Lock(folder / RUNNING)
    if not lock.create():
        print(f"{folder}: is run already.", file=sys.stderr)
        return 1
    try:
        reserve = folder / f".{ENDED}"
        write_atomic(reserve, " " * _RESERVED, durable=True)
        code, why = _watched(folder, [str(one) for one in about["arguments"]], str(about["cwd"]))
        mark = json.dumps({"code": code, "time": time.time(), "why": why[: _RESERVED // 4]})
        with reserve.open("r+b") as file:  # in place, and a rename: neither needs room
            file.write(mark.ljust(_RESERVED).encode())
            file.flush()
            os.fsync(file.fileno())
        reserve.replace(folder / ENDED)
    finally:
        lock.release()
    return code


def _watched(folder: Path, arguments: list[str], cwd: str) -> tuple[int, str]:
    """Start the command and wait for its end; its exit code, and why it could not be started."""
    if any((folder / name).exists() for name in STOPS):
        return 130, "It was stopped before it began."
    command = [sys.executable, "-P", "-m", "volengine", *arguments]
    environment = {**os.environ, FOLDER: str(folder), "PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"}
    try:
        with (folder / LOG).open("ab") as log:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=cwd,
                env=environment,
                start_new_session=True,
            )
    except OSError as error:
        return 127, f"It could not be started: {error}"
    asked = 0
    with _given_on(child):
        found = process(child.pid)
        begun: dict[str, Any] = {"pid": child.pid, "started": found[1] if found else "", "time": time.time()}
        with contextlib.suppress(OSError, InputError):  # on a full disk the job goes on without that
            write_json(folder / BEGUN, begun)
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return child.wait(LOOK_S), ""
            for at, name in enumerate(STOPS):
                if asked <= at and (folder / name).exists():
                    asked = at + 1
                    send(child.pid, (signal.SIGINT, signal.SIGKILL)[at])


def send(group: int, number: int) -> None:
    """Send a signal to the process group of a job; one that has ended is not there any more."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


@contextlib.contextmanager
def _given_on(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """Give signals that are meant to end this process on to the command, and wait for that."""

    def give(number: int, frame: FrameType | None) -> None:
        send(child.pid, number)

    former = {number: signal.signal(number, give) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def main() -> None:
    """Run the job whose folder is the argument."""
    # A command that is started inherits what is ignored, and this process may be a child of one in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    code = run_job(Path(sys.argv[1]))
    sys.exit(min(abs(code), 255))


if __name__ == "__main__":
    main()
