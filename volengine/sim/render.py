"""Render the potential, the classes and the instances of any box of a specimen.

The weight of each point of a template is distributed over the eight voxels around it (trilinear shares, which sum to
one), so the integral of the potential is exact for every position and every division into boxes. A voxel adds its
shares in the order of the table and of the template's points, so its bytes do not depend on the box.

The potential is that *in excess of vitreous ice*: a particle adds its own potential and removes that of the ice it
displaces (at most that of a full voxel); a bilayer adds its profile where there is no particle; carbon fills the rest
of its film. Ice and the outside of the volume are both 0, so the volume has no edges in a projection.

A voxel belongs to the object with the largest potential in it, if the potential of all particles there is at least half
of that of ice (about a third of the voxel is filled; for gold half). Otherwise it may belong to a bilayer.

>>> found = render(scene, Box.of_shape((50, 400, 400)), voxel_size=12.0)                             # doctest: +SKIP
>>> found.potential.sum() * 12.0**3  # V A^3                                                         # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, index3
from volengine.core.specimen import Membrane, Placements, Template, rotation_matrix
from volengine.sim.scene import LabelBilayer, Scene
from volengine.sim.shapes.film import carbon, filled
from volengine.sim.shapes.membranes import HEAD, Profile, bilayer, cts_bilayer, within
from volengine.sim.shapes.membranes import at as distance_at

Floats = NDArray[np.float64]
Distances = Mapping[int, NDArray[np.float32]]
DISTANCE_CUT = 60.0
"""Angstrom: largest distance from a bilayer; larger ones are set to this."""


@dataclass(frozen=True, eq=False)
class Rendered:
    """A rendered box of a specimen.

    Parameters
    ----------
    potential
        (z, y, x) float32, volt, in excess of vitreous ice.
    classes
        (z, y, x) uint8: id of the class; 0: background.
    instances
        (z, y, x) uint32: number of the object; 0: none.
    """

    potential: NDArray[np.float32]
    classes: NDArray[np.uint8]
    instances: NDArray[np.uint32]


def render(scene: Scene, box: Box, voxel_size: float, labels: Distances | None = None) -> Rendered:
    """Render a box of voxels.

    Parameters
    ----------
    scene
        The specimen.
    box
        The box in voxels; the centre of voxel (0, 0, 0) is the origin of the frame.
    voxel_size
        Voxel size, angstrom.
    labels
        For each label of ``scene.labels`` the distances of the box's voxels from its mid-surface, (z, y, x), angstrom.
    """
    particles = np.zeros(box.shape, np.float64)
    displaced = np.zeros(box.shape, np.float64)
    best = np.zeros(box.shape, np.float32)
    classes = np.zeros(box.shape, np.uint8)
    instances = np.zeros(box.shape, np.uint32)
    least = np.full(box.shape if any(t.solid for t in scene.templates) else (), scene.threshold)
    for row, template in _touching(scene.placements, scene.templates, box, voxel_size):
        at, turn = scene.placements.position[row], scene.placements.quaternion[row]
        where = (moved(template, at, turn)) / voxel_size
        found = splat(where, template.weight, box)
        if found is None:
            continue
        window, share = found
        inside = window.slices_in(box)
        volts = share / voxel_size**3
        particles[inside] += volts
        displaced[inside] += volts * template.displaced
        for number, name in enumerate(template.classes):
            part = volts
            if len(template.classes) > 1:
                chosen = template.part == number
                part = splat_into(where[chosen], template.weight[chosen], window) / voxel_size**3
            stronger = part > best[inside]
            best[inside] = np.where(stronger, part, best[inside])
            classes[inside][stronger] = scene.classes[name]
            instances[inside][stronger] = scene.placements.instance[row]
            if least.ndim:
                least[inside][stronger] = 0.5 / template.displaced if template.solid else scene.threshold
    np.minimum(displaced, 1.0, out=displaced)
    empty = particles < least
    classes[empty] = 0
    instances[empty] = 0
    potential = particles - scene.ice * displaced
    covered = np.zeros(box.shape, bool)
    for membrane, window, distance in _bilayers(scene, box, voxel_size, labels or {}):
        inside = window.slices_in(box)
        profile = profile_of(membrane.thickness, scene.scale, scene.ice, voxel_size)
        potential[inside] += profile(distance) * (1.0 - displaced[inside])
        within_heads = np.abs(distance) <= membrane.thickness / 2 + HEAD
        covered[inside] |= within_heads
        mine = within_heads & (instances[inside] == 0)
        classes[inside][mine] = scene.classes[membrane.name]
        instances[inside][mine] = membrane.instance
    if scene.film is not None:
        share = filled(film := scene.film.draw(), box, voxel_size)
        potential += carbon(film, box, voxel_size, scene.ice) * np.where(covered, 0.0, 1.0 - displaced)
        mine = (share >= 0.5) & (instances == 0)
        classes[mine] = scene.classes[scene.film.name]
        instances[mine] = scene.film.instance
    return Rendered(potential.astype(np.float32), classes, instances)


def unlabelled(scene: Scene, voxel_size: float) -> list[tuple[Template, str]]:
    """Templates that are placed, and those of their classes that no voxel of any copy shows.

    Such particles are in the images and in the picks, but not in the atlas: their atoms are too sparse (a C-alpha
    trace), or the voxels too large. Copies are looked at up to those that have a voxel; classes that count as
    background are left out.

    Parameters
    ----------
    scene
        The specimen.
    voxel_size
        Voxel size, angstrom.
    """
    there = replace(scene, membranes=(), labels=(), film=None)
    found = []
    for number, template in enumerate(scene.templates):
        rows = np.flatnonzero(scene.placements.template == number)
        missing = {name for name in template.classes if scene.classes[name]} if len(rows) else set()
        for alone in (True, False):  # the potential of neighbours, in a filament, adds to its own
            for row in rows:
                if not missing:
                    break
                own = scene.placements[row : row + 1]
                where = moved(template, own.position[0], own.quaternion[0]) / voxel_size
                box = Box(index3(np.floor(where.min(0)).astype(int)), index3(np.floor(where.max(0)).astype(int) + 2))
                made = render(replace(there, placements=own) if alone else there, box, voxel_size)
                seen = set(np.unique(made.classes[made.instances == own.instance[0]]).tolist())
                missing = {name for name in missing if scene.classes[name] not in seen}
        found += [(template, name) for name in template.classes if name in missing]
    return found


def distances(scene: Scene, box: Box, voxel_size: float, labels: Distances | None = None) -> NDArray[np.float32]:
    """Distances of the voxels of a box from the mid-plane of the nearest bilayer.

    The parameters are those of :func:`render`.

    Returns
    -------
    ndarray
        (z, y, x) float32, angstrom, at most 60. Negative inside of closed membranes, and near sheets on the side that
        is opposite to their normals. Membranes that follow a label have no inside; near them, and far from all
        membranes, the distance is positive.
    """
    found = np.full(box.shape, DISTANCE_CUT, np.float32)
    for membrane, window, distance in _bilayers(scene, box, voxel_size, labels or {}):
        part = found[window.slices_in(box)]
        new = np.clip(distance, -DISTANCE_CUT, DISTANCE_CUT)
        if isinstance(membrane, Membrane) and not _closed(membrane):
            new[new == -DISTANCE_CUT] = DISTANCE_CUT
        nearer = (np.abs(new) < np.abs(part)) | ((np.abs(new) == np.abs(part)) & (new < part))
        part[nearer] = new[nearer]
    return found


def _closed(membrane: Membrane) -> bool:
    """Whether the membrane's grid contains the whole inside of the membrane."""
    faces = (np.moveaxis(membrane.distance, axis, 0)[[0, -1]] for axis in range(3))
    return all(bool(face.min() > 0) for face in faces)


