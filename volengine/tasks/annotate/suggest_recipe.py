"""What ``annotate suggest`` looks for."""

from __future__ import annotations

from dataclasses import dataclass

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe


@dataclass(frozen=True)
class SuggestRecipe(Recipe):
    """Where annotating would help most.

    Parameters
    ----------
    feature
        Of which feature predictions are taken; needed only where there are several.
    patch
        Size of the patches that are compared, voxels z, y, x: the training box that is suggested is a square slice of
        one, so y and x are equal.
    outline_vox
        Voxels that are no farther than this (along each axis) from both sure feature and sure background do not count:
        borders of objects, which stay uncertain for ever. 0: all voxels count.
    sure
        Probability from which a voxel is sure to be of the feature, above 0.5; below 1 - sure it is sure background.
    count
        How many patches are suggested, of all tomograms together.
    most
        How many of one tomogram at most; 0: any number.

    Examples
    --------
    >>> SuggestRecipe(count=20).patch
    (16, 64, 64)
    """

    feature: str = ""
    patch: tuple[int, int, int] = (16, 64, 64)
    outline_vox: int = 3
    sure: float = 0.8
    count: int = 50
    most: int = 0

    def check(self) -> None:
        if min(self.patch) < 1 or self.patch[1] != self.patch[2]:
            raise InputError(f"--patch must be positive, and square along y and x, not {self.patch}.")
        if not 0 <= self.outline_vox <= 32:
            raise InputError(f"--outline-vox is {self.outline_vox}; it must be from 0 to 32.")
        if not 0.5 < self.sure <= 1:
            raise InputError(f"--sure is {self.sure:g}; it must be above 0.5, and at most 1.")
        if self.count < 1 or self.most < 0:
            raise InputError(f"--count {self.count} must be 1 or more, and --most {self.most} not negative.")
