"""Filaments: the centreline of each tube of a component, and points along it.

1. Voxels that the component encloses are filled: thinning would leave a wall around each hole, in which the line ends.
   So is the lumen of a hollow tube, which may be open at its ends (:mod:`volengine.ops.filament_walls`). A component
   of which more than half as many voxels are filled as it has, and which is not long then, is a closed wall, as that
   of a vesicle or of a hollow ring, and has no line. One with much more voxels than tubes around its thinned voxels is
   a wall or a sheet; its lines say so. Each lumen of hollow tubes that touch gives a line of its own; where that is not
   sure, the lines say that they are those of a wall (:mod:`volengine.ops.filament_bundles`).
2. It is thinned (Lee, Kashyap & Chu, CVGIP 56:462, 1994), as a whole, and its voxels become curves
   (:mod:`volengine.ops.skeleton_graph`), which are cut where three or more meet.
3. Every point of a curve moves to the mean of the component's voxels in the plane across it. Voxels nearer to another
   curve do not count.
4. A polynomial of degree 4 is fitted to the points around each point, within :func:`reach_of` along the curve, with the
   weights of Cleveland (J. Am. Stat. Assoc. 74:829, 1979). It gives position, tangent and curvature; the curvature is
   averaged over half of that reach.
5. If it is asked for, samples near a free end whose section is not whole are left out, because a cut that is not
   across the filament has a pointed corner, into which thinning runs. Then each free end goes on along its tangent to
   where the component ends (:mod:`volengine.ops.filament_ends`).

So the result depends on the component's voxels only. Lengths are in units of a voxel's shortest side.

>>> z, y, x = np.indices((9, 9, 60))
>>> tube = np.argwhere((z - 4) ** 2 + (y - 4) ** 2 <= 9)
>>> (line,) = centrelines(tube, (1, 1, 1), least=20)
>>> points = line.points(10)
>>> points.position.round(1)[:2, :2].tolist(), points.tangent.round(3)[0].tolist()
([[4.0, 4.0], [4.0, 4.0]], [0.0, 0.0, 1.0])
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import MemoryRefusedError
from volengine.core.volume import Vector3
from volengine.ops.filament_bundles import (
    has_twin,
    in_a_row,
    lumen_radius,
    lumens_apart,
    nearest_lumen,
    of_tubes,
    side_by_side,
)
from volengine.ops.filament_ends import Members, beyond, whole_sections
from volengine.ops.filament_walls import GAP, is_wall, lumens, radius_by_surface, without_dents
from volengine.ops.skeleton_graph import curves_and_nodes

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BYTES_PER_VOXEL = 7
"""Bytes for a voxel of a component's box: the mask, thickened and filled copies, and numbers of the parts of lumens."""
BYTES_PER_MEMBER = 200
"""Bytes that a voxel of a component needs: its coordinates in three forms, its neighbours, its shares of planes."""
LEAST_REACH, REACH_RADII = 20.0, 6.0
"""Reach of the fit along the curve: this many voxels, or radii of the tube, whichever is more."""
DEGREE = 4
"""Degree of the fitted polynomial."""
END_DEGREE = 2
"""Degree of the one that says where an end goes on: with a higher one the direction there depends on single voxels."""
SLAB = 1.0
"""Half the thickness of the plane in which voxels are averaged."""
TIE = 1e-6
"""Voxels so little farther away belong to it: along an axis distances are whole, and rounding must not decide."""
MOST_ENCLOSED = 0.5
"""Holes of a filament have at most this share of its voxels; what encloses more is a hollow tube or a wall."""
LEAST_LUMEN = 0.1
"""A component is a hollow tube as a whole if its lumens have this share of its voxels, and not a network with a few."""
LOST_RADII = 3.0
"""Voxels this many radii away from the thinned component, and 3 more, say that a stretch of it is missing."""
STRAIGHT = 1e6
"""Largest radius of curvature; a straight line has it."""


