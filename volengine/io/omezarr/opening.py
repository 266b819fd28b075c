"""Opening Zarr arrays from the bytes of their metadata, so that an array in use is never that of an older store.

>>> array = open_array(url, path, metadata_of(url, path))                                    # doctest: +SKIP

A process keeps some arrays open, by the bytes of their metadata: a store that was replaced by one with another shape,
codec or chunk is opened again, without a word from anybody.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from volengine.core.errors import FormatError, MissingError, VolengineError
from volengine.io.omezarr.codecs import fast_codecs_in_use, pipeline
from volengine.io.omezarr.nodes import array_json, read_array_text
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


def open_array(url: str, path: str, text: bytes, *, fast: bool = True) -> zarr.Array[Any]:
    """Open the Zarr array at ``path`` of a store for reading; this process keeps it open.

    Parameters
    ----------
    url, path
        The store, and the path of the array inside of it.
    text
        The array's metadata, as :func:`metadata_of` reads them.
    fast
        Let ``zarrs`` decode, if this process uses it and the array can be read by it.

    Raises
    ------
    FormatError
        The metadata cannot be understood.
    """
    return _opened(url, path, text, fast and fast_codecs_in_use() and local_path(url) is not None)


@lru_cache(maxsize=OPEN_ARRAYS)
def _opened(url: str, path: str, text: bytes, fast: bool) -> zarr.Array[Any]:
    return _array(text, open_store(url, read_only=True), path, fast, f"{url}, {path}")


def private_array(text: bytes, folder: Path | None, where: str) -> tuple[zarr.Array[Any], dict[str, Any]]:
    """Make an array with given metadata whose objects lie in a private folder, or in memory if there is none.

    Returns
    -------
    The array, and the dictionary of its objects by key, if they lie in memory.
    """
    from zarr.storage import LocalStore, MemoryStore

    objects: dict[str, Any] = {}
    store = MemoryStore(objects) if folder is None else LocalStore(folder)
    return _array(text, store, "", folder is not None, where), objects


def _array(text: bytes, store: Store, path: str, fast: bool, where: str) -> zarr.Array[Any]:
    import zarr
    from zarr.storage import StorePath

    data = array_json(text, where)
    try:
        if fast:
            with pipeline():
                return zarr.Array(zarr.AsyncArray(data, StorePath(store, path)))
        return zarr.Array(zarr.AsyncArray(data, StorePath(store, path)))
    except VolengineError:
        raise
    except Exception as error:  # zarr's own classes, and whatever wrong metadata make its parsers run into
        raise FormatError(f"{where}: the metadata of the array cannot be read: {error}.") from error


def forget_open_arrays() -> None:
    """Close the arrays that :func:`open_array` keeps open."""
    _opened.cache_clear()
