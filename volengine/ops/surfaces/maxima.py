"""Local maxima of a number on a surface that keep a smallest geodesic distance.

Higher values come first, equal ones by the number of their vertex, so that there is one order and one result. What is
kept suppresses everything nearer than the spacing along the surface; distances are exact on the mesh.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.surface import Surface
from volengine.ops.surfaces.geodesic import Geodesics

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def peaks(surface: Surface, score: Floats) -> Ints:
    """Numbers of the vertices that no neighbour on the mesh exceeds (of equal ones the first); rising.

    Vertices that no face uses and values that are NaN are no maxima, and exceed nothing.
    """
    rank = np.empty(len(score), np.int64)
    rank[by_score(score)] = np.arange(len(score))  # 0 is the highest
    exceeded = ~np.isfinite(score)
    exceeded[np.setdiff1d(np.arange(len(score)), surface.faces)] = True
    a, b = surface.faces[:, [0, 1, 2, 1, 2, 0]].T.ravel(), surface.faces[:, [1, 2, 0, 0, 1, 2]].T.ravel()
    exceeded[a[rank[b] < rank[a]]] = True
    return np.flatnonzero(~exceeded)


def by_score(score: Floats) -> Ints:
    """Indices from the highest value to the lowest, equal ones by index, NaN last."""
    return np.lexsort((np.arange(len(score)), np.where(np.isnan(score), np.inf, -score)))


def spaced_maxima(surface: Surface, score: Floats, spacing: float, least: float = -np.inf) -> Ints:
    """Local maxima of at least ``least``, none of them nearer than ``spacing`` to a higher one that is kept.

    Parameters
    ----------
    surface
        The mesh.
    score
        (n,) a number for each vertex; NaN: not known.
    spacing
        Smallest geodesic distance, angstrom; 0: all local maxima.
    least
        Smallest value.

    Returns
    -------
    Numbers of vertices, from the highest value to the lowest.

    Raises
    ------
    InputError, DependencyError
        As :class:`volengine.ops.surfaces.geodesic.Geodesics`; or there are not as many values as vertices.
    """
    if score.shape != (len(surface.vertices),):
        raise InputError(f"{surface.name}: {score.shape} values for {len(surface.vertices)} vertices.")
    found = peaks(surface, score)
    found = found[score[found] >= least]
    found = found[by_score(score[found])]
    if spacing <= 0 or len(found) < 2:
        return found
    geodesics, open_ = Geodesics(surface.vertices, surface.faces, name=surface.name), np.zeros(len(score), bool)
    open_[found] = True
    kept = []
    for vertex in found.tolist():
        if open_[vertex]:
            kept.append(vertex)
            open_[geodesics.near(vertex, spacing)[0]] = False
    return np.array(kept, np.int64)
