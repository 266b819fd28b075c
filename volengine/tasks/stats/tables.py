"""The tables of ``stats``, per tomogram and pooled, computed from the counted objects.

Pooled values are computed from the objects of all tomograms of a group together, and never from means of means: a
density is the sum of counts divided by the sum of volumes. Tomograms, classes and objects are sorted first, so that the
tables are the same, to the last digit, for every order of the inputs.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.csv_cells import guarded_row
from volengine.core.errors import InputError
from volengine.core.markup import facts_html, rows_html
from volengine.core.paths import PathLike, path_text
from volengine.core.text import table
from volengine.ops.stats_points import Clusters, cluster_table, dbscan, nearest
from volengine.tasks.common.own_files import OwnFiles
from volengine.tasks.stats.groups import EVERY
from volengine.tasks.stats.objects import NM3_PER_UM3, Objects, Tomogram
from volengine.tasks.stats.recipe import StatsRecipe
from volengine.tasks.stats.rows import ObjectColumns, ObjectRows
from volengine.tasks.stats.surface_columns import SURFACE_COLUMNS

Row = dict[str, Any]
Floats = NDArray[np.float64]

NAN = float("nan")

SHOWN = 20
"""Rows that a notebook shows."""
CHUNK_ROWS = 10_000
"""Rows of which text is made together."""

ALWAYS = ("classes", "pooled", "neighbours", "neighbours_pooled", "clusters", "objects")
"""Tables of every call."""

ON_SURFACES = tuple(name for name in SURFACE_COLUMNS if name.startswith("surface"))
"""Tables of every call with surfaces."""

FIGURES = ("counts", "nearest", "clusters")
"""Figures of every call with plots."""

NAMES = (*ALWAYS, "counting", *SURFACE_COLUMNS)
"""Names of the tables, and of their files."""

LONG = ("objects", "surface_objects", "surface_neighbours")
"""Tables with a row for each object, which ``stats.json`` does not hold."""


@dataclass(frozen=True, eq=False)
class ClassStats:
    """One class in one tomogram: its objects, their nearest-neighbour distances (nanometres) and their clusters."""

    objects: Objects
    nearest_nm: Floats
    clusters: Clusters

    @classmethod
    def of(cls, objects: Objects, recipe: StatsRecipe) -> ClassStats:
        """Compute the distances and clusters of the objects."""
        at = objects.position_nm
        return cls(objects, nearest(at), dbscan(at, recipe.eps_nm, recipe.min_points))


@dataclass(frozen=True, eq=False)
class Counted:
    """One tomogram with its group, and the statistics of every class that any tomogram has."""

    tomogram: Tomogram
    group: str
    classes: Mapping[str, ClassStats]

    @property
    def name(self) -> str:
        """The tomogram's name."""
        return self.tomogram.name


