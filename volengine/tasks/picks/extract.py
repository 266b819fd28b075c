"""Subvolumes at picks, as they are in the volume: for a look, and for averaging in other programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.core.boxes import Box, index3
from volengine.core.errors import InputError
from volengine.core.paths import PathLike, path_text
from volengine.core.volume import Volume
from volengine.io.cached import ChunkCache
from volengine.io.open import open_source
from volengine.io.subvolumes import Part, write_subvolumes
from volengine.tasks.common.named import open_sized
from volengine.tasks.picks.recipe import PicksExtractRecipe, PicksRecipe
from volengine.tasks.picks.tables import read_tables, triple

CACHE_BYTES = 512 << 20
"""Chunks of the volume that are kept at a time."""


@dataclass(frozen=True)
class Extracted:
    """What was cut out.

    Parameters
    ----------
    file, table
        The subvolumes; and the table of their picks, in the same order.
    number
        How many there are.
    dropped
        Number of picks whose box reaches beyond the volume.
    notes
        Sentences for the user: what was assumed when the picks were read.
    """

    file: str
    table: str
    number: int
    dropped: int
    notes: tuple[str, ...] = ()


def extract_picks(
    source: PathLike, volume: PathLike, out: PathLike, recipe: PicksExtractRecipe | Mapping[str, Any] | None = None
) -> Extracted:
    """Cut the subvolumes around the picks of a volume, and write them into one file.

    Nothing is interpolated or turned: the voxel nearest to a pick is number ``box // 2`` of its subvolume. Picks whose
    box reaches beyond the volume are left out. The others are written to a CSV beside the subvolumes, in their order,
    with positions and poses as they were.

    Parameters
    ----------
    source
        A file of picks of any format.
    volume
        The volume to cut: any that ``volengine.open_volume`` reads.
    out
        ``.mrc``: a volume stack. ``.zarr``: an OME-Zarr image with a channel for each subvolume.
    recipe
        The size of the box.

    Raises
    ------
    MissingError, FormatError
        A file does not exist or is damaged.
    InputError
        Something exists at ``out``, or it is the source or the volume; no box lies inside of the volume; or a fact is
        missing.
    """
    from volengine.io.picks import write_picks

    recipe = PicksExtractRecipe.of(recipe)
    where, path = path_text(volume), Path(path_text(out))
    table = path.with_suffix(".csv")
    for file in (path, table):
        if file.exists() and not recipe.overwrite:
            raise InputError(f"{file} exists; give another name or --overwrite.")
        for what, one in (("picks", path_text(source)), ("volume", where)):
            if file.exists() and Path(one).exists() and file.samefile(one):
                raise InputError(f"{file} would replace the {what} from which it is made; give another name.")
    reading = PicksRecipe(recipe.read_as, recipe.tomogram, where, recipe.voxel_size)
    (picks,), notes = read_tables(path_text(source), reading)
    opened = open_sized(where, triple(recipe.voxel_size))
    start = np.rint(picks.position_vox).astype(np.int64) - recipe.box // 2
    inside = ((start >= 0) & (start + recipe.box <= opened.shape)).all(axis=1)
    if not inside.any():
        raise InputError(
            f"None of the {len(picks)} picks has a box of {recipe.box} voxels inside of {where}, whose shape is "
            f"{opened.shape}; make the box smaller, or see whether these are picks of this volume."
        )
    parts = _parts(opened, start[inside], recipe.box)
    write_subvolumes(path, parts, int(inside.sum()), recipe.box, opened.voxel_size)
    write_picks(table, picks[inside])
    return Extracted(str(path), str(table), int(inside.sum()), int((~inside).sum()), tuple(notes))


def _parts(volume: Volume, start: NDArray[np.int64], box: int) -> Iterator[Part]:
    """The subvolumes, those of one chunk after each other."""
    source = ChunkCache(CACHE_BYTES).over(open_source(volume), volume)
    order = np.lexsort((start // (volume.chunks or volume.shape))[:, ::-1].T)
    for index in order.tolist():
        first = index3(start[index].tolist())
        yield index, source.read(Box(first, index3(v + box for v in first)))
