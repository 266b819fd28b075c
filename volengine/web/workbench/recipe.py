"""How a project is worked on in a browser."""

from __future__ import annotations

from dataclasses import dataclass

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.io.annotations.folder import check_name


@dataclass(frozen=True)
class WorkbenchRecipe(Recipe):
    """How a project is worked on in a browser.

    Parameters
    ----------
    user
        Who draws, unless the page says otherwise; everybody undoes own strokes only. Default: the name of the process's
        user.
    voxel_size
        Voxel size in angstrom, for tomograms that do not state it.
    channel
        Index on a channel or time axis longer than one.
    anonymous
        Read s3:// and other object stores without credentials, for public buckets.
    links
        Follow links that lead out of the project's folder.

    Examples
    --------
    >>> WorkbenchRecipe(user="ada").user
    'ada'
    """

    user: str | None = None
    voxel_size: float | None = None
    channel: int | None = None
    anonymous: bool = False
    links: bool = False

    def check(self) -> None:
        if self.user is not None:
            check_name(self.user, "user")
        if self.voxel_size is not None and not self.voxel_size > 0:
            raise InputError(f"voxel_size is {self.voxel_size:g}; it must be positive.")
