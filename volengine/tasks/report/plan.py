"""Planning ``report``: a stage whose units make the page of a tomogram each, and the call that writes the index."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from volengine.core.digest import digest_of
from volengine.core.errors import InputError
from volengine.core.tiling import Tiling
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.plan import Call, Plan
from volengine.engine.stage import Stage, kernel_bytes
from volengine.tasks.report.description import INDEX, PAGES, ROWS, THUMBS, Shown, page_name
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
    """

    shown: tuple[Shown, ...]
    of: str
    run: Mapping[str, Any] = field(default_factory=dict)
    kept_bytes: int = 0


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
            "there": _there(source, Path(where)),
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


def _there(source: ReportSource, out: Path) -> str:
    """Digest of what is there: when nothing has changed since the last report, no unit is run again.

    Else all units are, and each finds out whether its page still shows what there is.
    """
    stamps = [_stamp(out / INDEX), _stamp(out / ROWS)]
    for one in source.shown:
        name = page_name(one.name)
        stamps += [_stamp(out / PAGES / f"{name}.html"), _stamp(out / THUMBS / f"{name}.webp")]
        results = (
            [f"{one.plan}/finished.json"] if one.plan else [one.tomogram, *one.predictions, *one.labels, *one.picks]
        )
        stamps += [_stamp(Path(path.partition("#")[0])) for path in results if path]
    return digest_of(stamps)


def _stamp(path: Path) -> list[int]:
    try:
        found = path.stat()
    except OSError:
        return []
    return [found.st_mtime_ns, found.st_size]
