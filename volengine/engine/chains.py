"""All that is left of a small plan as bundles that follow each other: a worker runs its stages without the driver.

A tomogram of some hundred thousand voxels has a dozen stages of one unit each, of some milliseconds. Given out one by
one, each costs the driver, Dask's scheduler and the worker more than the unit itself takes.
"""

from __future__ import annotations

from collections.abc import Callable

from volengine.engine.grouping import BUNDLE_SECONDS
from volengine.engine.stage import Stage
from volengine.engine.state import PlanState
from volengine.engine.work import Bundle


def chain(
    state: PlanState, expected: Callable[[Stage], float | None], together: Callable[[list[Stage]], bool]
) -> Bundle | None:
    """Return all that is left of a plan, if it is small and nothing of it has been given out; else ``None``.

    A plan of which a unit has failed, or whose results were lost, goes on unit by unit: then it matters which one. The
    parts of a run share the units of each stage, so their plans do, too.

    Parameters
    ----------
    state
        The state of the plan.
    expected
        Seconds of a unit of a stage in other plans, ``None`` if they are not known.
    together
        Whether units of these stages can run in the same worker.
    """
    untouched = state.active and state.waiting and not (state.under_way or state.parted)
    if not untouched or state.attempts or state.rounds or state.options.part_of()[1] > 1:
        return None
    left: list[tuple[Stage, list[int]]] = []
    seconds = 0.0
    for stage in state.plan.stages[state.position :]:
        done = state.done[stage.name]
        if len(stage.tiling) - len(done) <= 0:
            continue
        one = expected(stage)
        if one is None or (seconds := seconds + one * (len(stage.tiling) - len(done))) > BUNDLE_SECONDS:
            return None
        left.append((stage, [number for number in range(len(stage.tiling)) if number not in done]))
    if len(left) < 2 or len(left[0][1]) != len(state.pending) or not together([stage for stage, _ in left]):
        return None
    state.pending.clear()
    state.under_way += 1
    first, *others = (state.bundle(stage, numbers) for stage, numbers in left)
    return first.followed_by(others)
