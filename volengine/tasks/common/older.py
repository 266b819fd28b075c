"""What an earlier recipe has left beside the outputs of this one: it is named, and left as it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from volengine.engine.plan import Call, Made, Plan
from volengine.io.stores import local_path
from volengine.tasks.common.layout import join_url

STORES = (".zarr",)
"""The ending of predictions."""

TABLES = (".star", ".csv", ".tbl", ".tsv", ".json", ".zarr")
"""Endings of what a folder of picks holds."""


def older_named(folder: str, tomogram: str, made: Sequence[str], endings: Sequence[str]) -> Call:
    """A call of :func:`name_older` at the end of a plan; the parameters are those of that function."""
    params = {"folder": folder, "tomogram": tomogram, "made": list(made), "endings": list(endings)}
    return Call("volengine.tasks.common.older:name_older", params)


def name_older(
    plan: Plan, tables: Any, folder: str, tomogram: str, made: Sequence[str], endings: Sequence[str]
) -> Made:
    """Name the predictions or picks of a tomogram that the plan has not made; the engine calls this at the end.

    They are of an earlier recipe, which had other features or wrote another format, and would be taken for results of
    this one. They are left alone, because a prediction is expensive, and a table may have been changed by hand.

    Parameters
    ----------
    plan, tables
        Not used.
    folder
        Folder of the predictions or picks; one in an object store is not looked at.
    tomogram
        The tomogram's name.
    made
        The stores or tables that the plan has written.
    endings
        Endings of the files and stores that are named.
    """
    place = local_path(folder)
    if place is None or not Path(place).is_dir():
        return Made()
    mine = {Path(path).name for path in made}
    older = sorted(
        path.name
        for path in Path(place).iterdir()
        if path.suffix in endings and path.name not in mine and path.stem.rpartition("__")[0] == tomogram
    )
    return Made(said=tuple(f"{join_url(folder, name)}: not made by this recipe, and left as it is" for name in older))
