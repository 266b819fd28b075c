"""Points of Amira spatial graphs (``.am``): filaments as lines of points in order.

Positions are physical ones in the frame of the image's bounding box, whose corners are centres of voxels
(:mod:`volengine.io.amira.graph`): voxel i is at origin + i × voxel size, in the file's unit. So the origin of the
tomogram is needed, as for markers of ChimeraX. A file that states no unit (``Units { Coordinates "nm" }``) is refused,
unless the format ``amira-angstrom`` says that it counts angstrom, as TARDIS and most programs of the field mean it.

The points of each edge are in order and become one contour (extra column ``contour``, from 1, in the order of the
edges), from vertex to vertex; a vertex where edges meet is a point of each of them. Vertices without an edge come last,
each a contour of its own. There are no orientations: an edge has no direction, and its points are as dense as somebody
clicked. Other numbers of edges and points are lost.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from volengine.core.errors import InputError, MissingError
from volengine.io.amira.graph import SpatialGraph, read_spatial_graph
from volengine.io.picks import motive
from volengine.io.picks import rows as r


def read(path: Path, known: r.Known, format: str) -> r.Rows:
    """Read the points of a graph.

    Memory: about three times the file's size.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        It is damaged, compressed, or holds no spatial graph.
    InputError
        Its unit, or the origin of the tomogram, is not known.
    """
    if not r.is_file(path):
        raise MissingError(f"{path}: there is no such file.")
    graph = read_spatial_graph(path)
    unit = _unit(graph, path, format)
    alone = np.setdiff1d(np.arange(len(graph.vertices)), graph.edges)
    parts = [*graph.lines, graph.vertices[alone]]
    at = np.concatenate(parts).reshape(-1, 3) * unit
    rows = r.Rows(path, coordinate=at, angstrom=True, framed="has places in the frame of the tomogram's image")
    counts = [*(len(line) for line in graph.lines), *([1] * len(alone))]
    rows.columns[motive.extra("contour")] = np.repeat(np.arange(1, len(counts) + 1, dtype=np.int64), counts)
    rows.facts = {path.stem: {}}
    return rows


def _unit(graph: SpatialGraph, path: Path, format: str) -> float:
    """Angstrom per unit of the file."""
    if format == "amira-angstrom":
        if graph.unit and graph.angstrom != 1.0:
            raise InputError(f"{path} states that it counts {graph.unit!r}, not angstrom; leave out amira-angstrom.")
        return 1.0
    if graph.angstrom is None:
        said = f"counts {graph.unit!r}, which is no unit of length" if graph.unit else "states no unit of length"
        raise InputError(
            f"{path} {said}. If it counts angstrom, read it as amira-angstrom (--read-as amira-angstrom); else set the "
            "unit in Amira and save it again."
        )
    return graph.angstrom
