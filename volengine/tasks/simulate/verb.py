"""simulate: from structures to tomograms with perfect truth.

Each sample is one plan: ``place`` draws the specimen as a table, ``render`` makes voxels and labels, ``project`` their
line integrals, ``expose`` the images of the microscope, ``reconstruct`` the tomogram. A run of many samples goes
through the same engine as every other verb: it can be stopped, resumed and shared by workers.

Outputs, in the folder ``out``::

    tomograms/NAME_0001.ome.zarr          the tomogram; in it labels/atlas (classes) and labels/instances
    tilts/NAME_0001.ome.zarr, .rawtlt     the tilt series, and its angles
    ideal/, noise_free/, even/, odd/      more tomograms, if they are kept
    specimens/NAME_0001.ome.zarr          potential, volt in excess of ice
    distances/NAME_0001.ome.zarr          signed distance to the nearest bilayer's mid-plane, angstrom
    picks/NAME_0001__CLASS.star           every particle with its pose
    truth/NAME_0001/                      specimen.csv, membrane_N.ply, filaments.csv, sample.json (all parameters)
    run/                                  plans, ledger, log, report
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from volengine.core.errors import InputError
from volengine.core.paths import PathLike, path_text
from volengine.engine.options import RunOptions
from volengine.engine.report import RunReport
from volengine.engine.run import run_jobs
from volengine.tasks.common.jobs import Request, Verb, jobs_of
from volengine.tasks.simulate.draw import sample_recipe
from volengine.tasks.simulate.inputs import SampleInputs
from volengine.tasks.simulate.plan import plan_simulate
from volengine.tasks.simulate.recipe import SimulateRecipe

Values = Mapping[str, Any]
"""A recipe as names and values, of which some may be drawn anew for every sample."""


@dataclass(frozen=True)
class SampleNumber:
    """One sample that is asked for: its number and name, and where relative paths of the recipe begin."""

    number: int
    name: str
    base: str = "."


def request(given: SampleNumber, out: str, recipe: Values) -> Request[SampleInputs, SimulateRecipe, str]:
    """Draw the recipe of one sample, and find what it is made from."""
    drawn = sample_recipe(recipe, given.number)
    inputs = SampleInputs.find(given.number, given.name, drawn.specimen, given.base)
    return Request(given.name, inputs, drawn, out)


SIMULATE = Verb("simulate", request, plan_simulate, run_name="run")


def samples_of(values: Values, count: int, first: int = 1, base: str = ".") -> dict[str, SampleNumber]:
    """So many samples from the number ``first`` on, by name; paths of structures are relative to ``base``.

    Raises
    ------
    InputError
        No sample at all; a recipe that cannot be used, which is so refused before anything is written.
    """
    if count < 1 or first < 0:
        raise InputError(f"Simulate 1 sample or more, from number 0 on; not {count} from {first}.")
    stem = sample_recipe(values, first).name
    names = {number: f"{stem}_{number:04d}" for number in range(first, first + count)}
    return {name: SampleNumber(number, name, base) for number, name in names.items()}


def simulate(
    recipe: SimulateRecipe | Mapping[str, Any],
    out: PathLike,
    count: int = 1,
    options: RunOptions | None = None,
    *,
    first: int = 1,
    check: bool = True,
) -> RunReport:
    """Simulate samples, and return the report.

    Parameters
    ----------
    recipe
        The same for every sample, or a mapping in which values may be drawn: see :mod:`volengine.tasks.simulate.draw`.
    out
        Folder for everything.
    count, first
        How many samples, and the number of the first one.
    options
        How to run.
    check
        Raise at the end if a sample failed.

    Raises
    ------
    InputError
        A recipe or a structure that cannot be used.
    """
    values = recipe.to_json() if isinstance(recipe, SimulateRecipe) else recipe
    jobs, run_dir = jobs_of(SIMULATE, samples_of(values, count, first), path_text(out), values, options or RunOptions())
    report = run_jobs(jobs, run_dir, options or RunOptions())
    return report.check() if check else report
