"""What workers of a cluster are asked when they join: versions, memory, cores, and whether they see the run folder.

Dask compares versions, too, but only warns. Here a difference that could change results, or break a run in its middle,
is refused with a list of the workers. They are asked

- while planning, for the memory and the cores of a unit (:func:`volengine.engine.share.ask_share`), once for each run;
- by the driver when it begins, and each time that workers have joined (:class:`Handshake`);
- by themselves, each process before its first unit (:func:`check_here`), so that one that joins between two of the
  driver's looks computes nothing either.

What must be equal: volengine (its version, and the bytes of its modules), and the first two numbers of the versions of
Python and of the packages in :data:`PACKAGES`. Builds of one version (``2.13.0+cpu``, ``2.13.0+cu128``) count as equal.
Before a stage that another library than PyTorch computes, a worker also makes sure that it has this very version
(:func:`check_packages`).
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import socket
import threading
import uuid
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import volengine
from volengine.core.errors import WorkersRefusedError
from volengine.core.units import format_bytes
from volengine.engine.lock import Lock, read

PACKAGES = ("numpy", "scipy", "scikit-image", "edt", "zarr", "numcodecs", "torch", "dask", "distributed")
"""Packages whose first two version numbers must be those of the driver; missing on both is equal, too."""

CORES = "VOLENGINE_CORES"
"""Environment variable with the number of cores that a worker was given, where it sees more of them than it may use."""

ANSWER_S = 60.0
"""Seconds for which the driver waits for the first answers."""

WITHOUT_S, AGAIN_S = 30.0, 600.0
"""Seconds without any worker after which the user is told what is waited for, and after which once more."""

LISTED = 10
"""Largest number of workers that a message lists."""


@cache
def versions_here() -> dict[str, str]:
    """Return what must be equal in driver and workers, by name.

    It is computed once per process. So a worker that has old modules in its memory does not say that it has the new
    ones which were installed since.
    """
    found = {"python": _two(platform.python_version()), "volengine": volengine.__version__}
    for name in PACKAGES:
        try:
            found[name] = _two(metadata.version(name))
        except metadata.PackageNotFoundError:
            found[name] = "none"
    found["modules of volengine"] = _sources()
    return found


def _two(version: str) -> str:
    match = re.match(r"\d+\.\d+", version)
    return match[0] if match else version


def _sources() -> str:
    """Digest of the package's modules: two checkouts may have the same version and not the same kernels."""
    home = Path(volengine.__file__).parent
    total = hashlib.sha256()
    for path in sorted(home.rglob("*.py"), key=lambda p: p.relative_to(home).as_posix()):
        data = path.read_bytes()
        total.update(f"{path.relative_to(home).as_posix()} {len(data)}\n".encode())
        total.update(data)
    return total.hexdigest()[:12]


def differences(here: Mapping[str, str], there: Mapping[str, str]) -> list[str]:
    """Return what a worker has that the driver (``here``) has not, one text for each name."""
    names = dict.fromkeys([*here, *there])
    return [
        f"{name} {there.get(name, 'none')} (driver: {here.get(name, 'none')})"
        for name in names
        if here.get(name) != there.get(name)
    ]


# -- in the worker -----------------------------------------------------------------------------------------


def facts() -> dict[str, Any]:
    """Return what a worker says of itself: versions, the machine, and the cores that it may use."""
    told, given = os.environ.get("OMP_NUM_THREADS", ""), os.environ.get(CORES, "")
    return {
        "versions": versions_here(),
        "machine": _machine(),
        "cpus": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [*range(os.cpu_count() or 1)],
        # Dask's nanny sets 1 unless it is told: that says nothing
        "told": int(given) if given.isdigit() else int(told) if told.isdigit() and int(told) > 1 else None,
    }


def _machine() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()


