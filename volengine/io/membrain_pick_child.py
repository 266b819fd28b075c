"""What is read from an untrusted container of MemBrain-pick, in a process of its own.

:mod:`volengine.io.membrain_pick` lets :mod:`volengine.core.apart_child` run this file as a script: it imports only h5py
and numpy, never the package; links are not followed. The values of all arrays are written one behind the other; the
index says what they are.
"""

from __future__ import annotations

import math
from typing import Any

NUMBERS = ("points", "faces", "normals", "normal_values", "scores", "labels", "cluster_centers", "pixel_size")
TEXTS = ("tomo_file",)
MOST_MESHES = 10_000
MOST_TEXT = 4096


class Refused(Exception):
    """The reason why a file is refused."""


def read(file: Any, order: dict[str, Any], out: Any) -> dict[str, Any]:
    """Write the arrays of every mesh, and return what they are: one mesh at the root, or one in each group."""
    import h5py

    hard = [name for name in file if isinstance(file.get(name, getlink=True), h5py.HardLink)]
    if len(hard) > MOST_MESHES:
        raise Refused(f"holds more than {MOST_MESHES} meshes")
    groups = [("", file)] if "points" in hard else [(n, file[n]) for n in hard if isinstance(file[n], h5py.Group)]
    room, meshes = int(order["output"]) - (1 << 20), []
    for name, group in groups:
        arrays: dict[str, Any] = {}
        texts: dict[str, str] = {}
        for key in (*NUMBERS, *TEXTS):
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                continue
            node = group[key]
            if not isinstance(node, h5py.Dataset) or node.is_virtual or node.external:
                raise Refused(f"has {key!r} that is no array of this file")
            if key in TEXTS:
                texts[key] = _text(node)
                continue
            if node.dtype.kind not in "fiub" or node.dtype.itemsize > 8 or node.shape is None or len(node.shape) > 2:
                raise Refused(f"has {key!r} of {node.dtype} with the shape {node.shape}, which is none of such a mesh")
            room -= 8 * math.prod(node.shape)
            if room < 0:
                raise Refused(f"announces more than {order['output']} bytes of values")
            out.write(node[()].astype("<f8").tobytes())
            arrays[key] = [int(n) for n in node.shape]
        meshes.append({"name": name, "arrays": arrays, "texts": texts})
    return {"meshes": meshes}


def _text(node: Any) -> str:
    """A text; empty for anything else."""
    import h5py

    if node.shape not in ((), (1,)) or h5py.check_string_dtype(node.dtype) is None:
        return ""
    value = node[()] if node.shape == () else node[0]
    return (value.decode(errors="replace") if isinstance(value, bytes) else str(value))[:MOST_TEXT]
