"""What the table of a set of surfaces says of all of them together."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def measured_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The columns of a set of surfaces: their number, their area, and means of what was measured, weighted by it.

    Parameters
    ----------
    rows
        A row for each surface, as in ``surfaces.csv``. Surfaces whose area is not known have no weight in the means:
        if there are any, ``without_area`` is their number, and the sum of areas is left out.

    >>> measured_of([{"area_nm2": 1.0, "thickness_nm_mean": 4.0}, {"area_nm2": 3.0, "thickness_nm_mean": 8.0}])
    {'surfaces': 2.0, 'area_nm2': 4.0, 'thickness_nm': 7.0}
    """
    found = {"surfaces": float(len(rows))}
    areas = [number_in(row.get("area_nm2")) for row in rows]
    unknown = sum(not math.isfinite(area) for area in areas)
    if unknown:
        found["without_area"] = float(unknown)
    elif rows:
        found["area_nm2"] = math.fsum(areas)
    for column in sorted({key for row in rows for key in row if key.endswith("_mean")}):
        pairs = [(area, number_in(row.get(column))) for area, row in zip(areas, rows, strict=True)]
        known = [(area, value) for area, value in pairs if area > 0 and math.isfinite(value)]
        if known:
            total = math.fsum(area for area, _ in known)
            found[column.removesuffix("_mean")] = math.fsum(area * value for area, value in known) / total
    return found


def number_in(value: Any) -> float:
    """The number in a cell of a table; NaN if there is none."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
