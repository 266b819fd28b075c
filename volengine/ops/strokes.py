"""What people draw in a slice, as voxels: strokes of a brush, polygons, fills, and slices between two drawn ones.

Every function works on one slice, along any axis of a volume; rows and columns are the other two axes, in the order z,
y, x. Coordinates are in voxels, with voxel centres at whole numbers. The result is a :class:`SliceMask`: a boolean
plane that is as small as what was drawn, and where it begins.

>>> drawn = brush([(10, 4), (10, 30)], radius=2, shape=(64, 64))
>>> drawn.start, drawn.mask.shape, int(drawn.mask.sum())
((8, 2), (5, 31), 143)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.errors import InputError

Shape2 = tuple[int, int]

PARTS = 256
"""Corners of polygons are rounded to so many parts of a voxel, so that the voxels inside follow from whole numbers."""

MOST_POINTS = 100_000
"""Points of one stroke; a hand that draws for a minute makes some thousands."""

FAR = 2**20
"""Voxels from the first one beyond which no point may lie."""

LEAST_OVERLAP = 0.1
"""Share of the smaller of two outlines that must lie within the other one, for what is between them to be known."""


@dataclass(frozen=True)
class SliceMask:
    """Some voxels of a slice.

    Parameters
    ----------
    start
        Row and column of the first voxel of the mask in its slice.
    mask
        (rows, columns) bool; it is empty, (0, 0), if no voxel of the slice is drawn.
    """

    start: Shape2
    mask: NDArray[np.bool_]

    def whole(self, shape: Shape2) -> NDArray[np.bool_]:
        """Return the mask in a slice of a shape."""
        out = np.zeros(shape, bool)
        (row, column), (rows, columns) = self.start, self.mask.shape
        out[row : row + rows, column : column + columns] = self.mask
        return out


def cropped(mask: NDArray[np.bool_], start: Shape2 = (0, 0)) -> SliceMask:
    """Cut a mask down to the voxels that are set; ``start`` is where its first voxel lies in the slice."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return SliceMask((0, 0), np.zeros((0, 0), bool))
    top, left = int(rows[0]), int(columns[0])
    return SliceMask((start[0] + top, start[1] + left), mask[top : rows[-1] + 1, left : columns[-1] + 1].copy())


def brush(points: ArrayLike, radius: float, shape: Shape2) -> SliceMask:
    """The voxels that a disc covers on its way from point to point, without gaps.

    A voxel is covered if its centre is not farther than ``radius`` from the line through the points. Parts of the way
    outside of the slice cover nothing.

    Parameters
    ----------
    points
        (n, 2) rows and columns in voxels, at least one.
    radius
        Voxels, at least 0.5; the distance of a covered centre may equal it.
    shape
        Rows and columns of the slice.

    Raises
    ------
    InputError
        There is no point, or too many; a number is not finite or far outside; or the radius is below 0.5.

    Examples
    --------
    >>> brush([(2, 2)], radius=1, shape=(8, 8)).mask.astype(int).tolist()
    [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    """
    path = _points(points, 1)
    if not (np.isfinite(radius) and 0.5 <= radius <= FAR):
        raise InputError(f"A brush needs a radius of 0.5 voxels or more, not {radius!r}.")
    low = np.maximum(np.ceil(path.min(0) - radius), 0).astype(int)
    high = np.minimum(np.floor(path.max(0) + radius) + 1, shape).astype(int)
    if (high <= low).any():
        return cropped(np.zeros((0, 0), bool))
    covered = np.zeros(high - low, bool)
    ends = np.roll(path, -1, axis=0)[:-1] if len(path) > 1 else path
    for begin, end in zip(path, ends, strict=False):
        first = np.maximum(np.ceil(np.minimum(begin, end) - radius).astype(int), low)
        last = np.minimum(np.floor(np.maximum(begin, end) + radius).astype(int) + 1, high)
        if (last <= first).any():
            continue
        rows, columns = (np.arange(a, b) for a, b in zip(first, last, strict=True))
        near = _near_segment(rows[:, None], columns[None, :], begin, end, radius)
        covered[first[0] - low[0] : last[0] - low[0], first[1] - low[1] : last[1] - low[1]] |= near
    return cropped(covered, (int(low[0]), int(low[1])))


