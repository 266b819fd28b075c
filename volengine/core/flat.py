"""Flat tables of picks, with one number or text per cell: volengine's CSV, and pandas tables.

=====================================  ==========================================================================
``z_vox, y_vox, x_vox``                position in voxels, 0-based, voxel centres at integers
``z_a, y_a, x_a``                      the same in angstrom, origin + index * voxel size, for people
``weight``, ``label``                  sum of the prediction; id in the label volume
``volume_a3``, ``size_vox``            cubic angstrom; voxels
``rot_deg, tilt_deg, psi_deg``         RELION's Euler angles
``normal_z, normal_y, normal_x``       unit vector
``tomogram``                           name
=====================================  ==========================================================================

Extra columns have the names that they have in the picks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError

VOXELS = ("z_vox", "y_vox", "x_vox")
ANGSTROM = ("z_a", "y_a", "x_a")
EULER = ("rot_deg", "tilt_deg", "psi_deg")
NORMAL = ("normal_z", "normal_y", "normal_x")
SINGLE = ("weight", "label", "volume_a3", "size_vox")
VECTORS = {"position_vox": VOXELS, "euler": EULER, "normal": NORMAL}
"""The columns of picks that become three columns of a flat table."""

OWN = {"tomogram", *VOXELS, *ANGSTROM, *EULER, *NORMAL, *SINGLE}
"""Names of columns with a fixed meaning; extra columns must have other names."""

Columns = dict[str, NDArray[Any]]


def flat_columns(
    columns: Mapping[str, NDArray[Any] | None], position: NDArray[np.float64], extra: Mapping[str, NDArray[Any]]
) -> Columns:
    """Make the columns of a flat table, in the order of the table above, without the tomogram's name.

    Parameters
    ----------
    columns
        Columns of picks by name; ``None`` for those that are missing.
    position
        (n, 3) positions, angstrom, z, y, x.
    extra
        Extra columns by name.

    Raises
    ------
    InputError
        An extra column has the name of another column.
    """
    for name in extra:
        if name in OWN:
            raise InputError(f"The extra column {name!r} means something else in tables; rename it.")
    vectors = {"position_vox": (VOXELS, ANGSTROM)}
    out: Columns = {}
    for key in ("position_vox", *SINGLE, "euler", "normal"):
        value = columns.get(key)
        if value is None:
            continue
        if key in SINGLE:
            out[key] = value
            continue
        for names in vectors.get(key, (VECTORS[key],)):
            out |= dict(zip(names, (position if names is ANGSTROM else value).T, strict=True))
    return out | dict(extra)


def gathered(flat: Mapping[str, NDArray[Any]]) -> tuple[dict[str, Any], Columns]:
    """Make the columns of picks, and the extra columns, from a flat table without ``tomogram`` and angstrom columns.

    Raises
    ------
    InputError
        One of the three columns of a vector is missing, or a number that must be whole is not.
    """
    columns: dict[str, Any] = {}
    for key, names in VECTORS.items():
        there = [name for name in names if name in flat]
        if there and len(there) < 3:
            missing = next(name for name in names if name not in flat)
            raise InputError(f"There are columns {', '.join(there)}, but there is no column {missing}.")
        if there:
            columns[key] = np.stack([np.asarray(flat[name], float) for name in names], axis=-1)
    for key in SINGLE:
        if key in flat:
            columns[key] = _whole(key, flat[key]) if key in ("label", "size_vox") else flat[key]
    return columns, {name: _plain(value) for name, value in flat.items() if name not in OWN}


def _whole(key: str, value: NDArray[Any]) -> NDArray[Any]:
    numbers = np.asarray(value)
    if numbers.dtype.kind == "f" and not np.array_equal(numbers, np.rint(numbers)):
        raise InputError(f"The column {key} needs whole numbers, all of them.")
    return numbers


def _plain(value: NDArray[Any]) -> NDArray[Any]:
    """Convert a column of Python texts to NumPy's text dtype; others are returned unchanged."""
    if value.dtype.kind == "O" and all(isinstance(text, str) for text in value.tolist()):
        return np.array(value.tolist(), dtype=str)
    return value


def check_angstrom(found: NDArray[np.float64], position: NDArray[np.float64]) -> None:
    """Refuse positions in angstrom that differ from those in voxels, because somebody changed only one of the two.

    Parameters
    ----------
    found
        (n, 3) positions of the angstrom columns, z, y, x.
    position
        (n, 3) positions computed from the voxel columns, angstrom, z, y, x.

    Raises
    ------
    InputError
        They differ; the message names the first such pick.
    """
    differs = ~np.isclose(found, position, rtol=1e-6, atol=1e-3).all(axis=1)
    if differs.any():
        row = int(np.flatnonzero(differs)[0])
        raise InputError(
            f"Pick {row} is at {found[row].tolist()} angstrom, but its voxels say {position[row].tolist()}. Change "
            f"both, or drop the columns {', '.join(ANGSTROM)} (or {', '.join(VOXELS)})."
        )
