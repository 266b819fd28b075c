"""simulate: tomograms with exact truth, from structures.

Each sample is one plan with the stages ``place`` (draws the specimen as a table), ``render`` (voxels and labels),
``project`` (line integrals), ``expose`` (images of the microscope) and ``reconstruct`` (the tomogram). The same engine
runs it as every other verb: a run of many samples can be stopped, resumed and shared by workers.

Outputs, in the folder ``out``::

    tomograms/NAME_0001.ome.zarr          the tomogram; in it labels/atlas (classes) and labels/instances
    tilts/NAME_0001.ome.zarr, .rawtlt     the tilt series, and its angles
    ideal/, noise_free/, even/, odd/      more tomograms, if the recipe keeps them
    specimens/NAME_0001.ome.zarr          potential, volt in excess of ice
    distances/NAME_0001.ome.zarr          signed distance to the nearest bilayer's mid-plane, angstrom
    picks/NAME_0001__CLASS.star           every particle with its pose
    truth/NAME_0001/                      specimen.csv, membrane_N.ply, filaments.csv, sample.json (all parameters)
    run/                                  plans, ledger, log, report
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from volengine.core.errors import InputError
from volengine.core.paths import PathLike, path_text
from volengine.engine.options import RunOptions
from volengine.engine.report import RunReport
from volengine.engine.run import run_jobs
from volengine.tasks.common.jobs import Request, Verb, jobs_of
from volengine.tasks.simulate.classes import refuse_unknown_classes
from volengine.tasks.simulate.draw import sample_recipe
from volengine.tasks.simulate.inputs import SampleInputs
from volengine.tasks.simulate.limits import limits_of
from volengine.tasks.simulate.plan import plan_simulate
from volengine.tasks.simulate.recipe import SimulateRecipe

_log = logging.getLogger(__name__)
Values = Mapping[str, Any]
"""A recipe as names and values, which may contain distributions."""


@dataclass(frozen=True)
class SampleNumber:
    """A sample to simulate: its number, its name, and the folder where relative paths of the recipe begin."""

    number: int
    name: str
    base: str = "."


def request(
    given: SampleNumber, out: str, recipe: Values, options: RunOptions
) -> Request[SampleInputs, SimulateRecipe, str]:
    """Draw the recipe of one sample, and find its structures and its label volume."""
    drawn = sample_recipe(recipe, given.number)
    inputs = SampleInputs.find(given.number, given.name, drawn.specimen, given.base, options.identity)
    refuse_unknown_classes(recipe, drawn.specimen, inputs.structures)
    return Request(given.name, inputs, drawn, out)


SIMULATE = Verb("simulate", request, plan_simulate, run_name="run")


def samples_of(values: Values, count: int, first: int = 1, base: str = ".") -> dict[str, SampleNumber]:
    """The samples ``first`` to ``first + count - 1``, by name; relative paths of structures begin at ``base``.

    Raises
    ------
    InputError
        ``count`` is below 1, ``first`` is negative, or the recipe is not valid; nothing is written then.
    """
    if count < 1 or first < 0:
        raise InputError(f"Simulate 1 sample or more, from number 0 on; not {count} from {first}.")
    stem = sample_recipe(values, first).name
    names = {number: f"{stem}_{number:04d}" for number in range(first, first + count)}
    return {name: SampleNumber(number, name, base) for number, name in names.items()}


def limits_of_samples(values: Values, count: int, first: int = 1) -> list[str]:
    """The limits of the physics that samples pass (:func:`~volengine.tasks.simulate.limits.limits_of`), for people.

    Of limits that are passed by different values in many samples, three are told.
    """
    found: dict[str, list[str]] = {}
    for number in range(first, first + count):
        drawn = sample_recipe(values, number)
        for text in limits_of(drawn):
            found.setdefault(text, []).append(f"{drawn.name}_{number:04d}")
    lines = [
        f"{names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''}: {text}" for text, names in found.items()
    ]
    rest = [f"and {len(lines) - 3} more limits of the physics; truth/NAME/sample.json names all"]
    return lines if len(lines) <= 4 else lines[:3] + rest


def simulate(
    recipe: SimulateRecipe | Mapping[str, Any],
    out: PathLike,
    count: int = 1,
    options: RunOptions | None = None,
    *,
    first: int = 1,
    check: bool = True,
) -> RunReport:
    """Simulate samples: tomograms with their truth.

    Parameters
    ----------
    recipe
        One recipe for all samples; or a mapping that may contain distributions, from which the values of each sample
        are drawn: see :mod:`volengine.tasks.simulate.draw`.
    out
        Folder for all outputs.
    count, first
        Number of samples, and the number of the first one.
    options
        How to run.
    check
        Raise an error at the end if a sample failed.

    Returns
    -------
    RunReport
        What was done per sample and stage, and how long it took.

    Raises
    ------
    InputError
        The recipe is not valid, or a structure cannot be used.
    RunError
        With ``check``: a sample failed.

    Examples
    --------
    >>> import volengine
    >>> recipe = {
    ...     "specimen": {
    ...         "shape": [16, 32, 32], "voxel_size": 20.0,
    ...         "layers": [{"species": [{"structure": "globule-300", "name": "ball", "count": 2}]}],
    ...     },
    ...     "tilts": {"step_deg": 30},
    ...     "dose": {"total_e_per_a2": {"uniform": [80, 120]}},
    ... }
    >>> report = volengine.simulate(recipe, "samples")
    >>> volengine.open_volume("samples/tomograms/sample_0001.ome.zarr").shape
    (16, 32, 32)
    """
    values = recipe.to_json() if isinstance(recipe, SimulateRecipe) else recipe
    jobs, run_dir = jobs_of(SIMULATE, samples_of(values, count, first), path_text(out), values, options or RunOptions())
    for text in limits_of_samples(values, count, first):
        _log.warning("%s", text)
    report = run_jobs(jobs, run_dir, options or RunOptions())
    return report.check() if check else report
