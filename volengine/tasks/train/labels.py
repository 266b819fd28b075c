"""Truth for training: label volumes, or points that are drawn as balls when a box is read.

Labels are uint8 arrays (features, z, y, x): 0 background, 1 feature, 2 ignore.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.core.picks import Picks
from volengine.core.units import NM_TO_ANGSTROM
from volengine.core.volume import Vector3, Volume
from volengine.io.cached import ChunkCache
from volengine.io.names import Source, is_multilabel, split_group
from volengine.io.open import open_source, open_volume
from volengine.io.picks.rows import Known
from volengine.ops.score_masks import FEATURE, IGNORE, labels_of, labels_of_ids
from volengine.tasks.common.named import OF_SEVERAL_OBJECTS
from volengine.tasks.train.samples import Truth

BALL_VOXELS = 2**20
"""Distances that are computed at a time when balls are drawn: 8 MB."""


class Labels(Protocol):
    """Truth that can be read box by box."""

    def read(self, box: Box) -> Truth:
        """Labels (features, z, y, x) of a box inside of the volume; for a regression its target numbers."""
        ...


class LabelFiles:
    """Truth from label volumes: one per feature (0, 1, 2), or one with class ids.

    Parameters
    ----------
    paths
        Files or stores; ``store.ome.zarr#labels/core`` names labels inside a store.
    volume
        The tomogram; label volumes must have its shape.
    ids, ignore_id
        With one label volume: voxels that equal ``ids[k]`` belong to feature k; those that equal ``ignore_id`` do not
        count.
    cache
        Cache of recently read chunks.
    """

    def __init__(
        self,
        paths: Sequence[str],
        volume: Volume,
        ids: Sequence[int] = (),
        ignore_id: int | None = None,
        cache: ChunkCache | None = None,
    ):
        self._paths, self._ids, self._ignore = tuple(paths), tuple(ids), ignore_id
        self._sources = [open_beside(path, volume, cache, classes=bool(ids)) for path in paths]

    def read(self, box: Box) -> NDArray[np.uint8]:
        """Labels (features, z, y, x).

        Raises
        ------
        InputError
            Without ``ids``: the volume holds a value other than 0, 1 or 2. With ``ids``: it holds NaN or infinity,
            which would be background.
        """
        if self._ids:
            classes = self._sources[0].read(box)
            if classes.dtype.kind == "f" and not np.isfinite(classes).all():
                raise InputError(
                    f"{self._paths[0]} holds NaN or infinity in voxels {box.start} to {box.stop} (z, y, x), which is "
                    "no class id. Replace it by 0, or by a number that ignore_id names."
                )
            return np.stack(labels_of_ids(classes, self._ids, self._ignore))
        return np.stack([labels_of(s.read(box), path) for s, path in zip(self._sources, self._paths, strict=True)])


class LabelSlices:
    """Truth of some z slices, for ``count`` features; voxels in other slices are ignored."""

    def __init__(self, labels: Labels, slices: Sequence[int], count: int):
        self._labels, self._slices, self._count = labels, np.unique(np.asarray(slices, int)), count

    def read(self, box: Box) -> Truth:
        """Labels (features, z, y, x); only annotated slices are read."""
        inside = self._slices[(self._slices >= box.start[0]) & (self._slices < box.stop[0])]
        out = np.full((self._count, *box.shape), IGNORE, np.uint8)
        for z in inside.tolist():
            out[:, z - box.start[0]] = self._labels.read(Box((z, *box.start[1:]), (z + 1, *box.stop[1:])))[:, 0]
        return out


class LabelSome:
    """Truth of some of a recipe's features; the others are ignored everywhere.

    Parameters
    ----------
    labels
        The truth.
    rows, count
        Index of the feature of each row of ``labels``, and the number of all features.
    """

    def __init__(self, labels: Labels, rows: Sequence[int], count: int):
        self._labels, self._rows, self._count = labels, list(rows), count

    def read(self, box: Box) -> Truth:
        """Labels (all features, z, y, x)."""
        some = self._labels.read(box)
        out: Truth = np.full((self._count, *box.shape), nothing(some), some.dtype)
        out[self._rows] = some
        return out


def nothing(truth: Truth) -> float:
    """The value of voxels that are not known: 2 for labels, NaN for numbers."""
    return np.nan if truth.dtype.kind == "f" else IGNORE


class LabelPoints:
    """Truth from points: a ball around each point.

    Parameters
    ----------
    points_vox
        For each feature its points, (n, 3) float64, z, y, x in voxels.
    radii, beyond
        Angstrom. Radius of each feature's balls; voxels between the radius and ``beyond`` are ignored. ``None``: no
        voxel is ignored.
    voxel_size
        Voxel size in angstrom, z, y, x.
    """

    def __init__(
        self,
        points_vox: Sequence[NDArray[np.float64]],
        radii: Sequence[float],
        voxel_size: Sequence[float],
        beyond: float | None = None,
    ):
        self._points, self._radii = list(points_vox), list(radii)
        self._size, self._beyond = np.asarray(voxel_size, float), beyond

    @classmethod
    def from_files(
        cls, paths: Sequence[str], radii: Sequence[float], volume: Volume, beyond: float | None = None
    ) -> LabelPoints:
        """Read the points from picks files, one per feature; ``radii`` (angstrom) has one value, or one per file.

        Raises
        ------
        InputError
            There are no points, or a ball around any of them would cover the whole volume.
        """
        extent = np.asarray(volume.shape) * volume.voxel_size
        if max(radii) >= np.linalg.norm(extent):
            z, y, x, far = (float(a) / NM_TO_ANGSTROM for a in (*extent, max(radii)))
            raise InputError(
                f"{volume.url} has {z:g} x {y:g} x {x:g} nm (z, y, x), so a ball of radius_nm {far:g} covers all of it,"
                " and there is no background to learn. Is the radius angstrom? It is given in nm."
            )
        points = []
        for path in paths:
            picks = picks_of(path, volume, volume.origin)
            if not len(picks):
                raise InputError(f"{path}: there are no points.")
            points.append(picks.position_vox)
        return cls(points, [*radii] * (len(paths) // len(radii)), volume.voxel_size, beyond)

    def read(self, box: Box) -> NDArray[np.uint8]:
        """Labels (features, z, y, x) by a voxel's distance: 1 up to the radius, 2 up to ``beyond``, 0 further away."""
        out = np.zeros((len(self._points), *box.shape), np.uint8)
        for labels, points, radius in zip(out, self._points, self._radii, strict=True):
            far = radius if self._beyond is None else max(radius, self._beyond)
            squares = nearest_squares(box, points, self._size, far)
            labels[squares <= far**2] = IGNORE
            labels[squares <= radius**2] = FEATURE
        return out


