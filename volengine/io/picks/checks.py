"""What a table of picks must not contradict itself in, and what is no pose."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from volengine.core.errors import FormatError, InputError
from volengine.core.picks import Picks
from volengine.core.text import counted
from volengine.io.picks.texts import Floats

STATED_VOX = 0.05
"""How far positions that a file states in two units may be apart, in voxels: programs write few digits."""

_WHAT = {"euler": "the angles (rot, tilt, psi) are", "normal": "the normal (z, y, x) is"}


CUBE = 1.001
"""Ratio of the sides of a voxel up to which it counts as a cube."""


def check_cubes(picks: Picks, what: str) -> None:
    """Refuse picks in voxels that are no cubes, for formats that have one pixel size.

    Parameters
    ----------
    picks
        The picks.
    what
        The format and its verb, for the message: ``STAR files know``.

    Raises
    ------
    InputError
        The sides of a voxel differ.
    """
    size = np.asarray(picks.voxel_size)
    if size.max() > size.min() * CUBE:
        raise InputError(
            f"The voxels of {picks.tomogram!r} are {picks.voxel_size} angstrom (z, y, x), but {what} one pixel size "
            "only: write CSV, or in Python bring the picks onto a grid of cubes first (picks.on_grid)."
        )


def check_stated(where: str, stated: Floats, place: Floats, size: Floats, origins: Sequence[Sequence[float]]) -> None:
    """Refuse positions in angstrom that are not those in voxels.

    Parameters
    ----------
    where
        File and tomogram, for the message.
    stated
        (n, 3) positions that the file states in angstrom, z, y, x; NaN where it does not.
    place
        (n, 3) index × voxel size, angstrom.
    size
        Voxel size, angstrom, z, y, x.
    origins
        Origins from which the positions may count: all of them from one.

    Raises
    ------
    FormatError
        They differ by more than :data:`STATED_VOX`; the message names the first such pick.
    """
    wrong, origin = np.zeros(len(place), bool), np.zeros(3)
    for one in origins:
        origin = np.asarray(one, float)
        wrong = np.asarray((np.abs(stated - (place + origin)) > STATED_VOX * size).any(axis=1))  # NaN is not
        if not wrong.any():
            return
    row = int(np.flatnonzero(wrong)[0])
    raise FormatError(
        f"{where}: pick {row} (counted from 0) is at {_listed(stated[row])} angstrom (z, y, x), but its voxels of "
        f"{_listed(size)} angstrom are at {_listed(place[row] + origin)} with the origin {_listed(origin)}. Is the "
        "voxel size or the origin another one? Else correct the columns, or remove those in one unit."
    )


def _listed(values: Floats) -> str:
    return ", ".join(f"{v:g}" for v in values.tolist())


def has_poses(values: Floats, key: str, path: Path, lines: Sequence[int]) -> bool:
    """Return whether there are poses: angles or normals (n, 3), finite in all rows; or NaN in all, which are none.

    Raises
    ------
    FormatError
        Some rows have none, or a value is infinite; the message names the line.
    """
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if not len(bad):
        return True
    if np.isnan(values).all():
        return False
    raise FormatError(
        f"{path}, line {lines[bad[0]]}: {_WHAT[key]} {_listed(values[bad[0]])}, which is no pose. Remove the "
        f"{counted(len(bad), 'pick')} without one, or these columns."
    )
