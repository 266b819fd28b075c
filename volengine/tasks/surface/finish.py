"""The last call of a plan of ``surface``: the set of surfaces, from the meshes in the scratch folder."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.atomic import replacing
from volengine.core.block import Table
from volengine.core.errors import DamagedError
from volengine.core.text import counted
from volengine.engine.ledger import PlanFolder
from volengine.engine.plan import Made, Plan
from volengine.io.surfaces import FACTS, SurfaceFacts, file_of, files_of_set, write_list
from volengine.ops.stored import ONE
from volengine.tasks.surface.description import MEASURED, mesh_name

WHOLE = ("number", "part", "vertices", "faces", "islands", "border_loops", "genus", "object_voxels")


def write_meshes(
    plan: Plan,
    tables: Any,
    out: str,
    meshes: str,
    facts: dict[str, Any],
    least_area_nm2: float,
    keep_numbers: bool,
    span: str,
    threshold: float | None,
    integers: bool = False,
    left_out: dict[str, Any] | None = None,
    ids: tuple[int, ...] = (),
) -> Made:
    """Write the set of surfaces; the engine calls this when all stages are done.

    Parameters
    ----------
    plan
        The plan; not used.
    tables
        ``tables(name)`` returns the tables of a stage, by block number.
    out
        The folder of the set.
    meshes
        The folder of the meshes.
    facts
        Fields of :class:`~volengine.io.surfaces.SurfaceFacts`.
    least_area_nm2
        Surfaces with a smaller area are dropped.
    keep_numbers
        Surfaces keep the numbers of their objects; else they are numbered anew in their order.
    span
        Name of the stage that has the largest value of a prediction.
    threshold
        That of a prediction.
    integers
        Whether the prediction holds integers, and nothing says that they are probabilities.
    left_out
        The recipe's fields that leave out objects: ``min_volume_nm3``, ``largest``, ``side``, ``max_thickness_nm``;
        and ``split``.
    ids
        The class ids whose components are the objects, if the source holds classes.

    Returns
    -------
    Made
        The set, and what is in it.
    """
    every = list(tables("surface-mesh").values())
    _check_there(every, Path(meshes))
    columns = {name: np.concatenate([table[name] for table in every]) for name in MEASURED}
    order = np.lexsort((columns["part"], columns["number"]))
    kept = order[columns["area_nm2"][order] >= least_area_nm2]
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FACTS).unlink(missing_ok=True)
    rows = []
    for at, row in enumerate(kept.tolist(), start=1):
        one = {name: columns[name][row].item() for name in MEASURED}
        source = Path(meshes) / mesh_name(int(one["number"]), int(one.pop("part")))
        one = {name: int(value) if name in WHOLE else value for name, value in one.items()}
        one["closed"] = bool(one["closed"])
        one["volume_nm3"] = None if one["volume_nm3"] != one["volume_nm3"] else one["volume_nm3"]
        number = one["number"] if keep_numbers else at
        with replacing(folder / file_of(number)) as file:
            file.write(source.read_bytes())
        rows.append({**one, "number": number, "file": file_of(number)})
    listed = {row["file"] for row in rows}
    for old in folder.iterdir():
        if re.fullmatch(r"\d{4,}\.ply", old.name) and old.name not in listed:
            old.unlink()
    write_list(folder, rows, SurfaceFacts(**facts))
    chosen = tables("surface-number")[0]
    found = int(chosen["found"][0])
    parts = np.unique(columns["number"], return_counts=True)[1]
    divided = parts[parts > 1]
    counts = _Counts(found, len(chosen["number"]), len(parts), len(order), len(divided), int(divided.sum()))
    said = f"{folder}: {_said(rows, counts, left_out or {})}"
    highest = float(tables(span)[0]["span"][0, 1]) if threshold is not None else 0.0
    if not found and threshold is not None and highest <= threshold:
        said += f": the largest value is {highest:.3g}, the threshold {threshold:g}"
        if integers and 0 < highest < 0.25:
            said += f"; {_integers_up_to(highest)}"
    elif not found and ids and not (left_out or {}).get("min_volume_nm3"):
        said += f": no voxel holds {' or '.join(map(str, ids))}"
    elif integers and threshold is not None and 0 < highest < 1:
        said += f"; {_integers_up_to(highest)}"
    return Made(files_of_set(folder, rows), (said,))


def _integers_up_to(highest: float) -> str:
    return (
        f"these are integers up to {round(highest * ONE)}, of which 255 is 1.0: if they are labels, say what they are "
        "(--ids, or --instances)"
    )


def _check_there(tables: list[Table], meshes: Path) -> None:
    """Refuse meshes that are gone, as those of an earlier run are: the engine has their units run again then.

    Raises
    ------
    DamagedError
        A mesh is not there.
    """
    lost = [
        number
        for number, table in enumerate(tables)
        if not all(
            (meshes / mesh_name(int(n), int(p))).is_file() for n, p in zip(table["number"], table["part"], strict=True)
        )
    ]
    if lost:
        folder, stage = PlanFolder(meshes.parents[1]), "surface-mesh"
        keys = tuple(folder.table_key(number) for number in lost)
        message = f"{meshes}: meshes of {counted(len(lost), 'unit')} are not there."
        raise DamagedError(message, str(folder.path), folder.tables_of(stage), keys)


@dataclass(frozen=True)
class _Counts:
    """How many objects there are, are chosen, and have a surface; how many surfaces were made of these.

    ``divided`` of them were divided into ``into`` surfaces.
    """

    found: int
    chosen: int
    with_surface: int
    made: int
    divided: int
    into: int


def _said(rows: list[dict[str, Any]], counts: _Counts, left_out: dict[str, Any]) -> str:
    """What was made, and why objects have no surface."""
    area = sum(row["area_nm2"] for row in rows)
    closed = sum(row["closed"] for row in rows)
    said = f"{counted(len(rows), 'surface')} of {counted(counts.found, 'object')}"
    if least := left_out.get("min_volume_nm3"):
        said += f" of {least:g} nm³ or more"
    if rows:
        said += f": {area:.6g} nm² together, {closed} of them closed"
    if left_out.get("split"):
        into = f"{counted(counts.divided, 'object')} divided into {counts.into} surfaces"
        said += f"; {into if counts.divided else 'no object was divided (--split)'}"
    if counts.found > counts.chosen:
        said += f"; {counted(counts.found - counts.chosen, 'object')} smaller than the {counts.chosen} largest"
    if (none := counts.chosen - counts.with_surface) > 0:
        side = left_out.get("side", "both")
        why = (
            "no surface, because the volume ends in it (--close-at-faces closes it there)"
            if side == "both"
            else f"no two faces at most {left_out.get('max_thickness_nm', 0):g} nm apart (--side {side}, "
            "--max-thickness-nm)"
        )
        said += f"; {counted(none, 'object')} with {why}"
    if counts.made > len(rows):
        said += f"; {counted(counts.made - len(rows), 'surface')} of a smaller area dropped (--min-area-nm2)"
    return said
