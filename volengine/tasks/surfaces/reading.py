"""Sets of surfaces with the tomogram that they are of, compared with each other."""

from __future__ import annotations

from typing import NamedTuple

from volengine.core.volume import Vector3
from volengine.io.names import same_tomogram
from volengine.io.open import OpenVolume
from volengine.io.surfaces import SurfaceFacts, SurfaceSet, open_surfaces
from volengine.tasks.common.densities import check_densities
from volengine.tasks.common.lying import Asked, Grid, Lattice, check_extent, lies_on
from volengine.tasks.common.named import feature_of, open_sized, tomogram_in
from volengine.tasks.surfaces.sampler import Sampler as Sampler


def open_set(path: str, tomogram: OpenVolume | None) -> SurfaceSet:
    """Open a set of surfaces; files of meshes alone are taken as lying on the tomogram that is given."""
    opened = open_surfaces(path)
    if opened.facts.voxel_size is None and tomogram is not None:
        return open_surfaces(
            path, SurfaceFacts(tomogram.name, "", tomogram.voxel_size, tomogram.origin, tomogram.shape)
        )
    return opened


class Beside(NamedTuple):
    """A set of surfaces, the tomogram that it is of (if one is given), how this lies on it, and notes for the user."""

    surfaces: SurfaceSet
    volume: OpenVolume | None
    grid: Grid | None
    notes: list[str]


def _voxel_size(path: str) -> Vector3 | None:
    """What a set states, for tomograms whose headers state none."""
    return open_surfaces(path).facts.voxel_size


def beside(path: str, tomogram: str | None, asked: Asked) -> Beside:
    """Open a set of surfaces, and the tomogram that it is of.

    Parameters
    ----------
    path, tomogram
        The set, and the tomogram, if one is given.
    asked
        What the user says of their grids.

    Raises
    ------
    InputError
        The tomogram has another extent than that of the set, or another origin, or is no tomogram by its own words.
    """
    volume = None if tomogram is None else open_sized(tomogram, _voxel_size(path))
    looked = [] if volume is None else check_densities(volume)
    opened = open_set(path, volume)
    facts = opened.facts
    if volume is None or facts.voxel_size is None:
        return Beside(opened, volume, None, looked)
    mine = Lattice(path, facts.origin, facts.voxel_size, facts.shape)
    other = Lattice(volume.where, volume.origin, volume.voxel_size, volume.shape)
    check_extent(mine, other)
    lies = lies_on(mine, other, asked)
    notes = [*looked, *lies.notes]
    whose = tomogram_in(volume.name, feature_of(volume))
    if facts.tomogram and whose and same_tomogram(facts.tomogram, [whose]) is None:
        notes.append(f"The surfaces are those of {facts.tomogram!r}, and the tomogram is {whose!r}.")
    return Beside(opened, volume, lies.grid, notes)
