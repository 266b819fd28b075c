"""The recipe of ``surfaces measure``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from volengine.core.errors import InputError
from volengine.core.recipe import Recipe

Measure = Literal["curvature", "thickness", "nearest", "volume", "border"]
MEASURES: tuple[Measure, ...] = ("curvature", "thickness", "nearest", "volume", "border")


@dataclass(frozen=True)
class SurfacesMeasureRecipe(Recipe):
    """What is measured at each vertex of surfaces.

    Parameters
    ----------
    measures
        Which of ``curvature``, ``thickness`` (through the slab and across gaps), ``nearest`` (other surfaces),
        ``volume`` (faces of the tomogram), ``border`` (along the surface); default: all.
    radius_nm
        Largest radius of the neighbourhood in which curvatures are fitted and normals averaged, nm; where the surface
        is bent more, down to half of it. At least three voxels; of masks 1.2 to 2 times the smallest radius of
        curvature.
    max_thickness_nm
        A facing part of the surface that is farther along the normal than this is not its other face.
    others
        Further sets of surfaces of the same tomogram: the distance to the nearest surface of each set, and the angle
        between the two.
    picks
        Tables of picks, or folders or globs of them: the distance from each vertex to the nearest pick of its tomogram.
    labels
        A label volume: the number at each vertex.
    tomogram
        The tomogram, for the distance of the two leaflets of a membrane in its density along the normals.
    reach_nm
        How far profiles of density go to both sides of the vertices, nm.
    step_nm
        Step of profiles, nm.
    average_nm
        Profiles are averaged over the surface within this radius, nm.
    contrast
        Whether leaflets are darker (lower values) or brighter than what is around them.
    min_bilayer_nm
        Least distance of the two leaflets, nm.
    max_bilayer_nm
        Largest distance of the two leaflets, nm.
    morphometrics
        A table (.csv) of Surface Morphometrics, whose columns come to the vertices from the nearest triangle.
    morphometrics_unit
        Unit of the positions in that table.
    max_transfer_nm
        A vertex that is farther from the nearest triangle of the table than this gets no values, nm.
    csv
        A folder for tables as Surface Morphometrics writes them, one for each surface.
    mask_grid
        How what has other voxels lies on the tomogram of the surfaces. faces: both begin at the same face, as after
        binning by averaging; centres: at the centre of the same first voxel, as after Fourier cropping; auto: as their
        origins say, else faces.
    any_origin
        Take surfaces and what is beside them to begin at the same first voxel although they state different origins.
    overwrite
        Replace what exists.
    """

    measures: tuple[str, ...] = MEASURES
    radius_nm: float = 10.0
    max_thickness_nm: float = 30.0
    others: tuple[str, ...] = ()
    picks: tuple[str, ...] = ()
    labels: str | None = None
    tomogram: str | None = None
    reach_nm: float = 10.0
    step_nm: float = 0.25
    average_nm: float = 10.0
    contrast: Literal["dark", "bright"] = "dark"
    min_bilayer_nm: float = 2.0
    max_bilayer_nm: float = 8.0
    morphometrics: str | None = None
    morphometrics_unit: Literal["nm", "angstrom"] = "nm"
    max_transfer_nm: float = 5.0
    csv: str | None = None
    mask_grid: Literal["auto", "faces", "centres"] = "auto"
    any_origin: bool = False
    overwrite: bool = False

    def check(self) -> None:
        unknown = [name for name in self.measures if name not in MEASURES]
        if unknown:
            raise InputError(f"There is no measure {unknown[0]!r}; there are {', '.join(MEASURES)}.")
        for name in ("radius_nm", "max_thickness_nm", "reach_nm", "step_nm", "max_transfer_nm"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name):g}; it must be positive.")
        if self.average_nm < 0:
            raise InputError(f"average_nm is {self.average_nm:g}; it must be 0 or more.")
        if not 0 <= self.min_bilayer_nm < self.max_bilayer_nm:
            raise InputError(
                f"min_bilayer_nm is {self.min_bilayer_nm:g} and max_bilayer_nm {self.max_bilayer_nm:g}; the first must "
                "be the smaller one."
            )
        if self.reach_nm / self.step_nm > 1000:
            raise InputError(f"Profiles of {self.reach_nm:g} nm in steps of {self.step_nm:g} nm: more than 1000 steps.")
        if self.max_bilayer_nm > 2 * self.reach_nm:
            raise InputError(
                f"max_bilayer_nm is {self.max_bilayer_nm:g}, and profiles are {2 * self.reach_nm:g} nm long; raise "
                "reach_nm."
            )
