"""Opening Zarr arrays from the bytes of their metadata, so that an array in use is never that of an older store.

>>> array = open_array(url, path, metadata_of(url, path))                                    # doctest: +SKIP

A process keeps some arrays open, by the bytes of their metadata: a store that was replaced by one with another shape,
codec or chunk is opened again, without a word from anybody.
"""

from __future__ import annotations

import contextlib
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from volengine.core.errors import FormatError, MissingError
from volengine.io.omezarr.bounds import ARRAY_CODECS, COMPRESSORS, FILTERS
from volengine.io.omezarr.codecs import pipeline
from volengine.io.omezarr.direct import Layout, layout_of
from volengine.io.omezarr.nodes import array_json, array_node, read_array_text, short
from volengine.io.stores import local_path, open_store

if TYPE_CHECKING:
    import zarr
    from zarr.abc.store import Store

OPEN_ARRAYS = 64
"""Number of arrays that a process keeps open. Opening an array again costs parsing its metadata."""


def metadata_of(url: str, path: str) -> bytes:
    """Read the metadata file of an array.

    Raises
    ------
    MissingError
        There is no array.
    """
    text = read_array_text(url, path)
    if text is None:
        raise MissingError(f"{url}: there is no Zarr array {path!r}.")
    return text


def open_array(url: str, path: str, text: bytes) -> zarr.Array[Any]:
    """Open the Zarr array at ``path`` of a store for reading; this process keeps it open.

    Parameters
    ----------
    url, path
        The store, and the path of the array inside of it.
    text
        The array's metadata, as :func:`metadata_of` reads them.

    Returns
    -------
    The array. Its compressors are bounded (:mod:`.bounds`), and zarr-python decodes it.

    Raises
    ------
    FormatError
        The metadata cannot be understood, announce chunks that no memory holds, or name codecs that are not read.
    """
    return open_layout(url, path, text)[0]


def open_layout(url: str, path: str, text: bytes) -> tuple[zarr.Array[Any], Layout | None]:
    """Open an array as :func:`open_array` does; also return how to read it without zarr, if that is possible."""
    if local_path(url) is not None:
        return _opened(url, path, text, None)
    # an object store may be reached in another way from now on: without credentials, or at another endpoint
    return _opened(url, path, text, id(getattr(open_store(url, read_only=True), "fs", None)))


@lru_cache(maxsize=OPEN_ARRAYS)
def _opened(url: str, path: str, text: bytes, reached_by: int | None) -> tuple[zarr.Array[Any], Layout | None]:
    """Open an array; ``reached_by`` is the number of the file system, which the array keeps alive."""
    from volengine.io.omezarr.noting import NotingStore

    array = _array(text, NotingStore(open_store(url, read_only=True)), path, f"{url}, {path}", reading=True)
    return array, layout_of(array, text) if local_path(url) is not None else None


def private_array(text: bytes, folder: Path | None, where: str) -> tuple[zarr.Array[Any], dict[str, Any]]:
    """Make an array with given metadata whose objects are written to a private folder, or to memory if there is none.

    In a folder the objects lie side by side (``c.0.0.1``), because making and removing folders would take longer than
    encoding small objects.

    Returns
    -------
    The array, and the dictionary of its objects by key, if they lie in memory.
    """
    from zarr.storage import LocalStore, MemoryStore

    objects: dict[str, Any] = {}
    store = MemoryStore(objects) if folder is None else LocalStore(folder)
    with pipeline() if folder is not None else contextlib.nullcontext():
        return _array(text, store, "", where, flat=folder is not None), objects


def memory_array(text: bytes, objects: dict[str, bytes], where: str) -> zarr.Array[Any]:
    """Make an array with given metadata and given objects, by key, for reading."""
    from zarr.core.buffer import default_buffer_prototype
    from zarr.storage import MemoryStore

    make = default_buffer_prototype().buffer.from_bytes
    store = MemoryStore({key: make(data) for key, data in objects.items()}, read_only=True)
    return _array(text, store, "", where, reading=True)


def _array(
    text: bytes, store: Store, path: str, where: str, *, reading: bool = False, flat: bool = False
) -> zarr.Array[Any]:
    import zarr
    from zarr.storage import StorePath

    try:
        metadata = _metadata(text, reading, flat)
    except FormatError as error:
        raise FormatError(f"{where}{error}") from error.__cause__
    try:
        return zarr.Array(zarr.AsyncArray(metadata, StorePath(store, path)))
    except Exception as error:  # as below
        raise _unread(where, error) from error


@lru_cache(maxsize=OPEN_ARRAYS)
def _metadata(text: bytes, reading: bool, flat: bool) -> Any:
    """Check and parse the metadata of an array; the tomograms of a collection often have the same ones.

    Messages of errors begin after the name of the array, which is not known here.
    """
    from zarr.core.array import parse_array_metadata

    data = array_json(text, "")
    array_node(data, "")
    _check_codecs(data, "")
    if flat:
        if data.get("zarr_format") == 3:
            data["chunk_key_encoding"] = {"name": "default", "configuration": {"separator": "."}}
        else:
            data["dimension_separator"] = "."
    try:
        metadata = parse_array_metadata(data)
        if reading:
            from volengine.io.omezarr.bounded_codecs import bounded

            metadata = bounded(metadata)
        return metadata
    except Exception as error:  # zarr's own classes, and whatever wrong metadata make its parsers run into
        raise _unread("", error) from error


def _unread(where: str, error: Exception) -> FormatError:
    reason = f"{type(error).__name__}: {short(error)}"
    return FormatError(f"{where}: the metadata of the array cannot be read ({reason}).")


def _check_codecs(data: dict[str, Any], where: str) -> None:
    """Refuse codecs whose output is not bounded, or that are not known."""
    if data.get("zarr_format") == 2:
        compressor, filters = data.get("compressor"), data.get("filters")
        names = [] if compressor is None else [(_name(compressor, "id"), COMPRESSORS)]
        names += [(_name(entry, "id"), FILTERS) for entry in (filters if isinstance(filters, list) else ())]
    else:
        known = COMPRESSORS | FILTERS | ARRAY_CODECS
        names = [(name.removeprefix("numcodecs."), known) for name in _v3_names(data.get("codecs"), 0)]
        if data.get("storage_transformers"):
            raise FormatError(f"{where}: storage transformers are not read.")
    for name, allowed in names:
        if name not in allowed:
            raise FormatError(
                f"{where}: the codec {name!r} is not read; known are {', '.join(sorted(allowed))}. Convert the store "
                "with the program that made it."
            )


def _name(entry: Any, key: str) -> str:
    return str(entry.get(key)) if isinstance(entry, dict) else str(entry)


def _v3_names(codecs: Any, depth: int) -> list[str]:
    names = []
    for entry in codecs if isinstance(codecs, list) else ():
        names.append(_name(entry, "name"))
        inner = entry.get("configuration") if isinstance(entry, dict) else None
        if names[-1] == "sharding_indexed" and isinstance(inner, dict):
            for key in ("codecs", "index_codecs"):
                names += _v3_names(inner.get(key), depth + 1)
    return names


def forget_open_arrays() -> None:
    """Close the arrays that :func:`open_array` keeps open."""
    _opened.cache_clear()