class FilamentPoints(NamedTuple):
    """Points along a filament, in units of a voxel's shortest side.

    ``position`` and ``tangent`` (n, 3), z, y, x; ``along`` (n,), the length from the begin; ``radius`` (n,), of
    curvature.
    """

    position: Floats
    tangent: Floats
    along: Floats
    radius: Floats


@dataclass(frozen=True)
class Centreline:
    """A filament's centreline, about one sample per voxel; ``closed``: the last sample is joined to the first.

    ``nodes`` are the numbers of its ends in its component: lines that meet have the same one; -1: it is closed.
    ``wall``: its component is a wall or a sheet rather than a filament, or several that touch and could not be told
    apart, so that its line says little.
    """

    position: Floats
    tangent: Floats
    curvature: Floats
    along: Floats
    closed: bool
    nodes: tuple[int, int] = (-1, -1)
    wall: bool = False

    @property
    def length(self) -> float:
        """Its length."""
        return float(self.along[-1])

    def points(self, spacing: float) -> FilamentPoints:
        """Points every ``spacing`` along the line, from its begin."""
        from scipy.interpolate import CubicHermiteSpline

        count = int(np.floor(self.length / spacing + 1e-9)) + 1
        if self.closed and count > 1 and self.length - (count - 1) * spacing < spacing / 2:
            count -= 1  # the last point would come too close to the first
        at = (np.arange(count) * spacing).astype(np.float64)
        spline = CubicHermiteSpline(self.along, self.position, self.tangent)
        tangent = spline(at, 1)
        tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
        curvature = np.interp(at, self.along, self.curvature)
        return FilamentPoints(spline(at), tangent, at, 1 / np.maximum(curvature, 1 / STRAIGHT))


def walls_said(count: int) -> str:
    """How messages tell of components that have no centreline."""
    if count == 1:
        return "1 component is a closed wall (a vesicle, a hollow ring) and no filament: it has no line"
    return f"{count} components are closed walls (vesicles, hollow rings) and no filaments: they have no lines"


def sheets_said(count: int) -> str:
    """How messages tell of components whose lines say little."""
    if count == 1:
        return "1 component is a wall, a sheet or filaments side by side: its lines say little of lengths"
    return f"{count} components are walls, sheets or filaments side by side: their lines say little of lengths"


def reach_of(radius: float) -> float:
    """How far along the curve the fit reaches, for a tube of this radius."""
    return max(LEAST_REACH, REACH_RADII * radius)


def centrelines(
    voxels: NDArray[np.generic],
    scale: Vector3,
    least: float,
    memory_bytes: float = np.inf,
    *,
    to_ends: bool = False,
) -> list[Centreline] | None:
    """The centrelines of the filaments of a component.

    Parameters
    ----------
    voxels
        (n, 3) whole numbers: all voxels z, y, x of the component, in the order of their place in the volume.
    scale
        Sides of a voxel z, y, x, in units of the shortest one.
    least
        Shorter filaments and branches are dropped.
    memory_bytes
        Memory that may be used.
    to_ends
        Whether free ends go on to where the component ends.

    Returns
    -------
    list of Centreline or None
        ``None``: the component is a closed wall, as that of a vesicle or of a hollow ring: it encloses more than half
        as many voxels as it has, and is no long tube.

    Raises
    ------
    MemoryRefusedError
        The component's box needs more.
    """
    lines, lumen = _followed(voxels, scale, least, memory_bytes, to_ends=to_ends)
    size = np.asarray(scale, float)
    parts = lumens_apart(lumen, size)
    if sum(map(len, parts)) < LEAST_LUMEN * len(voxels):
        flat = side_by_side([(line.position, line.tangent) for line in lines or ()], voxels, size)
        return lines and [replace(line, wall=line.wall or beside) for line, beside in zip(lines, flat, strict=True)]
    if len(parts) > 1:
        owner = nearest_lumen(voxels, parts, size)
        tubes = [_tube(voxels[owner == k], scale, least, memory_bytes, to_ends) for k in range(len(parts))]
        apart = _apart(tubes, lumen_radius(parts, size))
        if apart is not None:
            return apart
    alone = len(parts) == 1 or (lines is not None and len(lines) == 1)
    if lines and not (alone and of_tubes([(line.position, line.tangent) for line in lines], parts, voxels, size)):
        return [replace(line, wall=True) for line in lines]
    return lines


