"""The page of all tomograms: what has failed first, then a gallery and a table that can be sorted and filtered."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from volengine.core.units import format_bytes
from volengine.core.volume import size_text
from volengine.core.yaml_recipes import yaml_text
from volengine.tasks.common.html import Page
from volengine.tasks.report.description import MARKER, PAGES, THUMBS, Row, page_name

MOST_FEATURES = 12
"""Features that have a column; of others the pages of the tomograms tell."""


def index_text(rows: Sequence[Row], run: Mapping[str, Any], of: str) -> str:
    """The page as HTML text, without its checksum.

    Parameters
    ----------
    rows
        The tomograms.
    run
        What the last run says of itself: ``command``, ``versions``, ``began``, ``wall_seconds``, ``options`` and
        ``recipe``; all of it may be missing.
    of
        What the report is of.
    """
    picks = Counter[str]()
    for row in rows:
        picks.update(row.picks)
    features = [name for name, _ in picks.most_common(MOST_FEATURES)]
    order = sorted(rows, key=lambda row: (row.state == "done", not row.problem, not row.warning, row.name))
    states = Counter(row.state for row in rows)
    numbers = [("tomogram" if len(rows) == 1 else "tomograms", f"{len(rows):,}")]
    numbers += [(state, f"{states[state]:,}") for state in ("failed", "unfinished") if states[state]]
    numbers += [(f"picks of {name}", f"{picks[name]:,}") for name in features]
    if any(row.seconds for row in rows):
        seconds = sum(row.seconds for row in rows)
        numbers.append(("of computing", f"{seconds:,.0f} s" if seconds < 3600 else f"{seconds / 3600:,.1f} h"))
    values = {
        "marker": MARKER,
        "of": of,
        "numbers": numbers,
        "failed": [row for row in order if row.state != "done" or row.problem or row.warning],
        "features": features,
        "tomograms": [_entry(row, features) for row in order],
        "command": str(run.get("command", "")),
        "when": _when(run),
        "versions": ", ".join(f"{name} {version}" for name, version in (run.get("versions") or {}).items()),
        "recipe": yaml_text(run["recipe"]) if run.get("recipe") else "",
    }
    return Page("report_index.html", values).render()


def _when(run: Mapping[str, Any]) -> str:
    if "began" not in run:
        return ""
    workers = (run.get("options") or {}).get("workers")
    took = f"{float(run['wall_seconds']):,.1f} s with {workers} workers"
    return f"The command that these pages follow began {run['began']} and took {took}."


def _entry(row: Row, features: Sequence[str]) -> dict[str, Any]:
    """A tomogram, in texts and in numbers to sort by."""
    name = page_name(row.name)
    cells: list[tuple[str, float]] = [
        (f"{row.picks[f]:,}" if f in row.picks else "-", row.picks.get(f, -1)) for f in features
    ]
    cells.append((f"{row.seconds:,.1f}" if row.seconds else "-", row.seconds))
    cells.append((format_bytes(row.peak_bytes) if row.peak_bytes else "-", row.peak_bytes))
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(row.finished)) if row.finished else "-"
    cells.append((when, round(row.finished)))
    cells.append((f"{row.notes}", row.notes))
    bad = "damaged" if row.problem and row.state == "done" else row.state
    said = ", ".join(f"{row.picks[f]:,} {f}" for f in features if f in row.picks)
    return {
        "name": row.name,
        "page": f"{PAGES}/{quote(name)}.html" if row.page else "",
        "thumb": f"{THUMBS}/{quote(name)}.webp" if row.thumb else "",
        "state": bad,
        "size": " x ".join(map(str, row.shape)),
        "voxel_size": size_text(row.voxel_size) if len(row.voxel_size) == 3 else "",
        "cells": cells,
        "said": said,
    }
