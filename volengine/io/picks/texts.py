"""Files of picks as texts and bytes, and their texts as values; all errors are those of the package."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.atomic import replacing
from volengine.core.errors import FormatError, InputError, MissingError
from volengine.core.flat import LIMIT
from volengine.core.json_text import shown
from volengine.core.picks import COLUMNS
from volengine.io.picks.formats import FORMATS

Floats = NDArray[np.float64]

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


def numbers(texts: Sequence[str], name: str, path: Path, lines: Sequence[int]) -> Floats:
    """Convert texts to float64, exactly; raise :class:`FormatError` with the line of a text that is no number."""
    try:
        return np.array([_number(t) for t in texts], float)
    except ValueError:
        for text, line in zip(texts, lines, strict=True):
            try:
                _number(text)
            except ValueError:
                raise FormatError(f"{path}, line {line}: {name} is {shown(text)}, not a number.") from None
        raise


def _number(text: str) -> float:
    """Return the number of a text; Python's own ``1_2``, which is 12, is no number in any file."""
    if "_" in text:
        raise ValueError(text)
    return float(text)


def typed(texts: Sequence[str], kind: str | None, name: str, path: Path, lines: Sequence[int]) -> NDArray[Any]:
    """Convert a column of texts to the numpy ``kind``; if it is ``None``, to the first fitting of int, float, text."""
    if kind is None:
        kind = "i" if texts and all(_INTEGER.fullmatch(t) for t in texts) else "f"
        try:
            return typed(texts, kind, name, path, lines)
        except FormatError:
            return np.array(texts, str)
    if kind == "U":
        return np.array(texts, str)
    if kind == "f":
        return numbers(texts, name, path, lines)
    parse = {"True": 1, "False": 0} if kind == "b" else None
    values = []
    for text, line in zip(texts, lines, strict=True):
        try:
            value = parse[text] if parse else int(text)
            if "_" in text or not -LIMIT <= value < LIMIT:
                raise ValueError
        except (KeyError, ValueError):
            what = "True or False" if parse else "a whole number from -2**63 to 2**63 - 1"
            raise FormatError(f"{path}, line {line}: {name} is {shown(text)}, not {what}.") from None
        values.append(value)
    return np.array(values, bool if kind == "b" else np.int64)


def texts(column: NDArray[Any]) -> list[str]:
    """Convert values to texts from which the same bits are read back."""
    return [repr(v) if isinstance(v, float) else str(v) for v in column.tolist()]


def column_kind(key: str) -> str | None:
    """Return the type (numpy kind) of a column of ``Picks``; ``None`` for extra columns."""
    return COLUMNS[key][0][0] if key in COLUMNS else None


# Files --------------------------------------------------------------------------------------------------------------


def read_bytes(path: Path) -> bytes:
    """Read a whole file.

    Raises
    ------
    MissingError
        It does not exist, or is a folder.
    InputError
        It cannot be read.
    """
    if not is_file(path):  # nor a device or a pipe, which may never end
        raise MissingError(f"{path} is not a file; give the file of the picks.")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise MissingError(f"{path} is not a file; give the file of the picks.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error


_UTF8 = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_NO_TEXT = re.compile("[\0-\x08\x0e-\x1a\x7f]")


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, or in the code page of older programs (Latin-1 and its extension by Windows).

    Raises
    ------
    MissingError
        It does not exist, or is a folder.
    FormatError
        It is no text file; nor is one of which a part is UTF-8 and another part is not, because it is damaged.
    """
    data = read_bytes(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if _UTF8.search(data):
            raise FormatError(f"{path} is not a text file (byte {error.start} is no UTF-8).") from None
        try:
            text = data.decode("cp1252")
        except UnicodeDecodeError as other:
            raise FormatError(f"{path} is not a text file (byte {other.start} is no character).") from None
        if _NO_TEXT.search(text):
            raise FormatError(f"{path} is not a text file (byte {error.start} is no UTF-8).") from None
    if "\0" in text:
        raise FormatError(f"{path} is not a text file (it holds zero bytes).")
    return text


def foreign(path: Path, what: str) -> FormatError:
    """Make the error for a file that is not of the format; it lists all formats of picks.

    Parameters
    ----------
    path
        The file.
    what
        What was found, or is missing; a sentence without its full stop.
    """
    read = ", ".join(name for name, one in FORMATS.items() if one.reads)
    return FormatError(f"{path} is no file of picks that volengine reads: {what}. The formats of picks are {read}.")


def numbers_hint(path: Path, names: Iterable[str]) -> str:
    """Return a sentence that says how numbers of tomograms become names; empty if there are names."""
    if not all(name.isdigit() for name in names):
        return ""
    doc = path.with_suffix(".doc").name
    return f" Numbers get names by a file {doc} beside it, with a number and the file of a tomogram on each line."


def is_file(path: Path) -> bool:
    """Return whether a path is a plain file; a path that no file can have is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # too long; a zero byte
        return False


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, completely or not at all."""
    with replacing(path) as file:
        file.write(data)