@dataclass(frozen=True)
class Stats:
    """The result of ``stats``.

    Parameters
    ----------
    tables
        For each table its rows, of names and values: ``classes``, ``pooled``, ``neighbours``, ``neighbours_pooled``,
        ``clusters``, ``objects`` (whose rows are made when they are asked for), with a truth ``counting``, and with
        surfaces those of :data:`volengine.tasks.stats.surface_columns.SURFACE_COLUMNS`. A value that is not known or
        not defined is NaN.
    facts
        What was counted, and the recipe.

    Examples
    --------
    >>> import volengine
    >>> found = volengine.stats("TS_01__ribosome.star")
    >>> [row["nearest_nm"] for row in found["objects"]]
    [18.4..., 18.4...]
    """

    tables: Mapping[str, Sequence[Row]]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Sequence[Row]:
        """The rows of a table."""
        return self.tables[name]

    def pooled(self, name: str, group: str = EVERY) -> Row:
        """The pooled row of a class."""
        return next(r for r in self["pooled"] if r["class"] == name and r["group"] == group)

    def _repr_html_(self) -> str:
        """Show the counts of all tomograms together, and the notes."""
        rows = [{name: row.get(name, "") for name in POOLED_TEXT} for row in self["pooled"]]
        return facts_html("stats", {"notes": " ".join(self.facts.get("notes", []))}) + rows_html(rows, SHOWN)

    def text(self) -> str:
        """A summary as plain text: counts, clusters, neighbours, the counting error, and notes on the inputs."""
        near = [r for r in self["neighbours_pooled"] if r["group"] == EVERY and r["objects"]]
        parts = [_text(self["pooled"], POOLED_TEXT)]
        if near:
            parts.append(_text(near, NEIGHBOURS_TEXT))
        if self.tables.get("counting"):
            parts.append(_text([r for r in self["counting"] if r["tomogram"] == EVERY], COUNTING_TEXT))
        if self.tables.get("surfaces_pooled"):
            parts.append(_text(self["surfaces_pooled"], SURFACES_TEXT))
        return "\n\n".join([*parts, *self.facts.get("notes", [])])

    def write(self, folder: PathLike, more: Mapping[str, bytes] | None = None, *, overwrite: bool = False) -> list[str]:
        """Write a CSV file for each table, and ``stats.json`` without :data:`LONG` ones.

        Files that an earlier call has written there, and this one does not, are removed.

        Parameters
        ----------
        folder
            The folder.
        more
            Further files, by their names: figures, tables in other formats.
        overwrite
            Replace files that ``stats`` has not written, or that were changed since.

        Returns
        -------
        list of str
            Sentences about files of an earlier call that were changed since, and are left as they are.

        Raises
        ------
        InputError
            A file is there that is not as an earlier call has written it.
        """
        own, tables = files_in(path_text(folder), overwrite), [name for name in NAMES if name in self.tables]
        own.begin([*(f"{name}.csv" for name in tables), *(more or {})])
        for name in tables:
            own.write(f"{name}.csv", _csv(self[name], COLUMNS[name]), durable=False)
        for name, data in (more or {}).items():
            own.write(name, data)
        short = {
            k: [{n: _plain(v) for n, v in r.items()} for r in rows] for k, rows in self.tables.items() if k not in LONG
        }
        return own.finish({**self.facts, **short})


def files_in(folder: str, overwrite: bool) -> OwnFiles:
    """The files of ``stats`` in a folder."""
    return OwnFiles(Path(folder), "stats.json", "stats", overwrite)


_SPREAD = ("mean", "sd", "median", "min", "max")
_NEAREST = ("nearest_mean_nm", "nearest_sd_nm", "nearest_median_nm")
_CLUSTERS = ("clusters", "clustered", "clustered_share", "cluster_size_mean", "cluster_size_max")
_SIZES = ("objects", "voxels", "volume_um3", "islands", "island_voxels")
_COUNT = ("found", "truth", "difference", "percent", "paired", "recall", "precision", "f1", "error_nm")
COLUMNS: dict[str, tuple[str, ...]] = {
    "classes": (
        *("tomogram", "group", "class", *_SIZES, "tomogram_um3", "per_um3", "volume_share"),
        *(*_NEAREST, *_CLUSTERS, "source"),
    ),
    "pooled": (
        *("group", "class", "tomograms", "tomograms_with", *_SIZES, "objects_mean", "objects_sd"),
        *("tomogram_um3", "per_um3", "per_um3_mean", "per_um3_sd", "volume_share"),
        *(*_NEAREST, "tomograms_with_clusters", *_CLUSTERS, "cluster_size_median"),
    ),
    "neighbours": ("tomogram", "group", "class", "to", "objects", *(f"{s}_nm" for s in _SPREAD)),
    "neighbours_pooled": ("group", "class", "to", "objects", *(f"{s}_nm" for s in _SPREAD)),
    "clusters": (
        *("tomogram", "group", "class", "cluster", "objects", "cores"),
        *("z_nm", "y_nm", "x_nm", "radius_of_gyration_nm"),
    ),
    "objects": (
        *("tomogram", "class", "object", "z_nm", "y_nm", "x_nm", "voxels", "volume_nm3"),
        *("nearest_nm", "cluster", "core"),
    ),
    "counting": ("tomogram", "class", *_COUNT),
    **SURFACE_COLUMNS,
}
"""The columns of each table; a table without rows has them, too."""

POOLED_TEXT = (
    *("group", "class", "tomograms", "tomograms_with", "objects", "voxels", "volume_um3", "per_um3"),
    *("nearest_median_nm", "clusters", "clustered_share", "cluster_size_mean"),
)
NEIGHBOURS_TEXT = ("group", "class", "to", "objects", "mean_nm", "sd_nm", "median_nm", "min_nm")
COUNTING_TEXT = ("class", *_COUNT)
SURFACES_TEXT = (
    *("group", "class", "surfaces", "objects", "counted_um2", "per_um2", "per_um2_low", "per_um2_high"),
    *("occupied_share", "nearest_mean_nm", "clusters", "clustered_share"),
)


