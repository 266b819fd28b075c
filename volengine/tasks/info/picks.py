"""What a table of picks says of itself."""

from __future__ import annotations

from typing import Any

from volengine.core.errors import FormatError, InputError, MissingError
from volengine.io.names import PICKS_SUFFIXES as KNOWN

PICKS_SUFFIXES = tuple(ending for ending in KNOWN if ending != ".txt")
"""Endings of tables of picks; a ``.txt`` may be anything."""


def picks_facts(path: str) -> dict[str, Any]:
    """Describe a table of picks: number and grid for each tomogram.

    Raises
    ------
    MissingError, FormatError, InputError
        As :func:`volengine.io.picks.read_all`.
    """
    from volengine.io.picks import read_all

    try:
        tables, known = read_all(path), True
    except (FormatError, MissingError):
        raise
    except InputError:  # the table lacks a fact of the tomogram; the number of picks does not depend on it
        tables = read_all(path, voxel_size=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0), shape=(1, 1, 1))
        known = False
    return {
        "path": path,
        "type": "picks",
        "picks": sum(len(picks) for picks in tables.values()),
        "tables": [
            {
                "tomogram": name,
                "feature": picks.feature,
                "picks": len(picks),
                "voxel_size": list(picks.voxel_size) if known else None,
                "origin": list(picks.origin) if known else None,
                "shape": list(picks.shape) if known and picks.shape is not None else None,
                "oriented": picks.euler is not None or picks.normal is not None,
            }
            for name, picks in tables.items()
        ],
    }
