"""The jobs of a project: commands of volengine that outlive the page and the server that have started them.

Each has a numbered folder, ``jobs/0001-run``, in which all of it is kept; so every server of the project, now and
later, sees all jobs:

===================  ==================================================================================
``job.json``         what it is: kind, title, arguments, when it was started
``log.txt``          all that the command has printed
``running.lock``     held by the process that watches over it, with a heartbeat
``begun.json``       the process of the command
``stop``, ``kill``   empty: it was asked to stop in order, to end at once
``ended.json``       how it ended; written last
===================  ==================================================================================

What a job is comes from these files and from the processes themselves, never from a server's memory.

>>> import tempfile
>>> jobs = Jobs(Path(tempfile.mkdtemp()) / "jobs")
>>> jobs.every()
[]
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from volengine.core.atomic import write_atomic, write_json
from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.json_text import parse_object
from volengine.core.process import here, is_gone
from volengine.engine.lock import STALE_S, Holder, Watch, critical, read
from volengine.web.workbench.job_runner import ABOUT, BEGUN, ENDED, FOLDER, LOG, RUNNING, STOPS, send

State = Literal["waiting", "running", "stopping", "done", "failed", "stopped", "killed"]

FORMAT = "volengine job 1"
BEGINS_S = 60.0
"""Seconds in which a job that was started must have begun."""
MOST_TAIL = 200_000
"""Bytes of the end of a log that are read."""

_KIND = re.compile(r"[a-z][a-z0-9-]{0,30}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}")
_NAME = re.compile(r"([0-9]{4,9})-([a-z][a-z0-9-]{0,30})")
_STOPPED = (130, 143, 75)
"""Exit codes of a command that was stopped in order: Ctrl-C, SIGTERM, deadline."""
_LARGEST = 4 * 2**20


@dataclass(frozen=True)
class Job:
    """A job, as it was when it was asked for.

    Parameters
    ----------
    number, kind, title
        Its number from 1, what is done (``run``, ``train``), and a line for people.
    folder
        Its folder.
    state
        ``waiting`` (it is being started), ``running``, ``stopping`` (it was asked to), ``done``, ``failed`` (its exit
        code is not 0), ``stopped`` (in order; it can be continued) or ``killed`` (its processes are gone).
    created, started, ended
        When it was asked for, begun, and when it ended, seconds since 1970; ``None``: not yet, or not known.
    code
        Exit code of the command; negative: the signal that ended it.
    command
        The command as one would type it in the folder ``cwd``.
    facts
        What its maker has kept of it.
    why
        What else is to be known of its state.
    """

    number: int
    kind: str
    title: str
    folder: Path
    state: State
    created: float | None = None
    started: float | None = None
    ended: float | None = None
    code: int | None = None
    command: str = ""
    cwd: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""

    @property
    def going(self) -> bool:
        """Whether it has not ended."""
        return self.state in ("waiting", "running", "stopping")

    @property
    def shell(self) -> str:
        """The command for a shell that is anywhere; empty if it is not known."""
        return f"{shlex.join(['cd', self.cwd])}\n{self.command}" if self.cwd else ""

    def log_tail(self, lines: int = 200) -> str:
        """The last lines that the command has printed; of a line that was written over (a bar), what was seen last."""
        return tail(self.folder / LOG, lines)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values."""
        names = ("number", "kind", "title", "state", "created", "started", "ended", "code", "command", "cwd", "why")
        return {
            **{name: getattr(self, name) for name in names},
            "shell": self.shell,
            "folder": str(self.folder),
            "facts": dict(self.facts),
        }


