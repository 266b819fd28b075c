"""The recipe of ``surfaces convert``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.io.names import VOLUME_SUFFIXES, suffix_of


@dataclass(frozen=True)
class SurfacesConvertRecipe(Recipe):
    """Which surfaces are written, and what mesh files do not say.

    Parameters
    ----------
    numbers
        Only the surfaces with these numbers; default: all.
    to
        Format of the files in a folder: ply, obj, stl or glb.
    tomogram
        Mesh files: name of the tomogram, for example TS_01; default: that of the file or folder.
    feature
        Mesh files: name of the feature.
    voxel_size
        Mesh files: voxel size of the tomogram, angstrom: one number, or z, y, x.
    origin
        Mesh files: position of the centre of the tomogram's first voxel, angstrom, z, y, x.
    shape
        Mesh files: shape of the tomogram, voxels z, y, x.
    overwrite
        Replace what exists.
    """

    numbers: tuple[int, ...] = ()
    to: Literal["ply", "obj", "stl", "glb"] = "ply"
    tomogram: str = ""
    feature: str = ""
    voxel_size: float | tuple[float, float, float] | None = None
    origin: tuple[float, float, float] | None = None
    shape: tuple[int, int, int] | None = None
    overwrite: bool = False

    def check(self) -> None:
        _check_name(self.tomogram, "--tomogram")
        if self.voxel_size is not None and not all(0 < size < math.inf for size in self.sizes):
            raise InputError(f"--voxel-size must be positive, not {self.voxel_size}.")
        if self.origin is not None and not all(map(math.isfinite, self.origin)):
            raise InputError(f"--origin must be three numbers, not {self.origin}.")
        if self.shape is not None and min(self.shape) < 1:
            raise InputError(f"--shape must be three numbers from 1 on, not {self.shape}.")
        if len(set(self.numbers)) < len(self.numbers):
            raise InputError(f"--numbers names one twice: {', '.join(map(str, self.numbers))}.")

    @property
    def sizes(self) -> tuple[float, float, float]:
        """The voxel size that is given, z, y, x; 0 if none is."""
        given = self.voxel_size or 0.0
        return given if isinstance(given, tuple) else (given, given, given)

    @property
    def states(self) -> bool:
        """Whether it says something about mesh files."""
        return bool(self.tomogram or self.feature or self.voxel_size or self.origin or self.shape)


def _check_name(name: str, option: str) -> None:
    """Refuse what is no name, but a path, a file of a volume, blank, or of several lines."""
    if not name:
        return
    if any(sign in name for sign in "/\\#") or suffix_of(name) in VOLUME_SUFFIXES:
        raise InputError(f"{option} {name!r} is a path; give the name alone, for example {option} TS_01.")
    if not name.strip() or name != name.strip() or not name.isprintable():
        raise InputError(f"{option} {name!r} is no name: it is blank, has blanks at its ends, or signs of control.")
