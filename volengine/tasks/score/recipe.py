"""The recipe of ``score``: what to compare, and how."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.core.roi import check_roi
from volengine.core.text import counted
from volengine.ops.stored import check_scale


@dataclass(frozen=True)
class ScoreRecipe(Recipe):
    """What is compared, and how.

    Parameters
    ----------
    features
        Features to score, and their names; default: those of the predictions.
    threshold
        A voxel counts as found if its probability exceeds this, from 0 to below 1.
    prediction_kind
        What the prediction holds: probability (of integers, 255 is 1.0), or labels (a voxel that is not 0 is found).
        auto: labels if the store says so, or if integers hold nothing but 0 and 1; else probability.
    scale
        Probabilities are divided by it: 255 if they are stored as 0 to 255 in floating-point numbers, 100 for percent.
    prediction_ids
        For one prediction that holds class ids: a voxel is found as feature k if it equals prediction_ids[k].
    ids
        For one truth volume that holds class ids: a voxel belongs to feature k if it equals ids[k].
    ignore_id
        With ids: voxels of the truth with this value do not count.
    instances
        The truth numbers its objects: every voxel that is not 0 belongs to the feature.
    skeleton
        For Surface-Dice: 3d (ridge of the distance to the background), 2d (each z slice is thinned), or none.
    roi
        Only this part of volumes is scored: ``z0:z1,y0:y1,x0:x1`` in voxels, or in nm (``100nm:400nm,:,:50nm``, or one
        unit for all numbers, at the end). The stop is not included, and an empty end is that of the volume. Skeletons
        are those of the whole volume.
    radius_nm
        For picks: a pick is right if it lies within this distance of a known position that no other pick is paired
        with.
    voxel_size
        Voxel size in angstrom, for tables of picks and files that do not state it.
    any_origin
        Compare volumes or tables of picks although both state an origin, and these differ.
    mask_grid
        How tables of picks with other voxels lie on each other. faces: both begin at the same face, as after binning by
        averaging; centres: at the centre of the same first voxel, as after Fourier cropping, or if positions were
        multiplied; auto: as their origins say, else faces, and centres for tables without a shape.

    Examples
    --------
    >>> ScoreRecipe(features=("membrane", "ribosome"), ids=(1, 4)).threshold
    0.5
    """

    features: tuple[str, ...] = ()
    threshold: float = 0.5
    prediction_kind: Literal["auto", "probability", "labels"] = "auto"
    scale: float | None = None
    prediction_ids: tuple[int, ...] = ()
    ids: tuple[int, ...] = ()
    ignore_id: int | None = None
    instances: bool = False
    skeleton: Literal["3d", "2d", "none"] = "3d"
    radius_nm: float = 10.0
    voxel_size: float | None = None
    any_origin: bool = False
    mask_grid: Literal["auto", "faces", "centres"] = "auto"
    roi: str = ""

    def check(self) -> None:
        check_roi(self.roi)
        if not 0 <= self.threshold < 1:
            raise InputError(f"--threshold is a probability from 0 to below 1, not {self.threshold}.")
        check_scale(self.scale)
        if not 0 < self.radius_nm < math.inf:
            raise InputError(f"--radius-nm must be positive, not {self.radius_nm}.")
        if self.voxel_size is not None and not 0 < self.voxel_size < math.inf:
            raise InputError(f"--voxel-size must be positive, not {self.voxel_size}.")
        if len(set(self.features)) < len(self.features):
            raise InputError(f"--features names one twice: {', '.join(self.features)}.")
        for name in ("ids", "prediction_ids"):
            ids = getattr(self, name)
            if ids and len(ids) != len(self.features):
                raise InputError(
                    f"--{name.replace('_', '-')} has {counted(len(ids), 'value')} for {len(self.features)} --features; "
                    "give one name for each id."
                )
        if self.ignore_id is not None and (not self.ids or self.ignore_id in self.ids):
            raise InputError(f"--ignore-id {self.ignore_id} needs --ids that do not contain it: {self.ids}.")
        if self.instances and self.ids:
            raise InputError("Give either --ids (class ids) or --instances (numbered objects).")
