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

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

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

LIMIT = 2**63
"""Integers of columns are smaller than this, and not smaller than its negative (int64)."""

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
    """Make the columns of picks, and the extra columns, from a flat table, without tomogram and angstrom columns.

    Raises
    ------
    InputError
        One of the three columns of a vector is missing, or has values that are no numbers.
    """
    columns: dict[str, Any] = {key: flat[key] for key in SINGLE if key in flat}
    for key, names in VECTORS.items():
        value = stacked(flat, names)
        if value is not None:
            columns[key] = value
    return columns, {name: _plain(value) for name, value in flat.items() if name not in OWN}


def stacked(flat: Mapping[str, NDArray[Any]], names: Sequence[str]) -> NDArray[np.float64] | None:
    """Make an array (n, 3) of three columns; ``None`` if none of them is there.

    Raises
    ------
    InputError
        Only some of them are there, or they have values that are no numbers.
    """
    there = [name for name in names if name in flat]
    if not there:
        return None
    if len(there) < len(names):
        missing = next(name for name in names if name not in flat)
        raise InputError(f"There are columns {', '.join(there)}, but there is no column {missing}.")
    try:
        return np.stack([np.asarray(flat[name], float) for name in names], axis=-1)
    except (TypeError, ValueError) as error:
        raise InputError(f"The columns {', '.join(names)} need numbers: {error}.") from None


def whole(key: str, value: ArrayLike) -> NDArray[np.int64]:
    """Convert a column to int64; refuse values that int64 does not hold exactly.

    Raises
    ------
    InputError
        A value is no number, not finite, not whole, or outside of int64.
    """
    numbers = np.asarray(value)
    if numbers.dtype.kind == "O":
        numbers = np.array(numbers.tolist())
    fits = numbers.dtype.kind in "iuf" and bool(((numbers >= -LIMIT) & (numbers < LIMIT)).all())
    if not fits or (numbers.dtype.kind == "f" and not np.array_equal(numbers, np.rint(numbers))):
        raise InputError(f"The column {key} needs whole numbers from -2**63 to 2**63 - 1, all of them.")
    return numbers.astype(np.int64)


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
