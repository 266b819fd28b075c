"""Whether integers that nothing describes are labels: the numbers of classes or objects, and not probabilities.

Both go from 0 to 255. A probability rises at the rim of what was found, over a voxel or more, through values between;
a label does not: beside it there is the background, or another label. So rows of voxels along x are looked at. In them
a *run* begins where the value changes, and a *ramp* is a voxel whose value lies between those of its two neighbours.

>>> ramp = np.array([[[0, 90, 250, 255, 255, 180, 20, 0]]], np.uint8)
>>> labels = np.array([[[0, 3, 3, 3, 0, 2, 2, 0]]], np.uint8)
>>> runs_and_ramps(ramp, 1, 7).tolist(), runs_and_ramps(labels, 1, 7).tolist()
([5, 4], [2, 0])
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from volengine.core.block import Array
from volengine.core.errors import InputError

VALUES = 256
LEAST_RAMPS = 0.1
"""Of probabilities at least this part of the runs are ramps: in predictions of networks half of them and more, in noise
a third, in labels none."""

_ROWS = 1 << 20  # voxels looked at together


def runs_and_ramps(values: Array, start: int, stop: int) -> NDArray[np.int64]:
    """Count the runs of values other than 0, and the ramps, along x.

    Parameters
    ----------
    values
        Integers from 0 to 255, z, y, x.
    start, stop
        The part along x that counts; what lies before and behind is looked at. Voxels without two neighbours are none.

    Returns
    -------
    (2,) runs, ramps.
    """
    low, high = max(start, 1), min(stop, values.shape[2] - 1)
    found = np.zeros(2, np.int64)
    if high <= low:
        return found
    rows = max(1, _ROWS // max(1, values.shape[1] * values.shape[2]))
    for first in range(0, values.shape[0], rows):
        part = values[first : first + rows]
        before, here, behind = part[..., low - 1 : high - 1], part[..., low:high], part[..., low + 1 : high + 1]
        up, down = before < here, before > here
        runs = np.count_nonzero(up) + np.count_nonzero(down & (here != 0))
        ramps = np.count_nonzero(up & (here < behind)) + np.count_nonzero(down & (here > behind))
        found += (runs, ramps)
    return found


def values_there(values: Array) -> NDArray[np.bool_]:
    """(256,) which of the values 0 to 255 occur; all numbers must lie there."""
    found = np.zeros(VALUES, bool)
    rows = max(1, _ROWS // max(1, values[0].size)) if len(values) else 1
    for first in range(0, len(values), rows):
        found |= np.bincount(values[first : first + rows].ravel(), minlength=VALUES)[:VALUES] > 0
    return found


def check_no_labels(there: Array, runs: int, ramps: int, where: str, what: str) -> None:
    """Refuse integers that look like labels.

    Parameters
    ----------
    there
        (256,) which values occur.
    runs, ramps
        Of the whole volume.
    where, what
        How messages name the volume and the verb that takes it for a prediction.

    Raises
    ------
    InputError
        Several values occur, without values between them at the rims of objects.
    """
    several = np.flatnonzero(there)
    several = several[several > 0]
    if several.size < 2 or ramps >= LEAST_RAMPS * runs:
        return
    some = ", ".join(map(str, several[:4].tolist()))
    some += f" ... up to {several[-1]}" if several.size > 4 else ""
    raise InputError(
        f"{where} holds the integers {some}, and nothing says what they are. They look like "
        f"labels: at the rims of objects there are no values between ({ramps} of {runs} runs along x). "
        f"{OF_LABELS.get(what, OTHERS)}. If they are probabilities times 255, say so: "
        f"{SCALED.get(what, '--scale 255')}."
    )


OTHERS = (
    "This verb takes no labels: give the prediction of one feature, or a mask of 0 and 1. volengine stats counts the "
    "objects of labels"
)
OF_LABELS: dict[str, str] = {
    "surface": "If they are, say what each number is: --instances, an object; --ids 1, a class",
    "skeleton": "If they are, say so: --input mask for all of them, or --labels 1",
    "picks measure": "If they are, give them with --labels instead",
    "score": "If they are, say so: --prediction-kind labels, which takes every number but 0 for found",
}
SCALED: dict[str, str] = {"convert with --threshold": "convert them with --kind probability first"}
