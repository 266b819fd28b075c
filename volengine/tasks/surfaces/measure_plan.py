"""Planning ``surfaces measure``: boxes around surfaces, distances from borders, then all else for parts of vertices."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from volengine.core.errors import MemoryRefusedError
from volengine.core.units import format_bytes
from volengine.engine.ledger import PlanFolder
from volengine.engine.memory import HEADROOM, peak_bytes
from volengine.engine.options import RunOptions
from volengine.engine.plan import Call, Plan
from volengine.engine.stage import Stage, TableInput, kernel_bytes
from volengine.io.stores import located
from volengine.tasks.common import division
from volengine.tasks.common.division import Units, line_of, units_of, whole_units_of
from volengine.tasks.common.set_read import SetRead, most_open
from volengine.tasks.surfaces.measure_density import distances_of
from volengine.tasks.surfaces.measure_given import Given
from volengine.tasks.surfaces.measure_recipe import SurfacesMeasureRecipe
from volengine.tasks.surfaces.sets import name_of_set
from volengine.tasks.surfaces.writing import morphometrics_file

_BLOCKS = "volengine.tasks.surfaces.measure_blocks"
_WRITE = "volengine.tasks.surfaces.measure_finish:write_measured"


def plan_measure(
    source: Given, recipe: SurfacesMeasureRecipe, out: str, folder: PlanFolder, options: RunOptions
) -> Plan:
    """Plan the stages that measure a set of surfaces, and the call that writes it as the set ``out``.

    Parameters
    ----------
    source
        The surfaces and what is beside them, opened and compared.
    recipe
        What is measured.
    out
        The set to write.
    folder
        Folder of the plan; not used, because the stages need no scratch.
    options
        How to run.
    """
    given, rows = source.described(), division.ROWS
    mine = SetRead.from_json(given["set"])
    stages: list[Stage] = []
    boxes: dict[str, TableInput] = {}
    sets = {name: SetRead.from_json(one) for name, one in given["others"].items()}
    if "nearest" in recipe.measures and len(mine.counts) > 1:
        sets = {"": mine, **sets}
    for n, (name, one) in enumerate(sets.items()):
        if one.counts:
            stages.append(_boxes(f"surfaces-boxes-{n}", one))
            boxes[name] = TableInput(stages[-1].name, "all")
    if mine.counts and "border" in recipe.measures:
        whole = whole_units_of(mine.counts, rows)
        stages.append(
            _stage(
                "surfaces-border",
                "border_of_surfaces",
                given,
                whole,
                mine.most,
                open_=most_open(source.surfaces, mine.counts),
            )
        )
        _check_border(stages[-1], options)
    if mine.counts:
        units = units_of(mine.counts, rows)
        need = {
            "rows": rows,
            "values": len(distances_of(recipe)) if "tomogram" in source.volumes else 0,
            "volumes": len(source.volumes),
        }
        # version 2: other fits of curvatures and normals; 3: leaflets only where the noise allows it
        made = _stage("surfaces-measure", "measure_rows", given, units, mine.most, boxes, version=3, **need)
        stages.append(made)
    facts = asdict(source.facts)
    told = source.recipe.with_(overwrite=False).to_json()
    step = {"verb": "surfaces measure", "recipe": told, "sources": source.sources()}
    params = {
        "out": located(out),
        "given": given,
        "rows": rows,
        "facts": {**facts, "history": [*facts["history"], step]},
        "csv": None if recipe.csv is None else located(recipe.csv),
        "notes": list(source.notes),
        "folder": str(folder.path),
    }
    tables: list[str] = []
    if recipe.csv is not None:
        csv = located(recipe.csv)
        tables = [str(morphometrics_file(csv, out, row["number"])) for row in source.surfaces.rows]
    call = Call(_WRITE, params, writes=(located(out), *tables))
    return Plan(name_of_set(mine.path), tuple(stages), recipe={"surfaces measure": given["recipe"]}, finish=(call,))


def _check_border(stage: Stage, options: RunOptions) -> None:
    """Refuse distances from borders that do not fit into a worker, and say how to do without.

    Raises
    ------
    MemoryRefusedError
        They do not fit.
    """
    need, limit = peak_bytes(stage), options.limit_bytes()
    if need > limit * HEADROOM:
        raise MemoryRefusedError(
            f"Distances from the borders of the largest open surface need {format_bytes(need)}, and a worker has "
            f"{format_bytes(limit)}: give workers more memory (--memory-limit, fewer --workers), or leave them out: "
            "--measures curvature,thickness,nearest,volume."
        )


def _boxes(name: str, one: SetRead) -> Stage:
    kernel = f"{_BLOCKS}:boxes_of_surfaces"
    return Stage(
        name,
        kernel,
        line_of(len(whole_units_of(one.counts, division.ROWS))),
        params={"path": one.to_json(), "rows": division.ROWS},
        emits=True,
        kernel_bytes=kernel_bytes(kernel, vertices=one.most),
    )


def _stage(
    name: str,
    function: str,
    given: dict[str, Any],
    units: Units,
    vertices: int,
    tables: dict[str, TableInput] | None = None,
    version: int = 1,
    **facts: Any,
) -> Stage:
    kernel = f"{_BLOCKS}:{function}"
    return Stage(
        name,
        kernel,
        line_of(len(units)),
        params={"given": given, "rows": division.ROWS},
        tables=tables or {},
        emits=True,
        version=version,
        kernel_bytes=kernel_bytes(kernel, vertices=vertices, **facts),
    )
