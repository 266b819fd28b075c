"""The last calls of a plan of ``skeleton``: say what was found, and write the lines."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.atomic import write_atomic
from volengine.core.text import counted
from volengine.core.units import NM_TO_ANGSTROM as NM
from volengine.core.volume import Volume
from volengine.engine.plan import Made, Plan
from volengine.io.amira.graph_write import write_spatial_graph
from volengine.ops.filaments import sheets_said, walls_said
from volengine.tasks.common.cell_tables import of_prefix
from volengine.tasks.common.named import feature_of
from volengine.tasks.common.readings import reading_line
from volengine.tasks.skeleton.description import AREA_UNITS, WALLS

AREA_RADIUS, AREA_WALL = 13, 3
"""Radius of curvature and thickness of the wall, voxels, from which areas of spheres are within 3 %."""
LEAST_STEP = 0.01
"""Points of a graph that are nearer to a vertex than this, angstrom, are the vertex."""


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
    area = ""
    if layers == "one" and total["voxels"]:
        area = f", about {total['area'] / AREA_UNITS / NM**2:.5g} nm2 (less exact where the surface bends within "
        area += f"{AREA_RADIUS} voxels or its wall is thinner than {AREA_WALL})"
    said = [*_read(volume, decision, tables), f"{url}: {counted(int(total['voxels']), 'voxel')}{area}"]
    if total["deep"]:
        deep = counted(int(total["deep"]), "voxel", "is", "are")
        said.append(
            f"{deep} more than {DEEPEST - 4} voxels inside of the object and without skeleton; "
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
    size, origin = np.asarray(source.voxel_size), np.asarray(source.origin)
    place, tangent = points.pop("place"), points.pop("tangent")
    ends = {name: lines.pop(name) * size + origin for name in ("begin", "end")}
    at = place * size + origin
    more = {f"{axis}_vox": place[:, k] for k, axis in enumerate("zyx")}
    more |= {f"{axis}_a": at[:, k] for k, axis in enumerate("zyx")}
    more |= {f"t{axis}": tangent[:, k] for k, axis in enumerate("zyx")}
    there = {f"{name}_{axis}_a": end[:, k] for name, end in ends.items() for k, axis in enumerate("zyx")}
    write_atomic(written[0], _csv({**lines, **there}))
    write_atomic(written[1], _csv({**points, **more}))
    _write_graph(written[2], lines, ends, points["line"], at)
    meeting = np.concatenate([lines["begin_lines"], lines["end_lines"]])
    nodes = np.concatenate([lines["begin_node"], lines["end_node"]])
    branches = len(np.unique(nodes[meeting > 2]))
    said = (
        f"{out}: {len(lines['line'])} lines of {float(lines['length_nm'].sum()):.5g} nm together, "
        f"{int((meeting == 1).sum())} free ends, {branches} branches"
    )
    if walls := int(found[WALLS][0]):
        said += f"; {walls_said(walls)}: leave out --lines for their mid-surface"
    if sheets := len(np.unique(lines["component"][lines["wall"] == 1])):
        said += f"; {sheets_said(sheets)} (column wall): leave out --lines for their mid-surface"
    return Made(written, (*_read(volume, decision, tables), said))


def _csv(columns: Mapping[str, Any]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    for row in zip(*(column.tolist() for column in columns.values()), strict=True):
        table.writerow([f"{cell:.9g}" if isinstance(cell, float) else cell for cell in row])
    return text.getvalue()


def _write_graph(file: str, lines: Mapping[str, Any], ends: Mapping[str, Any], owner: Any, at: Any) -> None:
    """The spatial graph: a vertex for each node, at the mean of the ends that meet there, and one for each closed line.

    The first and the last point of an edge are its vertices.
    """
    begin, end = (lines[name].astype(np.int64) for name in ("begin_node", "end_node"))
    closed = begin == 0
    last = int(max(begin.max(initial=0), end.max(initial=0)))
    begin[closed] = end[closed] = last + 1 + np.arange(int(closed.sum()))
    nodes, which = np.unique(np.concatenate([begin, end]), return_inverse=True)
    places = np.concatenate([ends["begin"], np.where(closed[:, None], ends["begin"], ends["end"])])
    many = np.bincount(which, minlength=len(nodes))
    vertices = np.stack([np.bincount(which, places[:, k], len(nodes)) / many for k in range(3)], axis=1)
    edges = which.reshape(2, -1).T
    paths = []
    for number, (a, b) in zip(lines["line"].tolist(), edges, strict=True):
        inner = at[owner == number]
        far = np.minimum(*(np.linalg.norm(inner - vertices[k], axis=1) for k in (a, b)))
        paths.append(np.concatenate([vertices[[a]], inner[far > LEAST_STEP], vertices[[b]]]))
    columns = {"EDGE": {name: lines[name] for name in ("length_nm", "mean_curvature_per_nm")}}
    write_spatial_graph(file, vertices, edges, paths, columns)
