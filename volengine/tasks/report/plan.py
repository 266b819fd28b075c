"""Planning ``report``: a stage whose units make the page of a tomogram each, and the call that writes the index."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from volengine.core.errors import InputError
from volengine.core.tiling import Tiling
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Call, Plan
from volengine.engine.stage import Stage, kernel_bytes
from volengine.tasks.report.description import INDEX, ROWS, Shown
from volengine.tasks.report.recipe import ReportRecipe

NAME = "report"
_PAGE = "volengine.tasks.report.page_blocks:make_page"
_INDEX = "volengine.tasks.report.finish:write_index"


@dataclass(frozen=True)
class ReportSource:
    """What a report is about.

    Parameters
    ----------
    shown
        The tomograms.
    of
        The run folder, relative to the report's; or what else it is of.
    run
        What the last run says of itself: JSON values for the index.
    kept_bytes
        Memory that the workers keep from what they did before, bytes.
    asked
        What tells one call from another: each looks at all tomograms again.
    """

    shown: tuple[Shown, ...]
    of: str
    run: Mapping[str, Any] = field(default_factory=dict)
    kept_bytes: int = 0
    asked: int = field(default_factory=time.time_ns)


def plan_report(source: ReportSource, recipe: ReportRecipe, out: str, folder: PlanFolder, options: RunOptions) -> Plan:
    """Plan the pages of a report; reads nothing of the tomograms.

    Parameters
    ----------
    source
        The tomograms.
    recipe
        What their pages show.
    out
        Folder of the report.
    folder, options
        Not used.

    Raises
    ------
    InputError
        There is nothing to show.
    """
    if not source.shown:
        raise InputError(f"{out}: there is no tomogram to report on.")
    where = str(Path(out).absolute())
    pages = Stage(
        "pages",
        _PAGE,
        Tiling((len(source.shown), 1, 1), (1, 1, 1)),
        params={
            "shown": [one.to_json() for one in source.shown],
            "out": where,
            "recipe": recipe.to_json(),
            "of": source.of,
            "asked": source.asked,
        },
        emits=True,
        kernel_bytes=kernel_bytes(_PAGE),
        fixed_bytes=source.kept_bytes,
    )
    index = Call(
        _INDEX,
        {"stage": pages.name, "out": where, "of": source.of, "run": dict(source.run)},
        writes=(f"{where}/{INDEX}", f"{where}/{ROWS}"),
    )
    return Plan(NAME, (pages,), recipe={"report": recipe.to_json()}, finish=(index,))
