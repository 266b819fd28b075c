"""Templates: particles as weighted points, made once and placed many times.

    template = template_of(structure, voxel_size=12.0)
    template.total      # integrated potential, V A^3: the same for every voxel size

Atoms are merged into *pseudo-atoms*: all atoms in one cell of a grid, whose cells are a third of a voxel wide, become
one point at their weighted centroid. The total and the first moment stay those of the atoms; a ribosome of 142,000
atoms becomes about 20,000 points. The points have the order of their cells, so they do not depend on the order of the
atoms.

Gold beads (:func:`bead`) and density maps (:func:`template_of_density`) become templates as well. :func:`aligned`
rotates a template so that its long axis is along z, for filaments and membranes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.errors import InputError
from volengine.core.specimen import Template
from volengine.core.structure import Structure
from volengine.sim.atoms.scattering import (
    DALTON_PER_A3,
    PROTEIN_POTENTIAL,
    Scale,
    displaced_volume,
    missing_hydrogens,
    potentials,
)

Floats = NDArray[np.float64]
Pivot = Literal["centre", "origin", "axis"] | Sequence[float]
Columns = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]]

CELLS_PER_VOXEL = 3
ORIGIN = "origin"
GOLD, GOLD_DENSITY = 79, 19.3  # atomic number, g/cm^3
MAX_POINTS = 30_000_000
"""Largest number of points of a bead or a map before they are merged: about 2 GB."""


def template_of(
    structure: Structure,
    *,
    voxel_size: float,
    scale: Scale = "peng",
    pivot: Pivot = "centre",
    classes: Sequence[str] | None = None,
) -> Template:
    """Make a template of the atoms of a structure.

    Parameters
    ----------
    structure
        All sub-models are placed together. Each is a class of its own; sub-models of the same name are one class. A
        sub-model whose name contains ``origin`` marks a position and adds no weight.
    voxel_size
        Voxel size of the volume to be rendered, angstrom. Points are merged in cells of a third of it.
    scale
        ``peng`` (electron scattering factors) or ``cts`` (atomic numbers, scaled so that a mean protein has the same
        total); see :func:`volengine.sim.atoms.scattering.potentials`. The potential of hydrogens that the structure
        does not list is added.
    pivot
        The position that becomes 0 of the template:

        - ``centre``: the centroid of the potential.
        - ``origin``: the centroid of the sub-model called origin. Without one: the origin of the structure's frame if
          it lies within the box of the atoms (a structure oriented to its membrane), otherwise the centre.
        - ``axis``, for units of filaments: the centroid of the sub-model called origin. Without one: the point of the
          frame's z axis at the height of the centroid if that axis passes through the box of the atoms, otherwise the
          centre.
        - (3,): a position z, y, x in the structure's frame, angstrom.
    classes
        Class names of the sub-models that have weight, in their order; the last name is used for all further
        sub-models. Default: the names of the sub-models.

    Returns
    -------
    The template; its weights are integrated potentials, V A^3.

    Raises
    ------
    InputError
        There are no atoms, the total weight is 0, there are more than 256 classes, the tables have no scattering
        factors for an element, or a value is out of its range.
    """
    _positive("voxel_size", voxel_size)
    parts = [part for part in structure.sub_models if ORIGIN not in part.name.lower() and len(part.atoms)]
    if not parts:
        raise InputError(f"Structure {structure.name!r} has no atoms to make a template of.")
    names = [part.name if classes is None else classes[min(i, len(classes) - 1)] for i, part in enumerate(parts)]
    known = tuple(dict.fromkeys(names))
    if len(known) > 256:
        raise InputError(f"Structure {structure.name!r} has {len(known)} classes; 256 are the most a template holds.")
    weights, volume = [], 0.0
    for part in parts:
        bound = missing_hydrogens(part.atoms.number)
        weights.append(potentials(part.atoms.number, scale=scale, hydrogens=bound))
        volume += float(displaced_volume(part.atoms.number, hydrogens=bound).sum())
    point = np.concatenate([part.atoms.position for part in parts]).astype(np.float64)
    weight = np.concatenate(weights)
    part_of = np.repeat([known.index(name) for name in names], [len(part.atoms) for part in parts])
    total = float(weight.sum())
    if total <= 0:
        raise InputError(f"Structure {structure.name!r} weighs nothing in the scale {scale!r}; has it heavy atoms?")
    point -= _pivot(structure, point, weight, pivot)
    gathered = _gathered(point, weight, part_of, voxel_size / CELLS_PER_VOXEL)
    return Template(structure.name, known, *gathered, displaced=volume / total, atoms=len(weight))


def alone(structure: Structure) -> list[Structure]:
    """Split a structure into one structure per sub-model with weight; each keeps the sub-models that mark the pivot.

    For sub-models that are placed one at a time.
    """
    marks = tuple(part for part in structure.sub_models if ORIGIN in part.name.lower())
    weighty = [part for part in structure.sub_models if ORIGIN not in part.name.lower()]
    return [Structure(structure.name, (part, *marks)) for part in weighty]


def template_of_density(
    array: NDArray[np.float32],
    voxel_size: float | Sequence[float],
    name: str,
    *,
    cell: float,
    threshold: float | None = None,
    total: float | None = None,
) -> Template:
    """Make a template of a density map in which the molecule is bright.

    Parameters
    ----------
    array
        (z, y, x) float32: the map, in any unit.
    voxel_size
        Voxel size of the map, angstrom: one number, or z, y, x.
    name
        Name of the template and of its class.
    cell
        Side of the cells in which points are merged, angstrom: a third of the voxel size of the volume to be rendered.
        A coarser map is interpolated linearly, so that the rendered particle has no gaps.
    threshold
        Voxels above this value belong to the molecule. Default: Otsu's threshold.
    total
        Integrated potential of the molecule, V A^3, without subtraction of the solvent. Default: the volume above the
        threshold times the mean potential of protein.

    Returns
    -------
    A template whose pivot is its centroid. The weights are proportional to the difference between the map and the
    median of the voxels outside of the molecule. The template displaces the volume above the threshold.

    Raises
    ------
    InputError
        No voxel of the map, or none after interpolation, is above the threshold; the interpolated map has too many
        voxels; ``cell``, ``voxel_size`` or ``total`` is not positive.
    """
    _positive("cell", cell)
    size = np.broadcast_to(np.asarray(voxel_size, float), 3)
    for value in size:
        _positive("voxel_size", float(value))
    level = _otsu(array) if threshold is None else float(threshold)
    inside = array > level
    if not inside.any():
        raise InputError(
            f"Map {name!r}: nothing is above the threshold {level:g}; the highest value is {array.max():g}."
        )
    solvent = min(level, float(np.median(array[~inside]))) if not inside.all() else min(level, float(array.min()))
    volume = float(np.count_nonzero(inside) * size.prod())
    amount = volume * PROTEIN_POTENTIAL if total is None else float(total)
    _positive("total", amount)
    position, height = _fine(array, size, level, cell)
    raised = height - solvent
    weight = raised * (amount / raised.sum())
    position -= _centroid(position, weight)
    gathered = _gathered(position, weight, np.zeros(len(weight), np.int64), cell)
    return Template(name, (name,), *gathered, displaced=volume / amount)


def bead(radius_a: float, voxel_size: float, *, name: str = "gold") -> Template:
    """Make a template of a solid gold bead.

    Parameters
    ----------
    radius_a
        Radius, angstrom.
    voxel_size
        Voxel size of the volume to be rendered, angstrom. Points are merged in cells of at most a third of it.
    name
        Name of the template and of its class.

    Returns
    -------
    A template whose pivot is the centre of the bead. Its total is the integrated potential of the gold atoms in a ball
    of exactly this radius (19.3 g/cm^3).

    Raises
    ------
    InputError
        A size is not positive, or the bead would need too many points.
    """
    import gemmi

    for what, value in (("radius_a", radius_a), ("voxel_size", voxel_size)):
        _positive(what, value)
    volume = 4 / 3 * np.pi * radius_a**3
    atoms = volume * GOLD_DENSITY * DALTON_PER_A3 / gemmi.Element(GOLD).weight
    total = atoms * float(potentials([GOLD])[0])
    cell = min(voxel_size / CELLS_PER_VOXEL, radius_a / 2)
    step = cell / max(1, min(4, int(np.ceil(16 * cell / radius_a))))  # finer than the cells where these are coarse
    side = int(np.ceil(radius_a / step))
    if (2 * side) ** 3 > MAX_POINTS:
        raise InputError(f"A bead of {radius_a:g} A has too many points at a voxel size of {voxel_size:g} A.")
    axis = (np.arange(-side, side) + 0.5) * step
    square = axis**2
    inside = np.argwhere(square[:, None, None] + square[:, None] + square <= radius_a**2)
    weight = np.full(len(inside), total / len(inside))
    gathered = _gathered(axis[inside].astype(np.float64), weight, np.zeros(len(inside), np.int64), cell)
    return Template(name, (name,), *gathered, displaced=volume / total, solid=True)


def aligned(template: Template, axis: ArrayLike | None = None, tolerance_deg: float = 0.0) -> Template:
    """Rotate a template by the shortest rotation that takes an axis to +z.

    Parameters
    ----------
    template
        The template; it is rotated about its pivot.
    axis
        (3,): direction z, y, x, of any length above 0. Default: the long axis (the first principal axis of the
        potential), with the sign that makes the third moment along +z positive.
    tolerance_deg
        If the angle between the axis and +z or -z is at most this, the template is returned unchanged; 0: never.

    Raises
    ------
    InputError
        The axis is 0 or not finite.
    """
    point, weight = template.point.astype(np.float64), template.weight.astype(np.float64)
    direction = _long_axis(point, weight) if axis is None else np.asarray(axis, float).reshape(3)
    length = float(np.sqrt((direction**2).sum()))
    if not (np.isfinite(length) and length > 0):
        raise InputError(f"Template {template.name!r}: the axis {direction.tolist()} has no direction.")
    if tolerance_deg > 0 and abs(direction[0]) / length >= np.cos(np.radians(tolerance_deg)):
        return template
    turned = _turned(point, _onto_z(direction / length))
    return replace(template, point=turned.astype(np.float32))


def _positive(what: str, value: float) -> None:
    if not (np.isfinite(value) and value > 0):
        raise InputError(f"{what} must be a positive number, not {value:g}.")


def _pivot(structure: Structure, point: Floats, weight: Floats, pivot: Pivot) -> Floats:
    """The position of the pivot, z, y, x, in the structure's frame."""
    if isinstance(pivot, str):
        if pivot == "centre":
            return _centroid(point, weight)
        if pivot not in ("origin", "axis"):
            raise InputError(f"pivot is 'centre', 'origin', 'axis' or a position z, y, x, not {pivot!r}.")
        marks = [
            part.atoms.position for part in structure.sub_models if ORIGIN in part.name.lower() and len(part.atoms)
        ]
        if marks:
            marked: Floats = np.concatenate(marks).astype(np.float64).mean(axis=0)
            return marked
        within, centre = (point.min(axis=0) <= 0) & (point.max(axis=0) >= 0), _centroid(point, weight)
        if pivot == "axis":
            return np.array([centre[0], 0.0, 0.0]) if within[1:].all() else centre
        return np.zeros(3) if within.all() else centre
    at = np.asarray(pivot, float)
    if at.shape != (3,) or not np.isfinite(at).all():
        raise InputError(f"pivot is 'centre', 'origin', 'axis' or a position z, y, x, not {pivot!r}.")
    return at


