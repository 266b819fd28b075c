"""The last calls of a plan of ``filter``: the table of a spectrum, and what integers do not hold."""

from __future__ import annotations

from typing import Any

from volengine.engine.plan import Made, Plan
from volengine.io.spectra import write_spectrum
from volengine.ops.filters.spectra import Curve


def say_range(plan: Plan, tables: Any, stage: str, dtype: str, scale: float) -> Made:
    """Say how many voxels were set to the ends of a type of integers; the engine calls this when all stages are done.

    Parameters
    ----------
    plan
        The plan; not used.
    tables
        ``tables(name)`` returns the tables of a stage, by block number.
    stage
        Name of the stage whose table counts them.
    dtype, scale
        What was written.
    """
    beyond, voxels = tables(stage)[0]["beyond"].tolist()
    if not beyond:
        return Made()
    said = f"{beyond} of {voxels} voxels ({beyond / voxels:.2%}) times the scale {scale:g} were beyond {dtype}"
    return Made(said=(f"{said}, and set to its ends",))


def write_amplitudes(plan: Plan, tables: Any, stage: str, out: str) -> Made:
    """Write the amplitude spectrum; the engine calls this when all stages are done.

    Parameters
    ----------
    plan
        The plan; not used.
    tables
        ``tables(name)`` returns the tables of a stage, by block number.
    stage
        Name of the stage whose table has the spectrum.
    out
        The ``.tsv`` file, a path or URL.

    Returns
    -------
    Made
        The file, and what is in it.
    """
    from volengine.io.stores import local_copy

    curve = Curve.from_table(tables(stage)[0])
    with local_copy(out, write=True) as path:
        write_spectrum(path, curve)
    finest = 1 / float(curve.frequency[-1])
    return Made((out,), (f"{out}: amplitudes of {len(curve.frequency)} frequencies, down to {finest:.4g} angstrom",))
