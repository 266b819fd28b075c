"""Dividing the surface of vesicles that touch: each gets its own inside, and the outside that is nearest to it.

Where the membranes of two vesicles touch, they are one body in a mask, and their outer surfaces are one. But each still
encloses a space of its own: a closed part of the surface whose normals point inwards. These are the seeds. A vertex of
the outer surface that lies opposite of a seed, straight through the membrane, belongs to it; all others, where
membranes touch, belong to the vertex among those that is nearest along the edges of the mesh (a geodesic watershed).

>>> divided(np.zeros((0, 3)), np.zeros((0, 3), np.int32), 100.0)
[]
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.ops.surfaces.merge import used_only
from volengine.ops.surfaces.normals import vertex_normals
from volengine.ops.surfaces.sides import opposite
from volengine.ops.surfaces.topology import border_edges, edges_of, parts_of, tetrahedra
from volengine.ops.surfaces.touching import flooded

Floats = NDArray[np.float64]
Array = NDArray[Any]
Int64 = NDArray[np.int64]

LEAST = 0.02
"""Enclosed spaces of less than this part of the largest one's volume are holes in a membrane, and no vesicles."""

LEAST_CUBES = 100.0
"""So are those of fewer cubes of edges, a ball of three: gaps that are enclosed where membranes touch."""


def divided(vertices: Floats, faces: Array, max_thickness: float) -> list[tuple[Floats, NDArray[np.int32]]]:
    """Divide the surface of a body into those of the vesicles that it is made of.

    Parameters
    ----------
    vertices, faces
        (n, 3), (m, 3) of the whole surface, normals out of the membrane.
    max_thickness
        Of the membrane, in the unit of the vertices.

    Returns
    -------
    One mesh for each enclosed space, the largest first; it has a border where membranes touch. The whole surface if
    there are fewer than two.
    """
    if not len(faces):
        return []
    part = parts_of(faces, len(vertices))
    seeds = _spaces(vertices, faces, part)
    if len(seeds) < 2:
        return [(vertices, np.asarray(faces, np.int32))]
    label = np.full(len(vertices), -1, np.int64)
    for number, seed in enumerate(seeds):
        label[part == seed] = number
    _, other = opposite(vertices, faces, vertex_normals(vertices, faces), max_thickness)
    through = (label < 0) & (other >= 0)
    label[through] = label[other[through]]
    label = flooded(vertices, edges_of(faces)[0], label)
    of_face = np.sort(label[np.asarray(faces)], axis=1)
    chosen = np.where(of_face[:, 1] == of_face[:, 2], of_face[:, 1], of_face[:, 0])  # of most corners, else the first
    found = []
    for number in range(len(seeds)):
        at, corners = used_only(vertices, np.asarray(faces)[chosen == number])
        found.append((at, corners))
    return found


def _spaces(vertices: Floats, faces: Array, part: Int64) -> list[int]:
    """Closed parts that enclose what is not the body, by descending volume, then number."""
    of_face = part[faces[:, 0]]
    count = int(part.max()) + 1
    volume = np.bincount(of_face, tetrahedra(vertices, faces), minlength=count)
    volume[part[border_edges(faces).reshape(-1)]] = 0
    order = np.lexsort((np.arange(count), volume))
    ends = edges_of(faces)[0]
    edge = float(np.linalg.norm(vertices[ends[:, 0]] - vertices[ends[:, 1]], axis=1).mean())
    least = min(LEAST * volume.min(), -LEAST_CUBES * edge**3)
    return [int(n) for n in order if volume[n] <= least]