def _centroid(point: Floats, weight: Floats) -> Floats:
    """Weighted mean; sums are elementwise, so that the result is the same on every machine."""
    moment: Floats = np.array([(point[:, axis] * weight).sum() for axis in range(3)])
    return moment / float(weight.sum())


def _gathered(point: Floats, weight: Floats, part: NDArray[np.int64], cell: float) -> Columns:
    """Merge the points (n, 3) of the same cell and part into one point at their weighted centroid.

    The result is ordered by part, z, y, x of the cells. Points of weight 0 or less are dropped. The total and the first
    moment of each part are kept, up to rounding.
    """
    some = weight > 0
    if not some.all():
        point, weight, part = point[some], weight[some], part[some]
    index = np.floor(point / cell + 0.5).astype(np.int64)
    low = index.min(axis=0)
    extent = index.max(axis=0) - low + 1
    key = part
    for axis in range(3):
        key = key * extent[axis] + (index[:, axis] - low[axis])
    count = int(extent.prod())
    if (dense := count * (int(part.max()) + 1)) <= 4 * len(key) + 1_000_000:  # a small grid needs no sorting
        cells = np.flatnonzero(np.bincount(key, minlength=dense))
        number = np.zeros(dense, np.int64)
        number[cells] = np.arange(len(cells))
        which = number[key]
    else:
        cells, which = np.unique(key, return_inverse=True)
    gathered = np.bincount(which, weight)
    centre = [np.bincount(which, weight * point[:, axis]) / gathered for axis in range(3)]
    owner = cells // count
    return np.stack(centre, axis=1).astype(np.float32), gathered.astype(np.float32), owner.astype(np.uint8)


