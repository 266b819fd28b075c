"""The tables of curves on surfaces: Ripley's functions with envelopes, and concentrations by a value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from volengine.ops.surfaces.concentration import interval
from volengine.ops.surfaces.envelopes import band, deviation
from volengine.ops.surfaces.ripley import RipleySums
from volengine.tasks.stats.surface_measure import Binned, Measured, Pair
from volengine.tasks.stats.surface_recipe import SurfaceStatsRecipe
from volengine.tasks.stats.surface_tomograms import (
    NAN,
    NM2_PER_UM2,
    Row,
    SurfacedTomogram,
    half_of,
    place_of,
    seed_of,
    share,
    surfaces_of,
)

Floats = NDArray[np.float64]


def ripley_rows(t: SurfacedTomogram, m: Measured, recipe: SurfaceStatsRecipe) -> Iterator[Row]:
    """Ripley's functions of each pair of classes on one surface, a row for each ring."""
    for (a, b), sums in m.ripley.items():
        for row in _curve(sums, m.simulated.get((a, b)), recipe.radii):
            yield {**place_of(t, m), "class": a, "to": b, **row}


def ripley_pooled(
    group: str, members: Sequence[SurfacedTomogram], pair: Pair, recipe: SurfaceStatsRecipe
) -> Iterator[Row]:
    """The same of all surfaces of a group together, with intervals; nothing if no surface has particles."""
    some = [m for m in surfaces_of(members) if pair in m.ripley]
    if not some:
        return
    parts = [m.ripley[pair] for m in some]
    expecting = [m for m in some if m.ripley[pair].expected.any()]  # the others add nothing
    complete = bool(expecting) and all(pair in m.simulated for m in expecting)
    total = RipleySums.total(m.simulated[pair] for m in expecting) if complete else None
    sums = np.stack([np.stack([p.counted, p.expected]) for p in parts])
    radii, seed = recipe.radii, seed_of(recipe, group, *pair, "ripley")
    k_low, k_high = interval(sums, lambda s: RipleySums(s[0], s[1]).k, recipe.resamples, seed)
    l_low, l_high = interval(sums, lambda s: RipleySums(s[0], s[1]).l(radii), recipe.resamples, seed)
    for i, row in enumerate(_curve(RipleySums.total(parts), total, radii)):
        yield {
            "group": group,
            "class": pair[0],
            "to": pair[1],
            "surfaces": len(some),
            **row,
            "k_low": float(k_low[i]),
            "k_high": float(k_high[i]),
            "l_nm_low": float(l_low[i]),
            "l_nm_high": float(l_high[i]),
        }


def _curve(sums: RipleySums, simulated: RipleySums | None, radii: Floats) -> Iterator[Row]:
    """The rows of a curve: a ring each, with envelopes."""
    values = {"o": sums.o, "k": sums.k, "l_nm": sums.l(radii)}
    nothing = np.full(len(radii), np.nan)
    bands = dict.fromkeys(values, (nothing, nothing))
    p = critical = NAN
    if simulated is not None and np.any(simulated.expected):
        chance = {"o": simulated.o, "k": simulated.k, "l_nm": simulated.l(radii)}
        bands = {name: band(curves) for name, curves in chance.items()}
        test = deviation(values["l_nm"], chance["l_nm"])
        p, critical = test.p, test.critical
    for i, radius in enumerate(radii.tolist()):
        row: Row = {
            "from_nm": float(radii[i - 1]) if i else 0.0,
            "to_nm": radius,
            "counted": int(sums.counted[i]),
            "expected": float(sums.expected[i]),
        }
        for name, curve in values.items():
            row |= {name: float(curve[i])}
            row |= {f"{name}_chance_low": float(bands[name][0][i]), f"{name}_chance_high": float(bands[name][1][i])}
        yield {**row, "l_nm_global": critical, "p": p}


def binned_rows(m: Measured, names: Sequence[str], recipe: SurfaceStatsRecipe) -> Iterator[Row]:
    """Concentrations on one surface, a row for each class of a value."""
    for by, found in _binned(m):
        for name in names:
            if name not in found.counts:
                continue
            for k in range(len(found.areas)):
                area = float(found.areas[k]) / NM2_PER_UM2 * half_of(recipe)
                count = int(found.counts[name][k])
                yield {
                    "class": name,
                    "by": by,
                    "low": float(found.levels[k]),
                    "high": float(found.levels[k + 1]),
                    "area_um2": area,
                    "objects": count,
                    "per_um2": share(count, area),
                }


def _binned(m: Measured) -> Iterator[tuple[str, Binned]]:
    yield from ((f"distance to {name} (nm)", found) for name, found in m.by_class.items())
    yield from m.by_column.items()


def binned_pooled(
    group: str, members: Sequence[SurfacedTomogram], names: Sequence[str], recipe: SurfaceStatsRecipe
) -> Iterator[Row]:
    """The same of all surfaces of a group together, with intervals."""
    every = [dict(_binned(m)) for m in surfaces_of(members)]
    for by in dict.fromkeys(by for one in every for by in one):
        for name in names:
            some = [one[by] for one in every if by in one and name in one[by].counts]
            if not some:
                continue
            parts = np.stack([np.stack([b.counts[name], b.areas / NM2_PER_UM2 * half_of(recipe)]) for b in some])
            low, high = interval(parts, _each_ratio, recipe.resamples, seed_of(recipe, group, by, name))
            count, area = parts.sum(axis=0)
            for k in range(len(count)):
                yield {
                    "group": group,
                    "class": name,
                    "by": by,
                    "low": float(some[0].levels[k]),
                    "high": float(some[0].levels[k + 1]),
                    "area_um2": float(area[k]),
                    "objects": int(count[k]),
                    "per_um2": share(float(count[k]), float(area[k])),
                    "per_um2_low": float(low[k]),
                    "per_um2_high": float(high[k]),
                }


def _each_ratio(sums: Floats) -> Floats:
    found: Floats = np.divide(sums[0], sums[1], out=np.full(sums.shape[1], np.nan), where=sums[1] > 0)
    return found
