"""The last call of a plan of ``surface``: the set of surfaces, from the meshes in the scratch folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from volengine.core.atomic import replacing
from volengine.core.block import Table
from volengine.core.errors import DamagedError
from volengine.engine.ledger import PlanFolder
from volengine.engine.plan import Made, Plan
from volengine.io.surfaces import FACTS, SurfaceFacts, file_of, write_list
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
    found = int(tables("surface-number")[0]["found"][0])
    said = f"{folder}: {_said(rows, len(order), found)}"
    if not found and threshold is not None:
        highest = float(tables(span)[0]["span"][0, 1])
        said += f": the largest value is {highest:.3g}, the threshold {threshold:g}"
        if integers and 0 < highest < 0.25:
            said += f"; {_integers_up_to(highest)}"
    elif integers and threshold is not None:
        highest = float(tables(span)[0]["span"][0, 1])
        if highest < 1:
            said += f"; {_integers_up_to(highest)}"
    return Made((str(folder / FACTS), *(str(folder / row["file"]) for row in rows)), (said,))


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
        message = f"{meshes}: meshes of {len(lost)} units are not there; run the same command again."
        raise DamagedError(message, str(folder.path), folder.tables_of(stage), keys)


def _said(rows: list[dict[str, Any]], made: int, found: int) -> str:
    area = sum(row["area_nm2"] for row in rows)
    closed = sum(row["closed"] for row in rows)
    said = f"{len(rows)} surfaces of {found} objects"
    if rows:
        said += f": {area:.6g} nm² together, {closed} of them closed"
    if made > len(rows):
        said += f"; {made - len(rows)} had a smaller area and were dropped"
    return said