def _fine(array: NDArray[np.float32], size: Floats, level: float, cell: float) -> tuple[Floats, Floats]:
    """Positions (angstrom) and values of a map's points above a level, interpolated to steps of at most ``cell``."""
    from scipy.ndimage import zoom

    inside = np.argwhere(array > level)
    low, high = np.maximum(inside.min(axis=0) - 1, 0), inside.max(axis=0) + 2
    crop = array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].astype(np.float64)
    factor = np.ceil(size / cell - 1e-6).astype(int).clip(1)
    if crop.size * int(factor.prod()) > MAX_POINTS:
        shape = " x ".join(str(n) for n in crop.shape)
        raise InputError(
            f"The map's {shape} voxels about the molecule, cut {factor.max()}-fold, are too many; bin the map, or "
            "raise the threshold or the voxel size."
        )
    if factor.max() > 1:
        crop = zoom(crop, factor, order=1, mode="nearest", grid_mode=True)
    found = np.argwhere(crop > level)
    if not len(found):
        raise InputError(f"No point of the map is above the threshold {level:g} once it is interpolated; lower it.")
    position = ((found + 0.5) / factor - 0.5 + low) * size
    return position, crop[tuple(found.T)]


def _otsu(array: NDArray[np.float32]) -> float:
    """The threshold that divides the values into two classes of least variance (Otsu 1979); a histogram of 256 bins."""
    count, edge = np.histogram(array, 256)
    middle = (edge[:-1] + edge[1:]) / 2
    below = np.cumsum(count)[:-1]
    above = array.size - below
    first = np.cumsum(count * middle)
    mean_below, mean_above = first[:-1] / below, (first[-1] - first[:-1]) / np.maximum(above, 1)
    return float(edge[1:-1][np.argmax(below * above * (mean_below - mean_above) ** 2)])


