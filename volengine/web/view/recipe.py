"""What a page for looking shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe


@dataclass(frozen=True)
class ViewRecipe(Recipe):
    """What a page for looking shows, and how.

    Parameters
    ----------
    overlay
        What lies over the tomogram, whatever its name: predictions, labels, tables of picks, sets of surfaces.
    overlay_kind
        What overlays are whose metadata do not say it: ``labels`` or ``probability``.
    radius_nm
        Radius of picks whose table does not state their volumes.
    invert
        Begin with large values dark.
    voxel_size
        Voxel size in angstrom, one number or z, y, x; overrides the files'.
    channel
        Index on a channel or time axis longer than one.
    anonymous
        Read s3:// and other object stores without credentials, for public buckets.
    mask_grid
        How what has other voxels lies on the tomogram: beginning at the same face (``faces``: after binning by
        averaging) or at the same centre (``centres``: after Fourier cropping). Default: as the origins say, else the
        same face, which is said.
    any_origin
        Show overlays although their origin is not that of the tomogram.
    links
        Follow links in the given folders that lead out of them.
    state
        Folder of saved views, which may be shared. Default: one of the user's own.

    Examples
    --------
    >>> ViewRecipe(radius_nm=12).radius_nm
    12.0
    """

    overlay: tuple[str, ...] = ()
    overlay_kind: Literal["auto", "labels", "probability"] = "auto"
    radius_nm: float = 10.0
    invert: bool = False
    voxel_size: float | tuple[float, float, float] | None = None
    channel: int | None = None
    anonymous: bool = False
    mask_grid: Literal["auto", "faces", "centres"] = "auto"
    any_origin: bool = False
    links: bool = False
    state: str | None = None

    def check(self) -> None:
        if not self.radius_nm > 0:
            raise InputError(f"radius_nm is {self.radius_nm:g}; it must be positive.")
