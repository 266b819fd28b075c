"""What is read from an untrusted HDF5 file of volumes, in a process of its own.

It lists the arrays of an HDF5 file, and says where the voxels of one of them lie; it reads no voxels.
:mod:`volengine.io.hdf5.apart` lets :mod:`volengine.core.apart_child` run this file as a script: it imports only h5py
and numpy, never the package; links to other files are not followed. It writes the table of chunks (int64: linear number
of the chunk, first byte, bytes, mask of skipped filters), and returns the index.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any

MAX_OBJECTS = 100_000
MAX_DEPTH = 40
LOOKED_UP = 64
"""Chunks by which is found how the library counts."""
KERAS = {
    "model_config",
    "keras_version",
    "layer_names",
    "backend",
    "model_weights",
    "layers",
    "_layer_checkpoint_dependencies",
}
"""Names of attributes and groups at the root that files of Keras have."""


class Refused(Exception):
    """The reason why a file is refused."""


def volumes(
    group: Any, path: str = "", depth: int = 0, count: list[int] | None = None
) -> Iterator[tuple[str, Any, Any]]:
    """All arrays of numbers with three or more axes: path, dataset, group. Links are not followed."""
    import h5py

    count = [0] if count is None else count
    if depth > MAX_DEPTH:
        raise Refused("has groups nested too deeply")
    for name in group:
        count[0] += 1
        if count[0] > MAX_OBJECTS:
            raise Refused(f"holds more than {MAX_OBJECTS} objects")
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            continue
        node = group[name]
        if isinstance(node, h5py.Group):
            yield from volumes(node, f"{path}/{name}", depth + 1, count)
        elif isinstance(node, h5py.Dataset) and node.dtype.kind in "fiub" and len(node.shape or ()) >= 3:
            yield f"{path}/{name}", node, group


def facts(path: str, node: Any, group: Any) -> dict[str, Any]:
    """What is said of an array: shape, type, and the attributes that give axes, voxel size and scaling."""
    found = {"path": path, "shape": [int(n) for n in node.shape], "dtype": node.dtype.str, "attributes": {}}
    for owner, names in ((node, ("axistags", "element_size_um")), (group, ())):
        keys = names or [k for k in owner.attrs if k.startswith("EMAN.")][:200]
        for key in keys:
            if key in owner.attrs and (value := plain(owner.attrs[key])) is not None:
                found["attributes"][key] = value
    return found


def plain(value: Any) -> Any:
    """An attribute as text, a number or a short list of numbers; ``None`` for everything else."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if hasattr(value, "tolist"):
        value = value.tolist() if getattr(value, "size", 1) <= 16 else None
    if isinstance(value, list):
        return value if all(isinstance(v, (int, float)) and math.isfinite(v) for v in value) else None
    if isinstance(value, float) and not math.isfinite(value):  # JSON has no such number
        return None
    return value if isinstance(value, (str, int, float)) else None


def layout(node: Any, out: Any) -> dict[str, Any]:
    """Where the voxels of an array are. The table of its chunks goes to the output."""
    import numpy as np

    if node.external or node.is_virtual:
        raise Refused(f"keeps the voxels of {node.name} in other files")
    fill = np.asarray(node.fillvalue if node.fillvalue is not None else 0, node.dtype).tobytes().hex()
    where: dict[str, Any] = {"fill": fill, "filters": filters(node)}
    if node.chunks is None:
        offset = node.id.get_offset()
        if offset is None:
            raise Refused(f"keeps the voxels of {node.name} in its header, or has none of them")
        return {**where, "offset": int(offset), "chunks": None}
    cells = [-(-n // c) for n, c in zip(node.shape, node.chunks, strict=True)]
    rows: list[tuple[int, int, int, int]] = []
    shift = block_before(node)

    def take(info: Any) -> None:
        number = 0
        for start, step, count in zip(info.chunk_offset, node.chunks, cells, strict=True):
            number = number * count + start // step
        rows.append((number, info.byte_offset + shift, info.size, info.filter_mask))

    if node.id.get_num_chunks():
        node.id.chunk_iter(take)
    out.write(np.array(sorted(rows), np.int64).reshape(-1, 4).tobytes())
    return {**where, "offset": None, "chunks": [int(n) for n in node.chunks], "rows": len(rows)}


def block_before(node: Any) -> int:
    """What must be added to the places of chunks in a file that begins with a block of other bytes (a user block).

    Versions of the library count from the begin of the file or from the end of that block, so chunks are looked up.
    """
    block, found = node.file.userblock_size, []
    if not block:
        return 0

    def take(info: Any) -> Any:
        found.append(info)
        return True if len(found) >= LOOKED_UP else None  # which ends it

    if node.id.get_num_chunks():
        node.id.chunk_iter(take)
    for info in found:
        _, stored = node.id.read_direct_chunk(info.chunk_offset)
        fit = [shift for shift in (0, block) if os.pread(0, info.size, info.byte_offset + shift) == bytes(stored)]
        if not fit:
            break
        if len(fit) == 1:
            return fit[0]
    if not found:
        return 0
    raise Refused("begins with a block of other bytes (a user block), behind which its chunks are not found")


def filters(node: Any) -> list[list[Any]]:
    """Number and name of the filters of an array, in the order in which they were applied."""
    plist = node.id.get_create_plist()
    found = []
    for i in range(plist.get_nfilters()):
        number, _, _, name = plist.get_filter(i)
        found.append([int(number), name.decode(errors="replace") if isinstance(name, bytes) else str(name)])
    return found


def read(file: Any, order: dict[str, Any], out: Any) -> dict[str, Any]:
    """The index of a file; ``order["dataset"]`` is the path of an array, or empty for the only one."""
    wanted = order["dataset"]
    known = list(volumes(file))
    index: dict[str, Any] = {
        "datasets": [facts(*one) for one in known[:1000]],
        "count": len(known),
        "keras": bool(KERAS & {*file.attrs, *file}),
    }
    chosen = [node for path, node, _ in known if path == wanted] if wanted else [node for _, node, _ in known]
    if len(chosen) == 1 and not (index["keras"] and not wanted):
        index["layout"] = layout(chosen[0], out)
        index["chosen"] = next(facts(*one) for one in known if one[1] == chosen[0])
    return index
