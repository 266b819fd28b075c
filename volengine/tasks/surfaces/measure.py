"""surfaces measure: curvature, thickness and distances of each vertex, as columns of the surfaces and in their table.

Surfaces are measured in parts of some thousand vertices, by any number of workers; lengths are in nm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from volengine.core.errors import InputError
from volengine.core.paths import PathLike, path_text
from volengine.engine.options import RunOptions
from volengine.io.surfaces import ENDING, open_surfaces
from volengine.tasks.common.ended import noted
from volengine.tasks.common.jobs import Request, Verb, run_one
from volengine.tasks.common.layout import has_plan, join_url, plan_folder
from volengine.tasks.surfaces.measure_given import Given
from volengine.tasks.surfaces.measure_plan import plan_measure
from volengine.tasks.surfaces.measure_recipe import SurfacesMeasureRecipe
from volengine.tasks.surfaces.sets import name_of_set
from volengine.tasks.surfaces.writing import check_out_set


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Parameters
    ----------
    out
        The set of surfaces with the measures as columns.
    rows
        A row of its table for each surface: numbers and, for each column, ``_mean``, ``_median``, ``_p5``, ``_p95``.
    files
        Tables that were written as Surface Morphometrics writes them.
    notes
        Sentences for the user.
    """

    out: str
    rows: list[dict[str, Any]]
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def request(
    source: str, out: str, recipe: SurfacesMeasureRecipe, options: RunOptions
) -> Request[Given, SurfacesMeasureRecipe, str]:
    """Open one set with what is beside it; its product is ``out``, or a set of the same name in the folder ``out``."""
    name = name_of_set(source)
    place = out.rstrip("/") if MEASURE.is_product(out) else join_url(out, name + ENDING)
    run_dir = MEASURE.run_dir(out, options)
    refuse_others(run_dir, name, place, recipe.overwrite or options.overwrite, source, *recipe.others)
    given = Given(source, recipe, options.identity)
    return Request(name, given, given.recipe, place)


def refuse_others(run_dir: str, name: str, place: str, overwrite: bool, *sources: str | None) -> None:
    """Refuse to write a set of surfaces where something is that this run folder has not made, or a source.

    Raises
    ------
    InputError
        Something exists at ``place``, or it is not called ``*.surfaces``.
    """
    ours = has_plan(run_dir, name)
    check_out_set(place, overwrite or ours, *sources)


MEASURE = Verb("surfaces measure", request, plan_measure, endings=(ENDING,), run_name="surfaces-measure.run")


def measure_surfaces(
    source: PathLike,
    out: PathLike,
    recipe: SurfacesMeasureRecipe | Mapping[str, Any] | None = None,
    options: RunOptions | None = None,
) -> Measured:
    """Measure surfaces at each vertex, and write them with the measures as columns.

    Parameters
    ----------
    source
        A set of surfaces, a mesh file, or a folder of mesh files.
    out
        The set (``*.surfaces``) to write, or a folder for it. Its table has means, medians and percentiles 5 and 95 of
        every column, weighted by the areas of the vertices.
    recipe, options
        What is measured, and how to run.

    Returns
    -------
    Measured
        What was written, and the rows of its table.

    Raises
    ------
    MissingError, FormatError
        Something that is named does not exist, or is damaged.
    InputError
        Something exists at ``out`` that an earlier call with the same run folder has not made; tomogram, labels, picks
        or other surfaces are of another tomogram; a measure needs what is not known (the distance from the volume's
        faces its shape).
    DependencyError
        ``border`` needs the extra ``surfaces``.
    MemoryRefusedError
        The largest surface does not fit into a worker.

    Examples
    --------
    >>> import tempfile, trimesh
    >>> from volengine.io.meshes import write_mesh
    >>> ball = trimesh.creation.icosphere(4, 200.0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_mesh(f"{folder}/ball.ply", ball.vertices[:, ::-1], ball.faces)
    ...     recipe = SurfacesMeasureRecipe(measures=("curvature",), radius_nm=6)
    ...     made = measure_surfaces(f"{folder}/ball.ply", f"{folder}/ball.surfaces", recipe)
    ...     round(made.rows[0]["mean_curvature_per_nm_median"], 4)
    0.05
    """
    recipe, options = SurfacesMeasureRecipe.of(recipe), options or RunOptions()
    where, place = path_text(source), path_text(out)
    if Path(place).suffix and not Path(place).is_dir() and not MEASURE.is_product(place):
        raise InputError(f"{place}: sets of surfaces are folders *{ENDING}; give such a name.")
    options = options.with_(overwrite=options.overwrite or recipe.overwrite)
    plan = run_one(MEASURE, where, place, recipe, options)
    written = plan.finish[0].params
    told = noted(plan_folder(MEASURE.run_dir(place, options), plan.name))
    rows = [{k: v for k, v in row.items() if k != "file"} for row in open_surfaces(written["out"]).rows]
    made = place if MEASURE.is_product(place) else written["out"]
    empty = [f"Nothing was measured: {told['empty']}"] if told["empty"] else []
    return Measured(made, rows, tuple(told["files"]), (*told["notes"], *empty))
