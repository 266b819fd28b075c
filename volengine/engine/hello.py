"""A hello on every worker of a cluster: who it is, what it has, and whether it sees the run folder.

It answers, in a minute and before a night is lost, what else a run finds out in its middle.
"""

from __future__ import annotations

import os
import platform
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volengine.core.errors import InputError
from volengine.core.new_folders import NewFolders
from volengine.core.units import format_bytes
from volengine.engine import clusters
from volengine.engine.cluster_recipe import gpus_here
from volengine.engine.driver_lock import only_driver
from volengine.engine.on_dask import OnDask, silent
from volengine.engine.options import RunOptions
from volengine.engine.scheduler import check_scheduler
from volengine.engine.workers import CORES, WITHOUT_S, refusal, workers_of

POLL_S = 0.5


@dataclass(frozen=True)
class Hello:
    """What a worker has said.

    Parameters
    ----------
    name, host
        The worker's name, and that of its host.
    threads, cores
        Units that it runs at a time, and cores that it may use.
    memory
        Memory limit, bytes; 0 if it has none.
    gpus
        GPUs that it sees, as ``CUDA_VISIBLE_DEVICES`` or ``nvidia-smi`` name them.
    resources
        Resources of Dask that it offers.
    python
        Version of Python.
    seconds
        Seconds from the start of the cluster to its answer.
    """

    name: str
    host: str
    threads: int
    cores: int
    memory: int
    gpus: tuple[str, ...]
    resources: dict[str, float]
    python: str
    seconds: float

    def text(self) -> str:
        """One line."""
        memory = format_bytes(self.memory) if self.memory else "no limit of memory"
        offers = " ".join(f"{key}={n:g}" for key, n in sorted(self.resources.items()))
        gpus = f", GPUs {','.join(self.gpus)}" if self.gpus else ""
        return (
            f"{self.name} on {self.host}: {self.threads} x {self.cores} cores, {memory}{gpus}"
            f"{f', offers {offers}' if offers else ''}, Python {self.python} ({self.seconds:.0f} s)"
        )


def asked() -> dict[str, Any]:
    """What a worker says of itself; it runs there."""
    given = os.environ.get(CORES, "")
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "host": socket.gethostname(),
        "gpus": gpus_here(),
        "python": platform.python_version(),
        "cores": min(int(given), affinity) if given.isdigit() else affinity,
    }


def hello(options: RunOptions, folder: str, say: Callable[[str], None] = silent) -> list[Hello]:
    """Start the cluster of the options, or connect to it, and ask every worker; then end what was started.

    Parameters
    ----------
    options
        ``cluster`` or ``scheduler``, and how long workers are waited for.
    folder
        The run folder, in which each worker must see this process's lock and write a file. It may be new.
    say
        Function that tells the user what is waited for.

    Raises
    ------
    InputError
        There is no cluster in the options, none can be started or reached, or no worker joins in time.
    WorkersRefusedError
        Workers have other versions, too little memory, or do not share the folder; the message lists them.
    """
    if options.cluster is None and options.scheduler is None:
        raise InputError("Give --cluster or --scheduler: which cluster is to be asked?")
    check_scheduler(options)
    wanted = options.cluster_recipe().total if options.cluster is not None else 1
    path = Path(folder).absolute()  # workers may have been started in another folder
    new = NewFolders()
    new.note(path)
    began = time.monotonic()
    try:
        with only_driver(path, None, say=say) as lock:
            limit = options.limit_bytes() if options.cluster is not None or options.memory_limit is not None else 0
            executor = clusters.start(options, limit, lock, say)
            assert isinstance(executor, OnDask)
            try:
                return _collect(executor, options, wanted, began, say)
            finally:
                executor.close()
    finally:
        new.remove_empty()


def _collect(
    executor: OnDask, options: RunOptions, wanted: int, began: float, say: Callable[[str], None]
) -> list[Hello]:
    """Wait until as many workers as were asked for have joined, or the time is over; ask them."""
    end = began + options.patience_for_workers_s()
    told = began
    client = executor.client
    while len(workers_of(client)) < wanted and time.monotonic() < end:
        if time.monotonic() - told > WITHOUT_S:
            told = time.monotonic()
            say(f"{len(workers_of(client))} of {wanted} workers have joined; Ctrl-C stops.")
        time.sleep(POLL_S)
    known = workers_of(client)
    if len(known) < wanted:
        raise InputError(
            f"Only {len(known)} of {wanted} workers have joined within {options.wait_for_workers} "
            "(--wait-for-workers). Look at the jobs or hosts, and at the folder jobs in the run folder."
        )
    executor.greet()
    answers = client.run(asked, on_error="return")
    wrong = {a: [f"does not answer ({said})"] for a, said in answers.items() if isinstance(said, BaseException)}
    if wrong:
        raise refusal(wrong)
    seconds = time.monotonic() - began
    found = [
        Hello(
            str(known[address]["name"]),
            said["host"],
            int(known[address]["nthreads"]),
            said["cores"],
            int(known[address]["memory_limit"] or 0),
            tuple(said["gpus"]),
            dict(known[address].get("resources") or {}),
            said["python"],
            seconds,
        )
        for address, said in answers.items()
        if address in known
    ]
    return sorted(found, key=lambda one: one.name)


def show(options: RunOptions, folder: str) -> str:
    """Say what a run with these options would start; nothing is started or written.

    Raises
    ------
    InputError
        There is no ``cluster`` in the options, or it cannot be used.
    """
    if options.cluster is None:
        raise InputError("Give --cluster: which cluster would be started?")
    return clusters.starter_of(options, Path(folder)).said()