def sees(folder: str, lock_name: str, nonce: str) -> str | None:
    """Return why this process does not share the run folder with its driver, or ``None`` if it does.

    Parameters
    ----------
    folder, lock_name, nonce
        The run folder, the name of the driver's lock in it, and the lock's random name.
    """
    path = Path(folder) / lock_name
    try:
        holder = read(path)
    except OSError as error:
        return f"cannot read {path} ({error.strerror})"
    if holder is None:
        return f"does not see {path}, which the driver has written"
    return None if holder.nonce == nonce else f"sees another driver's lock at {path}"


def answer(folder: str, lock_name: str, nonce: str) -> tuple[dict[str, Any], str | None, str]:
    """Return a worker's facts, why it does not share the run folder, and the name of a file that it wrote there."""
    missing = sees(folder, lock_name, nonce)
    mark = ""
    if missing is None:
        mark = f".{lock_name}.{nonce}.{uuid.uuid4().hex}.seen"
        try:
            (Path(folder) / mark).write_text(nonce)
        except OSError as error:
            missing, mark = f"cannot write to {folder} ({error.strerror})", ""
    return facts(), missing, mark


@dataclass(frozen=True)
class Expected:
    """What a worker process must have before it runs a unit: the driver's versions, and its lock in the run folder."""

    versions: tuple[tuple[str, str], ...]
    folder: str
    lock_name: str
    nonce: str


@cache
def check_here(expected: Expected) -> None:
    """Make sure, once per process and run, that this worker may run units.

    Raises
    ------
    WorkersRefusedError
        Its versions differ, or it does not share the run folder.
    """
    found = differences(dict(expected.versions), versions_here())
    missing = sees(expected.folder, expected.lock_name, expected.nonce)
    if missing is not None:
        found.append(missing)
    if found:
        raise refusal({f"process {os.getpid()} on {socket.gethostname()}": found})


@cache
def check_packages(wanted: tuple[str, ...]) -> None:
    """Make sure, once per process and set of packages, that this worker has what a stage computes its networks with.

    Parameters
    ----------
    wanted
        Packages with their versions, as the driver has them: ``openvino 2026.4.1``.

    Raises
    ------
    WorkersRefusedError
        It has none of them, or another version, whose results would not be those of the stage.
    """
    found = []
    for told in wanted:
        name, _, version = told.partition(" ")
        try:
            here = metadata.version(name)
        except metadata.PackageNotFoundError:
            here = "none"
        if here != version:
            found.append(f"{name} {here} (driver: {version}; needed by --backend {name})")
    if found:
        raise refusal({f"process {os.getpid()} on {socket.gethostname()}": found})


# -- in the driver -----------------------------------------------------------------------------------------


def refusal(found: Mapping[str, list[str]]) -> WorkersRefusedError:
    """Make the error that lists workers and what is wrong with each."""
    lines = [f"  {name}: {', '.join(what)}" for name, what in sorted(found.items())]
    more = [f"  ... and {len(lines) - LISTED} more"] if len(lines) > LISTED else []
    return WorkersRefusedError(
        f"{len(found)} of the cluster's workers cannot be used:\n"
        + "\n".join(lines[:LISTED] + more)
        + "\nInstall the driver's versions there and start those workers anew, or give the run folder, sources and "
        "outputs a place that all workers share. The same command goes on from here."
    )


def workers_of(client: Any) -> dict[str, dict[str, Any]]:
    """Return what the scheduler knows of its workers, by address."""
    found: dict[str, dict[str, Any]] = client.scheduler_info(n_workers=-1).get("workers", {})  # none: it has ended
    return found


def ask(client: Any, function: Any, *arguments: str, workers: list[str]) -> dict[str, Any]:
    """Call a function on workers; an error of one of them is its answer. Those that have just left do not answer."""
    answers: dict[str, Any] = client.run(function, *arguments, workers=workers, on_error="return")
    return {a: v for a, v in answers.items() if not isinstance(v, OSError)}


