"""Metadata of Zarr nodes (groups and arrays, v2 and v3), read directly as JSON.

This costs less than opening the node, works for every store, and never uses consolidated metadata, which are out of
date as soon as a group is added.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal

import numpy as np

from volengine.core.errors import FormatError
from volengine.core.json_text import parse_object
from volengine.io.omezarr.bounds import MAX_CHUNKS_PER_SHARD, check_chunk
from volengine.io.stores import stored_bytes

METADATA_FILES = frozenset({"zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata"})
"""Names of the metadata files of all versions."""

MAX_METADATA_BYTES = 2**26
"""Largest metadata file that is read, bytes. Those of a volume have some thousand."""

MAX_DEPTH = 64
"""Deepest nesting of metadata that is read; that of NGFF is below ten."""

MAX_AXES = 8
"""Most axes of an array that is read."""

MAX_SIDE = 2**62
"""Largest size of an axis, and of an array in bytes, that is read."""


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
        ours = self.attributes.get("volengine")
        return dict(ours) if isinstance(ours, dict) else {}


def read_node(url: str, path: str = "") -> Node | None:
    """Read the node at ``path`` of a store; ``None`` if there is none.

    Raises
    ------
    FormatError
        Its metadata are no JSON, or describe an array that cannot be read.
    """
    v3 = read_json(url, path, "zarr.json")
    if v3 is not None:
        return node_of(v3, url, path)
    array = read_json(url, path, ".zarray")
    group = None if array is not None else read_json(url, path, ".zgroup")
    if array is None and group is None:
        return None
    attributes = read_json(url, path, ".zattrs") or {}
    if array is None:
        return Node("group", 2, attributes)
    return array_node({**array, "zarr_format": 2, "attributes": attributes}, f"{url}/{path}" if path else url)


def node_of(data: dict[str, Any], url: str, path: str) -> Node:
    """Interpret the content of ``zarr.json`` at ``path`` of a store.

    Raises
    ------
    FormatError
        It does not describe a group, or an array that can be read.
    """
    where = f"{url}/{path}" if path else url
    attributes = data.get("attributes") or {}
    if not isinstance(attributes, dict):
        raise FormatError(f"{where}: the attributes are {short(attributes)}, not names and values.")
    if data.get("node_type") == "group":
        return Node("group", 3, attributes)
    return array_node(data, where)


def array_node(data: dict[str, Any], where: str) -> Node:
    """Interpret the metadata of an array (v2 or v3; those of v2 with its attributes).

    Raises
    ------
    FormatError
        They do not describe an array that can be read, or announce chunks that no memory holds.
    """
    try:
        return _v2_array(data) if data.get("zarr_format") == 2 else _v3_array(data)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, SyntaxError) as error:
        text = f"there is no {error}" if isinstance(error, KeyError) else short(error)
        raise FormatError(f"{where}: the metadata of the array cannot be read: {text}.") from error


def _v2_array(data: dict[str, Any]) -> Node:
    attributes = data.get("attributes") or {}
    return _checked(
        Node(
            "array",
            2,
            attributes,
            shape=_sizes(data["shape"], "shape"),
            dtype=np.dtype(data["dtype"]).name,
            chunks=_sizes(data["chunks"], "chunks"),
            dimension_names=_names(attributes.get("_ARRAY_DIMENSIONS")),
        )
    )


def _v3_array(data: dict[str, Any]) -> Node:
    chunks = _sizes(data["chunk_grid"]["configuration"]["chunk_shape"], "chunk_shape")
    shards = None
    for codec in data.get("codecs", ()):
        if isinstance(codec, dict) and codec["name"] == "sharding_indexed":
            if shards is not None:
                raise ValueError("shards of shards are not read")
            shards, chunks = chunks, _sizes(codec["configuration"]["chunk_shape"], "chunk_shape of the shards")
    return _checked(
        Node(
            "array",
            3,
            data.get("attributes") or {},
            shape=_sizes(data["shape"], "shape"),
            dtype=np.dtype(data["data_type"]).name,
            chunks=chunks,
            shards=shards,
            dimension_names=_names(data.get("dimension_names")),
        )
    )


def _sizes(values: Any, what: str) -> tuple[int, ...]:
    if not isinstance(values, list) or len(values) > MAX_AXES:
        raise ValueError(f"{what} is {short(values)}, not a list of up to {MAX_AXES} sizes")
    for value in values:
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_SIDE:
            raise ValueError(f"{what} is {short(values)}; sizes are whole numbers from 1 to {MAX_SIDE}")
    return tuple(values)


def _names(values: Any) -> tuple[str, ...]:
    return tuple(str(n)[:100] for n in values if n is not None) if isinstance(values, list) else ()


def _checked(node: Node) -> Node:
    if not len(node.shape) == len(node.chunks) == len(node.shards or node.chunks):
        raise ValueError(f"shape {node.shape}, chunks {node.chunks} and shards {node.shards} differ in their axes")
    itemsize = np.dtype(node.dtype).itemsize
    if wrong := check_chunk(node.chunks, itemsize):
        raise ValueError(wrong)
    if prod(node.shape) * itemsize > MAX_SIDE:
        raise ValueError(f"an array of shape {node.shape} holds more bytes than any store")
    if node.shards is not None:
        if any(s % c for s, c in zip(node.shards, node.chunks, strict=True)):
            raise ValueError(f"shards {node.shards} are no multiples of the chunks {node.chunks}")
        count = prod(s // c for s, c in zip(node.shards, node.chunks, strict=True))
        if count > MAX_CHUNKS_PER_SHARD:
            raise ValueError(f"a shard has {count} chunks; more than {MAX_CHUNKS_PER_SHARD} are not read")
    return node


def short(value: Any) -> str:
    """Return a value as text for a message, cut to 200 characters."""
    text = " ".join(str(value).split())
    return text if len(text) <= 200 else f"{text[:200]} ..."


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


def read_json(url: str, path: str, name: str) -> dict[str, Any] | None:
    """Read a metadata file of the node at ``path``; ``None`` if there is none.

    Raises
    ------
    FormatError
        It is no JSON, or no metadata.
    """
    key = f"{path}/{name}" if path else name
    text = stored_bytes(url, key, MAX_METADATA_BYTES + 1)
    return None if text is None else _parsed(text, url, key)


def _parsed(text: bytes, where: str, what: str) -> dict[str, Any]:
    if len(text) > MAX_METADATA_BYTES:
        raise FormatError(
            f"{where}: {what} has {len(text)} bytes; metadata of more than {MAX_METADATA_BYTES} are not read."
        )
    data = parse_object(text, f"{where}: the store is damaged: {what}")
    few = text.count(b"{") + text.count(b"[") <= MAX_DEPTH  # then it cannot be deep
    if not few and _depth(data) > MAX_DEPTH:
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
