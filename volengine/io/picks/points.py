"""Text lists of points: ``x y z`` (TomoTwin, crYOLO and many others) and the particle lists of ArtiaX (``.tsv``).

*coords.* Three numbers x, y, z on each line, separated by blanks, without names: centres in voxels, 0-based (TomoTwin's
``coords_format.py`` writes them as its locator finds them; napari-boxmanager draws them as they are). Lines that begin
with ``#`` are comments. Positions are written with all digits; everything else is lost.

*artiax.* A line of names, then numbers, separated by tabs: ``pos_x pos_y pos_z shift_x shift_y shift_z phi the psi``.
The position is pos + shift in voxels, 0-based: ArtiaX subtracts 1 from the positions of ``.em`` lists, and nothing
here. The angles are those of motive lists (:mod:`volengine.io.picks.motive`). Further columns are numbers; they are
kept as extra columns, ``weight`` and ``label`` as these. Texts and truth values are not written, because ArtiaX reads
numbers only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from volengine.core.errors import FormatError
from volengine.core.flat import OWN
from volengine.core.picks import Picks
from volengine.io.picks import motive
from volengine.io.picks import rows as r

POSITION = ("pos_x", "pos_y", "pos_z")
SHIFT = ("shift_x", "shift_y", "shift_z")
ANGLES = ("phi", "the", "psi")
NAMES = (*POSITION, *SHIFT, *ANGLES)


def read(path: Path, known: r.Known, format: str) -> r.Rows:
    """Read the rows of a list of points.

    Parameters
    ----------
    path
        The file.
    known
        What the caller states.
    format
        ``coords`` or ``artiax``.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        A line is damaged, or the file is of another format; the message names the line.
    """
    text = enumerate(r.read_text(path).splitlines(), 1)
    lines = [(n, line) for n, line in text if line.strip() and not line.lstrip().startswith("#")]
    return _read_coords(path, lines) if format == "coords" else _read_artiax(path, lines)


def _read_coords(path: Path, lines: list[tuple[int, str]]) -> r.Rows:
    words = [line.split() for _, line in lines]
    numbers = [n for n, _ in lines]
    for number, row in zip(numbers, words, strict=True):
        if len(row) != 3:
            raise FormatError(
                f"{path}, line {number}: {len(row)} values; a list of points has three, x y z, and no names. (Lists by "
                "IMOD's model2point are the format imod-text; tables with names are csv.)"
            )
    columns = [r.numbers([w[i] for w in words], "xyz"[i], path, numbers) for i in (2, 1, 0)]
    return r.finite(r.Rows(path, coordinate=np.stack(columns, axis=-1)), numbers)


def _read_artiax(path: Path, lines: list[tuple[int, str]]) -> r.Rows:
    names = [name.strip() for name in lines[0][1].split("\t")] if lines else []
    missing = [name for name in NAMES if name not in names]
    if missing or len(set(names)) < len(names):
        raise r.foreign(path, f"its first line does not name each column of ArtiaX's lists once ({', '.join(NAMES)})")
    numbers, words = [n for n, _ in lines[1:]], []
    for number, line in lines[1:]:
        row = [word.strip() for word in line.split("\t")]
        if len(row) != len(names):
            raise FormatError(f"{path}, line {number}: {len(row)} values for {len(names)} columns.")
        words.append(row)
    value = {name: r.numbers([w[i] for w in words], name, path, numbers) for i, name in enumerate(names)}
    at = np.stack([value[p] + value[s] for p, s in zip(POSITION[::-1], SHIFT[::-1], strict=True)], axis=-1)
    rows = r.Rows(path, coordinate=at)
    if any(value[k].any() for k in ANGLES):
        rows.columns["euler"] = motive.to_euler(*(value[k] for k in ANGLES))
    for name in names:
        if name == "weight":
            rows.columns[name] = value[name]
        elif name == "label":
            rows.columns[name] = motive.whole(value[name], name, path, numbers)
        elif name not in NAMES:
            known = re.sub(r"\W", "_", name, flags=re.ASCII)
            known = known if re.match("[A-Za-z_]", known) and known not in OWN else f"_{known}"
            if motive.extra(known) in rows.columns:
                raise FormatError(f"{path}, line {lines[0][0]}: two columns would be called {known!r}; rename one.")
            integer = np.abs(value[name]) < 2**53
            integer &= value[name] == np.rint(value[name])
            rows.columns[motive.extra(known)] = value[name].astype(np.int64) if integer.all() else value[name]
    return r.finite(rows, numbers)


def files(path: Path, tables: Sequence[Picks], format: str, pixel_size: float | None) -> list[tuple[Path, bytes]]:
    """Make a list of the points of one tomogram."""
    picks = tables[0]
    if format == "coords":
        text = "".join(f"{x!r} {y!r} {z!r}\n" for z, y, x in picks.position_vox.tolist())
        return [(path, text.encode())]
    n = len(picks)
    columns = dict(zip(POSITION, picks.position_vox.T[::-1], strict=True)) | dict.fromkeys(SHIFT, np.zeros(n))
    columns |= dict.fromkeys(ANGLES, np.zeros(n))
    if picks.orientation is not None:
        columns |= dict(zip(ANGLES, motive.from_euler(picks.orientation), strict=True))
    columns |= {key: value for key in ("weight", "label") if (value := getattr(picks, key)) is not None}
    columns |= {k: v for k, v in picks.extra.items() if v.dtype.kind in "fi" and k not in columns}
    rows = zip(*(r.texts(np.asarray(column)) for column in columns.values()), strict=True)
    return [(path, "".join("\t".join(row) + "\n" for row in [tuple(columns), *rows]).encode())]
