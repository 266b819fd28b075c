"""The groups above a label image: they go when the last image in them does, so that no empty store is left."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from volengine.io.omezarr.ngff import ome_part
from volengine.io.omezarr.node_files import group_files, put_node, remove_node
from volengine.io.omezarr.nodes import METADATA_FILES, Node, read_node
from volengine.io.omezarr.read import children
from volengine.io.stores import exists, local_path


def remove_parents(url: str, group: str) -> None:
    """Delete the groups above an image that was deleted, if they hold nothing any more: no others, and no facts.

    They are what :func:`~volengine.io.omezarr.image.create_image` makes for a label image in a store of its own, or in
    that of another image. If somebody adds an image in the same moment, its groups are made again.
    """
    parts = group.split("/")[:-1] if group else []
    for depth in range(len(parts), -1, -1):
        path = "/".join(parts[:depth])
        node = read_node(url, path) if exists(url) else None
        if node is None or node.kind != "group" or _facts(node) or set(children(url, path)) - set(METADATA_FILES):
            return
        remove_node(url, path)
        if children(url, path):
            put_node(url, path, group_files(node.zarr_format, node.attributes))
            return
        folder = local_path(url)
        if folder is None:
            continue
        with suppress(OSError):  # a link that the user has set to choose the disk; a file of somebody else
            (folder / path).rmdir()


def _facts(node: Node) -> dict[str, Any]:
    """The attributes of a group that say more than that it holds no label images."""
    empty = {"version", "labels"} if not ome_part(node.attributes).get("labels") else {"version"}
    said = {key: value for key, value in ome_part(node.attributes).items() if key not in empty}
    return said or {key: value for key, value in node.attributes.items() if key not in ("ome", *empty)}
