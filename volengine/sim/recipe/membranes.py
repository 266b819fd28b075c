"""Recipes of membranes: vesicles, sheets, and membranes that follow a label volume."""

from __future__ import annotations

import re
from dataclasses import dataclass

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe
from volengine.sim.recipe.checks import Range, is_name, named, ordered, positive

STEEPEST_NM = 1920.0
"""Smallest ratio of the squared wavelength of a sheet to its height."""


@dataclass(frozen=True)
class VesiclesRecipe(Recipe):
    """Closed bilayers of irregular shape.

    Parameters
    ----------
    count
        Number of vesicles that are tried.
    radius_nm
        Smallest and largest radius of the mid-plane.
    sphericity
        Smallest and largest ratio of the shortest to the longest axis; 1 is a sphere.
    thickness_a
        Smallest and largest thickness from head group to head group, angstrom.
    bare
        Share of the vesicles that take no proteins.
    cut
        Whether walls of the volume may cut vesicles, as the faces of a lamella do. Otherwise vesicles keep away from
        walls, and vesicles that are too large cannot be placed.
    name
        Their class in the atlas.
    """

    count: int = 3
    radius_nm: Range = (15.0, 40.0)
    sphericity: Range = (0.6, 1.0)
    thickness_a: Range = (36.0, 40.0)
    bare: float = 0.2
    cut: bool = False
    name: str = "membrane"

    def check(self) -> None:
        if self.count < 0 or not 0 <= self.bare <= 1:
            raise InputError(f"vesicles: count {self.count} must be 0 or more, and bare {self.bare} a share.")
        named("vesicles", self.name)
        ordered("vesicles: radius_nm", self.radius_nm, 7.5)
        ordered("vesicles: thickness_a", self.thickness_a, 20.0)
        ordered("vesicles: sphericity", self.sphericity, 0.3)
        if self.sphericity[1] > 1:
            raise InputError(f"vesicles: sphericity is from 0.3 to 1 (a sphere), not {list(self.sphericity)}.")


@dataclass(frozen=True)
class SheetsRecipe(Recipe):
    """Gently curved bilayers that extend through the whole volume along z: endoplasmic reticulum, the edge of a cell.

    Parameters
    ----------
    count
        Number of sheets; each has a random position, and a random normal across z.
    wavelength_nm, height_nm
        Wavelength and root mean square height of their waves.
    thickness_a
        Smallest and largest thickness from head group to head group, angstrom.
    bare
        Share of the sheets that take no proteins.
    name
        Their class in the atlas.
    """

    count: int = 1
    wavelength_nm: float = 200.0
    height_nm: float = 6.0
    thickness_a: Range = (36.0, 40.0)
    bare: float = 0.2
    name: str = "membrane"

    def check(self) -> None:
        if self.count < 0 or not 0 <= self.bare <= 1:
            raise InputError(f"sheets: count {self.count} must be 0 or more, and bare {self.bare} a share.")
        named("sheets", self.name)
        ordered("sheets: thickness_a", self.thickness_a, 20.0)
        # the sharpest bend of a wave, 1 / (3 height (2 pi / wavelength)^2), stays above 16 nm: twice the distance
        # from a membrane that is computed
        if self.wavelength_nm < 60 or not 0 <= self.height_nm <= self.wavelength_nm**2 / STEEPEST_NM:
            raise InputError(
                f"sheets: a sheet with waves of {self.wavelength_nm} nm, {self.height_nm} nm high, bends too sharply: "
                f"wavelength_nm is at least 60, height_nm at most wavelength_nm^2 / {STEEPEST_NM:g}."
            )


@dataclass(frozen=True)
class LabelsRecipe(Recipe):
    """Membranes from a segmentation: bilayers along the mid-surface of labels that are several voxels thick.

    The voxel size of the segmentation may differ from that of the specimen; membranes keep their physical positions.

    Parameters
    ----------
    path
        A label volume: MRC (also ``.gz``), TIFF, or OME-Zarr; ``STORE.zarr#labels/NAME`` for labels in a store.
    classes
        Class name of each label that is a membrane; other labels are ignored.
    start
        First voxel, z, y, x, of the piece of the label volume that fills the specimen.
    shape
        Shape of the piece, voxels of the label volume; default: the size of the specimen.
    voxel_size
        Voxel size of the label volume, angstrom, if the file's is missing or wrong.
    thickness_a
        Smallest and largest thickness from head group to head group, angstrom; drawn for each label.
    smooth_vox
        Standard deviation of the Gaussian that smooths the steps of the labels, in voxels of the label volume: about
        half of the labels' thickness.
    """

    path: str
    classes: dict[int | str, str]
    start: tuple[int, int, int] = (0, 0, 0)
    shape: tuple[int, int, int] | None = None
    voxel_size: float | None = None
    thickness_a: Range = (36.0, 40.0)
    smooth_vox: float = 1.5

    def check(self) -> None:
        if not self.path.strip() or not self.classes:
            raise InputError("labels: give a path, and the class names of labels, such as {1: outer, 2: inner}.")
        for label, name in self.classes.items():
            if not re.fullmatch(r"[1-9]\d*", str(label)) or not is_name(name):
                raise InputError(f"labels: {label!r}: {name!r}; labels are numbers from 1 on, names plain words.")
        if len(self.names) < len(self.classes):
            raise InputError(f"labels: classes gives a label twice: {self.classes}.")
        if min(self.start) < 0 or min(self.shape or (1,)) < 1:
            raise InputError(f"labels: a piece of shape {self.shape} cannot begin at {self.start}.")
        if not 0.7 <= self.smooth_vox <= 6:
            raise InputError(f"labels: smooth_vox is from 0.7 to 6, not {self.smooth_vox}.")
        positive("labels: voxel_size", self.voxel_size)
        ordered("labels: thickness_a", self.thickness_a, 20.0)

    @property
    def names(self) -> dict[int, str]:
        """Class names by label, in the order of the labels."""
        return dict(sorted((int(label), name) for label, name in self.classes.items()))