def _tube(
    voxels: NDArray[np.generic], scale: Vector3, least: float, memory_bytes: float, to_ends: bool
) -> list[Centreline] | None:
    """The line of a hollow tube that is a part of a component, if it is one; none if it is too short."""
    lines, lumen = _followed(voxels, scale, least, memory_bytes, to_ends=to_ends)
    size = np.asarray(scale, float)
    parts = lumens_apart(lumen, size)
    if lines == [] and np.linalg.norm(np.ptp(voxels, axis=0) * size) < least:
        return []
    if not lines or len(lines) > 1 or lines[0].wall or not parts:
        return None
    return lines if of_tubes([(lines[0].position, lines[0].tangent)], parts, voxels, size) else None


def _apart(tubes: list[list[Centreline] | None], radius: float) -> list[Centreline] | None:
    """The lines of tubes side by side, if all are tubes, and none goes on in another."""
    lines: list[Centreline] = []
    for tube in tubes:
        if tube is None:
            return None
        for line in tube:
            if any(in_a_row(line.position, other.position, radius) for other in lines):
                return None
            first = 1 + max((max(other.nodes) for other in lines), default=-1)
            nodes = line.nodes if line.closed else (line.nodes[0] + first, line.nodes[1] + first)
            lines.append(replace(line, nodes=nodes))
    return lines


def _followed(
    voxels: NDArray[np.generic], scale: Vector3, least: float, memory_bytes: float, *, to_ends: bool
) -> tuple[list[Centreline] | None, Ints]:
    """:func:`centrelines` of a component as one body; and the voxels (n, 3) of its lumens, which were filled."""
    if np.sqrt(3) * len(voxels) * max(scale) < least:  # a speck: too few voxels for this length, however they lie
        return [], np.zeros((0, 3), np.int64)
    first, last = voxels.min(0).astype(np.int64), voxels.max(0).astype(np.int64)
    sides = last - first + 1
    _check_memory(voxels, first, last, memory_bytes)
    mask = np.zeros(sides, bool)
    mask[tuple((voxels.astype(np.int64) - first).T)] = True
    given = voxels
    size = np.asarray(scale, float)
    enclosed = _enclosed(mask)
    most = MOST_ENCLOSED * len(voxels)
    if len(enclosed) > most and sum(map(len, lumens_apart(enclosed, size))) <= most:
        return None, enclosed[:0]
    mask[tuple(enclosed.T)] = True
    filled = len(enclosed)
    for gap in (0, GAP):  # gaps of the wall are closed if what is found else is a wall
        lumen, hollow = lumens(mask, size, gap)
        mask[tuple(lumen.T)] = True
        filled += len(lumen)
        tube = len(lumen) >= LEAST_LUMEN * len(voxels)
        if tube and not gap:  # where the wall has a slit, a part of its lumen is still open
            lumen, _ = lumens(mask, size, GAP)
            mask[tuple(lumen.T)] = True
            filled += len(lumen)
        holes = mask.copy()
        holes[tuple((given.astype(np.int64) - first).T)] = False
        within = _whole(np.argwhere(holes)) + first
        del holes
        if tube:
            mask = without_dents(mask)
            mask[tuple(_enclosed(mask).T)] = True
        if filled:
            voxels = _whole(np.argwhere(mask)) + first
            _check_memory(voxels, first, last, memory_bytes)
        thin = _thinned_whole(mask, voxels.astype(np.int64) - first, size)
        if not (wall := is_wall(mask, thin, size)):
            break
    del mask
    thin += first
    radius = np.sqrt(len(voxels) * np.prod(size) / (np.pi * max(_length(thin, size), 1.0)))
    found = curves_and_nodes(thin, least=max(least, 2 * radius), bridge=2 * radius)
    rough = [(_sampled(thin[one.voxels] * size, one.closed), one) for one in found]
    kept = [(line, one) for line, one in rough if len(line) >= 4]
    if not kept:
        return (None if filled > most else []), within
    wall |= has_twin(thin * size, [one.voxels for one in found], radius)
    fitted = [_fit(line, one.closed, reach_of(radius) / 2) for line, one in kept]
    centred, areas = _centred(
        [f.position for f in fitted], [f.tangent for f in fitted], voxels * size, size, 2.5 * radius
    )
    spans = [slice(0, len(line)) for line in centred]
    meeting = Counter(node for one in found for node in one.nodes)
    free = [(meeting[one.nodes[0]] == 1, meeting[one.nodes[1]] == 1) for _, one in kept]
    middle = 0.0
    if tube:
        widest = float(np.sqrt(max(float(np.median(area)) for area in areas) / np.pi))
        middle = (hollow + widest) / 2
    if to_ends:
        # the end goes on straight: so far that a bent line is a voxel aside
        far = [min(2 * middle, np.sqrt(2 / max(float(np.median(f.curvature)), 1 / STRAIGHT))) for f in fitted]
        spans = [whole_sections(*each) for each in zip(areas, free, far, strict=True)]
    lines = [
        replace(_fit(line[span], one.closed, reach_of(radius)), nodes=one.nodes, wall=wall)
        for line, span, (_, one) in zip(centred, spans, kept, strict=True)
    ]
    if to_ends:
        inside = Members(voxels, size, radius, middle)
        ways = [
            _fit(line[span], one.closed, reach_of(radius), END_DEGREE).tangent
            for line, span, (_, one) in zip(centred, spans, kept, strict=True)
        ]
        longer = [_to_ends(*each, inside) for each in zip(lines, ways, free, strict=True)]
        # what is hardly longer than wide is no filament, however far its ends go on
        long = [float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum()) for line in centred]
        lines = [
            new if min(least, 2 * radius) <= length else old
            for old, new, length in zip(lines, longer, long, strict=True)
        ]
    lines = [line for line in lines if line.length >= least]
    return (None if filled > most and not lines else lines), within