def wrong_of(answer: Any) -> list[str]:
    """What is wrong with a worker by its answer, its versions compared with those of this process."""
    if isinstance(answer, BaseException):
        return [f"has no volengine {volengine.__version__}, or another one ({type(answer).__name__}: {answer})"]
    return differences(versions_here(), answer["versions"])


class Handshake:
    """The driver's side: it asks each worker of a cluster once.

    Parameters
    ----------
    client
        The connection to the cluster.
    lock
        The driver's lock in the run folder.
    limit
        Memory that plans give to a unit, bytes.
    spare
        Threads of each worker that compute nothing.
    """

    def __init__(self, client: Any, lock: Lock, limit: int, spare: int = 0):
        self._client, self._lock, self._limit, self._spare = client, lock, limit, spare
        self._known: set[str] = set()
        self._answer: Future[dict[str, list[str]]] | None = None
        folder = str(lock.path.parent)
        self.expected = Expected(tuple(versions_here().items()), folder, lock.path.name, lock.nonce)

    def __call__(self, wait_s: float = 0.0) -> int:
        """Ask the workers that have joined since the last call; return how many units all workers compute at a time.

        Parameters
        ----------
        wait_s
            How long to wait for the answers. Those that come later are looked at by the next call. A worker may be
            frozen, and a driver must not freeze with it; none runs a unit before it has checked itself.

        Raises
        ------
        WorkersRefusedError
            A worker has other versions or less memory than planned, or does not share the run folder.
        """
        workers = workers_of(self._client)
        new = {address: facts for address, facts in workers.items() if address not in self._known}
        if new and self._answer is None:
            self._answer = Future()
            threading.Thread(target=self._ask, args=(new, self._answer), name="handshake", daemon=True).start()
        if self._answer is not None:
            try:
                wrong = self._answer.result(wait_s)
            except OSError:
                if not self._answer.done():
                    return sum(map(self._computing, workers.values()))
                wrong = {}  # the connection was lost while they were asked; if it comes back, they are asked again
            self._answer = None
            if wrong:
                raise refusal(wrong)
        return sum(map(self._computing, workers.values()))

    def _computing(self, worker: Mapping[str, Any]) -> int:
        """Number of units that a worker computes at a time."""
        return int(worker["nthreads"]) - self._spare

    def _ask(self, new: Mapping[str, Mapping[str, Any]], found: Future[dict[str, list[str]]]) -> None:
        """Ask workers, and put what is wrong with them into the future, by address."""
        given = (self.expected.folder, self.expected.lock_name, self.expected.nonce)
        try:
            answers = ask(self._client, answer, *given, workers=list(new))
            wrong = {address: what for address, said in answers.items() if (what := self._wrong(said))}
            for address in answers.keys() - wrong.keys():
                if (short := self._short(new[address])) is not None:
                    wrong[address] = [short]
            self._known.update(answers)
            found.set_result(wrong)
        except Exception as error:
            found.set_exception(error)

    def _wrong(self, said: Any) -> list[str]:
        if isinstance(said, BaseException):
            return wrong_of(said)
        found, missing, mark = said
        wrong = wrong_of(found)
        if missing is None:
            path = Path(self.expected.folder) / mark
            try:
                if path.read_text() != self.expected.nonce:
                    missing = f"wrote {path}, but the driver reads something else there"
            except OSError as error:
                missing = f"wrote {path}, but the driver does not see it ({error.strerror})"
            path.unlink(missing_ok=True)
        return [*wrong, missing] if missing is not None else wrong

    def _short(self, worker: Mapping[str, Any]) -> str | None:
        """Why a worker has too little memory for what the plans give to a unit, or ``None``."""
        memory, threads = int(worker["memory_limit"] or 0), self._computing(worker)
        if not memory or memory // threads >= self._limit:
            return None
        return (
            f"has {format_bytes(memory)} for {threads} threads, {format_bytes(memory // threads)} for a unit, but the "
            f"plans need {format_bytes(self._limit)} (a smaller --memory-limit, or fewer threads per worker)"
        )
