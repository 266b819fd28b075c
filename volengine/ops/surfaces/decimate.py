"""Decimation: fewer triangles for the same surface, by quadric errors.

`fast-simplification` (MIT; the method of Garland and Heckbert, 1997) is quick and gives the same mesh in every run. But
it does not look at the topology: of 657,618 vertices with 4,549 handles it closed half of the handles and left edges
with four triangles. So its mesh is taken only if it is what it was: a manifold with the same islands, borders, genus.

>>> grid = np.stack(np.meshgrid([0.0], np.arange(9.0), np.arange(9.0), indexing="ij"), -1).reshape(-1, 3)
>>> a = np.array([9 * y + x for y in range(8) for x in range(8)])
>>> faces = np.concatenate([np.stack([a, a + 10, a + 1], 1), np.stack([a, a + 9, a + 10], 1)])
>>> made = decimated(grid, faces, 20)
>>> made is None or len(made[0]) < 40
True
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import DependencyError
from volengine.ops.surfaces.topology import shape_of

Floats = NDArray[np.float64]
Array = NDArray[Any]

KEPT = ("manifold", "closed", "islands", "border_loops", "genus")
"""What must be as before."""


def decimated(vertices: Floats, faces: Array, wanted: int) -> tuple[Floats, NDArray[np.int32]] | None:
    """Return a mesh with about ``wanted`` vertices.

    Parameters
    ----------
    vertices, faces
        (n, 3), (m, 3).
    wanted
        Number of vertices.

    Returns
    -------
    vertices, faces
        The new mesh; ``None`` if it would have another topology, another volume or area by more than 1 %, or faces
        back to back with the same three corners, to which small islands are flattened.

    Raises
    ------
    DependencyError
        The extra ``surfaces`` is not installed.
    """
    try:
        import fast_simplification
    except ImportError as error:
        raise DependencyError("Remeshing needs fast-simplification: pip install 'volengine[surfaces]'.") from error
    part = 1 - wanted / max(len(vertices), 1)
    if part <= 0:
        return vertices, np.asarray(faces, np.int32)
    at, made = fast_simplification.simplify(vertices, np.asarray(faces, np.int32), part)
    before, after = shape_of(vertices, faces), shape_of(at, made)
    same = all(before[name] == after[name] for name in KEPT)
    size = all(abs(after[n] - before[n]) <= 0.01 * abs(before[n]) for n in ("area", "volume") if before[n] == before[n])
    flat = len(np.unique(np.sort(made, axis=1), axis=0)) < len(made)
    return (np.asarray(at, np.float64), np.asarray(made, np.int32)) if same and size and not flat else None