def _to_ends(line: Centreline, ways: Floats, free: tuple[bool, bool], inside: Members) -> Centreline:
    """A line whose free ends go on, straight, to where the component ends; the curvature there is that of the end."""
    if line.closed:
        return line
    more = [
        beyond(line.position[end], turn * ways[end], inside) if there else np.zeros((0, 3))
        for end, turn, there in ((0, -1, free[0]), (-1, 1, free[1]))
    ]
    pad = (len(more[0]), len(more[1]))
    position = np.concatenate([more[0][::-1], line.position, more[1]])
    tangent, curvature = np.pad(line.tangent, (pad, (0, 0)), mode="edge"), np.pad(line.curvature, pad, mode="edge")
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(position, axis=0), axis=1))])
    return replace(line, position=position, tangent=tangent, curvature=curvature, along=along)


def _check_memory(voxels: NDArray[np.generic], first: Ints, last: Ints, memory_bytes: float) -> None:
    needed = BYTES_PER_VOXEL * int(np.prod(last - first + 1)) + BYTES_PER_MEMBER * len(voxels)
    if needed > memory_bytes:
        raise MemoryRefusedError(
            f"A component of {len(voxels)} voxels from {first.tolist()} to {last.tolist()} (z, y, x) needs "
            f"{needed / 1e9:.2f} GB to find its filaments, and {memory_bytes / 1e9:.2f} GB are planned. Give workers "
            "more memory, raise the threshold so that filaments come apart, or pick parts of the volume."
        )


