"""Writing what was found on surfaces: picks on the tomogram's grid, and sets of surfaces in the place of others."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.orientation import normal_to_euler
from volengine.core.picks import Picks
from volengine.core.text import counted
from volengine.core.volume import Vector3, Volume
from volengine.io.surfaces import ENDING, SurfaceFacts, SurfaceSet, may_replace
from volengine.tasks.common.in_plane import KNOWN
from volengine.tasks.common.lying import Grid
from volengine.tasks.common.picks_lost import lost_by
from volengine.tasks.surfaces.found import Found

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Picked:
    """What was picked on surfaces.

    Parameters
    ----------
    file
        The table of picks.
    picks
        The picks.
    counts
        Number of picks of each surface, by its number.
    notes
        Sentences for the user.
    """

    file: str
    picks: Picks
    counts: dict[int, int]
    notes: tuple[str, ...] = ()


def check_out(out: str, overwrite: bool, to: str | None, *sources: str | None) -> None:
    """Refuse an output of picks that exists, is one of the sources, or has an ending that names no format.

    Raises
    ------
    InputError
        The file exists and is not to be replaced, or is a source.
    """
    from volengine.io.picks import format_of

    format_of(out, to)
    path = Path(out)
    if path.exists() and not overwrite:
        raise InputError(f"{out} exists; give another name or --overwrite.")
    refuse_source(path, *sources)


def check_out_set(out: str, overwrite: bool, *sources: str | None) -> None:
    """Refuse an output of surfaces that exists and is no such set, is a source, or is not called ``*.surfaces``."""
    path = Path(out)
    if path.suffix != ENDING:
        raise InputError(f"{out}: sets of surfaces are folders *{ENDING}; give such a name.")
    refuse_source(path, *sources)
    if path.exists():
        if not overwrite:
            raise InputError(f"{out} exists; give another name or --overwrite.")
        if not may_replace(path):
            raise InputError(f"{out} exists and is no set of surfaces; give another name, or remove it.")


def refuse_source(path: Path, *sources: str | None) -> None:
    """Refuse to replace what is read."""
    for source in sources:
        if source is not None and path.exists() and Path(source).exists() and path.samefile(source):
            raise InputError(f"{path} would replace what it is made from; give another name.")


def morphometrics_file(folder: str, place: str, number: int) -> Path:
    """The file for Surface Morphometrics of a surface of the set at ``place``.

    >>> morphometrics_file("tables", "TS_01__membrane.surfaces", 2).name
    'TS_01__membrane_2.csv'
    """
    return Path(folder) / f"{Path(place.rstrip('/')).name.removesuffix(ENDING)}_{number}.csv"


def tables_of_picks(out: str, to: str | None, tomogram: str) -> list[str]:
    """The files of a table of picks of a tomogram: itself, and those that its format has beside it.

    >>> tables_of_picks("/data/TS_01.tbl", None, "TS_01")
    ['/data/TS_01.tbl', '/data/TS_01.doc']
    """
    from volengine.io.picks import files_of

    one = Picks(np.zeros((1, 3)), voxel_size=(1.0, 1.0, 1.0), shape=(1, 1, 1), tomogram=tomogram or "tomogram")
    *beside, table = [str(file) for file, _ in files_of(Path(out), one, to, None)]
    return [table, *beside]


def grid_of(path: str, surfaces: SurfaceSet, volume: Volume | None) -> tuple[Vector3, SurfaceFacts]:
    """The voxel size on which picks are counted, and the facts that name their tomogram.

    Raises
    ------
    InputError
        Nothing states a voxel size.
    """
    facts, size = surfaces.facts, surfaces.facts.voxel_size
    if size is None:
        raise InputError(
            f"{path}: files of meshes state no voxel size, on which picks are counted; give --tomogram. Or make a set "
            f"that states it: volengine surfaces convert {shlex.quote(path)} --out SET.surfaces --voxel-size 10.5"
        )
    if volume is not None:
        name = facts.tomogram or volume.name
        facts = SurfaceFacts(name, facts.feature, volume.voxel_size, volume.origin, volume.shape)
        return volume.voxel_size, facts
    return size, facts


def write_found(
    out: str | None,
    parts: Sequence[Found],
    size: Vector3,
    facts: SurfaceFacts,
    feature: str,
    to: str | None,
    grid: Grid | None = None,
) -> tuple[Picks, dict[int, int], list[str]]:
    """Write what was found on all surfaces as one table of picks; without a file, only make it.

    ``size`` is that of the voxels of the picks' tomogram; ``grid``, if given, how these lie on those of the surfaces.

    Returns
    -------
    The picks, their number on each surface, and notes: picks that lie outside of the tomogram are left out; what the
    format does not hold.
    """
    from volengine.io.picks import format_of, write_picks

    place = np.concatenate([np.empty((0, 3)), *(one.place for one in parts)])
    normal = np.concatenate([np.empty((0, 3)), *(one.normal for one in parts)])
    rot = np.concatenate([np.empty(0), *(one.rot_deg for one in parts)])
    number = np.concatenate([np.empty(0, np.int64), *(np.full(len(one.place), one.number) for one in parts)])
    lies = Grid(size, (0.0, 0.0, 0.0)) if grid is None else grid
    position, notes = (place - np.asarray(lies.offset)) / np.asarray(lies.voxel_size), list[str]()
    keep = np.ones(len(place), bool)
    if facts.shape is not None:
        keep = ((position >= -0.5) & (position <= np.asarray(facts.shape) - 0.5)).all(axis=1)
        if not keep.all():
            few = counted(int((~keep).sum()), "point", "lies", "lie")
            notes.append(f"{few} outside of the tomogram: left out.")
    euler = normal_to_euler(normal[keep])
    euler[:, 0] = rot[keep]
    known = np.concatenate(
        [np.empty(0, bool), *(np.zeros(len(p.place), bool) if p.known is None else p.known for p in parts)]
    )
    more: dict[str, Any] = {"extra": {"surface": number[keep], KNOWN: known[keep].astype(np.int64)}}
    if parts and all(one.score is not None for one in parts):
        more["weight"] = np.concatenate([one.score for one in parts if one.score is not None])[keep]
    picks = Picks(
        position[keep],
        voxel_size=size,
        origin=facts.origin,
        shape=facts.shape,
        tomogram=facts.tomogram,
        feature=feature,
        euler=euler,
        normal=normal[keep],
        **more,
    )
    if out is not None:
        notes += lost_by([picks], format_of(out, to), Path(out))
        write_picks(out, picks, to)
    counts = {one.number: int((number[keep] == one.number).sum()) for one in parts}
    return picks, counts, notes
