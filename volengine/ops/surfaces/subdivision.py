"""Dividing the faces of a mesh without changing its shape: every new vertex lies in the middle of an edge."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.surface import Surface

MOST_VERTICES = 5_000_000


def subdivided(surface: Surface, edge: float) -> Surface:
    """Divide edges until none is longer than ``edge``; the mesh stays without gaps.

    Parameters
    ----------
    surface
        The mesh.
    edge
        Longest edge, angstrom.

    Returns
    -------
    A surface whose first vertices are those of the given one, in their order. Normals and columns of new vertices are
    the means of the edge's ends (normals of length 1 again); columns of whole numbers become floating-point ones.

    Raises
    ------
    InputError
        There would be more than five million vertices.
    """
    if not edge > 0:
        raise InputError(f"{surface.name}: the longest edge must be positive, not {edge} angstrom.")
    table, faces = _table(surface), surface.faces.astype(np.int64)
    while True:
        ends, which = _edges(faces)
        split = np.linalg.norm(table[ends[:, 0], :3] - table[ends[:, 1], :3], axis=1) > edge
        if not split.any():
            break
        if len(table) + split.sum() > MOST_VERTICES:
            raise InputError(
                f"{surface.name}: edges of at most {edge:g} angstrom need more than {MOST_VERTICES} vertices; allow "
                "longer edges, or cut the surface."
            )
        table, faces = _halved(table, faces, ends, which, split)
    return _surface(surface, table, faces)


def quartered(surface: Surface, rows: NDArray[np.int64]) -> Surface:
    """The same surface with some faces, by their numbers, divided into four, and those beside them into two or three.

    Raises
    ------
    InputError
        There would be more than five million vertices.
    """
    table, faces = _table(surface), surface.faces.astype(np.int64)
    corner, divided = np.zeros(len(table), bool), np.zeros(len(faces), bool)
    corner[faces[rows]] = divided[rows] = True
    near = corner[faces].sum(axis=1) >= 2  # they may have an edge with one in common; the others stay as they are
    ends, which = _edges(faces[near])
    split = np.zeros(len(ends), bool)
    split[which[divided[near]]] = True
    if len(table) + split.sum() > MOST_VERTICES:
        raise InputError(f"{surface.name}: it would have more than {MOST_VERTICES} vertices; cut the surface.")
    table, parts = _halved(table, faces[near], ends, which, split)
    return _surface(surface, table, np.concatenate([faces[~near], parts]))


def _table(surface: Surface) -> NDArray[np.float64]:
    """A row for each vertex: its place, normal and columns."""
    parts = [np.array(surface.vertices)]
    if surface.normals is not None:
        parts.append(np.array(surface.normals))
    parts += [np.asarray(column, np.float64)[:, None] for column in surface.columns.values()]
    return np.concatenate(parts, axis=1)


def _edges(faces: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The ends of each edge, and the edges 0-1, 1-2, 2-0 of each face."""
    a, b = faces, faces[:, [1, 2, 0]]
    base = int(faces.max(initial=0)) + 1
    key, which = np.unique(np.minimum(a, b) * base + np.maximum(a, b), return_inverse=True)
    return np.stack(np.divmod(key, base), axis=1), which.reshape(-1, 3)


def _halved(
    table: NDArray[np.float64],
    faces: NDArray[np.int64],
    ends: NDArray[np.int64],
    which: NDArray[np.int64],
    split: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The table and the faces when some edges have got a vertex in their middle."""
    middle = np.where(split, len(table) + np.cumsum(split) - 1, -1)
    table = np.concatenate([table, 0.5 * (table[ends[split, 0]] + table[ends[split, 1]])])
    return table, _divided(faces, middle[which], table)


def _divided(faces: NDArray[np.int64], middle: NDArray[np.int64], table: NDArray[Any]) -> NDArray[np.int64]:
    """Faces with the middles of their edges (0-1, 1-2, 2-0; -1: not divided) as 1, 2, 3 or 4 faces."""
    count = (middle >= 0).sum(axis=1)
    found = [faces[count == 0]]
    for number in (1, 2):  # turn each face such that a divided (1) or the undivided (2) edge is 0-1
        rows = count == number
        first = np.argmax(middle[rows] >= 0 if number == 1 else middle[rows] < 0, axis=1)
        turn = (first[:, None] + np.arange(3)) % 3
        (a, b, c), (m, n, o) = (np.take_along_axis(x[rows], turn, axis=1).T for x in (faces, middle))
        if number == 1:
            found += [np.stack([a, m, c], 1), np.stack([m, b, c], 1)]
        else:  # n halves b-c, o halves c-a: a corner, and a quadrangle that its shorter diagonal divides
            shorter = np.linalg.norm(table[a, :3] - table[n, :3], axis=1) <= np.linalg.norm(
                table[b, :3] - table[o, :3], axis=1
            )
            found += [
                np.stack([o, n, c], 1),
                np.where(shorter[:, None], np.stack([a, b, n], 1), np.stack([a, b, o], 1)),
                np.where(shorter[:, None], np.stack([a, n, o], 1), np.stack([b, n, o], 1)),
            ]
    rows = count == 3
    (a, b, c), (m, n, o) = faces[rows].T, middle[rows].T
    found += [np.stack(part, 1) for part in ((a, m, o), (m, b, n), (o, n, c), (m, n, o))]
    return np.concatenate(found)


def _surface(of: Surface, table: NDArray[np.float64], faces: NDArray[np.int64]) -> Surface:
    at, normals = 3, None
    if of.normals is not None:
        normals, at = table[:, 3:6], 6
        length = np.linalg.norm(normals, axis=1, keepdims=True)
        normals = normals / np.where(length > 0, length, 1)
    columns = {name: table[:, at + k] for k, name in enumerate(of.columns)}
    return Surface(table[:, :3], faces.astype(np.int32), normals, columns, of.number)