def _enclosed(mask: NDArray[np.bool_]) -> Ints:
    """The voxels that a component (26 neighbours) encloses: from which no way of 6 neighbours leads out of its box."""
    from scipy.ndimage import label

    if min(mask.shape) < 3:
        return np.zeros((0, 3), np.int64)
    outside = np.pad(~mask, 1, constant_values=True)
    parts = np.empty(outside.shape, np.int32)
    if label(outside, output=parts) == 1:
        return np.zeros((0, 3), np.int64)
    del outside
    hollow = parts > 1  # the first part holds the first voxel, and with it all that is outside of the box
    del parts
    return _whole(np.argwhere(hollow) - 1)


def _thinned(mask: NDArray[np.bool_]) -> Ints:
    from skimage.morphology import skeletonize

    if min(mask.shape) == 1:  # scikit-image thins planes by another method
        mask = np.pad(mask, 1)
        return _whole(np.argwhere(skeletonize(mask, method="lee")) - 1)
    return _whole(np.argwhere(skeletonize(mask, method="lee")))


def _thinned_whole(mask: NDArray[np.bool_], voxels: Ints, size: Floats) -> Ints:
    """A thinned component of which no stretch is missing.

    The thinning of scikit-image takes away, from its end on, a ribbon that is two voxels wide along an axis or the
    diagonal of two, because it does not look again whether a voxel is an end by then. Such a ribbon is what is left of
    a tube of an even width: all of a straight tube is lost. One layer more on one side makes the width odd; which sides
    have to grow is tried.
    """
    thin = _thinned(mask)
    if not _lost(thin, mask, voxels, size):
        return thin
    for axes in ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)):
        wider = np.pad(mask, [(0, int(k in axes)) for k in range(3)])
        for axis in axes:
            wider |= np.roll(wider, 1, axis)
        other = _thinned(wider)
        other = other[(other < mask.shape).all(axis=1)]
        other = _whole(other[mask[tuple(other.T)]])
        if not _lost(other, mask, voxels, size):
            return other
    return thin


def _lost(thin: Ints, mask: NDArray[np.bool_], voxels: Ints, size: Floats) -> bool:
    """Whether voxels of a tube are farther from its thinned voxels than they are anywhere in a whole one."""
    from scipy.spatial import cKDTree

    if not len(thin):
        return True
    across = float(np.linalg.norm(np.array(mask.shape) * size))
    radius = float(np.sqrt(len(voxels) * np.prod(size) / (np.pi * max(_length(thin, size), across))))
    away = cKDTree(thin * size).query(voxels[::5] * size)[0]
    far = float(away.max()) > LOST_RADII * radius + 3
    return far and radius < 2 * radius_by_surface(mask, size)


def _whole(index: NDArray[np.signedinteger[Any]]) -> Ints:
    return index.astype(np.int64, copy=False)


def _length(thin: Ints, size: Floats) -> float:
    """About the length of all curves: a voxel of a thinned component stands for its distance to the next one."""
    return 1.2 * len(thin) * float(np.cbrt(np.prod(size)))


def _sampled(line: Floats, closed: bool) -> Floats:
    """A line of voxels, smoothed by a running mean of five and sampled about once per unit of length."""
    if len(line) < 4:
        return line
    if closed:
        smooth = np.mean([np.roll(line, k, axis=0) for k in range(-2, 3)], axis=0)
        smooth = np.concatenate([smooth, smooth[:1]])
    else:
        total = np.concatenate([np.zeros((1, 3)), np.cumsum(line, axis=0)])
        half = np.minimum(2, np.minimum(np.arange(len(line)), np.arange(len(line))[::-1]))
        at = np.arange(len(line))
        smooth = (total[at + half + 1] - total[at - half]) / (2 * half + 1)[:, None]
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(smooth, axis=0), axis=1))])
    count = max(round(along[-1]), 3)
    wanted = np.linspace(0, along[-1], count + 1)
    wanted = wanted[:-1] if closed else wanted
    return np.stack([np.interp(wanted, along, column) for column in smooth.T], axis=1)


