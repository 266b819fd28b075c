"""Motive lists of TOM and AV3 (``.em``): a table of 20 float32 numbers for each particle, as an EM image of 20 x n.

Rows, counted from 1: 1 score, 4 number of the particle, 5 number of the tomogram, 6 object, 8-10 position x y z, 11-13
shift x y z, 17 phi, 18 psi, 19 theta, 20 class; in this order of the angles (``sg_motl_av3_to_stopgap``, ArtiaX).
Conventions in :mod:`volengine.io.picks.motive`.

The file states no voxel size. Scores and angles count as missing if they contain only zeros. Object, class and the
number of the particle are extra columns (``object``, ``class``, ``subtomo_num``). Everything else is lost; row 7 is a
half-set to STOPGAP and a wedge to ArtiaX, so it is neither read nor written. Numbers are float32: positions are kept
within 1e-7 of a voxel (shifts), angles within 1e-5 degrees.

Header of an EM file: byte 0 is the machine (6: little-endian; 0, 3, 5: big-endian), byte 3 the type of the values, then
three int32, the size in x, y, z (``sg_emread``); the values follow at byte 512, x fastest.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from volengine.core.errors import FormatError, InputError
from volengine.core.picks import Picks
from volengine.io.picks import motive
from volengine.io.picks import rows as r
from volengine.io.picks.dynamo import map_names

ROWS = 20
HEADER = 512
_ORDER = {0: ">", 3: ">", 5: ">", 6: "<"}
_TYPE = {5: "f4", 9: "f8"}
SCORE, PARTICLE, TOMOGRAM, OBJECT, POSITION, SHIFT, PHI, PSI, THETA, CLASS = (
    0,
    3,
    4,
    5,
    slice(7, 10),
    slice(10, 13),
    16,
    17,
    18,
    19,
)


def read(path: Path, known: r.Known, format: str) -> r.Rows:
    """Read the rows of a motive list.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        It is no EM file of 20 x n numbers, or is damaged; the message names the particle.
    """
    table = _table(path)
    used = np.r_[TOMOGRAM, POSITION, SHIFT, PHI : THETA + 1]
    bad = np.flatnonzero(~np.isfinite(table[:, used]).all(axis=1))
    if len(bad):
        raise FormatError(f"{path}, particle {bad[0] + 1}: a value is not finite; the motive list is damaged.")
    tomogram = motive.whole(table[:, TOMOGRAM], "the number of the tomogram (row 5)", path, None)
    names = map_names(path)
    rows = r.Rows(path, coordinate=(table[:, POSITION] + table[:, SHIFT])[:, ::-1] - 1, named=bool(names))
    rows.tomogram = [names.get(n, str(n)) for n in tomogram.tolist()]
    if not len(table):
        rows.facts = {name: {} for name in names.values()}
    if table[:, SCORE].any():
        rows.columns["weight"] = table[:, SCORE]
    if table[:, PHI : THETA + 1].any():
        rows.columns["euler"] = motive.to_euler(table[:, PHI], table[:, THETA], table[:, PSI])
    for name, at in (("subtomo_num", PARTICLE), ("object", OBJECT), ("class", CLASS)):
        value = table[:, at]
        whole = (np.abs(value) < 2**53).all() and (
            value == np.rint(value)
        ).all()  # programs use these rows otherwise, too
        rows.columns[motive.extra(name)] = value.astype(np.int64) if whole else value
    return rows


def _table(path: Path) -> r.Floats:
    """Return the numbers of a motive list, (n, 20) float64."""
    data = r.read_bytes(path)
    order = _ORDER.get(data[0]) if len(data) >= HEADER else None
    if order is None or data[3] not in (1, 2, 4, 5, 8, 9):
        raise r.foreign(path, "it does not begin with the header of an EM file")
    size = struct.unpack(order + "3i", data[4:16])
    if size[0] != ROWS or size[2] not in (0, 1) or size[1] < 0 or data[3] not in _TYPE:
        raise r.foreign(
            path, f"it is an EM image of {size[0]} x {size[1]} x {size[2]} values of type {data[3]} (x, y, z), while "
            "motive lists are images of 20 x n x 1 values of type 5"
        )  # fmt: skip
    dtype = np.dtype(order + _TYPE[data[3]])
    n = size[1] if size[2] else 0
    if len(data) != HEADER + n * ROWS * dtype.itemsize:
        raise FormatError(
            f"{path} is damaged: the header says {n} particles, which are {HEADER + n * ROWS * dtype.itemsize} bytes, "
            f"but the file has {len(data)}."
        )
    with np.errstate(invalid="ignore"):  # signalling NaN, which is refused later
        return np.frombuffer(data, dtype, n * ROWS, HEADER).reshape(n, ROWS).astype(float)


def files(path: Path, tables: Sequence[Picks], format: str, pixel_size: float | None) -> list[tuple[Path, bytes]]:
    """Make a motive list and its map of names.

    Raises
    ------
    InputError
        A tomogram has no name, or an extra column cannot be written.
    """
    numbers = motive.tomogram_numbers(tables, path)
    blocks, first = [np.zeros((0, ROWS), "<f4")], 1
    for number, one in zip(numbers, tables, strict=True):
        n = len(one)
        table = np.zeros((n, ROWS), "<f4")
        ones, count = np.ones(n, np.int64), np.arange(first, first + n)
        pixel, shift = motive.split(one.position_vox)
        if n and np.abs(pixel).max() > motive.LARGEST:
            raise InputError(f"{path}: float32 cannot hold positions beyond {motive.LARGEST} voxels.")
        with np.errstate(over="ignore"):  # a score beyond float32 is infinite
            table[:, SCORE] = 0 if one.weight is None else one.weight
        table[:, PARTICLE] = motive.number_column(one, "subtomo_num", count, path)
        table[:, TOMOGRAM] = number
        table[:, OBJECT] = motive.number_column(one, "object", ones, path)
        table[:, POSITION], table[:, SHIFT] = pixel[:, ::-1], shift[:, ::-1]
        if one.orientation is not None:
            table[:, PHI], table[:, THETA], table[:, PSI] = motive.from_euler(one.orientation)
        table[:, CLASS] = motive.number_column(one, "class", ones, path)
        blocks.append(table)
        first += n
    table = np.concatenate(blocks)
    head = bytearray(HEADER)
    head[0], head[3] = 6, 5
    head[4:16] = struct.pack("<3i", ROWS, len(table), 1)
    return [(path.with_suffix(".doc"), motive.map_text(tables, numbers)), (path, bytes(head) + table.tobytes())]
