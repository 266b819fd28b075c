"""Volumes from which tables of picks take what they do not state: the grids of their tomograms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from volengine.core.errors import InputError
from volengine.core.volume import Volume
from volengine.io.names import split_group, tomogram_key
from volengine.io.picks.rows import Known
from volengine.tasks.common.inputs import expand
from volengine.tasks.common.named import feature_of, open_sized, tomogram_in


def grids_of(volumes: Sequence[str], voxel_size: float | None = None) -> dict[str, Known]:
    """Open volumes (metadata only): voxel size, shape and origin of each tomogram, by its name.

    Parameters
    ----------
    volumes
        Files, stores, folders, globs, ``.txt`` lists; ``store.ome.zarr#labels/core`` is a group inside of a store. Of
        ``TOMOGRAM__FEATURE`` the name is ``TOMOGRAM``.
    voxel_size
        Voxel size in angstrom, for files that do not state it.

    Raises
    ------
    InputError
        A volume cannot be opened, or two of one tomogram differ in shape or voxel size, or state different
        origins.
    """
    paths = [path for item in volumes for path in ([item] if split_group(item)[1] else expand([item]))]
    return known_of([open_sized(path, voxel_size) for path in paths])


def known_of(volumes: Sequence[Volume]) -> dict[str, Known]:
    """Voxel size, shape and origin of each tomogram, by its name; errors are those of :func:`grids_of`."""
    found: dict[str, Volume] = {}
    for one in volumes:
        name = tomogram_key(tomogram_in(one.name, feature_of(one)))
        other = found.setdefault(name, one)
        if (other.shape, other.voxel_size) != (one.shape, one.voxel_size):
            raise InputError(
                f"Two volumes of tomogram {name!r} differ: {other.shape} voxels of {other.voxel_size} "
                f"angstrom, and {one.shape} of {one.voxel_size} ({one.url}); give one of them."
            )
        apart = np.abs(np.subtract(one.origin, other.origin)) / one.voxel_size
        if any(one.origin) and any(other.origin) and (apart > 0.5).any():
            raise InputError(
                f"Two volumes of tomogram {name!r} state different origins: {other.origin} angstrom (z, y, x), and "
                f"{one.origin} ({one.url}); give the one whose places the picks have."
            )
        if not any(other.origin):  # which is not stated
            found[name] = one
    return {name: Known(one.voxel_size, shape=one.shape, volume_origin=one.origin) for name, one in found.items()}
