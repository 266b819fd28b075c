"""Dynamo tables (``.tbl``): rows of numbers without column names, one per particle.

volengine uses these columns (Dynamo wiki, "Table convention"): 1 tag, 4-6 dx dy dz (shift in pixels, added to the
position), 7-9 tdrot tilt narot (degrees), 10 cc, 20 number of the tomogram, 23 annotation, 24-26 x y z (pixels of the
tomogram), 36 pixel size (angstrom; 0 or missing: not known).

*First index.* Dynamo is a Matlab program: it "counts pixels with the index 1", and has the centre of a box on pixel r
(wiki, "Volume center"). So in the format ``dynamo`` the centre of the first voxel is 1: index = x + dx - 1. Many
programs write tables that count from 0; read and write these as ``dynamo0``.

*Angles.* With the matrices of ``volengine.core.orientation``, tdrot = psi - 90, tilt = tilt, narot = rot + 90.

*Names.* Column 20 is a number. The names of the tomograms are in a table map file beside the table, ``NAME.doc``, with
a number and a file name on each line. It is written with the table, and read if it exists.

Columns 7-9, 10 and 23 count as missing if they contain only zeros. Origin, shape and name of the feature, volumes,
sizes, normals (they are written as angles) and extra columns are lost. Adding and subtracting 1 and 90 rounds the last
bits of positions below 1 voxel and of angles.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from volengine.core.errors import FormatError, InputError
from volengine.core.flat import LIMIT
from volengine.core.json_text import shown
from volengine.core.picks import Picks
from volengine.io.names import tomogram_name
from volengine.io.picks import rows as r
from volengine.io.picks.checks import check_cubes

COLUMNS = 36
LEAST = 26
TAG, SHIFT, ANGLES, CC, TOMOGRAM, ANNOTATION, POSITION, PIXEL = (
    0,
    slice(3, 6),
    slice(6, 9),
    9,
    19,
    22,
    slice(23, 26),
    35,
)


def read(path: Path, known: r.Known, format: str) -> r.Rows:
    """Read the rows of a table.

    Parameters
    ----------
    path
        The table.
    known
        What the caller states.
    format
        ``dynamo``: the centre of the first voxel is 1; ``dynamo0``: it is 0.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        A line of the table, or of its table map file, is damaged; the message names it.
    """
    first = _first(format)
    words: list[list[str]] = []
    lines: list[int] = []
    for number, line in enumerate(r.read_text(path).splitlines(), 1):
        row = line.split()
        if not row or row[0][0] in "#%":
            continue
        width = len(words[0]) if words else len(row)
        if len(row) < LEAST or len(row) != width:
            if len(row) < LEAST:
                raise r.foreign(path, f"line {number}: {len(row)} numbers; a Dynamo table has at least {LEAST}")
            raise FormatError(
                f"{path}, line {number}: {len(row)} numbers; a Dynamo table has {width}, as the lines before."
            )
        words.append(row)
        lines.append(number)
    width = len(words[0]) if words else LEAST
    columns = [r.numbers([w[i] for w in words], f"column {i + 1}", path, lines) for i in range(width)]
    table = np.stack(columns, axis=-1)
    rows = r.Rows(path, coordinate=(table[:, POSITION] + table[:, SHIFT])[:, ::-1] - first)
    for at, tomogram in zip(lines, table[:, TOMOGRAM].tolist(), strict=True):
        if not float(tomogram).is_integer():  # nor are infinity and NaN
            raise FormatError(f"{path}, line {at}: the tomogram's number (column 20) is {tomogram}.")
    names = map_names(path)
    rows.named = bool(names)
    rows.tomogram = [names.get(int(n), str(int(n))) for n in table[:, TOMOGRAM]]
    if not words:
        rows.facts = {name: {} for name in names.values()}
    if table.shape[1] > PIXEL and (table[:, PIXEL] > 0).any():
        rows.pixel_size = np.where(table[:, PIXEL] > 0, table[:, PIXEL], np.nan)
    tdrot, tilt, narot = table[:, ANGLES].T
    if table[:, ANGLES].any():
        rows.columns["euler"] = np.stack([wrap(narot - 90), tilt, wrap(tdrot + 90)], axis=-1)
    if table[:, CC].any():
        rows.columns["weight"] = table[:, CC]
    annotation = table[:, ANNOTATION]
    if annotation.any() and np.array_equal(annotation, np.rint(annotation)) and (np.abs(annotation) < LIMIT).all():
        rows.columns["label"] = annotation.astype(np.int64)
    return r.finite(rows, lines)


def map_names(path: Path) -> dict[int, str]:
    """Return the names of the tomograms by number, from the table map file beside the table, if it exists."""
    beside = path.with_suffix(".doc")
    if not beside.is_file():
        return {}
    names: dict[int, str] = {}
    for number, line in enumerate(r.read_text(beside).splitlines(), 1):
        words = line.split(maxsplit=1)
        if not words:
            continue
        if len(words) != 2 or not re.fullmatch("[0-9]{1,18}", words[0]):
            raise FormatError(f"{beside}, line {number}: a number and a file name are expected, not {shown(line)}.")
        tomogram, name = int(words[0]), tomogram_name(words[1].strip())
        other = next((key for key, value in names.items() if value == name and key != tomogram), None)
        if other is not None:
            raise FormatError(
                f"{beside}, line {number}: tomograms {other} and {tomogram} would both be {shown(name)}; rename one of "
                "them there."
            )
        names[tomogram] = name
    return names


def wrap(angle: r.Floats) -> r.Floats:
    """Bring angles in degrees into [-180, 180]; angles in this range keep their bits."""
    with np.errstate(invalid="ignore"):  # an angle that is not finite becomes NaN
        return np.where(np.abs(angle) > 180, (angle + 180) % 360 - 180, angle)


def _first(format: str) -> int:
    """Return the coordinate of the centre of the first voxel."""
    return 0 if format == "dynamo0" else 1


def files(path: Path, tables: Sequence[Picks], format: str, pixel_size: float | None) -> list[tuple[Path, bytes]]:
    """Make a table and its table map file.

    Parameters
    ----------
    path
        The table.
    tables
        One table of picks per tomogram.
    format
        ``dynamo``: the centre of the first voxel is 1; ``dynamo0``: it is 0.

    Raises
    ------
    InputError
        A tomogram has no name, or its voxels are not cubes.
    """
    table, names = _texts(tables, _first(format))
    return [(path.with_suffix(".doc"), names.encode()), (path, table.encode())]


def _texts(picks: Sequence[Picks], first: int) -> tuple[str, str]:
    """Make the texts of a table and of its table map file."""
    lines, names, tag = [], [], 0
    for number, one in enumerate(picks, 1):
        check_cubes(one, "Dynamo tables know")
        if not one.tomogram:
            raise InputError("Dynamo's table map file needs the tomogram's name: set picks.with_(tomogram=...).")
        if "/" in one.tomogram or "\\" in one.tomogram:
            raise InputError(
                f"Dynamo's table map file holds paths, so it cannot hold the tomogram's name {one.tomogram!r}; rename "
                "the tomogram."
            )
        names.append(f"{number} {one.tomogram}.mrc\n")
        table = np.zeros((len(one), COLUMNS))
        table[:, TAG] = np.arange(tag, tag + len(one)) + 1
        tag += len(one)
        table[:, 1:3] = 1
        if one.orientation is not None:
            rot, tilt, psi = one.orientation.T
            table[:, ANGLES] = np.stack([wrap(psi - 90), tilt, wrap(rot + 90)], axis=-1)
        table[:, CC] = 0 if one.weight is None else one.weight
        table[:, TOMOGRAM] = number
        table[:, ANNOTATION] = 0 if one.label is None else one.label
        table[:, POSITION] = one.position_vox[:, ::-1] + first
        table[:, PIXEL] = one.voxel_size[2]
        lines += [" ".join(_short(v) for v in row) + "\n" for row in table.tolist()]
    return "".join(lines), "".join(names)


def _short(value: float) -> str:
    """Format a number as Dynamo does: whole numbers without a point, others with all significant digits."""
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
