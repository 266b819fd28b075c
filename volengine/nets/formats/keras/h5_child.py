"""What is read from an untrusted HDF5 file of Keras, in a process of its own.

:mod:`volengine.nets.formats.keras.h5_apart` lets :mod:`volengine.core.apart_child` run this file as a script: it
imports only h5py and numpy, never the package, and runs no code of the file; dynamically loaded HDF5 filters are
disabled. It writes the weights as float32, one after the other, and returns their index, which ``h5_apart.py``
describes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

MAX_OBJECTS = 100_000
MAX_DEPTH = 40


class Refused(Exception):
    """The reason why a file is refused."""


class Reader:
    """Reads the weights of a Keras file, in either of its two layouts."""

    def __init__(self, out: BinaryIO, most_of_one: int, most: int):
        self.out, self.most_of_one, self.most = out, most_of_one, most
        self.size = self.objects = 0
        self.taken: set[Any] = set()

    def read(self, file: Any) -> dict[str, Any]:
        """Write the weights of a file, and return its index."""
        layers = inside(file, "layers")
        config = text_of(file.attrs.get("model_config"))
        numbered = config is None and inside(file, "model_weights") is None and layers is not None
        if numbered and "weight_names" not in layers.attrs:
            weights = list(self.numbered(layers, "layers", 0))
        else:
            weights = list(self.named(file))
        return {
            "config": config,
            "version": text_of(file.attrs.get("keras_version")) or "",
            "numbered": numbered,
            "weights": weights,
        }

    def named(self, file: Any) -> Iterator[dict[str, Any]]:
        """Weights by name, in one group per layer: ``model.save("x.h5")``, and ``save_weights`` of Keras 2."""
        root = inside(file, "model_weights")
        root = file if root is None else root
        for layer in self.members(root):
            group = inside(root, layer)
            if group is None or not hasattr(group, "keys"):
                continue
            for key in names_of(group):
                yield {"layer": layer, "key": key, **self.take(inside(group, key), f"{key!r} of {layer!r}")}

    def numbered(self, group: Any, path: str, depth: int) -> Iterator[dict[str, Any]]:
        """Weights by number in groups ``vars``, at paths of layers: the layout of Keras 3."""
        if depth > MAX_DEPTH:
            raise Refused("has groups nested too deeply")
        for name in self.members(group):
            node = inside(group, name)
            if not hasattr(node, "keys"):
                continue
            if name != "vars":
                yield from self.numbered(node, f"{path}/{name}", depth + 1)
                continue
            shown = text_of(node.attrs.get("name")) or ""
            for key in sorted(self.members(node), key=lambda k: (len(k), k)):
                yield {"layer": path, "key": key, "shown": shown, **self.take(inside(node, key), f"{key} of {path!r}")}

    def members(self, group: Any) -> list[str]:
        """Names in a group."""
        found = []
        for name in group:
            self.objects += 1
            if self.objects > MAX_OBJECTS:
                raise Refused(f"holds more than {MAX_OBJECTS} objects")
            found.append(name)
        return found

    def take(self, node: Any, what: str) -> dict[str, Any]:
        """Write a weight; return its place in the output, and its shape."""
        import h5py
        import numpy as np

        if node is None:
            raise Refused(f"lacks the weight {what}, or it lies in another file")
        if not isinstance(node, h5py.Dataset) or node.external or node.is_virtual or node.dtype.kind not in "fiu":
            raise Refused(f"holds as the weight {what} no plain array of numbers")
        held = node.id.get_storage_size()
        if node.nbytes > min(self.most_of_one, 20 * held):
            raise Refused(
                f"does not hold what it announces: the weight {what} would have {node.nbytes} bytes and takes {held}"
            )
        address = h5py.h5o.get_info(node.id).addr
        self.size += 4 * node.size
        if address in self.taken or self.size > self.most:
            raise Refused(f"does not hold what it announces: with the weight {what} there are {self.size} bytes")
        self.taken.add(address)
        values = np.asarray(node[()], np.float32, order="C")
        self.out.write(values.data)
        return {"shape": list(values.shape), "start": self.size - values.nbytes}


def inside(group: Any, path: str) -> Any:
    """The object at a path inside a file; ``None`` if there is none, or if it is a link."""
    import h5py

    node = group
    for part in path.split("/"):
        if not isinstance(node, h5py.Group) or not isinstance(node.get(part, getlink=True), h5py.HardLink):
            return None
        node = node[part]
    return node


def names_of(group: Any) -> list[str]:
    """Names of a layer's weights; a long list is divided among several attributes."""
    given = group.attrs.get("weight_names")
    parts = [] if given is None else [given]
    while given is None and f"weight_names{len(parts)}" in group.attrs:
        parts.append(group.attrs[f"weight_names{len(parts)}"])
    return [text_of(name) or "" for part in parts for name in part]


def text_of(value: Any) -> str | None:
    """An attribute as text."""
    return value.decode() if isinstance(value, bytes) else None if value is None else str(value)


def read(file: Any, order: dict[str, Any], out: BinaryIO) -> dict[str, Any]:
    """Write the weights of a file to ``out``, and return its index."""
    return Reader(out, order["most_of_one"], order["most"]).read(file)
