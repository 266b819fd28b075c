"""The figure of a sweep."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from volengine.core.colours import colour_of
from volengine.ops.figures import Trace, traces
from volengine.tasks.sweep.compare import Swept

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_LINES = 8
"""Further lines of a panel are grey and have no name."""


def figure_of(swept: Swept, *, scored: bool) -> Figure:
    """Draw a panel for each feature: precision against recall, or without scores the number of picks.

    A line joins the settings that differ only in the last of the varied fields.

    Parameters
    ----------
    swept
        What the settings have found.
    scored
        Whether there are scores.
    """
    *others, last = swept.names
    lines: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in swept.rows:
        lines.setdefault((row["feature"], ", ".join(f"{name}={row[name]}" for name in others)), []).append(row)
    names = list(dict.fromkeys(name for _, name in lines))
    values = list(dict.fromkeys(row[last] for row in swept.rows))
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    drawn = []
    for (feature, name), rows in lines.items():
        known = [row for row in rows if not scored or math.isfinite(row["precision"] + row["recall"])]
        if scored:
            x, y = [row["recall"] for row in known], [row["precision"] for row in known]
        else:
            x = [float(row[last]) if numbers else values.index(row[last]) for row in known]
            y = [float(row["picks"]) for row in known]
        number = names.index(name)
        marks = [k for k, row in enumerate(known) if row["setting"] == swept.best]
        shown = number < MOST_LINES
        colour = colour_of(number) if shown else (170, 170, 170)
        drawn.append(Trace(feature, name if shown else "", x, y, colour, marks[0] if marks else None))
    ticks = {} if scored or numbers else {float(k): str(v) for k, v in enumerate(values)}
    across, up = ("Recall", "Precision") if scored else (last, "Picks")
    return traces(drawn, across, up, ticks=ticks, unit_square=scored)
