"""An existing Dask scheduler: connecting to it, and the memory of its workers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from volengine.core.errors import InputError

ANSWER_S = 20
"""Seconds within which a scheduler must answer."""


def connect(address: str) -> Any:
    """Connect to an existing scheduler.

    Parameters
    ----------
    address
        ``tcp://host:port``, or the path of a scheduler file (``.json``).

    Returns
    -------
    distributed.Client

    Raises
    ------
    InputError
        The scheduler file does not exist, or no scheduler answers within 20 s.
    """
    from distributed import Client

    if address.endswith(".json") and not Path(address).exists():
        raise InputError(f"--scheduler {address}: no such scheduler file. `dask scheduler --scheduler-file` writes it.")
    try:
        if address.endswith(".json"):
            return Client(scheduler_file=address, timeout=ANSWER_S)
        return Client(address, timeout=ANSWER_S)
    except (OSError, TimeoutError, ValueError) as error:
        raise InputError(
            f"--scheduler {address}: no Dask scheduler answers there ({error}). "
            "Start one with `dask scheduler` and workers with `dask worker`."
        ) from error


def smallest_worker(address: str) -> int:
    """Return the memory limit of the smallest worker of an existing cluster, bytes.

    Raises
    ------
    InputError
        No scheduler answers, it has no worker within 60 s, or its workers have no memory limit.
    """
    client = connect(address)
    try:
        workers = client.scheduler_info(n_workers=-1)["workers"]
        if not workers:
            client.wait_for_workers(1, timeout=60)
            workers = client.scheduler_info(n_workers=-1)["workers"]
        limits = [w["memory_limit"] for w in workers.values() if w["memory_limit"]]
    except TimeoutError as error:
        raise InputError(f"--scheduler {address} has had no worker for 60 s.") from error
    finally:
        client.close()
    if not limits:
        raise InputError(f"--scheduler {address}: its workers have no memory limit; give --memory-limit.")
    return int(min(limits))
