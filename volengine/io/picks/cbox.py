"""Boxes of TomoTwin and crYOLO in three dimensions (``.cbox``): STAR with the blocks ``global``, ``cryolo``,
``cryolo_include``.

``CoordinateX`` and ``CoordinateY`` are the lower corner of a box, ``CoordinateZ`` is its centre, in voxels, 0-based:
the centre is at (X + Width / 2, Y + Height / 2, Z). So writes TomoTwin (``cbox_format.py``), and so reads
napari-boxmanager (``cbox.py``), for odd boxes too. ``Confidence`` is the weight, and ``Width`` (if all boxes are as
wide as high) and ``_filamentid`` are the extra columns ``box_vox`` and ``filament``. The points of filaments that the
block ``filament_vertices`` has are not read: the boxes along the filaments are.

Boxes without z (of single images) are refused. Picks without a column ``box_vox`` get boxes of 32 voxels. Orientations,
labels, volumes, sizes and other extra columns are lost, and the tomogram is the file's name.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from volengine.core.errors import FormatError, InputError
from volengine.core.json_text import shown
from volengine.core.picks import Picks
from volengine.io.picks import motive
from volengine.io.picks import rows as r
from volengine.io.picks.star import Table, read_star

BOX = 32.0
"""Box of picks that know none, voxels."""

COLUMNS = (
    *("CoordinateX", "CoordinateY", "CoordinateZ", "Width", "Height", "Depth"),
    *("EstWidth", "EstHeight", "Confidence", "NumBoxes", "Angle"),
)
MISSING = "<NA>"


def read(path: Path, known: r.Known, format: str) -> r.Rows:
    """Read the rows of a file of boxes.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        It is no file of boxes, its boxes have no z, or a line is damaged; the message names the line.
    """
    blocks, _ = read_star(path)
    if "cryolo" not in blocks:
        raise r.foreign(path, "it has no block data_cryolo as .cbox files have")
    table = blocks["cryolo"]
    needed = ("CoordinateX", "CoordinateY", "Width", "Height")
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise FormatError(f"{path}: the block data_cryolo has no column _{missing[0]}.")
    if not _has(table, "CoordinateZ"):
        raise FormatError(f"{path}: the boxes have no _CoordinateZ: they are those of an image, not of a tomogram.")
    x, y, width, height = (r.numbers(table.columns[k], k, path, table.lines) for k in needed)
    z = r.numbers(table.columns["CoordinateZ"], "CoordinateZ", path, table.lines)
    bad = np.flatnonzero(~((width > 0) & (height > 0)))
    if len(bad):
        raise FormatError(f"{path}, line {table.lines[bad[0]]}: the box is {width[bad[0]]} x {height[bad[0]]} voxels.")
    rows = r.Rows(path, coordinate=np.stack([z, y + height / 2, x + width / 2], axis=-1))
    if _has(table, "Confidence") and table.lines:
        rows.columns["weight"] = r.numbers(table.columns["Confidence"], "Confidence", path, table.lines)
    if np.array_equal(width, height):
        rows.columns[motive.extra("box_vox")] = width
    if _has(table, "filamentid") and table.lines:
        ids = r.numbers(table.columns["filamentid"], "filamentid", path, table.lines)
        rows.columns[motive.extra("filament")] = motive.whole(ids, "filamentid", path, table.lines)
    return r.finite(rows, table.lines)


def _has(table: Table, name: str) -> bool:
    """Return whether a column is there and known in all rows."""
    return name in table.columns and MISSING not in table.columns[name]


def files(path: Path, tables: Sequence[Picks], format: str, pixel_size: float | None) -> list[tuple[Path, bytes]]:
    """Make a file of the boxes of one tomogram.

    Raises
    ------
    InputError
        The column ``box_vox`` has values that are no sizes, or ``filament`` some that are no whole numbers.
    """
    picks = tables[0]
    n = len(picks)
    box = picks.extra.get("box_vox", np.full(n, BOX))
    if box.dtype.kind not in "fi" or not (np.isfinite(box) & (box > 0)).all():
        raise InputError(f"{path}: the column box_vox must hold sizes in voxels, not {shown(r.texts(box)[:3])}.")
    z, y, x = picks.position_vox.T
    size = r.texts(box.astype(float))
    none = [MISSING] * n
    column = dict.fromkeys(COLUMNS, none) | dict.fromkeys(("Width", "Height", "Depth"), size)
    column |= {"CoordinateX": r.texts(x - box / 2), "CoordinateY": r.texts(y - box / 2), "CoordinateZ": r.texts(z)}
    if picks.weight is not None:
        column["Confidence"] = r.texts(picks.weight)
    if "filament" in picks.extra:
        column["filamentid"] = r.texts(motive.number_column(picks, "filament", np.zeros(0, np.int64), path))
    head = "\ndata_global\n\n_cbox_format_version   1.0\n\ndata_cryolo\n\nloop_\n"
    head += "".join(f"_{name} #{i}\n" for i, name in enumerate(column, 1))
    body = "".join(" " + "  ".join(row) + "\n" for row in zip(*column.values(), strict=True))
    slices = "".join(f" {v}\n" for v in r.texts(np.unique(z)))
    return [(path, f"{head}{body}\ndata_cryolo_include\n\nloop_\n_slice_index #1\n{slices}".encode())]
