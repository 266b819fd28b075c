"""The figures of ``stats --surface``, and its tables as STAR."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from volengine.core.colours import colour_of
from volengine.ops.figures import Curve, Series, curves, dots, figure_files, shares
from volengine.tasks.stats.recipe import StatsRecipe
from volengine.tasks.stats.surface import SurfaceStats
from volengine.tasks.stats.surface_columns import SURFACE_COLUMNS
from volengine.tasks.stats.surface_recipe import SurfaceStatsRecipe
from volengine.tasks.stats.surface_tomograms import Row

MOST_PANELS = 9
"""Pairs of classes in the figure of Ripley's function."""


def surface_files(found: SurfaceStats, recipe: SurfaceStatsRecipe, stats_recipe: StatsRecipe) -> dict[str, bytes]:
    """The figures ``surface_density``, ``surface_nearest`` and ``ripley``, and STAR files: their contents, by name."""
    files: dict[str, bytes] = {}
    if stats_recipe.plots:
        files |= {
            f"{name}.{kind}": data
            for name, figure in _figures(found, recipe, stats_recipe).items()
            for kind, data in figure_files(figure).items()
        }
    if recipe.star:
        files |= {f"{name}.star": star(name, rows).encode() for name, rows in found.tables.items()}
    return files


def _figures(found: SurfaceStats, recipe: SurfaceStatsRecipe, stats_recipe: StatsRecipe) -> dict[str, Any]:
    rows = found.tables["surfaces"]
    groups = sorted({row["group"] for row in rows})
    names = list(dict.fromkeys(row["class"] for row in rows))
    density, near = [], []
    for k, name in enumerate(names):
        for number, group in enumerate(groups):
            mine = [r["per_um2"] for r in rows if r["class"] == name and r["group"] == group]
            density.append(Series(group, name, np.array([v for v in mine if math.isfinite(v)]), colour_of(number)))
        distance = [
            r["distance_nm"]
            for r in found.tables["surface_neighbours"]
            if r["class"] == r["to"] == name and r["rank"] == 1
        ]
        near.append(Series(name, name, np.array(distance, float), colour_of(k)))
    mark = (stats_recipe.eps_nm, f"cluster radius, {stats_recipe.eps_nm:g} nm")
    figures = {
        "surface_density": dots(density, "Particles per µm² of surface"),
        "surface_nearest": shares(near, "Distance along the surface to the nearest (nm)", mark),
    }
    if found.tables.get("ripley_pooled"):
        figures["ripley"] = curves(
            _panels(found.tables["ripley_pooled"]), "Distance along the surface (nm)", "L - r (nm)"
        )
    return figures


def _panels(rows: Sequence[Row]) -> list[Curve]:
    pairs = list(dict.fromkeys((r["class"], r["to"]) for r in rows if r["group"] == "all"))
    panels = []
    for k, (a, b) in enumerate(pairs[:MOST_PANELS]):
        mine = [r for r in rows if r["group"] == "all" and (r["class"], r["to"]) == (a, b)]
        x, y, low, high = (
            np.array([r[name] for r in mine], float)
            for name in ("to_nm", "l_nm", "l_nm_chance_low", "l_nm_chance_high")
        )
        p = mine[0]["p"]
        said = f", p = {p:.2g}" if math.isfinite(p) else ""
        panels.append(Curve(f"{a} to {b}{said}" if a != b else f"{a}{said}", x, y, low, high, colour_of(k)))
    return panels


def star(name: str, rows: Sequence[Row]) -> str:
    """A table as STAR: texts with blanks are quoted, an empty text is ``""``, and what is not known is ``nan``."""
    columns = SURFACE_COLUMNS[name]
    text = io.StringIO()
    text.write(f"\ndata_{name}\n\nloop_\n")
    text.writelines(f"_{column} #{k}\n" for k, column in enumerate(columns, start=1))
    for row in rows:
        text.write("\t".join(_cell(row[column]) for column in columns) + "\n")
    text.write("\n")
    return text.getvalue()


def _cell(value: Any) -> str:
    if isinstance(value, str):
        plain = value and not any(c.isspace() or c in "\"'#" for c in value) and value[0] not in "_$[];"
        quote = "'" if '"' in value else '"'
        return value if plain else f"{quote}{value}{quote}"
    return repr(value)
