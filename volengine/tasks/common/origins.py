"""The rule for origins, the same for every verb: things are compared by their places, and origins only checked.

A *place* is index × voxel size, counted from the centre of the tomogram's first voxel (``Picks.place``). The origin
that a file states is kept and written again, but does not move anything: most formats of picks, and masks from many
programs, do not hold it, so one side of a comparison would be moved and not the other. An origin of 0 is not stated.
Two origins that are stated and differ mean two different boxes of the specimen, which have no places in common.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.picks import Picks
from volengine.core.volume import Vector3

Where = tuple[str, Vector3, Vector3]
"""What is compared: its name for messages, origin and voxel size, angstrom."""


def origins_note(one: Where, other: Where, *, accept: bool = False) -> str:
    """Compare the origins of two things that are about to be compared by their places.

    Parameters
    ----------
    one, other
        The two.
    accept
        Compare them although both state an origin and these differ.

    Returns
    -------
    str
        A line for the user if the origins differ by more than half a voxel; else empty.

    Raises
    ------
    InputError
        Both state an origin, these differ by more than half a voxel, and ``accept`` is not set.
    """
    (name, a, size), (other_name, b, _) = one, other
    apart = np.abs(np.subtract(a, b)) / np.asarray(size)
    if not (apart > 0.5).any():
        return ""
    said = (
        f"{name} has the origin {_triple(a)} angstrom (z, y, x) and {other_name} {_triple(b)}, "
        f"{_triple(np.round(apart, 2).tolist())} voxels apart"
    )
    if any(a) and any(b) and not accept:
        raise InputError(
            f"{said}: are they the same box of the specimen? If they are, --any-origin compares them from the first "
            "voxel of each; if one is a part of the other, cut them to the same part first."
        )
    return f"{said}; they are compared from the first voxel of each."


def _triple(values: object) -> str:
    return ", ".join(f"{float(v):g}" for v in np.asarray(values).tolist())


def outside(picks: Picks) -> NDArray[np.bool_]:
    """Return which picks lie in no voxel of their tomogram; none if its shape is not known."""
    if picks.shape is None:
        return np.zeros(len(picks), bool)
    position = picks.position_vox
    return np.asarray(((position < -0.5) | (position > np.array(picks.shape) - 0.5)).any(axis=1), bool)


def outside_note(picks: Picks) -> str:
    """Return what there is to say about picks outside of their tomogram; empty if there are none."""
    number = int(outside(picks).sum())
    shape = " x ".join(map(str, picks.shape or ()))
    if not number:
        return ""
    return (
        f"{picks.tomogram or 'tomogram'}: {number} of {len(picks)} picks lie outside of its {shape} voxels (z, y, x) "
        f"of {picks.voxel_size[0]:g} A; is the shape or a voxel size wrong?"
    )
