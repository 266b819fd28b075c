"""The rule for origins, the same for every verb: things are compared by their places, and origins only checked.

A *place* is index × voxel size, counted from the centre of the tomogram's first voxel (``Picks.place``). The origin
that a file states is kept and written again, but does not move anything: most formats of picks, and masks from many
programs, do not hold it, so one side of a comparison would be moved and not the other. An origin of 0 is not stated.
Two origins that are stated and differ mean two different boxes of the specimen, which have no places in common.

Where one thing has other voxels than the other (a binned volume, surfaces of it), half a voxel decides: how they lie on
each other is said in :mod:`volengine.tasks.common.lying`, also of tables of picks against each other.

Some tables hold positions that contain the origin (markers of ChimeraX, Amira's graphs, CSV in angstrom alone): of
these the origin of the volume beside which they are read is subtracted, unless they state with which one they were
written.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.paths import PathLike, path_text
from volengine.core.picks import Picks
from volengine.core.volume import Vector3
from volengine.io.picks.rows import Known

Where = tuple[str, Vector3, Vector3]
"""What is compared: its name for messages, origin and voxel size, angstrom."""


SIZE_TOLERANCE = 0.01
"""Relative difference up to which voxel sizes count as equal, because headers hold rounded numbers."""

NEAR = 0.1
"""Origins that differ by less, in voxels, are the same; headers hold rounded numbers."""


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
        A line for the user if the origins differ by more than half a voxel, or if voxels of other sizes do not begin
        at the same centre (after binning by averaging they begin at the same face); else empty.

    Raises
    ------
    InputError
        Both state an origin, these differ by more than half a voxel, and ``accept`` is not set.
    """
    (name, a, size), (other_name, b, other_size) = one, other
    apart = np.abs(np.subtract(a, b)) / np.asarray(size)
    far = bool((apart > 0.5).any())
    same = np.allclose(size, other_size, rtol=1e-3, atol=0)
    if not far and (same or not (np.abs(np.subtract(a, b)) > NEAR * np.minimum(size, other_size)).any()):
        return ""
    said = (
        f"{name} has the origin {_triple(a)} angstrom (z, y, x) and {other_name} {_triple(b)}, "
        f"{_triple(np.round(apart, 2).tolist())} voxels apart"
    )
    if far and any(a) and any(b) and not accept:
        raise InputError(
            f"{said}: are they the same box of the specimen? If they are, --any-origin compares them from the first "
            "voxel of each; if one is a part of the other, cut them to the same part first."
        )
    return f"{said}; they are compared from the first voxel of each."


def beside_volumes(
    tables: Mapping[str, Picks], volumes: Mapping[str, Known], file: str, *, accept: bool = False
) -> list[str]:
    """Compare the origins that a table of picks states with those of the volumes that it is read beside.

    Parameters
    ----------
    tables
        The picks of each tomogram, by the names of the volumes.
    volumes
        What the volumes state, by their names.
    file, accept
        The table, for messages; and as in :func:`origins_note`, which says what is returned and refused.
    """
    said = []
    for name, picks in tables.items():
        origin = volumes[name].volume_origin
        if origin is not None and any(origin) and any(picks.origin):
            volume = (f"the volume of {name!r}", origin, picks.voxel_size)
            said.append(origins_note((file, picks.origin, picks.voxel_size), volume, accept=accept))
    return list(filter(None, said))


def from_first_note(file: PathLike, format: str | None = None) -> str:
    """Return what there is to say of positions in angstrom that are read without an origin; empty for other files."""
    from volengine.io.picks import registry
    from volengine.io.picks.delimited import counts_angstrom

    path = Path(path_text(file))
    if registry.to_read(path, format) != "csv" or not counts_angstrom(path):
        return ""
    return (
        f"{path.name} has positions in angstrom: they were taken to count from the tomogram's first voxel. If its "
        "origin is not 0, give --origin or --volume."
    )


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
