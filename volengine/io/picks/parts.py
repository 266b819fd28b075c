"""Writing picks part by part, in memory that does not grow with their number.

Most formats of text are a head and one line for each pick, and no line depends on another one (``by_rows`` of
:class:`~volengine.io.picks.formats.Format`). So the file of many picks is the head of the first part, and the last
lines of every part's own file: the same bytes as of all picks at once, by the same code.

>>> import tempfile
>>> picks = Picks([[0, 0, 1], [0, 0, 2], [0, 0, 3]], voxel_size=(10, 10, 10), tomogram="TS_01", weight=[3, 2, 1])
>>> with tempfile.TemporaryDirectory() as folder:
...     write_parts(f"{folder}/parts.csv", [picks[:2], picks[2:]])
...     write_picks(f"{folder}/whole.csv", picks)
...     Path(f"{folder}/parts.csv").read_bytes() == Path(f"{folder}/whole.csv").read_bytes()
3
True
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from volengine.core.atomic import replacing
from volengine.core.errors import InputError
from volengine.core.paths import PathLike, path_text
from volengine.core.picks import Picks
from volengine.io.picks import files_of, registry, write_picks
from volengine.io.picks.formats import FORMATS

PART_PICKS = 20_000
"""Picks of a part, of which texts are made together."""

PART_BYTES = 60_000_000
"""Memory that a part of :data:`PART_PICKS` picks needs; measured with tracemalloc: STAR with all angles 57 MB."""


def writes_parts(path: PathLike, format: str | None = None) -> bool:
    """Return whether a file is of a format that :func:`write_parts` writes part by part.

    Raises
    ------
    InputError
        The format or the ending is unknown, or the format is one that is only read.
    """
    return FORMATS[registry.to_write(path_text(path), format)].by_rows


def write_parts(path: PathLike, parts: Iterable[Picks], format: str | None = None) -> int:
    """Write picks of one tomogram to a file, part by part; it appears when all are written, or not at all.

    Parameters
    ----------
    path, format
        As for :func:`~volengine.io.picks.write_picks`. A format that is not written by rows is written as a whole, from
        all parts together.
    parts
        The picks in order: at least one part, which may be empty. All have the same columns and facts. Each is asked
        for when the one before it is written.

    Returns
    -------
    int
        The number of picks.

    Raises
    ------
    InputError
        The format cannot hold these picks, there is no part, or two parts have different columns or facts.
    """
    path = Path(path_text(path))
    name = registry.to_write(path, format)
    if not FORMATS[name].by_rows:
        picks = _together(path, list(parts))
        write_picks(path, picks, name)
        return len(picks)
    head, count = None, 0
    with replacing(path) as file:
        for part in parts:
            ((_, data),) = files_of(path, part, name, None)
            begin = _rows_at(data, len(part))
            if head is None:
                head = data[:begin]
                file.write(head)
            elif data[:begin] != head:
                raise _differ(path)
            file.write(memoryview(data)[begin:])
            count += len(part)
        if head is None:
            raise InputError(f"There are no picks to write into {path}.")
    return count


def _rows_at(data: bytes, rows: int) -> int:
    """Return where the last ``rows`` lines of a file begin."""
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
    before = ends.size - rows - 1
    return 0 if before < 0 else int(ends[before]) + 1


def _together(path: Path, parts: list[Picks]) -> Picks:
    if not parts:
        raise InputError(f"There are no picks to write into {path}.")
    first = parts[0]
    if any(part.facts() != first.facts() or part.columns.keys() != first.columns.keys() for part in parts):
        raise _differ(path)
    columns = {key: np.concatenate([part.columns[key] for part in parts]) for key in first.columns}
    return Picks.from_table(columns, first.facts())


def _differ(path: Path) -> InputError:
    return InputError(f"{path}: the parts of a table of picks must have the same columns, tomogram and voxel size.")