def count_tomograms(
    tomograms: Iterable[Tomogram], recipe: StatsRecipe, groups: Mapping[str, str] | None = None
) -> list[Counted]:
    """Compute distances and clusters of every class in every tomogram; a class that a tomogram lacks has 0 objects.

    Raises
    ------
    InputError
        A tomogram has no group, no input has one of the recipe's classes, or there is no class at all.
    """
    ordered = sorted(tomograms, key=lambda t: t.name)
    known = sorted({name for t in ordered for name in t.classes})
    names = known if recipe.ids else sorted(recipe.classes) or known
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"--classes {unknown[0]}: no input has this class; there are {', '.join(known) or 'none'}.")
    if not names:
        raise InputError(
            f"Nothing is labelled in {', '.join(t.name for t in ordered[:8])}: there is no class to count."
        )
    missing = [t.name for t in ordered if groups is not None and t.name not in groups]
    if missing:
        raise InputError(f"The table of groups does not say the group of {', '.join(missing[:8])}.")
    none = Objects("", np.zeros((0, 3)), np.zeros(0, np.int64), np.zeros(0))
    return [
        Counted(
            t,
            "" if groups is None else groups[t.name],
            {name: ClassStats.of(t.classes.get(name, none), recipe) for name in names},
        )
        for t in ordered
    ]


def tables_of(counted: Sequence[Counted], *, grouped: bool) -> dict[str, Sequence[Row]]:
    """All tables except the counting error; with ``grouped`` also pooled rows for each group."""
    groups = [EVERY, *(sorted({c.group for c in counted}) if grouped else ())]
    members = {g: [c for c in counted if g in (EVERY, c.group)] for g in groups}
    pairs = {c.name: _pairs(c) for c in counted}
    return {
        "classes": tuple(_class_row(c, name) for c in counted for name in c.classes),
        "pooled": tuple(_pooled_row(g, members[g], name) for g in groups for name in counted[0].classes),
        "neighbours": tuple(
            {"tomogram": c.name, "group": c.group, "class": a, "to": b, **_spread(d)}
            for c in counted
            for (a, b), d in pairs[c.name].items()
        ),
        "neighbours_pooled": tuple(
            {"group": g, "class": a, "to": b, **_spread(np.concatenate([pairs[c.name][a, b] for c in members[g]]))}
            for g in groups
            for a, b in pairs[counted[0].name]
        ),
        "clusters": tuple(row for c in counted for name in c.classes for row in _cluster_rows(c, name)),
        "objects": ObjectRows(
            [
                ObjectColumns(c.name, name, one.objects, one.nearest_nm, one.clusters)
                for c in counted
                for name, one in c.classes.items()
            ]
        ),
    }


def _pairs(c: Counted) -> dict[tuple[str, str], Floats]:
    """For each pair of classes the distances (nm) from each object of the first to the nearest of the second."""
    found = {}
    for a, one in c.classes.items():
        for b, other in c.classes.items():
            d = one.nearest_nm if a == b else nearest(one.objects.position_nm, other.objects.position_nm)
            found[a, b] = d[np.isfinite(d)]
    return found


def _spread(distance: Floats) -> Row:
    """The number of distances, their mean, sample standard deviation, median, minimum and maximum."""
    n = len(distance)
    values = (
        [NAN] * 5
        if not n
        else [
            float(distance.mean()),
            float(distance.std(ddof=1)) if n > 1 else NAN,
            float(np.median(distance)),
            float(distance.min()),
            float(distance.max()),
        ]
    )
    return {"objects": n, **{f"{s}_nm": v for s, v in zip(_SPREAD, values, strict=True)}}


def _nearest_row(distance: Floats) -> Row:
    spread = _spread(distance[np.isfinite(distance)])
    return {f"nearest_{s}_nm": spread[f"{s}_nm"] for s in ("mean", "sd", "median")}


