"""The parts of one run work on one plan.

A part with another recipe, another state of the input or other blocks would replace what the others are writing. So
each part notes in the plan's folder what it works on, under the random name of its lock, and one that would work on
something else while another part lives is refused. One that was asleep all the while finds out before it writes
(:func:`check_current`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping

from volengine.core.errors import BusyError, ChangedError, FormatError
from volengine.engine import lock as locks
from volengine.engine.driver_lock import POLL_S, ToldWatch, drivers
from volengine.engine.ledger import PlanFolder
from volengine.engine.lock import Holder, critical, remove
from volengine.engine.log import remark
from volengine.engine.options import RunOptions

LOCK = "busy.lock"
"""Lock in a plan's folder, for what only one part may do at a time."""

PARTS = "parts.json"
"""File of a plan's folder: what each part works on (a digest), by the random name of the part's lock."""

CURRENT = "identities.json"
"""File of a plan's folder: the identities of the stages of the plan that is run now, by name."""


@contextlib.contextmanager
def agreed(folder: PlanFolder, options: RunOptions, what: str) -> Iterator[None]:
    """Hold the lock of a plan's folder, once no other living part works on something else there.

    Parameters
    ----------
    folder
        Folder of the plan.
    options
        The part; and with ``take_over``, whether parts of other machines are watched to see whether they still live.
    what
        Digest of the plan's results and outputs.

    Raises
    ------
    BusyError
        Another part does; the message says which.
    """
    watches: dict[str, ToldWatch] = {}
    while True:
        with critical(folder.path / LOCK):
            other = _other(folder, options, what)
            if other is None:
                yield
                return
        part, holder = other
        if holder.local() or not options.take_over:
            raise BusyError(_refusal(folder, part, holder))
        lock = folder.path.parent.parent / f"driver-{part.replace('/', '-of-')}.lock"
        watch = watches.setdefault(holder.nonce, ToldWatch(lock))
        still = watch.still_s(holder)
        if watch.moved:
            raise BusyError(_refusal(folder, part, holder))
        if still > locks.STALE_S:
            remark(f"Taking over from {holder}: no heartbeat for {still:.0f} s.")
            remove(lock, holder.nonce)
        time.sleep(POLL_S)


def _other(folder: PlanFolder, options: RunOptions, what: str) -> tuple[str, Holder] | None:
    """Return a living part that works on something else; if there is none, note what this one works on."""
    if options.part is None:  # the lock of a whole run excludes all parts
        return None
    own = "{}/{}".format(*options.part_of())
    living = drivers(folder.path.parent.parent)
    known = _noted(folder)
    for part, holder in living.items():
        if part and part != own and known.get(holder.nonce, what) != what:
            return part, holder
    noted = {
        h.nonce: what if part == own else known[h.nonce]
        for part, h in living.items()
        if own == part or h.nonce in known
    }
    if noted != known:
        folder.write_json(PARTS, noted, durable=False)
    return None


def _noted(folder: PlanFolder) -> Mapping[str, str]:
    try:
        found = folder.read_json(PARTS)
    except FormatError:
        return {}
    return found if isinstance(found, dict) else {}


def _refusal(folder: PlanFolder, part: str, holder: Holder) -> str:
    return (
        f"{folder.path.parent.parent}: part {part} works here on {folder.path.name!r} with another recipe, another "
        f"--block or --device, or an input that has changed since: {holder}. All parts need the same command and the "
        "same inputs. Wait for it, or end it; one on another machine that may be dead is watched with --take-over."
    )


def check_current(folder: PlanFolder, stage: str, identity: str) -> None:
    """Make sure that a stage's results are still wanted, before they are written.

    Raises
    ------
    ChangedError
        Another driver has planned the stage anew meanwhile, with another recipe or input.
    """
    try:
        known = folder.read_json(CURRENT)
    except FormatError:
        return
    if isinstance(known, dict) and known.get(stage, identity) != identity:
        raise ChangedError(
            f"{folder.path}: stage {stage!r} was planned anew by another run of this folder, with another recipe or a "
            "changed input; what this one computes is not written. Run the same command again."
        )
