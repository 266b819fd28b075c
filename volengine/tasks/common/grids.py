"""Volumes from which tables of picks take what they do not state: the voxel size and shape of their tomograms."""

from __future__ import annotations

from collections.abc import Sequence

from volengine.core.errors import InputError
from volengine.core.volume import Volume
from volengine.io.names import split_group, tomogram_key
from volengine.io.picks.rows import Known
from volengine.tasks.common.inputs import expand
from volengine.tasks.common.named import feature_of, open_sized, tomogram_in


def grids_of(volumes: Sequence[str], voxel_size: float | None = None) -> dict[str, Known]:
    """Open volumes (metadata only): voxel size and shape of each tomogram, by its name.

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
        A volume cannot be opened, or two of one tomogram differ in shape or voxel size.
    """
    paths = [path for item in volumes for path in ([item] if split_group(item)[1] else expand([item]))]
    return known_of([open_sized(path, voxel_size) for path in paths])


def known_of(volumes: Sequence[Volume]) -> dict[str, Known]:
    """Voxel size and shape of each tomogram, by its name; errors are those of :func:`grids_of`."""
    found: dict[str, Known] = {}
    for volume in volumes:
        name = tomogram_key(tomogram_in(volume.name, feature_of(volume)))
        one = Known(volume.voxel_size, shape=volume.shape)
        if found.setdefault(name, one) != one:
            raise InputError(
                f"Two volumes of tomogram {name!r} differ: {found[name].shape} voxels of {found[name].voxel_size} "
                f"angstrom, and {one.shape} of {one.voxel_size} ({volume.url}); give one of them."
            )
    return found
