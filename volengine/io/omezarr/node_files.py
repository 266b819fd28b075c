"""Writing metadata of Zarr nodes: each file appears complete, by one atomic act, and is on the disk if that is asked.

>>> put_node("memory://nodes", "labels", group_files(3, {"ome": {"version": "0.5", "labels": []}}))   # doctest: +SKIP
>>> update_attributes("memory://nodes", "labels", lambda node: {"ome": {"labels": ["core"]}})   # doctest: +SKIP
True
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from volengine.core.aside import put_file
from volengine.core.errors import MissingError
from volengine.io.omezarr.codecs import compressors
from volengine.io.omezarr.nodes import METADATA_FILES, Node, node_of, read_json, read_node
from volengine.io.omezarr.objects import bytes_of
from volengine.io.stores import local_path, open_store, reached

if TYPE_CHECKING:
    from zarr.abc.store import Store


def put_node(url: str, path: str, files: Mapping[str, bytes], *, durable: bool = False) -> bool:
    """Create a group or an array.

    Parameters
    ----------
    url, path
        The store, and the path of the node in it.
    files
        The node's metadata files by name, as :func:`group_files` and :func:`array_files` make them.
    durable
        Wait until it is on the disk.

    Returns
    -------
    Whether the node was made; not if another process made one a moment ago, which is kept.
    """
    # the file that says what the node is comes last: without it there is no node yet
    names = sorted(files, key=lambda name: (name in ("zarr.json", ".zarray", ".zgroup"), name))
    made = False
    for name in names:
        try:
            _put(url, _key(path, name), files[name], durable, exclusive=True)
            made = True
        except FileExistsError:  # by another process, perhaps one that was killed before it wrote the last file
            made = False
    return made


def group_files(zarr_format: int, attributes: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the metadata files of a group, as zarr-python writes them (without indents)."""
    return _with_attributes(_empty_group(zarr_format), attributes)


def array_files(
    described: tuple[tuple[str, Any], ...], codec: tuple[tuple[str, Any], ...], attributes: Mapping[str, Any]
) -> dict[str, bytes]:
    """Return the metadata files of an array, as zarr-python writes them (without indents).

    Parameters
    ----------
    described
        Arguments of ``zarr.create_array`` that have a hash, as names and values.
    codec
        Those of :func:`~volengine.io.omezarr.codecs.compressors`.
    attributes
        The attributes.
    """
    return _with_attributes(_empty_array(described, codec), attributes)


@lru_cache(maxsize=4)
def _empty_group(zarr_format: Any) -> Mapping[str, bytes]:
    import zarr

    return _made(lambda store: zarr.create_group(store, zarr_format=zarr_format, attributes={}))


@lru_cache(maxsize=64)
def _empty_array(described: tuple[tuple[str, Any], ...], codec: tuple[tuple[str, Any], ...]) -> Mapping[str, bytes]:
    """The files of an array without attributes; the tomograms of a collection often have the same ones."""
    import zarr

    given, chosen = dict(described), compressors(**dict(codec))
    keys: Any = {"name": "default" if given["zarr_format"] == 3 else "v2", "separator": "/"}

    def make(store: Store) -> None:
        zarr.create_array(store, compressors=chosen, chunk_key_encoding=keys, attributes={}, **given)

    return _made(make)


def _made(make: Callable[[Store], Any]) -> dict[str, bytes]:
    """The files that a function of zarr-python writes into the root of a store."""
    from zarr.storage import MemoryStore

    files: dict[str, Any] = {}
    make(MemoryStore(files))
    return {name: _text(json.loads(bytes(bytes_of(data)))) for name, data in files.items()}


def _text(data: Mapping[str, Any]) -> bytes:
    """Metadata as zarr-python writes them without indents, with which Python's encoder takes ten times as long."""
    return json.dumps(dict(data)).encode()


def _with_attributes(files: Mapping[str, bytes], attributes: Mapping[str, Any]) -> dict[str, bytes]:
    if not attributes:
        return dict(files)
    if "zarr.json" not in files:  # v2
        return {**files, ".zattrs": _text(attributes)}
    return {"zarr.json": _text({**json.loads(files["zarr.json"]), "attributes": attributes})}


def update_attributes(
    url: str, path: str, changes: Callable[[Node], Mapping[str, Any]], *, durable: bool = False
) -> bool:
    """Set attributes of a group or an array; others stay.

    Parameters
    ----------
    url, path
        The store, and the path of the node in it.
    changes
        Function that gives the attributes to set, for the node as it is.
    durable
        Wait until they are on the disk.

    Returns
    -------
    Whether there is such a node.
    """
    document = read_json(url, path, "zarr.json")
    node = read_node(url, path) if document is None else node_of(document, url, path)
    if node is None:
        return False
    attributes = {**node.attributes, **changes(node)}
    if document is None:
        _put(url, _key(path, ".zattrs"), _text(attributes), durable)
    else:
        _put(url, _key(path, "zarr.json"), _text({**document, "attributes": attributes}), durable)
    return True


def remove_node(url: str, path: str) -> None:
    """Delete the metadata files of a group or an array; what is stored below it stays."""
    folder = local_path(url)
    if folder is not None:
        for name in METADATA_FILES:
            (folder / path / name).unlink(missing_ok=True)
        return
    from zarr.core.sync import sync

    store = open_store(url)
    with reached(url):
        for name in METADATA_FILES:
            sync(store.delete(_key(path, name)))


def _put(url: str, key: str, data: bytes, durable: bool, *, exclusive: bool = False) -> None:
    folder = local_path(url)
    if folder is not None:
        put_file(f"{folder}{os.sep}{key}", data, durable=durable, exclusive=exclusive)
        return
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync

    store, prototype = open_store(url), default_buffer_prototype()
    with reached(url):
        there = exclusive and sync(store.exists(key))
        if not there:
            before = sync(store.get(key, prototype))
            sync(store.set(key, prototype.buffer.from_bytes(data)))
            after = sync(store.get(key, prototype))
    if there:
        raise FileExistsError(f"{url}/{key}")
    # another process may have written other content meanwhile, but not that of before
    found = None if after is None else after.to_bytes()
    if found is None or (found != data and before is not None and found == before.to_bytes()):
        raise MissingError(
            f"{url}/{key}: was written, which the store has confirmed, and is not there"
            f"{'' if found is None else ' (its former content is)'}. Run the same command again; if that does not "
            "help, something drops what is written there: a rule of the bucket, a proxy, another program."
        )


def _key(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name