def _fit(line: Floats, closed: bool, reach: float, degree: int = DEGREE) -> Centreline:
    """Fit a polynomial around each sample of a line whose samples lie about evenly."""
    n = len(line)
    steps = np.linalg.norm(np.diff(np.concatenate([line, line[:1]]) if closed else line, axis=0), axis=1)
    step = float(steps.mean())
    half = max(int(reach / step), 3)
    half = min(half, (n - 1) // 2)
    here, offsets = np.arange(n), np.arange(-half, half + 1)
    middle = here if closed else np.clip(here, half, n - 1 - half)  # at an end the points are those of the end
    at = middle[:, None] + offsets
    wide = np.abs(middle - here) + half + 1
    u = (at - here[:, None]) / wide[:, None]
    weight = (1 - np.abs(u) ** 3) ** 3
    powers = u[:, :, None] ** np.arange(min(degree, 2 * half) + 1)
    normal = np.einsum("nk,nka,nkb->nab", weight, powers, powers)
    right = np.einsum("nk,nka,nkc->nac", weight, powers, line[at % n])
    found = np.linalg.solve(normal, right)
    unit = (wide * step)[:, None]
    position, slope = found[:, 0], found[:, 1] / unit
    bend = 2 * found[:, 2] / unit**2
    speed = np.linalg.norm(slope, axis=1)
    curvature = np.linalg.norm(np.cross(slope, bend), axis=1) / np.maximum(speed, 1e-12) ** 3
    if not closed:  # at an end one side alone says little of the bend
        curvature = curvature[middle]
    curvature = _mean_around(curvature, half // 2, closed)
    tangent = slope / np.maximum(speed, 1e-12)[:, None]
    if closed:
        position, tangent = np.concatenate([position, position[:1]]), np.concatenate([tangent, tangent[:1]])
        curvature = np.concatenate([curvature, curvature[:1]])
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(position, axis=0), axis=1))])
    return Centreline(position, tangent, curvature, along, closed)


def _mean_around(values: Floats, half: int, closed: bool) -> Floats:
    """The mean of the values up to ``half`` samples away."""
    padded = np.pad(values, half, mode="wrap" if closed else "edge")
    total = np.concatenate([[0.0], np.cumsum(padded)])
    mean: Floats = (total[2 * half + 1 :] - total[: -2 * half - 1]) / (2 * half + 1)
    return mean


def _centred(
    lines: list[Floats], tangents: list[Floats], places: Floats, size: Floats, far: float
) -> tuple[list[Floats], list[Floats]]:
    """Move every sample to the mean of the voxels in the plane across its line; and the area of that section."""
    from scipy.spatial import cKDTree

    whole, along = np.concatenate(lines), np.concatenate(tangents)
    owner = np.repeat(np.arange(len(lines)), [len(line) for line in lines])
    nearest = cKDTree(whole).query(places)[1]
    sums, counts, areas = np.zeros_like(whole), np.zeros(len(whole)), np.zeros(len(whole))
    deep = np.abs(along) @ size  # a voxel's depth along the line: with it, areas do not depend on where layers lie
    for shift in range(-4, 5):
        at = np.clip(nearest + shift, 0, len(whole) - 1)
        use = (at == nearest + shift) & (owner[at] == owner[nearest])
        at, away = at[use], places[use] - whole[nearest[use] + shift]
        height = np.einsum("ij,ij->i", away, along[at])
        across = away - height[:, None] * along[at]
        close = np.linalg.norm(across, axis=1) <= far + TIE
        near = (np.abs(height) <= SLAB + TIE) & close
        np.add.at(sums, at[near], across[near])
        np.add.at(counts, at[near], 1)
        share = np.maximum(1 - np.abs(height[close]) / deep[at[close]], 0) / deep[at[close]]
        np.add.at(areas, at[close], share)
    moved = whole + np.where(counts[:, None] >= 3, sums / np.maximum(counts, 1)[:, None], 0.0)
    cuts = np.cumsum([len(line) for line in lines])[:-1]
    return np.split(moved, cuts), np.split(areas * np.prod(size), cuts)
