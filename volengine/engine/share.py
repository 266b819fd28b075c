"""What a unit may use on a cluster that others have started: the workers are asked, once for each run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from volengine.core.errors import DeadlineError, InputError
from volengine.engine.deadline import Deadline
from volengine.engine.log import remark
from volengine.engine.workers import AGAIN_S, WITHOUT_S, ask, facts, refusal, workers_of, wrong_of

if TYPE_CHECKING:
    from volengine.engine.options import RunOptions

POLL_S = 0.2
"""Seconds between two looks for the first worker."""


@dataclass(frozen=True)
class Share:
    """What the weakest worker of a cluster has for one unit.

    Parameters
    ----------
    memory
        Memory limit of a worker divided by its threads, bytes; ``None`` if no worker has a limit.
    threads
        Number of cores that a unit may use.
    """

    memory: int | None
    threads: int

    def limit(self, scheduler: str) -> int:
        """Return the memory for a unit, bytes.

        Raises
        ------
        InputError
            The workers have no memory limit.
        """
        if self.memory is None:
            raise InputError(f"--scheduler {scheduler}: its workers have no memory limit; give --memory-limit.")
        return self.memory


def ask_share(options: RunOptions, say: Callable[[str], None] = remark) -> Share:
    """Ask the workers of an existing cluster for the memory and the cores of a unit.

    Parameters
    ----------
    options
        Which cluster, and how long its scheduler file and its first worker are waited for.
    say
        Function that tells the user what is waited for, now and then.

    Raises
    ------
    InputError
        No scheduler answers, or it has no worker within ``--wait-for-workers``.
    WorkersRefusedError
        Workers have other versions.
    """
    from volengine.engine.scheduler import connect, wait_for_file

    wait_for_file(options, say)
    client = connect(options)
    try:
        wait_for_one(client, options, say)
        known = workers_of(client)
        answers = ask(client, facts, workers=list(known))
    except OSError as error:
        raise InputError(
            f"--scheduler {options.scheduler} has ended while its workers were asked ({error})."
        ) from error
    finally:
        client.close()
    wrong = {address: what for address, answer in answers.items() if (what := wrong_of(answer))}
    if wrong:
        raise refusal(wrong)
    limits = [int(w["memory_limit"]) // int(w["nthreads"]) for w in known.values() if w["memory_limit"]]
    joined = {address: (answers[address], int(known[address]["nthreads"])) for address in answers}
    return Share(min(limits, default=None), threads_per_unit(joined))


def wait_for_one(client: Any, options: RunOptions, say: Callable[[str], None] = remark) -> None:
    """Wait until a cluster has a worker, as long as the options say; tell the user now and then.

    Raises
    ------
    InputError
        None has joined, or the scheduler has ended.
    DeadlineError
        None has joined, and the run must end.
    """
    patience_s, deadline = options.patience_for_workers_s(), Deadline(options.deadline)
    began = told = time.monotonic()
    quiet_s = WITHOUT_S
    while not workers_of(client):
        now = time.monotonic()
        where = f"--scheduler {options.scheduler}"
        if client.status not in ("running", "connecting"):
            raise InputError(f"{where} has ended while its workers were waited for.")
        if deadline.left_s <= 0:
            raise DeadlineError(
                f"Stopped before the deadline ({deadline.said()}): {where} has had no worker for {now - began:.0f} s. "
                "The same command goes on from here."
            )
        if now - began >= patience_s:
            raise InputError(
                f"{where} has had no worker for {now - began:.0f} s (--wait-for-workers {options.wait_for_workers})."
            )
        if now - told >= quiet_s:
            told, quiet_s = now, AGAIN_S
            say(f"{where} has had no worker for {now - began:.0f} s; waiting for the first one. Ctrl-C stops it.")
        time.sleep(POLL_S)


def threads_per_unit(workers: Mapping[str, tuple[Mapping[str, Any], int]]) -> int:
    """Return the number of cores that each unit of a cluster may use, at least 1: that of the worst-off worker.

    Parameters
    ----------
    workers
        The facts and the number of threads of each worker. The threads of all workers that may use a core share it.
    """
    users: dict[tuple[str, int], int] = {}
    for said, threads in workers.values():
        for cpu in said["cpus"]:
            users[said["machine"], cpu] = users.get((said["machine"], cpu), 0) + threads
    shares = []
    for said, _ in workers.values():
        share = sum(1 / users[said["machine"], cpu] for cpu in said["cpus"])
        shares.append(min(share + 1e-9, said["told"] or share + 1e-9))
    return max(1, int(min(shares, default=1)))
