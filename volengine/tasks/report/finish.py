"""The last call of a plan of ``report``: write the index."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from volengine.core.errors import FormatError, InputError
from volengine.core.json_text import parse_json
from volengine.core.text import counted
from volengine.engine.plan import Made, Plan
from volengine.tasks.report.description import INDEX, MARKER, ROWS, Row, Shown, there
from volengine.tasks.report.index import index_text
from volengine.tasks.report.page import facts_of, with_sum, write_page


def write_index(plan: Plan, tables: Any, stage: str, out: str, of: str, run: Mapping[str, Any]) -> Made:
    """Write the page of all tomograms; the engine calls this when all of their pages are made.

    Parameters
    ----------
    plan
        The plan, whose stage names the tomograms.
    tables
        ``tables(name)`` returns the tables of a stage, by block number.
    stage
        Name of the stage that has made the pages.
    out
        Folder of the report.
    of
        What the report is of.
    run
        What the last run says of itself.

    Returns
    -------
    Made
        The file, and what is in it.
    """
    rows = [row_in(table) for table in tables(stage).values()]
    path = Path(out) / INDEX
    if (Path(out) / ROWS).exists():
        rows_in(Path(out) / ROWS)  # refuses a file of somebody else
    known = facts_of(path)
    if known and known.get("volengine-of") != of:
        raise InputError(f"{path}: is the report of something else ({known.get('volengine-of')}); give another --out.")
    write_new(path, with_sum(index_text(rows, run, of)))
    params = plan.stage(stage).params
    shown = [Shown.from_json(one) for one in params["shown"]]
    write_new(Path(out) / ROWS, rows_text(rows, of, there(shown, params["recipe"], of, Path(out))))
    made = sum(row.page for row in rows)
    bad = [row.name for row in rows if row.problem]
    said = f"{path}: {counted(made, 'page')}"
    return Made((), (said + (f", {len(bad)} with something missing or damaged: {', '.join(bad[:5])}" if bad else ""),))


def row_in(table: Mapping[str, Any]) -> Row:
    """The row of the index in the table of a unit."""
    row = Row.from_text(table["row"].tobytes().decode())
    if row is None:
        raise FormatError("The table of a page holds no row of the index; run the same command again.")
    return row


def rows_text(rows: Sequence[Row], of: str, after: str) -> str:
    """The rows for programs, as JSON; ``after``: digest of what was there when all pages were written."""
    found = {"generator": MARKER, "of": of, "there": after, "tomograms": [asdict(row) for row in rows]}
    return json.dumps(found, indent=1) + "\n"


def rows_in(path: Path) -> tuple[tuple[Row, ...], str]:
    """The rows that :func:`rows_text` has written, and the digest.

    Raises
    ------
    FormatError
        The file was not written by ``volengine report``, or is damaged.
    """
    found = parse_json(path.read_bytes(), str(path))
    if not isinstance(found, dict) or found.get("generator") != MARKER:
        raise FormatError(f"{path}: was not written by volengine report. Rename it, or give another --out.")
    rows = [Row.from_text(json.dumps(one)) for one in found.get("tomograms", [])]
    if any(row is None for row in rows):
        raise FormatError(f"{path}: is damaged; remove it and call volengine report again.")
    return tuple(row for row in rows if row is not None), str(found.get("there", ""))


def write_new(path: Path, text: str) -> None:
    """Write a file, unless it says the same already."""
    if not path.exists() or path.read_bytes() != text.encode():
        write_page(path, text)
