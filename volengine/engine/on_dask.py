"""Bundles on a Dask cluster, for as long as the run lasts: also if its scheduler does not.

Inside of Dask nothing outlives a scheduler: when the connection is lost, its client cancels everything at once, and the
workers end. So what survives is here. The executor keeps its bundles, connects anew (to the scheduler that comes back
at the same place, or by starting another cluster), and gives out again the units that have no receipt.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from volengine.core.errors import InputError, VolengineError, WorkersRefusedError
from volengine.engine.executor import Done, at_leisure
from volengine.engine.ledger import PlanFolder
from volengine.engine.link import CANCELLED, Link, dashboard_link, end
from volengine.engine.lock import Lock
from volengine.engine.on_worker import run_here
from volengine.engine.receipts import Receipt
from volengine.engine.resources import check_offered, has, offers_of, said, wanted_by
from volengine.engine.stage import Stage
from volengine.engine.work import Bundle, without_claims
from volengine.engine.workers import AGAIN_S, ANSWER_S, WITHOUT_S, Handshake, workers_of

RECOUNT_S = 5.0
"""Seconds between two counts of the workers of a cluster."""

RETRY_S = 5.0
"""Seconds between two attempts to reach a scheduler that has gone away."""

NOTICES_S = 2.0
"""Seconds within which Dask notices that a connection is gone of which a call has heard already."""

ENDED = (
    "The Dask scheduler at {address} has ended, or cannot be reached any more. What was finished is kept; start "
    "scheduler and workers again, and the same command goes on from here."
)


def silent(text: str) -> None:
    """Tell nobody."""


class _LostError(Exception):
    """The scheduler has gone away."""


class OnDask:
    """Runs each bundle as one task on a Dask cluster; the driver bounds how many are submitted at the same time.

    Parameters
    ----------
    connect
        Connects to the cluster, or starts one; called again when the scheduler has gone away.
    lock
        The driver's lock in the run folder, by which workers show that they see it.
    limit
        Memory that plans give to a unit, bytes.
    say
        Function that tells the user what is waited for.
    patience_s
        For how many seconds a worker, or a scheduler that has gone away, is waited for.

    Raises
    ------
    WorkersRefusedError
        Workers have other versions, or do not share the run folder.
    InputError
        No scheduler answers, at first; later ``slots``, ``submit`` and ``results`` raise it if none is back, or no
        worker joins, within ``patience_s``, or if a stage needs a resource that no worker offers.
    """

    def __init__(
        self,
        connect: Callable[[], Link],
        lock: Lock,
        limit: int,
        say: Callable[[str], None] = silent,
        patience_s: float = 86400.0,
    ):
        self._connect, self._lock, self._limit = connect, lock, limit
        self._say, self._patience_s = say, patience_s
        self._under_way: dict[Any, Bundle] = {}
        self._waiting: deque[tuple[Bundle, Bundle]] = deque()
        """Bundles that are given out when there is a worker, each with what is left of it."""
        self._ready: deque[Done] = deque()
        self._without_since: float | None = None
        self._told_at = 0.0
        self._lost_since: float | None = None
        self._slots = 1
        self.met = False
        """Whether there has been a worker."""
        self.hurry: Callable[[], bool] = at_leisure
        self._workers: dict[str, dict[str, Any]] = {}
        self._take(connect())
        try:
            self._count(ANSWER_S)
        except _LostError:
            self.close()
            raise InputError(ENDED.format(address=self._address)) from None
        except BaseException:
            self.close()
            raise

    def _take(self, link: Link) -> None:
        from distributed import as_completed

        self._link: Link | None = link
        self._address = link.client.scheduler.address
        self._handshake = Handshake(link.client, self._lock, self._limit, link.spare)
        self._completed = as_completed([], loop=link.client.loop, raise_errors=False)
        self.link = dashboard_link(link.client)

    # -- the workers ---------------------------------------------------------------------------------------

    @property
    def slots(self) -> int:
        """Number of threads of all workers at present; workers may join and leave. New ones are asked who they are."""
        with self._lasting():
            if self._back() and time.monotonic() - self._counted > RECOUNT_S:
                self._count()
        return self._slots

    @property
    def window(self) -> int:
        """Number of bundles to give out: a worker that ends one finds the next, also in each of its spare threads."""
        return (2 + self._link.spare if self._link is not None else 2) * self.slots

    def _count(self, wait_s: float = 0.0) -> None:
        assert self._link is not None
        with self._connected():
            threads = self._handshake(wait_s)
            self._workers = workers_of(self._link.client)
        self._check_connection()
        self._slots = max(1, threads)
        self.met |= threads > 0
        self._counted = time.monotonic()
        self._link.refill()
        self._wait_for(self._missing(threads))
        if threads:
            self._give_out()

    @property
    def client(self) -> Any:
        """Dask's client.

        Raises
        ------
        InputError
            The scheduler has gone away.
        """
        if self._link is None:
            raise InputError(ENDED.format(address=self._address))
        return self._link.client

    def greet(self) -> None:
        """Ask all workers that have joined who they are, and wait for their answers.

        Raises
        ------
        WorkersRefusedError
            Workers have other versions, too little memory, or do not share the run folder.
        """
        for _ in range(2):  # those that joined while others were asked are asked by the second call
            self._handshake(ANSWER_S)

    def _missing(self, threads: int) -> str:
        """What the run waits for, empty if for nothing: a worker, or one with what the bundles that wait need."""
        if not threads:
            return "no worker"
        for bundle in self._under_way.values():
            wanted = wanted_by(bundle.stage, self._offers())
            if wanted and not any(has(worker, wanted) for worker in self._workers.values()):
                return f"no worker that offers {said(wanted)}, which {bundle.stage.name} needs"
        return ""

    def _wait_for(self, missing: str) -> None:
        """Tell the user now and then what is waited for, and end the run if it was waited for long enough."""
        now = time.monotonic()
        if not missing:
            self._without_since = None
            return
        if self._without_since is None:
            self._without_since, self._told_at = now, 0.0
        since = now - self._without_since
        if since > self._patience_s:
            raise InputError(
                f"The cluster at {self._address} has had {missing} for {since:.0f} s (--wait-for-workers). Look at its "
                "jobs or hosts, or wait longer; what was finished is kept, and the same command goes on from here."
            )
        if since > WITHOUT_S and (not self._told_at or now - self._told_at > AGAIN_S):
            self._told_at = now
            self._say(
                f"The cluster has had {missing} for {since:.0f} s. The run waits until one joins, for "
                f"{self._patience_s / 3600:.3g} h at most; it can also be stopped with Ctrl-C, and the same command "
                "goes on from there."
            )

    # -- the connection ------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        """Context of calls to Dask, whose errors at the end of a scheduler have many kinds, none of them for a user."""
        try:
            yield
        except (VolengineError, _LostError):
            raise
        except (Exception, *CANCELLED):
            self._check_connection(lost=True)
            raise

    @contextlib.contextmanager
    def _lasting(self) -> Iterator[None]:
        """Context of what the driver calls: if the scheduler goes away in it, it is waited for from then on."""
        try:
            yield
        except _LostError:
            self._lose()

    def _check_connection(self, lost: bool = False) -> None:
        """Notice that the scheduler is gone, whose bundles would all end as if they had failed.

        While Dask connects anew, which it does for as long as its timeout says, this waits.

        Parameters
        ----------
        lost
            Whether a call has just failed: Dask may notice a moment later that the connection is gone.
        """
        assert self._link is not None
        client = self._link.client
        end = time.monotonic() + (NOTICES_S if lost else 0.0)
        while client.status == "connecting" or (client.status == "running" and time.monotonic() < end):
            time.sleep(0.05)
        if client.status in ("closing", "closed"):
            raise _LostError

    def _lose(self) -> None:
        """Give up a connection; its bundles wait for the next one."""
        assert self._link is not None
        link, self._link = self._link, None
        self._lost_since, self._tried_at = time.monotonic(), 0.0
        lost = list(self._under_way.values())
        self._under_way.clear()
        self._waiting.extend((bundle, bundle) for bundle in lost)
        if self._patience_s > 0:
            self._say(
                f"The Dask scheduler at {self._address} has ended, or cannot be reached any more. The run waits for "
                f"one, for {self._patience_s / 3600:.3g} h at most, and then goes on with the units that have no "
                "receipt."
            )
        end(link)
        if self._patience_s <= 0:
            raise InputError(ENDED.format(address=self._address))

    def _back(self) -> bool:
        """Whether there is a scheduler; if it has gone away, this tries to reach one from time to time."""
        if self._link is not None:
            return True
        assert self._lost_since is not None
        now = time.monotonic()
        if now - self._tried_at < RETRY_S:
            return False
        try:
            link = self._connect()
        except WorkersRefusedError:
            raise
        except VolengineError as error:
            self._tried_at = time.monotonic()
            if self._tried_at - self._lost_since >= self._patience_s:
                raise InputError(ENDED.format(address=self._address)) from error
            return False
        self._take(link)
        self._lost_since = None
        self._say(f"There is a Dask scheduler again, at {self._address}; the run goes on.")
        self._sort_by_receipts()
        self._count(ANSWER_S)
        return True

    def _sort_by_receipts(self) -> None:
        """Take out of the bundles that wait the units which have ended meanwhile; their workers have written that."""
        ledgers: dict[str, list[Receipt]] = {}
        for _ in range(len(self._waiting)):
            bundle, rest = self._waiting.popleft()
            if bundle.folder not in ledgers:
                ledgers[bundle.folder] = list(PlanFolder(bundle.folder).receipts)
            done, found = [], dict[str, set[int]]()
            for part in rest.parts:
                receipts = {
                    int(receipt["number"]): without_claims(receipt)
                    for receipt in ledgers[bundle.folder]
                    if receipt["identity"] == part.identity and receipt["stage"] == part.stage.name
                }
                found[part.stage.name] = set(receipts)
                done += [receipts[number] for number in part.numbers if number in receipts]
            left = rest.less(found)
            if done or left is None:
                self._ready.append(Done(bundle, done, final=left is None))
            if left is not None:
                self._waiting.append((bundle, left))

    # -- the bundles ---------------------------------------------------------------------------------------

    def together(self, stages: Sequence[Stage]) -> bool:
        """Whether all of these stages run on the same workers."""
        wanted = [wanted_by(stage, self._offers()) for stage in stages]
        return all(one == wanted[0] for one in wanted)

    def submit(self, bundle: Bundle) -> None:
        """Give out a bundle, or keep it until there is a worker.

        Raises
        ------
        InputError
            Its stage needs a resource that no worker offers, so that it would wait for ever.
        """
        self._check_offered(bundle.stage)
        self._waiting.append((bundle, bundle))
        with self._lasting():
            if self._back() and self._workers:
                self._give_out()

    def _give_out(self) -> None:
        assert self._link is not None
        while self._waiting:
            bundle, rest = self._waiting[0]
            self._check_offered(bundle.stage)
            self._check_connection()
            with self._connected():
                future = self._link.client.submit(
                    run_here,
                    rest,
                    self._handshake.expected,
                    self._link.spare > 0,
                    pure=False,
                    retries=0,
                    resources=wanted_by(bundle.stage, self._offers()) or None,
                )
            self._waiting.popleft()
            self._under_way[future] = bundle
            self._completed.add(future)

    def _offers(self) -> dict[str, float]:
        beforehand = self._link.offers if self._link is not None else None
        return offers_of(self._workers.values(), beforehand)

    def _check_offered(self, stage: Stage) -> None:
        if self._workers or (self._link is not None and self._link.offers is not None):
            check_offered(stage, self._offers())

    def results(self) -> Iterator[Done]:
        """Wait for news of one bundle and yield it. Yields nothing if there is none for some seconds."""
        if self._ready:
            yield self._ready.popleft()
            return
        found: Done | None = None
        with self._lasting():
            if not self._back():
                time.sleep(min(1.0, RETRY_S))
            elif self._under_way and self._news():
                found = self._next()
            elif not self._under_way:
                time.sleep(0.1)
        if found is not None:
            yield found

    def _next(self) -> Done | None:
        """What the next bundle that has ended says; ``None`` if Dask has given it up, so that it is given out again."""
        future = next(self._completed)
        bundle = self._under_way[future]
        try:
            receipts, left = future.result()
            done = Done(bundle, receipts, left=left)
        except WorkersRefusedError:
            raise  # it is not about this unit: the next one would fail there, too
        except (Exception, *CANCELLED) as error:
            if isinstance(error, Exception) and future.status == "error":
                done = Done(bundle, [], error)
            else:  # it is not the unit's: Dask has given it up, or the connection was lost in the middle of the answer
                self._check_connection(lost=True)
                done = None
        del self._under_way[future]
        future.release()
        if done is None:
            self._waiting.append((bundle, bundle))
            self._sort_by_receipts()
            self._count()
        return done

    def _news(self) -> bool:
        """Wait for a bundle that has ended; ``False``: none has, and it is time to look at the workers again.

        It does not wait while the driver is in a hurry.
        """
        end = time.monotonic() + RECOUNT_S
        with self._completed.thread_condition:
            while not self._completed.has_ready() and time.monotonic() < end and not self.hurry():
                self._completed.thread_condition.wait(0.1)  # Dask itself waits so long
            return bool(self._completed.has_ready())

    def close(self) -> None:
        if self._link is not None:
            link, self._link = self._link, None
            link.client.close()
            link.close()
