"""Text tables: volengine's own CSV, CSV of other programs, and the TSV of Ais.

*CSV.* One line per pick and a line of column names. Comment lines (``#``) above it state all units and the facts of
each tomogram. Every column of ``Picks`` is restored to the last bit. The columns ``z_a, y_a, x_a`` (angstrom, with the
origin) are for people; ``z_vox, y_vox, x_vox`` are read. A file in which the two contradict each other is refused.

*CSV of other programs* (separated by comma, semicolon or tab) needs column names. ``z_vox``, ``z`` or napari's
``axis-0`` (and so on) are voxels, 0-based. ``z_a`` and ``z_angstrom`` are angstrom, interpreted as origin + index ×
voxel size.
``nz, ny, nx`` are normals. The tomogram is ``tomogram``, or else one of ``tomo_name``, ``tomogram_name``, ``tomo``,
``tomo_id`` and ``run_name``. Other columns become extra columns. In tables with ``experiment``, ``particle_type`` and
x, y, z, those of the CZII challenge on Kaggle, these are angstrom, and the two name tomogram and feature.

*TSV of Ais.* Three whole numbers x, y, z per line, separated by tabs, in 0-based voxels, without names. When writing,
positions are rounded to the nearest voxel (Ais truncates them), so they change by at most half a voxel; everything else
is lost.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.csv_cells import guarded, guarded_row, plain
from volengine.core.errors import FormatError, InputError
from volengine.core.flat import ANGSTROM, EULER, NORMAL, OWN, SINGLE, VOXELS
from volengine.core.picks import EXTRA, Picks
from volengine.io.picks import rows as r

_ALIASES = {
    VOXELS: (("z", "y", "x"), ("axis-0", "axis-1", "axis-2")),
    ANGSTROM: (("z_angstrom", "y_angstrom", "x_angstrom"), ("z_ang", "y_ang", "x_ang")),
    EULER: (("rot", "tilt", "psi"),),
    NORMAL: (("nz", "ny", "nx"),),
    ("tomogram",): tuple((name,) for name in ("tomo_name", "tomogram_name", "tomo", "tomo_id", "run_name")),
    ("weight",): (("score",),),
}
_KAGGLE = {"experiment": "tomogram", "particle_type": "feature", "z": "z_a", "y": "y_a", "x": "x_a"}
"""The columns of the CZII challenge (kaggle.com/competitions/czii-cryo-et-object-identification), in angstrom."""

_HEADER = """\
# Picks written by volengine. Order z, y, x; voxels are 0-based with centres at integers.
# z_vox y_vox x_vox: voxels; z_a y_a x_a: angstrom, origin + index * voxel size (for people: not read back)
# volume_a3: cubic angstrom; size_vox: voxels; rot tilt psi: degrees, RELION's ZYZ; normal: unit vector
"""


def read(path: Path, known: r.Known, format: str) -> r.Rows:
    """Read the rows of a text table.

    Parameters
    ----------
    path
        The file.
    known
        Not used: positions in angstrom count from the origin of each tomogram, if one is known, else from its first
        voxel.
    format
        ``csv`` or ``ais-tsv``.

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        It has no column names or no coordinates, some angles of a pose are missing, or a line is damaged; the message
        names the line.
    """
    return _read_tsv(path) if format == "ais-tsv" else _read_csv(path)


def _read_csv(path: Path) -> r.Rows:
    text = r.read_text(path)
    facts = r.read_facts(text, path)
    try:
        header, body, lines = _parse(text, path, own=bool(facts))
    except csv.Error as error:
        raise FormatError(f"{path} is no CSV ({error}).") from None
    names = _canonical(header, path, own=bool(facts))
    columns = dict(zip(names, zip(*body, strict=True) if body else [()] * len(names), strict=True))

    def stack(labels: Sequence[str]) -> r.Floats:
        _all_there(labels, names, path)
        return np.stack([r.numbers(columns[k], k, path, lines) for k in labels], axis=-1)

    angstrom = not set(VOXELS) <= set(names)
    if angstrom and not set(ANGSTROM) <= set(names):
        there = ", ".join(name[:40] for name in header[:12])
        raise r.foreign(path, f"as a table it has no columns z_vox, y_vox, x_vox (or z, y, x); there are {there}")
    rows = r.Rows(path, coordinate=stack(ANGSTROM if angstrom else VOXELS), angstrom=angstrom, facts=facts)
    rows.framed = "" if angstrom else None
    if not angstrom and set(ANGSTROM) & set(names):
        nothing = np.full(len(lines), np.nan)
        stated = [r.numbers(columns[k], k, path, lines) if k in columns else nothing for k in ANGSTROM]
        rows.stated_a = np.stack(stated, axis=-1)
    if "tomogram" in columns:
        texts = [plain(name) for name in columns["tomogram"]] if facts else columns["tomogram"]
        rows.tomogram = r.tomogram_names(texts, facts, path)
    for key, labels in (("euler", EULER), ("normal", NORMAL)):
        if set(labels) & set(names):
            rows.columns[key] = stack(labels)
    known, used = r.kinds(facts), {"tomogram", *VOXELS, *ANGSTROM, *EULER, *NORMAL}
    for name in names:
        if name not in used:
            key = name if name in SINGLE else EXTRA + name
            kind = r.column_kind(key) or known.get(key)
            if kind == "U":  # facts are there: volengine has written the column
                columns[name] = tuple(map(plain, columns[name]))
            rows.columns[key] = r.typed(columns[name], kind, name, path, lines)
    return r.finite(rows, lines)


def counts_angstrom(path: Path) -> bool:
    """Return whether a CSV of another program, which :func:`read` reads, has its positions in angstrom alone."""
    text = r.read_text(path)
    if r.read_facts(text, path):
        return False
    return not set(VOXELS) <= set(_canonical(_parse(text, path, own=False)[0], path, own=False))


def _all_there(labels: Sequence[str], names: Sequence[str], path: Path) -> None:
    """Refuse a vector of which some columns are missing."""
    missing = [name for name in labels if name not in names]
    if missing:
        there = ", ".join(name for name in labels if name in names)
        raise FormatError(
            f"{path} has the columns {there}, but not {', '.join(missing)}; add what is missing (an angle that is not "
            "known is 0), or remove them."
        )


def _parse(text: str, path: Path, own: bool) -> tuple[list[str], list[list[str]], list[int]]:
    """Return the column names, the rows, and the line number of each row."""
    at = next((i for i, line in enumerate(text.splitlines()) if line.strip() and line[0] != "#"), None)
    if at is None:
        raise FormatError(f"{path} has no line with the names of its columns.")
    first = text.splitlines()[at]
    delimiter = max(",;\t", key=first.count)
    body = "\n".join(text.splitlines()[at:])
    reader = csv.reader(io.StringIO(body), delimiter=delimiter, skipinitialspace=not own)
    header = [name.strip() for name in next(reader)]
    rows, lines = [], []
    for row in reader:
        line = at + reader.line_num
        if not row or (not own and row[0].startswith("#")):
            continue
        if len(row) != len(header):
            raise FormatError(f"{path}, line {line}: {len(row)} values for {len(header)} columns.")
        rows.append(row)
        lines.append(line)
    return header, rows, lines


def _canonical(header: Sequence[str], path: Path, own: bool) -> list[str]:
    """Translate the column names to those of volengine."""
    names = list(header) if own else [name.lower() if name.lower() in OWN else name for name in header]
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise FormatError(f"{path}: the column {twice!r} is there twice.")
    if own:
        return names
    lower = [name.lower() for name in names]
    if _KAGGLE.keys() <= set(lower):
        names = [_KAGGLE.get(name.lower(), name) for name in names]
        lower = [name.lower() for name in names]
    for wanted, choices in _ALIASES.items():
        for choice in choices:
            there = len(set(choice) & set(lower))
            if wanted in (EULER, NORMAL) and 1 < there < len(choice):  # one alone may mean something else
                _all_there(choice, lower, path)
            if there == len(choice) and not set(wanted) & set(names):
                for new, old in zip(wanted, choice, strict=True):
                    names[lower.index(old)] = new
    names = [re.sub(r"\W", "_", name, flags=re.ASCII) or f"column_{i}" for i, name in enumerate(names)]
    return [f"_{name}" if name[:1].isdigit() else name for name in names]


def files(path: Path, tables: Sequence[Picks], format: str, pixel_size: float | None) -> list[tuple[Path, bytes]]:
    """Make volengine's CSV, or a TSV of Ais (of one tomogram, rounded to whole voxels, halves to even).

    Raises
    ------
    InputError
        The tables have different columns, or an extra column has a reserved name.
    """
    text = _tsv_text(tables[0]) if format == "ais-tsv" else _csv_text(tables)
    return [(path, text.encode())]


def _csv_text(picks: Sequence[Picks]) -> str:
    out = io.StringIO()
    out.write(_HEADER)
    for one in picks:
        out.write(r.facts_line(one) + "\n")
    writer = csv.writer(out, lineterminator="\n")
    header: list[str] = []
    for one in picks:
        columns = _columns(one)
        if not header:
            header = list(columns)
            writer.writerow(header)
        if list(columns) != header:
            raise InputError(
                f"The picks of {picks[0].tomogram!r} and {one.tomogram!r} do not have the same columns: "
                f"{', '.join(sorted(set(columns) ^ set(header)))}."
            )
        writer.writerows(zip(*columns.values(), strict=True))
    return out.getvalue()


def _columns(picks: Picks) -> dict[str, list[str]]:
    flat = picks.flat().items()
    return {"tomogram": [guarded(picks.tomogram)] * len(picks)} | {name: _cells(np.asarray(v)) for name, v in flat}


def _cells(column: NDArray[Any]) -> list[str]:
    """Return a column as cells; texts that a spreadsheet would run are guarded."""
    return guarded_row(column.tolist()) if column.dtype.kind == "U" else r.texts(column)


def _read_tsv(path: Path) -> r.Rows:
    words, lines = [], []
    for number, line in enumerate(r.read_text(path).splitlines(), 1):
        if line.strip():
            row = line.split()
            if len(row) != 3:
                raise FormatError(f"{path}, line {number}: {len(row)} values; three (x, y, z) are expected.")
            words.append(row)
            lines.append(number)
    columns = [r.numbers([w[i] for w in words], "xyz"[i], path, lines) for i in (2, 1, 0)]
    return r.finite(r.Rows(path, coordinate=np.stack(columns, axis=-1)), lines)


def _tsv_text(picks: Picks) -> str:
    return "".join(f"{x}\t{y}\t{z}\n" for z, y, x in np.rint(picks.position_vox).astype(np.int64).tolist())
