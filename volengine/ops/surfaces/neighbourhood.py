"""Neighbourhoods on a surface: for each vertex the vertices that are near it and belong to the same sheet.

A vertex belongs to the neighbourhood of another if it is at most a radius away, its normal is less than 78 degrees from
that of the centre, and a path along edges leads there through vertices for which both hold. So the other face of a
membrane is never in it, nor the next membrane of a stack, however near they are.

>>> import trimesh
>>> ball = trimesh.creation.icosphere(3, 50.0)
>>> links = neighbours_of(ball.faces, len(ball.vertices))
>>> pairs = next(discs(ball.vertices, ball.vertex_normals, links, 12.0))
>>> int(pairs.centre[0]), int(pairs.near[0]), len(pairs.centre) > 5 * len(ball.vertices)
(0, 0, True)
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST_COSINE = 0.2
"""Least cosine between the normals of a centre and of its neighbours."""

PAIRS_AT_ONCE = 1 << 16
"""Pairs of a centre and a neighbour that are held at a time, about."""

MARKS = 1 << 24
"""Marks that are held at a time, one for each centre and each vertex of the surface; 4 bytes each."""


class Links(NamedTuple):
    """Vertices that an edge joins: those of vertex ``i`` are ``other[start[i] : start[i + 1]]``, ascending."""

    start: Ints
    other: Ints


class Pairs(NamedTuple):
    """Pairs of a centre and a vertex near it, by ascending centre and then by ascending vertex."""

    centre: Ints
    near: Ints


def neighbours_of(faces: NDArray[Any], count: int) -> Links:
    """The vertices that are joined to each vertex by an edge.

    Parameters
    ----------
    faces
        (m, 3) numbers of vertices.
    count
        Number of vertices.
    """
    sides = np.asarray(faces, np.int64)[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    sides = sides[sides[:, 0] != sides[:, 1]]
    keys = np.unique(np.concatenate([sides[:, 0] * count + sides[:, 1], sides[:, 1] * count + sides[:, 0]]))
    start = np.searchsorted(keys, np.arange(count + 1, dtype=np.int64) * count)
    return Links(start.astype(np.int64), keys % max(count, 1))


class Cutout(NamedTuple):
    """A part of a surface: its vertices by their numbers, ascending, and which of them edges join, counted in it."""

    rows: Ints
    links: Links


def cut_out(vertices: Floats, faces: NDArray[Any], centres: NDArray[Any], reach: float) -> Cutout:
    """The vertices in a box around some, and the edges between them: all that neighbourhoods within ``reach`` hold.

    Parameters
    ----------
    vertices, faces
        The surface.
    centres
        Numbers of vertices.
    reach
        In the unit of the vertices.

    Returns
    -------
    Cutout
        Neighbourhoods of the centres (:func:`discs`) in it are those on the whole surface, because all vertices that
        lead to one lie within the radius, and their order is kept.
    """
    if not len(centres):
        return Cutout(np.zeros(0, np.int64), neighbours_of(np.zeros((0, 3), np.int64), 0))
    here = vertices[centres]
    wide = reach * (1 + 1e-9)
    kept = ((vertices >= here.min(axis=0) - wide) & (vertices <= here.max(axis=0) + wide)).all(axis=1)
    rows = np.flatnonzero(kept)
    if len(rows) == len(vertices):
        return Cutout(rows, neighbours_of(faces, len(vertices)))
    number = np.cumsum(kept) - 1
    near = np.asarray(faces)[kept[faces].sum(axis=1) >= 2]
    sides = near[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    sides = number[sides[kept[sides].all(axis=1)]]
    return Cutout(rows, neighbours_of(sides[:, [0, 1, 1]], len(rows)))


def discs(
    vertices: Floats, normals: Floats, links: Links, radius: float, centres: NDArray[Any] | None = None
) -> Iterator[Pairs]:
    """The neighbourhoods of vertices, some centres at a time; a centre is in its own neighbourhood.

    Parameters
    ----------
    vertices, normals
        (n, 3); unit normals.
    links
        Of :func:`neighbours_of`.
    radius
        In the unit of the vertices.
    centres
        Numbers of vertices, ascending; default: all.

    Yields
    ------
    Pairs
        All pairs of a run of centres. How long runs are changes no pair.
    """
    count = len(vertices)
    wanted = np.arange(count) if centres is None else np.asarray(centres, np.int64)
    mark = np.zeros(0, np.int32)
    at, guess = 0, 64
    while at < len(wanted):
        run = wanted[at : at + max(1, min(PAIRS_AT_ONCE // guess, MARKS // max(count, 1)))]
        if len(mark) < len(run) * count:
            mark = np.zeros(len(run) * count, np.int32)
        pairs = _disc(vertices, normals, links, radius, run, mark)
        guess = max(16, len(pairs.centre) // len(run))
        at += len(run)
        yield pairs


def _disc(vertices: Floats, normals: Floats, links: Links, radius: float, run: Ints, mark: NDArray[np.int32]) -> Pairs:
    """The neighbourhoods of a run of centres; ``mark`` is 0 everywhere, before and after."""
    count = len(vertices)
    front = np.arange(len(run), dtype=np.int64) * count + run
    mark[front] = -1
    found = [front]
    while len(front):
        slot, here = np.divmod(front, count)
        many = links.start[here + 1] - links.start[here]
        within = np.arange(int(many.sum())) - np.repeat(np.cumsum(many) - many, many)
        other = links.other[np.repeat(links.start[here], many) + within]
        slot = np.repeat(slot, many)
        key = slot * count + other
        order = np.arange(1, len(key) + 1, dtype=np.int32)
        fresh = mark[key] == 0
        mark[key[fresh]] = order[fresh]
        fresh &= mark[key] == order  # one of those that are there several times
        key, slot, other = key[fresh], slot[fresh], other[fresh]
        centre = run[slot]
        away = vertices[other] - vertices[centre]
        close = np.einsum("ij,ij->i", away, away) <= radius * radius
        close &= np.einsum("ij,ij->i", normals[other], normals[centre]) >= LEAST_COSINE
        found.append(key)
        mark[key] = np.where(close, -1, -2)
        front = key[close]
    keys = np.concatenate(found)
    inside = mark[keys] == -1
    mark[keys] = 0
    slot, near = np.divmod(np.sort(keys[inside]), count)
    return Pairs(run[slot], near)
