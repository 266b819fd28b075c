"""The connection to a cluster, and its end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
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
    offers
        Resources that workers will offer, the largest amount of one worker by name, if it is known beforehand; of a
        cluster that others have started, what its workers say counts.
    """

    client: Any
    close: Callable[[], None] = nothing
    refill: Callable[[], None] = nothing
    offers: dict[str, float] | None = None


def dashboard_link(client: Any) -> str | None:
    """The address of a cluster's dashboard; ``None`` without ``bokeh``, which draws its pages."""
    if find_spec("bokeh") is None:
        return None
    link: str | None = client.dashboard_link
    cluster = getattr(client, "cluster", None)
    if link is not None and cluster is not None:  # Dask names the host by the scheduler's address
        port = urlsplit(link).port
        told = os.environ.get("VOLENGINE_DASHBOARD", "")
        link = link if told and not told.startswith(":") else f"http://127.0.0.1:{port}/status"
    return link


def end(link: Link) -> None:
    """End what is left of a lost connection, whatever state it is in; a scheduler that is gone is not waited for."""
    import dask

    with dask.config.set({"distributed.comm.timeouts.connect": GONE_S}):
        for close in (link.client.close, link.close):
            with contextlib.suppress(Exception, *CANCELLED):
                close()
