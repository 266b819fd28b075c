"""The groups of tomograms, for which ``stats`` makes pooled tables."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from volengine.core.csv_cells import plain
from volengine.core.errors import FormatError, MissingError
from volengine.io.names import tomogram_key

EVERY = "all"
"""Name of the group that holds all tomograms."""


def read_groups(path: str) -> dict[str, str]:
    """Read the group of each tomogram from a table with the columns ``tomogram`` and ``group`` (commas or tabs).

    Raises
    ------
    MissingError
        The file does not exist.
    FormatError
        A column is missing, a name is empty, a tomogram is in two groups, or a group is called ``all``.
    """
    file = Path(path)
    if not file.is_file():
        raise MissingError(f"{path}: no such file.")
    try:
        text = file.read_text(encoding="utf-8-sig")
        return _groups(text, path)
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}: no text in UTF-8 ({error.reason} at byte {error.start}).") from None
    except csv.Error as error:
        raise FormatError(f"{path} is no CSV ({error}).") from None


def _groups(text: str, path: str) -> dict[str, str]:
    head = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text), delimiter="\t" if "\t" in head else ",", skipinitialspace=True)
    columns = [str(c).strip() for c in reader.fieldnames or ()]
    for column in ("tomogram", "group"):
        if columns.count(column) > 1:
            raise FormatError(f"{path}: the column {column!r} is there twice.")
        if column not in columns:
            raise FormatError(f"{path}: there is no column {column!r}; the first line names {', '.join(columns)}.")
    reader.fieldnames = columns
    found: dict[str, str] = {}
    for row in reader:
        tomogram, group = (plain((row[c] or "").strip()) for c in ("tomogram", "group"))
        tomogram = tomogram_key(tomogram)
        if not tomogram or not group:
            raise FormatError(f"{path}, line {reader.line_num}: a tomogram or a group is empty.")
        if group == EVERY:
            raise FormatError(f"{path}, line {reader.line_num}: {EVERY!r} is the name of all tomograms together.")
        if found.setdefault(tomogram, group) != group:
            raise FormatError(
                f"{path}, line {reader.line_num}: tomogram {tomogram!r} is in {found[tomogram]!r} and in {group!r}."
            )
    return found
