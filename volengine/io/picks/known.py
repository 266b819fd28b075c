"""What the caller of a reader of picks knows about the tomogram."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from volengine.core.boxes import Index3
from volengine.core.errors import InputError
from volengine.core.volume import Vector3


@dataclass(frozen=True)
class Known:
    """What the caller states about the tomogram; it overrides what the file states.

    Parameters
    ----------
    voxel_size, origin
        Angstrom, z, y, x.
    shape
        Voxels z, y, x.
    tomogram
        Name of the tomogram.
    volume_origin
        Origin of the tomogram's volume, angstrom, z, y, x; it counts where neither ``origin`` nor the file states one.

    Raises
    ------
    InputError
        A value is not three finite numbers, or not positive (the origin may be negative).
    """

    voxel_size: Vector3 | None = None
    origin: Vector3 | None = None
    shape: Index3 | None = None
    tomogram: str | None = None
    volume_origin: Vector3 | None = None

    def __post_init__(self) -> None:
        for key in ("voxel_size", "origin", "shape", "volume_origin"):
            value = getattr(self, key)
            if value is None:
                continue
            signed = key.endswith("origin")
            if np.shape(value) != (3,) or not np.isfinite(value).all() or (not signed and min(value) <= 0):
                raise InputError(f"{key} must be three {'' if signed else 'positive '}numbers (z, y, x): {value!r}.")

    @property
    def grid(self) -> dict[str, Any]:
        """The arguments of :func:`volengine.io.picks.read_all`."""
        return {key: getattr(self, key) for key in ("voxel_size", "origin", "shape", "volume_origin")}