def _long_axis(point: Floats, weight: Floats) -> Floats:
    """The first principal axis, z, y, x, by repeated squaring of the covariance: the same bits on every machine."""
    offset = point - _centroid(point, weight)
    pairs = [[(weight * offset[:, i] * offset[:, j]).sum() for j in range(3)] for i in range(3)]
    power = np.array(pairs)
    if np.trace(power) <= 0:
        return np.array([1.0, 0.0, 0.0])
    for _ in range(40):
        power = power / np.trace(power)
        power = (power[:, :, None] * power[None]).sum(axis=1)
    axis = power[:, np.argmax(np.diag(power))]
    along = offset[:, 0] * axis[0] + offset[:, 1] * axis[1] + offset[:, 2] * axis[2]
    skew = float((weight * along**3).sum())
    even = float((weight * np.abs(along) ** 3).sum())
    if abs(skew) > 1e-6 * even:
        return axis if skew > 0 else -axis
    return axis if axis[np.argmax(np.abs(axis))] > 0 else -axis


def _onto_z(axis: Floats) -> Floats:
    """The shortest rotation matrix, for columns z, y, x, that takes a unit vector to +z; for -z: half a turn about y.

    Rodrigues' formula with the cross product of the two vectors, written for x, y, z and reordered to z, y, x.
    """
    z, y, x = axis
    if z < -1 + 1e-12:
        return np.diag([-1.0, 1.0, -1.0])
    share = 1 / (1 + z)
    xyz = np.array(
        [[1 - x * x * share, -x * y * share, -x], [-x * y * share, 1 - y * y * share, -y], [x, y, z]],
    )
    return xyz[::-1, ::-1]


def _turned(point: Floats, matrix: Floats) -> Floats:
    """Points times a matrix, by elementwise sums: the rounding of a matrix product differs between machines."""
    z, y, x = point.T
    return np.stack([row[0] * z + row[1] * y + row[2] * x for row in matrix], axis=1)