class Jobs:
    """The jobs of a project.

    Parameters
    ----------
    folder
        Their folder, ``PROJECT/jobs``, made with the first one. Commands run in the folder above it.
    """

    def __init__(self, folder: Path):
        self.folder = folder.absolute()
        self._started: dict[int, subprocess.Popen[bytes]] = {}
        self._watches: dict[tuple[int, str], Watch] = {}
        self._lock = threading.Lock()

    # -- starting and stopping ---------------------------------------------------------------------------------

    def start(
        self,
        kind: str,
        title: str,
        arguments: Sequence[str],
        files: Mapping[str, str] | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> Job:
        """Start a command of volengine as a job.

        Parameters
        ----------
        kind, title
            As of :class:`Job`.
        arguments
            Of the command ``volengine``; made by the server's code alone. ``{job}`` stands for the job's folder.
        files
            Texts by the names of files, which are written into the job's folder first.
        facts
            JSON values to keep with it.

        Raises
        ------
        InputError
            A name is none, or the folder cannot be written to.
        OSError
            The process cannot be started, for example because there are too many.
        """
        if not _KIND.fullmatch(kind):
            raise InputError(f"{kind!r:.60} is no kind of a job: small letters, digits and -.")
        taken = {ABOUT, BEGUN, ENDED, LOG, RUNNING, *STOPS}
        bad = next((name for name in files or {} if not _FILE.fullmatch(name) or name in taken), None)
        if bad is not None:
            raise InputError(f"{bad!r:.60} is no name of a file in a job's folder.")
        self._inside()
        self.folder.mkdir(parents=True, exist_ok=True)
        with critical(self.folder / ".number.lock"):
            number = 1 + max((int(found[1]) for found in map(_NAME.fullmatch, self._names()) if found), default=0)
            folder = self.folder / f"{number:04d}-{kind}"
            about = {
                "format": FORMAT,
                "number": number,
                "kind": kind,
                "title": " ".join(title.split())[:300],
                "arguments": [argument.replace("{job}", str(folder)) for argument in arguments],
                "cwd": str(self.folder.parent),
                "created": time.time(),
                "facts": dict(facts or {}),
            }
            new = self.folder / f".{folder.name}.new"  # a job appears when all of it is there
            shutil.rmtree(new, ignore_errors=True)
            new.mkdir()
            for name, text in (files or {}).items():
                write_atomic(new / name, text)
            write_atomic(new / LOG, "")
            write_json(new / ABOUT, about, durable=True)
            new.rename(folder)
        command = [sys.executable, "-P", "-m", "volengine.web.workbench.job_runner", str(folder)]
        try:
            with (folder / LOG).open("ab") as log:
                runner = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True
                )
        except OSError as error:
            with contextlib.suppress(OSError, InputError):
                write_json(folder / ENDED, {"code": 127, "time": time.time(), "why": f"It was not started: {error}"})
            raise
        with self._lock:
            self._started[number] = runner
        return self.job(number)

    def stop(self, number: int) -> Job:
        """Ask a job to stop in order; asked a second time, it is ended at once.

        Raises
        ------
        MissingError
            There is no such job.
        InputError
            It has ended already, or cannot be asked.
        """
        job = self.job(number)
        if not job.going:
            raise InputError(f"Job {number} has ended already: {job.state}.")
        at = int(os.path.lexists(job.folder / STOPS[0]))
        with contextlib.suppress(FileExistsError):
            os.close(os.open(job.folder / STOPS[at], os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))  # through no link
        holder = read(job.folder / RUNNING)
        if holder is not None and holder.gone():  # nobody obeys; the command itself may be left
            pid = _left(job.folder, holder)
            if pid is not None:
                send(pid, (signal.SIGINT, signal.SIGKILL)[at])
        return self.job(number)

    # -- looking -----------------------------------------------------------------------------------------------

    def every(self) -> list[Job]:
        """All jobs, the newest first; a folder that is damaged is a job that says so."""
        self._inside()
        found = sorted(((int(name[1]), name[0]) for name in map(_NAME.fullmatch, self._names()) if name), reverse=True)
        return [self._of(number, self.folder / name) for number, name in found]

    def job(self, number: int) -> Job:
        """A job by its number.

        Raises
        ------
        MissingError
            There is none.
        """
        self._inside()
        for name in map(_NAME.fullmatch, self._names()):
            if name is not None and int(name[1]) == number:
                return self._of(number, self.folder / name[0])
        raise MissingError(f"There is no job {number} in {self.folder}.")

    def _inside(self) -> None:
        if self.folder.is_symlink():
            raise InputError(f"{self.folder}: is a link; the jobs of a project are a folder in it.")

    def _names(self) -> list[str]:
        try:
            with os.scandir(self.folder) as entries:
                return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _of(self, number: int, folder: Path) -> Job:
        with self._lock:
            runner = self._started.get(number)
        kind = folder.name.partition("-")[2]
        left_early = runner is not None and runner.poll() is not None  # also takes note of its end
        try:
            job = self._read(number, kind, folder, left_early)
        except (FormatError, KeyError, TypeError, ValueError, AttributeError, OSError) as error:
            return Job(number, kind, f"{folder.name}: is damaged", folder, "failed", why=str(error))
        if not job.going:
            with self._lock:
                self._started.pop(number, None)
        return job

    def _read(self, number: int, kind: str, folder: Path, left_early: bool) -> Job:
        about = _object(folder / ABOUT)
        if about is None or about["format"] != FORMAT or about["number"] != number:
            raise FormatError(f"{folder / ABOUT}: is missing, or of another version.")
        command = shlex.join(["volengine", *map(str, about["arguments"])])
        facts: dict[str, Any] = dict(about["facts"])
        asked = [name for name in STOPS if (folder / name).exists()]
        holder = read(folder / RUNNING)
        begun = _object(folder / BEGUN)
        ended = _object(folder / ENDED)  # after the lock, which goes when this has come
        created = float(about["created"])
        started = float(begun["time"]) if begun else None

        def made(state: State, why: str = "", code: int | None = None, when: float | None = None) -> Job:
            cwd = str(about["cwd"])
            title = str(about["title"])
            return Job(number, kind, title, folder, state, created, started, when, code, command, cwd, facts, why)

        if ended is not None:
            code = int(ended["code"])
            killed = code in (-signal.SIGKILL, 128 + signal.SIGKILL)
            stopped = code in _STOPPED or code in (-signal.SIGINT, -signal.SIGTERM)
            state: State = "done" if code == 0 else "stopped" if stopped else "killed" if killed else "failed"
            why = str(ended.get("why", ""))
            if state == "failed" and not why:
                why = tail(folder / LOG, 1)[:1000]
            if killed:
                why = (
                    "It was ended at once."
                    if STOPS[1] in asked
                    else "A signal has killed it: perhaps it needed too much memory."
                )
            elif code == 75:
                why = "Its time was up (--deadline); started again it goes on."
            return made(state, why, code, float(ended["time"]))
        going: State = "stopping" if asked else "running"
        if holder is None:
            if left_early or time.time() - created > BEGINS_S:
                return made("killed", "It has never begun, or its end could not be written; see its log.")
            return made("waiting")
        if holder.gone():
            if _left(folder, holder) is not None:
                return made(going, "The process that watched over it was killed; how it ends will not be known.")
            return made("killed", "Its processes are gone without a word of their end.")
        if not holder.local() and self._still(number, holder) > STALE_S:
            return made("killed", f"There was no heartbeat from {holder.host or 'its machine'} for {STALE_S:.0f} s.")
        return made(going)

    def _still(self, number: int, holder: Holder) -> float:
        with self._lock:
            return self._watches.setdefault((number, holder.nonce), Watch()).still_s(holder)


