"""Picks of a whole copick project: ``config.json#picks=ribosome,user=bob``, a table for each run.

Each file ``Picks/USER_SESSION_OBJECT.json`` is read as copick's (:mod:`volengine.io.picks.copick`); the name of the
tomogram is that of the run, and the object that of the file's name, because copick finds them so. Several objects of
one run become one table with the column ``feature``. If a file does not state its voxel spacing, the choice does, or
the only voxel spacing of the run's tomograms.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.errors import FormatError
from volengine.core.picks import EXTRA
from volengine.io.copick.choice import chosen_picks
from volengine.io.copick.config import Project
from volengine.io.copick.contents import Item, items_of
from volengine.io.picks import copick
from volengine.io.picks import rows as r


def read(path: Path, known: r.Known, format: str) -> r.Rows:
    """Read the picks that are chosen of a project.

    Raises
    ------
    MissingError
        The project, or what is chosen of it, does not exist.
    FormatError
        The configuration or a file is damaged.
    InputError
        Several tables of one object in a run fit, or the project is not on this machine.
    """
    project, items, spacing = chosen_picks(str(path))
    read_ones = [(item, copick.read(Path(item.path), known, "copick")) for item in items]
    sizes = _spacings(project, {item.run for item in items}) if spacing is None else {}
    features = {run: [item.name for item in items if item.run == run] for run in dict.fromkeys(i.run for i in items)}
    facts = {
        run: _facts(run, [one for item, one in read_ones if item.run == run], names, spacing or sizes.get(run), path)
        for run, names in features.items()
    }
    rows = r.Rows(path, coordinate=np.concatenate([one.coordinate for _, one in read_ones]), angstrom=True)
    rows.tomogram = [item.run for item, one in read_ones for _ in range(len(one.coordinate))]
    rows.facts = facts
    # a file without labels or turns has copick's defaults in all of its points: instance 0, and no turn
    for key, default in (("label", np.zeros(1, np.int64)), ("euler", np.zeros((1, 3)))):
        if any(key in one.columns for _, one in read_ones):
            for _, one in read_ones:
                one.columns.setdefault(key, np.repeat(default, len(one.coordinate), axis=0))
    common = [key for key in read_ones[0][1].columns if all(key in one.columns for _, one in read_ones)]
    rows.columns = {key: np.concatenate([one.columns[key] for _, one in read_ones]) for key in common}
    if len({item.name for item in items}) > 1:
        rows.columns[f"{EXTRA}feature"] = np.array(
            [item.name for item, one in read_ones for _ in range(len(one.coordinate))], str
        )
    return rows


def _facts(run: str, tables: list[r.Rows], names: list[str], spacing: float | None, path: Path) -> r.Facts:
    """The facts of a run's picks; each of its files has facts of its own, which must not contradict each other."""
    stated: list[dict[str, Any]] = [next(iter(one.facts.values()), {}) for one in tables]
    facts: r.Facts = {"feature": names[0] if len(names) == 1 else ""}
    for key in ("voxel_size", "origin", "shape"):
        values = [one[key] for one in stated if one.get(key) is not None]
        if key == "voxel_size" and spacing is not None and (not values or len({tuple(v) for v in values}) > 1):
            values = [(spacing,) * 3]
        if len({tuple(v) for v in values}) > 1:
            if key == "voxel_size":
                said = " and ".join(f"{v[0]:g}" for v in values)
                raise FormatError(
                    f"{path}: the picks of run {run!r} state voxel sizes of {said} angstrom; choose one with spacing=."
                )
            continue
        if values:
            facts[key] = values[0]
    return facts


def _spacings(project: Project, runs: set[str]) -> dict[str, float]:
    """The voxel size of each run whose tomograms have one voxel size."""
    found: dict[str, set[float]] = {}
    for item in _tomograms(project, runs):
        if item.spacing is not None:
            found.setdefault(item.run, set()).add(item.spacing)
    return {run: next(iter(sizes)) for run, sizes in found.items() if len(sizes) == 1}


def _tomograms(project: Project, runs: set[str]) -> list[Item]:
    return [item for item in items_of(project) if item.kind == "tomogram" and item.run in runs]
