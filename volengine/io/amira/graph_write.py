"""Writing Amira spatial graphs (``.am``, AmiraMesh ASCII 2.0): filaments as lines of points.

>>> import tempfile
>>> from volengine.io.amira.graph import read_spatial_graph
>>> with tempfile.TemporaryDirectory() as folder:
...     write_spatial_graph(f"{folder}/a.am", [[0, 0, 0], [0, 0, 9]], [[0, 1]], [np.array([[0, 0, 0], [0, 0, 9]])])
...     read_spatial_graph(f"{folder}/a.am").lines[0].tolist()
[[0.0, 0.0, 0.0], [0.0, 0.0, 9.0]]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.atomic import write_atomic
from volengine.core.paths import PathLike, path_text

_HEAD = """\
# AmiraMesh 3D ASCII 2.0

define VERTEX {vertices}
define EDGE {edges}
define POINT {points}

Parameters {{
    Units {{
        Coordinates "angstrom"
    }}
    ContentType "HxSpatialGraph"
}}

"""


def write_spatial_graph(
    path: PathLike,
    vertices: ArrayLike,
    edges: ArrayLike,
    lines: Sequence[NDArray[Any]],
    columns: Mapping[str, Mapping[str, NDArray[Any]]] | None = None,
) -> None:
    """Write a spatial graph; it appears when it is complete.

    Parameters
    ----------
    path
        The file.
    vertices
        (n, 3) positions, angstrom, z, y, x, three decimals.
    edges
        (m, 2) numbers of vertices, from 0.
    lines
        For each edge its points (k, 3), from its first vertex to its second one.
    columns
        Further numbers of each edge, by name, under ``EDGE``.
    """
    at, ends = np.asarray(vertices, np.float64).reshape(-1, 3), np.asarray(edges, np.int64).reshape(-1, 2)
    points = np.concatenate([np.zeros((0, 3)), *lines])
    fields: list[tuple[str, str, str]] = [
        ("VERTEX", "float[3] VertexCoordinates", _rows(at[:, ::-1])),
        ("EDGE", "int[2] EdgeConnectivity", "\n".join(f"{a} {b}" for a, b in ends.tolist())),
        ("EDGE", "int NumEdgePoints", "\n".join(str(len(line)) for line in lines)),
        ("POINT", "float[3] EdgePointCoordinates", _rows(points[:, ::-1])),
    ]
    for name, values in ((columns or {}).get("EDGE") or {}).items():
        fields.append(("EDGE", f"float {name}", "\n".join(f"{v:.9g}" for v in np.asarray(values).tolist())))
    text = _HEAD.format(vertices=len(at), edges=len(ends), points=len(points))
    text += "".join(f"{owner} {{ {what} }} @{k}\n" for k, (owner, what, _) in enumerate(fields, start=1))
    text += "\n# Data section follows\n"
    text += "".join(f"@{k}\n{data}\n\n" for k, (_, _, data) in enumerate(fields, start=1))
    write_atomic(Path(path_text(path)), text)


def _rows(xyz: NDArray[Any]) -> str:
    return "\n".join(" ".join(f"{v:.3f}" for v in row) for row in xyz.tolist())
