"""Metadata of Zarr nodes (groups and arrays, v2 and v3), read directly as JSON.

This costs less than opening the node, works for every store, and never uses consolidated metadata, which are out of
date as soon as a group is added.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from volengine.core.errors import FormatError
from volengine.io.stores import stored_bytes

MAX_METADATA_BYTES = 2**26
"""Largest metadata file that is read, bytes. Those of a volume have some thousand."""

MAX_DEPTH = 64
"""Deepest nesting of metadata that is read; that of NGFF is below ten."""


@dataclass(frozen=True)
class Node:
    """A group or an array.

    Parameters
    ----------
    kind
        ``group`` or ``array``.
    zarr_format
        2 or 3.
    attributes
        The user attributes.
    shape, dtype, chunks, shards, dimension_names
        Of arrays only, in the order of the store's axes; ``shards`` is ``None`` without sharding.
    """

    kind: Literal["group", "array"]
    zarr_format: int
    attributes: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = ()
    dtype: str = ""
    chunks: tuple[int, ...] = ()
    shards: tuple[int, ...] | None = None
    dimension_names: tuple[str, ...] = ()

    @property
    def ours(self) -> dict[str, Any]:
        """The attributes that volengine has written."""
        return dict(self.attributes.get("volengine") or {})


def read_node(url: str, path: str = "") -> Node | None:
    """Read the node at ``path`` of a store; ``None`` if there is none.

    Raises
    ------
    FormatError
        Its metadata are no JSON, or describe an array that cannot be read.
    """
    v3 = _read_json(url, path, "zarr.json")
    if v3 is not None:
        return _from_v3(v3, f"{url}/{path}" if path else url)
    array = _read_json(url, path, ".zarray")
    group = None if array is not None else _read_json(url, path, ".zgroup")
    if array is None and group is None:
        return None
    attributes = _read_json(url, path, ".zattrs") or {}
    if array is None:
        return Node("group", 2, attributes)
    try:
        return Node(
            "array",
            2,
            attributes,
            shape=tuple(int(n) for n in array["shape"]),
            dtype=np.dtype(array["dtype"]).name,
            chunks=tuple(int(n) for n in array["chunks"]),
            dimension_names=tuple(str(n) for n in attributes.get("_ARRAY_DIMENSIONS") or ()),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{url}: the metadata of the array {path!r} cannot be read: {error}.") from error


def _from_v3(data: dict[str, Any], where: str) -> Node:
    attributes = data.get("attributes") or {}
    if data.get("node_type") == "group":
        return Node("group", 3, attributes)
    try:
        chunks = tuple(int(n) for n in data["chunk_grid"]["configuration"]["chunk_shape"])
        shards = None
        for codec in data.get("codecs", ()):
            if codec["name"] == "sharding_indexed":
                shards, chunks = chunks, tuple(int(n) for n in codec["configuration"]["chunk_shape"])
        return Node(
            "array",
            3,
            attributes,
            shape=tuple(int(n) for n in data["shape"]),
            dtype=np.dtype(data["data_type"]).name,
            chunks=chunks,
            shards=shards,
            dimension_names=tuple(str(n) for n in data.get("dimension_names") or () if n is not None),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{where}: the metadata of the array cannot be read: {error}.") from error


def read_array_text(url: str, path: str) -> bytes | None:
    """Read the metadata file of an array (``zarr.json``, or ``.zarray`` of v2); ``None`` if there is none."""
    for name in ("zarr.json", ".zarray"):
        text = stored_bytes(url, f"{path}/{name}" if path else name, MAX_METADATA_BYTES + 1)
        if text is not None:
            return text
    return None


def array_json(text: bytes, where: str) -> dict[str, Any]:
    """Parse the metadata file of an array.

    Raises
    ------
    FormatError
        It is no JSON, or no metadata of an array.
    """
    data = _parsed(text, where, "the metadata file")
    if data.get("zarr_format") == 3 and data.get("node_type") != "array":
        raise FormatError(f"{where} is a group, not an array.")
    return data


def _read_json(url: str, path: str, name: str) -> dict[str, Any] | None:
    key = f"{path}/{name}" if path else name
    text = stored_bytes(url, key, MAX_METADATA_BYTES + 1)
    return None if text is None else _parsed(text, url, key)


def _parsed(text: bytes, where: str, what: str) -> dict[str, Any]:
    if len(text) > MAX_METADATA_BYTES:
        raise FormatError(
            f"{where}: {what} has {len(text)} bytes; metadata of more than {MAX_METADATA_BYTES} are not read."
        )
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where}: {what} is no JSON ({error}); the store is damaged.") from error
    if not isinstance(data, dict):
        raise FormatError(f"{where}: {what} holds no metadata; the store is damaged.")
    if _depth(data) > MAX_DEPTH:
        raise FormatError(f"{where}: {what} is nested deeper than {MAX_DEPTH} levels; no metadata of a volume are.")
    return data


def _depth(data: Any) -> int:
    depth, level = 0, [data]
    while level and depth <= MAX_DEPTH:
        depth += 1
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner += [value for value in item.values() if isinstance(value, dict | list)]
            elif isinstance(item, list):
                inner += [value for value in item if isinstance(value, dict | list)]
        level = inner
    return depth
