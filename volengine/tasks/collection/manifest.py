"""A collection: the tomograms of a manifest, each with its name and its own parameters.

>>> collection = Collection.read("raw/manifest.csv")  # doctest: +SKIP
>>> [entry.name for entry in collection.entries if not entry.skip]  # doctest: +SKIP
['TS_01', 'TS_02']

Sources are paths relative to the manifest, or URLs. A source that is a glob stands for its matches that no other row
names, with the row's parameters.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from volengine.core.atomic import replacing
from volengine.core.errors import BusyError, FormatError, InputError
from volengine.core.paths import PathLike, path_text, place_key
from volengine.io.names import FILE_SUFFIXES, PACKED_SUFFIXES, VOLUME_SUFFIXES, suffix_of
from volengine.tasks.collection.columns import Parameter, parameters_of, target_of, value_of
from volengine.tasks.collection.forms import decode, parse, read_bytes
from volengine.tasks.collection.table import Form

SKIP = "skip"
STATES = ("", SKIP)
LONGEST_PATH, LONGEST_NAME = 4000, 255
"""Bytes of the longest path, and of the longest name in it, that file systems take."""


@dataclass(frozen=True)
class Entry:
    """A tomogram of a collection.

    Parameters
    ----------
    source
        Its path, absolute, or its URL.
    name
        Its name, and that of its results.
    group
        A word by which people put tomograms together.
    priority
        Tomograms of higher priority are begun first; 0 by default.
    skip
        Whether it is left out of runs.
    parameters
        Values that replace those of the recipe.
    row
        Number of its row in the manifest.
    where
        Where it stands, for messages.
    stated
        Whether the manifest states the name, so that the source's own one does not count.
    """

    source: str
    name: str
    group: str = ""
    priority: float = 0.0
    skip: bool = False
    parameters: tuple[Parameter, ...] = ()
    row: int = 0
    where: str = ""
    stated: bool = False


@dataclass(frozen=True)
class Collection:
    """A manifest as it was read: its path and bytes, its form, and its tomograms in the order of the manifest."""

    path: Path
    data: bytes
    form: Form
    entries: tuple[Entry, ...]

    @classmethod
    def read(cls, path: PathLike) -> Collection:
        """Read a manifest, and check all that can be checked without opening a source.

        Raises
        ------
        MissingError
            It does not exist.
        InputError
            It is damaged, a column or a value is none, or two rows have one source or one name; the message says where.
        """
        return cls.of(Path(path_text(path)))

    @classmethod
    def of(cls, path: Path, data: bytes | None = None) -> Collection:
        """Read a manifest from bytes that are to be written; default: from the file."""
        data = read_bytes(path) if data is None else data
        form = parse(decode(data, path), path)
        table = form.table
        twice = next((n for i, n in enumerate(table.columns) if n in table.columns[:i]), None)
        if "source" not in table.columns and (table.columns or table.rows):
            raise FormatError(f"{path}: there is no column 'source'; there are {', '.join(table.columns)[:200]}.")
        if twice is not None:
            raise FormatError(f"{path}: the column {twice!r} is there twice.")
        for column in table.columns:
            target_of(column, str(path))
        entries = [_entry(row, n, path, table.where[n]) for n, row in enumerate(table.rows)]
        return cls(path, data, form, tuple(_unique(_globbed(entries), path)))

    def at_work(self) -> list[Entry]:
        """Return the tomograms that a run takes: those of higher priority first, else in the order of the manifest."""
        return sorted((e for e in self.entries if not e.skip), key=lambda entry: -entry.priority)

    def skipped(self) -> list[Entry]:
        """Return the tomograms that a run leaves out."""
        return [e for e in self.entries if e.skip]

    def named(self, names: Sequence[str]) -> list[Entry]:
        """Return the tomograms of these names; patterns (``TS_0*``) stand for all that fit.

        Raises
        ------
        InputError
            There is none of such a name.
        """
        from fnmatch import fnmatchcase

        found: dict[str, Entry] = {}
        for name in names:
            fit = [e for e in self.entries if e.name == name] or [e for e in self.entries if fnmatchcase(e.name, name)]
            if not fit:
                raise InputError(f"{self.path}: there is no tomogram {name!r} among its {len(self.entries)}.")
            found |= {e.name: e for e in fit}
        return list(found.values())

    def write(self, changes: Mapping[int, Mapping[str, str]], added: Sequence[Mapping[str, str]] = ()) -> Collection:
        """Change cells and add rows, in place; return the collection as it is then.

        The new text is read before it is written, and must say what was meant. The file keeps its permissions, and a
        link stays a link.

        Raises
        ------
        BusyError
            Somebody else has changed the file meanwhile.
        FormatError
            The file's form does not allow the change; it is left as it is.
        """
        if not any(changes.values()) and not added:
            return self
        data = self.form.changed(changes, added).encode()
        made = Collection.of(self.path, data)
        wanted = [_texts(row) | dict(changes.get(n, {})) for n, row in enumerate(self.form.table.rows)]
        wanted += [dict(row) for row in added]
        if [_given(row) for row in wanted] != [_given(_texts(row)) for row in made.form.table.rows]:
            raise FormatError(f"{self.path}: cannot be changed without changing more than was meant; edit it by hand.")
        place = self.path.resolve()
        if read_bytes(place) != self.data:
            raise BusyError(f"{self.path}: was changed by somebody else meanwhile; give the same command again.")
        mode = place.stat().st_mode & 0o7777
        with replacing(place) as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
        return made


def _texts(row: Mapping[str, Any]) -> dict[str, str]:
    """A row with all values as the texts by which they are set."""

    def text(value: Any) -> str:
        if isinstance(value, list):
            return ",".join(map(text, value))
        return ("yes" if value else "no") if isinstance(value, bool) else str(value)

    return {name: text(value) for name, value in row.items()}


def _given(row: Mapping[str, str]) -> dict[str, str]:
    """The cells of a row that are not empty, without what forms may write in another way: blanks, numbers, yes."""
    words = {"true": "yes", "false": "no"}
    found = {}
    for name, value in row.items():
        plain = re.sub(r"\s*([,;])\s*", r"\1", value.strip())
        try:
            plain = repr(float(plain)) if name not in ("source", "name", "group") else plain
        except ValueError:
            plain = words.get(plain.lower(), plain)
        if plain:
            found[name] = plain
    return found


def file_name_of(source: str) -> str:
    """Return the name of a tomogram by the name of its file or store: without folder and endings.

    >>> file_name_of("raw/TS_01.rec.gz"), file_name_of("s3://b/TS_02.ome.zarr/")
    ('TS_01', 'TS_02')
    """
    name = source.replace("#", "/").rstrip("/").rsplit("/", 1)[-1]
    for endings in (PACKED_SUFFIXES, (".ome.zarr", ".zarr", ".zarr.zip", ".ozx", *FILE_SUFFIXES)):
        ending = next((e for e in endings if name.lower().endswith(e) and len(name) > len(e)), "")
        name = name[: len(name) - len(ending)]
    return name


def is_file(source: str) -> bool:
    """Whether a source is a plain file, whose name alone names the tomogram."""
    return "://" not in source and suffix_of(source) in FILE_SUFFIXES and ":/" not in source


def _entry(row: Mapping[str, Any], number: int, path: Path, where: str) -> Entry:
    where = f"{path}, {where}"

    def text(column: str) -> str:
        value = row.get(column, "")
        if not isinstance(value, str):
            raise InputError(f"{where}: {column} is {value!r}; it must be text: put it into quotes.")
        return value.strip()

    source, name, state = text("source"), text("name"), text("state").lower()
    if not source:
        raise InputError(f"{where}: the source is empty.")
    if len(source.encode()) > LONGEST_PATH or max(len(part.encode()) for part in source.split("/")) > LONGEST_NAME:
        raise InputError(f"{where}: the source {source[:40]!r}... has {len(source)} letters; no file has such a name.")
    if state not in STATES:
        raise InputError(f"{where}: state is {state!r}; it is empty, or {SKIP}.")
    if re.search(r"[/\\\x00-\x1f]", name) or name in (".", ".."):
        raise InputError(f"{where}: the name {name!r} cannot be a file's name.")
    priority = value_of(row.get("priority", 0), float, f"{where}, priority")
    source = source if "://" in source else os.path.abspath(path.parent / path_text(source))  # noqa: PTH100
    return Entry(
        source, name or file_name_of(source), text("group"), priority, state == SKIP,
        parameters_of(row, where, path.parent), number, where, bool(name),
    )  # fmt: skip


def _is_glob(source: str) -> bool:
    return "://" not in source and has_magic(source) and not Path(source).exists() and ".json#" not in source


def _globbed(entries: Sequence[Entry]) -> list[Entry]:
    """Put the matches of globs in the place of their rows; those that have a row of their own are left out."""
    own = {e.source for e in entries if not _is_glob(e.source)}
    found: list[Entry] = []
    for entry in entries:
        if not _is_glob(entry.source):
            found.append(entry)
            continue
        if entry.stated:
            raise InputError(f"{entry.where}: {entry.source} is a glob, and may stand for several: leave out the name.")
        matches = [m for m in sorted(glob(entry.source)) if suffix_of(m) in VOLUME_SUFFIXES]  # noqa: PTH207
        if not matches:
            raise InputError(f"{entry.where}: nothing matches {entry.source}.")
        found += [replace(entry, source=m, name=file_name_of(m)) for m in matches if m not in own]
    return found


def _unique(entries: Sequence[Entry], path: Path) -> list[Entry]:
    """Refuse two tomograms with one source, or with names that are the same for some file system."""
    sources: dict[str, Entry] = {}
    names: dict[str, Entry] = {}
    for entry in entries:
        for seen, key, what in ((sources, entry.source, "source"), (names, place_key(entry.name), "name")):
            if key in seen:
                other = seen[key].where.removeprefix(f"{path}, ")
                said = entry.source if what == "source" else repr(entry.name)
                also = "" if what == "source" else " Give one of them another in the column 'name'."
                raise InputError(f"{entry.where}: has the same {what} as {other}: {said}.{also}")
            seen[key] = entry
    return list(entries)
