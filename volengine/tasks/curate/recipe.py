"""How curated picks are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe

Poses = Literal["refuse", "zero", "drop"]
Keep = Literal["accepted", "unrejected", "all"]


@dataclass(frozen=True)
class CurateRecipe(Recipe):
    """How curated picks are written.

    Parameters
    ----------
    keep
        Which picks are written. accepted: those that somebody accepted; unrejected: all but the rejected ones; all:
        these, too, with a column accepted (1 accepted, 0 not decided, -1 rejected). Deleted picks are never written.
    poses
        What is done if some of the picks have angles or normals, and those that were added by hand have none. refuse:
        nothing is written; zero: these get the angles 0, 0, 0; drop: angles and normals of all are left out.
    to
        Format to write, for example relion5; default: by the ending of the output.
    pixel_size
        Pixel size that the coordinates count in the file that is written, angstrom, as of picks convert.
    overwrite
        Replace files that exist.

    Examples
    --------
    >>> CurateRecipe(keep="accepted").keep
    'accepted'
    """

    keep: Keep = "unrejected"
    poses: Poses = "refuse"
    to: str | None = None
    pixel_size: float | None = None
    overwrite: bool = False

    def check(self) -> None:
        """Refuse a size that makes no sense."""
        if self.pixel_size is not None and not self.pixel_size > 0:
            raise InputError(f"pixel_size is {self.pixel_size} angstrom; it must be positive.")
