"""The last calls of a plan of ``filter``: the table of a spectrum, and whether integers hold the result."""

from __future__ import annotations

from typing import Any

from volengine.core.errors import InputError
from volengine.engine.plan import Made, Plan
from volengine.io.spectra import write_spectrum
from volengine.ops.filters.spectra import Curve

MOST_BEYOND = 0.01
"""A result of which more than this share is cut off at the ends of its type is refused."""


def check_range(plan: Plan, tables: Any, stage: str, store: str, dtype: str, scale: float) -> Made:
    """Refuse integers that cut off much of the result; the engine calls this when all stages are done.

    Parameters
    ----------
    plan
        The plan; not used.
    tables
        ``tables(name)`` returns the tables of a stage, by block number.
    stage
        Name of the stage whose tables count the voxels beyond the type.
    store, dtype, scale
        What was written, for messages.

    Raises
    ------
    InputError
        More than :data:`MOST_BEYOND` of the voxels are beyond the type; the store is not marked complete.
    """
    counts = [table["beyond"].tolist() for table in tables(stage).values()]
    beyond, voxels = (sum(column) for column in zip(*counts, strict=True))
    said = f"{beyond} of {voxels} voxels ({beyond / voxels:.2%}) times the scale {scale:g} are beyond {dtype}"
    if beyond > MOST_BEYOND * voxels:
        raise InputError(
            f"{store}: {said}; its result would be cut off. Give a smaller --scale (after normalise std, 20 for "
            "int8 and 4000 for int16 hold six standard deviations and more), or --dtype int16 or float32."
        )
    return Made(said=(f"{said}, and were set to its ends",) if beyond else ())


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
