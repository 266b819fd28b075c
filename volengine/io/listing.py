"""What an array of a Zarr store consists of: the listing of its objects, and digests of its metadata.

>>> import zarr
>>> from volengine.io.stores import open_store
>>> array = zarr.create_array(open_store("memory://listed.zarr"), shape=(4, 4), chunks=(2, 4), dtype="uint8")
>>> array[:2] = 1
>>> sorted(listing_of("memory://listed.zarr", ""))
['c/0/0', 'zarr.json']
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from volengine.core.digest import digest_of
from volengine.core.errors import MissingError, VolengineError
from volengine.core.json_text import parse_object
from volengine.io.hashing import settle
from volengine.io.names import NODE_FILES, StoredObject, scheme
from volengine.io.stores import local_path, stored_bytes, stored_objects

Listing = Mapping[str, StoredObject]
"""The objects of an array: key relative to the array, size and stamp."""

ARRAY_FILES = ("zarr.json", ".zarray")
"""Metadata files of arrays; an array has one of them."""


def time_ns(item: StoredObject) -> int | None:
    """Return the time in the stamp of a file of a local store, ns; ``None`` in other stores."""
    head = item.stamp.partition("-")[0]
    return int(head) if head.isdigit() and "-" in item.stamp else None


def listing_of(url: str, path: str) -> Listing | None:
    """List the objects of an array; ``None`` if the store cannot be listed.

    Left out are files that writers have not put in place yet, and what belongs to other nodes below the array.

    Raises
    ------
    MissingError
        An object store cannot be reached.
    """
    # The seam for stores of volengine: their arrays list sizes and checksums of all objects in manifest.json; where
    # that agrees with this listing, its checksums may stand for the stamps, so that a copied store keeps its identity.
    if scheme(url) in ("http", "https"):
        return None
    try:
        found = _own(stored_objects(url, path))
        if local_path(url) is not None and settle(max((time_ns(i) or 0 for i in found.values()), default=0)):
            found = _own(stored_objects(url, path))
    except VolengineError as error:
        if isinstance(error.__cause__, (PermissionError, NotImplementedError)):
            return None
        raise
    if not any(name in found for name in ARRAY_FILES):
        return None  # the array can be read, but its store lists nothing
    if scheme(url) == "memory":  # no time, no ETag; the bytes are at hand
        inner = f"{path}/" if path else ""
        bytes_of = {key: stored_bytes(url, inner + key) or b"" for key in found}
        return {key: StoredObject(len(data), digest_of(data)) for key, data in bytes_of.items()}
    return found


def _own(found: Listing) -> Listing:
    inner = {
        key.rpartition("/")[0] for key in found if key.endswith(NODE_FILES) and key.rpartition("/")[2] in NODE_FILES
    }
    inner.discard("")  # the array itself
    return {
        key: item
        for key, item in found.items()
        if not _is_litter(key) and not (inner and any(part in inner for part in _parents(key)))
    }


def _is_litter(key: str) -> bool:
    """Whether an object is hidden, or not in place yet: files and private folders of writers, of NFS, of a desktop."""
    folder, _, name = key.rpartition("/")
    if name.endswith(".partial") or folder.startswith(".") or "/." in folder:
        return True
    return name.startswith(".") and name not in NODE_FILES


def _parents(key: str) -> Iterator[str]:
    parts = key.split("/")
    return ("/".join(parts[:depth]) for depth in range(1, len(parts)))


def node_object(listing: Listing) -> StoredObject:
    """Return the metadata file of the array in its listing."""
    return next(listing[name] for name in ARRAY_FILES if name in listing)


def voxel_objects(listing: Listing) -> list[str]:
    """Return the keys of the chunks or shards in a listing, sorted."""
    return sorted(key for key in listing if key not in (*NODE_FILES, ".zmetadata", "manifest.json"))


def metadata_of(url: str, path: str) -> tuple[str, str]:
    """Return digests of the metadata of an array and its image: of all of them, and of what voxels depend on.

    The second leaves out attributes of the array, and what volengine notes in the image (run, time, history).

    Raises
    ------
    MissingError
        There is no array.
    FormatError
        The metadata are no JSON.
    """
    array = {name: data for name in ARRAY_FILES if (data := _node_file(url, path, name)) is not None}
    if not array:
        raise MissingError(f"{url}: there is no Zarr array {path!r}.")
    attributes = _image_attributes(url, path)
    ome = attributes.get("ome", attributes)
    plain = {name: {k: v for k, v in data.items() if k != "attributes"} for name, data in array.items()}
    multiscales = ome.get("multiscales") if isinstance(ome, dict) else None
    return digest_of([array, multiscales, attributes.get("volengine")]), digest_of([plain, multiscales])


def _image_attributes(url: str, path: str) -> dict[str, Any]:
    """The attributes of the nearest group above an array that describes images."""
    while path:
        path = path.rpartition("/")[0]
        v3 = _node_file(url, path, "zarr.json")
        attributes = _node_file(url, path, ".zattrs") if v3 is None else v3.get("attributes")
        if not isinstance(attributes, dict):
            continue
        for part in (attributes, attributes.get("ome")):
            if isinstance(part, dict) and "multiscales" in part:
                return attributes
    return {}


def _node_file(url: str, path: str, name: str) -> dict[str, Any] | None:
    key = f"{path}/{name}" if path else name
    data = stored_bytes(url, key)
    return None if data is None else parse_object(data, f"{url}: the store is damaged: {key}")
