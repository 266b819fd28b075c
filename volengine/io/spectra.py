"""Tables of amplitude spectra: ``.tsv`` with a line of names, then two columns, separated by tabs.

====================  ================================================================================================
``freq_1_a``          volengine: frequency in 1/angstrom, ``amplitude`` as in :mod:`volengine.ops.filters.spectra`
``freq`` (0, 1 ...)   MemBrain's ``extract_spectrum`` (and DeePiCt's): number of a shell, ``intensity``
====================  ================================================================================================

MemBrain divides the radius from the centre to the corner of a cube of n voxels a side into n / 2 shells, leaves out the
first one and counts the others from 0; the corner alone is a last one. So the table has n / 2 rows, and row j stands
for (j + 3/2) sqrt(3) / 2 / rows of the frequency 1 / voxel, at most that of the corner, which is what the reader gives
it. (Compared with ``membrain-seg`` 0.0.10: the shells of its table for a cube of 32 voxels are these to 1 %.) Its
amplitudes are of grey values from 0 to 1 and not divided by the number of voxels, so their scale means nothing. In
volumes that are no cubes its shells are no spheres; such a table cannot be recognised, and should not be used.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from volengine.core.atomic import write_atomic
from volengine.core.errors import FormatError, InputError
from volengine.core.paths import PathLike, path_text
from volengine.io.files import first_bytes
from volengine.ops.filters.spectra import Curve

MAX_BYTES = 2**23
"""Largest size of a table, bytes; reading takes up to 60 times as much."""
OWN = ("freq_1_a", "amplitude")
MEMBRAIN = ("freq", "intensity")


def read_spectrum(path: PathLike, voxel_size: float | None = None) -> Curve:
    """Read a table.

    Parameters
    ----------
    path
        The file.
    voxel_size
        Of MemBrain's tables: voxel size of the volume, angstrom.

    Raises
    ------
    MissingError
        There is no such file.
    FormatError
        It is no such table, or a line is damaged; the message names the line.
    InputError
        A voxel size is needed and not given, or given and not needed.
    """
    place = path_text(path)
    raw, size = first_bytes(place, MAX_BYTES, "the table of a spectrum")
    if size > MAX_BYTES:
        raise FormatError(f"{place}: has {size} bytes; a spectrum has at most {MAX_BYTES}.")
    try:
        lines = raw.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise FormatError(f"{place}: is no text; the table of a spectrum was expected.") from None
    names = tuple(lines[0].split()) if lines else ()
    if names not in (OWN, MEMBRAIN):
        raise FormatError(
            f"{place}: its first line is {str(lines[:1])[1:60]}; a spectrum begins with the names {' '.join(OWN)}, or, "
            f"written by MemBrain, {' '.join(MEMBRAIN)}."
        )
    rows = [_row(line, place, at) for at, line in enumerate(lines[1:], 2) if line.strip()]
    first, amplitude = (np.array([row[k] for row in rows]) for k in (0, 1))
    if names == MEMBRAIN:
        if not np.array_equal(first, np.arange(len(first))):
            raise FormatError(f"{place}: the shells of MemBrain's spectra are numbered 0, 1, 2 ...; these are not.")
        first = _membrain(len(first), voxel_size, place)
    elif voxel_size is not None:
        raise InputError(f"{place}: states its frequencies in 1/angstrom; leave out the voxel size of the target.")
    try:
        return Curve.of(first.tolist(), amplitude.tolist())
    except InputError as error:
        raise FormatError(f"{place}: {error}") from None


def _row(line: str, place: str, at: int) -> tuple[float, float]:
    words = line.split()
    try:
        if len(words) != 2 or "_" in line:
            raise ValueError
        first, second = float(words[0]), float(words[1])
        if not (math.isfinite(first) and math.isfinite(second)):
            raise ValueError
    except ValueError:
        raise FormatError(f"{place}, line {at}: {line[:60]!r} is no pair of numbers.") from None
    return first, second


def _membrain(rows: int, voxel_size: float | None, place: str) -> np.ndarray:
    if voxel_size is None:
        raise InputError(
            f"{place}: is a table by MemBrain, whose frequencies count voxels; give the voxel size of the volume "
            "that it was made of (target_voxel_size, angstrom)."
        )
    share = np.minimum((np.arange(rows) + 1.5) / max(rows, 1), 1.0)
    return np.asarray(share * math.sqrt(3) / 2 / voxel_size)


def write_spectrum(path: PathLike, curve: Curve) -> None:
    """Write a table, with all digits, in one rename; of several sectors the mean of each frequency."""
    amplitude = curve.amplitude.reshape(len(curve.frequency), -1).mean(axis=1)
    rows = zip(curve.frequency.tolist(), amplitude.tolist(), strict=True)
    text = "\t".join(OWN) + "\n" + "".join(f"{f!r}\t{a!r}\n" for f, a in rows)
    write_atomic(Path(path_text(path)), text.encode())
