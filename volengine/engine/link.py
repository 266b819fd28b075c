"""The connection to a cluster, and its end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

GONE_S = "5s"
"""How long Dask tries to reach a scheduler that is gone, to tell it that it may end."""

CANCELLED = (asyncio.CancelledError, concurrent.futures.CancelledError)
"""How Dask's calls end when what they wait for is given up; the first is no ``Exception``."""


def nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Link:
    """A connection to a cluster.

    Parameters
    ----------
    client
        Dask's client.
    close
        Ends what was started for this run.
    refill
        Starts workers that were lost anew, if the cluster was started for this run.
    spare
        Threads of each worker that wait for the disk while the others compute (:mod:`.on_worker`).
    offers
        Resources that workers will offer, the largest amount of one worker by name, if it is known beforehand; of a
        cluster that others have started, what its workers say counts.
    """

    client: Any
    close: Callable[[], None] = nothing
    refill: Callable[[], None] = nothing
    offers: dict[str, float] | None = None
    spare: int = 0

    def __post_init__(self) -> None:
        _calm()


def _calm() -> None:
    """Let Dask report to the terminal what is a warning or worse, and not that its connections begin and end.

    It is silent while a cluster of ours lives; but what is left of a connection may speak after its cluster has closed.
    """
    logger = logging.getLogger("distributed")
    logger.setLevel(max(logger.level, logging.WARNING))
    logging.getLogger("distributed.client").addFilter(_no_lost_connection)  # a function is added once


def _no_lost_connection(record: logging.LogRecord) -> bool:
    """Whether a record is another one than Dask's error that a client gives up its lost scheduler.

    The run says so itself, waits for another scheduler, and may end well.
    """
    return not str(record.msg).startswith("Failed to reconnect to scheduler")


def dashboard_link(client: Any) -> str | None:
    """The address of a cluster's dashboard; ``None`` if its scheduler has no ``bokeh``, which draws the pages.

    A scheduler in this process is looked at here, another one is asked: it may run in another environment.
    """
    link: str | None = client.dashboard_link
    if link is None:
        return None
    if getattr(getattr(client, "cluster", None), "scheduler", None) is None:  # others have started it
        return link if _asked(client) else None
    if find_spec("bokeh") is None:
        return None
    port = urlsplit(link).port  # Dask names the host by the scheduler's address, but pages are for this machine
    told = os.environ.get("VOLENGINE_DASHBOARD", "")
    return link if told and not told.startswith(":") else f"http://127.0.0.1:{port}/status"


def _asked(client: Any) -> bool:
    """Whether an existing scheduler finds ``bokeh``. It needs nothing of this package to answer."""
    try:
        return client.run_on_scheduler(find_spec, "bokeh") is not None
    except (Exception, *CANCELLED):  # one that takes no functions, or has just gone away: the link is a convenience
        return False


def end(link: Link) -> None:
    """End what is left of a lost connection, whatever state it is in; a scheduler that is gone is not waited for."""
    import dask

    with dask.config.set({"distributed.comm.timeouts.connect": GONE_S}):
        for close in (link.client.close, link.close):
            with contextlib.suppress(Exception, *CANCELLED):
                close()