def _bilayers(
    scene: Scene, box: Box, voxel_size: float, labels: Distances
) -> Iterator[tuple[Membrane | LabelBilayer, Box, NDArray[np.float32]]]:
    """Bilayers near a box, the part of the box that is near each one, and the distances of its voxels."""
    for drawn in scene.labels:
        yield drawn, box, labels[drawn.label]
    for membrane in scene.membranes:
        window = within(membrane, box, voxel_size)
        if not window.empty:
            yield membrane, window, distance_at(membrane, window, voxel_size)


@lru_cache(maxsize=32)
def profile_of(thickness: float, scale: str, ice: float, voxel_size: float) -> Profile:
    """The profile of potential across a bilayer, averaged over voxels of this size (angstrom)."""
    if scale == "cts":
        return cts_bilayer(thickness, pixel_a=voxel_size).averaged(voxel_size)
    return bilayer(thickness, ice=ice).averaged(voxel_size)


def moved(template: Template, position: Floats, quaternion: Floats) -> Floats:
    """The template's points in this pose, (n, 3) float64, angstrom.

    The sums are written out, because a matrix product has no fixed order of addition.
    """
    matrix = rotation_matrix(quaternion)[0][::-1, ::-1]
    z, y, x = template.point.astype(np.float64).T
    return np.stack([row[0] * z + row[1] * y + row[2] * x + p for row, p in zip(matrix, position, strict=True)], axis=1)


