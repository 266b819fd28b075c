"""CSV tables of Surface Morphometrics: a row for each triangle of a surface, its centre and what was measured.

The columns ``xyz_x``, ``xyz_y``, ``xyz_z`` are positions, origin included, in nm (with its setting ``angstroms: true``
in angstrom); all others are numbers with names of their own: ``area``, ``kappa_1``, ``curvedness_VV``, ``thickness``,
``OMM_dist`` ... (its ``export_csv`` and ``quantifications_documentation.md``).

>>> import tempfile
>>> with tempfile.TemporaryDirectory() as folder:
...     one = {"index": [0], "kappa_1": [0.05], "xyz_x": [30.0], "xyz_y": [2.0], "xyz_z": [1.0]}
...     write_morphometrics(f"{folder}/TS_01_OMM.csv", one)
...     found = read_morphometrics(f"{folder}/TS_01_OMM.csv")
>>> found.position.tolist(), found.columns["kappa_1"].tolist()
([[10.0, 20.0, 300.0]], [0.05])
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from volengine.core.atomic import write_atomic
from volengine.core.errors import FormatError, MissingError
from volengine.core.paths import PathLike, path_text
from volengine.core.units import NM_TO_ANGSTROM

Floats = NDArray[np.float64]

POSITION = ("xyz_z", "xyz_y", "xyz_x")
MOST_COLUMNS = 1000


@dataclass(frozen=True, eq=False)
class Morphometrics:
    """A table: ``position`` (n, 3), angstrom, z, y, x, and further ``columns`` (n,) by name, NaN where empty."""

    position: Floats
    columns: dict[str, Floats]


def read_morphometrics(path: PathLike, unit: float = NM_TO_ANGSTROM) -> Morphometrics:
    """Read a table.

    Parameters
    ----------
    path
        The file.
    unit
        Angstrom per unit of its positions.

    Raises
    ------
    MissingError
        There is no such file.
    FormatError
        It is no text, has no columns ``xyz_x``, ``xyz_y`` and ``xyz_z``, two columns of one name, or a line that is
        truncated or holds what is no number; the message names the line.
    """
    file = Path(path_text(path))
    if not file.is_file():
        raise MissingError(f"{file}: there is no such file.")
    try:
        text = file.read_bytes().decode("utf-8-sig")
        rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        names = next(rows, [])
        _check_names(names, file)
        values = [_numbers(row, names, file, rows.line_num) for row in rows if row]
    except UnicodeDecodeError as error:
        raise FormatError(f"{file}: is no text (byte {error.start}).") from error
    except csv.Error as error:
        raise FormatError(f"{file}: is no CSV ({error}).") from error
    table = np.array(values, np.float64).reshape(len(values), len(names))
    columns = dict(zip(names, table.T, strict=True))
    position = np.stack([columns.pop(name) for name in POSITION], axis=1) * unit
    if not np.isfinite(position).all():
        row = int(np.flatnonzero(~np.isfinite(position).all(axis=1))[0])
        raise FormatError(f"{file}: row {row} has no position (xyz_x, xyz_y, xyz_z).")
    return Morphometrics(position, columns)


def _check_names(names: list[str], file: Path) -> None:
    if len(names) > MOST_COLUMNS:
        raise FormatError(f"{file}: has {len(names)} columns; tables of Surface Morphometrics have some dozens.")
    missing = [name for name in sorted(POSITION) if name not in names]
    if missing:
        there = ", ".join(name[:40] for name in names[:12]) or "no names"
        lacks = ", ".join(missing)
        raise FormatError(f"{file}: is no table of Surface Morphometrics: it lacks {lacks}; there are {there}.")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise FormatError(f"{file}: has two columns {twice[:40]!r}.")


def _numbers(row: list[str], names: list[str], file: Path, line: int) -> list[float]:
    if len(row) != len(names):
        raise FormatError(f"{file}: line {line} has {len(row)} values for {len(names)} columns; is it truncated?")
    try:
        return [_number(cell) if cell.strip() else np.nan for cell in row]
    except ValueError:
        bad = next(cell for cell in row if cell.strip() and not _is_number(cell))
        raise FormatError(f"{file}: line {line}: {bad[:40]!r} is no number.") from None


def _number(cell: str) -> float:
    if "_" in cell:  # Python reads 1_0 as 10
        raise ValueError(cell)
    return float(cell)


def _is_number(cell: str) -> bool:
    try:
        _number(cell)
    except ValueError:
        return False
    return True


def write_morphometrics(path: PathLike, columns: Mapping[str, ArrayLike]) -> None:
    """Write a table; NaN is an empty cell, as pandas writes it.

    Parameters
    ----------
    path
        The file; it appears when it is complete.
    columns
        As they are in the file, nm, ``xyz_x``, ``xyz_y`` and ``xyz_z`` among them; ``index`` first.
    """
    arrays: dict[str, NDArray[Any]] = {name: np.asarray(values) for name, values in columns.items()}
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(arrays)
    for row in zip(*(array.tolist() for array in arrays.values()), strict=True):
        table.writerow(["" if cell != cell else cell for cell in row])
    write_atomic(Path(path_text(path)), text.getvalue())
