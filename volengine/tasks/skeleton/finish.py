"""The last calls of a plan of ``skeleton``: say what was found, and write the lines."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.atomic import write_atomic
from volengine.core.units import NM_TO_ANGSTROM as NM
from volengine.core.volume import Volume
from volengine.engine.plan import Made, Plan
from volengine.io.amira.graph_write import write_spatial_graph
from volengine.tasks.common.cell_tables import of_prefix
from volengine.tasks.common.named import feature_of
from volengine.tasks.common.readings import reading_line
from volengine.tasks.skeleton.description import AREA_UNITS


def say_skeleton(
    plan: Plan, tables: Any, stage: str, url: str, layers: str, volume: Mapping[str, Any], decision: str
) -> Made:
    """Say how large the skeleton is; the engine calls this when all stages are done.

    Parameters
    ----------
    plan
        The plan; not used.
    tables
        ``tables(name)`` returns the tables of a stage, by block number.
    stage
        Name of the stage that wrote the skeleton.
    url
        The store.
    layers
        As in the recipe; a ridge has no area.
    volume, decision
        What was read, and the stage that found out whether it is a mask.
    """
    from volengine.ops.skeleton import DEEPEST

    parts = list(tables(stage).values())
    total = {name: int(sum(int(part[name][0]) for part in parts)) for name in ("voxels", "area", "deep")}
    area = f", about {total['area'] / AREA_UNITS / NM**2:.5g} nm2" if layers == "one" else ""
    said = [*_read(volume, decision, tables), f"{url}: {total['voxels']} voxels{area}"]
    if total["deep"]:
        said.append(
            f"{total['deep']} voxels are more than {DEEPEST - 4} voxels inside of the object and have no skeleton; "
            "coarser voxels (volengine convert, --levels) bring it nearer to its faces"
        )
    return Made(said=tuple(said))


def _read(volume: Mapping[str, Any], decision: str, tables: Any) -> list[str]:
    source = Volume.from_json(dict(volume))
    return reading_line(feature_of(source) or source.name, source, tables, decision)


def write_lines(plan: Plan, tables: Any, stage: str, out: str, volume: Mapping[str, Any], decision: str) -> Made:
    """Write the lines, their points, and the graph of both; the engine calls this when all stages are done.

    Parameters
    ----------
    plan, tables, stage, decision
        As of :func:`say_skeleton`.
    out
        The table of lines (``NAME.csv``); ``NAME.points.csv`` and ``NAME.am`` are written beside it.
    volume
        The volume that was read, whose origin positions have.
    """
    source = Volume.from_json(dict(volume))
    (found,) = tables(stage).values()
    lines, points = of_prefix("line.", found), of_prefix("point.", found)
    base = Path(out.removesuffix(".csv"))
    written = (out, f"{base}.points.csv", f"{base}.am")
    place = points.pop("place")
    at = place * np.asarray(source.voxel_size) + np.asarray(source.origin)
    tangent = points.pop("tangent")
    more = {f"{axis}_vox": place[:, k] for k, axis in enumerate("zyx")}
    more |= {f"{axis}_a": at[:, k] for k, axis in enumerate("zyx")}
    more |= {f"t{axis}": tangent[:, k] for k, axis in enumerate("zyx")}
    write_atomic(written[0], _csv(lines))
    write_atomic(written[1], _csv({**points, **more}))
    _write_graph(written[2], lines, points["line"], at)
    ends = np.concatenate([lines["begin_lines"], lines["end_lines"]])
    nodes = np.concatenate([lines["begin_node"], lines["end_node"]])
    branches = len(np.unique(nodes[ends > 2]))
    said = (
        f"{out}: {len(lines['line'])} lines of {float(lines['length_nm'].sum()):.5g} nm together, "
        f"{int((ends == 1).sum())} free ends, {branches} branches"
    )
    return Made(written, (*_read(volume, decision, tables), said))


def _csv(columns: Mapping[str, Any]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    for row in zip(*(column.tolist() for column in columns.values()), strict=True):
        table.writerow([f"{cell:.9g}" if isinstance(cell, float) else cell for cell in row])
    return text.getvalue()


def _write_graph(file: str, lines: Mapping[str, Any], owner: Any, at: Any) -> None:
    """The spatial graph: a vertex for each node, at the mean of the ends that meet there, and for closed lines one."""
    edges, paths = [], []
    places: dict[int, list[Any]] = {}
    closed = int(max(lines["begin_node"].max(initial=0), lines["end_node"].max(initial=0)))
    for row, number in enumerate(lines["line"].tolist()):
        path = at[owner == number]
        begin, end = int(lines["begin_node"][row]), int(lines["end_node"][row])
        if not begin:
            closed += 1
            begin = end = closed
            path = np.concatenate([path, path[:1]])
        places.setdefault(begin, []).append(path[0])
        places.setdefault(end, []).append(path[-1])
        edges.append((begin, end))
        paths.append(path)
    order = {node: k for k, node in enumerate(sorted(places))}
    vertices = np.array([np.mean(places[node], axis=0) for node in order]).reshape(-1, 3)
    joined = np.array([(order[a], order[b]) for a, b in edges], np.int64).reshape(-1, 2)
    whole = [np.concatenate([vertices[[a]], path, vertices[[b]]]) for (a, b), path in zip(joined, paths, strict=True)]
    columns = {"EDGE": {name: lines[name] for name in ("length_nm", "mean_curvature_per_nm")}}
    write_spatial_graph(file, vertices, joined, whole, columns)
