"""How large the sources of a run are, before any of them is opened; for the time left, and for nothing else.

A file counts by its bytes, a Zarr store by the voxels of its first array. No voxel is read, nothing is checked, and
where a size cannot be had at once, there is none.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Any

from volengine.io.names import is_packed

METADATA = ("0/zarr.json", "0/.zarray", "zarr.json", ".zarray")
"""Where a store keeps the shape of its first array."""


def sizes_of(sources: Iterable[Any]) -> list[float | None]:
    """The size of each source, in one unit; ``None`` for all if it is not known for all.

    Parameters
    ----------
    sources
        What a user gives for each job: paths, or anything else, which has no size.
    """
    found = [_size(source) for source in sources]
    if None in found or len({unit for unit, _ in filter(None, found)}) > 1:
        return [None] * len(found)
    return [size for _, size in filter(None, found)]


def _size(source: Any) -> tuple[str, float] | None:
    if not isinstance(source, str) or "://" in source or "#" in source or is_packed(source):
        return None
    path = Path(source)
    try:
        if path.is_file():
            return "bytes", float(path.stat().st_size)
        file = next((path / name for name in METADATA if (path / name).is_file()), None)
        shape = json.loads(file.read_bytes())["shape"] if file is not None else []
        voxels = float(prod(shape))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return ("voxels", voxels) if voxels > 0 else None
