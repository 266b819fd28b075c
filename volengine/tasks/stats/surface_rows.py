"""The tables of ``stats --surface``: for each surface, and pooled with bootstrap intervals over surfaces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from volengine.ops.surfaces.concentration import interval
from volengine.ops.surfaces.nearest import angles_between, turns
from volengine.tasks.stats.groups import EVERY
from volengine.tasks.stats.surface_columns import SPREAD
from volengine.tasks.stats.surface_curves import binned_pooled, binned_rows, ripley_pooled, ripley_rows
from volengine.tasks.stats.surface_measure import Measured, OnSurface, Pair
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


def surface_tables(
    tomograms: Sequence[SurfacedTomogram], recipe: SurfaceStatsRecipe, *, grouped: bool
) -> dict[str, Sequence[Row]]:
    """All tables; with ``grouped`` also pooled rows for each group."""
    groups = [EVERY, *(sorted({t.group for t in tomograms}) if grouped else ())]
    members = {g: [t for t in tomograms if g in (EVERY, t.group)] for g in groups}
    names = list(tomograms[0].classes)
    tables: dict[str, Sequence[Row]] = {
        "surfaces": [row for t in tomograms for m in t.measured for row in _surface_rows(t, m, names, recipe)],
        "surfaces_pooled": [_pooled_row(g, members[g], name, recipe) for g in groups for name in names],
        "surface_objects": [row for t in tomograms for name in names for row in _object_rows(t, name)],
        "surface_neighbours": [row for t in tomograms for m in t.measured for row in _neighbour_rows(t, m, recipe)],
        "surface_neighbours_pooled": [
            row for g in groups for a in names for b in names for row in _ranks(g, members[g], (a, b), recipe)
        ],
    }
    if recipe.ripley_nm:
        tables["ripley"] = [row for t in tomograms for m in t.measured for row in ripley_rows(t, m, recipe)]
        tables["ripley_pooled"] = [
            row for g in groups for a in names for b in names for row in ripley_pooled(g, members[g], (a, b), recipe)
        ]
    if recipe.by_class or recipe.by_column:
        tables["concentration"] = [
            {**place_of(t, m), **row} for t in tomograms for m in t.measured for row in binned_rows(m, names, recipe)
        ]
        tables["concentration_pooled"] = [row for g in groups for row in binned_pooled(g, members[g], names, recipe)]
    if recipe.contact_nm:
        tables["contacts"] = [{"tomogram": t.name, "group": t.group, **row} for t in tomograms for row in t.contacts]
    return tables


def _counted(m: Measured, recipe: SurfaceStatsRecipe) -> float:
    """Area that counts, nm²; half of it where the surface goes around a slab."""
    return m.surface.kept_area * half_of(recipe)


def _kept(m: Measured, name: str) -> int:
    return int(m.points[name].kept.sum())


def _nearest(m: Measured, pair: Pair, rank: int = 0) -> Floats:
    """Distances of the particles that count to their neighbours of a rank, as far as they have one."""
    if pair not in m.neighbours:
        return np.zeros(0)
    found = m.neighbours[pair].distance[m.points[pair[0]].kept, rank]
    known: Floats = found[np.isfinite(found)]
    return known


def spread(values: Floats) -> Row:
    """Mean, sample standard deviation, median, least and largest; NaN where they are not defined."""
    if not len(values):
        return dict.fromkeys(SPREAD, NAN)
    sd = float(values.std(ddof=1)) if len(values) > 1 else NAN
    found = (float(values.mean()), sd, float(np.median(values)), float(values.min()), float(values.max()))
    return dict(zip(SPREAD, found, strict=True))


def _near_row(values: Floats) -> Row:
    found = spread(values)
    return {f"nearest_{name}": found[name] for name in ("mean_nm", "sd_nm", "median_nm")}


def _clusters_row(measured: Sequence[Measured], name: str) -> Row:
    some = [m.clusters[name] for m in measured if name in m.clusters]
    sizes = np.concatenate([np.zeros(0, np.int64), *(one.sizes for one in some)])
    total = sum(len(one.label) for one in some)
    return {
        "clusters": len(sizes),
        "clustered": int(sizes.sum()),
        "clustered_share": float(sizes.sum()) / total if total else NAN,
        "cluster_size_mean": float(sizes.mean()) if len(sizes) else NAN,
        "cluster_size_max": int(sizes.max(initial=0)),
    }


def _surface_rows(t: SurfacedTomogram, m: Measured, names: Sequence[str], recipe: SurfaceStatsRecipe) -> Iterator[Row]:
    area = _counted(m, recipe)
    for name in names:
        one = m.points[name]
        kept = one.kept
        yield {
            **place_of(t, m),
            "class": name,
            "closed": int(m.surface.closed),
            "surface_um2": m.surface.area / NM2_PER_UM2,
            "counted_um2": area / NM2_PER_UM2,
            "objects": _kept(m, name),
            "at_edge": int((~kept).sum()),
            "front": int((one.signed_nm[kept] >= 0).sum()),
            "back": int((one.signed_nm[kept] < 0).sum()),
            "per_um2": share(_kept(m, name) * NM2_PER_UM2, area),
            "distance_mean_nm": float(one.signed_nm[kept].mean()) if kept.any() else NAN,
            "occupied_share": _occupied(m, name, recipe),
            **_near_row(_nearest(m, (name, name))),
            **_clusters_row([m], name),
        }


def _occupied(m: Measured, name: str, recipe: SurfaceStatsRecipe) -> float:
    # sums of areas in another order may differ in the last digits
    part = min(m.occupied.get(name, 0.0), m.surface.kept_area)
    return share(part, m.surface.kept_area) if recipe.occupancy_nm else NAN


def _pooled_row(group: str, members: Sequence[SurfacedTomogram], name: str, recipe: SurfaceStatsRecipe) -> Row:
    every = surfaces_of(members)
    counts = np.array([_kept(m, name) for m in every], float)
    areas = np.array([_counted(m, recipe) for m in every]) / NM2_PER_UM2
    occupied = np.array([m.occupied.get(name, 0.0) for m in every]) / NM2_PER_UM2 * half_of(recipe)
    near = [_nearest(m, (name, name)) for m in every]
    sums = np.array([[float(d.sum()), len(d)] for d in near])
    low, high = _interval(np.stack([counts, areas], 1), recipe, group, name, "per_um2")
    occupied_low, occupied_high = _interval(np.stack([occupied, areas], 1), recipe, group, name, "occupied")
    near_low, near_high = _interval(sums, recipe, group, name, "nearest")
    states = np.concatenate([t.state[name] for t in members])
    return {
        "group": group,
        "class": name,
        "surfaces": len(every),
        "surfaces_with": int((counts > 0).sum()),
        "counted_um2": float(areas.sum()),
        "objects": int(counts.sum()),
        "at_edge": int((states == "edge").sum()),
        "other_side": int((states == "other side").sum()),
        "far": int((states == "far").sum()),
        "per_um2": share(float(counts.sum()), float(areas.sum())),
        "per_um2_low": low,
        "per_um2_high": high,
        "occupied_share": share(float(occupied.sum()), float(areas.sum())) if recipe.occupancy_nm else NAN,
        "occupied_share_low": occupied_low if recipe.occupancy_nm else NAN,
        "occupied_share_high": occupied_high if recipe.occupancy_nm else NAN,
        **_near_row(np.concatenate(near)),
        "nearest_mean_nm_low": near_low,
        "nearest_mean_nm_high": near_high,
        **_clusters_row(every, name),
    }


def _interval(parts: Floats, recipe: SurfaceStatsRecipe, *what: str) -> tuple[float, float]:
    """Interval of the ratio of two sums."""
    low, high = interval(parts, _ratio, recipe.resamples, seed_of(recipe, *what))
    return float(low), float(high)


def _ratio(sums: Floats) -> Floats:
    return np.asarray(sums[0] / sums[1] if sums[1] else NAN)


def _object_rows(t: SurfacedTomogram, name: str) -> Iterator[Row]:
    objects = t.classes[name].objects
    known: dict[int, Row] = {}
    for m in t.measured:
        one = m.points[name]
        inner = np.cumsum(one.kept) - 1
        for k, row in enumerate(one.row.tolist()):
            z, y, x = one.place_nm[k].tolist()
            near = m.neighbours[name, name].distance[k, 0] if (name, name) in m.neighbours else NAN
            clusters = m.clusters.get(name)
            counted = bool(one.kept[k]) and clusters is not None
            known[row] = {
                "set": m.surface.set,
                "surface": m.surface.number,
                "z_nm": z,
                "y_nm": y,
                "x_nm": x,
                "distance_nm": float(one.signed_nm[k]),
                "nearest_nm": float(near) if counted else NAN,
                "cluster": int(clusters.label[inner[k]]) if counted and clusters is not None else 0,
                "core": int(clusters.core[inner[k]]) if counted and clusters is not None else 0,
            }
    nothing = {"set": "", "surface": "", "distance_nm": NAN, "nearest_nm": NAN, "cluster": 0, "core": 0}
    for k in range(len(objects)):
        z, y, x = objects.position_nm[k].tolist()
        row = known.get(k) or {**nothing, "z_nm": z, "y_nm": y, "x_nm": x}
        yield {"tomogram": t.name, "class": name, "object": k + 1, "state": str(t.state[name][k]), **row}


def _neighbour_rows(t: SurfacedTomogram, m: Measured, recipe: SurfaceStatsRecipe) -> Iterator[Row]:
    for (a, b), found in m.neighbours.items():
        one, other = m.points[a], m.points[b]
        of, rank = np.nonzero((found.index >= 0) & one.kept[:, None])
        to = found.index[of, rank]
        angles = _angles(one, other, of, to, recipe)
        for k in range(len(of)):
            yield {
                "tomogram": t.name,
                "set": m.surface.set,
                "surface": m.surface.number,
                "class": a,
                "object": int(one.row[of[k]]) + 1,
                "to": b,
                "rank": int(rank[k]) + 1,
                "neighbour": int(other.row[to[k]]) + 1,
                "distance_nm": float(found.distance[of[k], rank[k]]),
                **{name: float(values[k]) for name, values in angles.items()},
            }


def _angles(
    one: OnSurface,
    other: OnSurface,
    of: NDArray[np.int64],
    to: NDArray[np.int64],
    recipe: SurfaceStatsRecipe,
) -> dict[str, Floats]:
    """The angles of pairs: between the surface's normals; with orientations, between these."""
    empty = np.full(len(of), np.nan)
    found = {"bend_deg": angles_between(one.normal[of], other.normal[to])}
    found |= {"turn_deg": empty, "bearing_deg": empty, "angle_deg": empty}
    if one.euler is not None and other.euler is not None and len(of):
        n = len(one)
        both = turns(
            np.concatenate([one.place_nm, other.place_nm]),
            np.concatenate([one.normal, other.normal]),
            np.concatenate([one.euler, other.euler]),
            of,
            to + n,
            c2=recipe.c2,
        )
        found |= {"turn_deg": both.turn, "bearing_deg": both.bearing, "angle_deg": both.whole}
    return found


def _ranks(group: str, members: Sequence[SurfacedTomogram], pair: Pair, recipe: SurfaceStatsRecipe) -> Iterator[Row]:
    for rank in range(recipe.neighbours):
        near = [_nearest(m, pair, rank) for m in surfaces_of(members)]
        sums = np.array([[float(d.sum()), len(d)] for d in near])
        low, high = _interval(sums, recipe, group, *pair, f"rank {rank}")
        values = np.concatenate(near)
        yield {
            "group": group,
            "class": pair[0],
            "to": pair[1],
            "rank": rank + 1,
            "objects": len(values),
            **spread(values),
            "mean_nm_low": low,
            "mean_nm_high": high,
        }
