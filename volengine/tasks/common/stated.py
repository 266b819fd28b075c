"""Tables of picks that are read in the voxels of their tomograms, and that state other ones themselves.

Whoever reads a table beside a volume gets positions in the volume's voxels: coordinates are multiplied by the ratio of
the sizes. That is right for pixels of a tilt series. A table that states the shape of its tomogram counts the voxels of
another volume, which may lie otherwise: see :mod:`volengine.tasks.common.lying`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from volengine.core.errors import InputError
from volengine.core.paths import PathLike, path_text
from volengine.core.picks import Picks
from volengine.io.names import same_tomogram
from volengine.io.picks.rows import Known
from volengine.tasks.common.lying import Asked, Lattice, check_extent, lattice_of, same_voxels, table_on


def on_volumes(
    path: PathLike,
    tables: Mapping[str, Picks],
    volumes: Mapping[str, Known],
    asked: Asked,
    reach_nm: float | None = None,
) -> tuple[dict[str, Picks], list[str]]:
    """Move picks by what their file says of its own voxels.

    Parameters
    ----------
    path
        The file.
    tables
        Its picks in the voxels of the volumes, by the names of these.
    volumes
        What is known of the volumes.
    asked, reach_nm
        As for :func:`.lying.table_on`, which says what is refused.

    Returns
    -------
    The picks, and notes for the user.

    Raises
    ------
    InputError
        A file states another extent than the volume has.
    """
    from volengine.io.picks import read_all

    try:
        own = read_all(path)
    except InputError:  # it does not state its voxels
        return dict(tables), []
    found, notes = dict(tables), list[str]()
    for name, picks in tables.items():
        fit = next(iter(own)) if len(own) == len(tables) == 1 else same_tomogram(name, own)
        if fit is None or own[fit].shape is None:
            continue
        known = volumes[name]
        mine = Lattice(f"the volume of {name!r}", known.volume_origin or picks.origin, picks.voxel_size, known.shape)
        other = lattice_of(own[fit], Path(path_text(path)).name)
        check_extent(mine, other)
        if not same_voxels(mine, other):
            lies = table_on(mine, other, asked, reach_nm)
            notes += filter(None, [lies.way])
            found[name] = moved(picks, lies.grid.offset)
    return found, notes


def moved(picks: Picks, offset: tuple[float, float, float]) -> Picks:
    """Picks whose places are shifted by an offset, angstrom, z, y, x."""
    if not any(offset):
        return picks
    return picks.with_(position_vox=picks.position_vox + np.asarray(offset) / np.asarray(picks.voxel_size))
