"""Sets of surfaces with the tomogram that they are of, compared with each other."""

from __future__ import annotations

import numpy as np

from volengine.core.errors import InputError
from volengine.core.volume import size_text
from volengine.io.open import OpenVolume
from volengine.io.surfaces import SurfaceFacts, SurfaceSet, open_surfaces
from volengine.tasks.common.named import open_sized
from volengine.tasks.common.origins import origins_note
from volengine.tasks.surfaces.sampler import Sampler as Sampler

EXTENT = 0.02
"""Share by which the extents of surfaces' tomogram and of the tomogram that is given may differ, beside two voxels."""


def open_set(path: str, tomogram: OpenVolume | None) -> SurfaceSet:
    """Open a set of surfaces; files of meshes alone are taken as lying on the tomogram that is given."""
    opened = open_surfaces(path)
    if opened.facts.voxel_size is None and tomogram is not None:
        return open_surfaces(
            path, SurfaceFacts(tomogram.name, "", tomogram.voxel_size, tomogram.origin, tomogram.shape)
        )
    return opened


def beside(
    path: str, tomogram: str | None, any_origin: bool = False
) -> tuple[SurfaceSet, OpenVolume | None, list[str]]:
    """Open a set of surfaces, and the tomogram that it is of; ``any_origin``: although their origins differ.

    Returns
    -------
    The set, the tomogram (``None`` if none is given), notes for the user.

    Raises
    ------
    InputError
        The tomogram has another extent than that of the set, or another origin.
    """
    volume = None if tomogram is None else open_sized(tomogram)
    opened = open_set(path, volume)
    notes: list[str] = []
    facts = opened.facts
    if volume is None or facts.voxel_size is None:
        return opened, volume, notes
    ours, theirs = (path, facts.origin, facts.voxel_size), (volume.name, volume.origin, volume.voxel_size)
    said = origins_note(ours, theirs, accept=any_origin)
    notes += [said] * bool(said)
    if facts.shape is not None:
        extent, other = np.multiply(facts.shape, facts.voxel_size), np.multiply(volume.shape, volume.voxel_size)
        allowed = 2 * np.maximum(facts.voxel_size, volume.voxel_size) + EXTENT * extent
        if (np.abs(extent - other) > allowed).any():
            raise InputError(
                f"{path}: its surfaces are of a tomogram of {facts.shape} voxels of {size_text(facts.voxel_size)} A "
                f"({facts.tomogram}), and {volume.where} has {volume.shape} of {size_text(volume.voxel_size)} A, "
                "another extent. Give the tomogram that the surfaces were made of, or one of the same extent."
            )
    if facts.tomogram and volume.name and facts.tomogram != volume.name:
        notes.append(f"The surfaces are those of {facts.tomogram!r}, and the tomogram is {volume.name!r}.")
    return opened, volume, notes
