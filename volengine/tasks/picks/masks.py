"""Which picks lie in a mask: a volume with the voxels of their tomogram, or with others.

*The same voxels.* A pick lies in the voxel of the mask whose index is nearest to its own.

*Other voxels* lie on the tomogram as :mod:`volengine.tasks.common.lying` says; picks for which it matters are counted.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.picks import Picks
from volengine.core.text import counted
from volengine.core.volume import Volume
from volengine.ops.stored import ONE
from volengine.tasks.common.lying import (
    Asked,
    Grid,
    Lattice,
    Lies,
    check_extent,
    lattice_of,
    lies_on,
    offsets,
    unless_said,
)
from volengine.tasks.common.named import open_sized
from volengine.tasks.common.readings import is_ours
from volengine.tasks.picks.recipe import PicksFilterRecipe
from volengine.tasks.picks.voxels import values_at


def tomogram_of(picks: Picks) -> Lattice:
    """The voxels of the tomogram of picks."""
    return lattice_of(picks, f"the tomogram of the picks ({picks.tomogram})")


def volume_on(picks: Picks, volume: Volume, where: str, asked: Asked) -> Lies:
    """Return how the voxels of a volume lie on the tomogram of picks; an origin that only one states says nothing.

    Parameters
    ----------
    picks
        The picks of one tomogram.
    volume
        Another volume of it, with the same voxels or with others.
    where
        The volume's path for messages.
    asked
        What the user says of it.

    Raises
    ------
    InputError
        The volume has another extent than the tomogram, or both state origins that do not fit.
    """
    mine, other = tomogram_of(picks), Lattice(where, volume.origin, volume.voxel_size, volume.shape)
    check_extent(mine, other)
    return lies_on(mine, other, asked, unless_said(mine, other))


def in_mask(picks: Picks, recipe: PicksFilterRecipe, notes: list[str]) -> NDArray[np.bool_]:
    """Return whether the mask has a wanted value where each pick lies; picks beyond its faces are outside.

    Parameters
    ----------
    picks
        The picks of one tomogram.
    recipe
        The mask, and which of its values are wanted.
    notes
        Sentences for the user are added.

    Raises
    ------
    InputError
        The mask has another extent than the tomogram, or both state origins that do not fit.
    """
    assert recipe.mask is not None
    volume = open_sized(recipe.mask, picks.voxel_size)
    lies = volume_on(picks, volume, recipe.mask, Asked(recipe.mask_grid, recipe.any_origin))
    index = _index(picks, lies.grid)
    notes += _beyond(picks, volume, recipe.mask, index)
    found = _wanted(volume, index, recipe)
    if lies.grid.sure:
        return found
    at_faces = any(lies.grid.offset)
    ways = offsets(tomogram_of(picks), Lattice(recipe.mask, volume.origin, volume.voxel_size, volume.shape))
    z, y, x = (float(v) for v in ways["centres" if at_faces else "faces"])
    other = int((found != _wanted(volume, _index(picks, lies.grid._replace(offset=(z, y, x))), recipe)).sum())
    if other:
        face = "both begin at the same face, as after binning by averaging"
        centre = "the centres of their first voxels are the same, as after Fourier cropping or multiplying positions"
        taken, not_taken = (face, centre) if at_faces else (centre, face)
        notes.append(
            f"{recipe.mask} has voxels of {max(volume.voxel_size):g} A, the tomogram of {max(picks.voxel_size):g} A: "
            f"it was taken that {taken}; {counted(other, 'pick', 'lies', 'lie')} so near to the rim of the mask that "
            f"it is otherwise there if {not_taken} (--mask-grid {'centres' if at_faces else 'faces'})."
        )
    return found


def _beyond(picks: Picks, volume: Volume, mask: str, index: NDArray[np.float64]) -> list[str]:
    """Say how many picks lie beyond the faces of a mask: then it may be of another tomogram, or a size wrong.

    Raises
    ------
    InputError
        All do.
    """
    beyond = int((~((index >= 0) & (index < volume.shape)).all(axis=1)).sum())
    if not beyond:
        return []
    text = f"{beyond} of {len(index)} picks of {picks.tomogram} lie beyond the faces of {mask}"
    if beyond == len(index):
        raise InputError(f"{text}; is a voxel size wrong, or is it of another tomogram?")
    return [f"{text}; are its voxel size and theirs right?"]


def _index(picks: Picks, grid: Grid) -> NDArray[np.float64]:
    if grid.voxel_size == picks.voxel_size and not any(grid.offset):
        return np.asarray(np.rint(picks.position_vox))
    return np.asarray(np.rint((picks.place - np.asarray(grid.offset)) / np.asarray(grid.voxel_size)))


def _wanted(volume: Volume, index: NDArray[np.float64], recipe: PicksFilterRecipe) -> NDArray[np.bool_]:
    """Whether the value at each index is wanted."""
    value, there = values_at(volume, index)
    if odd := int(np.isnan(value[there]).sum()):
        raise InputError(f"{recipe.mask}: is NaN at {odd} of {len(value)} picks, which are neither in nor out.")
    _check_meaning(value[there], volume, recipe)
    if volume.kind == "probability" and np.dtype(volume.dtype).kind in "iu":  # 255 is a probability of 1
        value /= 255
    value = np.where(there, value, 0)
    wanted = np.isin(value, recipe.labels) if recipe.labels else value > recipe.threshold
    inside: NDArray[np.bool_] = there & wanted
    return ~inside if recipe.outside else inside


def _check_meaning(value: NDArray[np.float64], volume: Volume, recipe: PicksFilterRecipe) -> None:
    """Refuse integers of which nothing says whether 1 is 1 or 1 / 255, where this decides about picks.

    Of a volume that states probabilities this is unclear if it may be a mask of 0 and 1.
    """
    threshold, stated = recipe.threshold, volume.kind == "probability"
    if recipe.labels or np.dtype(volume.dtype).kind not in "iu" or volume.kind == "labels" or is_ours(volume):
        return
    odd = int(((value > threshold) != (value / ONE > threshold)).sum()) if 0 < threshold < 1 else 0
    if odd and value.min() >= 0 and value.max() <= (1 if stated else ONE):
        times = "" if stated else f" Of these give --threshold {threshold * ONE:g}."
        raise InputError(
            f"{recipe.mask}: holds integers up to {value.max():g} at the picks, which may be labels, a mask, or "
            f"probabilities times {ONE}: a threshold of {threshold:g} would decide otherwise about {odd} of "
            f"{len(value)} picks.{times} Of labels or a mask give --threshold 0."
        )