def splat(where: Floats, weight: NDArray[np.float32], box: Box) -> tuple[Box, Floats] | None:
    """Distribute points over the voxels of a box.

    Parameters
    ----------
    where
        (n, 3) positions, voxels.
    weight
        (n,) weights.
    box
        The box.

    Returns
    -------
    Box, ndarray
        The window of voxels that the points reach, and the sums in it; ``None`` if they reach no voxel of the box.
    """
    low, high = np.floor(where.min(0)).astype(int), np.floor(where.max(0)).astype(int) + 2
    window = Box(index3(low), index3(high)).intersect(box)
    if window.empty:
        return None
    return window, splat_into(where, weight, window)


def splat_into(where: Floats, weight: NDArray[np.float32], window: Box) -> Floats:
    """The shares of points on the voxels of a window; shares outside of it are left out."""
    wide = window.grow((1, 1, 1))
    base = np.floor(where)
    inside = ((base >= wide.start) & (base < np.asarray(wide.stop) - 1)).all(axis=1)
    base, rest = base[inside], where[inside] - base[inside]
    cell = base.astype(np.int64) - np.asarray(wide.start)
    _, ny, nx = wide.shape
    index = (cell[:, 0] * ny + cell[:, 1]) * nx + cell[:, 2]
    shares = [(1.0 - axis, axis) for axis in rest.T]
    weights = weight[inside].astype(np.float64)
    sums = np.zeros(wide.size)
    for dz, share_z in enumerate(shares[0]):
        slab = weights * share_z
        for dy, share_y in enumerate(shares[1]):
            line = slab * share_y
            for dx, share_x in enumerate(shares[2]):
                sums += np.bincount(index + ((dz * ny + dy) * nx + dx), line * share_x, wide.size)
    return sums.reshape(wide.shape)[window.slices_in(wide)]


def _touching(
    placements: Placements, templates: tuple[Template, ...], box: Box, voxel_size: float
) -> Iterator[tuple[int, Template]]:
    """Rows of placements that may reach into a box, in the table's order."""
    if not len(placements):
        return
    reach = np.array([t.radius for t in templates])[placements.template] / voxel_size + 1
    at = placements.position / voxel_size
    gap = np.maximum(np.asarray(box.start) - at, at - (np.asarray(box.stop) - 1)).max(axis=1)
    for row in np.flatnonzero(gap <= reach):
        yield int(row), templates[placements.template[row]]
