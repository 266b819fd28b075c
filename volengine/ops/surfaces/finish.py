"""From the raw mesh of an object to what is wanted: smoothed, one side or both, of equal triangles.

>>> tetrahedron = np.array([[0, 2, 1], [0, 3, 2], [0, 1, 3], [1, 2, 3]])
>>> ((at, faces),) = finished(np.array([[0.0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]]), tetrahedron, Wanted())
>>> len(at), len(faces)
(4, 4)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.volume import Vector3
from volengine.ops.surfaces.merge import used_only
from volengine.ops.surfaces.normals import vertex_normals
from volengine.ops.surfaces.remesh import remeshed
from volengine.ops.surfaces.sides import Side, one_side
from volengine.ops.surfaces.smooth import smoothed
from volengine.ops.surfaces.touching import parts_that_touch
from volengine.ops.surfaces.vesicles import divided

Floats = NDArray[np.float64]
Array = NDArray[Any]


@dataclass(frozen=True)
class Wanted:
    """What becomes of a mesh; lengths in the unit of its vertices.

    Parameters
    ----------
    smooth
        Waves shorter than this are smoothed; 0: none.
    terraces
        Waves shorter than this say nothing of the direction of a face (:func:`volengine.ops.surfaces.sides.one_side`):
        the steps of voxels that are longer in one direction; 0: none.
    vertex_area
        Wanted area of a vertex; ``None``: as it is.
    side, towards, max_thickness
        As for :func:`volengine.ops.surfaces.sides.one_side`; ``both``: the whole surface.
    split
        Divide membranes that touch (:func:`volengine.ops.surfaces.touching.parts_that_touch`), then vesicles that still
        hang together (:func:`volengine.ops.surfaces.vesicles.divided`).
    touch
        Membranes that touch over a wider place are not divided there.
    """

    smooth: float = 0.0
    vertex_area: float | None = None
    side: Side = "both"
    towards: Vector3 | None = None
    max_thickness: float = 150.0
    split: bool = False
    touch: float = 500.0
    terraces: float = 0.0


def finished(
    vertices: Floats, faces: Array, wanted: Wanted, label: Floats | None = None
) -> list[tuple[Floats, NDArray[np.int32]]]:
    """Return the meshes that are wanted of an object: smoothed, divided, one side, remeshed, in this order.

    Without ``split`` there is one; those without a face are left out. With ``label`` (k, 3) normals point to the side
    of these places instead of ``wanted.towards``.
    """
    at, corners = smoothed(vertices, faces, wanted.smooth), np.asarray(faces, np.int32)
    towards = wanted.towards if label is None else label
    found = []
    for mesh in _divided(vertices, at, corners, wanted) if wanted.split else [(at, corners)]:
        one = mesh if wanted.side == "both" else _one_side(*mesh, wanted, towards)
        if wanted.vertex_area is not None and len(one[1]):
            one = remeshed(*one, wanted.vertex_area)
        if len(one[1]):
            found.append(one)
    return found


def _one_side(at: Floats, faces: Array, wanted: Wanted, towards: Any) -> tuple[Floats, NDArray[np.int32]]:
    normals = None
    if wanted.terraces > wanted.smooth:
        normals = vertex_normals(smoothed(at, faces, wanted.terraces), faces)
    return one_side(at, faces, wanted.side, wanted.max_thickness, towards, normals)


def _divided(vertices: Floats, at: Floats, faces: Array, wanted: Wanted) -> list[tuple[Floats, NDArray[np.int32]]]:
    """The parts of a surface, ``at`` its smoothed vertices; the largest part first."""
    part = parts_that_touch(vertices, faces, wanted.max_thickness, wanted.touch)
    found = []
    for number in range(int(part.max(initial=0)) + 1):
        vertices_of, faces_of = (at, faces) if not part.any() else used_only(at, faces[part == number])
        found += divided(vertices_of, faces_of, wanted.max_thickness)
    return found
