"""The list of a store's label images, ``labels/zarr.json``, which viewers read.

Several runs may write label images into one store at the same time, for example the picks of two features. No lock
joins them. So each reads the list again after it has written it, adds every label image of volengine that is there and
was dropped by another, and drops those that are not there: whoever writes last has seen all that happened before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from volengine.core.errors import FormatError
from volengine.core.image import ImageSpec
from volengine.io.omezarr.ngff import ome_part
from volengine.io.omezarr.node_files import update_attributes
from volengine.io.omezarr.nodes import Node, read_node
from volengine.io.omezarr.read import children

ROUNDS = 100
"""Number of times that a list is written again before somebody else is held to destroy it."""


def is_listed(spec: ImageSpec) -> bool:
    """Return whether a label image is in its store's list of labels; other images need not be listed."""
    parent, _, name = spec.group.rpartition("/")
    try:
        return parent != "labels" or name in _labels(spec.url)
    except FormatError:
        return False


def list_label(spec: ImageSpec, durable: bool) -> None:
    """Add a label image to the store's list of labels; other images are not listed."""
    parent, _, name = spec.group.rpartition("/")
    if parent == "labels" and not spec.scratch and name not in _labels(spec.url):
        _write_anew(spec.url, durable)


def unlist_label(url: str, group: str) -> None:
    """Take a label image that was deleted from the store's list of labels."""
    parent, _, name = group.rpartition("/")
    if parent == "labels" and read_node(url, parent) is not None and name in _labels(url):
        _write_anew(url, False)


def _write_anew(url: str, durable: bool) -> None:
    """Write the list until it holds all label images of volengine, and those that others have listed, as are there."""
    for _ in range(ROUNDS):
        known, here = _labels(url), [name for name in children(url, "labels") if not name.startswith(".")]
        wanted = [name for name in known if name in here or "/" in name]
        wanted += [name for name in _ours(url, here) if name not in known]
        if wanted == known:
            return
        _write(url, wanted, durable)
    raise FormatError(f"{url}/labels: another program writes the list of label images again and again; stop it.")


def _ours(url: str, names: Sequence[str]) -> list[str]:
    """Return the names of those label images in a store that volengine has created."""
    nodes = {name: read_node(url, f"labels/{name}") for name in names}
    return [name for name, node in nodes.items() if node is not None and node.ours.get("token")]


def _labels(url: str) -> list[str]:
    """Return the names in the list of label images; one that is no list of names is none, and is written anew."""
    node = read_node(url, "labels")
    names = None if node is None else ome_part(node.attributes).get("labels")
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _write(url: str, names: list[str], durable: bool) -> None:

    def changed(node: Node) -> dict[str, Any]:
        new = {**ome_part(node.attributes), "labels": names}
        return {"ome": {"version": "0.5", **new}} if node.zarr_format == 3 else new

    if not update_attributes(url, "labels", changed, durable=durable):
        raise FormatError(f"{url}: the group 'labels' is not there.")
