"""Smoothing a mesh without shrinking it: the steps of a mask go, sizes stay.

The method is the low-pass filter of Taubin, Zhang and Golub (1996, "Optimal surface smoothing as filter design"): the
positions are a signal on the mesh, whose waves are damped by a polynomial of the matrix that takes the mean of each
vertex's neighbours. The polynomial is a windowed ideal low-pass (Blackman), so that long waves pass unchanged: two
factors in turn, as in Taubin's first method, blow small spheres up (by 7 % of the volume where it was measured). On a
mesh of edges of length h a wave of length L has the eigenvalue cos(t) with 1 - cos(t) = (pi h / L)² (a lattice of equal
triangles), so the filter follows from the length.

>>> square = np.array([[0.0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 1]])
>>> smoothed(square, np.array([[0, 2, 1], [1, 2, 3]]), 1.0).shape
(4, 3)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.ops.surfaces.normals import area_vectors, vertex_normals
from volengine.ops.surfaces.topology import border_edges, edges_of, parts_of, tetrahedra

Floats = NDArray[np.float64]
Array = NDArray[Any]

SHARPNESS = 9.0
"""Degree of the polynomial times the angle t of the length; a sharper filter needs more steps."""


def smoothed(vertices: Floats, faces: Array, length: float) -> Floats:
    """Return the vertices of a smoothed mesh.

    Parameters
    ----------
    vertices, faces
        (n, 3) float64, any unit; (m, 3).
    length
        Waves shorter than this are damped, in the unit of the vertices; 0: nothing is done.

    Returns
    -------
    (n, 3). The volume of each closed part is what it was. Vertices of borders move by their neighbours along the border
    only.
    """
    if length <= 0 or not len(faces):
        return vertices
    mean, edge = _mean_of_neighbours(vertices, faces)
    end = math.acos(max(0.0, 1 - (math.pi * edge / length) ** 2))
    weights = _low_pass(end, math.ceil(SHARPNESS / end))
    before, now = vertices, mean @ vertices  # Chebyshev polynomials of the matrix, degrees 0 and 1
    at: Floats = weights[0] * before + weights[1] * now
    for weight in weights[2:]:
        before, now = now, 2 * (mean @ now) - before
        at += weight * now
    return _volume_kept(vertices, at, 0.5 * (vertices + mean @ vertices), np.asarray(faces))


def _volume_kept(before: Floats, after: Floats, gentle: Floats, faces: Array) -> Floats:
    """Move the vertices of each closed part along their normals, all as far, until its volume is what it was.

    Waves as long as the whole object are damped where the object is as small as the length: a sphere of 3 voxels radius
    loses a third of its volume by a length of 8. Parts that lose more than half of it get the positions of ``gentle``.
    """
    part = parts_of(faces, len(after))
    of_face = part[faces[:, 0]]
    count = int(part.max()) + 1
    is_open = np.zeros(count, bool)
    is_open[part[border_edges(faces).reshape(-1)]] = True
    wanted = np.bincount(of_face, tetrahedra(before, faces), minlength=count)
    left = np.bincount(of_face, tetrahedra(after, faces), minlength=count)
    crushed = ~is_open & (np.abs(left) < 0.5 * np.abs(wanted))
    at = np.where(crushed[part][:, None], gentle, after)
    for _ in range(3):
        normals = vertex_normals(at, faces)
        area = 0.5 * np.bincount(of_face, np.linalg.norm(area_vectors(at, faces), axis=1), minlength=count)
        lost = wanted - np.bincount(of_face, tetrahedra(at, faces), minlength=count)
        lost[is_open | (area == 0)] = 0
        at = at + (lost / np.where(area > 0, area, 1))[part][:, None] * normals
    return at


def _low_pass(end: float, degree: int) -> Floats:
    """Weights of Chebyshev polynomials for a filter that passes angles from 0 to ``end``; at 0 it is exactly 1."""
    n = np.arange(1, degree + 1)
    window = 0.42 + 0.5 * np.cos(np.pi * n / (degree + 1)) + 0.08 * np.cos(2 * np.pi * n / (degree + 1))
    weights: Floats = np.concatenate([[end / np.pi], window * 2 * np.sin(n * end) / (np.pi * n)])
    weights /= weights.sum()
    return weights


def _mean_of_neighbours(vertices: Floats, faces: Array) -> tuple[Any, float]:
    """The matrix that gives the mean of each vertex's neighbours (of a border: those along it); the mean edge."""
    from scipy.sparse import csr_array

    edges, _ = edges_of(faces)
    border = border_edges(faces)
    on = np.zeros(len(vertices), bool)
    on[border.reshape(-1)] = True
    both = np.concatenate([edges, edges[:, ::-1]])
    both = np.concatenate([both[~on[both[:, 0]]], border, border[:, ::-1]])
    count = np.bincount(both[:, 0], minlength=len(vertices))
    alone = np.flatnonzero(count == 0)
    both = np.concatenate([both, np.stack([alone, alone], axis=1)])
    weight = 1 / np.maximum(count, 1)[both[:, 0]]
    matrix = csr_array((weight, (both[:, 0], both[:, 1])), shape=(len(vertices),) * 2)
    matrix.sort_indices()
    return matrix, float(np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1).mean())
