"""The files of a manifest as people see them: CSV, STAR or YAML, read and changed in place.

A form holds the text, and what stands where in it. A change touches only the cells that it is about: comments, order,
separators, line ends, and the rows that nobody has changed stay as they are, byte by byte. What was changed is read
again before it is written, and must say what was meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from volengine.core.errors import FormatError, MissingError
from volengine.tasks.collection.csv_form import CsvForm
from volengine.tasks.collection.star_form import StarForm
from volengine.tasks.collection.table import Form
from volengine.tasks.collection.yaml_form import YamlForm

CSV_ENDINGS = (".csv", ".tsv")
STAR_ENDINGS = (".star",)
YAML_ENDINGS = (".yaml", ".yml")
ENDINGS = (*CSV_ENDINGS, *STAR_ENDINGS, *YAML_ENDINGS)
"""Endings of manifests; each says which form the file has."""

MAX_BYTES = 16 * 2**20
"""Largest size of a manifest."""


def is_manifest(path: str) -> bool:
    """Whether a path is that of a manifest, by its ending."""
    return "://" not in path and path.lower().endswith(ENDINGS)


def read_bytes(path: Path) -> bytes:
    """Read the file of a manifest.

    Raises
    ------
    MissingError
        It does not exist.
    FormatError
        It is a folder, cannot be read, or is larger than any manifest.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise MissingError(f"{path}: there is no such manifest; 'volengine collection new' writes one.") from None
    except OSError as error:
        raise FormatError(f"{path}: cannot be read ({error.strerror}).") from error
    if len(data) > MAX_BYTES:
        raise FormatError(f"{path}: has more than {MAX_BYTES} bytes; it is no manifest.")
    return data


def decode(data: bytes, path: Path) -> str:
    """Return the text of a manifest, with the byte order mark that spreadsheets put before it.

    Raises
    ------
    FormatError
        It is no text in UTF-8.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise FormatError(f"{path}: is text in UTF-16; save it as CSV in UTF-8.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        what = f"{error.reason} at byte {error.start}"
        raise FormatError(f"{path}: no text in UTF-8 ({what}); save it in UTF-8.") from None
    if "\0" in text:
        raise FormatError(f"{path}: holds zero bytes, and is no text.")
    return text


def parse(text: str, path: Path) -> Form:
    """Take a manifest's text apart; the ending of the path says what it is.

    Raises
    ------
    FormatError
        It is damaged, or has no rows of named columns; the message says where.
    """
    name = path.name.lower()
    if name.endswith(CSV_ENDINGS):
        return CsvForm(text, path)
    if name.endswith(STAR_ENDINGS):
        return StarForm(text, path)
    if name.endswith(YAML_ENDINGS):
        return YamlForm(text, path)
    raise FormatError(f"{path}: a manifest ends with one of {', '.join(ENDINGS)}.")


def empty(path: Path, columns: Sequence[str]) -> str:
    """Return the text of a new manifest without rows.

    Raises
    ------
    FormatError
        The ending of the path is not that of a manifest.
    """
    name = path.name.lower()
    if name.endswith(CSV_ENDINGS):
        return ("\t" if name.endswith(".tsv") else ",").join(columns) + "\n"
    if name.endswith(STAR_ENDINGS):
        labels = "".join(f"_{column} #{number}\n" for number, column in enumerate(columns, 1))
        return f"data_tomograms\n\nloop_\n{labels}"
    if name.endswith(YAML_ENDINGS):
        return "tomograms: []\n"
    raise FormatError(f"{path}: a manifest ends with one of {', '.join(ENDINGS)}.")