def _left(folder: Path, holder: Holder) -> int | None:
    """The process of a job's command whose watcher, of this machine, was killed, if it is left.

    A folder may say anything, so the process must say itself that it is of this job.
    """
    begun = _object(folder / BEGUN)
    if begun is None or (holder.host, holder.boot, holder.namespace) != here():
        return None
    pid = begun.get("pid")
    if type(pid) is not int or pid < 2 or is_gone(pid, str(begun.get("started"))):
        return None
    try:
        own = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return pid if os.fsencode(f"{FOLDER}={folder}") in own and os.getpgid(pid) == pid else None
    except OSError:
        return None


def tail(log: Path, lines: int) -> str:
    """The last lines of a log."""
    text = (contents(log, MOST_TAIL) or b"").decode("utf-8", "replace").rstrip("\n")
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n")[-lines:])


def _object(path: Path) -> dict[str, Any] | None:
    data = contents(path, _LARGEST)
    return None if data is None else parse_object(data, str(path))


def contents(path: Path, most: int) -> bytes | None:
    """The last bytes of a file of a job; ``None`` if there is none. A link is not followed."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except (FileNotFoundError, NotADirectoryError):
        return None
    with open(number, "rb") as file:  # noqa: PTH123  # it is open
        file.seek(max(0, file.seek(0, os.SEEK_END) - most))
        return file.read(most)