def _near_segment(
    rows: NDArray[np.int_],
    columns: NDArray[np.int_],
    begin: NDArray[np.float64],
    end: NDArray[np.float64],
    radius: float,
) -> NDArray[np.bool_]:
    """Whether the distance to a segment is at most the radius; no division, so that equal distances are equal."""
    dr, dc = end - begin
    length2 = dr * dr + dc * dc
    r, c = rows - begin[0], columns - begin[1]
    near = r * r + c * c <= radius * radius
    if length2 > 0:
        along = r * dr + c * dc
        across = r * dc - c * dr
        near |= (rows - end[0]) ** 2 + (columns - end[1]) ** 2 <= radius * radius
        near |= (along > 0) & (along < length2) & (across * across <= radius * radius * length2)
    return np.asarray(near)


def polygon(corners: ArrayLike, shape: Shape2) -> SliceMask:
    """The voxels whose centres lie inside of a closed polygon, by the even-odd rule.

    A centre on an upper or left side belongs to it, one on a lower or right side does not, so polygons that share a
    side share no voxel. Corners are rounded to :data:`PARTS` parts of a voxel, and all that follows is whole numbers.

    Parameters
    ----------
    corners
        (n, 2) rows and columns in voxels, at least three; the last one is joined to the first.
    shape
        Rows and columns of the slice.

    Raises
    ------
    InputError
        There are fewer than three corners or too many, or a number is not finite or far outside.

    Examples
    --------
    >>> int(polygon([(0, 0), (0, 4), (4, 4), (4, 0)], (8, 8)).mask.sum())
    16
    """
    points = np.rint(_points(corners, 3) * PARTS).astype(np.int64)
    ends = np.roll(points, -1, axis=0)
    low = max(0, int(-(-points[:, 0].min() // PARTS)))
    high = min(shape[0], int(points[:, 0].max() // PARTS) + 1)
    if high <= low:
        return cropped(np.zeros((0, 0), bool))
    turns = np.zeros((high - low, shape[1] + 1), np.int32)
    for (r0, c0), (r1, c1) in zip(points.tolist(), ends.tolist(), strict=True):
        if r0 == r1:
            continue
        if r0 > r1:
            r0, c0, r1, c1 = r1, c1, r0, c0
        first, last = max(low, -(-r0 // PARTS)), min(high, -(-r1 // PARTS))
        if last <= first:
            continue
        rows = np.arange(first, last, dtype=np.int64)
        # the first whole column at or right of where the side crosses the row: a quotient rounded up
        above, below = c0 * (r1 - r0) + (rows * PARTS - r0) * (c1 - c0), (r1 - r0) * PARTS
        np.add.at(turns, (rows - low, np.clip(-(-above // below), 0, shape[1])), 1)
    return cropped(np.cumsum(turns[:, :-1], axis=1) % 2 == 1, (low, 0))


def noise_of(values: NDArray[np.floating]) -> float:
    """Standard deviation of the noise of a picture, from the differences of neighbours.

    It is 1.4826 times the median of their absolute values, divided by the root of 2: for Gaussian noise the standard
    deviation, and hardly changed by edges (Rousseeuw and Croux, J. Am. Stat. Assoc. 88:1273, 1993).

    Parameters
    ----------
    values
        (rows, columns); values that are not finite are left out. 0 if there are no neighbours.
    """
    apart = np.concatenate([np.abs(np.diff(values, axis=a)).ravel() for a in (0, 1)])
    apart = apart[np.isfinite(apart)]
    return float(1.4826 * np.median(apart) / np.sqrt(2)) if len(apart) else 0.0


def rows_of(runs: ArrayLike, shape: Shape2) -> SliceMask:
    """The voxels of runs along rows, as a viewer that has computed them itself sends them.

    Parameters
    ----------
    runs
        (n, 3) whole numbers: row, first column, and the column behind the last one. They may overlap.
    shape
        Rows and columns of the slice.

    Raises
    ------
    InputError
        They are no such numbers, or leave the slice.

    Examples
    --------
    >>> rows_of([[1, 2, 4]], (3, 5)).mask.tolist()
    [[True, True]]
    """
    found = np.asarray(runs)
    if found.ndim != 2 or found.shape[1:] != (3,) or found.dtype.kind not in "iu":
        raise InputError("Runs are rows of three whole numbers: row, first column, and the column behind the last.")
    row, first, stop = found.T
    inside = (row >= 0) & (row < shape[0]) & (first >= 0) & (stop <= shape[1]) & (first < stop)
    if not inside.all():
        raise InputError(f"The run {found[~inside][0].tolist()} is empty or leaves the slice of shape {tuple(shape)}.")
    low = int(row.min(initial=shape[0] - 1))
    turns = np.zeros((int(row.max(initial=low)) + 1 - low, shape[1] + 1), np.int32)
    np.add.at(turns, (row - low, first), 1)
    np.add.at(turns, (row - low, stop), -1)
    return cropped(np.cumsum(turns[:, :-1], axis=1) > 0, (low, 0))


def fill(values: NDArray[Any], seed: Shape2, radius: float, band: float) -> SliceMask:
    """The voxels about a seed whose grey values are like that of the seed.

    They are joined to the seed by neighbours along rows and columns, lie within the circle of the brush, and their
    values differ from the seed's by at most ``band`` times the noise in that circle (:func:`noise_of`). So the same
    band does the same on data of any scale and any mean.

    Parameters
    ----------
    values
        (rows, columns), the whole slice or a window of it that holds the circle.
    seed
        Row and column.
    radius
        Of the circle about the seed, voxels.
    band
        Largest difference, in standard deviations of the local noise; 0: equal values alone.

    Raises
    ------
    InputError
        The seed lies outside, its value is not finite, or a number is negative or not finite.
    """
    start, window, inside = _circle(values, seed, radius)
    grey = window.astype(np.float64)
    middle = grey[seed[0] - start[0], seed[1] - start[1]]
    if not np.isfinite(middle):
        raise InputError(f"The voxel at row {seed[0]}, column {seed[1]} is {middle}; a fill begins at a number.")
    if not (np.isfinite(band) and band >= 0):
        raise InputError(f"The band of a fill is 0 or more times the noise, not {band!r}.")
    limit = band * noise_of(np.where(inside, grey, np.nan))
    with np.errstate(invalid="ignore"):
        like = inside & (np.abs(grey - middle) <= limit)
    return _joined(like, seed, start)


def fill_labels(labels: NDArray[np.integer], seed: Shape2, radius: float | None = None) -> SliceMask:
    """The voxels with the label of the seed that are joined to it by neighbours along rows and columns.

    Parameters
    ----------
    labels
        (rows, columns), the whole slice.
    seed
        Row and column.
    radius
        Only within this circle about the seed, voxels; ``None``: in the whole slice.

    Raises
    ------
    InputError
        The seed lies outside, or the radius is not a number of 0.5 or more.

    Examples
    --------
    >>> ring = np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]])
    >>> fill_labels(ring, (1, 1)).start
    (1, 1)
    """
    far = float(FAR) if radius is None else radius
    start, window, inside = _circle(labels, seed, far)
    return _joined(inside & (window == labels[seed]), seed, start)


def _circle(values: NDArray[Any], seed: Shape2, radius: float) -> tuple[Shape2, NDArray[Any], NDArray[np.bool_]]:
    """Where the window around a circle begins, its values, and the voxels within the circle."""
    if values.ndim != 2 or not all(0 <= s < n for s, n in zip(seed, values.shape, strict=True)):
        raise InputError(f"The seed {tuple(seed)} lies outside of the slice, whose shape is {values.shape}.")
    if not (np.isfinite(radius) and 0.5 <= radius <= FAR):
        raise InputError(f"A fill needs a radius of 0.5 voxels or more, not {radius!r}.")
    reach = int(radius)
    low = [max(0, s - reach) for s in seed]
    high = [min(n, s + reach + 1) for s, n in zip(seed, values.shape, strict=True)]
    rows, columns = (np.arange(a, b) - s for a, b, s in zip(low, high, seed, strict=True))
    inside = rows[:, None] ** 2 + columns[None, :] ** 2 <= radius * radius
    return (low[0], low[1]), values[low[0] : high[0], low[1] : high[1]], inside


def _joined(like: NDArray[np.bool_], seed: Shape2, start: Shape2) -> SliceMask:
    from scipy.ndimage import label

    numbers, _ = label(like)
    return cropped(numbers == numbers[seed[0] - start[0], seed[1] - start[1]], start)


def take_above(
    prediction: NDArray[Any], threshold: float, within: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """The voxels of a prediction above a threshold, within a region; NaN is not above.

    Parameters
    ----------
    prediction
        Values of any shape.
    threshold
        Values that equal it are not above.
    within
        Voxels that may be taken, of the same shape; ``None``: all.
    """
    with np.errstate(invalid="ignore"):
        above = np.asarray(prediction > threshold)
    return above if within is None else above & within


def interpolated(first: NDArray[np.bool_], last: NDArray[np.bool_], count: int) -> list[NDArray[np.bool_]]:
    """The outlines of the slices between two drawn ones.

    Each slice has a mean of the signed distances from both outlines, weighted by its distance from the two slices; a
    voxel belongs to it where the mean is positive (shape-based interpolation: Raya and Udupa, IEEE Trans. Med. Imaging
    9:32, 1990). What lies outside of the slice counts as not drawn. First and last may be exchanged: the slices are the
    same in the opposite order.

    Parameters
    ----------
    first, last
        (rows, columns), the two slices.
    count
        Number of slices between them.

    Raises
    ------
    InputError
        Their shapes differ, one of them is empty, or their outlines hardly overlap (:data:`LEAST_OVERLAP`), as those of
        an oblique filament: what is between is then not known.
    """
    if first.shape != last.shape or first.ndim != 2:
        raise InputError(f"The slices have the shapes {first.shape} and {last.shape}; they must be equal.")
    sizes = int(first.sum()), int(last.sum())
    if not min(sizes):
        which = "first" if not sizes[0] else "last"
        raise InputError(f"Nothing is drawn in the {which} of the two slices; draw the feature in both.")
    shared = int((first & last).sum())
    if shared < LEAST_OVERLAP * min(sizes):
        raise InputError(
            f"The outlines of the two slices hardly overlap: {shared} voxels of {min(sizes)} of the smaller one, "
            f"{LEAST_OVERLAP:.0%} are needed. What lies between cannot be told; draw a slice between them."
        )
    box = cropped(first | last)
    (row, column), (rows, columns) = box.start, box.mask.shape
    inner = (slice(row, row + rows), slice(column, column + columns))
    one, other = _signed(first[inner]), _signed(last[inner])
    slices = []
    for number in range(1, count + 1):
        plane = np.zeros(first.shape, bool)
        plane[inner] = (count + 1 - number) * one + number * other > 0
        slices.append(plane)
    return slices


def _signed(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distance from the nearest voxel of the other kind: positive inside of a mask, negative outside."""
    from scipy.ndimage import distance_transform_edt

    wide = np.pad(mask, 1)
    apart = distance_transform_edt(wide) - distance_transform_edt(~wide)
    return np.asarray(apart[1:-1, 1:-1], np.float64)


def _points(points: ArrayLike, least: int) -> NDArray[np.float64]:
    try:
        found = np.asarray(points, np.float64)
    except (TypeError, ValueError):
        raise InputError("Points are pairs of numbers, row and column.") from None
    if found.ndim != 2 or found.shape[1:] != (2,) or not least <= len(found) <= MOST_POINTS:
        raise InputError(
            f"Points are pairs of numbers, row and column: {least} to {MOST_POINTS:,} of them are expected, not an "
            f"array of shape {found.shape}."
        )
    if not (np.abs(found) <= FAR).all():  # NaN, too
        raise InputError(f"A point is not a number, or lies more than {FAR:,} voxels outside of the slice.")
    return found


def joined_points(points: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return points as they are kept: rounded to :data:`PARTS` parts of a voxel, and none of them twice in a row."""
    rounded = (np.rint(_points(points, 1) * PARTS) / PARTS).tolist()
    return [at for n, at in enumerate(rounded) if n == 0 or at != rounded[n - 1]]
