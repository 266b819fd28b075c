"""The file with which an array says which objects it consists of; :mod:`.manifest` explains it and compares."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from volengine.core.aside import is_private, put_file
from volengine.core.errors import FormatError
from volengine.io.omezarr.nodes import METADATA_FILES
from volengine.io.omezarr.objects import Stored
from volengine.io.stores import local_path, open_store, reached, stored_bytes, stored_objects

NAME = "manifest.json"
"""Name of the file, in the folder of the array."""

FORMAT = 1


@dataclass(frozen=True)
class Manifest:
    """What an array consists of.

    Parameters
    ----------
    objects
        Size in bytes and crc32c of each object, by its key relative to the array. What is not listed was all zeros.
    facts
        What else the writer has said of the array.
    """

    objects: Mapping[str, Stored]
    facts: Mapping[str, Any] = field(default_factory=dict)


def write_manifest(
    url: str,
    array_path: str,
    objects: Mapping[str, Stored],
    facts: Mapping[str, Any] | None = None,
    *,
    durable: bool = True,
) -> None:
    """Write the manifest of an array, atomically, in place of an older one.

    Parameters
    ----------
    url, array_path
        The store, and the path of the array in it.
    objects
        Size and crc32c of each object by its key relative to the array, as
        :meth:`~volengine.io.omezarr.arrays.ZarrSink.write` returns them.
    facts
        Further facts, as JSON.
    durable
        Wait until it is on the disk.
    """
    listed = {key: [int(size), int(crc)] for key, (size, crc) in sorted(objects.items())}
    content = {"format": FORMAT, "facts": dict(facts or {}), "objects": listed}
    text = json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
    folder = local_path(url)
    if folder is not None:
        put_file(folder / array_path / NAME, text, durable=durable)
        return
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    with reached(url):
        sync(open_store(url).set(_full(array_path), default_buffer_prototype().buffer.from_bytes(text)))


def read_manifest(url: str, array_path: str) -> Manifest | None:
    """Read the manifest of an array; ``None`` if it has none, as images of other programs and unfinished ones.

    Raises
    ------
    FormatError
        It is damaged, or by a later version.
    """
    folder = local_path(url)
    if folder is not None:
        try:
            stat = (folder / array_path / NAME).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        return _cached(url, array_path, (stat.st_mtime_ns, stat.st_size, stat.st_ino))
    text = stored_bytes(url, _full(array_path))
    return None if text is None else _parsed(text, f"{url}/{_full(array_path)}")


def remove_manifest(url: str, array_path: str) -> None:
    """Remove the manifest of an array, before anything in it is written again. If there is none, nothing happens."""
    folder = local_path(url)
    if folder is not None:
        (folder / array_path / NAME).unlink(missing_ok=True)
        return
    from zarr.core.sync import sync

    with reached(url):
        sync(open_store(url).delete(_full(array_path)))


def objects_of(url: str, array_path: str) -> dict[str, int]:
    """List the objects of an array: sizes in bytes by key; metadata, manifest and unfinished files are left out."""
    left_out = {*METADATA_FILES, NAME}
    return {
        key: found.size
        for key, found in stored_objects(url, array_path).items()
        if key not in left_out and not any(is_private(part) for part in key.split("/"))
    }


@lru_cache(maxsize=8)
def _cached(url: str, array_path: str, stamp: tuple[int, int, int]) -> Manifest:
    folder = local_path(url)
    assert folder is not None
    return _parsed((folder / array_path / NAME).read_bytes(), f"{url}/{_full(array_path)}")


def _parsed(text: bytes, where: str) -> Manifest:
    try:
        data = json.loads(text)
        if data["format"] != FORMAT:
            raise FormatError(f"{where}: a manifest of format {data['format']}; this version reads {FORMAT}.")
        objects = {str(key): (int(size), int(crc)) for key, (size, crc) in data["objects"].items()}
        return Manifest(objects, dict(data["facts"]))
    except FormatError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise FormatError(
            f"{where}: the list of the array's objects is damaged ({error}). Make the store again, or copy it again."
        ) from error


def _full(array_path: str) -> str:
    return f"{array_path}/{NAME}" if array_path else NAME
