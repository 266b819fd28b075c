"""What motive lists (TOM, AV3, STOPGAP, ArtiaX) share: positions that count from 1, zxz angles, numbered tomograms.

*Positions.* A particle is at ``orig + shift``, pixels of the tomogram; these are Matlab programs, so the centre of the
first voxel is 1 (STOPGAP cuts a box from ``floor(orig) - floor(box / 2)`` to box - 1 later, 1-based, and has its centre
on pixel floor(box / 2) + 1). Programs that extract particles round ``orig``, so it is written as a whole number and the
rest as the shift (as ``sg_motl_from_pointlist`` does).

*Angles.* The matrix Rz(psi) Rx(the) Rz(phi) turns the reference into the tomogram (``sg_motl_stopgap_to_dynamo``;
``from_stopgap_star`` of the CryoET Data Portal). As Rz(-90) Rx(t) Rz(90) = Ry(-t), it is RELION's matrix of
``volengine.core.orientation`` with rot = 90 - phi, tilt = the, psi = -90 - psi.

*Names.* Tomograms have numbers. Their names are in a table map file beside the list, as Dynamo has it: ``NAME.doc``
with a number and a name on each line. It is written with the list, and read if it exists.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.errors import FormatError, InputError
from volengine.core.picks import EXTRA, Picks
from volengine.io.picks import rows as r
from volengine.io.picks.dynamo import wrap

NUMBERS = ("class", "object", "subtomo_num")
"""Extra columns of whole numbers that a motive list holds."""

LARGEST = 2**24
"""Whole numbers up to this are exact in float32, in which ``.em`` files hold them."""


def to_euler(phi: ArrayLike, the: ArrayLike, psi: ArrayLike) -> r.Floats:
    """Convert zxz angles to RELION's rot, tilt, psi; all in degrees.

    >>> to_euler([90.0], [30.0], [-90.0]).tolist()
    [[0.0, 30.0, 0.0]]
    """
    angles = [np.asarray(v, float) for v in (phi, the, psi)]
    return np.stack([wrap(90 - angles[0]), angles[1], wrap(-90 - angles[2])], axis=-1)


def from_euler(euler: ArrayLike) -> tuple[r.Floats, r.Floats, r.Floats]:
    """Convert RELION's rot, tilt, psi (n, 3) to zxz angles phi, the, psi; all in degrees."""
    rot, tilt, psi = np.asarray(euler, float).reshape(-1, 3).T
    return wrap(90 - rot), tilt, wrap(-90 - psi)


def split(position_vox: r.Floats) -> tuple[r.Floats, r.Floats]:
    """Divide positions (n, 3; voxels, 0-based) into whole pixels, which count from 1, and shifts."""
    pixel = np.rint(position_vox) + 1
    return pixel, position_vox - (pixel - 1)


def whole(values: r.Floats, name: str, path: Path, lines: Sequence[int] | None) -> NDArray[np.int64]:
    """Convert numbers to integers; raise :class:`FormatError` with the line (or the particle) of one that is none."""
    bad = np.flatnonzero(~(np.abs(values) < 2**53) | (values != np.rint(values)))
    if len(bad):
        where = f"particle {bad[0] + 1}" if lines is None else f"line {lines[bad[0]]}"
        raise FormatError(f"{path}, {where}: {name} is {values[bad[0]]}; it must be a whole number.")
    return values.astype(np.int64)


def tomogram_numbers(tables: Sequence[Picks], path: Path) -> list[int]:
    """Return the number of each tomogram: its name, if all names are numbers, else 1, 2, 3 in their order.

    Raises
    ------
    InputError
        A tomogram has no name, or one that the map of names cannot hold.
    """
    for one in tables:
        if not one.tomogram or "/" in one.tomogram or "\\" in one.tomogram:
            raise InputError(
                f"{path}: the map of a motive list's tomograms (.doc) holds names of files, so it cannot hold the "
                f"tomogram {one.tomogram!r}: set its name with picks.with_(tomogram=...)."
            )
    if all(re.fullmatch("[1-9][0-9]{0,6}", one.tomogram) for one in tables):
        return [int(one.tomogram) for one in tables]
    return list(range(1, len(tables) + 1))


def map_text(tables: Sequence[Picks], numbers: Sequence[int]) -> bytes:
    """Make the map of names that lies beside a motive list."""
    return "".join(f"{n} {one.tomogram}.mrc\n" for n, one in zip(numbers, tables, strict=True)).encode()


def number_column(picks: Picks, name: str, default: NDArray[np.int64], path: Path) -> NDArray[Any]:
    """Return an extra column of whole numbers as it is written, or the default if the picks have none.

    Raises
    ------
    InputError
        The column holds other values than whole numbers from 0 to 2**24.
    """
    values = picks.extra.get(name)
    if values is None:
        return default
    if values.dtype.kind != "i" or (len(values) and (values.min() < 0 or values.max() > LARGEST)):
        raise InputError(
            f"{path}: the column {name!r} of a motive list holds whole numbers from 0 to {LARGEST}, but that of the "
            f"picks has {r.texts(values)[:3]}: rename or number it."
        )
    return values


def extra(name: str) -> str:
    """Return the name of an extra column in a table."""
    return EXTRA + name
