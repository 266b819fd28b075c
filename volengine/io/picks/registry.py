"""Finding the module that reads or writes a format of picks.

A format is one entry of :data:`volengine.io.picks.formats.FORMATS` and one module of this package. The module has a
reader, a writer, or both::

    def read(path: Path, known: Known, format: str) -> Rows: ...
    def files(path: Path, tables: Sequence[Picks], format: str, pixel_size: float | None) -> Files: ...

``read`` parses the file into :class:`~volengine.io.picks.rows.Rows`; it converts to 0-based voxels (or angstrom) in the
order z, y, x, and refuses a file that is not of the format (:func:`~volengine.io.picks.rows.foreign`), which is never
"no picks". ``files`` makes the bytes of all files of the tables and writes nothing. One module may have several
formats, so both get the name of theirs. Modules are imported when they are needed.

Several formats share an ending (``.star``, ``.json``, ``.txt``): then the content decides, by the expression ``mark``.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Protocol, cast

from volengine.core.errors import InputError
from volengine.core.picks import Picks
from volengine.io.names import project_and_choice
from volengine.io.picks import rows as r
from volengine.io.picks.formats import FORMATS, Format

SET_NAME = "optimisation_set.star"
"""A file whose name ends so is written as a set of RELION 5."""

OTHER_NAMES = {"relion4": "relion", "warptools": "warp", "chimerax": "cmm"}
"""Names of formats that people use, and what the table calls them."""

Files = list[tuple[Path, bytes]]
"""Files to write, and what is in them; the last one is the file that was asked for."""


class Module(Protocol):
    """What the module of a format has; of a format that is read only, or written only, one of the two."""

    def read(self, path: Path, known: r.Known, format: str) -> r.Rows:
        """Read the rows of a file; raise ``FormatError`` for one that is damaged or of another format."""
        ...

    def files(self, path: Path, tables: Sequence[Picks], format: str, pixel_size: float | None) -> Files:
        """Make the files that hold the picks of one or several tomograms; raise ``InputError`` if they cannot."""
        ...


def module_of(name: str) -> Module:
    """Import the module of a format."""
    return cast(Module, importlib.import_module(f"volengine.io.picks.{FORMATS[name].module}"))


def endings() -> tuple[str, ...]:
    """Return all endings of files of picks, each once."""
    return tuple(dict.fromkeys(ending for format in FORMATS.values() for ending in format.endings))


def named(format: str) -> Format:
    """Return the format of a name.

    Raises
    ------
    InputError
        There is none of this name; the message lists all.
    """
    return FORMATS[known_as(format)]


def known_as(name: str) -> str:
    """Return the name of a format in the table, of a name in any case, or another name of it (``relion4``).

    Raises
    ------
    InputError
        There is none of this name; the message has the nearest ones, and lists all.
    """
    found = OTHER_NAMES.get(name.lower(), name.lower())
    if found not in FORMATS:
        near = get_close_matches(found, FORMATS, n=2, cutoff=0.6)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise InputError(f"There is no format {name!r} for picks.{hint} There are {', '.join(FORMATS)}.")
    return found


def to_write(path: str | Path, format: str | None) -> str:
    """Return the name of the format to write: the given one, or the first that has the ending of the file.

    A file ``..._optimisation_set.star`` is a set of RELION 5, also for ``relion5``; a file ``..._info.json`` is one of
    EMAN2, which looks for this name.

    Raises
    ------
    InputError
        The format or the ending is unknown, or the format is one that is only read.
    """
    name = format if format is None else known_as(format)
    if name is None:
        fit = _with_ending(path)
        fit = [one for one in fit if _named_as(FORMATS[one], path)] or fit
        name = next((one for one in fit if FORMATS[one].writes), fit[0])
    if (format is None or name == "relion5") and Path(path).name.endswith(SET_NAME):
        name = "relion5-set"
    if not named(name).writes:
        written = ", ".join(key for key, one in FORMATS.items() if one.writes)
        raise InputError(f"{path}: picks of the format {name} are read and not written; write {written}.")
    return name


def to_read(path: str | Path, format: str | None) -> str:
    """Return the name of the format to read: the given one, or what ending and content say.

    Raises
    ------
    InputError
        The format or the ending is unknown, the format is one that is only written, or there is a folder.
    MissingError
        The file does not exist; asked only if the content has to decide.
    """
    name = format if format is None else known_as(format)
    if project_and_choice(str(path))[1]:
        name = name or "copick-project"
    if Path(path).is_dir():
        raise InputError(f"{path} is a folder; give the file of the picks.")
    if name is None:
        fit = [one for one in _with_ending(path) if FORMATS[one].reads]
        name = fit[0] if len(fit) == 1 or not any(FORMATS[one].mark for one in fit) else _by_content(Path(path), fit)
    if not named(name).reads:
        raise InputError(f"{path}: picks of the format {name} are written and not read.")
    return name


def _with_ending(path: str | Path) -> list[str]:
    ending = Path(path).suffix.lower()
    fit = [name for name, one in FORMATS.items() if ending in one.endings]
    if not fit:
        raise InputError(
            f"{path}: the ending {ending!r} does not say the format; set format to one of {', '.join(FORMATS)}."
        )
    return fit


def _named_as(format: Format, path: str | Path) -> bool:
    """Whether a file has a name by which the programs of a format find it."""
    return bool(format.of_tomogram) and Path(path).name.endswith(format.of_tomogram)


def _by_content(path: Path, names: Sequence[str]) -> str:
    """Return the format whose mark a file has; else the first without one, or the first: its reader may refuse."""
    data = r.read_bytes(path)
    for name in names:
        mark = FORMATS[name].mark
        if mark is not None and re.search(mark, data, re.MULTILINE):
            return name
    return next((name for name in names if FORMATS[name].mark is None), names[0])
