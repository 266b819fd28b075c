"""The other parts of a run: waiting for the units that they do, and taking over those of missing parts.

A part that has done its own share of a stage waits for the others, since the next stage needs all units. What they
have done comes from their receipts (:mod:`.state`), whether they are alive from their locks (:mod:`.claims`), and what
has failed there from their notes (:mod:`.failures`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from volengine.engine.claims import Living
from volengine.engine.failures import TRIES, Failures
from volengine.engine.ledger import RunFolder
from volengine.engine.lock import STALE_S, Lock
from volengine.engine.log import Log
from volengine.engine.options import RunOptions
from volengine.engine.report import named
from volengine.engine.stage import Stage
from volengine.engine.state import PlanState
from volengine.engine.work import Bundle

HANGING = 10
"""A part that is alive, but brings no news for so many times the patience and a minute, counts as one that hangs."""


class OtherParts:
    """Watches the other parts of a run.

    Parameters
    ----------
    folder
        The run folder.
    options
        The options of this part.
    """

    def __init__(self, folder: RunFolder, options: RunOptions):
        self._folder, self._options = folder, options
        parts = options.part_of()[1] > 1
        self.living = Living(folder.path, options.patience_s) if parts else None
        self._failures: Failures | None = None
        """What has failed in other parts, if there are any."""
        self._quiet_since = self._tried_at = time.monotonic()
        self._without: frozenset[str] | None = None
        """The living parts when units of missing ones were taken over; as long as no others come, the missing ones are
        not waited for again in each stage."""

    def begin(self, lock: Lock, log: Log, say: Callable[[str], None]) -> None:
        """Begin to note failures, once the run folder is ours; ``say`` tells the user something."""
        self._log, self._say = log, say
        if self._options.part is not None:
            self._failures = Failures(self._folder.path, self._options.part, lock.nonce)

    def progress(self) -> None:
        """Units have been done here: the run is not quiet."""
        self._quiet_since = time.monotonic()

    def note(self, state: PlanState, stage: Stage, bundle: Bundle, error: BaseException, *, final: bool) -> None:
        """Tell the other parts that a unit of a bundle has failed here, so that the plan was given up."""
        if self._failures is not None:
            number = state.first_left(bundle)
            self._failures.note(state.identities[stage.name], stage.name, number, error, final=final)

    def attend(self, waiting: Sequence[PlanState]) -> bool:
        """Look at what other parts have done of stages that wait for them; if they make no progress, take units over.

        Parameters
        ----------
        waiting
            Plans whose present stage has no units left for this part.

        Returns
        -------
        bool
            Whether there is something to do for the driver: units were taken over, or a plan was given up.
        """
        # A heartbeat is watched for a while before it counts as that of a dead part.
        living = frozenset[str]() if self.living is None else self.living.nonces()
        now, news = time.monotonic(), [state.catch_up() for state in waiting]  # a list, so that all states catch up
        if any(news):
            self._quiet_since = now
        quiet_s, patience_s = now - self._quiet_since, self._options.patience_s
        known = self._without is not None and living <= self._without
        late = not any(news) and (known or now - max(self._quiet_since, self._tried_at) > patience_s)
        still = [s for s in waiting if not s.at_end and not s.waiting]
        hanging = quiet_s > max(HANGING * patience_s, STALE_S)
        given_up = [s for s in still if self._heed(s)]
        took = [self._take_over(s, hanging) for s in still if s.active and (late or s.shared or s in given_up)]
        if late:
            self._tried_at = now
        if late and any(took) and len(living) < self._options.part_of()[1]:
            self._without = living
        elif not known:
            self._without = None
        return any(took) or not all(state.active for state in still)

    def _heed(self, state: PlanState) -> bool:
        """Look at what has failed in other parts of the stage that a plan waits for; return whether to take it over.

        The plan is given up if a unit that is not done would fail here, too.
        """
        if self._failures is None:
            return False
        done, stage = state.done[state.stage.name], state.stage.name
        failed = [one for one in self._failures.of(state.identities[stage]) if one.number not in done]
        for one in failed:
            parts = {other.part for other in failed if other.number == one.number}
            if one.final or len(parts) >= TRIES:
                state.error = one.to_error()
                self._log("failed elsewhere", name=state.plan.name, stage=stage, number=one.number, part=one.part)
                self._say(named(state.plan.name, state.error))
                return False
        return bool(failed)

    def _take_over(self, state: PlanState, hanging: bool) -> bool:
        """Take over units of a plan's stage; return whether there were any.

        ``hanging``: nothing has come from parts that are alive for so long that also what they have begun is taken.
        """
        stage = state.stage.name
        took = state.take_over(all_of_them=hanging)
        if took:
            self._log("taking over", name=state.plan.name, stage=stage, units=len(state.pending))
        return took