def _sizes_row(objects: Sequence[Objects]) -> Row:
    """Number and total size of objects; the size is NaN if that of any object is not known."""
    known = all((o.voxels >= 0).all() for o in objects)
    return {
        "objects": sum(map(len, objects)),
        "voxels": sum(int(o.voxels.sum()) for o in objects) if known else NAN,
        "volume_um3": sum(float(o.volume_nm3.sum()) for o in objects) / NM3_PER_UM3,
        "islands": sum(o.islands for o in objects),
        "island_voxels": sum(o.island_voxels for o in objects),
    }


def _clusters_row(found: Sequence[Clusters]) -> Row:
    sizes = np.concatenate([f.sizes for f in found])
    total, inside = sum(len(f.label) for f in found), int(sizes.sum())
    return {
        "clusters": len(sizes),
        "clustered": inside,
        "clustered_share": _share(inside, total),
        "cluster_size_mean": float(sizes.mean()) if len(sizes) else NAN,
        "cluster_size_max": int(sizes.max(initial=0)),
    }


def _class_row(c: Counted, name: str) -> Row:
    one = c.classes[name]
    sizes = _sizes_row([one.objects])
    volume = c.tomogram.volume_um3
    return {
        "tomogram": c.name,
        "group": c.group,
        "class": name,
        **sizes,
        "tomogram_um3": volume,
        "per_um3": _share(sizes["objects"], volume),
        "volume_share": _share(sizes["volume_um3"], volume),
        **_nearest_row(one.nearest_nm),
        **_clusters_row([one.clusters]),
        "source": one.objects.where,
    }


def _pooled_row(group: str, members: Sequence[Counted], name: str) -> Row:
    every = [c.classes[name] for c in members]
    sizes = _sizes_row([one.objects for one in every])
    counts = np.array([len(one.objects) for one in every], float)
    volumes = np.array([c.tomogram.volume_um3 for c in members])
    found = _clusters_row([one.clusters for one in every])
    cluster_sizes = np.concatenate([one.clusters.sizes for one in every])
    return {
        "group": group,
        "class": name,
        "tomograms": len(members),
        "tomograms_with": int(np.count_nonzero(counts)),
        **sizes,
        "objects_mean": float(counts.mean()),
        "objects_sd": _sd(counts),
        "tomogram_um3": float(volumes.sum()),
        "per_um3": _share(sizes["objects"], float(volumes.sum())),
        "per_um3_mean": float((counts / volumes).mean()),
        "per_um3_sd": _sd(counts / volumes),
        "volume_share": _share(sizes["volume_um3"], float(volumes.sum())),
        **_nearest_row(np.concatenate([one.nearest_nm for one in every])),
        "tomograms_with_clusters": sum(one.clusters.count > 0 for one in every),
        **found,
        "cluster_size_median": float(np.median(cluster_sizes)) if len(cluster_sizes) else NAN,
    }


def _cluster_rows(c: Counted, name: str) -> Iterable[Row]:
    one = c.classes[name]
    rows = cluster_table(one.objects.position_nm, one.clusters)
    for k in range(one.clusters.count):
        z, y, x = rows["centre"][k].tolist()
        yield {
            "tomogram": c.name,
            "group": c.group,
            "class": name,
            "cluster": int(rows["cluster"][k]),
            "objects": int(rows["points"][k]),
            "cores": int(rows["cores"][k]),
            "z_nm": z,
            "y_nm": y,
            "x_nm": x,
            "radius_of_gyration_nm": float(rows["radius_of_gyration"][k]),
        }


def _share(part: float, whole: float) -> float:
    return part / whole if whole else NAN


def _sd(values: Floats) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else NAN


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if math.isfinite(value) else "-"
    return str(value) or "-"


def _text(rows: Sequence[Row], columns: Sequence[str]) -> str:
    kept = [c for c in columns if c != "group" or any(r.get("group", EVERY) != EVERY for r in rows)]
    return table(kept, [[_shown(row[c]) for c in kept] for row in rows])


def _csv(rows: Iterable[Row], columns: Sequence[str]) -> Iterator[str]:
    """The text of a table, some rows at a time."""
    each = iter(rows)
    text = io.StringIO(newline="")
    csv.writer(text).writerow(guarded_row(columns))
    yield text.getvalue()
    while some := list(islice(each, CHUNK_ROWS)):
        text = io.StringIO(newline="")
        csv.writer(text).writerows(guarded_row("" if _plain(r[c]) is None else r[c] for c in columns) for r in some)
        yield text.getvalue()
