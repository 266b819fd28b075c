"""Whether the chunks of an array lie where its metadata say; else they would be read as zeros, without a word.

>>> text = metadata_text(url, path)                                                          # doctest: +SKIP
>>> text = with_separator(url, path, text)   # refused, if all that is stored has other names  # doctest: +SKIP

Zarr names a chunk by its place in the grid: ``0.1.2`` or ``0/1/2`` in Zarr v2 (``dimension_separator``), ``c/0/1/2`` in
Zarr v3 (``chunk_key_encoding``). Old programs write nested folders and do not say so, copies are renamed, metadata are
edited. So the names are looked at, once per array: folders are listed until the first chunk is found, which is the
first or second name of a good store.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from volengine.core.errors import FormatError, VolengineError
from volengine.io.names import NODE_FILES, is_zipped, scheme
from volengine.io.omezarr.nodes import METADATA_FILES, Node, array_json, array_node, short
from volengine.io.stores import local_path, open_store, reached

MOST_FOLDERS = 64
"""Most folders that are listed in the search for one chunk."""

MOST_NAMES = 4096
"""Most names of an array without declared separator that are looked at."""

REMEMBERED = 256
"""Number of arrays in object stores whose names are not listed again by this process."""


@dataclass(frozen=True)
class Keys:
    """How the chunks of an array are named.

    Parameters
    ----------
    prefix
        ``c`` in Zarr v3, else empty.
    separator
        ``/`` (folders) or ``.``.
    grid
        Number of objects (shards, or chunks) along each axis.
    """

    prefix: str
    separator: str
    grid: tuple[int, ...]

    @property
    def depth(self) -> int:
        """Number of parts of a key that are folders, and the file."""
        return 1 if self.separator == "." else len(self.grid) + bool(self.prefix)

    @property
    def example(self) -> str:
        """The key of the first chunk."""
        return self.separator.join([*([self.prefix] if self.prefix else []), *("0" for _ in self.grid)])

    def fits(self, name: str, level: int) -> bool:
        """Return whether a name can be part ``level`` of a key."""
        parts = name.split(".") if self.separator == "." else [name]
        place = level
        if self.prefix and level == 0:
            if parts[0] != self.prefix:
                return False
            parts, place = parts[1:], 0
        elif self.prefix:
            place = level - 1
        if self.separator == "." and len(parts) != len(self.grid):
            return False
        return all(_is_index(part, self.grid[place + at]) for at, part in enumerate(parts))


def _is_index(text: str, count: int) -> bool:
    return (
        text.isascii() and text.isdigit() and (text == "0" or text[0] != "0") and len(text) < 20 and int(text) < count
    )


def with_separator(url: str, path: str, text: bytes) -> bytes:
    """Return the metadata of an array, in Zarr v2 with the separator that its chunks have if the metadata state none.

    Parameters
    ----------
    url, path
        The store, and the path of the array in it.
    text
        The metadata file of the array.

    Raises
    ------
    FormatError
        The array holds objects, but none that its metadata can name; or two layouts are mixed; or a folder of chunks
        has a strange name.
    """
    if scheme(url) in ("http", "https"):  # cannot be listed
        return text
    if local_path(url) is not None or is_zipped(url):
        return _checked(url, path, text)
    return _remembered(url, path, text)


@lru_cache(maxsize=REMEMBERED)
def _remembered(url: str, path: str, text: bytes) -> bytes:
    try:
        return _checked(url, path, text)
    except VolengineError as error:
        if error.__cause__ is None:
            raise
        return text  # a store that refuses to be listed


def _checked(url: str, path: str, text: bytes) -> bytes:
    where = f"{url}, array {path!r}"
    data = array_json(text, where)
    node = array_node(data, where)
    grid = tuple(-(-n // u) for n, u in zip(node.shape, node.shards or node.chunks, strict=True))
    if node.zarr_format == 2 and data.get("dimension_separator") is None:
        separator = _found_separator(url, path, grid, where)
        if separator == "/" or "dimension_separator" in data:
            text = json.dumps(data | {"dimension_separator": separator}).encode()
        keys = Keys("", separator, grid)
    else:
        keys = _declared(data, node, grid)
    _look(url, path, keys, where)
    return text


def _declared(data: dict[str, Any], node: Node, grid: tuple[int, ...]) -> Keys:
    if node.zarr_format == 2:
        return Keys("", str(data["dimension_separator"]), grid)
    encoding = data.get("chunk_key_encoding")
    name = encoding.get("name") if isinstance(encoding, dict) else encoding
    settings = encoding.get("configuration") if isinstance(encoding, dict) else None
    separator = settings.get("separator") if isinstance(settings, dict) else None
    v2 = name == "v2"
    return Keys("" if v2 else "c", str(separator or ("." if v2 else "/")), grid)


def _found_separator(url: str, path: str, grid: tuple[int, ...], where: str) -> str:
    """Return the separator of an array of Zarr v2 that states none: ``.``, unless its chunks lie in folders."""
    if len(grid) < 2:
        return "."
    flat, nested = Keys("", ".", grid), Keys("", "/", grid)
    seen: set[str] = set()
    for number, (name, _) in enumerate(_entries(url, path)):
        if flat.fits(name, 0):
            seen.add(".")
        elif nested.fits(name, 0):
            seen.add("/")
        if len(seen) == 2 or number >= MOST_NAMES:
            break
    if len(seen) == 2:
        raise FormatError(
            f"{where}: it holds chunks in folders (as '0/0') and beside each other (as '0.0'), and its metadata state "
            "no dimension_separator, so it is not known which are right. Copy the store again from its source."
        )
    return seen.pop() if seen else "."


def _look(url: str, path: str, keys: Keys, where: str) -> None:
    """Refuse an array whose objects the keys cannot name."""
    found = _Search(url, keys)
    named = found.walk(path, 0)
    if found.strays:
        raise FormatError(
            f"{where}: the folder {found.strays[0]!r} beside its chunks is none that its metadata can name "
            f"({keys.example!r} is the first chunk), so what it holds would be read as zeros. Give it its right "
            "name, or move it elsewhere."
        )
    if named or not found.foreign:
        return
    guess = _guess(url, path, keys)
    raise FormatError(
        f"{where}: it holds {', '.join(map(repr, found.foreign[:3]))}, but no chunk that its metadata can name "
        f"({keys.example!r} would be the first), so all voxels would be read as zeros. "
        + (f"Its chunks are named like {guess!r}: correct the metadata, or " if guess else "Give them their names, or ")
        + "copy the store again from its source."
    )


def _guess(url: str, path: str, keys: Keys) -> str:
    """Return the first key of the layout that the stored objects have; empty if it is none that is known."""
    for prefix in ("", "c"):
        for separator in ("/", "."):
            other = Keys(prefix, separator, keys.grid)
            if other != keys and _Search(url, other).walk(path, 0):
                return other.example
    return ""


class _Search:
    """The search for one chunk; what lies there instead is noted.

    Parameters
    ----------
    url
        The store.
    keys
        How chunks are named.
    """

    def __init__(self, url: str, keys: Keys):
        self.url, self.keys = url, keys
        self.foreign: list[str] = []
        """Objects, and folders with something in them, that are no chunks."""
        self.strays: list[str] = []
        """Folders among those of the chunks whose names are no numbers."""
        self._left = MOST_FOLDERS

    def walk(self, path: str, level: int) -> bool:
        """Return whether there is a chunk below a folder, which is part ``level`` of its key."""
        self._left -= 1
        named, last = False, level == self.keys.depth - 1
        # the first level of folders is small, so all of it is looked at: one of them may have been renamed
        all_of_it = not last and level <= bool(self.keys.prefix)
        for name, folder in _entries(self.url, path):
            inner = f"{path}/{name}" if path else name
            if self.keys.fits(name, level) and folder is not last:
                named = named or last or (self._left > 0 and self.walk(inner, level + 1))
                if named and not all_of_it:
                    return True
            elif self._counts(inner, name, folder):
                if len(self.foreign) < MOST_FOLDERS:
                    self.foreign.append(f"{name}/" if folder else name)
                if folder and all_of_it and not name.isdigit() and (level or not self.keys.prefix):
                    self.strays.append(name)
        if not named:
            self.strays = []
        return named

    def _counts(self, path: str, name: str, folder: bool | None) -> bool:
        """Return whether something that is no chunk may be one of another layout: nodes and notes are not."""
        if folder is None:
            folder = any(True for _ in _entries(self.url, path))
        if not folder:
            return any(letter.isdigit() for letter in name)  # the names of all chunks hold a number
        names = {name for name, _ in _entries(self.url, path, everything=True)}
        return bool(names) and not names & set(NODE_FILES)


def _entries(url: str, path: str, *, everything: bool = False) -> Iterator[tuple[str, bool | None]]:
    """Yield the names in a folder, and whether they are folders (``None``: not known), without metadata and litter."""
    for name, folder in _listed(url, path):
        litter = name.startswith(".") or name.endswith(".partial") or name in METADATA_FILES or name == "manifest.json"
        if everything or not litter:
            yield name, folder


def _listed(url: str, path: str) -> Iterator[tuple[str, bool | None]]:
    root = local_path(url)
    if root is not None:
        try:
            with os.scandir(root / path) as entries:
                for entry in entries:
                    with suppress(OSError):  # a loop of links
                        yield entry.name, entry.is_dir()
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise FormatError(f"{url}: {path!r} cannot be listed ({short(error.strerror)}).") from error
        return
    from zarr.core.sync import sync

    async def names() -> list[str]:
        return [name async for name in open_store(url, read_only=True).list_dir(path)]

    with reached(url):
        found = sync(names())
    for name in found:
        yield name.strip("/"), None
