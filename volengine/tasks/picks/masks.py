"""Which picks lie in a mask: a volume with the voxels of their tomogram, or with others.

*The same voxels.* A pick lies in the voxel of the mask whose index is nearest to its own.

*Other voxels.* Two grids over the same tomogram lie in one of two ways on each other. After binning by averaging
(IMOD's ``binvol`` and ``newstack``, the levels of OME-Zarr, ``segment --match``) they begin at the same *face*, so that
the centre of the mask's first voxel lies (size of its voxel - size of the tomogram's) / 2 behind that of the tomogram.
After Fourier cropping, and in RELION's and Warp's reconstructions, the *centres* of the first voxels are the same
place. If the origins of both say which it is, that is taken; else the same face, and picks for which it matters are
counted.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from volengine.core.errors import InputError
from volengine.core.picks import Picks
from volengine.core.units import NM_TO_ANGSTROM
from volengine.core.volume import Volume
from volengine.ops.stored import ONE
from volengine.tasks.common.named import open_sized
from volengine.tasks.common.origins import origins_note
from volengine.tasks.common.readings import is_ours
from volengine.tasks.picks.recipe import PicksFilterRecipe
from volengine.tasks.picks.voxels import Grid, values_at

NEAR = 0.1
"""How far origins may be from what a way of lying says, in voxels of the tomogram; headers hold rounded numbers."""

How = Literal["faces", "centres"]


class Asked(NamedTuple):
    """What the user says of a volume: its path for messages, how it lies on the tomogram, and whether origins count."""

    where: str
    grid: Literal["auto", "faces", "centres"] = "auto"
    any_origin: bool = False


def grid_on(picks: Picks, volume: Volume, asked: Asked) -> Grid:
    """Return how the voxels of a volume lie on the tomogram of picks.

    Parameters
    ----------
    picks
        The picks of one tomogram.
    volume
        Another volume of it, with the same voxels or with others.
    asked
        What the user says of it.

    Raises
    ------
    InputError
        The volume has another extent than the tomogram, or both state origins that do not fit.
    """
    _check_extent(picks, volume, asked.where)
    if _same_grid(picks, volume):
        _check_origin(picks, volume, asked, np.zeros(3))
        return Grid(picks.voxel_size, (0.0, 0.0, 0.0), sure=True)
    how, sure = _lies(picks, volume, asked)
    z, y, x = (float(v) for v in _offsets(picks, volume)[how])
    return Grid(volume.voxel_size, (z, y, x), sure)


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
    asked = Asked(recipe.mask, recipe.mask_grid, recipe.any_origin)
    _check_extent(picks, volume, recipe.mask)
    if _same_grid(picks, volume):
        _check_origin(picks, volume, asked, np.zeros(3))
        index = np.rint(picks.position_vox)
        notes += _beyond(picks, volume, recipe.mask, index)
        return _wanted(volume, index, recipe)
    how, sure = _lies(picks, volume, asked)
    notes += _beyond(picks, volume, recipe.mask, _index(picks, volume, how))
    found = {way: _wanted(volume, _index(picks, volume, way), recipe) for way in _offsets(picks, volume)}
    other = int((found["faces"] != found["centres"]).sum())
    if other and not sure:
        notes.append(
            f"{recipe.mask} has voxels of {max(volume.voxel_size):g} A, the tomogram of {max(picks.voxel_size):g} A: "
            f"both were taken to begin at the same face, as after binning by averaging; {other} picks lie so near to "
            "the rim of the mask that it is otherwise for them if the centres of the first voxels are the same, as "
            "after Fourier cropping (--mask-grid centres)."
        )
    return found[how]


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


def _same_grid(picks: Picks, volume: Volume) -> bool:
    """Whether the mask has the voxels of the tomogram; sizes of voxels are rounded in headers."""
    return picks.shape == volume.shape or np.allclose(volume.voxel_size, picks.voxel_size, rtol=1e-3, atol=0)


def _offsets(picks: Picks, volume: Volume) -> dict[How, NDArray[np.float64]]:
    """Places of the centre of the mask's first voxel, angstrom, z, y, x, in either way."""
    return {"faces": np.subtract(volume.voxel_size, picks.voxel_size) / 2, "centres": np.zeros(3)}


def _lies(picks: Picks, volume: Volume, asked: Asked) -> tuple[How, bool]:
    """How the mask lies on the tomogram, and whether this is known."""
    if asked.grid != "auto":
        return asked.grid, True
    if any(volume.origin) or any(picks.origin):
        apart = np.subtract(volume.origin, picks.origin)
        for how, offset in _offsets(picks, volume).items():
            if (np.abs(apart - offset) <= NEAR * np.asarray(picks.voxel_size)).all():
                return how, True
        _check_origin(picks, volume, asked, _offsets(picks, volume)["faces"])
    return "faces", False


def _check_origin(picks: Picks, volume: Volume, asked: Asked, offset: NDArray[np.float64]) -> None:
    """Refuse a mask that states another origin than the tomogram; one that is not stated says nothing."""
    if any(volume.origin) and any(picks.origin):
        z, y, x = (float(v) for v in np.subtract(volume.origin, offset))
        mine = (f"The tomogram of the picks ({picks.tomogram})", picks.origin, picks.voxel_size)
        origins_note(mine, (asked.where, (z, y, x), volume.voxel_size), accept=asked.any_origin)


def _index(picks: Picks, volume: Volume, how: How) -> NDArray[np.float64]:
    return np.asarray(np.rint((picks.place - _offsets(picks, volume)[how]) / np.asarray(volume.voxel_size)))


def _check_extent(picks: Picks, volume: Volume, mask: str) -> None:
    if picks.shape is None:
        return
    size = np.asarray(volume.voxel_size)
    extent, theirs = np.array(picks.shape) * picks.voxel_size, np.array(volume.shape) * size
    if (np.abs(extent - theirs) > 2 * np.maximum(size, picks.voxel_size)).any():
        raise InputError(
            f"{mask} measures {nanometres(theirs)} nm (z, y, x), and the tomogram of the picks {nanometres(extent)}; "
            "is a voxel size wrong, or is it of another tomogram?"
        )


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


def nanometres(values: NDArray[Any]) -> str:
    """Format three lengths in angstrom for a message: ``40 x 50 x 60``, in nanometres."""
    return " x ".join(f"{v / NM_TO_ANGSTROM:.5g}" for v in values)