def picks_of(path: str, volume: Volume, origin: Vector3 | None) -> Picks:
    """Read the picks of a volume: those of the only tomogram of a file, or of the one that has the volume's name.

    Parameters
    ----------
    path, volume
        The file, and the volume, whose voxel size and shape the picks have.
    origin
        The origin that the picks have; ``None``: what the file states, or else that of the volume.

    Raises
    ------
    InputError
        The file has no rows of the volume (:func:`volengine.io.picks.of_volumes.read_of`).
    """
    return points_of(path, volume, origin)[0]


def points_of(path: str, volume: Volume, origin: Vector3 | None) -> tuple[Picks, str]:
    """The same as :func:`picks_of`, and a sentence that says which rows of the file they are."""
    from volengine.io.picks.of_volumes import read_of

    known = Known(volume.voxel_size, origin, volume.shape, volume_origin=volume.origin)
    tables, said = read_of(path, {volume.name: known})
    return tables[volume.name], said


def nearest_squares(
    box: Box, points_vox: NDArray[np.float64], voxel_size: NDArray[np.float64], reach: float
) -> NDArray[np.float64]:
    """Squared distance of each voxel of a box to the nearest point.

    For each point near the box only the voxels around it are visited, along an axis at most those of the box. So the
    cost grows with the part of the balls that is in the box: not with the box times the number of points if they are
    small, and not with their volume if they are large.

    Parameters
    ----------
    box
        The box, in voxels of the volume.
    points_vox
        (n, 3) float64, z, y, x in voxels.
    voxel_size
        (3,) angstrom.
    reach
        Largest distance that is computed, angstrom.

    Returns
    -------
    ndarray
        Float64 of the box's shape, square angstrom; infinity where no point is within ``reach``.
    """
    squares = np.full(box.shape, np.inf)
    reach_vox = reach / voxel_size
    start, shape = np.array(box.start), np.array(box.shape)
    near = ((points_vox >= start - reach_vox) & (points_vox <= start + shape - 1 + reach_vox)).all(1)
    points = points_vox[near]
    counts = [int(min(2.0 * n + 1, side)) for n, side in zip(np.floor(reach_vox + 0.5), shape, strict=True)]
    at_once = max(1, BALL_VOXELS // (counts[0] * counts[1] * counts[2]))
    flat = squares.ravel()
    for first in range(0, len(points), at_once):
        some = points[first : first + at_once]
        total: NDArray[np.float64] = np.zeros((len(some), 1, 1, 1))
        index = np.zeros((len(some), 1, 1, 1), np.int64)
        for axis, count in enumerate(counts):
            voxels = np.tile(start[axis] + np.arange(count), (len(some), 1))
            if count < shape[axis]:
                voxels = np.rint(some[:, axis, None]).astype(np.int64) + np.arange(count) - count // 2
            apart = ((voxels - some[:, axis, None]) * voxel_size[axis]) ** 2
            local = voxels - start[axis]
            apart[(local < 0) | (local >= shape[axis])] = np.inf
            wide = (slice(None), *(slice(None) if a == axis else None for a in range(3)))
            total = total + apart[wide]
            index = index * shape[axis] + local[wide]
        within = total <= reach**2
        np.minimum.at(flat, index[within], total[within])
    return squares


def open_beside(path: str, volume: Volume, cache: ChunkCache | None = None, *, classes: bool = True) -> Source:
    """Open a file, or ``STORE#group``, that must have the shape of ``volume``.

    Raises
    ------
    InputError
        The shapes differ; or the volume is known to hold class ids, and ``classes`` are not expected.
    """
    url, group = split_group(path)
    found = open_volume(url, group=group, voxel_size=None if group else volume.voxel_size)
    if found.shape != volume.shape:
        raise InputError(f"{path} has the shape {found.shape}, its volume {volume.url} {volume.shape}.")
    if not classes and is_multilabel(found.url):
        raise InputError(f"{path} {OF_SEVERAL_OBJECTS} (ids in the sample of a recipe file).")
    source = open_source(found)
    return source if cache is None else cache.over(source, found)
